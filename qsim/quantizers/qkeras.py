"""QKeras' fixed-point, binary and ternary quantizers, restated on integers and exact fractions.

Every rule is the inference branch of qkeras-v3's ``quantizers.py`` (legacy QKeras has the same formulas).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np

from qsim.errors import UnsupportedError
from qsim.numerics import Array
from qsim.quantizers import autoscale
from qsim.quantizers.base import (
    Quantizer,
    Weights,
    channel_alpha,
    check_auto,
    check_bits,
    fixed_alpha,
    fractions_of,
)
from qsim.quantizers.rules import Jump, Leaky, Rule, Steps, Uniform, clipped, rounded, staircase


@dataclass(frozen=True, kw_only=True)
class QuantizedBits(Quantizer):
    """code = clip(round_half_even(x * 2**(ub - integer)), keep_negative * (-2**ub + symmetric), 2**ub - 1),
    ub = bits - keep_negative; value = alpha * code * 2**(integer - ub). One bit (ub = 0): the sign, sign(0) = +1;
    without keep_negative 0 or 1.

    alpha 'auto' or 'auto_po2' (weights), x' = x / 2**integer: code = sign(x) * min(floor(|x'| / scale + 1/2), levels
    / 2)
    with float32 operations, scale = 2 max|x| / levels per channel, for 'auto_po2' rounded to a power of two and
    refined by
    five rounds of least squares.
    """

    name: ClassVar[str] = "quantized_bits"
    bits: int = 8
    integer: int = 0
    symmetric: bool | int = 0
    keep_negative: bool | int = True
    alpha: Any = None
    use_stochastic_rounding: bool = False
    scale_axis: int | Sequence[int] | None = None
    qnoise_factor: float = 1.0
    var_name: str | None = None
    use_ste: bool = True
    use_variables: bool = False
    elements_per_scale: int | Sequence[int] | None = None
    min_po2_exponent: int | None = None
    max_po2_exponent: int | None = None
    post_training_scale: Any = None

    def check(self) -> None:
        super().check()
        check_bits(self.name, self.bits, self.integer)
        check_auto(self)

    @property
    def unsigned_bits(self) -> int:
        return int(self.bits) - int(bool(self.keep_negative))

    @property
    def limits(self) -> tuple[int, int]:
        """The least and greatest code of the fixed-scale rule with two or more levels per sign."""
        top = 1 << self.unsigned_bits
        return (-top + int(bool(self.symmetric)) if self.keep_negative else 0), top - 1

    @property
    def step(self) -> Fraction:
        """The real value of one code before alpha."""
        return Fraction(2) ** (int(self.integer) - self.unsigned_bits)

    def as_kernel(self) -> Self:
        return self if self.alpha is not None else dataclasses.replace(self, alpha="auto_po2", symmetric=True)

    def rule(self) -> Rule:
        alpha = channel_alpha(self.alpha, self.name)
        if self.unsigned_bits == 0:
            at = Jump(Fraction(0), True, 2 if self.keep_negative else 1)
            return Steps(-1 if self.keep_negative else 0, (at,), alpha)
        low, high = self.limits
        return Uniform(self.step, low, high, tuple(a * self.step for a in alpha))

    def weights(self, w: Array) -> Weights:
        if isinstance(self.alpha, str):
            return self._auto_weights(np.asarray(w, dtype=np.float32))
        alpha = fixed_alpha(self.alpha, self.name)
        if self.unsigned_bits == 0:
            codes = np.where(np.asarray(w) >= 0, 1, -1 if self.keep_negative else 0)
            return Weights(codes.astype(np.int64), alpha)
        low, high = self.limits
        # float64 holds every float32 times a power of two, so rint is the exact half-even rounding.
        codes = np.clip(np.rint(np.asarray(w, dtype=np.float64) / float(self.step)), low, high)
        return Weights(codes.astype(np.int64), np.asarray(alpha * self.step))

    def _auto_weights(self, w: Array) -> Weights:
        if self.bits < 2:
            raise UnsupportedError(f"{self} has no levels: with alpha={self.alpha!r} it needs two or more bits")
        x = w / np.float32(2.0 ** int(self.integer))
        levels = (2 ** (int(self.bits) - 1) - 1) * 2
        doubtful = False
        if self.post_training_scale is not None:
            scale = np.asarray(self.post_training_scale, dtype=np.float32) / np.float32(2.0**self.unsigned_bits)
        else:
            axes = autoscale.reduced_axes(self.scale_axis, x.ndim) if x.ndim > 1 else (0,)
            scale = (np.abs(x).max(axis=axes, keepdims=True) * np.float32(2)) / np.float32(levels)
            if self.alpha == "auto_po2":
                scale, doubtful = autoscale.power_of_two(scale)
                for _ in range(5):
                    scale, doubt = autoscale.least_squares(
                        x,
                        self._auto_codes(x, scale, levels),
                        po2=True,
                        scale_axis=self.scale_axis,
                        per_scale=self.elements_per_scale,
                        exponents=(self.min_po2_exponent, self.max_po2_exponent),
                    )
                    doubtful = doubtful or doubt
        codes = self._auto_codes(x, scale, levels).astype(np.int64)
        return Weights(codes, np.asarray(fractions_of(scale) * Fraction(2) ** int(self.integer)), doubtful)

    @staticmethod
    def _auto_codes(x: Array, scale: Array, levels: int) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            v = np.floor(np.abs(x) / scale + np.float32(0.5))
        # An all-zero channel has scale 0 under 'auto': 0/0 compares false and sign(0) makes the code 0.
        return np.asarray(np.sign(x) * np.where(v < np.float32(levels / 2), v, np.float32(levels / 2)))


@dataclass(frozen=True, kw_only=True)
class QuantizedRelu(Quantizer):
    """On the grid step = 2**(integer - n), n = bits - (negative_slope != 0):
    code = clip(round_half_even(x / step), 0, 2**n - 1); with a slope, clip(round_half_even(x * slope / step),
    -slope * 2**n, 0) is added.

    use_sigmoid: p = clip(x / 2**(integer + 1) + 1/2, 0, 1) * 2**n, code = clip(2 round(p) - 2**n, 0, 2**n - 1),
    plus clip(2 round(p * slope) - slope * 2**n, -slope * 2**n, 0).
    relu_upper_bound cuts the value where is_quantized_clip is off.
    """

    name: ClassVar[str] = "quantized_relu"
    bits: int = 8
    integer: int = 0
    use_sigmoid: bool | int = 0
    negative_slope: float = 0.0
    use_stochastic_rounding: bool = False
    relu_upper_bound: float | None = None
    is_quantized_clip: bool = True
    qnoise_factor: float = 1.0
    var_name: str | None = None
    use_ste: bool = True
    use_variables: bool = False

    def check(self) -> None:
        super().check()
        check_bits(self.name, self.bits, self.integer)
        slope = Fraction(self.negative_slope)
        if (
            slope < 0
            or (slope and slope.numerator & (slope.numerator - 1))
            or slope.denominator & (slope.denominator - 1)
        ):
            raise UnsupportedError(f"{self.name} has negative_slope={self.negative_slope}, not a power of two")

    def rule(self) -> Rule:
        slope = Fraction(self.negative_slope)
        top = 1 << (int(self.bits) - (slope != 0))
        step = Fraction(2) ** int(self.integer) / top
        unit = 1
        if slope and slope * top < 1:
            # The negative limit -slope * 2**n lies between two codes: a finer grid holds it.
            unit = int(1 / (slope * top))
        if self.use_sigmoid:
            result: Rule = self._sigmoid(slope, top, step, unit)
        elif not slope:
            result = Uniform(step, 0, top - 1, (step,))
        elif unit == 1:
            result = Leaky(step, slope, -int(slope * top), top - 1)
        else:
            positive = rounded(1 / step, Fraction(0), 0, top - 1, unit)
            # round(x * slope / step) is at most 0 and its clip limit lies above -1: a single jump.
            negative = (-1, [Jump(-step / (2 * slope), True, 1)])
            result = staircase([positive, negative], (step / unit,))
        return self._bounded(result)

    def _sigmoid(self, slope: Fraction, top: int, step: Fraction, unit: int) -> Steps:
        # p / top = x / 2**(integer + 1) + 1/2; the outer clip of p is implied by the limits of the codes.
        factor, offset = 1 / (2 * step), Fraction(top, 2)
        base, jumps = rounded(factor, offset, 0, top, 2 * unit)
        doubled = staircase([(base - top * unit, jumps)], (step / unit,))
        parts = [clipped(doubled, 0, (top - 1) * unit)]
        if slope:
            least = int(slope * top * unit)
            highest = int(slope * top)  # p itself ends at top
            base, jumps = rounded(factor * slope, offset * slope, 0, highest, 2 * unit)
            parts.append(clipped(staircase([(base - least, jumps)], (step / unit,)), -least, 0))
        return staircase([(p.base, list(p.jumps)) for p in parts], (step / unit,))

    def _bounded(self, rule: Rule) -> Rule:
        if self.is_quantized_clip or not self.relu_upper_bound:
            return rule
        bound = Fraction(float(np.float32(self.relu_upper_bound)))
        if bound < 0:
            raise UnsupportedError(f"{self.name} has relu_upper_bound={self.relu_upper_bound}, below zero")
        scale = rule.scale[0]
        code = bound / scale
        if code >= rule.high:
            return rule
        if code.denominator == 1 and isinstance(rule, Uniform | Leaky):
            return dataclasses.replace(rule, high=int(code))
        # A bound between two codes becomes a code of its own on a finer grid.
        finer = code.denominator
        if isinstance(rule, Uniform):
            steps = staircase([rounded(1 / rule.step, Fraction(0), rule.low, rule.high)], rule.scale)
        else:
            steps = rule.steps() if isinstance(rule, Leaky) else rule  # type: ignore[assignment]
        jumps = tuple(Jump(j.at, j.inclusive, j.rise * finer) for j in steps.jumps)
        return clipped(Steps(steps.base * finer, jumps, (scale / finer,)), steps.base * finer, int(code * finer))

    def weights(self, w: Array) -> Weights:
        return rule_weights(self.rule(), w)


def rule_weights(rule: Rule, w: Array) -> Weights:
    """Constant weights through an activation rule, value by value in exact arithmetic."""
    flat = np.asarray(w, dtype=np.float32).reshape(-1)
    codes = np.array([rule.code(Fraction(float(v))) for v in flat], dtype=np.int64).reshape(np.shape(w))
    scale = fractions_of(np.array(rule.scale, dtype=object))
    return Weights(codes, scale.reshape(()) if scale.size == 1 else scale)


@dataclass(frozen=True, kw_only=True)
class Binary(Quantizer):
    """code = +1 where x >= 0, else -1 (use_01: 1 and 0); value = alpha * code.

    alpha 'auto' / 'auto_po2' (weights): least squares, mean|w| per channel.
    """

    name: ClassVar[str] = "binary"
    use_01: bool = False
    alpha: Any = None
    training: bool = False
    use_stochastic_rounding: bool = False
    scale_axis: int | Sequence[int] | None = None
    elements_per_scale: int | Sequence[int] | None = None
    min_po2_exponent: int | None = None
    max_po2_exponent: int | None = None

    def check(self) -> None:
        super().check()
        check_auto(self)

    def as_kernel(self) -> Self:
        return self if self.alpha is not None else dataclasses.replace(self, alpha="auto_po2")

    def rule(self) -> Rule:
        alpha = channel_alpha(self.alpha, self.name)
        return Steps(0 if self.use_01 else -1, (Jump(Fraction(0), True, 1 if self.use_01 else 2),), alpha)

    def weights(self, w: Array) -> Weights:
        x = np.asarray(w, dtype=np.float32)
        codes = np.where(x >= 0, 1, 0 if self.use_01 else -1).astype(np.int64)
        if not isinstance(self.alpha, str):
            return Weights(codes, fixed_alpha(self.alpha, self.name))
        scale, doubtful = autoscale.least_squares(
            x,
            codes,
            po2=self.alpha == "auto_po2",
            scale_axis=self.scale_axis,
            per_scale=self.elements_per_scale,
            exponents=(self.min_po2_exponent, self.max_po2_exponent),
        )
        return Weights(codes, fractions_of(scale), doubtful)


@dataclass(frozen=True, kw_only=True)
class Ternary(Quantizer):
    """code = sign(x) where |x| >= threshold (default 0.33, in float32), else 0; value = alpha * code.

    alpha 'auto' / 'auto_po2' (weights): starts from scale = 2 max|x| / 3 per channel and refines it in
    ``number_of_unrolls`` rounds: codes where |scale * round(x / scale)| >= scale / 2, then least squares.
    """

    name: ClassVar[str] = "ternary"
    alpha: Any = None
    threshold: float | None = None
    use_stochastic_rounding: bool = False
    number_of_unrolls: int = 5

    def check(self) -> None:
        super().check()
        check_auto(self)
        if isinstance(self.alpha, str) and self.threshold is not None:
            raise UnsupportedError(
                f"{self.name} has alpha={self.alpha!r} and a threshold; QKeras itself refuses that",
                way_out="leave the threshold out, or give alpha a number",
            )
        if not isinstance(self.alpha, str) and (self.use_stochastic_rounding or isinstance(self.threshold, str)):
            raise UnsupportedError(
                f"{self} is refused by QKeras itself",
                way_out="use_stochastic_rounding and threshold='auto' need alpha='auto' or 'auto_po2'",
            )

    def as_kernel(self) -> Self:
        return self if self.alpha is not None else dataclasses.replace(self, alpha="auto_po2")

    @property
    def _threshold(self) -> Fraction:
        return Fraction(float(np.float32(0.33 if self.threshold is None else self.threshold)))

    def rule(self) -> Rule:
        alpha = channel_alpha(self.alpha, self.name)
        t = self._threshold
        if t < 0:
            t = Fraction(0)
        if t == 0:
            # sign(0) is 0 although |0| >= 0 holds.
            return Steps(-1, (Jump(Fraction(0), True, 1), Jump(Fraction(0), False, 1)), alpha)
        return Steps(-1, (Jump(-t, False, 1), Jump(t, True, 1)), alpha)

    def weights(self, w: Array) -> Weights:
        x = np.asarray(w, dtype=np.float32)
        if not isinstance(self.alpha, str):
            codes = np.where(np.abs(x) >= np.float32(float(self._threshold)), np.sign(x), 0).astype(np.int64)
            return Weights(codes, fixed_alpha(self.alpha, self.name))
        axes = tuple(range(x.ndim - 1)) if x.ndim > 1 else None
        scale = np.float32(2) * np.abs(x).max(axis=axes, keepdims=True) / np.float32(3)
        po2, doubtful = self.alpha == "auto_po2", False
        if po2:
            scale, doubtful = autoscale.power_of_two(scale)
        q = np.zeros_like(x)
        for _ in range(int(self.number_of_unrolls)):
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = x / scale
                v = scale * (ratio + (-ratio + np.rint(ratio)))
                q = np.where(np.abs(v) >= scale / np.float32(2), np.sign(x), np.float32(0))
            scale, doubt = autoscale.least_squares(x, q, po2=po2)
            doubtful = doubtful or doubt
        return Weights(q.astype(np.int64), fractions_of(scale), doubtful)


@dataclass(frozen=True, kw_only=True)
class StochasticTernary(Ternary):
    """ternary at inference; only training draws random numbers."""

    name: ClassVar[str] = "stochastic_ternary"
    ignored: ClassVar[tuple[str, ...]] = (*Quantizer.ignored, "temperature", "use_real_sigmoid")

    @classmethod
    def argument_order(cls) -> list[str]:
        return ["alpha", "threshold", "temperature", "use_real_sigmoid", "number_of_unrolls"]


@dataclass(frozen=True, kw_only=True)
class StochasticBinary(Binary):
    """binary at inference; only training draws random numbers."""

    name: ClassVar[str] = "stochastic_binary"
    ignored: ClassVar[tuple[str, ...]] = (*Quantizer.ignored, "temperature", "use_real_sigmoid")

    @classmethod
    def argument_order(cls) -> list[str]:
        return ["alpha", "temperature", "use_real_sigmoid"]
