"""The overflow modes: what becomes of an integer outside its format. Names are Vitis' (UG1399)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

import numpy as np

from qsim.numerics.formats import IntFormat
from qsim.numerics.rounding import Array
from qsim.numerics.tables import exhaustive


class Overflow(Enum):
    """Values are the names used in text, JSON and templates."""

    WRAP = "wrap"  # keep the low bits (AP_WRAP)
    SAT = "sat"  # clip to the limits (AP_SAT)
    SAT_ZERO = "sat_zero"  # zero outside the limits (AP_SAT_ZERO)
    SAT_SYM = "sat_sym"  # clip to +-high (AP_SAT_SYM)
    WRAP_SM = "wrap_sm"  # sign-magnitude wrap (AP_WRAP_SM)


def limits(fmt: IntFormat, mode: Overflow) -> tuple[int, int]:
    """The least and greatest code that ``mode`` can produce in ``fmt``."""
    return (-fmt.high if fmt.signed else 0, fmt.high) if mode is Overflow.SAT_SYM else (fmt.low, fmt.high)


def wrap(x: Array, fmt: IntFormat) -> Array:
    """The low ``fmt.width`` bits of x, read as ``fmt``."""
    x = np.asarray(x)
    if fmt.width == 64:
        if fmt.signed and x.dtype != object:
            return x
        wide = x.astype(object) & ((1 << 64) - 1)
        return np.where(wide > fmt.high, wide - (1 << 64), wide)
    one = np.asarray(1, dtype=x.dtype)
    low_bits = x & ((one << fmt.width) - one)
    if not fmt.signed:
        return np.asarray(low_bits)
    sign = (low_bits >> (fmt.width - 1)) & one
    return np.asarray(low_bits - (sign << fmt.width))


def _saturated(x: Array, fmt: IntFormat, mode: Overflow) -> Array:
    low, high = limits(fmt, mode)
    return np.asarray(np.minimum(np.maximum(x, low), high))


def _wrapped_sm(x: Array, fmt: IntFormat) -> Array:
    kept = wrap(x, fmt)
    if not fmt.signed:
        return kept
    one = np.asarray(1, dtype=x.dtype)
    lowest_dropped = (x >> min(fmt.width, 63)) & one
    kept_sign = (x >> (fmt.width - 1)) & one
    return np.where(lowest_dropped != kept_sign, wrap(~kept, fmt), kept)


_RULES: Mapping[Overflow, Callable[[Array, IntFormat], Array]] = exhaustive(
    {
        Overflow.WRAP: wrap,
        Overflow.SAT: lambda x, fmt: _saturated(x, fmt, Overflow.SAT),
        Overflow.SAT_ZERO: lambda x, fmt: np.where((x < fmt.low) | (x > fmt.high), np.zeros_like(x), x),
        Overflow.SAT_SYM: lambda x, fmt: _saturated(x, fmt, Overflow.SAT_SYM),
        Overflow.WRAP_SM: _wrapped_sm,
    },
    Overflow,
    "numerics.overflow",
)


def overflow(x: Array, fmt: IntFormat, mode: Overflow) -> Array:
    """Bring x into ``fmt``, elementwise; codes in, codes out.

    WRAP_SM (UG1399): for a signed format the value whose kept sign bit differs from the lowest dropped bit has all its
    remaining bits inverted, which folds the number line back and forth instead of jumping; for an unsigned format it
    is WRAP.
    """
    return _RULES[mode](np.asarray(x), fmt)
