"""The rounding modes, as one rule on (floor, remainder): the scalar truth of every division in qsim.

Names are Vitis' (UG1399, "ap_[u]fixed" quantization modes). TensorFlow Lite's RoundingDivideByPOT is ``RND_INF``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import numpy as np

from qsim.numerics.tables import exhaustive

Array = np.ndarray[Any, Any]
"""int64 arrays, or object arrays of Python integers where a value may pass 63 bits; all rules hold for both."""


class Rounding(Enum):
    """How a quotient that is not an integer becomes one. Values are the names used in text, JSON and templates."""

    TRN = "trn"  # toward minus infinity (AP_TRN, a plain arithmetic shift)
    TRN_ZERO = "trn_zero"  # toward zero (AP_TRN_ZERO, C's division)
    RND = "rnd"  # nearest, ties up (AP_RND)
    RND_ZERO = "rnd_zero"  # nearest, ties toward zero (AP_RND_ZERO)
    RND_MIN_INF = "rnd_min_inf"  # nearest, ties down (AP_RND_MIN_INF)
    RND_INF = "rnd_inf"  # nearest, ties away from zero (AP_RND_INF; TFLite RoundingDivideByPOT)
    RND_CONV = "rnd_conv"  # nearest, ties to even (AP_RND_CONV; numpy.rint, tf.round)


_Up = Callable[[Array, Array, Array, Array], Array]
"""(floor, whether the remainder is above half, whether it is half, whether x is negative) -> whether floor + 1 it is.

Asked only where there is a remainder."""

_UP: Mapping[Rounding, _Up] = exhaustive(
    {
        Rounding.TRN: lambda floor, above, tie, negative: np.zeros_like(above),
        Rounding.TRN_ZERO: lambda floor, above, tie, negative: negative,
        Rounding.RND: lambda floor, above, tie, negative: above | tie,
        Rounding.RND_ZERO: lambda floor, above, tie, negative: above | (tie & negative),
        Rounding.RND_MIN_INF: lambda floor, above, tie, negative: above,
        Rounding.RND_INF: lambda floor, above, tie, negative: above | (tie & ~negative),
        Rounding.RND_CONV: lambda floor, above, tie, negative: above | (tie & (floor % 2 == 1).astype(bool)),
    },
    Rounding,
    "numerics.rounding",
)


def _round_up(floor: Array, twice_remainder: Array, divisor: Array, negative: Array, mode: Rounding) -> Array:
    """Whether floor + 1 is the result. 0 <= twice_remainder < 2 * divisor; quotients that are whole stay."""
    above, tie = twice_remainder > divisor, twice_remainder == divisor
    return np.asarray(_UP[mode](floor, above, tie, negative) & (twice_remainder > 0))


def divide_rounded(x: Array, divisor: Array | int, mode: Rounding) -> Array:
    """round(x / divisor) for positive divisors, elementwise with broadcasting; codes in, codes out.

    For int64 arrays the caller has proven |x| < 2**62 and divisor < 2**62 (the remainder is doubled).
    """
    x = np.asarray(x)
    d = np.asarray(divisor, dtype=x.dtype)
    floor = x // d
    twice_remainder = (x - floor * d) * 2
    up = _round_up(floor, twice_remainder, d, (x < 0).astype(bool), mode)
    return np.asarray(floor + up.astype(x.dtype))


def shift_rounded(x: Array, shift: Array | int, mode: Rounding) -> Array:
    """round(x * 2**-shift), elementwise; a negative shift is an exact left shift.

    For int64 arrays the caller has proven that left shifts do not overflow; right shifts above 61 go through Python
    integers here.
    """
    x = np.asarray(x)
    s = np.asarray(shift, dtype=np.int64)
    if x.dtype != object and (s > 61).any():
        return shift_rounded(x.astype(object), shift, mode).astype(np.int64)
    right = np.maximum(s, 0).astype(x.dtype)
    left = np.maximum(-s, 0).astype(x.dtype)
    one = np.asarray(1, dtype=x.dtype)
    floor = x >> right
    power = one << right
    twice_remainder = (x - (floor << right)) * 2
    up = _round_up(floor, twice_remainder, power, (x < 0).astype(bool), mode)
    return np.asarray((floor + up.astype(x.dtype)) << left)
