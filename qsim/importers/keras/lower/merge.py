"""Layers that join several tensors."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import numpy as np

from qsim.errors import ModelError
from qsim.importers.keras.lower.context import Context, Lowering, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.combine import add, aligned, multiply
from qsim.importers.symbolic.grid import scaled_to
from qsim.importers.symbolic.value import Value, fraction_gcd
from qsim.ir.ops import Concat, Extremum
from qsim.numerics import Array


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
        values, _, _ = aligned(ctx, node, values)
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
        Concat(
            inputs=tuple(v.tensor for v in values),
            output=f"{node.name}.codes" if first.clamped else node.name,
            layer=node.name,
            axis=axis,
        ),
        result.scale,
        result.offset,
    )
    return result.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape, floor=first.floor, ceiling=first.ceiling)


def _subtract(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return add(ctx, node, inputs, [1, -1])


def _average(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """The sum, and 1/n pending."""
    return add(ctx, node, inputs, [1] * len(inputs), f"{node.name}.sum").affine(Fraction(1, len(inputs)))


def _multiply(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return multiply(ctx, node, inputs)


def _extremum(kind: Literal["max", "min"]) -> Lowering:
    def lowering(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
        values, shifts, _ = aligned(ctx, node, [ctx.grid(v, node.name, rising=True) for v in inputs])
        result = Value.of("", node.name, (), np.asarray(values[0].scale / (1 << shifts[0])))
        tensor = ctx.add(
            Extremum(
                inputs=tuple(v.tensor for v in values),
                output=node.name,
                layer=node.name,
                kind=kind,
                shifts=tuple(shifts),
            ),
            result.scale,
            result.offset,
        )
        return result.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape)

    return lowering


LAYERS: Registry = {
    "Add": _add,
    "Subtract": _subtract,
    "Average": _average,
    "Multiply": _multiply,
    "Maximum": _extremum("max"),
    "Minimum": _extremum("min"),
    "Concatenate": _concatenate,
}
