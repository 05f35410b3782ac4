"""Blueoil's five quantizers on arrays and exact fractions: what import uses, without TensorFlow.

The rules are those of ``qsim.quantizers.blueoil``, with the same float64 evaluation and the same single rounding of
scales to the quantizer's dtype. A saved model names the quantizers as that module does.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, NoReturn

import numpy as np

from qsim.errors import UnsupportedError
from qsim.numerics import Array, Rounding
from qsim.quantizers.base import Quantizer, Weights, fractions_of
from qsim.quantizers.qkeras import rule_weights
from qsim.quantizers.rules import Rule, Uniform

DTYPES = ("float16", "float32", "float64")


def mean_size(w: Array, axes: tuple[int, ...] | None, dtype: str) -> Array:
    """mean|w| over ``axes`` (None: all), rounded once to ``dtype``; float64 array, axes kept as size 1."""
    size = np.abs(np.asarray(w, dtype=np.float64))
    return np.asarray(size.mean(axis=axes, keepdims=axes is not None).astype(dtype).astype(np.float64))


def scaled(codes: Array, scale: Array) -> Weights:
    """codes * scale as Weights whose scale has no zeros: where the scale is 0 the codes are."""
    zero = np.asarray(scale == 0)
    codes = np.where(zero, 0, codes).astype(np.int64)
    return Weights(codes, fractions_of(np.where(zero, 1.0, scale)))


@dataclass(frozen=True, kw_only=True)
class BlueoilWeights(Quantizer):
    """What the weight quantizers share: they cannot act on activations, whose scale would depend on the batch."""

    ignored: ClassVar[tuple[str, ...]] = ("backward",)

    def check(self) -> None:
        check_dtype(self.name, getattr(self, "dtype", "float32"))
        threshold = getattr(self, "threshold", 0.0)
        if not isinstance(threshold, int | float) or not math.isfinite(threshold) or threshold < 0:
            raise UnsupportedError(f"{self.name} has threshold={threshold!r}; it must be a number, zero or more")

    def rule(self) -> NoReturn:
        raise UnsupportedError(
            f"{self.name} is a weight quantizer: on an activation its scale depends on the data of each batch",
            way_out="use linear_mid_tread_half_quantizer for activations",
        )


def check_dtype(name: str, dtype: Any) -> None:
    """Raise UnsupportedError for a dtype that numpy cannot round to."""
    if dtype not in DTYPES:
        raise UnsupportedError(f"{name} has dtype={dtype!r}", way_out=f"use one of {', '.join(DTYPES)}")


@dataclass(frozen=True, kw_only=True)
class BinaryMeanScaling(BlueoilWeights):
    """code = +1 where w >= 0, else -1; scale = mean|w|. All-zero weights have codes 0."""

    name: ClassVar[str] = "binary_mean_scaling_quantizer"
    backward: Any = None
    dtype: str = "float32"

    def weights(self, w: Array) -> Weights:
        return scaled(np.where(w >= 0, 1, -1), mean_size(w, None, self.dtype))


@dataclass(frozen=True, kw_only=True)
class BinaryChannelWiseMeanScaling(BlueoilWeights):
    """As BinaryMeanScaling with one scale per index of the last axis."""

    name: ClassVar[str] = "binary_channel_wise_mean_scaling_quantizer"
    backward: Any = None
    dtype: str = "float32"

    def weights(self, w: Array) -> Weights:
        return scaled(np.where(w >= 0, 1, -1), mean_size(w, tuple(range(np.ndim(w) - 1)), self.dtype))


@dataclass(frozen=True, kw_only=True)
class LinearMidTreadHalf(Quantizer):
    """code = floor(clip(x, 0, max_value) * n / max_value + 1/2), n = 2**bit - 1; value = code * max_value / n."""

    name: ClassVar[str] = "linear_mid_tread_half_quantizer"
    ignored: ClassVar[tuple[str, ...]] = ("backward",)
    bit: Any = None
    max_value: Any = None
    backward: Any = None
    dtype: str = "float32"

    def check(self) -> None:
        check_dtype(self.name, self.dtype)
        bit, top = self.bit, self.max_value
        if isinstance(bit, bool) or not isinstance(bit, int | float) or bit != int(bit) or not 1 <= bit <= 32:
            raise UnsupportedError(f"{self.name} has bit={bit!r}", way_out="use a whole number from 1 to 32")
        if not isinstance(top, int | float) or not math.isfinite(top) or top <= 0:
            raise UnsupportedError(f"{self.name} has max_value={top!r}", way_out="use a positive number")

    @property
    def step(self) -> Fraction:
        """The real value of one code: max_value as a number of the dtype, over 2**bit - 1."""
        top = Fraction(float(np.dtype(self.dtype).type(self.max_value)))
        return top / ((1 << int(self.bit)) - 1)

    def rule(self) -> Rule:
        return Uniform(self.step, 0, 2 ** int(self.bit) - 1, (self.step,), Rounding.RND)

    def weights(self, w: Array) -> Weights:
        return rule_weights(self.rule(), w)


@dataclass(frozen=True, kw_only=True)
class TernaryWeightNetworks(BlueoilWeights):
    """code = sign(w) where |w| > threshold * mean|w|, else 0; scale = mean of those |w|."""

    name: ClassVar[str] = "twn_weight_quantizer"
    threshold: Any = 0.7
    dtype: str = "float32"

    def weights(self, w: Array) -> Weights:
        size = np.abs(np.asarray(w, dtype=np.float64))
        above = size > float(self.threshold) * size.mean()
        if not above.any():
            return Weights(np.zeros(np.shape(w), dtype=np.int64), fractions_of(1.0))
        return scaled(np.sign(w) * above, mean_size(size[above], None, self.dtype))


@dataclass(frozen=True, kw_only=True)
class TrainedTernary(BlueoilWeights):
    """value = positive where w > t, -negative where w < -t, else 0; t = threshold * max|w|.

    positive, negative: the trained factors, float32 values from the model's weights (``with_factors``).
    """

    name: ClassVar[str] = "ttq_weight_quantizer"
    ignored: ClassVar[tuple[str, ...]] = ("backward", "name", "trainable", "positive", "negative")
    threshold: Any = 0.05
    dtype: str = "float32"
    positive: float | None = None
    negative: float | None = None

    @classmethod
    def argument_order(cls) -> list[str]:
        return ["threshold", "dtype"]

    def with_factors(self, positive: Any, negative: Any) -> TrainedTernary:
        """The quantizer with its trained factors. Raises UnsupportedError where one is not a finite number."""
        values = [np.asarray(v, dtype=np.float64).reshape(-1) for v in (positive, negative)]
        if any(len(v) != 1 or not np.isfinite(v).all() for v in values):
            raise UnsupportedError(f"{self.name} has the factors {positive!r} and {negative!r}, not two finite numbers")
        return dataclasses.replace(self, positive=float(values[0][0]), negative=float(values[1][0]))

    def codes(self, w: Array) -> Array:
        """The regions: +1 above t, -1 below -t, else 0."""
        wide = np.asarray(w, dtype=np.float64)
        t = float(self.threshold) * np.abs(wide).max()
        return np.asarray((wide > t).astype(np.int64) - (wide < -t).astype(np.int64))

    def parts(self, w: Array) -> tuple[Weights, Weights]:
        """The quantized weights as a sum: codes 0 and 1 times ``positive``, codes 0 and -1 times ``negative``."""
        codes = self.codes(w)
        if self.positive is None or self.negative is None:
            raise UnsupportedError(
                f"{self.name}: the model has no values for its two factors",
                way_out="save the model with its weights, in one .keras or .h5 file",
            )
        return (
            scaled(np.maximum(codes, 0), np.array(self.positive)),
            scaled(np.minimum(codes, 0), np.array(self.negative)),
        )

    def weights(self, w: Array) -> Weights:
        """One scale for all, where the factors agree. Raises UnsupportedError where they differ: see ``parts``."""
        self.parts(w)
        if self.positive != self.negative:
            raise UnsupportedError(
                f"{self.name} has two scales, {self.positive} and {self.negative}, where weights of one are needed",
                way_out="use it as the kernel quantizer of a dense or convolution layer",
            )
        return scaled(self.codes(w), np.array(self.positive))


BLUEOIL: tuple[type[Quantizer], ...] = (
    BinaryMeanScaling,
    BinaryChannelWiseMeanScaling,
    LinearMidTreadHalf,
    TernaryWeightNetworks,
    TrainedTernary,
)
"""The twins, to be registered by name beside QKeras' quantizers."""
