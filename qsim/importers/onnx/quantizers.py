"""QONNX's quantizers and the standard's QuantizeLinear as rules: on constants as every executor computes them, in
float32, and on activations as exact staircases of real numbers.

Source of the rules: qonnx.custom_op.general (intquant, bipolar_quant, trunc) and the ONNX standard's QuantizeLinear.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.onnx.constant import Constant
from qsim.importers.symbolic.value import fractions
from qsim.numerics import Array, Rounding
from qsim.numerics.nearest import HALF, round_nearest
from qsim.quantizers.rules import Jump, Steps, Uniform

MOST_BITS = 32
MOST_STEPS = 1 << 20


class Mode(Enum):
    """How a quantizer rounds, by the rule (QONNX's names mislead: see ``MODES``)."""

    HALF_EVEN = "half even"
    HALF_AWAY = "half away from zero"
    HALF_ZERO = "half toward zero"
    FLOOR = "floor"
    CEIL = "ceil"
    AWAY = "away from zero"
    ZERO = "toward zero"


MODES = {
    "ROUND": Mode.HALF_EVEN,
    "HALF_EVEN": Mode.HALF_EVEN,
    "HALF_UP": Mode.HALF_AWAY,
    "HALF_DOWN": Mode.HALF_ZERO,
    "FLOOR": Mode.FLOOR,
    "CEIL": Mode.CEIL,
    "UP": Mode.AWAY,
    "DOWN": Mode.ZERO,
}
"""QONNX's rounding_mode -> what it does."""

_NEAREST = {
    Mode.HALF_EVEN: Rounding.RND_CONV,
    Mode.HALF_AWAY: Rounding.RND_INF,
    Mode.HALF_ZERO: Rounding.RND_ZERO,
}


def rounded(x: Fraction, mode: Mode) -> int:
    """x as an integer."""
    match mode:
        case Mode.FLOOR:
            return x.__floor__()
        case Mode.CEIL:
            return x.__ceil__()
        case Mode.AWAY:
            return x.__ceil__() if x > 0 else x.__floor__()
        case Mode.ZERO:
            return int(x)
        case _:
            return round_nearest(x, _NEAREST[mode])


def rounded_floats(x: Array, mode: Mode) -> Array:
    """Float numbers as integral ones, each step in the array's own precision, as qonnx's executor takes it."""
    sign, size = np.sign(x), np.abs(x)
    half = x.dtype.type(0.5)
    match mode:
        case Mode.HALF_EVEN:
            return np.asarray(np.round(x))
        case Mode.HALF_AWAY:
            return np.asarray(sign * np.floor(size + half))
        case Mode.HALF_ZERO:
            return np.asarray(sign * np.ceil(size - half))
        case Mode.FLOOR:
            return np.asarray(np.floor(x))
        case Mode.CEIL:
            return np.asarray(np.ceil(x))
        case Mode.AWAY:
            return np.asarray(sign * np.ceil(size))
        case Mode.ZERO:
            return np.asarray(np.fix(x))


@dataclass(frozen=True, kw_only=True)
class Grid:
    """code = round(clip(x / scale + zero, low, high)), value = (code - zero) * scale.

    scale, zero: Fractions that broadcast against x, in the file's layout. low, high: real limits, before the rounding.
    late: the zero point (an integer) is added behind the rounding, as QuantizeLinear does. sign: the code is +1 where
    x / scale + zero >= 0, else -1, whatever the limits.
    """

    scale: Array
    zero: Array
    low: Fraction
    high: Fraction
    mode: Mode
    late: bool = False
    sign: bool = False

    @property
    def codes(self) -> tuple[int, int]:
        """The least and greatest code."""
        return (-1, 1) if self.sign else (rounded(self.low, self.mode), rounded(self.high, self.mode))

    @property
    def shift(self) -> Array:
        """What is added before the rounding."""
        return fractions(0) if self.late else self.zero

    def rule(self) -> Uniform | Steps:
        """On x / scale + shift."""
        if self.sign:
            return Steps(-1, (Jump(Fraction(0), True, 2),), (Fraction(1),))
        (low, high), one = self.codes, Fraction(1)
        if self.mode in _NEAREST:
            return Uniform(one, low, high, (one,), _NEAREST[self.mode], self.behind)
        if high - low > MOST_STEPS:
            raise UnsupportedError(
                f"it rounds {self.mode.value} to {high - low + 1} codes", way_out="use ROUND, or fewer bits"
            )
        jumps = []
        for k in range(low + 1, high + 1):
            above = self.mode is Mode.CEIL or (self.mode is Mode.AWAY and k > 0) or (self.mode is Mode.ZERO and k <= 0)
            jumps.append(Jump(Fraction(k - 1 if above else k), not above, 1))
        return Steps(low, tuple(jumps), (one,))

    def directed(self, low: Fraction, high: Fraction) -> tuple[Uniform, Fraction] | None:
        """For modes that round in one direction: the same as a round to nearest behind an addend, of arguments within
        [low, high]; None where a mode goes both ways there."""
        mode = self.mode
        if mode in (Mode.AWAY, Mode.ZERO):
            if low < 0 < high:
                return None
            mode = Mode.FLOOR if (mode is Mode.ZERO) == (low >= 0) else Mode.CEIL
        if mode not in (Mode.FLOOR, Mode.CEIL) or self.sign:
            return None
        one, (least, greatest) = Fraction(1), self.codes
        if mode is Mode.FLOOR:
            return Uniform(one, least, greatest, (one,), Rounding.RND), -HALF
        return Uniform(one, least, greatest, (one,), Rounding.RND_MIN_INF), HALF

    @property
    def behind(self) -> int:
        """The zero point that is added behind the rounding."""
        return int(self.zero.reshape(-1)[0]) if self.late else 0

    def constant(self, x: Constant) -> Constant:
        """The quantized constant, in float32 (float64 for DOUBLE) as an executor computes it."""
        kind = np.float64 if x.dtype == "DOUBLE" else np.float32
        scale, zero, low, high = (_floats(part).astype(kind) for part in (
            self.scale, self.zero, np.asarray(self.low, dtype=object), np.asarray(self.high, dtype=object)
        ))  # fmt: skip
        y = np.divide(x.floats().astype(kind), scale)
        if self.late:
            codes = np.clip(np.rint(y).astype(np.float64) + zero, float(self.low), float(self.high)) - zero
        elif self.sign:
            codes = np.where(y + zero >= 0, 1.0, -1.0)
        else:
            codes = rounded_floats(np.clip(y + zero, low, high), self.mode)
        if any(z.denominator != 1 for z in self.zero.reshape(-1).tolist()):
            raise UnsupportedError(
                "its zero point for weights is no integer", way_out="use a zero point of 0 for weights"
            )
        whole = codes.astype(np.int64)
        if not self.late:
            whole = whole - np.broadcast_to(self.zero, whole.shape).astype(np.int64)
        return Constant(codes=whole, scale=_against(self.scale, whole.ndim), dtype=x.dtype)


def _floats(values: Array) -> Array:
    return np.array([float(v) for v in values.reshape(-1).tolist()]).reshape(values.shape)


def _against(scale: Array, rank: int) -> Array:
    return scale.reshape(()) if scale.size == 1 else scale


def positive_scale(constant: Constant, what: str) -> Array:
    """A quantizer's scale, as stored. Raises ModelError unless it is positive."""
    scale = constant.least()
    if any(v <= 0 for v in scale.reshape(-1).tolist()):
        raise ModelError(f"{what} is not positive.")
    return scale


def bits_of(constant: Constant, what: str) -> Fraction:
    """A bit width, which need not be an integer."""
    bits = constant.number(what)
    if not 1 <= bits <= MOST_BITS:
        raise UnsupportedError(f"{what} is {float(bits):g}", way_out=f"use 1 to {MOST_BITS} bits")
    return bits


def int_limits(bits: Fraction, *, signed: bool, narrow: bool) -> tuple[Fraction, Fraction]:
    """QONNX's limits: -2**(bits-1) (+ 1 narrow) to 2**(bits-1) - 1; unsigned 0 to 2**bits - 1 (- 1 narrow). Fractional
    bits give real limits, as float32 numbers."""

    def power(exponent: Fraction) -> Fraction:
        if exponent.denominator == 1:
            return Fraction(2) ** int(exponent)
        return Fraction(float(np.float32(2) ** np.float32(float(exponent))))

    if signed:
        half = power(bits - 1)
        return -half + int(narrow), half - 1
    return Fraction(0), power(bits) - 1 - int(narrow)
