"""The plain structure of a ``.tflite`` file after every check: what the lowerings read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from qsim.numerics import Array, IntFormat

INTEGER_FORMATS: Mapping[str, IntFormat] = {
    "INT8": IntFormat(8, True),
    "UINT8": IntFormat(8, False),
    "INT16": IntFormat(16, True),
    "INT32": IntFormat(32, True),
    "INT64": IntFormat(64, True),
}
"""TFLite tensor types whose values are codes."""


@dataclass(frozen=True, kw_only=True)
class TfliteQuantization:
    """real = (code - zero_points[c]) * scales[c]; one entry for the tensor, or one per index of ``axis``.

    scales: float32, as stored. zero_points: int64.
    """

    scales: Array
    zero_points: Array
    axis: int

    @property
    def per_tensor(self) -> bool:
        return len(self.scales) == 1

    @property
    def fractions(self) -> tuple[Fraction, ...]:
        """The scales as exact fractions."""
        return tuple(Fraction(float(s)) for s in self.scales)


@dataclass(frozen=True, kw_only=True, eq=False)
class TfliteTensor:
    """One tensor. shape: as stored, batch dimension included. type: the TensorType's name ("INT8").

    data: the constant's values in ``shape`` (integers, or float32), None where an operator or the user provides them.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    type: str
    quantization: TfliteQuantization | None
    data: Array | None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def scale(self) -> np.float32:
        """The per-tensor scale; only for tensors that ``quantization`` says are per-tensor quantized."""
        assert self.quantization is not None
        return np.float32(self.quantization.scales[0])

    @property
    def zero_point(self) -> int:
        """The per-tensor zero point; 0 without quantization."""
        return int(self.quantization.zero_points[0]) if self.quantization is not None else 0


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator. name: the BuiltinOperator's name ("CONV_2D"), or the quoted code of a custom operator.

    inputs: tensor indices, -1 for an optional input that is left out. options: the options table's numbers by their
    schema names; booleans as bool. lists: its lists of numbers that are there.
    """

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int | float | bool]
    lists: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TfliteModel:
    """One checked model: a single subgraph, operators in execution order."""

    name: str
    tensors: tuple[TfliteTensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
