"""The names that the kernels give to rounding modes, overflow modes and rescale schemes; every mode has one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from qsim.numerics import Overflow, Rounding, Scheme

Mode = TypeVar("Mode", bound=Enum)

ROUNDINGS = {
    Rounding.TRN: "TRN",
    Rounding.TRN_ZERO: "TRN_ZERO",
    Rounding.RND: "RND",
    Rounding.RND_ZERO: "RND_ZERO",
    Rounding.RND_MIN_INF: "RND_MIN_INF",
    Rounding.RND_INF: "RND_INF",
    Rounding.RND_CONV: "RND_CONV",
}
"""As in qsim_round.sv."""

OVERFLOWS = {
    Overflow.WRAP: "WRAP",
    Overflow.SAT: "SAT",
    Overflow.SAT_ZERO: "SAT_ZERO",
    Overflow.SAT_SYM: "SAT_SYM",
    Overflow.WRAP_SM: "WRAP_SM",
}
"""As in qsim_overflow.sv."""

SCHEMES = {
    Scheme.PLAIN: "PLAIN",
    Scheme.TFLITE_SINGLE: "PLAIN",  # (x * m + 2**(30 + s)) >> (31 + s) is round half up of x * m * 2**-(31 + s)
    Scheme.TFLITE_DOUBLE: "SRDHM",
    Scheme.TFLITE_UPWARD: "SRDHM",
    Scheme.FLOAT32: "FLOAT32",
}
"""As in qsim_rescale.sv."""


def check_modes(table: Mapping[Mode, str], modes: type[Mode]) -> None:
    """Raise TypeError unless ``table`` names every one of ``modes``: called at import."""
    if missing := [mode.name for mode in modes if mode not in table]:
        raise TypeError(f"the RTL kernels' names of {modes.__name__}: no entry for {missing}")


check_modes(ROUNDINGS, Rounding)
check_modes(OVERFLOWS, Overflow)
check_modes(SCHEMES, Scheme)
