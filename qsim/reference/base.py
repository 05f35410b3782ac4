"""What a reference kernel is, and what several need."""

from __future__ import annotations

from collections.abc import Callable

from qsim.ir import Tensor
from qsim.ir.ops import Op
from qsim.numerics import Array

Kernel = Callable[[Op, list[Array], list[Tensor], Tensor], Array]
"""(op, input codes, input tensors, output tensor) -> output codes: int64 arrays (N, *shape)."""


def magnitude(tensor: Tensor, zero_point: int = 0) -> int:
    """A bound of |x - zero_point| over the tensor's proven range."""
    low, high = tensor.range
    return max(abs(low - zero_point), abs(high - zero_point))
