"""Sums of products: constant weights, or two tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qsim.ir.ops.base import Op, Padding2D, Shape, windows
from qsim.numerics import IntArray


@dataclass(frozen=True, kw_only=True)
class Conv2D(Op):
    """y[i,j,o] = 2**product_shift * sum_{u,v,c} w[u,v,c,o] * (x[i*sh+u*dh-top, j*sw+v*dw-left, g*Cg+c] - z) + bias[o].

    z is input_zero_point; positions outside x contribute nothing (they hold z). weights: (KH, KW, Cin/groups, Cout),
    output channel o belongs to group g = o // (Cout/groups). A depthwise convolution has groups = Cin: output channel
    o = c * multiplier + m reads input channel c. 1-D convolutions are (1, W, C) images. bias: (Cout,) in units of y.
    """

    accumulates: ClassVar[bool] = True
    weights: IntArray
    bias: IntArray | None
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: Padding2D
    groups: int
    input_zero_point: int = 0
    product_shift: int = 0

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        h, w, c = inputs[0]
        kh, kw, group_in, out = self.weights.shape
        if group_in * self.groups != c or out % self.groups:
            raise ValueError(f"weights {self.weights.shape} in {self.groups} groups")
        return (
            windows(h, kh, self.strides[0], self.dilation[0], self.padding[0]),
            windows(w, kw, self.strides[1], self.dilation[1], self.padding[1]),
            out,
        )


@dataclass(frozen=True, kw_only=True)
class ConvTranspose2D(Op):
    """y[i*sh+u-top, j*sw+v-left, o] += 2**product_shift * w[u,v,c,o] * (x[i,j,c] - z), plus bias[o] everywhere.

    weights: (KH, KW, Cin, Cout). Contributions outside ``output_size`` (H, W) are dropped; ``padding`` is what is
    cropped at (top, bottom), (left, right) of the full (i-1)*s+K result; a negative bottom or right extends it.
    """

    accumulates: ClassVar[bool] = True
    weights: IntArray
    bias: IntArray | None
    strides: tuple[int, int]
    padding: Padding2D
    output_size: tuple[int, int]
    input_zero_point: int = 0
    product_shift: int = 0

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        _, _, c = inputs[0]
        if self.weights.shape[2] != c:
            raise ValueError(f"weights {self.weights.shape}")
        return (*self.output_size, self.weights.shape[3])


@dataclass(frozen=True, kw_only=True)
class Dense(Op):
    """y[..., o] = 2**product_shift * sum_c w[c,o] * (x[..., c] - input_zero_point) + bias[o]. weights: (Cin, Cout)."""

    accumulates: ClassVar[bool] = True
    weights: IntArray
    bias: IntArray | None
    input_zero_point: int = 0
    product_shift: int = 0

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        if inputs[0][-1] != self.weights.shape[0]:
            raise ValueError(f"weights {self.weights.shape}")
        return (*inputs[0][:-1], self.weights.shape[1])


@dataclass(frozen=True, kw_only=True)
class MatMul(Op):
    """y[..., i, k] = sum_j (a[..., i, j] - za) * (b[..., j, k] - zb), leading dimensions equal.

    zero_points: (za, zb).
    """

    accumulates: ClassVar[bool] = True
    arity: ClassVar[int | None] = 2
    zero_points: tuple[int, int] = (0, 0)

    def shape(self, inputs: Sequence[Shape], declared: Shape | None) -> Shape:
        a, b = inputs
        if a[:-2] != b[:-2] or a[-1] != b[-2]:
            raise ValueError("inner or leading dimensions differ")
        return (*a[:-1], b[-1])


Linear = Conv2D | ConvTranspose2D | Dense
"""Operations with constant weights."""
