"""Several tensors into one, element by element or end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from qsim.ir.ops.base import Op, Shape, broadcast


@dataclass(frozen=True, kw_only=True)
class Add(Op):
    """y = sum_i signs[i] * (x_i - zero_points[i]) * 2**shifts[i], shapes broadcast. shifts >= 0, signs +1 or -1."""

    arity: ClassVar[int | None] = None
    shifts: tuple[int, ...]
    signs: tuple[int, ...]
    zero_points: tuple[int, ...]

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return broadcast(inputs)


@dataclass(frozen=True, kw_only=True)
class Mul(Op):
    """y = (a - za) * (b - zb), shapes broadcast. zero_points: (za, zb)."""

    arity: ClassVar[int | None] = 2
    zero_points: tuple[int, int] = (0, 0)

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return broadcast(inputs)


@dataclass(frozen=True, kw_only=True)
class Extremum(Op):
    """y = max or min over the inputs of x_i * 2**shifts[i], shapes broadcast. shifts >= 0."""

    arity: ClassVar[int | None] = None
    kind: Literal["max", "min"]
    shifts: tuple[int, ...]

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return broadcast(inputs)


@dataclass(frozen=True, kw_only=True)
class Concat(Op):
    """y = the inputs joined along ``axis`` (not counting the batch); formats may differ, the output holds them all."""

    monotone: ClassVar[bool] = True
    keeps_codes: ClassVar[bool] = True
    arity: ClassVar[int | None] = None
    axis: int

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        first = inputs[0]
        for other in inputs[1:]:
            if len(other) != len(first) or any(a != b for i, (a, b) in enumerate(zip(first, other)) if i != self.axis):
                raise ValueError("other dimensions differ")
        return (*first[: self.axis], sum(s[self.axis] for s in inputs), *first[self.axis + 1 :])
