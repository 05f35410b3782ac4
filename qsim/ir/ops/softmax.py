"""Operations that compare a whole axis: softmax and argmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qsim.ir.ops.base import Op, Shape


@dataclass(frozen=True, kw_only=True)
class Softmax(Op):
    """TFLite's integer softmax over the last axis, bit for bit (kernels/internal/reference/softmax.h).

    For d = x - max(x) >= diff_min: e = exp_on_negative_values(SRDHM(d << input_left_shift, input_multiplier)) with 5
    integer bits; sum in 12 integer bits; y = clamp(RDBPOT(e * reciprocal(sum)) + low). Others give ``low``.
    """

    input_multiplier: int
    input_left_shift: int
    diff_min: int

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return inputs[0]


@dataclass(frozen=True, kw_only=True)
class ArgMax(Op):
    """y = the first index of the maximum along ``axis`` (not counting the batch), which is dropped."""

    axis: int

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        return tuple(n for i, n in enumerate(inputs[0]) if i != self.axis) or (1,)
