"""A tfmot-wrapped Keras model -> the checked TFLite structure that the converter would write -> Graph.

Each wrapper says where a range was trained: at a layer's output, behind its activation, or before it. A layer without
one (a convolution before a BatchNormalization, an Add before its ReLU) is left open until the layer that has it, and
both become one operator, as the converter fuses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.model import KerasModel, LayerNode
from qsim.importers.keras.reader_variables import tfmot_activation
from qsim.importers.tflite.load import import_model
from qsim.importers.tflite.model import Operator, TfliteModel, TfliteQuantization, TfliteTensor
from qsim.importers.tflite.profiles import get_profile
from qsim.importers.tfmot.numbers import (
    normalization,
    range_quantization,
    round_away,
    weight_codes,
    weight_scales,
)
from qsim.ir import Graph
from qsim.numerics import Array

WRAPPER, INPUT_QUANTIZER = "QuantizeWrapperV2", "QuantizeLayer"
_FUSED = {"linear": 0, "relu": 1, "relu6": 3}
_OWN_OPERATOR = {"softmax": "SOFTMAX", "sigmoid": "LOGISTIC", "tanh": "TANH"}
_FIXED_OUTPUT = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
_SAME_PADDING = {"same": 0, "valid": 1}


_NORMALIZATION_NOTE = (
    "Batch normalization is folded with a correctly rounded 1/sqrt(variance + epsilon). TensorFlow's converter uses a "
    "vector instruction that is off by one unit in the last place of float32 for some channels, which ones depends on "
    "its processor; its scales can differ from these by that much. To reproduce a given .tflite file, load the file."
)


def is_tfmot(model: KerasModel) -> bool:
    """Whether the model has been through tfmot's quantize_model or quantize_apply."""
    return any(node.class_name in (WRAPPER, INPUT_QUANTIZER) for node in model.nodes)


def lower_tfmot(model: KerasModel, profile: str | None = None) -> Graph:
    """The integer graph of a tfmot-wrapped model, under a TFLite profile (default ``tflm``).

    Raises UnsupportedError for layers that the converter's rules are not reproduced for, ModelError for models whose
    wrappers do not fit together, UsageError for an unknown profile.
    """
    graph = import_model(to_tflite(model), get_profile(profile))
    folded = any(
        n.class_name == WRAPPER and n.config["layer"]["class_name"] == "BatchNormalization" for n in model.nodes
    )
    return replace(graph, notes=(*graph.notes, _NORMALIZATION_NOTE)) if folded else graph


def to_tflite(model: KerasModel) -> TfliteModel:
    """The structure of the ``.tflite`` file that the converter would make of the model (float32 input, int8 output)."""
    try:
        return _Conversion(model).run()
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(f"model {model.name!r} does not hold together: {type(error).__name__} {error}.") from error


@dataclass(frozen=True)
class _Open:
    """An operator whose output range is still to come. weights: (kernel with output channels last, codes' scales or
    None if it is not fake-quantized); bias: float32; layout: axes that bring the kernel into TFLite's order."""

    operator: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    options: dict[str, int | float | bool]
    kernel: Array | None = None
    ranges: tuple[Array, Array] | None = None
    bias: Array | None = None
    multiplier: Array | None = None
    layout: tuple[int, ...] = ()
    channels_axis: int = 0
    layer: str = ""


@dataclass(frozen=True)
class _Value:
    """A layer's result: a quantized tensor, or an operator that is still open. shape: without the batch."""

    shape: tuple[int, ...]
    tensor: int | None = None
    open: _Open | None = None


