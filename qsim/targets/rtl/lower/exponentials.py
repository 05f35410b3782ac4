"""The exponentials of TFLite's integer softmax as a table over the differences to the maximum."""

from __future__ import annotations

from qsim.errors import UnsupportedError
from qsim.ir import ops as o

MAX_ENTRIES = 1 << 16
MAX_ROW = 4095
"""Classes whose sum surely fits 32 bits with 12 integer bits."""

# exp(-2**e) in Q0.31 for e = -2 .. 4 (gemmlowp/fixedpoint.h, exp_on_negative_values)
_FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def _high_mul(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul; C's division truncates."""
    product = a * b
    nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
    quotient = abs(nudged) >> 31
    return min(quotient if nudged >= 0 else -quotient, (1 << 31) - 1)


def _divide(x: int, exponent: int) -> int:
    """gemmlowp's RoundingDivideByPOT: nearest, ties away from zero."""
    half = 1 << (exponent - 1)
    return (x + half) >> exponent if x >= 0 else -((-x + half) >> exponent)


def _exponential(a: int) -> int:
    """exp(a) in Q0.31 for a <= 0 in Q5.26: a polynomial on the quarter below, times a factor for every higher bit."""
    if a == 0:
        return (1 << 31) - 1
    quarter = 1 << 24
    modulo = a % quarter - quarter
    x = (modulo << 5) + (1 << 28)
    x2 = _high_mul(x, x)
    x3, x4 = _high_mul(x2, x), _high_mul(x2, x2)
    inner = _divide(_high_mul(_divide(x4, 2) + x3, 715827883) + x2, 1)
    result = 1895147668 + _high_mul(1895147668, x + inner)
    for bit, factor in enumerate(_FACTORS, 24):
        if (modulo - a) >> bit & 1:
            result = _high_mul(result, factor)
    return result


def exponentials(op: o.Softmax, reach: int, layer: str) -> list[int]:
    """exp of every difference 0, -1, ... down to ``op.diff_min`` or -``reach``, in Q0.31.

    Raises UnsupportedError for tables beyond MAX_ENTRIES.
    """
    count = min(reach, -op.diff_min) + 1
    if count > MAX_ENTRIES:
        raise UnsupportedError(
            f"the softmax would need a table of {count} exponentials; the RTL target holds {MAX_ENTRIES}",
            layer=layer,
            way_out="requantize the logits to 16 bits or fewer",
        )
    return [_exponential(_high_mul(-k << op.input_left_shift, op.input_multiplier)) for k in range(count)]
