"""One tensor, element by element: requantization, division, thresholds, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from qsim.ir.ops.base import Op, RealRescale, Shape
from qsim.numerics import IntArray, Overflow, Rescale, Rounding


@dataclass(frozen=True, kw_only=True)
class Requantize(Op):
    """y = overflow(r(x - input_zero_point) + zero_point), r = ``negative`` where x < input_zero_point and it is given,
    else ``rescale``.

    overflow: SAT clips to [low, high]; SAT_ZERO gives 0 outside them; SAT_SYM is SAT with low = -high; WRAP and
    WRAP_SM use the output tensor's format, and low, high are its limits.
    """

    elementwise: ClassVar[bool] = True
    rescale: Rescale
    negative: Rescale | None = None
    input_zero_point: int = 0
    zero_point: int = 0
    overflow: Overflow
    low: int
    high: int
    real: RealRescale | None = field(default=None, metadata={"omit_default": True})

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return inputs[0]

    @property
    def bounds(self) -> tuple[int, int]:
        return self.low, self.high


@dataclass(frozen=True, kw_only=True)
class Divide(Op):
    """y = min(max(round((x * numerator + addend) / divisor) + zero_point, low), high).

    numerator, addend, divisor: broadcast; divisor > 0; the fraction is taken exactly, ``rounding`` acts once. The
    exact form of every rescale by a number that is not a power of two.
    """

    elementwise: ClassVar[bool] = True
    numerator: IntArray
    addend: IntArray
    divisor: IntArray
    rounding: Rounding
    zero_point: int = 0
    low: int
    high: int

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return inputs[0]

    @property
    def bounds(self) -> tuple[int, int]:
        return self.low, self.high


@dataclass(frozen=True, kw_only=True)
class Threshold(Op):
    """y = base[c] + step[c] * #{k : x >= thresholds[c, k]}.

    thresholds: (C or 1, K), ascending along K (equal values allowed: the code between is never taken; values above
    the input format's range are never reached). base, step: (C or 1,). step may be negative (decreasing functions).
    """

    monotone: ClassVar[bool] = True
    elementwise: ClassVar[bool] = True
    thresholds: IntArray
    base: IntArray
    step: IntArray
    real: RealRescale | None = field(default=None, metadata={"omit_default": True})

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return inputs[0]


@dataclass(frozen=True, kw_only=True)
class Lookup(Op):
    """y = table[c, x - table_low]. table: (C or 1, N) covers the input's proven range."""

    elementwise: ClassVar[bool] = True
    table: IntArray
    table_low: int
    real: RealRescale | None = field(default=None, metadata={"omit_default": True})

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return inputs[0]


Elementwise = Requantize | Divide | Threshold | Lookup
"""Operations on one tensor, element by element."""
