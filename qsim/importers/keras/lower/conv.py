"""Convolutions beyond the plain 2-D one: 1-D, depthwise, separable, transposed, and with a folded batch
normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.lower.activation import activate, has_activation, last_axis
from qsim.importers.keras.lower.context import Context, channels_last, padding_2d, pair, rank, same_padding, weight
from qsim.importers.keras.lower.linear import CONV_READS, DENSE_READS, bias_values, linear, quantize, quantized_kernel
from qsim.importers.keras.lower.record import Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.pool import channelwise, flattened
from qsim.importers.symbolic.sums import Pads, Pair, as_conv2d, as_dense, as_transposed
from qsim.importers.symbolic.value import Value, fractions
from qsim.numerics import Array
from qsim.quantizers import Weights


def one(value: Any) -> int:
    """A number, or a list of one, as an integer."""
    return int(value[0] if isinstance(value, list | tuple) else value)


def depthwise_layout(w: Array) -> Array:
    """(KH, KW, Cin, M) to (KH, KW, 1, Cin * M): output channel c * M + m reads input channel c."""
    kh, kw, channels, multiplier = w.shape
    return np.asarray(w.reshape(kh, kw, 1, channels * multiplier))


def quantized_by(ctx: Context, node: LayerNode, variable: str, key: str, shape: tuple[int, ...]) -> Weights:
    """Weights ``variable`` (Keras 3 also writes 'kernel' for a depthwise one) quantized by ``node.config[key]``."""
    name = variable if variable in node.weights or "kernel" not in node.weights else "kernel"
    array = weight(node, name, shape)
    twin = ctx.quantizer(node, key)
    if twin is None:
        raise UnsupportedError(
            f"the weights {name!r} of this {node.class_name} have no quantizer; float weights have no exact integers",
            way_out=f"use {'' if node.class_name.startswith('Q') else 'Q'}{node.class_name} with {key}, such as "
            "quantized_bits(8,0,alpha=1), or let qsim quantize them: --weights-format 'fixed<8,1>'",
        )
    return quantize(ctx, node, name, twin.as_kernel(), array)


def _depthwise_conv2d(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    channels_last(node)
    value, config = inputs[0], node.config
    rank(node, value, 3)
    kernel_size, multiplier = pair(config["kernel_size"]), int(config.get("depth_multiplier") or 1)
    strides, dilation = pair(config.get("strides", 1)), pair(config.get("dilation_rate", 1))
    channels = value.shape[2]
    shape = (*kernel_size, channels, multiplier)
    result = linear(
        ctx,
        node,
        value,
        as_conv2d(strides, dilation, padding_2d(node, value.shape, kernel_size, strides, dilation), channels),
        quantized_by(ctx, node, "depthwise_kernel", "depthwise_quantizer", shape),
        bias_values(ctx, node, channels * multiplier),
        layout=depthwise_layout,
    )
    return activate(ctx, node, result, config.get("activation"))


def _depthwise_conv1d(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    config, value = node.config, _image(ctx, node, inputs[0])
    size, multiplier = one(config["kernel_size"]), int(config.get("depth_multiplier") or 1)
    stride, dilation = one(config.get("strides", 1)), one(config.get("dilation_rate", 1))
    channels = value.shape[2]
    result = linear(
        ctx,
        node,
        value,
        as_conv2d((1, stride), (1, dilation), _row_padding(node, value.shape[1], size, stride, dilation), channels),
        quantized_by(ctx, node, "depthwise_kernel", "depthwise_quantizer", (size, channels, multiplier)),
        bias_values(ctx, node, channels * multiplier),
        layout=lambda w: depthwise_layout(w[None]),
        name=f"{node.name}.conv",
    )
    return _row(ctx, node, result)


def _row_padding(node: LayerNode, width: int, kernel: int, stride: int, dilation: int) -> Pads:
    """Padding of a (1, W, C) image for a 1-D layer, 'causal' included."""
    match str(node.config.get("padding", "valid")).lower():
        case "valid":
            return (0, 0), (0, 0)
        case "same":
            return (0, 0), same_padding(width, kernel, stride, dilation)
        case "causal":
            return (0, 0), ((kernel - 1) * dilation, 0)
        case other:
            raise UnsupportedError(f"padding {other!r} is not supported", way_out="use 'valid', 'same' or 'causal'")


def _image(ctx: Context, node: LayerNode, value: Value) -> Value:
    """(W, C) as (1, W, C)."""
    channels_last(node)
    rank(node, value, 2)
    return flattened(ctx, node, channelwise(ctx, node, value), (1, *value.shape), f"{node.name}.image")


def _row(ctx: Context, node: LayerNode, value: Value) -> Value:
    """(1, W, C) back as (W, C), and the layer's activation."""
    name = f"{node.name}.acc" if has_activation(node.config.get("activation")) else node.name
    row = flattened(ctx, node, value, value.shape[1:], name)
    return activate(ctx, node, row, node.config.get("activation"))


