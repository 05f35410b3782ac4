"""gemmlowp's fixed-point exponential, logistic and tanh on Python integers: what the reference tables are made of.

A value Qi.f has i integer and f = 31 - i fractional bits in an int32. Source of the rules: gemmlowp's fixedpoint.h,
restated.
"""

from __future__ import annotations

import math

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
_ONE = INT32_MAX
"""The largest Q0.31 value stands for one."""

_EXP_FACTORS = (
    # (e, round(exp(-2**e) * 2**31)): the factors of exp for the bits above the quarter
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)


def high_mul(a: int, b: int, bits: int = 32) -> int:
    """SaturatingRoundingDoublingHighMul for int32 (or int16) operands: a*b / 2**(bits-1), half up, saturated."""
    product = a * b
    nudge = (1 << (bits - 2)) if product >= 0 else 1 - (1 << (bits - 2))
    total = product + nudge
    one = 1 << (bits - 1)
    return min(total // one if total >= 0 else -(-total // one), one - 1)


def divide_pot(x: int, exponent: int) -> int:
    """RoundingDivideByPOT: x / 2**exponent, half away from zero."""
    if exponent == 0:
        return x
    half = 1 << (exponent - 1)
    return (x + half) >> exponent if x >= 0 else -((-x + half) >> exponent)


def shift_left(x: int, exponent: int) -> int:
    """x * 2**exponent, saturated to int32."""
    return max(INT32_MIN, min(INT32_MAX, x << exponent))


def multiply(x: int, multiplier: int, shift: int) -> int:
    """MultiplyByQuantizedMultiplier with double rounding; ``shift`` is TFLite's (positive is left)."""
    return divide_pot(high_mul(_int32(x << max(shift, 0)), multiplier), max(-shift, 0))


def _int32(x: int) -> int:
    return ((x + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def exp_on_negative(a: int, integer_bits: int) -> int:
    """exp(a) for a <= 0 in Q(integer_bits), in Q0.31."""
    if a == 0:
        return _ONE
    frac = 31 - integer_bits
    quarter = 1 << (frac - 2)
    modulo = (a & (quarter - 1)) - quarter
    constant = 1895147668  # exp(-1/8)
    x = shift_left(modulo, integer_bits) + (1 << 28)
    x2 = high_mul(x, x)
    inner = divide_pot(high_mul(divide_pot(high_mul(x2, x2), 2) + high_mul(x2, x), 715827883) + x2, 1)
    result = constant + high_mul(constant, x + inner)
    remainder = modulo - a
    for exponent, factor in _EXP_FACTORS:
        if integer_bits > exponent and remainder & (1 << (frac + exponent)):
            result = high_mul(result, factor)
    return result


def _reciprocal_of_half_sum(a: int) -> int:
    """2 / (1 + a) for a in [0, 1] (Q0.31), in Q2.29: Newton-Raphson, three steps."""
    total = a + _ONE
    half = (total + 1) >> 1 if total >= 0 else -((-total + 1) >> 1)
    x = 1515870810 + high_mul(half, -1010580540)  # 48/17 - 32/17 * half
    for _ in range(3):
        x += shift_left(high_mul(x, (1 << 29) - high_mul(half, x)), 2)
    return x


def logistic(a: int, integer_bits: int) -> int:
    """1 / (1 + exp(-a)) for a in Q(integer_bits), in Q0.31."""
    if a == 0:
        return 1 << 30
    positive = shift_left(_reciprocal_of_half_sum(exp_on_negative(-abs(a), integer_bits)), 1)
    return positive if a > 0 else _ONE - positive


def tanh(a: int, integer_bits: int) -> int:
    """tanh(a) for a in Q(integer_bits), in Q0.31: (1 - e) / (1 + e) with e = exp(-2|a|)."""
    if a == 0:
        return 0
    # Doubling the argument is reading the same bits with one integer bit more.
    x = _reciprocal_of_half_sum(exp_on_negative(-abs(a), integer_bits + 1))
    magnitude = shift_left(x - (1 << 29), 2)
    return magnitude if a > 0 else -magnitude


_ONE_MORE = (
    *(4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40, 41, 43, 44, 45, 46, 49),
    *(50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255),
)
"""Indices at which TensorFlow Lite's table is one above the rounded value (as it was written down there)."""


def sigmoid_table() -> tuple[int, ...]:
    """sigmoid(i / 24) * 2**16 for i = 0 ... 255, as TensorFlow Lite's int16 kernels hold it."""
    return tuple(math.floor(65536 / (1 + math.exp(-i / 24)) + 0.5) + (i in _ONE_MORE) for i in range(256))


def int16_multiplier(scale: float, most_left: int) -> tuple[int, int]:
    """(multiplier, right shift) that bring int16 codes of ``scale`` to 1 / (3 * 4096) per unit.

    A power-of-two scale of 2**-12 (up to 2**(most_left - 12)) is taken exactly; others get a multiplier below 2**15.
    """
    log2 = math.log2(scale)
    left = 12 + round(log2)
    if abs(log2 - round(log2)) < 1e-3 and 0 <= left <= most_left:
        return 3 << left, 0
    multiplier, shift = scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    return int(multiplier), shift


def _scaled16(code: int, multiplier: int, shift: int) -> int:
    return (code * multiplier + (1 << (shift - 1) if shift else 0)) >> shift


def logistic16(code: int, multiplier: int, shift: int, table: tuple[int, ...]) -> int:
    """int16 logistic: linear interpolation in the table of 256 values, 9 fractional bits, result in Q0.15."""
    x = _scaled16(code, multiplier, shift)
    index, part = abs(x) >> 9, abs(x) & 0x1FF
    result = 0x7FFF << 10 if index >= 255 else (table[index] << 9) + part * (table[index + 1] - table[index])
    return (result + (1 << 9) if x >= 0 else (1 << 25) - result + (1 << 9) - 1) >> 10


def tanh16(code: int, multiplier: int, shift: int, table: tuple[int, ...]) -> int:
    """int16 tanh as 2 * sigmoid(2 x) - 1, with 8 fractional bits, result in Q0.15."""
    x = _scaled16(code, multiplier, shift)
    index, part = abs(x) >> 8, abs(x) & 0xFF
    result = 0xFFFF << 8 if index >= 255 else (table[index] << 8) + part * (table[index + 1] - table[index])
    return (result - (1 << 23) + (1 << 7) if x >= 0 else -result + (1 << 23) + (1 << 7) - 1) >> 8
