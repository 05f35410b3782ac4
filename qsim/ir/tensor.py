"""Tensors: what an edge of the graph carries, and what its integers mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from qsim.errors import GraphError
from qsim.numerics import Array, IntFormat


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What codes mean: real = (code - zero_point) * scale + offset. It takes no part in execution.

    ``scale`` and ``offset`` are exact fractions, one for the tensor or one per channel (last axis). ``offset`` is
    nonzero only behind a BatchNormalization that no quantizer follows.
    """

    scale: tuple[Fraction, ...]
    zero_point: int = 0
    offset: tuple[Fraction, ...] = (Fraction(0),)

    @staticmethod
    def of(scale: Fraction, zero_point: int = 0) -> Quantization:
        """Per-tensor quantization."""
        return Quantization(scale=(Fraction(scale),), zero_point=zero_point)

    @property
    def per_tensor(self) -> bool:
        return len(self.scale) == 1 and len(self.offset) == 1

    @property
    def frac(self) -> int | None:
        """Fractional bits, where the scale is one power of two without zero point or offset; else None."""
        if not self.per_tensor or self.zero_point or self.offset[0]:
            return None
        s = self.scale[0]
        if s.numerator == 1 and s.denominator & (s.denominator - 1) == 0:
            return s.denominator.bit_length() - 1
        if s.denominator == 1 and s.numerator & (s.numerator - 1) == 0:
            return 1 - s.numerator.bit_length()
        return None

    def real(self, codes: Array) -> Array:
        """Codes (any shape ending in the channel axis) to real values, float64: exactly the codes' values wherever
        those are float64 numbers, else the nearest ones up to one rounding each of scale and product."""
        scale = np.array([float(s) for s in self.scale])
        offset = np.array([float(o) for o in self.offset])
        values = (np.asarray(codes, dtype=np.float64) - self.zero_point) * (scale if len(scale) > 1 else scale[0])
        return values + (offset if len(offset) > 1 else offset[0]) if any(self.offset) else values


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An edge of the graph.

    name: the source layer's name, with a suffix where a layer makes several tensors (``conv1``, ``conv1.acc``).
    shape: without the batch dimension, channels last.
    format: the integer format that every target stores.
    range: proven (low, high) in codes, inclusive; within ``format``.
    """

    name: str
    shape: tuple[int, ...]
    format: IntFormat
    quantization: Quantization
    range: tuple[int, int]

    def __post_init__(self) -> None:
        low, high = self.range
        if low > high or not self.format.holds(low, high):
            raise GraphError(f"tensor {self.name!r}: range [{low}, {high}] does not lie within {self.format}")
        if any(n < 1 for n in self.shape):
            raise GraphError(f"tensor {self.name!r}: shape {self.shape} has an empty dimension")

    @property
    def size(self) -> int:
        """Number of elements of one sample."""
        return math.prod(self.shape)
