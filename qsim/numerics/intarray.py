"""Immutable integer arrays: the constants of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from qsim.numerics.formats import IntFormat


class IntArray:
    """A read-only int64 array that compares and hashes by content, with the least format that holds its values.

    ``values`` is C-contiguous int64. Construction from floats, or from integers beyond 64 bits, raises ValueError.
    """

    def __init__(self, values: Any) -> None:
        raw = np.asarray(values)
        if raw.dtype == object:
            raw = raw.astype(np.int64)
        elif raw.dtype.kind == "u":
            if raw.size and int(raw.max()) > np.iinfo(np.int64).max:
                raise ValueError("unsigned values beyond 63 bits")
        elif raw.dtype.kind not in "ib" and raw.size:
            raise ValueError(f"an IntArray holds integers, not {raw.dtype}")
        self.values: np.ndarray[Any, Any] = np.ascontiguousarray(raw, dtype=np.int64).reshape(raw.shape).copy()
        self.values.setflags(write=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    @property
    def size(self) -> int:
        return int(self.values.size)

    @cached_property
    def low(self) -> int:
        return int(self.values.min()) if self.values.size else 0

    @cached_property
    def high(self) -> int:
        return int(self.values.max()) if self.values.size else 0

    @cached_property
    def format(self) -> IntFormat:
        """The least format that holds every value."""
        return IntFormat.for_range(self.low, self.high)

    @property
    def is_scalar(self) -> bool:
        return self.values.ndim == 0

    def item(self) -> int:
        """The only value of a scalar or one-element array."""
        return int(self.values.item())

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, IntArray)
            and self.values.shape == other.values.shape
            and bool(np.array_equal(self.values, other.values))
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.values.tobytes()))

    def __repr__(self) -> str:
        if self.size <= 8:
            return f"IntArray({self.values.tolist()})"
        return f"IntArray({'x'.join(map(str, self.shape))} {self.format} [{self.low}, {self.high}])"


def scalar(value: int) -> IntArray:
    """A zero-dimensional IntArray."""
    return IntArray(np.int64(value))


def periodic(array: IntArray, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """The shortest flat int64 array p with broadcast(array, shape).flat[i] == p[i % len(p)].

    The period is 1 for a scalar, the channel count for a per-channel array, and a product of trailing dimensions in
    general: what a hardware stream or a C loop needs to walk a broadcast parameter in step with a tensor.
    """
    full = np.broadcast_to(array.values, tuple(shape))
    period = full.size
    rest = full
    while rest.ndim:
        if not (rest == rest[:1]).all():
            break
        period //= max(1, rest.shape[0])
        rest = rest[0]
    return np.ascontiguousarray(rest).reshape(-1)[: max(1, period)].copy()
