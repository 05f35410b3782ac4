"""The builder of graphs for tests: short ways to add what most of them need."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from qsim.ir import Graph, Quantization
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Overflow, Rescale, Rounding, Scheme, scalar, shift_only
from qsim.proof.builder import GraphBuilder

Q = Quantization.of(Fraction(1, 16))


class Net:
    """A GraphBuilder with the repetitive arguments filled in: every tensor has the same quantization."""

    def __init__(self, name: str) -> None:
        self.builder = GraphBuilder(name, "qkeras")
        self.count = 0

    def input(self, shape: tuple[int, ...], fmt: IntFormat | None = None, name: str = "x") -> str:
        return self.builder.input(name, shape, fmt or IntFormat(6, True), Q)

    def add(
        self,
        op: type[o.Op],
        *inputs: str,
        name: str | None = None,
        format: IntFormat | None = None,
        shape: tuple[int, ...] | None = None,
        **fields: Any,
    ) -> str:
        self.count += 1
        layer = name or f"{op.__name__.lower()}{self.count}"
        made = op(inputs=inputs, output=layer, layer=layer, **fields)
        return self.builder.add(made, quantization=Q, format=format, shape=shape)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.builder.tensor(name).shape

    def range(self, name: str) -> tuple[int, int]:
        return self.builder.tensor(name).range

    def build(self, *outputs: str) -> Graph:
        return self.builder.build(list(outputs))


def weights(rng: np.random.Generator, shape: tuple[int, ...], bits: int = 4) -> IntArray:
    """Signed weights with both extreme codes among them."""
    values = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape)
    flat = values.reshape(-1)
    flat[0], flat[-1] = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return IntArray(values)


def plain(m: Any, a: Any, s: Any, rounding: Rounding) -> Rescale:
    """A PLAIN rescale from anything that an IntArray takes."""
    return Rescale(
        multiplier=IntArray(m), addend=IntArray(a), shift=IntArray(s), rounding=rounding, scheme=Scheme.PLAIN
    )


def tflite(m: Any, s: Any, scheme: Scheme) -> Rescale:
    """A TFLite rescale; the rounding is the scheme's own."""
    rounding = {Scheme.TFLITE_DOUBLE: Rounding.RND_INF, Scheme.FLOAT32: Rounding.RND_CONV}.get(scheme, Rounding.RND)
    return Rescale(multiplier=IntArray(m), addend=scalar(0), shift=IntArray(s), rounding=rounding, scheme=scheme)


def conv(net: Net, x: str, rng: np.random.Generator, out: int, **changes: Any) -> str:
    """A 3x3 convolution with bias; fields can be changed."""
    fields: dict[str, Any] = {
        "strides": (1, 1),
        "dilation": (1, 1),
        "padding": ((1, 1), (1, 1)),
        "groups": 1,
        "bias": IntArray(rng.integers(-9, 10, out)),
    } | changes
    if "weights" not in fields:
        kernel = fields.pop("kernel", (3, 3))
        fields["weights"] = weights(rng, (*kernel, net.shape(x)[-1] // fields["groups"], out))
    return net.add(o.Conv2D, x, **fields)


def requantize(net: Net, x: str, shift: int = 3, low: int = -8, high: int = 7, **changes: Any) -> str:
    """Shift, half-even, saturate."""
    fields: dict[str, Any] = {
        "rescale": shift_only(shift, Rounding.RND_CONV),
        "overflow": Overflow.SAT,
        "low": low,
        "high": high,
    } | changes
    return net.add(o.Requantize, x, **fields)
