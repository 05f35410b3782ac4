"""Operations that compute nothing: constants, and codes in another shape or order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qsim.ir.ops.base import Op, Shape
from qsim.numerics import IntArray


@dataclass(frozen=True, kw_only=True)
class Constant(Op):
    """y = values. No inputs."""

    arity: ClassVar[int | None] = 0
    values: IntArray

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return self.values.shape


@dataclass(frozen=True, kw_only=True)
class Reshape(Op):
    """y = x in the output's shape, row-major order kept. Flatten, squeeze and expand too."""

    monotone: ClassVar[bool] = True
    keeps_codes: ClassVar[bool] = True

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        if declared is None or math.prod(declared) != math.prod(inputs[0]):
            raise ValueError(f"output {declared}")
        return declared


@dataclass(frozen=True, kw_only=True)
class Transpose(Op):
    """y = x with axis i taken from perm[i] (not counting the batch)."""

    monotone: ClassVar[bool] = True
    keeps_codes: ClassVar[bool] = True
    perm: tuple[int, ...]

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return tuple(inputs[0][p] for p in self.perm)


@dataclass(frozen=True, kw_only=True)
class Pad(Op):
    """y = x with pads[a] = (before, after) elements of ``value`` along each axis."""

    monotone: ClassVar[bool] = True
    keeps_codes: ClassVar[bool] = True
    pads: tuple[tuple[int, int], ...]
    value: int

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return tuple(n + before + after for n, (before, after) in zip(inputs[0], self.pads, strict=True))


@dataclass(frozen=True, kw_only=True)
class Slice(Op):
    """y = x[begin[a] : begin[a] + strides[a]*size : strides[a]] along each axis; sizes are the output's shape.
    strides may be negative."""

    monotone: ClassVar[bool] = True
    keeps_codes: ClassVar[bool] = True
    begin: tuple[int, ...]
    strides: tuple[int, ...]

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        if declared is None or not len(declared) == len(inputs[0]) == len(self.begin) == len(self.strides):
            raise ValueError(f"output {declared}")
        for size, n, begin, stride in zip(inputs[0], declared, self.begin, self.strides):
            last = begin + (n - 1) * stride
            if not (0 <= begin < size and 0 <= last < size):
                raise ValueError(f"elements {begin} to {last} of {size}")
        return declared


@dataclass(frozen=True, kw_only=True)
class Gather(Op):
    """y.flat[i] = x.flat[index.flat[i]]: any static rearrangement or repetition (nearest upsampling, mirror padding,
    space to depth). index has the output's shape."""

    monotone: ClassVar[bool] = True
    keeps_codes: ClassVar[bool] = True
    index: IntArray

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        if self.index.low < 0 or self.index.high >= math.prod(inputs[0]):
            raise ValueError("index out of range")
        return self.index.shape
