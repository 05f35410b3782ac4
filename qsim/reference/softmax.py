"""TensorFlow Lite's integer softmax, on int64 arrays holding int32 values.

Source of the rule: tensorflow/lite/kernels/internal/reference/softmax.h and gemmlowp's fixedpoint.h, restated.
Fixed-point formats are written Qi.f: i integer bits, f = 31 - i fractional bits, in an int32.
"""

from __future__ import annotations

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.ir.ops import Softmax
from qsim.numerics import (
    Array,
    IntFormat,
    Rounding,
    saturating_rounding_doubling_high_mul,
    shift_rounded,
)

_ONE_Q0 = (1 << 31) - 1  # the largest Q0.31 value stands for one
_EXP_TERMS = (
    # (exponent of two, round(exp(-2**exponent) * 2**31)): the factors of exp over the bits of the integer part
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)
_INPUT_INTEGER_BITS, _SUM_INTEGER_BITS = 5, 12


def _mul(a: Array, b: Array | int) -> Array:
    return saturating_rounding_doubling_high_mul(a, np.asarray(b, dtype=np.int64))


def _divide_pot(x: Array, exponent: Array | int) -> Array:
    return shift_rounded(x, exponent, Rounding.RND_INF)


def _saturating_shift_left(x: Array, exponent: int) -> Array:
    return np.clip(x << exponent, -(1 << 31), (1 << 31) - 1)


def _exp_on_interval(a: Array) -> Array:
    """exp(a) for a in [-1/4, 0), Q0.31: a Taylor polynomial of degree four around -1/8."""
    constant_term, constant_1_over_3 = 1895147668, 715827883
    x = a + (1 << 28)
    x2 = _mul(x, x)
    x3 = _mul(x2, x)
    x4 = _mul(x2, x2)
    x4_over_4 = _divide_pot(x4, 2)
    inner = _divide_pot(_mul(x4_over_4 + x3, constant_1_over_3) + x2, 1)
    return constant_term + _mul(np.full_like(x, constant_term), x + inner)


def exp_on_negative_values(a: Array) -> Array:
    """exp(a) for a <= 0 in Q5.26, result in Q0.31."""
    frac = 31 - _INPUT_INTEGER_BITS
    quarter = 1 << (frac - 2)
    modulo = (a & (quarter - 1)) - quarter
    result = _exp_on_interval(modulo << _INPUT_INTEGER_BITS)
    remainder = modulo - a
    for exponent, factor in _EXP_TERMS:
        bit = 1 << (frac + exponent)
        result = np.where(remainder & bit, _mul(result, factor), result)
    return np.where(a == 0, _ONE_Q0, result)


def _one_over_one_plus_x(a: Array) -> Array:
    """1 / (1 + a) for a in [0, 1], Q0.31: three Newton-Raphson steps on the half denominator, in Q2.29."""
    half_denominator = shift_rounded(a + _ONE_Q0, 1, Rounding.RND_INF)
    constant_48_over_17, constant_neg_32_over_17, one_q2 = 1515870810, -1010580540, 1 << 29
    x = constant_48_over_17 + _mul(half_denominator, constant_neg_32_over_17)
    for _ in range(3):
        product = _mul(half_denominator, x)
        x = x + _saturating_shift_left(_mul(x, one_q2 - product), 2)
    return _saturating_shift_left(x, 1)


def softmax(x: Array, op: Softmax, fmt: IntFormat) -> Array:
    """The op's equation over the last axis; codes in, codes of ``fmt`` out."""
    diff = x - x.max(axis=-1, keepdims=True)
    used = diff >= op.diff_min
    scaled = _mul(np.where(used, diff, 0) << op.input_left_shift, op.input_multiplier)
    exps = exp_on_negative_values(scaled)
    terms = np.where(used, _divide_pot(exps, _SUM_INTEGER_BITS), 0)
    total = terms.sum(axis=-1, keepdims=True)
    length = np.zeros_like(total)
    rest = total.copy()
    for step in (16, 8, 4, 2, 1):
        big = rest >= (1 << step)
        length += np.where(big, step, 0)
        rest = np.where(big, rest >> step, rest)
    headroom = 31 - length  # leading zeros of the 32-bit sum; its top bit is at ``length``
    shifted = ((total << headroom) & 0xFFFFFFFF) - (1 << 31)
    reciprocal = _one_over_one_plus_x(shifted)
    bits_over_unit = _SUM_INTEGER_BITS - headroom
    exponent = bits_over_unit + 31 - fmt.width
    unsaturated = _divide_pot(_mul(exps, reciprocal), exponent)
    y = np.clip(unsaturated + fmt.low, fmt.low, fmt.high)
    return np.where(used, y, fmt.low)


def _softmax(op: o.Softmax, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    return softmax(inputs[0], op, out.format)


def _argmax(op: o.ArgMax, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    return np.argmax(inputs[0], axis=op.axis + 1).astype(np.int64).reshape(-1, *out.shape)


KERNELS = dict(
    (
        o.entry(o.Softmax, _softmax),
        o.entry(o.ArgMax, _argmax),
    )
)
