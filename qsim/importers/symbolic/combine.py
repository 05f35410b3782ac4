"""Sums, products and extrema of several symbolic values."""

from __future__ import annotations

from typing import Literal

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.symbolic.building import Building, Named
from qsim.importers.symbolic.grid import scaled_to
from qsim.importers.symbolic.value import Value, fraction_gcd, is_power_of_two
from qsim.ir.ops import Add, Concat, Extremum, MatMul, Mul
from qsim.numerics import Array


def aligned(ctx: Building, node: Named, inputs: list[Value]) -> tuple[list[Value], list[int], list[int]]:
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


def add(ctx: Building, node: Named, inputs: list[Value], signs: list[int], name: str | None = None) -> Value:
    """signs[0] * x_0 + signs[1] * x_1 + ..., shapes broadcast, as tensor ``name`` (default: the layer's)."""
    values, shifts, own = aligned(ctx, node, inputs)
    grid = values[0].scale / (own[0] << shifts[0])
    result = Value.of("", node.name, (), grid)
    tensor = ctx.add(
        Add(
            inputs=tuple(v.tensor for v in values),
            output=name or node.name,
            layer=node.name,
            shifts=tuple(shifts),
            signs=tuple(a * b for a, b in zip(own, signs)),
            zero_points=(0,) * len(values),
        ),
        result.scale,
        result.offset,
    )
    return result.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape)


def multiply(ctx: Building, node: Named, inputs: list[Value], own: str | None = None) -> Value:
    """The product of all inputs, shapes broadcast, as tensor ``own`` (default: the layer's)."""
    result, rest = ctx.grid(inputs[0], node.name), inputs[1:]
    for position, value in enumerate(rest):
        other = ctx.grid(value, node.name)
        made = Value.of("", node.name, (), result.scale * other.scale)
        name = (own or node.name) if position == len(rest) - 1 else f"{node.name}.product"
        tensor = ctx.add(
            Mul(inputs=(result.tensor, other.tensor), output=name, layer=node.name), made.scale, made.offset
        )
        result = made.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape)
    return result


def concatenated(ctx: Building, node: Named, inputs: list[Value], axis: int) -> Value:
    """The inputs joined along ``axis``. Meanings are joined like the tensors; only what cannot be said per channel is
    brought to a common grid."""
    rank = len(inputs[0].shape)
    clamps = {v.pending for v in inputs}
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
    return result.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape, **first.held)


def extremum(ctx: Building, node: Named, inputs: list[Value], kind: Literal["max", "min"]) -> Value:
    """The maximum or minimum of the inputs, elementwise, shapes broadcast."""
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


def matrix_product(ctx: Building, node: Named, inputs: list[Value]) -> Value:
    """a @ b for tensors of equal leading dimensions. Raises UnsupportedError for others."""
    a, b = (ctx.grid(v, node.name, exact=True) for v in inputs)
    if min(len(a.shape), len(b.shape)) < 2 or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise UnsupportedError(
            f"it multiplies {a.shape} by {b.shape}", way_out="reshape them to matrices of equal leading dimensions"
        )
    made = Value.of("", node.name, (), a.scale * b.scale)
    op = MatMul(inputs=(a.tensor, b.tensor), output=node.name, layer=node.name)
    tensor = ctx.add(op, made.scale, made.offset)
    return made.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape)
