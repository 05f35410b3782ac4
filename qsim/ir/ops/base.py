"""What every operation has: inputs, one output, a shape rule, traits; and the kinds of fields that several share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from qsim.errors import GraphError
from qsim.numerics import Rounding

Shape = tuple[int, ...]
"""Without the batch."""

Padding2D = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right)) in elements."""

NO_PADDING: Padding2D = ((0, 0), (0, 0))


@dataclass(frozen=True, kw_only=True)
class RealRescale:
    """What an op's codes stand for, on exact fractions: min(max(round(x * factor + addend), low), high).

    It takes no part in execution: it is what an importer proved the op's integers against, or counted the differing
    codes against (``qsim.proof.rescales``). factor, addend: flat, of ``shape``, which broadcasts against the output.
    """

    factor: tuple[Fraction, ...]
    addend: tuple[Fraction, ...]
    shape: tuple[int, ...]
    rounding: Rounding
    low: int
    high: int

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape)) or "1"
        return f"<{size} factors, {self.rounding.value}, [{self.low}, {self.high}]>"


@dataclass(frozen=True, kw_only=True)
class Op(ABC):
    """Base of all operations: one output tensor; ``layer`` is the source layer that it came from."""

    inputs: tuple[str, ...]
    output: str
    layer: str

    arity: ClassVar[int | None] = 1
    """Number of inputs; None: one or more."""

    accumulates: ClassVar[bool] = False
    """Whether an output element is a sum over many input elements."""
    elementwise: ClassVar[bool] = False
    """Whether it has one input and works element by element."""
    keeps_codes: ClassVar[bool] = False
    """Whether every output code is one of the inputs' codes (or, of Pad, its value)."""
    monotone: ClassVar[bool] = False
    """Whether each output element rises, or falls, with each input element, in one input's whole range."""

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Least and greatest code that the operation itself lets through; None where it sets no bounds."""
        return None

    @abstractmethod
    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        """The output's shape from the inputs' (without batch); Reshape and Slice take it from ``declared``.

        Raises ValueError or IndexError for inputs that do not fit; ``output_shape`` turns them into a GraphError.
        """


def windows(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]) -> int:
    """How many windows fit along one axis."""
    return (size + sum(pads) - (kernel - 1) * dilation - 1) // stride + 1


def pooled(shape: Shape, pool: tuple[int, int], strides: tuple[int, int], padding: Padding2D) -> Shape:
    """The shape that windows of a pooling leave of (H, W, C)."""
    h, w, c = shape
    return (windows(h, pool[0], strides[0], 1, padding[0]), windows(w, pool[1], strides[1], 1, padding[1]), c)


def broadcast(inputs: Sequence[Shape]) -> Shape:
    """The common shape of inputs that broadcast against each other."""
    return tuple(np.broadcast_shapes(*inputs))


def output_shape(op: Op, inputs: Sequence[Shape], declared: Shape | None = None) -> Shape:
    """The shape of ``op.output``, without batch. Raises GraphError where the inputs do not fit the op."""
    try:
        shape = op.shape([tuple(s) for s in inputs], declared)
    except (ValueError, IndexError, TypeError) as error:
        raise GraphError(
            f"op {type(op).__name__} of layer {op.layer!r} does not fit its input shapes {list(inputs)}: {error}"
        ) from error
    if any(n < 1 for n in shape):
        raise GraphError(f"op {type(op).__name__} of layer {op.layer!r}: inputs {list(inputs)} give output {shape}")
    return shape
