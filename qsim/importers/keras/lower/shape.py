"""Layers that move elements, or do nothing at inference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.lower.context import Context, Registry, channels_last, pair, rank
from qsim.importers.keras.lower.quantize import quantization
from qsim.importers.keras.lower.value import ZERO, Value, distinct
from qsim.importers.keras.model import LayerNode
from qsim.ir.ops import Gather, Op, Pad, Reshape, Slice, Transpose
from qsim.numerics import Array, IntArray


def move(
    ctx: Context,
    node: LayerNode,
    value: Value,
    op: type[Op],
    shape: tuple[int, ...],
    how: Callable[[Array], Array],
    **fields: Any,
) -> Value:
    """A rearranging op; scale and offset are moved along. A meaning that does not end up per channel is brought to a
    common grid first."""
    moved = value.rearranged(value.tensor, shape, how)
    if not moved.channelwise:
        value = ctx.grid(value, node.name)
        moved = value.rearranged(value.tensor, shape, how)
    pending = value.clamped or value.boundary != "linear"
    name = f"{node.name}.codes" if pending else node.name
    tensor = ctx.b.add(
        op,
        [value.tensor],
        name,
        layer=node.name,
        quantization=quantization(moved.scale, moved.offset),
        shape=shape,
        **fields,
    )
    return moved.but(tensor=tensor, layer=node.name)


def rearrange(ctx: Context, node: LayerNode, value: Value, how: Callable[[Array], Array]) -> Value:
    """``how``, which may repeat, drop and move elements, applied to the value."""
    index = np.asarray(how(np.arange(math.prod(value.shape)).reshape(value.shape)))
    return move(ctx, node, value, Gather, index.shape, how, index=IntArray(index))


def reshape(ctx: Context, node: LayerNode, value: Value, shape: tuple[int, ...]) -> Value:
    """Row-major reshape; nothing at all where the shape stays."""
    if shape == value.shape:
        return value.but(layer=node.name)
    return move(ctx, node, value, Reshape, shape, lambda a: np.asarray(a.reshape(shape)))


def _identity(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return inputs[0].but(layer=node.name)


def _flatten(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    if len(inputs[0].shape) > 2:
        channels_last(node)
    return reshape(ctx, node, inputs[0], (math.prod(inputs[0].shape),))


def fitting(shape: tuple[int, ...], target: Sequence[int]) -> tuple[int, ...] | None:
    """``target`` with its one -1, if it has one, filled in for the elements of ``shape``; None where they differ."""
    size, known, found = math.prod(shape), math.prod(n for n in target if n != -1), [int(n) for n in target]
    if found.count(-1) == 1 and known and size % known == 0:
        found[found.index(-1)] = size // known
    return None if -1 in found or math.prod(found) != size else tuple(found)


def _reshape(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    shape = fitting(inputs[0].shape, node.config["target_shape"])
    if shape is None:
        raise ModelError(f"layer {node.name!r}: shape {inputs[0].shape} cannot become {node.config['target_shape']}.")
    return reshape(ctx, node, inputs[0], shape)


def zero_is_code_zero(ctx: Context, value: Value, layer: str) -> Value:
    """The value with real zero as code zero wherever an element may be padded."""
    inside = (value.floor is None or value.floor <= 0) and (value.ceiling is None or value.ceiling >= 0)
    if value.channelwise and distinct(value.offset) == [ZERO] and inside:
        return value
    return ctx.grid(value, layer)


def _zero_padding_2d(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    channels_last(node)
    rank(node, inputs[0], 3)
    value, padding = zero_is_code_zero(ctx, inputs[0], node.name), node.config.get("padding", 1)
    if isinstance(padding, int):
        rows = columns = (padding, padding)
    else:
        rows, columns = (pair(p) for p in padding)
    return padded(ctx, node, value, (rows, columns, (0, 0)))


def padded(ctx: Context, node: LayerNode, value: Value, pads: tuple[tuple[int, int], ...]) -> Value:
    """Zeros around the value, whose code zero is real zero."""
    shape = tuple(n + before + after for n, (before, after) in zip(value.shape, pads, strict=True))
    tensor = ctx.add(
        Pad,
        [value.tensor],
        f"{node.name}.codes" if value.clamped else node.name,
        node.name,
        value.scale,
        value.offset,
        pads=pads,
        value=0,
    )
    return value.but(tensor=tensor, layer=node.name, shape=shape)


def _zero_padding_1d(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    rank(node, inputs[0], 2)
    return padded(
        ctx, node, zero_is_code_zero(ctx, inputs[0], node.name), (pair(node.config.get("padding", 1)), (0, 0))
    )


def _cropping(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    channels_last(node)
    value, cropping = inputs[0], node.config["cropping"]
    if len(value.shape) == 2:
        cuts = [pair(cropping), (0, 0)]
    elif isinstance(cropping, int):
        cuts = [(cropping, cropping), (cropping, cropping), (0, 0)]
    else:
        cuts = [*(pair(c) for c in cropping), (0, 0)]
    begin = tuple(before for before, _ in cuts)
    shape = tuple(n - before - after for n, (before, after) in zip(value.shape, cuts, strict=True))
    if any(n < 1 for n in shape):
        raise ModelError(f"layer {node.name!r}: cropping {cropping} leaves nothing of {value.shape}.")
    box = tuple(slice(first, first + n) for first, n in zip(begin, shape))
    return move(ctx, node, value, Slice, shape, lambda a: np.asarray(a[box]), begin=begin, strides=(1,) * len(shape))


def _permute(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    perm = tuple(int(d) - 1 for d in node.config["dims"])
    shape = tuple(inputs[0].shape[p] for p in perm)
    return move(ctx, node, inputs[0], Transpose, shape, lambda a: np.asarray(a.transpose(perm)), perm=perm)


def _upsampling(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """Nearest neighbours: every element repeated along height and width."""
    channels_last(node)
    if node.config.get("interpolation", "nearest") != "nearest":
        raise UnsupportedError(
            f"interpolation {node.config['interpolation']!r} makes values between the codes",
            way_out="use interpolation='nearest'",
        )
    value = inputs[0]
    sizes = pair(node.config.get("size", 2)) if len(value.shape) == 3 else (int(node.config.get("size", 2)),)

    def repeated(a: Array) -> Array:
        for axis, n in enumerate(sizes):
            a = np.repeat(a, n, axis=axis)
        return a

    return rearrange(ctx, node, value, repeated)


def _repeat_vector(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    rank(node, inputs[0], 1)
    return rearrange(ctx, node, inputs[0], lambda a: np.repeat(a[np.newaxis], int(node.config["n"]), axis=0))


IDENTITIES = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
)
"""Layers that do something in training only."""

LAYERS: Registry = {
    **dict.fromkeys(IDENTITIES, _identity),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "ZeroPadding1D": _zero_padding_1d,
    "ZeroPadding2D": _zero_padding_2d,
    "Cropping1D": _cropping,
    "Cropping2D": _cropping,
    "RepeatVector": _repeat_vector,
    "UpSampling1D": _upsampling,
    "UpSampling2D": _upsampling,
}