def _conv1d(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    config, value = node.config, _image(ctx, node, inputs[0])
    size, filters, groups = one(config["kernel_size"]), int(config["filters"]), int(config.get("groups") or 1)
    stride, dilation = one(config.get("strides", 1)), one(config.get("dilation_rate", 1))
    result = linear(
        ctx,
        node,
        value,
        as_conv2d((1, stride), (1, dilation), _row_padding(node, value.shape[1], size, stride, dilation), groups),
        quantized_kernel(ctx, node, "kernel", (size, value.shape[2] // groups, filters)),
        bias_values(ctx, node, filters),
        layout=lambda w: np.asarray(w[None]),
        name=f"{node.name}.conv",
    )
    return _row(ctx, node, result)


def _separable(
    ctx: Context,
    node: LayerNode,
    value: Value,
    kernel_size: Pair,
    strides: Pair,
    dilation: Pair,
    padding: Pads,
    name: str | None,
) -> Value:
    """A depthwise and a pointwise convolution, with nothing between them."""
    config = node.config
    channels, filters, multiplier = value.shape[2], int(config["filters"]), int(config.get("depth_multiplier") or 1)
    flat = node.class_name.endswith("1D")
    spatial = kernel_size[1:] if flat else kernel_size

    def image(w: Array) -> Array:
        return np.asarray(w[None] if flat else w)

    depthwise = linear(
        ctx,
        node,
        value,
        as_conv2d(strides, dilation, padding, channels),
        quantized_by(ctx, node, "depthwise_kernel", "depthwise_quantizer", (*spatial, channels, multiplier)),
        None,
        layout=lambda w: depthwise_layout(image(w)),
        name=f"{node.name}.depthwise",
    )
    ones = (1,) * len(spatial)
    return linear(
        ctx,
        node,
        depthwise.but(layer=f"{node.name}.depthwise"),
        as_conv2d((1, 1), (1, 1), ((0, 0), (0, 0)), 1),
        quantized_by(ctx, node, "pointwise_kernel", "pointwise_quantizer", (*ones, channels * multiplier, filters)),
        bias_values(ctx, node, filters),
        layout=image,
        name=name,
    )


def _separable_conv2d(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    channels_last(node)
    value, config = inputs[0], node.config
    rank(node, value, 3)
    size, strides = pair(config["kernel_size"]), pair(config.get("strides", 1))
    dilation = pair(config.get("dilation_rate", 1))
    padding = padding_2d(node, value.shape, size, strides, dilation)
    result = _separable(ctx, node, value, size, strides, dilation, padding, None)
    return activate(ctx, node, result, config.get("activation"))


def _separable_conv1d(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    config, value = node.config, _image(ctx, node, inputs[0])
    size, stride = one(config["kernel_size"]), one(config.get("strides", 1))
    dilation = one(config.get("dilation_rate", 1))
    padding = _row_padding(node, value.shape[1], size, stride, dilation)
    result = _separable(ctx, node, value, (1, size), (1, stride), (1, dilation), padding, f"{node.name}.conv")
    return _row(ctx, node, result)


def _transposed_axis(size: int, kernel: int, stride: int, padding: str) -> tuple[int, Pair]:
    """(output size, crop before and after) of TensorFlow's transposed convolution along one axis."""
    full = (size - 1) * stride + kernel
    if padding == "same":
        output, before = size * stride, max(kernel - stride, 0) // 2
    else:
        output, before = size * stride + max(kernel - stride, 0), 0
    return output, (before, full - before - output)


def _conv2d_transpose(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    channels_last(node)
    rank(node, inputs[0], 3)
    config = node.config
    geometry = pair(config["kernel_size"]), pair(config.get("strides", 1)), pair(config.get("dilation_rate", 1))
    return activate(ctx, node, _transposed(ctx, node, inputs[0], *geometry), config.get("activation"))


def _conv1d_transpose(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    config = node.config
    size, stride, dilation = (one(config.get(key, 1)) for key in ("kernel_size", "strides", "dilation_rate"))
    result = _transposed(ctx, node, _image(ctx, node, inputs[0]), (1, size), (1, stride), (1, dilation))
    return _row(ctx, node, result)


def _transposed(
    ctx: Context, node: LayerNode, value: Value, size: Pair, strides: Pair, dilation: Pair
) -> Value:
    """Keras' kernel is (KH, KW, Cout, Cin); a quantizer's last axis is therefore the input channel."""
    flat = node.class_name.endswith("1DTranspose")
    if node.config.get("output_padding") is not None:
        raise UnsupportedError(
            "output_padding is not supported", way_out="leave output_padding at None, as QKeras does"
        )
    filters, padding = int(node.config["filters"]), str(node.config.get("padding", "valid")).lower()
    if padding not in ("valid", "same"):
        raise UnsupportedError(f"padding {padding!r} is not supported", way_out="use 'valid' or 'same'")
    # A dilated kernel is the kernel with zeros between its taps.
    spread = tuple((k - 1) * d + 1 for k, d in zip(size, dilation))
    rows, columns = (_transposed_axis(value.shape[i], spread[i], strides[i], padding) for i in (0, 1))

    def layout(w: Array) -> Array:
        w = w[None] if flat else w
        spaced = np.zeros((*spread, *w.shape[2:]), dtype=w.dtype)
        spaced[:: dilation[0], :: dilation[1]] = w
        return np.asarray(spaced.transpose(0, 1, 3, 2))

    return linear(
        ctx,
        node,
        value,
        as_transposed(strides, (rows[1], columns[1]), (rows[0], columns[0])),
        quantized_kernel(ctx, node, "kernel", (*(size[1:] if flat else size), filters, value.shape[2])),
        bias_values(ctx, node, filters),
        layout=layout,
        name=f"{node.name}.conv" if flat else None,
    )


def _folded(
    ctx: Context, node: LayerNode, variable: str, key: str, shape: tuple[int, ...], size: int
) -> tuple[Weights, Array]:
    """Kernel and bias of a layer with a folded batch normalization: inv = gamma / sqrt(variance + epsilon),
    quantizer(inv * kernel) and quantizer(inv * (bias - mean) + beta), in float32 as QKeras computes them."""
    config, single = node.config, np.float32

    def statistic(name: str) -> Array:
        key = next((k for k in (name, f"batchnorm/{name}", f"batch_normalization/{name}") if k in node.weights), name)
        return weight(node, key, (size,)).astype(single)

    kernel = weight(node, variable if variable in node.weights else "kernel", shape).astype(single)
    if not config.get("center", True):
        raise ModelError(f"layer {node.name!r}: QKeras itself needs center in {node.class_name}.")
    # QKeras 0.9 takes scale=False; qkeras-v3 itself does not run it.
    gamma = statistic("gamma") if config.get("scale", True) else np.ones(size, dtype=single)
    beta = statistic("beta")
    variance = statistic("moving_variance") + single(config.get("epsilon", 1e-3))
    if not (variance > 0).all():
        raise ModelError(f"layer {node.name!r}: a moving variance plus epsilon is not positive.")
    bias = weight(node, "bias", (size,)).astype(single) if config.get("use_bias", True) else single(0)
    mean = statistic("moving_mean")
    twins = ctx.quantizer(node, key), ctx.quantizer(node, "bias_quantizer")
    if twins[0] is None:
        raise UnsupportedError(
            f"its folded kernel has no {key}", way_out=f"give it a {key}, such as quantized_bits(8,0,alpha=1)"
        )

    def fold(dtype: type[np.floating]) -> tuple[Array, Array]:
        inverse = gamma.astype(dtype) / np.sqrt(variance.astype(dtype))
        shaped = inverse.reshape(shape[-2:]) if variable == "depthwise_kernel" else inverse
        return (shaped * kernel.astype(dtype)).astype(single), (
            inverse * (bias.astype(dtype) - mean.astype(dtype)) + beta.astype(dtype)
        ).astype(single)

    folded_kernel, folded_bias = fold(single)
    weights = quantize(ctx, node, key, twins[0].as_kernel(), folded_kernel)
    check_kernel, check_bias = fold(np.float64)
    biases = fractions(folded_bias)
    doubt = not np.array_equal(twins[0].as_kernel().weights(check_kernel).codes, weights.codes)
    if twins[1] is not None:
        found = quantize(ctx, node, "bias", twins[1], folded_bias)
        doubt = doubt or not np.array_equal(twins[1].weights(check_bias).codes, found.codes)
        biases = np.asarray(fractions(found.codes) * found.scale)
    if doubt:
        ctx.b.note(
            f"A weight of layer {node.name!r}, folded with its batch normalization, lies so near a tie that float32 "
            "may round it either way; compare with qsim diff."
        )
    return weights, biases


def _conv2d_batchnorm(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    last_axis(inputs[0], node.config.get("axis", -1))
    channels_last(node)
    value, config = inputs[0], node.config
    rank(node, value, 3)
    size, filters = pair(config["kernel_size"]), int(config["filters"])
    strides, dilation = pair(config.get("strides", 1)), pair(config.get("dilation_rate", 1))
    kernel, bias = _folded(ctx, node, "kernel", "kernel_quantizer", (*size, value.shape[2], filters), filters)
    result = linear(
        ctx,
        node,
        value,
        as_conv2d(strides, dilation, padding_2d(node, value.shape, size, strides, dilation), 1),
        kernel,
        bias,
    )
    return activate(ctx, node, result, config.get("activation"))


def _depthwise_conv2d_batchnorm(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    last_axis(inputs[0], node.config.get("axis", -1))
    channels_last(node)
    value, config = inputs[0], node.config
    rank(node, value, 3)
    size, multiplier = pair(config["kernel_size"]), int(config.get("depth_multiplier") or 1)
    strides, dilation = pair(config.get("strides", 1)), pair(config.get("dilation_rate", 1))
    channels = value.shape[2]
    shape = (*size, channels, multiplier)
    kernel, bias = _folded(ctx, node, "depthwise_kernel", "depthwise_quantizer", shape, channels * multiplier)
    result = linear(
        ctx,
        node,
        value,
        as_conv2d(strides, dilation, padding_2d(node, value.shape, size, strides, dilation), channels),
        kernel,
        bias,
        layout=depthwise_layout,
    )
    return activate(ctx, node, result, config.get("activation"))


def _dense_batchnorm(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    last_axis(inputs[0], node.config.get("axis", -1))
    value, units = inputs[0], int(node.config["units"])
    kernel, bias = _folded(ctx, node, "kernel", "kernel_quantizer", (value.shape[-1], units), units)
    result = linear(ctx, node, value, as_dense, kernel, bias)
    return activate(ctx, node, result, node.config.get("activation"))


_ONE_GROUP = {"groups": (1,)}
_FOLDED = ("axis", "epsilon", "center", "scale")
_DEPTHWISE = tuple(key.replace("kernel_quantizer", "depthwise_quantizer") for key in CONV_READS if key != "filters")
_SEPARABLE = ("filters", "depth_multiplier", "pointwise_quantizer", *_DEPTHWISE)

LAYERS: Registry = {
    **dict.fromkeys(("Conv1D", "QConv1D"), Record(lower=_conv1d, reads=(*CONV_READS, "groups"))),
    **dict.fromkeys(
        ("DepthwiseConv2D", "QDepthwiseConv2D"),
        Record(lower=_depthwise_conv2d, reads=(*_DEPTHWISE, "depth_multiplier"), only=_ONE_GROUP),
    ),
    "DepthwiseConv1D": Record(lower=_depthwise_conv1d, reads=(*_DEPTHWISE, "depth_multiplier"), only=_ONE_GROUP),
    "Conv1DTranspose": Record(lower=_conv1d_transpose, reads=(*CONV_READS, "output_padding"), only=_ONE_GROUP),
    **dict.fromkeys(
        ("SeparableConv1D", "QSeparableConv1D"), Record(lower=_separable_conv1d, reads=_SEPARABLE, only=_ONE_GROUP)
    ),
    **dict.fromkeys(
        ("SeparableConv2D", "QSeparableConv2D"), Record(lower=_separable_conv2d, reads=_SEPARABLE, only=_ONE_GROUP)
    ),
    **dict.fromkeys(
        ("Conv2DTranspose", "QConv2DTranspose"),
        Record(lower=_conv2d_transpose, reads=(*CONV_READS, "output_padding"), only=_ONE_GROUP),
    ),
    "QConv2DBatchnorm": Record(lower=_conv2d_batchnorm, reads=(*CONV_READS, *_FOLDED), only=_ONE_GROUP),
    "QDepthwiseConv2DBatchnorm": Record(
        lower=_depthwise_conv2d_batchnorm, reads=(*_DEPTHWISE, "depth_multiplier", *_FOLDED), only=_ONE_GROUP
    ),
    "QDenseBatchnorm": Record(lower=_dense_batchnorm, reads=(*DENSE_READS, *_FOLDED)),
}
