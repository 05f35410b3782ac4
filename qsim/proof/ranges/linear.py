"""Ranges of sums of products."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, assert_fits
from qsim.proof.ranges.base import Interval, Rule, apply, hull
from qsim.reference.base import magnitude


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
        ends.append([apply(half, [end], tensors, out) for end in (inputs[0].low, inputs[0].high)])
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


RULES: dict[type[o.Op], Rule] = {
    o.Conv2D: _linear,
    o.ConvTranspose2D: _linear,
    o.Dense: _linear,
    o.MatMul: _matmul,
}
