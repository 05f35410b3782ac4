"""Sums and extremes over windows and axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from qsim.ir.ops.base import Op, Padding2D, Shape, pooled


@dataclass(frozen=True, kw_only=True)
class SumPool2D(Op):
    """y[i,j,c] = sum of x[i*sh+u-top, j*sw+v-left, c] over the window's positions that lie inside x."""

    accumulates: ClassVar[bool] = True
    monotone: ClassVar[bool] = True
    pool: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding2D

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return pooled(inputs[0], self.pool, self.strides, self.padding)


@dataclass(frozen=True, kw_only=True)
class MaxPool2D(Op):
    """As SumPool2D with the maximum over the positions inside x (every window has one)."""

    monotone: ClassVar[bool] = True
    keeps_codes: ClassVar[bool] = True
    pool: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding2D

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return pooled(inputs[0], self.pool, self.strides, self.padding)


@dataclass(frozen=True, kw_only=True)
class Reduce(Op):
    """y = sum, max or min of x over ``axes`` (not counting the batch), which stay as size 1 if ``keepdims``."""

    accumulates: ClassVar[bool] = True
    monotone: ClassVar[bool] = True
    kind: Literal["sum", "max", "min"]
    axes: tuple[int, ...]
    keepdims: bool

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        kept = (1 if i in self.axes else n for i, n in enumerate(inputs[0]) if self.keepdims or i not in self.axes)
        return tuple(kept) or (1,)
