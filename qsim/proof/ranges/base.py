"""Intervals, and the rule that serves every monotone operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.reference.kernels import KERNELS


class Interval:
    """Elementwise inclusive bounds in codes: two int64 arrays of the tensor's shape.

    Of an image (H, W, C) only the rows and columns that differ need to be kept: ``rows`` (H,) and ``columns`` (W,) then
    say which of the kept ones stands at each place, and ``tables`` are (kept rows, kept columns, C).
    """

    def __init__(self, low: Array, high: Array, rows: Array | None = None, columns: Array | None = None) -> None:
        self._low, self._high, self.rows, self.columns = low, high, rows, columns

    @property
    def low(self) -> Array:
        """The least codes, of the tensor's shape."""
        return self._whole(self._low)

    @property
    def high(self) -> Array:
        """The greatest codes, of the tensor's shape."""
        return self._whole(self._high)

    def _whole(self, kept: Array) -> Array:
        return kept if self.rows is None or self.columns is None else kept[np.ix_(self.rows, self.columns)]

    @property
    def tables(self) -> tuple[Array, Array]:
        """(low, high) as they are kept."""
        return self._low, self._high

    def folded(self) -> Interval:
        """The same bounds with equal rows and columns kept once; what is no image stays as it is."""
        low, high = self._low, self._high
        if low.ndim != 3 or low.shape != high.shape:
            return self
        rows = np.arange(low.shape[0]) if self.rows is None else self.rows
        columns = np.arange(low.shape[1]) if self.columns is None else self.columns
        first, kind = _distinct(low, high)
        rows, low, high = kind[rows], low[first], high[first]
        first, kind = _distinct(low.swapaxes(0, 1), high.swapaxes(0, 1))
        return Interval(low[:, first], high[:, first], rows, kind[columns])

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and greatest code over all elements."""
        return int(self._low.min()), int(self._high.max())

    def per_channel(self) -> tuple[Array, Array]:
        """Bounds per channel (last axis)."""
        channels = self._low.shape[-1]
        return self._low.reshape(-1, channels).min(axis=0), self._high.reshape(-1, channels).max(axis=0)


def _distinct(low: Array, high: Array) -> tuple[Array, Array]:
    """(the first of each kind of equal lines along axis 0, the kind of each line)."""
    seen: dict[bytes, int] = {}
    kind = [seen.setdefault(a.tobytes() + b.tobytes(), len(seen)) for a, b in zip(low, high)]
    first = [kind.index(k) for k in range(len(seen))]
    return np.array(first, dtype=np.int64), np.array(kind, dtype=np.int64)


def lane_bounds(interval: Interval, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Proven bounds for each lane of a parameter of ``shape`` that broadcasts against the tensor."""
    low, high = interval.tables
    rank = low.ndim
    full = (1,) * (rank - len(shape)) + tuple(shape)
    if interval.rows is not None and any(n != 1 for n in full[:-1]):
        low, high = interval.low, interval.high
    axes = tuple(i for i in range(rank) if full[i] == 1)
    lanes = low.min(axis=axes, keepdims=True).reshape(shape), high.max(axis=axes, keepdims=True).reshape(shape)
    return np.asarray(lanes[0]), np.asarray(lanes[1])


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
