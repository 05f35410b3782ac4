"""Pooling: maxima, plain averages, and QKeras' sum times the quantized inverse of the pool's area."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.keras.lower.activation import activate
from qsim.importers.keras.lower.context import Context, channels_last, padding_2d, pair, rank
from qsim.importers.keras.lower.record import Lowering, Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.pool import Window, channelwise, flattened, max_pool, sum_pool
from qsim.importers.symbolic.value import Value
from qsim.quantizers import QUANTIZERS, parse


def _window(node: LayerNode, value: Value) -> Window:
    channels_last(node)
    rank(node, value, 3)
    pool = pair(node.config["pool_size"])
    strides = pair(node.config["strides"]) if node.config.get("strides") is not None else pool
    return pool, strides, padding_2d(node, value.shape, pool, strides)


def average_factor(node: LayerNode, area: int) -> Fraction:
    """average_quantizer(1 / area) as an exact number."""
    call = parse(node.config["average_quantizer"])
    if call is None or call.name not in QUANTIZERS:
        raise UnsupportedError(
            f"the average_quantizer {call} is not supported", way_out=f"use one of {', '.join(QUANTIZERS)}"
        )
    twin = QUANTIZERS[call.name].bind(call)
    if isinstance(getattr(twin, "alpha", None), str):
        raise UnsupportedError(
            f"the average_quantizer {twin} has an automatic scale, which QKeras itself cannot compute for one number",
            way_out="give it a fixed alpha, such as quantized_bits(8,0,1,alpha=1)",
        )
    weights = twin.weights(np.array([1.0 / area], dtype=np.float32))
    factor = int(weights.codes[0]) * Fraction(np.asarray(weights.scale, dtype=object).reshape(-1)[0])
    return Fraction(factor)


def _max_pooling(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return max_pool(ctx, node, inputs[0], _window(node, inputs[0]))


def _average_pooling(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """Keras' average: the sum over the valid positions by their count, which stays pending."""
    result, area = sum_pool(ctx, node, inputs[0], _window(node, inputs[0]), f"{node.name}.sum")
    return result.affine(1 / area)


def _q_average_pooling(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """QKeras multiplies the input by the pool's area, takes Keras' average, and multiplies by the quantized inverse of
    the area: sum * area / count * average_quantizer(1 / area). Inside the image area / count is 1."""
    if node.config.get("average_quantizer") is None:
        result = _average_pooling(ctx, node, inputs)
    else:
        window = _window(node, inputs[0])
        area = window[0][0] * window[0][1]
        result, counts = sum_pool(ctx, node, inputs[0], window, f"{node.name}.sum")
        result = result.affine(average_factor(node, area) * area / counts)
    return activate(ctx, node, result, node.config.get("activation"))


def _global_shape(node: LayerNode, channels: int) -> tuple[int, ...]:
    """(C,), or with keepdims (1, 1, C) from images and (1, C) from rows."""
    kept = 0 if not node.config.get("keepdims") else 1 if node.class_name.endswith("1D") else 2
    return (*(1,) * kept, channels)


def _globally(ctx: Context, node: LayerNode, value: Value) -> tuple[Value, int]:
    """The sum over the whole image, and the number of positions."""
    channels_last(node)
    rank(node, value, 3)
    pool = (value.shape[0], value.shape[1])
    result, _ = sum_pool(ctx, node, value, (pool, pool, ((0, 0), (0, 0))), f"{node.name}.sum")
    shape = _global_shape(node, value.shape[2])
    if shape != result.shape:
        result = flattened(ctx, node, result, shape, f"{node.name}.flat")
    return result, pool[0] * pool[1]


def _global_average_pooling(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    result, area = _globally(ctx, node, inputs[0])
    return result.affine(Fraction(1, area))


def _q_global_average_pooling(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    result, area = _globally(ctx, node, inputs[0])
    quantized = node.config.get("average_quantizer") is not None
    result = result.affine(average_factor(node, area) if quantized else Fraction(1, area))
    return activate(ctx, node, result, node.config.get("activation"))


def _one_dimensional(lowering: Lowering) -> Lowering:
    """A 2-D pooling layer on (W, C) inputs, seen as images of height one."""

    def lowered(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
        channels_last(node)
        rank(node, inputs[0], 2)
        config = dict(node.config)
        for key in ("pool_size", "strides"):
            if config.get(key) is not None:
                size = config[key]
                config[key] = [1, size if isinstance(size, int) else size[0]]
        image = flattened(ctx, node, channelwise(ctx, node, inputs[0]), (1, *inputs[0].shape), f"{node.name}.image")
        inner = dataclasses.replace(node, config=config)
        result = lowering(ctx, inner, [image])
        assert isinstance(result, Value)
        if node.class_name.startswith("Global"):
            return result
        named = node.class_name.startswith("Max") and not result.clamped
        name = node.name if named else f"{node.name}.row"
        return flattened(ctx, node, channelwise(ctx, node, result), result.shape[1:], name)

    return lowered


def _max_pooling_row(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return max_pool(ctx, node, inputs[0], _window(node, inputs[0]), f"{node.name}.max")


def _global_max_pooling(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    channels_last(node)
    value = inputs[0]
    pool = (value.shape[0], value.shape[1])
    shape = _global_shape(node, value.shape[2])
    whole = shape == (1, 1, value.shape[2])
    result = max_pool(ctx, node, value, (pool, pool, ((0, 0), (0, 0))), None if whole else f"{node.name}.max")
    if whole:
        return result
    return flattened(ctx, node, result, shape, f"{node.name}.codes" if result.clamped else node.name)


_WINDOW = ("pool_size", "strides", "padding")
_AVERAGE = ("average_quantizer", "activation")

LAYERS: Registry = {
    "MaxPooling2D": Record(lower=_max_pooling, reads=_WINDOW),
    "AveragePooling2D": Record(lower=_average_pooling, reads=_WINDOW),
    "QAveragePooling2D": Record(lower=_q_average_pooling, reads=(*_WINDOW, *_AVERAGE)),
    "GlobalMaxPooling2D": Record(lower=_global_max_pooling, reads=("keepdims",)),
    "GlobalAveragePooling2D": Record(lower=_global_average_pooling, reads=("keepdims",)),
    "QGlobalAveragePooling2D": Record(lower=_q_global_average_pooling, reads=("keepdims", *_AVERAGE)),
    "MaxPooling1D": Record(lower=_one_dimensional(_max_pooling_row), reads=_WINDOW),
    "AveragePooling1D": Record(lower=_one_dimensional(_average_pooling), reads=_WINDOW),
    "GlobalMaxPooling1D": Record(lower=_one_dimensional(_global_max_pooling), reads=("keepdims",)),
    "GlobalAveragePooling1D": Record(lower=_one_dimensional(_global_average_pooling), reads=("keepdims",)),
}
