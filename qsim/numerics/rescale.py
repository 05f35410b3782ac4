"""Requantization by multiplier and shift: the schemes, each as an equation on integers.

Sources: ``PLAIN`` is fixed-point arithmetic; the TFLite schemes restate gemmlowp's and TensorFlow Lite's
``MultiplyByQuantizedMultiplier`` (double and single rounding) and their optimised kernels' variant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

import numpy as np

from qsim.errors import GraphError
from qsim.numerics.intarray import IntArray, scalar
from qsim.numerics.rounding import Array, Rounding, shift_rounded
from qsim.numerics.tables import exhaustive

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


class Scheme(Enum):
    """How multiplier and shift act. ``s`` is the right shift: the factor is multiplier * 2**-s (PLAIN) or
    multiplier * 2**-31 * 2**-s (the TFLite schemes, where the multiplier is a Q31 number and -s TFLite's ``shift``).

    PLAIN           round((x*m + a) * 2**-s) in the given rounding mode
    TFLITE_DOUBLE   RDBPOT(SRDHM(x * 2**max(-s,0), m), max(s,0)), two roundings, both nearest; the second half away
    TFLITE_UPWARD   the same with the second rounding half up (LiteRT's optimised kernels)
    TFLITE_SINGLE   (x*m + 2**(30+s)) >> (31+s), one rounding, half up
    FLOAT32         round_half_even(float32(float32(x) * (m * 2**-s))): XNNPACK; m has at most 24 bits
    """

    PLAIN = "plain"
    TFLITE_DOUBLE = "tflite_double"
    TFLITE_UPWARD = "tflite_upward"
    TFLITE_SINGLE = "tflite_single"
    FLOAT32 = "float32"


OWN_ROUNDING: Mapping[Scheme, Rounding | None] = exhaustive(
    {
        Scheme.PLAIN: None,
        Scheme.TFLITE_DOUBLE: Rounding.RND_INF,
        Scheme.TFLITE_UPWARD: Rounding.RND,
        Scheme.TFLITE_SINGLE: Rounding.RND,
        Scheme.FLOAT32: Rounding.RND_CONV,
    },
    Scheme,
    "numerics.rescale",
)
"""The rounding that a scheme brings with it; None where it is the rescale's to choose."""


@dataclass(frozen=True, kw_only=True)
class Rescale:
    """One affine rescale: integers in, integers out, before zero point and overflow.

    ``multiplier``, ``addend`` and ``shift`` (a right shift; negative is a left shift) broadcast against the tensor.
    ``addend`` is zero and ``rounding`` is the scheme's own (RND_INF, RND, RND, RND_CONV) for all but PLAIN.
    """

    multiplier: IntArray
    addend: IntArray
    shift: IntArray
    rounding: Rounding
    scheme: Scheme

    def __post_init__(self) -> None:
        own = OWN_ROUNDING[self.scheme]
        if own is None:
            return
        if self.rounding is not own or self.addend.low or self.addend.high:
            raise GraphError(f"scheme {self.scheme.value} rounds {own.value} and takes no addend")
        if self.multiplier.low < INT32_MIN or self.multiplier.high > INT32_MAX:
            raise GraphError(f"scheme {self.scheme.value} takes a 32-bit multiplier")

    @property
    def is_shift(self) -> bool:
        """Whether this is round(x * 2**-s) alone."""
        return self.scheme is Scheme.PLAIN and self.multiplier == scalar(1) and self.addend == scalar(0)


def shift_only(shift: int, rounding: Rounding) -> Rescale:
    """round(x * 2**-shift)."""
    return Rescale(multiplier=scalar(1), addend=scalar(0), shift=scalar(shift), rounding=rounding, scheme=Scheme.PLAIN)


def quantize_multiplier(factor: float | Fraction) -> tuple[int, int]:
    """TFLite's QuantizeMultiplier: (multiplier, right shift), factor ~ multiplier * 2**-31 * 2**-shift.

    frexp gives q in [0.5, 1); round(q * 2**31) half away; 2**31 becomes 2**30 with the exponent one up; a right
    shift above 31 gives (0, 0).
    """
    if factor == 0:
        return 0, 0
    mantissa, exponent = math.frexp(float(factor))
    fixed = math.floor(abs(mantissa) * (1 << 31) + 0.5)
    if fixed == 1 << 31:
        fixed, exponent = fixed // 2, exponent + 1
    if exponent < -31:
        return 0, 0
    return (fixed if mantissa > 0 else -fixed), -exponent


def saturating_rounding_doubling_high_mul(a: Array, b: Array) -> Array:
    """gemmlowp's SRDHM on int32 values held in int64: (a*b + nudge) / 2**31 truncated; INT_MIN squared saturates.

    nudge = 2**30 if a*b >= 0 else 1 - 2**30: for either sign that is floor((a*b + 2**30) / 2**31), half up.
    |a*b| <= 2**62, so int64 holds every step.
    """
    product = np.asarray(a * b)
    product += 1 << 30
    product >>= 31
    return np.asarray(np.minimum(product, INT32_MAX, out=product))


def _int32(x: Array) -> Array:
    """x as the low 32 bits, signed: what C's int32 arithmetic leaves where TFLite lets a left shift overflow."""
    if x.size == 0 or (int(x.min()) >= INT32_MIN and int(x.max()) <= INT32_MAX):
        return x
    return np.asarray((x + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def _float32_product(x: Array, multiplier: Array, shift: Array) -> Array:
    """FLOAT32 on integers: x to 24 significant bits, times the multiplier, again to 24, then to an integer."""

    def significant24(v: Array) -> tuple[Array, Array]:
        magnitude = np.abs(v)
        length = np.zeros_like(magnitude)
        rest = magnitude.copy()
        for step in (32, 16, 8, 4, 2, 1):
            big = rest >= (np.int64(1) << step)
            length += np.where(big, step, 0)
            rest = np.where(big, rest >> step, rest)
        length += rest
        drop = np.maximum(length - 24, 0)
        return shift_rounded(v, drop, Rounding.RND_CONV), drop

    xm, xe = significant24(x)
    pm, pe = significant24(xm * multiplier)
    return shift_rounded(pm, shift - xe - pe, Rounding.RND_CONV)


def _plain(x: Array, r: Rescale) -> Array:
    m, a, s = r.multiplier.values, r.addend.values, r.shift.values
    if r.is_shift:
        return shift_rounded(x, s, r.rounding)
    if x.dtype == object:
        m, a = m.astype(object), a.astype(object)
    return shift_rounded(x * m + a, s, r.rounding)


def _double(x: Array, r: Rescale) -> Array:
    m, s = r.multiplier.values, r.shift.values
    left, right = np.maximum(-s, 0), np.maximum(s, 0)
    high = saturating_rounding_doubling_high_mul(_int32(x << left if left.any() else x), m)
    return _shift_int32(high, right, r.rounding)


def _single(x: Array, r: Rescale) -> Array:
    return shift_rounded(x * r.multiplier.values, 31 + r.shift.values, Rounding.RND)


def _float32(x: Array, r: Rescale) -> Array:
    return _float32_product(*np.broadcast_arrays(x, r.multiplier.values, r.shift.values))


_SCHEMES: Mapping[Scheme, Callable[[Array, Rescale], Array]] = exhaustive(
    {
        Scheme.PLAIN: _plain,
        Scheme.TFLITE_DOUBLE: _double,
        Scheme.TFLITE_UPWARD: _double,
        Scheme.TFLITE_SINGLE: _single,
        Scheme.FLOAT32: _float32,
    },
    Scheme,
    "numerics.rescale",
)


def rescale(x: Array, r: Rescale) -> Array:
    """Apply ``r`` to the int64 (PLAIN also: object) array ``x``; see Scheme for the equations."""
    return _SCHEMES[r.scheme](x, r)


def _shift_int32(x: Array, right: Array, mode: Rounding) -> Array:
    """``shift_rounded`` of int32 values held in int64, half away (RND_INF) or half up (RND); overwrites ``x``.

    Half away is half up with one less for negative x, where there is a shift at all.
    """
    if int(right.max(initial=0)) > 31 or x.shape != np.broadcast_shapes(x.shape, right.shape):
        return shift_rounded(x, right, mode)
    half = (np.int64(1) << right) >> 1
    if mode is Rounding.RND_INF:
        x += (x >> 63) & -(right > 0).astype(np.int64)
    x += half
    x >>= right
    return x
