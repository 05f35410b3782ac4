"""Rescales by real factors, in the form that each engine gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qsim.importers.tflite.model import INTEGER_FORMATS, TfliteTensor
from qsim.numerics import IntArray, Rescale, Rounding, Scheme, quantize_multiplier, scalar
from qsim.numerics.rescale import OWN_ROUNDING


def make_rescale(scheme: Scheme, factors: Sequence[float]) -> Rescale:
    """A rescale by real factors: one for the tensor or one per channel.

    FLOAT32 takes each factor as the float32 that it is; the TFLite schemes take QuantizeMultiplier of it.
    """
    if scheme is Scheme.FLOAT32:
        pairs = [_float32_pair(f) for f in factors]
    else:
        pairs = [quantize_multiplier(f) for f in factors]
    return paired_rescale(scheme, pairs)


def paired_rescale(scheme: Scheme, pairs: Sequence[tuple[int, int]]) -> Rescale:
    """A rescale from (multiplier, right shift) pairs; per channel only where they differ."""
    own = OWN_ROUNDING[scheme]
    if own is None:
        raise ValueError(f"scheme {scheme.value} has no rounding of its own")
    if all(p == pairs[0] for p in pairs):
        multiplier, shift = scalar(pairs[0][0]), scalar(pairs[0][1])
    else:
        multiplier, shift = IntArray([m for m, _ in pairs]), IntArray([s for _, s in pairs])
    return Rescale(multiplier=multiplier, addend=scalar(0), shift=shift, rounding=own, scheme=scheme)


def wide_rescale(factors: Sequence[float]) -> Rescale:
    """TFLite's MultiplyByQuantizedMultiplier for 64-bit accumulators: a 16-bit multiplier, rounded half up once.

    (x * reduced + 2**(14+s)) >> (15+s), reduced = min((m + 2**15) >> 16, 0x7FFF).
    """
    pairs = []
    for factor in factors:
        m, s = quantize_multiplier(factor)
        pairs.append(((m + (1 << 15)) >> 16 if m < 0x7FFF0000 else 0x7FFF, 15 + s))
    one = all(p == pairs[0] for p in pairs)
    return Rescale(
        multiplier=scalar(pairs[0][0]) if one else IntArray([m for m, _ in pairs]),
        addend=scalar(0),
        shift=scalar(pairs[0][1]) if one else IntArray([s for _, s in pairs]),
        rounding=Rounding.RND,
        scheme=Scheme.PLAIN,
    )


def _float32_pair(factor: float) -> tuple[int, int]:
    mantissa, exponent = np.frexp(np.float32(factor))
    return int(mantissa * (1 << 24)), 24 - int(exponent)


def identity_rescale() -> Rescale:
    """r(x) = x."""
    return Rescale(multiplier=scalar(1), addend=scalar(0), shift=scalar(0), rounding=Rounding.TRN, scheme=Scheme.PLAIN)


def byte_rescale(x: TfliteTensor, y: TfliteTensor, up: np.float32, down: np.float32) -> Callable[[int], int]:
    """XNNPACK's int8 to int8: code -> clip(((code - zx) * m + 128 >> 8) + zy), m = round_half_even(256 * factor), the
    factor being ``up`` for codes of at least zx and ``down`` below it."""
    multipliers = [int(np.rint(np.float32(256) * factor)) for factor in (up, down)]
    fmt = INTEGER_FORMATS[y.type]

    def code(c: int) -> int:
        value = c - x.zero_point
        rescaled = (value * multipliers[value < 0] + 128 >> 8) + y.zero_point
        return max(fmt.low, min(fmt.high, rescaled))

    return code
