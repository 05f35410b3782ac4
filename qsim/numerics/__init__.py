"""Formats, rounding and overflow modes, requantization schemes: the scalar truth that everything else uses."""

from qsim.numerics.bounds import FLOAT32_EXACT, FLOAT64_EXACT, INT64_SAFE, assert_fits
from qsim.numerics.formats import MAX_WIDTH, FixedPoint, IntFormat, parse_format
from qsim.numerics.intarray import IntArray, periodic, scalar
from qsim.numerics.overflow import Overflow, limits, overflow, wrap
from qsim.numerics.rescale import (
    Rescale,
    Scheme,
    quantize_multiplier,
    rescale,
    saturating_rounding_doubling_high_mul,
    shift_only,
)
from qsim.numerics.rounding import Array, Rounding, divide_rounded, shift_rounded
from qsim.numerics.tables import exhaustive

__all__ = [
    "FLOAT32_EXACT",
    "FLOAT64_EXACT",
    "INT64_SAFE",
    "MAX_WIDTH",
    "Array",
    "FixedPoint",
    "IntArray",
    "IntFormat",
    "Overflow",
    "Rescale",
    "Rounding",
    "Scheme",
    "assert_fits",
    "divide_rounded",
    "exhaustive",
    "limits",
    "overflow",
    "parse_format",
    "periodic",
    "quantize_multiplier",
    "rescale",
    "saturating_rounding_doubling_high_mul",
    "scalar",
    "shift_only",
    "shift_rounded",
    "wrap",
]
