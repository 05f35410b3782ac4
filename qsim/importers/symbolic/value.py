"""The symbolic value of a layer's output while a model is lowered: an integer tensor and what its codes mean.

The meaning may run ahead of the integers: a batch normalization, an average's 1/n, a weight scale or a ReLU only
change scale, offset, slope and clamps; integers are computed when a quantizer, or an op that needs a common grid,
arrives.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from qsim.errors import UnsupportedError
from qsim.numerics import Array

QUANTIZE_REAL = "put a QActivation with a quantizer behind it, or use a quantizer such as quantized_tanh instead"

ZERO, ONE = Fraction(0), Fraction(1)


def fractions(values: Any) -> Array:
    """An object array of Fractions from numbers or Fractions of any shape; floats are taken exactly."""
    array = np.asarray(values)
    result = np.empty(array.size, dtype=object)
    result[:] = [Fraction(v) if isinstance(v, Fraction | int) else Fraction(v.item()) for v in array.reshape(-1)]
    return result.reshape(array.shape)


def float32(number: Any) -> Array:
    """Constants of a layer as the exact Fractions of the float32 numbers that Keras computes with. Raises
    UnsupportedError where they are not finite."""
    with np.errstate(over="ignore"):
        exact = np.asarray(number, dtype=np.float64).astype(np.float32)
    if not np.isfinite(exact).all():
        raise UnsupportedError(f"its constant {number} is not finite in float32")
    return fractions(exact)


def collapsed(array: Array) -> Array:
    """The same values in the least broadcastable shape: equal slices along an axis become one, leading ones go."""
    for axis in range(array.ndim):
        first = array.take([0], axis=axis)
        if array.shape[axis] > 1 and bool(np.all(array == first)):
            array = first
    lead = 0
    while lead < array.ndim and array.shape[lead] == 1:
        lead += 1
    return array.reshape(array.shape[lead:])


def fraction_gcd(values: Sequence[Fraction]) -> Fraction:
    """The greatest g such that every value is an integer times g; 0 if all are 0."""
    numerator, denominator = 0, 1
    for v in values:
        denominator = math.lcm(denominator, v.denominator)
    for v in values:
        numerator = math.gcd(numerator, v.numerator * (denominator // v.denominator))
    return Fraction(numerator, denominator)


def distinct(*arrays: Array) -> list[Any]:
    """The distinct elements of object arrays, in order of first appearance."""
    return list(dict.fromkeys(v for a in arrays for v in np.asarray(a, dtype=object).reshape(-1).tolist()))


def is_dyadic(value: Fraction) -> bool:
    """Whether the denominator is a power of two."""
    return value.denominator & (value.denominator - 1) == 0


def is_power_of_two(value: Fraction) -> bool:
    """Whether value is 2**k for an integer k, of either sign."""
    return value > 0 and value.numerator & (value.numerator - 1) == 0 and is_dyadic(value)


@dataclass(frozen=True, kw_only=True)
class Value:
    """min(max(r, floor), ceiling) elementwise, exactly, with r = code * scale + offset, times ``slope`` where negative.

    tensor: the integer tensor. layer: the source layer whose output this is. shape: the tensor's.
    scale, offset: object arrays of Fractions, collapsed, broadcastable against the shape; a zero scale means a
    constant.
    slope: a leaky ReLU's that no op has applied yet; None: none. floor, ceiling: likewise of clamps.
    turned: the tensor has channels last where the model sees them first (``lower_layout``).
    boundary: a real-valued function ('softmax', 'tanh', ...) of what the rest says. A quantizer can take it in
        (``quantizers.real``), an output can keep it; nothing else can be computed from such a value (``settled``).
    """

    tensor: str
    layer: str
    shape: tuple[int, ...]
    scale: Array
    offset: Array
    slope: Fraction | None = None
    floor: Fraction | None = None
    ceiling: Fraction | None = None
    boundary: str = "linear"
    turned: bool = False

    @staticmethod
    def of(tensor: str, layer: str, shape: Sequence[int], scale: Any, offset: Any = ZERO) -> Value:
        """A value without clamps; scale and offset as numbers, Fractions or arrays of them."""
        return Value(
            tensor=tensor,
            layer=layer,
            shape=tuple(shape),
            scale=collapsed(fractions(scale)),
            offset=collapsed(fractions(offset)),
        )

    def but(self, **changes: Any) -> Value:
        """A copy with some fields changed; arrays are collapsed again."""
        for key in ("scale", "offset"):
            if key in changes:
                changes[key] = collapsed(fractions(changes[key]))
        return dataclasses.replace(self, **changes)

    def in_float32(self, low: int, high: int) -> bool:
        """Whether float32 holds the real values of all codes in [low, high]: multiples of a power of two, up to 2**24
        times it."""
        scales, offsets = np.broadcast_arrays(self.scale, self.offset)
        for scale, offset in dict.fromkeys(zip(scales.reshape(-1).tolist(), offsets.reshape(-1).tolist(), strict=True)):
            unit = fraction_gcd([scale, offset])
            if not is_dyadic(unit):
                return False
            unit = Fraction(unit.numerator & -unit.numerator, unit.denominator)
            if max(abs(low * scale + offset), abs(high * scale + offset)) > unit * (1 << 24):
                return False
        return True

    @property
    def clamped(self) -> bool:
        """Whether more than an affine function is pending: clamps or a slope."""
        return self.floor is not None or self.ceiling is not None or self.slope is not None

    @property
    def pending(self) -> tuple[Fraction | None, Fraction | None, Fraction | None]:
        """Slope, floor and ceiling."""
        return self.slope, self.floor, self.ceiling

    @property
    def held(self) -> dict[str, Fraction | None]:
        """The same by name."""
        return {"slope": self.slope, "floor": self.floor, "ceiling": self.ceiling}

    def clamps(self, real: Fraction) -> Fraction:
        """A real value behind slope and clamps."""
        if self.slope is not None and real < 0:
            real *= self.slope
        real = real if self.floor is None else max(real, self.floor)
        return real if self.ceiling is None else min(real, self.ceiling)

    @property
    def uniform(self) -> bool:
        """Whether one scale without offset or clamps says it all."""
        return self.scale.ndim == 0 and self.offset.ndim == 0 and self.offset.item() == 0 and not self.clamped

    @property
    def channelwise(self) -> bool:
        """Whether scale and offset differ along the last axis at most."""
        return self.scale.ndim <= 1 and self.offset.ndim <= 1

    def settled(self) -> Value:
        """The value. Raises UnsupportedError while a real-valued function is pending on it."""
        if self.boundary == "softmax":
            raise UnsupportedError(
                f"softmax behind layer {self.layer!r} divides exponentials by their sum, which has no exact integers: "
                "it can only end the model",
                way_out="end the model with it, or leave it out: the greatest code is that of the greatest probability",
            )
        if self.boundary != "linear":
            raise UnsupportedError(
                f"{self.boundary} behind layer {self.layer!r} is real-valued, and no quantizer follows it",
                way_out=QUANTIZE_REAL,
            )
        return self

    def affine(self, factor: Any, addend: Any = ZERO) -> Value:
        """The value times ``factor`` plus ``addend``, both broadcastable; clamps must have been applied."""
        self.settled()
        if self.clamped:
            raise ValueError("an affine function of a clamped value")
        f, a = fractions(factor), fractions(addend)
        return self.but(scale=self.scale * f, offset=self.offset * f + a)

    def clamp(self, floor: Fraction | None, ceiling: Fraction | None) -> Value:
        """min(max(value, floor), ceiling)."""
        low, high = self.floor, self.ceiling
        if floor is not None:
            low = floor if low is None else max(low, floor)
            high = high if high is None else max(high, floor)
        if ceiling is not None:
            low = low if low is None else min(low, ceiling)
            high = ceiling if high is None else min(high, ceiling)
        return self.but(floor=low, ceiling=high)

    def rearranged(self, tensor: str, shape: Sequence[int], move: Callable[[Array], Array]) -> Value:
        """The value after ``move`` (a reshape, transpose, slice, ...) has been applied to the tensor."""
        scale, offset = self.scale, self.offset
        if scale.ndim:
            scale = move(np.broadcast_to(scale, self.shape))
        if offset.ndim:
            offset = move(np.broadcast_to(offset, self.shape))
        return self.but(tensor=tensor, shape=tuple(shape), scale=scale, offset=offset)
