"""Ranges of the elementwise operations on one tensor."""

from __future__ import annotations

import dataclasses

import numpy as np

from qsim.errors import UnsupportedError
from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, Overflow, Scheme, assert_fits
from qsim.proof.ranges.base import Interval, apply, hull, monotone
from qsim.proof.steps import corners, rescale_bounds


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
        return hull(*(apply(op, [end], tensors, out) for end in ends))
    return _wrapping(op, ends, tensors, out)


def _wrapping(op: o.Requantize, ends: list[Array], tensors: list[Tensor], out: Tensor) -> Interval:
    """WRAP, WRAP_SM and SAT_ZERO keep what fits; where something does not fit, any code of the format may appear."""
    wide = dataclasses.replace(op, overflow=Overflow.SAT, low=-(1 << 62), high=1 << 62)
    before = hull(*(apply(wide, [end], tensors, out) for end in ends))
    fits = (before.low >= op.low) & (before.high <= op.high)
    if op.overflow is Overflow.SAT_ZERO:
        # What is kept, and the zero that replaces the rest; zero itself may lie outside [low, high].
        least = np.minimum(np.clip(before.low, op.low, op.high), 0)
        greatest = np.maximum(np.clip(before.high, op.low, op.high), 0)
        return Interval(np.where(fits, before.low, least), np.where(fits, before.high, greatest))
    return Interval(np.where(fits, before.low, op.low), np.where(fits, before.high, op.high))


def _divide(op: o.Divide, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    numerators = corners(tensors[0].range, op.numerator, op.addend)
    assert_fits(*numerators, "the numerator of a division", layer=op.layer)
    assert_fits(0, op.divisor.high, "the divisor of a division", layer=op.layer)
    return monotone(op, inputs, tensors, out)


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


RULES = dict(
    (
        o.entry(o.Requantize, _requantize),
        o.entry(o.Divide, _divide),
        o.entry(o.Lookup, _lookup),
    )
)
