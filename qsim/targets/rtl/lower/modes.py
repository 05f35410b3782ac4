"""The names that the kernels give to rounding modes, overflow modes and rescale schemes; every mode has one."""

from __future__ import annotations

from qsim.numerics import Overflow, Rounding, Scheme, exhaustive

ROUNDINGS = exhaustive(
    {
        Rounding.TRN: "TRN",
        Rounding.TRN_ZERO: "TRN_ZERO",
        Rounding.RND: "RND",
        Rounding.RND_ZERO: "RND_ZERO",
        Rounding.RND_MIN_INF: "RND_MIN_INF",
        Rounding.RND_INF: "RND_INF",
        Rounding.RND_CONV: "RND_CONV",
    },
    Rounding,
    "targets.rtl.lower.modes",
)
"""As in qsim_round.sv."""

OVERFLOWS = exhaustive(
    {
        Overflow.WRAP: "WRAP",
        Overflow.SAT: "SAT",
        Overflow.SAT_ZERO: "SAT_ZERO",
        Overflow.SAT_SYM: "SAT_SYM",
        Overflow.WRAP_SM: "WRAP_SM",
    },
    Overflow,
    "targets.rtl.lower.modes",
)
"""As in qsim_overflow.sv."""

SCHEMES = exhaustive(
    {
        Scheme.PLAIN: "PLAIN",
        Scheme.TFLITE_SINGLE: "PLAIN",  # (x * m + 2**(30 + s)) >> (31 + s) is round half up of x * m * 2**-(31 + s)
        Scheme.TFLITE_DOUBLE: "SRDHM",
        Scheme.TFLITE_UPWARD: "SRDHM",
        Scheme.FLOAT32: "FLOAT32",
    },
    Scheme,
    "targets.rtl.lower.modes",
)
"""As in qsim_rescale.sv."""

__all__ = ["OVERFLOWS", "ROUNDINGS", "SCHEMES"]
