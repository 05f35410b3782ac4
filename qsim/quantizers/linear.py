"""quantized_linear, QKeras' newer fixed-point quantizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np

from qsim.numerics import Array
from qsim.quantizers import autoscale
from qsim.quantizers.base import Quantizer, Weights, channel_alpha, check_auto, check_bits, fixed_alpha, fractions_of
from qsim.quantizers.rules import Jump, Rule, Steps, Uniform


@dataclass(frozen=True, kw_only=True)
class QuantizedLinear(Quantizer):
    """code = round_half_even(clip(x / q, low, high)), value = code * q, q = alpha * 2**(integer - bits +
    keep_negative).

    low and high are those of quantized_bits. One bit with keep_negative: value = +q/2 where x >= 0, else -q/2.
    alpha 'auto' (weights): q = 2 max|x| / (high - low) per channel (max x / (high - low) without keep_negative), at
    least
    epsilon; 'auto_po2' rounds it to a power of two and refines it by least squares until it settles, at most five
    times.
    """

    name: ClassVar[str] = "quantized_linear"
    bits: int = 8
    integer: int = 0
    symmetric: bool | int = 1
    keep_negative: bool | int = True
    alpha: Any = None
    use_stochastic_rounding: bool = False
    scale_axis: int | Sequence[int] | None = None
    qnoise_factor: float = 1.0
    var_name: str | None = None
    use_variables: bool = False

    def check(self) -> None:
        super().check()
        check_bits(self.name, self.bits, self.integer)
        check_auto(self)

    @property
    def limits(self) -> tuple[int, int]:
        top = 1 << (int(self.bits) - int(bool(self.keep_negative)))
        return (-top + int(bool(self.symmetric)) if self.keep_negative else 0), top - 1

    @property
    def sign(self) -> bool:
        """Whether it is the sign function."""
        return int(self.bits) == 1 and bool(self.keep_negative)

    @property
    def step(self) -> Fraction:
        return Fraction(2) ** (int(self.integer) - int(self.bits) + int(bool(self.keep_negative)))

    def as_kernel(self) -> Self:
        return self if self.alpha is not None else dataclasses.replace(self, alpha="auto_po2", symmetric=True)

    def rule(self) -> Rule:
        alpha = channel_alpha(self.alpha, self.name)
        scale = tuple(a * self.step for a in alpha)
        if self.sign:
            return Steps(-1, (Jump(Fraction(0), True, 2),), tuple(s / 2 for s in scale))
        low, high = self.limits
        if len(scale) > 1:
            # The rounding step differs by channel; only a uniform one is a rule for activations.
            channel_alpha("per channel", self.name)
        return Uniform(scale[0], low, high, scale)

    def weights(self, w: Array) -> Weights:
        x = np.asarray(w, dtype=np.float32)
        if not isinstance(self.alpha, str):
            scale = np.asarray(fixed_alpha(self.alpha, self.name) * self.step)
            steps = np.asarray(scale, dtype=np.float64).astype(np.float32)
            return self._with_scale(x, steps, False)
        low, high = self.limits
        half = (-0.5, 0.5) if self.sign else (low, high)
        axes = autoscale.reduced_axes(self.scale_axis, x.ndim)
        largest = (np.abs(x) if self.keep_negative else x).max(axis=axes, keepdims=True)
        reach = np.float32(half[1] - half[0])
        scale = np.maximum(
            (largest * np.float32(2 if self.keep_negative else 1)) / reach, np.float32(autoscale.EPSILON)
        )
        doubtful = False
        if self.alpha == "auto_po2":
            scale, doubtful = autoscale.power_of_two(scale)
            for _ in range(1 if self.sign else 5):
                last = scale
                scale, doubt = autoscale.least_squares(x, self._codes(x, scale), po2=True, scale_axis=self.scale_axis)
                doubtful = doubtful or doubt
                if np.array_equal(last, scale):
                    break
        return self._with_scale(x, scale, doubtful)

    def _codes(self, x: Array, scale: Array) -> Array:
        """Codes in units of the quantization scale; halves for the sign function."""
        if self.sign:
            return np.where(x >= 0, np.float32(0.5), np.float32(-0.5))
        low, high = (np.float32(v) for v in self.limits)
        return np.asarray(np.rint(np.clip(x / scale, low, high)))

    def _with_scale(self, x: Array, scale: Array, doubtful: bool) -> Weights:
        codes, unit = self._codes(x, scale), fractions_of(scale)
        if self.sign:
            codes, unit = codes * 2, np.asarray(unit / 2)
        return Weights(codes.astype(np.int64), unit, doubtful)
