"""Ranges of the operations on several tensors."""

from __future__ import annotations

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import assert_fits
from qsim.proof.ranges.base import Interval, apply, hull, monotone
from qsim.proof.steps import magnitude


def _add(op: o.Add, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    reach = sum(magnitude(t.range, z) << s for t, z, s in zip(tensors, op.zero_points, op.shifts))
    assert_fits(-reach, reach, "the sum", layer=op.layer)
    ups = [i.high if s > 0 else i.low for i, s in zip(inputs, op.signs)]
    downs = [i.low if s > 0 else i.high for i, s in zip(inputs, op.signs)]
    return Interval(apply(op, downs, tensors, out), apply(op, ups, tensors, out))


def _mul(op: o.Mul, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    reach = magnitude(tensors[0].range, op.zero_points[0]) * magnitude(tensors[1].range, op.zero_points[1])
    assert_fits(-reach, reach, "the product", layer=op.layer)
    a, b = inputs
    if op.inputs[0] == op.inputs[1] and op.zero_points[0] == op.zero_points[1]:
        # A square: never negative, and zero only where the interval holds the zero point.
        low, high = a.low - op.zero_points[0], a.high - op.zero_points[0]
        least = np.where((low <= 0) & (high >= 0), 0, np.minimum(low * low, high * high))
        return Interval(least, np.maximum(low * low, high * high))
    return hull(*(apply(op, [x, y], tensors, out) for x in (a.low, a.high) for y in (b.low, b.high)))


def _extremum(op: o.Extremum, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    for tensor, shift in zip(tensors, op.shifts):
        assert_fits(tensor.range[0] << shift, tensor.range[1] << shift, "an aligned input", layer=op.layer)
    return monotone(op, inputs, tensors, out)


RULES = dict(
    (
        o.entry(o.Add, _add),
        o.entry(o.Mul, _mul),
        o.entry(o.Extremum, _extremum),
    )
)
