"""Round-to-nearest on exact fractions: the rational twin of ``rounding``, for analysis and quantizer rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from qsim.numerics.rounding import Rounding
from qsim.numerics.tables import exhaustive

HALF = Fraction(1, 2)


_TIES_UP: Mapping[Rounding, Callable[[int], bool] | None] = exhaustive(
    {
        Rounding.TRN: None,
        Rounding.TRN_ZERO: None,
        Rounding.RND: lambda k: True,
        Rounding.RND_ZERO: lambda k: k <= 0,
        Rounding.RND_MIN_INF: lambda k: False,
        Rounding.RND_INF: lambda k: k > 0,
        Rounding.RND_CONV: lambda k: k % 2 == 0,
    },
    Rounding,
    "numerics.nearest",
)


def ties_up(k: int, rounding: Rounding) -> bool:
    """Whether k - 1/2 rounds to k. Raises ValueError for modes that do not round to nearest."""
    rule = _TIES_UP[rounding]
    if rule is None:
        raise ValueError(f"{rounding} is not a round-to-nearest mode")
    return rule(k)


def round_nearest(x: Fraction, rounding: Rounding) -> int:
    """The integer nearest to x, ties by ``rounding``."""
    k = (x + HALF).__floor__()
    return k - 1 if x + HALF == k and not ties_up(k, rounding) else k
