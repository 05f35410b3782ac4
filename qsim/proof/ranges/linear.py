"""Ranges of sums of products."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.ir.ops import Linear
from qsim.numerics import Array, IntArray, assert_fits
from qsim.proof.ranges.base import Interval, apply, hull
from qsim.proof.steps import magnitude


def _linear(op: Linear, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    """Positive weights meet one end, negative weights the other; the bias is added once.

    Raises UnsupportedError where the bound leaves 62 bits.
    """
    w = op.weights.values
    total = np.abs(w.astype(np.float64)).sum(axis=tuple(range(w.ndim - 1))).max(initial=0.0)
    reach = int(total) * magnitude(tensors[0].range, op.input_zero_point) << op.product_shift
    bias = max(abs(op.bias.low), abs(op.bias.high)) if op.bias is not None else 0
    assert_fits(-reach - bias, reach + bias, "the accumulator", layer=op.layer)
    ends = []
    for sign in (1, -1):
        part = IntArray(np.where(w * sign > 0, w, 0))
        half = _with_weights(op, part)
        ends.append([apply(half, [end], tensors, out) for end in (inputs[0].low, inputs[0].high)])
    offset = 0 if op.bias is None else op.bias.values
    (positive_low, positive_high), (negative_low, negative_high) = ends
    return Interval(positive_low + negative_high + offset, positive_high + negative_low + offset)


def _conv2d(op: o.Conv2D, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    """``_linear`` at one output position of each kind: in time proportional to weights and kinds, not to positions.

    Two output rows are of one kind where every tap of the kernel meets equal rows of the input's interval, or misses
    the image at both; columns alike. So borders, and what earlier borders left in the interval, are kinds of their own.
    """
    x = inputs[0].folded()
    assert x.rows is not None
    assert x.columns is not None
    rows = _Axis.of(x.rows, out.shape[0], op, 0)
    columns = _Axis.of(x.columns, out.shape[1], op, 1)
    if 2 * len(rows.taps) * len(columns.taps) > out.shape[0] * out.shape[1]:
        return _linear(op, inputs, tensors, out)

    def gathered(end: Array) -> Array:
        """The windows of the kinds side by side: (row kinds * KH, column kinds * KW, C), z outside the image."""
        row, column = rows.taps.reshape(-1), columns.taps.reshape(-1)
        inside = (row >= 0)[:, None] & (column >= 0)
        picked = end[np.maximum(row, 0)[:, None], np.maximum(column, 0)]
        return np.where(inside[..., None], picked, op.input_zero_point)

    kh, kw = op.weights.shape[:2]
    once = dataclasses.replace(op, strides=(kh, kw), dilation=(1, 1), padding=o.NO_PADDING)
    low, high = x.tables
    found = _linear(once, [Interval(gathered(low), gathered(high))], tensors, out)
    return Interval(found.low, found.high, rows.kind, columns.kind)


@dataclass(frozen=True)
class _Axis:
    """Output positions along one axis by kind. kind: (positions,), the number of each one's kind. taps: (kinds, K),
    the kept input line that each tap meets at a position of the kind; -1 outside."""

    kind: Array
    taps: Array

    @staticmethod
    def of(lines: Array, positions: int, op: o.Conv2D, axis: int) -> _Axis:
        """lines: which kept line of the input's interval stands at each index along the axis."""
        taps = np.arange(op.weights.shape[axis]) * op.dilation[axis] - op.padding[axis][0]
        at = np.arange(positions)[:, None] * op.strides[axis] + taps
        inside = (at >= 0) & (at < len(lines))
        met = np.where(inside, lines[np.clip(at, 0, len(lines) - 1)], -1)
        kinds, kind = np.unique(met, axis=0, return_inverse=True)
        return _Axis(kind.reshape(-1), kinds)


def _with_weights(op: Linear, weights: IntArray) -> Linear:
    return dataclasses.replace(op, weights=weights, bias=None)


def _matmul(op: o.MatMul, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    za, zb = op.zero_points
    reach = magnitude(tensors[0].range, za) * magnitude(tensors[1].range, zb) * tensors[0].shape[-1]
    assert_fits(-reach, reach, "the accumulator", layer=op.layer)
    return _product(inputs[0], inputs[1], za, zb)


def _product(a: Interval, b: Interval, za: int, zb: int) -> Interval:
    """Bounds of (a - za) @ (b - zb). An entry depends on its row's and its column's bounds alone: equal ones are taken
    once, and matrices one by one where that does not help."""
    (rows, row_of), (columns, column_of) = _lines(a, za, -1), _lines(b, zb, -2)
    if row_of.ndim > 1 and rows.shape[1] * columns.shape[1] > row_of.size * column_of.shape[-1]:
        each = [
            _product(Interval(*ends[:2]), Interval(*ends[2:]), za, zb) for ends in zip(a.low, a.high, b.low, b.high)
        ]
        return Interval(np.stack([x.low for x in each]), np.stack([x.high for x in each]))
    low = np.zeros((rows.shape[1], columns.shape[1]), dtype=np.int64)
    high = np.zeros_like(low)
    for k in range(rows.shape[2]):
        ends = [x[:, None] * y for x in rows[:, :, k] for y in columns[:, :, k]]
        once = hull(*ends)
        low += once.low
        high += once.high
    place = row_of[..., :, None], column_of[..., None, :]
    return Interval(low[place], high[place])


def _lines(x: Interval, zero: int, axis: int) -> tuple[Array, Array]:
    """(distinct rows of a matrix' bounds (2, lines, K) minus the zero point, which of them stands where); axis: K's."""
    both = np.stack([np.moveaxis(end, axis, -1) for end in (x.low, x.high)]) - zero
    flat = both.reshape(2, -1, both.shape[-1])
    pairs = flat.swapaxes(0, 1).reshape(flat.shape[1], -1)
    _, first, kind = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    return flat[:, first], kind.reshape(both.shape[1:-1])


def attaining_input(op: o.Conv2D | o.Dense, interval: Interval, index: tuple[int, ...], *, upper: bool = True) -> Array:
    """Input codes of a convolution or dense layer that drive output element ``index`` to its proven bound.

    interval: of the op's input. Elements that the output does not depend on stay at their lower bound. The result
    has the input's shape.
    """
    x = interval.low.copy()
    w = op.weights.values
    if isinstance(op, o.Dense):
        column = w[:, index[-1]]
        rises = column > 0 if upper else column < 0
        x[index[:-1]] = np.where(rises, interval.high[index[:-1]], interval.low[index[:-1]])
        return x
    height, width, _ = x.shape
    kh, kw, group_in, out_channels = w.shape
    first = index[2] // (out_channels // op.groups) * group_in
    channels = slice(first, first + group_in)
    for u in range(kh):
        for v in range(kw):
            row = index[0] * op.strides[0] + u * op.dilation[0] - op.padding[0][0]
            column_at = index[1] * op.strides[1] + v * op.dilation[1] - op.padding[1][0]
            if 0 <= row < height and 0 <= column_at < width:
                taps = w[u, v, :, index[2]]
                rises = taps > 0 if upper else taps < 0
                x[row, column_at, channels] = np.where(
                    rises, interval.high[row, column_at, channels], interval.low[row, column_at, channels]
                )
    return x


RULES = dict(
    (
        o.entry(o.Conv2D, _conv2d),
        o.entry(o.ConvTranspose2D, _linear),
        o.entry(o.Dense, _linear),
        o.entry(o.MatMul, _matmul),
    )
)