@dataclass
class _Conversion:
    model: KerasModel
    tensors: list[TfliteTensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    values: dict[str, _Value] = field(default_factory=dict)

    # Writing ----------------------------------------------------------------------------------------------------

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: str = "INT8",
        scales: Any = None,
        zero_point: int = 0,
        data: Array | None = None,
        axis: int = 0,
    ) -> int:
        quantization = None
        if scales is not None:
            stored = np.atleast_1d(np.asarray(scales)).astype(np.float32)
            zeros = np.full(len(stored), zero_point, dtype=np.int64)
            quantization = TfliteQuantization(scales=stored, zero_points=zeros, axis=axis)
        index = len(self.tensors)
        self.tensors.append(
            TfliteTensor(index=index, name=name, shape=shape, type=kind, quantization=quantization, data=data)
        )
        return index

    def operator(self, name: str, inputs: tuple[int, ...], output: int, **options: int | float | bool) -> int:
        self.operators.append(
            Operator(index=len(self.operators), name=name, version=1, inputs=inputs, outputs=(output,), options=options)
        )
        return output

    def like(self, name: str, shape: tuple[int, ...], source: int) -> int:
        """An activation tensor with the quantization of another."""
        q = self.tensors[source].quantization
        assert q is not None
        return self.tensor(name, (1, *shape), "INT8", q.scales, int(q.zero_points[0]))

    # Walking ----------------------------------------------------------------------------------------------------

    def run(self) -> TfliteModel:
        readers: dict[str, int] = {}
        for node in self.model.nodes:
            for name, _ in node.inputs:
                readers[name] = readers.get(name, 0) + 1
        for node in self.model.nodes:
            for name, _ in node.inputs:
                if name in self.values and self.values[name].open is not None and readers[name] > 1:
                    raise self.refuse(node, f"shares the unquantized result of {name!r} with other layers")
            self.values[node.name] = self.visit(node)
        outputs = []
        for name, _ in self.model.outputs:
            value = self.values[name]
            if value.tensor is None:
                raise UnsupportedError(
                    "the result is not quantized", layer=name, way_out="quantize the model's last layer too"
                )
            outputs.append(value.tensor)
        inputs = tuple(i for n in self.model.inputs if (i := self.values[n].tensor) is not None)
        return TfliteModel(
            name=self.model.name,
            tensors=tuple(self.tensors),
            operators=tuple(self.operators),
            inputs=inputs,
            outputs=tuple(outputs),
        )

    @staticmethod
    def refuse(node: LayerNode, reason: str, way_out: str | None = None) -> UnsupportedError:
        return UnsupportedError(
            f"{node.class_name} {reason}",
            layer=node.name,
            way_out=way_out or "convert the model with the TensorFlow Lite converter and load the .tflite file",
        )

    def visit(self, node: LayerNode) -> _Value:
        if node.class_name == "InputLayer":
            shape = tuple(node.config["shape"])
            if any(n is None for n in shape):
                raise self.refuse(node, f"has the open shape {shape}", "give the input a fixed shape")
            return _Value(shape, self.tensor(node.name, (1, *shape), "FLOAT32"))
        if node.class_name == INPUT_QUANTIZER:
            source = self.source(node)
            scale, zero = self.quantization(node, "")
            code = self.tensor(node.name, (1, *source.shape), "INT8", scale, zero)
            assert source.tensor is not None
            return _Value(source.shape, self.operator("QUANTIZE", (source.tensor,), code))
        if node.class_name != WRAPPER:
            raise self.refuse(node, "is not wrapped by tfmot", "quantize the whole model with quantize_model")
        layer = node.config["layer"]
        rule = _RULES.get(layer["class_name"])
        if rule is None:
            raise self.refuse(node, f"wraps {layer['class_name']}, which is not supported")
        if layer["config"].get("data_format", "channels_last") != "channels_last":
            raise self.refuse(node, "works on channels_first images", "use channels_last")
        value: _Value = rule(self, node, layer["config"])
        return self.settle(node, value)

    def source(self, node: LayerNode, position: int = 0) -> _Value:
        if len(node.inputs) <= position:
            raise ModelError(f"layer {node.name!r} lacks its input {position}.")
        return self.values[node.inputs[position][0]]

    def codes(self, node: LayerNode, position: int = 0) -> tuple[int, tuple[int, ...]]:
        """A quantized input's tensor and shape."""
        value = self.source(node, position)
        if value.tensor is None or self.tensors[value.tensor].type != "INT8":
            raise self.refuse(node, f"reads {node.inputs[position][0]!r}, which has no trained range")
        return value.tensor, value.shape

    def quantization(self, node: LayerNode, name: str) -> tuple[np.float32, int]:
        prefix = f"{name}_" if name else ""
        low, high = (float(np.asarray(node.weights[f"{prefix}{end}"])) for end in ("min", "max"))
        if not low <= 0 <= high or low == high:
            raise self.refuse(
                node,
                f"has the {name or 'input'} range [{low}, {high}], which does not hold zero inside",
                "train the wrapped model for at least one step, so that its ranges are set",
            )
        return range_quantization(low, high)

    def settle(self, node: LayerNode, value: _Value) -> _Value:
        """Close an open operator with the layer's trained range, and apply the activation of its own."""
        activation = tfmot_activation(node.config["layer"])
        for name in ("post_activation", "pre_activation", "output"):
            if f"{name}_min" in node.weights:
                value = self.close(node, value, name, activation)
        if activation in _OWN_OPERATOR:
            value = self.own_operator(node, value, _OWN_OPERATOR[activation])
        return value

    def close(self, node: LayerNode, value: _Value, which: str, activation: str) -> _Value:
        scale, zero = self.quantization(node, which)
        suffix = "" if which != "pre_activation" else ".pre_activation"
        if value.open is None:
            assert value.tensor is not None
            q = self.tensors[value.tensor].quantization
            if q is not None and q.scales[0] == scale and q.zero_points[0] == zero:
                return value
            target = self.tensor(node.name + ".range", (1, *value.shape), "INT8", scale, zero)
            return _Value(value.shape, self.operator("QUANTIZE", (value.tensor,), target))
        opened = value.open
        if which == "post_activation" and "FusedActivationFunction" in opened.options:
            if activation not in _FUSED:
                raise self.refuse(node, f"has the activation {activation!r}, which is not supported")
            opened = replace(opened, options={**opened.options, "FusedActivationFunction": _FUSED[activation]})
        inputs = opened.inputs
        if opened.kernel is not None:
            inputs = (*inputs, *self.parameters(node, opened))
        output = self.tensor(node.name + suffix, (1, *opened.shape), "INT8", scale, zero)
        return _Value(opened.shape, self.operator(opened.operator, inputs, output, **opened.options))

    def parameters(self, node: LayerNode, opened: _Open) -> tuple[int, ...]:
        """The weight and bias tensors: codes of the trained kernel; a folded normalization scales the scales."""
        kernel = opened.kernel
        assert kernel is not None
        scales = weight_scales(kernel, opened.ranges)
        if opened.multiplier is not None and opened.ranges is None:
            raise self.refuse(node, f"normalizes {opened.layer!r}, whose weights are not fake-quantized")
        if not (scales > 0).all():
            raise self.refuse(node, f"has weights of {opened.layer!r} that are all zero in some channel")
        codes = weight_codes(kernel, scales, opened.ranges)
        if opened.multiplier is not None:
            if (opened.multiplier <= 0).any():
                raise self.refuse(node, "normalizes with a factor that is not positive")
            scales = np.broadcast_to(scales, opened.multiplier.shape) * opened.multiplier.astype(np.float64)
        data = np.transpose(codes, opened.layout)
        axis = opened.channels_axis
        w = self.tensor(f"{opened.layer}.weights", data.shape, "INT8", scales, 0, data, axis)
        if opened.bias is None:
            return (w,)
        x = self.tensors[opened.inputs[0]]
        stored = self.tensors[w].quantization
        assert stored is not None
        bias_scales = float(x.scale) * stored.scales.astype(np.float64)
        bias = round_away(opened.bias.astype(np.float64) / bias_scales)
        return w, self.tensor(f"{opened.layer}.bias", bias.shape, "INT32", bias_scales, 0, bias)

    def own_operator(self, node: LayerNode, value: _Value, name: str) -> _Value:
        if value.tensor is None:
            raise self.refuse(node, f"applies {name} to a result without a trained range")
        scale, zero = _FIXED_OUTPUT[name]
        target = self.tensor(node.name, (1, *value.shape), "INT8", scale, zero)
        options = {"Beta": 1.0} if name == "SOFTMAX" else {}
        return _Value(value.shape, self.operator(name, (value.tensor,), target, **options))


