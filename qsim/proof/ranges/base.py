"""Intervals, and the rule that serves every monotone operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.reference.kernels import KERNELS


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


Rule = Callable[[o.Op, list[Interval], list[Tensor], Tensor], Interval]
"""(op, input intervals, input tensors, output tensor) -> the output's interval."""


def apply(op: o.Op, arrays: Sequence[Array], tensors: list[Tensor], out: Tensor) -> Array:
    """The op's reference kernel on one sample."""
    return np.asarray(KERNELS[type(op)](op, [a[None] for a in arrays], tensors, out)[0])


def hull(*ends: Array) -> Interval:
    """The interval that holds all ends."""
    low, high = ends[0], ends[0]
    for end in ends[1:]:
        low, high = np.minimum(low, end), np.maximum(high, end)
    return Interval(low, high)


def monotone(op: o.Op, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    """Each output element rises, or falls, with each input element: the ends give the ends."""
    low = apply(op, [i.low for i in inputs], tensors, out)
    high = apply(op, [i.high for i in inputs], tensors, out)
    return hull(low, high)
