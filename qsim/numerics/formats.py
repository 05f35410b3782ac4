"""Integer and fixed-point formats as values, and the text forms that users write for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from qsim.errors import UsageError

MAX_WIDTH = 64
"""The widest tensor format. Everything that qsim computes fits a signed 64-bit integer or is refused."""

MAX_FRAC = 900
"""The most fractional bits of a format, and the most zeros behind its last bit: real values are float64 numbers."""


@dataclass(frozen=True, order=True)
class IntFormat:
    """A two's-complement (``signed``) or plain binary integer of ``width`` bits.

    ``low`` and ``high`` are the inclusive limits, in codes.
    """

    width: int
    signed: bool

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MAX_WIDTH:
            raise UsageError(f"an integer format has 1 to {MAX_WIDTH} bits, not {self.width}")

    @property
    def low(self) -> int:
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.width - 1)) - 1 if self.signed else (1 << self.width) - 1

    def holds(self, low: int, high: int) -> bool:
        """Whether every integer of [low, high] is a code of this format."""
        return self.low <= low and high <= self.high

    def __str__(self) -> str:
        return f"{'int' if self.signed else 'uint'}{self.width}"

    @staticmethod
    def for_range(low: int, high: int) -> IntFormat:
        """The least format that holds [low, high]: signed if ``low`` is negative. At least one bit."""
        if low > high:
            raise ValueError(f"empty range [{low}, {high}]")
        if low < 0:
            return IntFormat(max((-low - 1).bit_length(), high.bit_length() if high > 0 else 0) + 1, True)
        return IntFormat(max(1, high.bit_length()), False)


@dataclass(frozen=True)
class FixedPoint:
    """A fixed-point format: code · 2**-frac. ``frac`` may be negative or exceed ``width``.

    ``FixedPoint(8, 7, True)`` is ``ap_fixed<8,1>``: the integer bits of the Vitis notation count the sign bit, so
    ``frac = width - integer`` for both signed and unsigned formats.
    """

    width: int
    frac: int
    signed: bool

    @property
    def integers(self) -> IntFormat:
        return IntFormat(self.width, self.signed)

    @property
    def scale(self) -> Fraction:
        """The real value of one code."""
        return Fraction(2) ** -self.frac

    def __str__(self) -> str:
        return f"{'fixed' if self.signed else 'ufixed'}<{self.width},{self.width - self.frac}>"


_FIXED = re.compile(r"\s*(?:ap_)?(u?)fixed\s*<\s*(\d+)\s*,\s*([+-]?\d+)\s*>\s*")
_INT = re.compile(r"\s*(u?)int(\d+)\s*")


def parse_format(text: str) -> FixedPoint:
    """Read ``fixed<W,I>``, ``ufixed<W,I>`` (I counts the sign bit), ``intN`` or ``uintN`` (codes are the values).

    Raises UsageError for any other text, for widths outside 1 to 64 bits, and for exponents that float64 lacks.
    """
    if match := _FIXED.fullmatch(text):
        width = int(match[2])
        result = FixedPoint(width, width - int(match[3]), not match[1])
    elif match := _INT.fullmatch(text):
        result = FixedPoint(int(match[2]), 0, not match[1])
    else:
        raise UsageError(
            f"cannot read the number format {text!r}: write fixed<W,I> or ufixed<W,I> (W bits in all, I integer bits "
            "counting the sign, as ap_fixed does), or int8, uint8, ..."
        )
    result.integers  # noqa: B018  raises for widths that no format has
    if abs(result.frac) > MAX_FRAC:
        raise UsageError(f"{text.strip()}: one code is worth 2**{-result.frac}, beyond float64's exponents")
    return result
