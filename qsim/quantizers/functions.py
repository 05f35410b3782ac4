"""Quantizers that apply a function first: tanh, sigmoid, mu-law, hard swish; and QKeras' bare string activations.

QKeras' internal sigmoid is taken in its default form, the hard one: clip(x / 2 + 1/2, 0, 1).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np

from qsim.errors import UnsupportedError
from qsim.numerics import Array
from qsim.quantizers.base import Quantizer, Weights, check_bits
from qsim.quantizers.qkeras import QuantizedBits, rule_weights
from qsim.quantizers.rules import Function, Jump, Rule, Steps, Uniform, rounded, staircase

HALF = Fraction(1, 2)

MOST_LEVEL_BITS = 16
"""Bits of a staircase: each of its levels takes a threshold, and the time to find it."""


def check_levels(name: str, bits: int, instead: str) -> None:
    """Raise UnsupportedError for a staircase of more than MOST_LEVEL_BITS bits."""
    if bits > MOST_LEVEL_BITS:
        raise UnsupportedError(
            f"{name} with bits={bits} has 2**{bits} levels, a threshold each",
            way_out=f"use at most {MOST_LEVEL_BITS} bits{instead}",
        )


@dataclass(frozen=True, kw_only=True)
class _OfRule(Quantizer):
    """A quantizer whose weights go through the same rule as activations."""

    def weights(self, w: Array) -> Weights:
        return rule_weights(self.rule(), w)


@dataclass(frozen=True, kw_only=True)
class QuantizedTanh(_OfRule):
    """code = clip(round_half_even(t * 2**(bits-1)), -2**(bits-1) + symmetric, 2**(bits-1) - 1), value = code *
    2**-(bits-1);
    t = clip(x, -1, 1), or the real tanh with use_real_tanh (thresholds at atanh, in float64)."""

    name: ClassVar[str] = "quantized_tanh"
    bits: int = 8
    use_stochastic_rounding: bool = False
    symmetric: bool = False
    use_real_tanh: bool = False

    def check(self) -> None:
        super().check()
        check_bits(self.name, self.bits, 0)
        if self.use_real_tanh:
            check_levels(self.name, int(self.bits), ", or use_real_tanh=False")

    def rule(self) -> Rule:
        top = 1 << (int(self.bits) - 1)
        low, high, step = -top + int(bool(self.symmetric)), top - 1, Fraction(1, top)
        if low > high:
            low = high
        if not self.use_real_tanh:
            return Uniform(step, low, high, (step,))
        jumps = [Jump(Fraction(math.atanh((k - 0.5) / top)), True, 1) for k in range(low + 1, high + 1)]
        return Steps(low, tuple(jumps), (step,))


@dataclass(frozen=True, kw_only=True)
class QuantizedSigmoid(_OfRule):
    """code = clip(round_half_even(s * 2**bits), symmetric, 2**bits - 1), value = code * 2**-bits; s = clip(x/2 + 1/2,
    0, 1), or
    the real sigmoid with use_real_sigmoid (thresholds at its inverse, in float64)."""

    name: ClassVar[str] = "quantized_sigmoid"
    bits: int = 8
    symmetric: bool = False
    use_real_sigmoid: bool = False
    use_stochastic_rounding: bool = False

    def check(self) -> None:
        super().check()
        check_bits(self.name, self.bits, 0)
        check_levels(self.name, int(self.bits), "")

    def rule(self) -> Rule:
        top, low = 1 << int(self.bits), int(bool(self.symmetric))
        scale = (Fraction(1, top),)
        if not self.use_real_sigmoid:
            return staircase([rounded(Fraction(top, 2), Fraction(top, 2), low, top - 1)], scale)
        levels = ((k, (k - 0.5) / top) for k in range(low + 1, top))
        return Steps(low, tuple(Jump(Fraction(math.log(p / (1 - p))), True, 1) for _, p in levels), scale)


@dataclass(frozen=True, kw_only=True)
class QuantizedUlaw(_OfRule):
    """r = 2 round_half_even(clip(x / 2**(integer+1) + 1/2, 0, 1) * m) / m - 1, m = 2**(bits-1);
    value = 2**integer * clip(sign(r) log(1 + u |r|) / log(1 + u), -1 + symmetric / m, 1 - 1/m).

    The levels are float32 numbers as QKeras computes them: 1 + u |r|, its logarithm and the quotient are rounded to
    float32 one after the other. Codes are in units of 2**(integer-24), which holds the levels of magnitude 1/2 and more
    exactly and the smaller ones to the nearest.
    """

    name: ClassVar[str] = "quantized_ulaw"
    bits: int = 8
    integer: int = 0
    symmetric: bool | int = 0
    u: float = 255.0

    def check(self) -> None:
        super().check()
        check_bits(self.name, self.bits, self.integer)
        check_levels(self.name, int(self.bits), "")
        if not self.u > 0:
            raise UnsupportedError(f"{self.name} has u={self.u}", way_out="use a positive u")

    def rule(self) -> Rule:
        m, grid = 1 << (int(self.bits) - 1), 1 << 24
        least, most = -1 + int(bool(self.symmetric)) / m, 1 - 1 / m

        def log(x: float) -> np.float32:
            return np.float32(math.log(x))  # the nearest float32, whatever numpy's own float32 logarithm gives

        def level(k: int) -> int:
            r = 2 * k / m - 1
            y = log(float(np.float32(1) + np.float32(self.u) * np.float32(abs(r)))) / log(1 + self.u)
            return round(min(max(math.copysign(float(y), r), least), most) * grid)

        levels = [level(k) for k in range(m + 1)]
        factor, offset = Fraction(m) / Fraction(2) ** (int(self.integer) + 1), Fraction(m, 2)
        _, jumps = rounded(factor, offset, 0, m)
        rises = [Jump(j.at, j.inclusive, b - a) for j, a, b in zip(jumps, levels, levels[1:]) if b > a]
        return Steps(levels[0], tuple(rises), (Fraction(2) ** int(self.integer) / grid,))


@dataclass(frozen=True, kw_only=True)
class QuantizedHswish(_OfRule):
    """quantized_bits of h(x) = x * clip(x + relu_shift, 0, relu_upper_bound) / relu_upper_bound.

    As weights with an automatic alpha (which None becomes in a layer), the scale is that of h(x) in float32.
    """

    name: ClassVar[str] = "quantized_hswish"
    bits: int = 8
    integer: int = 0
    symmetric: bool | int = 0
    alpha: Any = None
    use_stochastic_rounding: bool = False
    scale_axis: int | Sequence[int] | None = None
    qnoise_factor: float = 1.0
    var_name: str | None = None
    use_variables: bool = False
    relu_shift: int = 3
    relu_upper_bound: int = 6
    keep_negative: bool = True
    post_training_scale: Any = None

    def check(self) -> None:
        super().check()
        check_bits(self.name, self.bits, self.integer)
        if self.relu_shift <= 0 or self.relu_upper_bound <= 0:
            raise UnsupportedError(f"{self} needs a positive relu_shift and relu_upper_bound")

    def as_kernel(self) -> Self:
        return self if self.alpha is not None else dataclasses.replace(self, alpha="auto_po2", symmetric=True)

    def weights(self, w: Array) -> Weights:
        if not isinstance(self.alpha, str):
            return super().weights(w)
        x, bound = np.asarray(w, dtype=np.float32), np.float32(self.relu_upper_bound)
        gate = np.clip(x + np.float32(self.relu_shift), np.float32(0), bound)
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name in _BITS_ARGUMENTS}
        return QuantizedBits(**shared).weights((x * gate) / bound)

    def rule(self) -> Rule:
        inner = QuantizedBits(bits=self.bits, integer=self.integer, symmetric=self.symmetric, alpha=self.alpha).rule()
        if not isinstance(inner, Uniform | Steps):
            raise TypeError("quantized_bits is uniform or a sign")
        shift, bound = Fraction(self.relu_shift), Fraction(self.relu_upper_bound)

        def code(x: Fraction) -> int:
            return inner.code(x * min(max(x + shift, Fraction(0)), bound) / bound)

        return Function(code, inner.low, inner.high, inner.scale, (-shift, -shift / 2, bound - shift))


_BITS_ARGUMENTS = ("bits", "integer", "symmetric", "alpha", "scale_axis", "post_training_scale")
"""What a hard swish hands on to its quantized_bits."""


@dataclass(frozen=True)
class Affine:
    """A piecewise-linear function without quantization: clip(x * factor + addend, low, high)."""

    factor: Fraction
    addend: Fraction
    low: Fraction
    high: Fraction


ONE = Fraction(1)
QKERAS_FUNCTIONS: dict[str, Affine | Steps] = {
    "hard_sigmoid": Affine(HALF, HALF, Fraction(0), ONE),
    "smooth_sigmoid": Affine(Fraction(3, 16), HALF, Fraction(0), ONE),
    "hard_tanh": Affine(ONE, Fraction(0), -ONE, ONE),
    "smooth_tanh": Affine(Fraction(3, 8), Fraction(0), -ONE, ONE),
    "binary_sigmoid": staircase([rounded(HALF, HALF, 0, 1)], (ONE,)),
    "binary_tanh": staircase([(-1, [dataclasses.replace(rounded(HALF, HALF, 0, 1)[1][0], rise=2)])], (ONE,)),
}
"""Functions that QKeras' layers know by name."""

KERAS_FUNCTIONS: dict[str, Affine | Steps] = {
    "hard_sigmoid": Affine(Fraction(1, 6), HALF, Fraction(0), ONE),
    "hard_tanh": QKERAS_FUNCTIONS["hard_tanh"],
}
"""The same names in plain Keras layers."""
