"""Layers that join several tensors."""

from __future__ import annotations

import numpy as np

from qsim.errors import ModelError
from qsim.importers.keras.lower_context import Context, Registry
from qsim.importers.keras.lower_quantize import scaled_to
from qsim.importers.keras.lower_value import Value, fraction_gcd, is_power_of_two
from qsim.importers.keras.model import LayerNode
from qsim.ir.ops import Add, Concat
from qsim.numerics import Array


def aligned(ctx: Context, node: LayerNode, inputs: list[Value]) -> tuple[list[Value], list[int], list[int]]:
    """The inputs on grids that are powers of two apart, their left shifts to the finest, and their signs."""
    values = [ctx.grid(v, node.name) for v in inputs]
    grid = fraction_gcd([v.scale.item() for v in values])
    result = []
    for value in values:
        if not is_power_of_two(abs(value.scale.item()) / grid):
            value = scaled_to(ctx.b, value, grid, node.name)
        result.append(value)
    ratios = [v.scale.item() / grid for v in result]
    return result, [int(abs(r)).bit_length() - 1 for r in ratios], [1 if r > 0 else -1 for r in ratios]


def add(ctx: Context, node: LayerNode, inputs: list[Value], signs: list[int]) -> Value:
    """signs[0] * x_0 + signs[1] * x_1 + ..., shapes broadcast."""
    values, shifts, own = aligned(ctx, node, inputs)
    grid = values[0].scale / (own[0] << shifts[0])
    result = Value.of("", node.name, (), grid)
    tensor = ctx.add(
        Add,
        [v.tensor for v in values],
        node.name,
        node.name,
        result.scale,
        result.offset,
        shifts=tuple(shifts),
        signs=tuple(a * b for a, b in zip(own, signs)),
        zero_points=(0,) * len(values),
    )
    return result.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape)


def _add(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return add(ctx, node, inputs, [1] * len(inputs))


def _concatenate(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """Meanings are joined like the tensors; only what cannot be said per channel is brought to a common grid."""
    rank = len(inputs[0].shape)
    axis = int(node.config.get("axis", -1))
    # Keras counts the batch: axis 1 is the first axis here.
    axis = axis + rank if axis < 0 else axis - 1
    if not 0 <= axis < rank:
        raise ModelError(f"layer {node.name!r}: axis {node.config.get('axis')} does not exist in {inputs[0].shape}.")
    clamps = {(v.floor, v.ceiling) for v in inputs}
    values = inputs if len(clamps) == 1 else [ctx.grid(v, node.name) if v.clamped else v for v in inputs]
    if axis != rank - 1 and len({(repr(v.scale), repr(v.offset)) for v in values}) > 1:
        values, shifts, signs = aligned(ctx, node, values)
        grid = fraction_gcd([v.scale.item() for v in values])
        values = [scaled_to(ctx.b, v, grid, node.name) for v in values]
    values = [v if v.channelwise else ctx.grid(v, node.name) for v in values]

    def joined(parts: list[Array]) -> Array:
        if axis != rank - 1:
            return parts[0]
        return np.concatenate([np.broadcast_to(p, v.shape[-1:]) for p, v in zip(parts, values)])

    first = values[0]
    result = Value.of("", node.name, (), joined([v.scale for v in values]), joined([v.offset for v in values]))
    tensor = ctx.add(
        Concat,
        [v.tensor for v in values],
        f"{node.name}.codes" if first.clamped else node.name,
        node.name,
        result.scale,
        result.offset,
        axis=axis,
    )
    return result.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape, floor=first.floor, ceiling=first.ceiling)


LAYERS: Registry = {"Add": _add, "Concatenate": _concatenate}
