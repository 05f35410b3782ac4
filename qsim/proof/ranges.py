"""Proven ranges: for every element of every tensor the least and greatest code that any valid input can give.

Interval arithmetic, element by element, so that padding borders, channels and positions keep their own bounds.
For one convolution or dense layer the bounds are attained: every element of its input is independent in the interval
model, and the input that takes ``high`` where a weight is positive and ``low`` where it is negative gives the upper
bound (``attaining_input``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qsim.errors import UnsupportedError
from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, Overflow, Scheme, assert_fits, rescale_bounds
from qsim.reference.kernels import KERNELS, magnitude


@dataclass(frozen=True)
class Interval:
    """Elementwise inclusive bounds in codes: two int64 arrays of the tensor's shape."""

    low: Array
    high: Array

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and greatest code over all elements."""
        return int(self.low.min()), int(self.high.max())

    def per_channel(self) -> tuple[Array, Array]:
        """Bounds per channel (last axis)."""
        channels = self.low.shape[-1]
        return self.low.reshape(-1, channels).min(axis=0), self.high.reshape(-1, channels).max(axis=0)


def lane_bounds(interval: Interval, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Proven bounds for each lane of a parameter of ``shape`` that broadcasts against the tensor."""
    rank = interval.low.ndim
    full = (1,) * (rank - len(shape)) + tuple(shape)
    axes = tuple(i for i in range(rank) if full[i] == 1)
    low = interval.low.min(axis=axes, keepdims=True).reshape(shape)
    high = interval.high.max(axis=axes, keepdims=True).reshape(shape)
    return np.asarray(low), np.asarray(high)


Rule = Callable[[Any, list[Interval], list[Tensor], Tensor], Interval]


def _apply(op: o.Op, arrays: Sequence[Array], tensors: list[Tensor], out: Tensor) -> Array:
    return np.asarray(KERNELS[type(op)](op, [a[None] for a in arrays], tensors, out)[0])


def _hull(*ends: Array) -> Interval:
    low, high = ends[0], ends[0]
    for end in ends[1:]:
        low, high = np.minimum(low, end), np.maximum(high, end)
    return Interval(low, high)


