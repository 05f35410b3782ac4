"""Ranges of the operations that compare a whole axis, and of constants."""

from __future__ import annotations

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.proof.ranges.base import Interval


def _constant(op: o.Constant, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    return Interval(op.values.values, op.values.values)


def _softmax(op: o.Softmax, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    return Interval(np.full(out.shape, out.format.low), np.full(out.shape, out.format.high))


def _argmax(op: o.ArgMax, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    last = tensors[0].shape[op.axis] - 1
    return Interval(np.zeros(out.shape, dtype=np.int64), np.full(out.shape, last, dtype=np.int64))


RULES = dict(
    (
        o.entry(o.Constant, _constant),
        o.entry(o.Softmax, _softmax),
        o.entry(o.ArgMax, _argmax),
    )
)
