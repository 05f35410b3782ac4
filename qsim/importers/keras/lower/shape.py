"""Layers that move elements, or do nothing at inference."""

from __future__ import annotations

import math

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.lower.context import Context, channels_last, pair, rank
from qsim.importers.keras.lower.record import Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.shape import fitting, move, padded, rearrange, reshape, transpose
from qsim.importers.symbolic.value import Value
from qsim.ir.ops import Slice
from qsim.numerics import Array


def _identity(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return inputs[0].but(layer=node.name)


def _reshaped(ctx: Context, node: LayerNode, value: Value, shape: tuple[int, ...]) -> Value:
    """Row-major; of a softmax, which joins the last axis, only where that stays."""
    if value.boundary == "softmax" and shape[-1:] != value.shape[-1:]:
        value.settled()
    return reshape(ctx, node, value, shape)


def _flatten(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    if len(inputs[0].shape) > 2:
        channels_last(node)
    return _reshaped(ctx, node, inputs[0], (math.prod(inputs[0].shape),))


def _reshape(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    shape = fitting(inputs[0].shape, node.config["target_shape"])
    if shape is None:
        raise ModelError(f"layer {node.name!r}: shape {inputs[0].shape} cannot become {node.config['target_shape']}.")
    return _reshaped(ctx, node, inputs[0], shape)


def _zero_padding_2d(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    channels_last(node)
    rank(node, inputs[0], 3)
    padding = node.config.get("padding", 1)
    if isinstance(padding, int):
        rows = columns = (padding, padding)
    else:
        rows, columns = (pair(p) for p in padding)
    return padded(ctx, node, inputs[0], (rows, columns, (0, 0)))


def _zero_padding_1d(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    rank(node, inputs[0], 2)
    return padded(ctx, node, inputs[0], (pair(node.config.get("padding", 1)), (0, 0)))


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
    strides = (1,) * len(shape)
    part = Slice(inputs=(value.tensor,), output=node.name, layer=node.name, begin=begin, strides=strides)
    return move(ctx, node, value, part, shape, lambda a: np.asarray(a[box]))


def _permute(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    dims = [int(d) for d in node.config["dims"]]
    if inputs[0].boundary == "softmax" and dims[-1] != len(dims):
        inputs[0].settled()
    return transpose(ctx, node, inputs[0], tuple(d - 1 for d in dims))


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
    *("Identity", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout"),
    *("GaussianNoise", "GaussianDropout", "ActivityRegularization"),
)
"""Layers that do something in training only."""

_NOTHING = Record(lower=_identity, identity=True, rows=True, real=True, any_order=True)

LAYERS: Registry = {
    **dict.fromkeys(IDENTITIES, _NOTHING),
    "Flatten": Record(lower=_flatten, real=True),
    "Reshape": Record(lower=_reshape, reads=("target_shape",), real=True),
    "Permute": Record(lower=_permute, reads=("dims",), real=True),
    "ZeroPadding1D": Record(lower=_zero_padding_1d, reads=("padding",)),
    "ZeroPadding2D": Record(lower=_zero_padding_2d, reads=("padding",)),
    "Cropping1D": Record(lower=_cropping, reads=("cropping",)),
    "Cropping2D": Record(lower=_cropping, reads=("cropping",)),
    "RepeatVector": Record(lower=_repeat_vector, reads=("n",)),
    "UpSampling1D": Record(lower=_upsampling, reads=("size",)),
    "UpSampling2D": Record(lower=_upsampling, reads=("size", "interpolation")),
}
