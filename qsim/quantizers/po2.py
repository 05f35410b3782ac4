"""Power-of-two quantizers: sign and exponent, so that a product is a shift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from qsim.errors import UnsupportedError
from qsim.numerics import Array
from qsim.quantizers.autoscale import EPSILON
from qsim.quantizers.base import Quantizer, Weights, fractions_of
from qsim.quantizers.rules import Function, Jump, Rule, Steps

WIDEST = 40
"""Dynamic range, in bits, beyond which an activation's powers of two are refused."""

_EPS = Fraction(float(np.float32(EPSILON)))
_ROOT2 = Fraction(math.isqrt(2 << 240) + 1, 1 << 120)
"""sqrt(2) from above to 120 bits: no binary fraction of fewer bits lies between the root and it."""


@dataclass(frozen=True, kw_only=True)
class _PowerOfTwo(Quantizer):
    """What both have in common. At exact ties (odd powers of two under quadratic_approximation, powers of two under
    'floor')
    float32's logarithm decides, as numpy computes it; TensorFlow's own vector and scalar code differ there. e(a) for
    a >= 0 is clip(round(log2(min(a, max_value))), least, greatest) for a >=
    epsilon,
    else least. quadratic_approximation: 2 clip(round(log2(sqrt(a))), ...). log2_rounding 'floor' floors instead."""

    bits: int = 8
    max_value: float | None = None

    log2_rounding: str = "rnd"
    quadratic_approximation: bool = False
    use_stochastic_rounding: bool = False
    qnoise_factor: float = 1.0

    exponent_bits_lost: ClassVar[int] = 0

    def check(self) -> None:
        super().check()
        if self.log2_rounding not in ("rnd", "floor"):
            reason = f"{self.name} has log2_rounding={self.log2_rounding!r}"
            raise UnsupportedError(reason, way_out="use 'rnd' or 'floor'")
        if self.max_value is not None and self.max_value <= 0:
            raise UnsupportedError(f"{self.name} has max_value={self.max_value}, not above zero")
        least, greatest = self.exponents
        if int(self.bits) != self.bits or self.bits > 16 or greatest < least:
            raise UnsupportedError(f"{self} has no exponents", way_out="use 2 to 16 bits")

    @property
    def exponents(self) -> tuple[int, int]:
        """(least, greatest) exponent before any doubling."""
        signed = self.max_value is None or self.max_value > 1
        bits = int(self.bits) - self.exponent_bits_lost - int(signed)
        if bits < 0:
            return 0, -1
        greatest = 2**bits - 1
        return -(2**bits), 2 * (greatest // 2) if self.quadratic_approximation else greatest

    def exponent(self, a: Fraction) -> int:
        """e(a), exactly."""
        least, greatest = self.exponents
        if a < _EPS:
            return least
        if self.max_value is not None:
            a = min(a, Fraction(float(np.float32(self.max_value))))
        doubled = 2 if self.quadratic_approximation else 1
        return doubled * min(max(_log2(a, doubled, self.log2_rounding), least), greatest)

    def span(self) -> tuple[int, int]:
        """The exponents that values can have."""
        candidates = [self.exponents[0], self.exponent(_EPS), self.exponent(Fraction(2) ** 100)]
        return min(candidates), max(candidates)

    def powers(self, w: Array) -> tuple[Array, bool]:
        """e(a) for float32 values a >= 0, in float32's own logarithms; and whether any lies too near a boundary to
        tell."""
        a = np.asarray(w, dtype=np.float32)
        least, greatest = self.exponents
        x = np.where(a < np.float32(EPSILON), np.float32(EPSILON), a)
        if self.max_value is not None:
            x = np.minimum(x, np.float32(self.max_value))
        x = np.sqrt(x) if self.quadratic_approximation else x
        log = np.log(x) / np.float32(math.log(2.0))
        exact = np.log2(x.astype(np.float64))
        if self.log2_rounding == "floor":
            rounded, doubt = np.floor(log), np.abs(exact - np.rint(exact))
        else:
            rounded, doubt = np.rint(log), np.abs(exact - np.floor(exact) - 0.5)
        inside = (exact > least - 1) & (exact < greatest + 1) & (a >= np.float32(EPSILON))
        e = (2 if self.quadratic_approximation else 1) * np.clip(rounded, least, greatest)
        doubtful = bool((inside & (doubt > 0) & (doubt < 1e-6)).any())
        return np.where(a < np.float32(EPSILON), least, e).astype(np.int64), doubtful


def _log2(a: Fraction, root: int, rounding: str) -> int:
    """round or floor of log2(a) / root for a > 0, exactly; halves cannot occur in 'rnd' with root 1."""
    floor = a.numerator.bit_length() - a.denominator.bit_length()
    if Fraction(2) ** floor > a:
        floor -= 1
    if root == 2:
        # log2(a) / 2 lies in [floor/2, (floor+1)/2): its floor is known, its nearest integer needs a second look.
        if rounding == "floor":
            return _float32_log2(a, 2, np.floor) if a == Fraction(2) ** floor and floor % 2 == 0 else floor // 2
        half = floor // 2
        if floor % 2 == 0:
            return half  # in [half, half + 1/2)
        # Exactly half way, float32's root and logarithm decide; beyond, the next integer is nearer.
        return _float32_log2(a, 2, np.rint) if a == Fraction(2) ** floor else half + 1
    if rounding == "floor":
        # At a power of two float32's quotient of logarithms may fall just short of the integer.
        return _float32_log2(a, 1, np.floor) if a == Fraction(2) ** floor else floor
    return floor + int(a * a > Fraction(2) ** (2 * floor + 1))


def _float32_log2(a: Fraction, root: int, to_integer: Any) -> int:
    """log(a ** (1 / root)) / log(2) as float32 computes it, to an integer."""
    x = np.float32(float(a))
    x = np.sqrt(x) if root == 2 else x
    return int(to_integer(np.log(x) / np.float32(math.log(2.0))))


def _turns(slope: Fraction) -> tuple[Fraction, ...]:
    """Where a quadratic approximation falls: around zero, whose exponent is the least one without the doubling."""
    return -_EPS / slope, Fraction(0), _EPS


def _shifted(sign: Array, exponents: Array, what: str) -> tuple[Array, Fraction]:
    """sign * 2**exponents as integers over a common unit."""
    least, greatest = int(exponents.min(initial=0)), int(exponents.max(initial=0))
    if exponents.size:
        least, greatest = int(exponents.min()), int(exponents.max())
    if greatest - least > 60:
        raise UnsupportedError(
            f"{what} spans exponents {least} to {greatest}, more than 60 bits apart",
            way_out="use fewer bits, or weights whose magnitudes lie closer together",
        )
    return sign * (np.int64(1) << (exponents - least)), Fraction(2) ** least


@dataclass(frozen=True, kw_only=True)
class QuantizedPo2(_PowerOfTwo):
    """value = s(x) * 2**e(|x|), s = +1 where x >= 0, else -1. Exponents have bits - 1 bits, one of them a sign unless
    max_value <= 1."""

    name: ClassVar[str] = "quantized_po2"
    exponent_bits_lost: ClassVar[int] = 1
    use_ste: bool = True

    @classmethod
    def argument_order(cls) -> list[str]:
        return [
            "bits", "max_value", "use_stochastic_rounding", "quadratic_approximation", "log2_rounding", "qnoise_factor",
        ]  # fmt: skip

    def rule(self) -> Rule:
        least, greatest = self.span()
        _check_span(self, least, greatest)
        top = 1 << (greatest - least)

        def code(x: Fraction) -> int:
            magnitude = 1 << (self.exponent(abs(x)) - least)
            return magnitude if x >= 0 else -magnitude

        if self.quadratic_approximation:
            return Function(code, -top, top, (Fraction(2) ** least,), _turns(Fraction(1)))
        return _staircase(code, _signed_boundaries(self), Fraction(2) ** least)

    def weights(self, w: Array) -> Weights:
        exponents, doubtful = self.powers(np.abs(np.asarray(w, dtype=np.float32)))
        codes, unit = _shifted(np.where(np.asarray(w) >= 0, 1, -1), exponents, str(self))
        return Weights(codes, fractions_of(np.asarray(unit, dtype=object)), doubtful)


@dataclass(frozen=True, kw_only=True)
class QuantizedReluPo2(_PowerOfTwo):
    """value = 2**e(max(x, 0)); with negative_slope, -2**e(-x * negative_slope) where x < 0."""

    name: ClassVar[str] = "quantized_relu_po2"
    negative_slope: float = 0
    use_ste: bool = True

    @classmethod
    def argument_order(cls) -> list[str]:
        return [
            "bits", "max_value", "negative_slope", "use_stochastic_rounding", "quadratic_approximation",
            "log2_rounding",
            "qnoise_factor",
        ]  # fmt: skip

    def rule(self) -> Rule:
        least, greatest = self.span()
        _check_span(self, least, greatest)
        slope, top = Fraction(self.negative_slope), 1 << (greatest - least)

        def code(x: Fraction) -> int:
            if x >= 0 or not slope:
                return 1 << (self.exponent(max(x, Fraction(0))) - least)
            return -(1 << (self.exponent(-x * slope) - least))

        if self.quadratic_approximation:
            return Function(code, -top if slope else 0, top, (Fraction(2) ** least,), _turns(slope or Fraction(1)))
        return _staircase(code, _signed_boundaries(self, slope), Fraction(2) ** least)

    def weights(self, w: Array) -> Weights:
        x = np.asarray(w, dtype=np.float32)
        positive, doubtful = self.powers(np.maximum(x, 0))
        sign = np.ones(x.shape, dtype=np.int64)
        if self.negative_slope:
            negative, doubt = self.powers(np.maximum(-x, 0) * np.float32(self.negative_slope))
            positive, doubtful = np.where(x < 0, negative, positive), doubtful or doubt
            sign = np.where(x < 0, -1, 1)
        codes, unit = _shifted(sign, positive, str(self))
        return Weights(codes, fractions_of(np.asarray(unit, dtype=object)), doubtful)


def _check_span(q: Any, least: int, greatest: int) -> None:
    if greatest - least > WIDEST:
        raise UnsupportedError(
            f"{q} as an activation spans exponents {least} to {greatest}: its values take {greatest - least + 1} bits",
            way_out="give it fewer bits, or a max_value",
        )


def _signed_boundaries(q: _PowerOfTwo, slope: Fraction | None = None) -> list[tuple[Fraction, bool]]:
    """Where the exponent can change, on both sides of zero, as (at, inclusive) jumps of a rising staircase."""
    least, greatest = q.span()
    magnitudes = [(_EPS, True)]
    for e in range(least, greatest + 1):
        if q.log2_rounding == "floor":
            magnitudes.append((Fraction(2) ** e, True))
        else:
            magnitudes.append((_ROOT2 * Fraction(2) ** e, True))
    if q.max_value is not None:
        magnitudes.append((Fraction(float(np.float32(q.max_value))), True))
    found = [*magnitudes, (Fraction(0), True)]
    # A magnitude reached at a >= m is left, on the negative side, as x rises past -m.
    for at, inclusive in magnitudes:
        if slope is None:
            found.append((-at, not inclusive))
        elif slope:
            found.append((-at / slope, not inclusive))
    return sorted(set(found), key=lambda j: (j[0], not j[1]))


def _staircase(code: Any, boundaries: list[tuple[Fraction, bool]], unit: Fraction) -> Steps:
    """The staircase with the codes that ``code`` has between the boundaries."""
    tiny = Fraction(1, 1 << 80)  # far below every gap between boundaries, far above what _ROOT2 is off
    base = code(boundaries[0][0] - 1)
    jumps, last = [], base
    for at, inclusive in boundaries:
        reached = code(at if inclusive else at + tiny)
        if reached > last:
            jumps.append(Jump(at, inclusive, reached - last))
            last = reached
    return Steps(base, tuple(jumps), (unit,))
