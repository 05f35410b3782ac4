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
    x = inputs[0]
    both = np.stack([x.low, x.high])
    rows = _Axis.of(both.swapaxes(0, 1), out.shape[0], op, 0)
    columns = _Axis.of(both.transpose(2, 0, 1, 3), out.shape[1], op, 1)
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
    found = _linear(once, [Interval(gathered(x.low), gathered(x.high))], tensors, out)
    place = np.ix_(rows.kind, columns.kind)
    return Interval(found.low[place], found.high[place])


@dataclass(frozen=True)
class _Axis:
    """Output positions along one axis by kind. kind: (positions,), the number of each one's kind. taps: (kinds, K),
    the input index that each tap meets at a position of the kind; -1 outside."""

    kind: Array
    taps: Array

    @staticmethod
    def of(lines: Array, positions: int, op: o.Conv2D, axis: int) -> _Axis:
        """lines: the input's interval, the axis first."""
        seen: dict[bytes, int] = {}
        first = [seen.setdefault(line.tobytes(), i) for i, line in enumerate(lines)]
        taps = np.arange(op.weights.shape[axis]) * op.dilation[axis] - op.padding[axis][0]
        at = np.arange(positions)[:, None] * op.strides[axis] + taps
        inside = (at >= 0) & (at < len(first))
        met = np.where(inside, np.array(first)[np.clip(at, 0, len(first) - 1)], -1)
        kinds, kind = np.unique(met, axis=0, return_inverse=True)
        return _Axis(kind.reshape(-1), kinds)


def _with_weights(op: Linear, weights: IntArray) -> Linear:
    return dataclasses.replace(op, weights=weights, bias=None)


def _matmul(op: o.MatMul, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    za, zb = op.zero_points
    reach = magnitude(tensors[0].range, za) * magnitude(tensors[1].range, zb) * tensors[0].shape[-1]
    assert_fits(-reach, reach, "the accumulator", layer=op.layer)
    a = [(end - za)[..., :, :, None] for end in (inputs[0].low, inputs[0].high)]
    b = [(end - zb)[..., None, :, :] for end in (inputs[1].low, inputs[1].high)]
    products = hull(*(x * y for x in a for y in b))
    return Interval(products.low.sum(axis=-2), products.high.sum(axis=-2))


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