# Layers -------------------------------------------------------------------------------------------------------------


def _windows(config: Mapping[str, Any], size: tuple[int, ...], kernel: tuple[int, int]) -> tuple[int, int]:
    strides, dilation = _pair(config["strides"]), _pair(config.get("dilation_rate", 1))
    out = []
    for n, k, s, d in zip(size, kernel, strides, dilation, strict=False):
        out.append(-(-n // s) if config["padding"] == "same" else (n - (k - 1) * d - 1) // s + 1)
    return out[0], out[1]


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _ranges(node: LayerNode, name: str) -> tuple[Array, Array] | None:
    if f"{name}_min" not in node.weights:
        return None
    return np.asarray(node.weights[f"{name}_min"]), np.asarray(node.weights[f"{name}_max"])


def _bias(node: LayerNode, channels: int) -> Array:
    """The bias; the converter writes one of zeros where a layer has none."""
    return np.asarray(node.weights.get("layer/bias", np.zeros(channels, np.float32)))


def _conv(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    tensor, shape = conv.codes(node)
    depthwise = node.config["layer"]["class_name"] == "DepthwiseConv2D"
    name = "depthwise_kernel" if depthwise else "kernel"
    kernel = np.asarray(node.weights[f"layer/{name}"])
    if int(config.get("groups", 1)) != 1 or (depthwise and kernel.shape[3] != 1):
        raise conv.refuse(node, "has groups or a depth multiplier, which is not supported")
    if depthwise:
        kernel = kernel.reshape(*kernel.shape[:2], 1, kernel.shape[2])
    strides, dilation = _pair(config["strides"]), _pair(config.get("dilation_rate", 1))
    out = (*_windows(config, shape, (kernel.shape[0], kernel.shape[1])), kernel.shape[3])
    opened = _Open(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        (tensor,),
        out,
        {
            "Padding": _SAME_PADDING[config["padding"]],
            "StrideH": strides[0],
            "StrideW": strides[1],
            "DilationHFactor": dilation[0],
            "DilationWFactor": dilation[1],
            "FusedActivationFunction": 0,
        },
        kernel=kernel,
        ranges=_ranges(node, name),
        bias=_bias(node, out[2]),
        layout=(2, 0, 1, 3) if depthwise else (3, 0, 1, 2),
        channels_axis=3 if depthwise else 0,
        layer=node.name,
    )
    return _Value(out, open=opened)


def _dense(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    tensor, shape = conv.codes(node)
    kernel = np.asarray(node.weights["layer/kernel"])
    if len(shape) != 1:
        raise conv.refuse(node, f"works on the shape {shape}", "flatten before the Dense layer")
    options: dict[str, int | float | bool] = {"FusedActivationFunction": 0, "WeightsFormat": 0, "KeepNumDims": False}
    opened = _Open(
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
    return _Value(opened.shape, open=opened)


def _batch_norm(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    value = conv.source(node)
    if value.open is None or value.open.kernel is None or value.open.multiplier is not None:
        raise conv.refuse(node, "does not directly follow a convolution")
    if value.open.operator == "FULLY_CONNECTED":
        raise conv.refuse(
            node,
            "follows a Dense layer, which the converter then leaves in floats",
            "leave the BatchNormalization out, or use a 1x1 convolution",
        )
    w = node.weights
    gamma, beta = w.get("layer/gamma"), w.get("layer/beta")
    multiplier, offset = normalization(
        gamma, beta, np.asarray(w["layer/moving_mean"]), np.asarray(w["layer/moving_variance"]), config["epsilon"]
    )
    bias = value.open.bias
    folded = offset if bias is None else (bias * multiplier).astype(np.float32) + offset
    return _Value(value.shape, open=replace(value.open, multiplier=multiplier, bias=folded))


def _relu(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    limit = config.get("max_value")
    if config.get("negative_slope") or config.get("threshold") or limit not in (None, 6):
        raise conv.refuse(node, "is neither a plain ReLU nor a ReLU6")
    return _fuse(conv, node, "relu" if limit is None else "relu6")


def _fuse(conv: _Conversion, node: LayerNode, activation: str) -> _Value:
    value = conv.source(node)
    if value.open is None or "FusedActivationFunction" not in value.open.options:
        raise conv.refuse(node, f"applies {activation} to a result that already has a trained range")
    options = {**value.open.options, "FusedActivationFunction": _FUSED[activation]}
    return _Value(value.shape, open=replace(value.open, options=options))


def _activation(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    name = tfmot_activation(node.config["layer"])
    if name in _OWN_OPERATOR:
        return conv.source(node)  # ``settle`` applies it
    if name not in _FUSED:
        raise conv.refuse(node, f"applies {name!r}, which is not supported")
    return _fuse(conv, node, name)


def _softmax(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    if config.get("axis", -1) not in (-1, len(conv.source(node).shape)):
        raise conv.refuse(node, "does not work along the last axis")
    return conv.own_operator(node, conv.source(node), "SOFTMAX")


def _add(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    parts = [conv.codes(node, i) for i in range(len(node.inputs))]
    if len(parts) != 2 or parts[0][1] != parts[1][1]:
        raise conv.refuse(node, "does not add two tensors of one shape")
    options: dict[str, int | float | bool] = {"FusedActivationFunction": 0, "PotScaleInt16": False}
    return _Value(parts[0][1], open=_Open("ADD", (parts[0][0], parts[1][0]), parts[0][1], options))


def _pool(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    tensor, shape = conv.codes(node)
    average = node.config["layer"]["class_name"] == "AveragePooling2D"
    pool, strides = _pair(config["pool_size"]), _pair(config.get("strides") or config["pool_size"])
    out = (*_windows({**config, "strides": strides}, shape, pool), shape[2])
    target = conv.like(f"{node.name}.average" if average else node.name, out, tensor)
    options: dict[str, int | float | bool] = {
        "Padding": _SAME_PADDING[config["padding"]],
        "StrideH": strides[0],
        "StrideW": strides[1],
        "FilterHeight": pool[0],
        "FilterWidth": pool[1],
        "FusedActivationFunction": 0,
    }
    name = "AVERAGE_POOL_2D" if average else "MAX_POOL_2D"
    return _Value(out, conv.operator(name, (tensor,), target, **options))


def _global_average(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    tensor, shape = conv.codes(node)
    keep = bool(config.get("keepdims", False))
    out = (1, 1, shape[2]) if keep else (shape[2],)
    axes = conv.tensor(f"{node.name}.axes", (2,), "INT32", data=np.array([1, 2], dtype=np.int64))
    return _Value(out, open=_Open("MEAN", (tensor, axes), out, {"KeepDims": keep}))


def _reshaped(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    tensor, shape = conv.codes(node)
    size = int(np.prod(shape))
    target = tuple(config["target_shape"]) if "target_shape" in config else (size,)
    if -1 in target:
        known = int(np.prod([n for n in target if n != -1]))
        target = tuple(size // known if n == -1 else n for n in target)
    return _Value(target, conv.operator("RESHAPE", (tensor,), conv.like(node.name, target, tensor)))


def _zero_padding(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    tensor, shape = conv.codes(node)
    pads = [(int(a), int(b)) for a, b in config["padding"]]
    out = (*(n + a + b for n, (a, b) in zip(shape, pads, strict=False)), shape[2])
    data = np.array([(0, 0), *pads, (0, 0)], dtype=np.int64)
    table = conv.tensor(f"{node.name}.paddings", (4, 2), "INT32", data=data)
    return _Value(out, conv.operator("PAD", (tensor, table), conv.like(node.name, out, tensor)))


def _nothing(conv: _Conversion, node: LayerNode, config: Mapping[str, Any]) -> _Value:
    return conv.source(node)


_RULES = {
    "Conv2D": _conv,
    "DepthwiseConv2D": _conv,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "ReLU": _relu,
    "Activation": _activation,
    "Softmax": _softmax,
    "Add": _add,
    "MaxPooling2D": _pool,
    "AveragePooling2D": _pool,
    "GlobalAveragePooling2D": _global_average,
    "ZeroPadding2D": _zero_padding,
    "Flatten": _reshaped,
    "Reshape": _reshaped,
    "Dropout": _nothing,
}
