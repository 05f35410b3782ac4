"""Wrapped layers with weights or arithmetic of their own: what the converter makes of each.

Every rule gets the conversion, the wrapper's node and the wrapped layer's config, and returns the layer's value, open
where its range is still to come. ``Conversion.settle`` then closes it with the wrapper's ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from qsim.importers.keras.model import LayerNode
from qsim.importers.tfmot.conversion import FLOATS, FUSED, OWN_OPERATOR, Conversion, Rule, activation_of
from qsim.importers.tfmot.layers_shape import SAME_PADDING, pair, windows
from qsim.importers.tfmot.numbers import normalization
from qsim.importers.tfmot.values import Open, Value
from qsim.numerics import Array


def _ranges(node: LayerNode, name: str) -> tuple[Array, Array] | None:
    if f"{name}_min" not in node.weights:
        return None
    return np.asarray(node.weights[f"{name}_min"]), np.asarray(node.weights[f"{name}_max"])


def _bias(node: LayerNode, channels: int) -> Array:
    """The bias; the converter writes one of zeros where a layer has none."""
    return np.asarray(node.weights.get("layer/bias", np.zeros(channels, np.float32)))


def _activation(conv: Conversion, node: LayerNode) -> int:
    """The fused activation of a layer that keeps no range behind it (tfmot takes it away before a ReLU layer)."""
    if any(f"{which}_activation_min" in node.weights for which in ("pre", "post")):
        return 0
    name = activation_of(node)
    if name not in FUSED:
        raise conv.refuse(
            node, f"has the activation {name!r} without a trained range behind it, {FLOATS}", "leave out the next ReLU"
        )
    return FUSED[name]


def _no_dilation(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> None:
    if pair(config.get("dilation_rate", 1)) != (1, 1):
        raise conv.refuse(
            node, f"is dilated, {FLOATS} once it is fake-quantized", "use a larger kernel, or strides, in its place"
        )


def _conv(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    tensor, shape = conv.codes(node)
    depthwise = node.config["layer"]["class_name"] == "DepthwiseConv2D"
    name = "depthwise_kernel" if depthwise else "kernel"
    kernel, ranges = np.asarray(node.weights[f"layer/{name}"]), _ranges(node, name)
    _no_dilation(conv, node, config)
    if depthwise:
        channels, multiplier = kernel.shape[2:]
        kernel = kernel.reshape(*kernel.shape[:2], 1, channels * multiplier)
        if ranges is not None and multiplier > 1:  # one range for each of the multiplier's outputs
            low, high = (np.tile(end.reshape(-1), channels) for end in ranges)
            ranges = low, high
    strides = pair(config["strides"])
    size = (kernel.shape[0], kernel.shape[1])
    out = (*windows(config, shape, size), kernel.shape[3])
    padding = config["padding"]
    if (padded := _padded_input(conv, tensor, shape, size, strides, padding)) is not None:
        tensor, padding = padded, "same"
    opened = Open(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        (tensor,),
        out,
        {
            "Padding": SAME_PADDING[padding],
            "StrideH": strides[0],
            "StrideW": strides[1],
            "DilationHFactor": 1,
            "DilationWFactor": 1,
            "FusedActivationFunction": _activation(conv, node),
            **({"DepthMultiplier": out[2] // shape[2]} if depthwise else {}),
        },
        kernel=kernel,
        ranges=ranges,
        bias=_bias(node, out[2]),
        layout=(2, 0, 1, 3) if depthwise else (3, 0, 1, 2),
        channels_axis=3 if depthwise else 0,
        layer=node.name,
    )
    return Value(out, open=opened)


def _padded_input(
    conv: Conversion,
    tensor: int,
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
) -> int | None:
    """What a PAD in front reads, where the convolution can take over its zeros as SAME padding."""
    if padding != "valid" or conv.producer(tensor) != "PAD":
        return None
    inner, table = conv.operators[tensor].inputs
    pads = conv.tensors[table].data
    size = conv.tensors[inner].shape[1:3]
    wanted = []
    for n, k, s in zip(size, kernel, strides, strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        wanted.append([total // 2, total - total // 2])
    if pads is None or not any(map(any, wanted)) or pads[1:3].tolist() != wanted:
        return None
    return inner


def _transposed(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    tensor, shape = conv.codes(node)
    kernel = np.asarray(node.weights["layer/kernel"])  # (rows, columns, output channels, input channels)
    _no_dilation(conv, node, config)
    if config.get("output_padding") is not None:
        raise conv.refuse(node, "has an output_padding, which is not supported", "leave it out")
    strides, same = pair(config["strides"]), config["padding"] == "same"
    rows, columns = (n * s if same else n * s + max(k - s, 0) for n, s, k in zip(shape, strides, kernel.shape))
    out = (rows, columns, kernel.shape[2])
    size = conv.constant(f"{node.name}.size", (1, *out))
    opened = Open(
        "TRANSPOSE_CONV",
        (size, tensor),
        out,
        {
            "Padding": SAME_PADDING[config["padding"]],
            "StrideH": strides[0],
            "StrideW": strides[1],
            "FusedActivationFunction": _activation(conv, node),
        },
        kernel=np.transpose(kernel, (0, 1, 3, 2)),
        ranges=_ranges(node, "kernel"),
        bias=np.asarray(node.weights["layer/bias"]) if "layer/bias" in node.weights else None,
        layout=(3, 0, 1, 2),
        layer=node.name,
    )
    return Value(out, open=opened)


def _dense(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    tensor, shape = conv.codes(node)
    kernel = np.asarray(node.weights["layer/kernel"])
    if len(shape) != 1:
        raise conv.refuse(
            node,
            f"works on the shape {shape}, for which the converter computes shapes at run time",
            "flatten before the Dense layer, or use a 1x1 convolution",
        )
    options: dict[str, int | float | bool] = {
        "FusedActivationFunction": _activation(conv, node),
        "WeightsFormat": 0,
        "KeepNumDims": False,
    }
    opened = Open(
        "FULLY_CONNECTED",
        (tensor,),
        (kernel.shape[1],),
        options,
        kernel=kernel,
        ranges=_ranges(node, "kernel"),
        bias=_bias(node, kernel.shape[1]),
        layout=(1, 0),
        layer=node.name,
    )
    return Value(opened.shape, open=opened)


def _batch_norm(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    value = conv.source(node)
    opened = value.open
    if opened is None or opened.kernel is None or opened.multiplier is not None:
        raise conv.refuse(node, "does not directly follow a convolution")
    if opened.operator in ("FULLY_CONNECTED", "TRANSPOSE_CONV"):
        what = "Dense" if opened.operator == "FULLY_CONNECTED" else "Conv2DTranspose"
        raise conv.refuse(
            node,
            f"follows a {what} layer, {FLOATS} then",
            "leave the BatchNormalization out, or use a 1x1 convolution" if what == "Dense" else "leave it out",
        )
    if opened.options["FusedActivationFunction"]:
        raise conv.refuse(node, "follows an activation", "put the activation behind the BatchNormalization")
    w = node.weights
    gamma, beta = w.get("layer/gamma"), w.get("layer/beta")
    multiplier, offset = normalization(
        gamma, beta, np.asarray(w["layer/moving_mean"]), np.asarray(w["layer/moving_variance"]), config["epsilon"]
    )
    bias = opened.bias
    folded = offset if bias is None else (bias * multiplier).astype(np.float32) + offset
    return Value(value.shape, open=replace(opened, multiplier=multiplier, bias=folded))


def _relu(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    limit = config.get("max_value")
    if config.get("negative_slope") or config.get("threshold") or limit not in (None, 6):
        what = {k: config[k] for k in ("max_value", "negative_slope", "threshold") if config.get(k)}
        raise conv.refuse(
            node, f"with {what} is neither a plain ReLU nor a ReLU6, {FLOATS}", "use ReLU() or ReLU(6), or LeakyReLU"
        )
    return conv.fuse(node, "relu" if limit is None else "relu6")


def _leaky_relu(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    tensor, shape = conv.codes(node)
    alpha = float(np.float32(config.get("alpha", config.get("negative_slope", 0.3))))
    return Value(shape, open=Open("LEAKY_RELU", (tensor,), shape, {"Alpha": alpha}))


def _activation_layer(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    name = activation_of(node)
    if name in OWN_OPERATOR or name == "linear":
        return conv.source(node)  # ``settle`` applies it
    if name in ("swish", "silu"):
        tensor, shape = conv.codes(node)
        gate = conv.own_operator(node, conv.source(node), "LOGISTIC").tensor
        assert gate is not None
        return Value(shape, open=Open("MUL", (tensor, gate), shape, {"FusedActivationFunction": 0}))
    if name not in FUSED:
        raise conv.refuse(node, f"applies {name!r}, which is not supported", "use relu, sigmoid, tanh or swish")
    return conv.fuse(node, name)


def _softmax(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    if config.get("axis", -1) not in (-1, len(conv.source(node).shape)):
        raise conv.refuse(node, "does not work along the last axis")
    return conv.own_operator(node, conv.source(node), "SOFTMAX")


def _add(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    parts = [conv.codes(node, i) for i in range(len(node.inputs))]
    if len(parts) != 2:
        raise conv.refuse(node, f"adds {len(parts)} tensors, {FLOATS}", "add two at a time")
    shape = tuple(int(n) for n in np.broadcast_shapes(parts[0][1], parts[1][1]))
    options: dict[str, int | float | bool] = {"FusedActivationFunction": 0, "PotScaleInt16": False}
    return Value(shape, open=Open("ADD", (parts[0][0], parts[1][0]), shape, options))


RULES: dict[str, Rule] = {
    "Conv2D": _conv,
    "DepthwiseConv2D": _conv,
    "Conv2DTranspose": _transposed,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "SyncBatchNormalization": _batch_norm,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "Activation": _activation_layer,
    "Softmax": _softmax,
    "Add": _add,
}
