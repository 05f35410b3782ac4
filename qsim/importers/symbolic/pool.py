"""Maxima and sums over windows of symbolic values."""

from __future__ import annotations

import numpy as np

from qsim.importers.symbolic.building import Building, Named
from qsim.importers.symbolic.value import Value, fractions
from qsim.ir.ops import MaxPool2D, Reshape, SumPool2D
from qsim.numerics import Array

Window = tuple[tuple[int, int], tuple[int, int], tuple[tuple[int, int], tuple[int, int]]]
"""(pool, strides, padding)."""


def valid_counts(size: int, pool: int, stride: int, pads: tuple[int, int]) -> Array:
    """How many positions of each window lie inside the input, along one axis."""
    windows = (size + sum(pads) - pool) // stride + 1
    starts = np.arange(windows) * stride - pads[0]
    return np.asarray(np.minimum(starts + pool, size) - np.maximum(starts, 0))


def max_pool(ctx: Building, node: Named, value: Value, window: Window, name: str | None = None) -> Value:
    """The maximum over windows, as tensor ``name`` (default: the layer's, if nothing is pending on it). It passes
    through rising meanings and clamps unchanged."""
    value = ctx.rising(value, node.name)
    pool, strides, padding = window
    tensor = ctx.add(
        MaxPool2D(
            inputs=(value.tensor,),
            output=name or (f"{node.name}.max" if value.clamped else node.name),
            layer=node.name,
            pool=pool,
            strides=strides,
            padding=padding,
        ),
        value.scale,
        value.offset,
    )
    return value.but(tensor=tensor, layer=node.name, shape=ctx.b.tensor(tensor).shape)


def sum_pool(ctx: Building, node: Named, value: Value, window: Window, name: str) -> tuple[Value, Array]:
    """The sum over each window's valid positions, and their counts (H, W, 1) as Fractions."""
    if value.clamped or not value.channelwise:
        value = ctx.grid(value, node.name)
    pool, strides, padding = window
    counts = [valid_counts(n, pool[i], strides[i], padding[i]) for i, n in enumerate(value.shape[:2])]
    area = fractions(counts[0][:, None, None] * counts[1][None, :, None])
    plain = Value.of(value.tensor, node.name, value.shape, value.scale)
    tensor = ctx.add(
        SumPool2D(inputs=(value.tensor,), output=name, layer=node.name, pool=pool, strides=strides, padding=padding),
        plain.scale,
        plain.offset,
    )
    made = plain.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape)
    return made.affine(1, value.offset * area), area


def flattened(ctx: Building, node: Named, value: Value, shape: tuple[int, ...], name: str) -> Value:
    """The value in another shape with the channels last in both."""
    tensor = ctx.add(
        Reshape(inputs=(value.tensor,), output=name, layer=node.name), value.scale, value.offset, shape=shape
    )
    return value.but(tensor=tensor, shape=shape)


def channelwise(ctx: Building, node: Named, value: Value) -> Value:
    """The value, on a common grid where its meaning differs by position."""
    return value if value.channelwise else ctx.grid(value, node.name)
