"""What every linear op is made of, and the ops as functions of it: a layer gives the geometry, ``linear`` the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qsim.ir.ops import Conv2D, ConvTranspose2D, Dense
from qsim.numerics import IntArray

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]


@dataclass(frozen=True, kw_only=True)
class Sums:
    """The fields that dense and convolution ops share; see those in ``qsim.ir.ops``."""

    inputs: tuple[str, ...]
    output: str
    layer: str
    weights: IntArray
    bias: IntArray | None
    product_shift: int = 0
    input_zero_point: int = 0


Make = Callable[[Sums], Dense | Conv2D | ConvTranspose2D]
"""The op of a layer's sums."""


def as_dense(sums: Sums) -> Dense:
    """Sums over the last axis."""
    return Dense(
        inputs=sums.inputs,
        output=sums.output,
        layer=sums.layer,
        weights=sums.weights,
        bias=sums.bias,
        product_shift=sums.product_shift,
        input_zero_point=sums.input_zero_point,
    )


def as_conv2d(strides: Pair, dilation: Pair, padding: Pads, groups: int) -> Make:
    """Sums over windows."""

    def make(sums: Sums) -> Conv2D:
        return Conv2D(
            inputs=sums.inputs,
            output=sums.output,
            layer=sums.layer,
            weights=sums.weights,
            bias=sums.bias,
            strides=strides,
            dilation=dilation,
            padding=padding,
            groups=groups,
            product_shift=sums.product_shift,
            input_zero_point=sums.input_zero_point,
        )

    return make


def as_transposed(strides: Pair, padding: Pads, output_size: Pair) -> Make:
    """Sums of scattered windows."""

    def make(sums: Sums) -> ConvTranspose2D:
        return ConvTranspose2D(
            inputs=sums.inputs,
            output=sums.output,
            layer=sums.layer,
            weights=sums.weights,
            bias=sums.bias,
            strides=strides,
            padding=padding,
            output_size=output_size,
            product_shift=sums.product_shift,
            input_zero_point=sums.input_zero_point,
        )

    return make
