"""The proof that integer code in numpy needs: a stated interval inside a stated number of bits."""

from __future__ import annotations

from qsim.errors import UnsupportedError

INT64_SAFE = (1 << 62) - 1
"""Magnitude up to which rounding in int64 (which doubles a remainder) is exact."""

FLOAT64_EXACT, FLOAT32_EXACT = 1 << 53, 1 << 24
"""Magnitudes up to which every integer, and so every partial sum, is exact in float64 and float32."""


def assert_fits(low: int, high: int, what: str, *, layer: str | None = None) -> None:
    """Raise UnsupportedError unless [low, high] lies within 62 bits of magnitude, where int64 code is exact."""
    if low < -INT64_SAFE or high > INT64_SAFE:
        bits = max(abs(low), abs(high)).bit_length() + 1
        raise UnsupportedError(
            f"{what} can reach {low if -low > high else high}, which takes {bits} bits; qsim computes in 63",
            layer=layer,
            way_out="quantize an activation before this layer (QActivation) or use fewer weight bits",
        )
