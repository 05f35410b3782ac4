"""Symbolic values whose elements move: reshapes, slices, padding, any static rearrangement."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.symbolic.building import Building, Label, Named
from qsim.importers.symbolic.grid import quantization
from qsim.importers.symbolic.value import ZERO, Value, distinct
from qsim.ir.ops import Gather, Op, Pad, Reshape, Slice, Transpose
from qsim.numerics import Array, IntArray


def move(
    ctx: Building, node: Named, value: Value, op: Op, shape: tuple[int, ...], how: Callable[[Array], Array]
) -> Value:
    """A rearranging op, which reads the value and makes the node's tensor; scale and offset are moved along. A meaning
    that does not end up per channel is brought to a common grid first."""
    moved = value.rearranged(value.tensor, shape, how)
    if not moved.channelwise:
        value = ctx.grid(value, node.name)
        moved = value.rearranged(value.tensor, shape, how)
    pending = value.clamped or value.boundary != "linear"
    name = f"{node.name}.codes" if pending else node.name
    tensor = ctx.b.add(
        dataclasses.replace(op, inputs=(value.tensor,), output=name),
        quantization=quantization(moved.scale, moved.offset),
        shape=shape,
    )
    return moved.but(tensor=tensor, layer=node.name)


def rearrange(ctx: Building, node: Named, value: Value, how: Callable[[Array], Array]) -> Value:
    """``how``, which may repeat, drop and move elements, applied to the value."""
    index = np.asarray(how(np.arange(math.prod(value.shape)).reshape(value.shape)))
    gather = Gather(inputs=(value.tensor,), output=node.name, layer=node.name, index=IntArray(index))
    return move(ctx, node, value, gather, index.shape, how)


def reshape(ctx: Building, node: Named, value: Value, shape: tuple[int, ...]) -> Value:
    """Row-major reshape; nothing at all where the shape stays."""
    if shape == value.shape:
        return value.but(layer=node.name)
    made = Reshape(inputs=(value.tensor,), output=node.name, layer=node.name)
    return move(ctx, node, value, made, shape, lambda a: np.asarray(a.reshape(shape)))


def transpose(ctx: Building, node: Named, value: Value, perm: tuple[int, ...]) -> Value:
    """The value with its axes (without the batch) in the order ``perm``, as the node's output."""
    shape = tuple(value.shape[p] for p in perm)
    made = Transpose(inputs=(value.tensor,), output=node.name, layer=node.name, perm=perm)
    return move(ctx, node, value, made, shape, lambda a: np.asarray(a.transpose(perm)))


def fitting(shape: tuple[int, ...], target: Sequence[int]) -> tuple[int, ...] | None:
    """``target`` with its one -1, if it has one, filled in for the elements of ``shape``; None where they differ."""
    size, known, found = math.prod(shape), math.prod(n for n in target if n != -1), [int(n) for n in target]
    if found.count(-1) == 1 and known and size % known == 0:
        found[found.index(-1)] = size // known
    return None if -1 in found or math.prod(found) != size else tuple(found)


def _with_zero(ctx: Building, value: Value, layer: str) -> tuple[Value, int]:
    """The value, and the code that stands for real zero wherever an element may be padded."""
    inside = (value.floor is None or value.floor <= 0) and (value.ceiling is None or value.ceiling >= 0)
    if value.channelwise and distinct(value.offset) == [ZERO] and inside:
        return value, 0
    if inside and value.floor == 0 and value.channelwise and all(value.scale.reshape(-1)):
        # Below zero a ReLU's clamp makes zero of every code.
        value = ctx.rising(value, layer)
        lowest = [math.floor(v) for v in np.asarray(-value.offset / value.scale).reshape(-1).tolist()]
        code, (low, high) = min(0, *lowest), ctx.b.tensor(value.tensor).range
        if abs(code) <= 2 * max(-low, high):
            return value, code
    return ctx.grid(value, layer), 0


def padded(ctx: Building, node: Named, value: Value, pads: tuple[tuple[int, int], ...]) -> Value:
    """Zeros around the value."""
    value, code = _with_zero(ctx, value, node.name)
    shape = tuple(n + before + after for n, (before, after) in zip(value.shape, pads, strict=True))
    tensor = ctx.add(
        Pad(
            inputs=(value.tensor,),
            output=f"{node.name}.codes" if value.clamped else node.name,
            layer=node.name,
            pads=pads,
            value=code,
        ),
        value.scale,
        value.offset,
    )
    return value.but(tensor=tensor, layer=node.name, shape=shape)


def sliced(ctx: Building, node: Named, value: Value, box: tuple[slice, ...], name: str | None = None) -> Value:
    """The part of the value inside the box, whose slices all go upwards."""
    bounds = [s.indices(n) for s, n in zip(box, value.shape, strict=True)]
    shape = tuple(len(range(*b)) for b in bounds)
    if 0 in shape:
        raise UnsupportedError(f"it leaves nothing of its input of shape {value.shape}")
    own = Label(name or node.name)
    strides = tuple(step for _, _, step in bounds)
    begin = tuple(first for first, _, _ in bounds)
    part = Slice(inputs=(value.tensor,), output=own.name, layer=own.name, begin=begin, strides=strides)
    result = move(ctx, own, value, part, shape, lambda a: np.asarray(a[box]))
    return result.but(layer=node.name)
