"""Round-to-nearest on exact fractions: the rational twin of ``rounding``, for analysis and quantizer rules."""

from __future__ import annotations

from fractions import Fraction

from qsim.numerics.rounding import Rounding

HALF = Fraction(1, 2)


def ties_up(k: int, rounding: Rounding) -> bool:
    """Whether k - 1/2 rounds to k. Raises ValueError for modes that do not round to nearest."""
    match rounding:
        case Rounding.RND_CONV:
            return k % 2 == 0
        case Rounding.RND:
            return True
        case Rounding.RND_MIN_INF:
            return False
        case Rounding.RND_INF:
            return k > 0
        case Rounding.RND_ZERO:
            return k <= 0
        case _:
            raise ValueError(f"{rounding} is not a round-to-nearest mode")


def round_nearest(x: Fraction, rounding: Rounding) -> int:
    """The integer nearest to x, ties by ``rounding``."""
    k = (x + HALF).__floor__()
    return k - 1 if x + HALF == k and not ties_up(k, rounding) else k