def _monotone(op: o.Op, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    """Each output element rises, or falls, with each input element: the ends give the ends."""
    low = _apply(op, [i.low for i in inputs], tensors, out)
    high = _apply(op, [i.high for i in inputs], tensors, out)
    return _hull(low, high)


def _constant(op: o.Constant, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    return Interval(op.values.values, op.values.values)


def _linear(op: Any, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    """Positive weights meet one end, negative weights the other; the bias is added once.

    Raises UnsupportedError where the bound leaves 62 bits.
    """
    w = op.weights.values
    total = np.abs(w.astype(np.float64)).sum(axis=tuple(range(w.ndim - 1))).max(initial=0.0)
    reach = int(total) * magnitude(tensors[0], op.input_zero_point) << op.product_shift
    bias = max(abs(op.bias.low), abs(op.bias.high)) if op.bias is not None else 0
    assert_fits(-reach - bias, reach + bias, "the accumulator", layer=op.layer)
    ends = []
    for sign in (1, -1):
        part = IntArray(np.where(w * sign > 0, w, 0))
        half = _with_weights(op, part)
        ends.append([_apply(half, [end], tensors, out) for end in (inputs[0].low, inputs[0].high)])
    offset = 0 if op.bias is None else op.bias.values
    (positive_low, positive_high), (negative_low, negative_high) = ends
    return Interval(positive_low + negative_high + offset, positive_high + negative_low + offset)


def _with_weights(op: Any, weights: IntArray) -> Any:
    return dataclasses.replace(op, weights=weights, bias=None)


def _matmul(op: o.MatMul, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    za, zb = op.zero_points
    reach = magnitude(tensors[0], za) * magnitude(tensors[1], zb) * tensors[0].shape[-1]
    assert_fits(-reach, reach, "the accumulator", layer=op.layer)
    a = [(end - za)[..., :, :, None] for end in (inputs[0].low, inputs[0].high)]
    b = [(end - zb)[..., None, :, :] for end in (inputs[1].low, inputs[1].high)]
    products = _hull(*(x * y for x in a for y in b))
    return Interval(products.low.sum(axis=-2), products.high.sum(axis=-2))


def _add(op: o.Add, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    reach = sum(magnitude(t, z) << s for t, z, s in zip(tensors, op.zero_points, op.shifts))
    assert_fits(-reach, reach, "the sum", layer=op.layer)
    ups = [i.high if s > 0 else i.low for i, s in zip(inputs, op.signs)]
    downs = [i.low if s > 0 else i.high for i, s in zip(inputs, op.signs)]
    return Interval(_apply(op, downs, tensors, out), _apply(op, ups, tensors, out))


def _mul(op: o.Mul, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    reach = magnitude(tensors[0], op.zero_points[0]) * magnitude(tensors[1], op.zero_points[1])
    assert_fits(-reach, reach, "the product", layer=op.layer)
    a, b = inputs
    if op.inputs[0] == op.inputs[1] and op.zero_points[0] == op.zero_points[1]:
        # A square: never negative, and zero only where the interval holds the zero point.
        low, high = a.low - op.zero_points[0], a.high - op.zero_points[0]
        least = np.where((low <= 0) & (high >= 0), 0, np.minimum(low * low, high * high))
        return Interval(least, np.maximum(low * low, high * high))
    return _hull(*(_apply(op, [x, y], tensors, out) for x in (a.low, a.high) for y in (b.low, b.high)))


def _extremum(op: o.Extremum, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    for tensor, shift in zip(tensors, op.shifts):
        assert_fits(tensor.range[0] << shift, tensor.range[1] << shift, "an aligned input", layer=op.layer)
    return _monotone(op, inputs, tensors, out)


def _requantize(op: o.Requantize, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    low, high = (end - op.input_zero_point for end in tensors[0].range)
    for r in (op.rescale, op.negative):
        if r is None:
            continue
        if r.scheme in (Scheme.PLAIN, Scheme.FLOAT32):
            assert_fits(*rescale_bounds(r, low, high), "the rescaled product", layer=op.layer)
        else:
            left = max(0, -r.shift.low)
            if low << left < -(1 << 31) or high << left >= 1 << 31:
                raise UnsupportedError(
                    f"the {r.scheme.value} rescale shifts inputs up to {max(-low, high)} left by {left}, beyond int32",
                    layer=op.layer,
                    way_out="requantize the layer's input to fewer bits",
                )
    x = inputs[0]
    ends = [x.low, x.high]
    if op.negative is not None:
        # The two branches meet at the zero point: their ends count where the interval holds both sides of it.
        ends += [np.clip(np.full_like(x.low, op.input_zero_point + d), x.low, x.high) for d in (-1, 0)]
    if op.overflow in (Overflow.SAT, Overflow.SAT_SYM):
        return _hull(*(_apply(op, [end], tensors, out) for end in ends))
    return _wrapping(op, ends, tensors, out)


def _wrapping(op: o.Requantize, ends: list[Array], tensors: list[Tensor], out: Tensor) -> Interval:
    """WRAP, WRAP_SM and SAT_ZERO keep what fits; where something does not fit, any code of the format may appear."""
    wide = dataclasses.replace(op, overflow=Overflow.SAT, low=-(1 << 62), high=1 << 62)
    before = _hull(*(_apply(wide, [end], tensors, out) for end in ends))
    fits = (before.low >= op.low) & (before.high <= op.high)
    if op.overflow is Overflow.SAT_ZERO:
        # What is kept, and the zero that replaces the rest; zero itself may lie outside [low, high].
        least = np.minimum(np.clip(before.low, op.low, op.high), 0)
        greatest = np.maximum(np.clip(before.high, op.low, op.high), 0)
        return Interval(np.where(fits, before.low, least), np.where(fits, before.high, greatest))
    return Interval(np.where(fits, before.low, op.low), np.where(fits, before.high, op.high))


def _divide(op: o.Divide, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    low, high = tensors[0].range
    corners = [
        x * n + a
        for x in (low, high)
        for n in (op.numerator.low, op.numerator.high)
        for a in (op.addend.low, op.addend.high)
    ]
    assert_fits(min(corners), max(corners), "the numerator of a division", layer=op.layer)
    assert_fits(0, op.divisor.high, "the divisor of a division", layer=op.layer)
    return _monotone(op, inputs, tensors, out)


def _lookup(op: o.Lookup, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    low, high = inputs[0].low - op.table_low, inputs[0].high - op.table_low
    channels = low.shape[-1]
    least, greatest = np.empty_like(low).reshape(-1, channels), np.empty_like(low).reshape(-1, channels)
    flat_low, flat_high = low.reshape(-1, channels), high.reshape(-1, channels)
    found: dict[tuple[int, int, int], tuple[int, int]] = {}
    for position in range(flat_low.shape[0]):
        for c in range(channels):
            row = c if op.table.shape[0] > 1 else 0
            key = (row, int(flat_low[position, c]), int(flat_high[position, c]))
            if key not in found:
                part = op.table.values[row, key[1] : key[2] + 1]
                found[key] = int(part.min()), int(part.max())
            least[position, c], greatest[position, c] = found[key]
    return Interval(least.reshape(low.shape), greatest.reshape(low.shape))


def _softmax(op: o.Softmax, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    return Interval(np.full(out.shape, out.format.low), np.full(out.shape, out.format.high))


def _argmax(op: o.ArgMax, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    last = tensors[0].shape[op.axis] - 1
    return Interval(np.zeros(out.shape, dtype=np.int64), np.full(out.shape, last, dtype=np.int64))


RULES: dict[type[o.Op], Rule] = {
    o.Constant: _constant,
    o.Conv2D: _linear,
    o.ConvTranspose2D: _linear,
    o.Dense: _linear,
    o.MatMul: _matmul,
    o.Add: _add,
    o.Mul: _mul,
    o.Extremum: _extremum,
    o.Concat: _monotone,
    o.SumPool2D: _monotone,
    o.MaxPool2D: _monotone,
    o.Reduce: _monotone,
    o.Requantize: _requantize,
    o.Divide: _divide,
    o.Threshold: _monotone,
    o.Lookup: _lookup,
    o.Softmax: _softmax,
    o.Reshape: _monotone,
    o.Transpose: _monotone,
    o.Pad: _monotone,
    o.Slice: _monotone,
    o.Gather: _monotone,
    o.ArgMax: _argmax,
}
o.check_registry(dict(RULES), "proof.ranges")


def infer(op: o.Op, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    """The output's interval from the inputs'. ``out`` gives shape and, where the op saturates or wraps, the format.

    Raises UnsupportedError where an intermediate result can leave 62 bits, so that numpy and C int64 code is proven.
    """
    return RULES[type(op)](op, inputs, tensors, out)


def input_interval(tensor: Tensor, low: int, high: int) -> Interval:
    """The interval of a graph input: every code that its boundary lets through."""
    return Interval(np.full(tensor.shape, low, dtype=np.int64), np.full(tensor.shape, high, dtype=np.int64))


def ranges(graph: Graph) -> dict[str, Interval]:
    """The proven interval of every tensor, in graph order."""
    found = {i.tensor: input_interval(graph[i.tensor], i.low, i.high) for i in graph.inputs}
    for op in graph.ops:
        tensors = [graph[name] for name in op.inputs]
        found[op.output] = infer(op, [found[name] for name in op.inputs], tensors, graph[op.output])
    return found


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


__all__ = ["Interval", "attaining_input", "infer", "input_interval", "ranges"]
