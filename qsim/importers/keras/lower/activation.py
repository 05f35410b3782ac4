"""Activations: QActivation, Activation, and the ``activation`` argument of every layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.keras.lower.context import Context, weight
from qsim.importers.keras.lower.record import Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.combine import add, multiply
from qsim.importers.symbolic.elementwise import leaky, leaky_by_channel
from qsim.importers.symbolic.grid import on_grid
from qsim.importers.symbolic.value import Value, float32
from qsim.quantizers import QUANTIZERS, Call, parse, quantizer
from qsim.quantizers.functions import KERAS_FUNCTIONS, QKERAS_FUNCTIONS
from qsim.quantizers.real import REAL_FUNCTIONS
from qsim.quantizers.rules import Steps

IDENTITY = ("linear",)
QUANTIZE_FIRST = "replace it by a QActivation with a quantizer"


def has_activation(source: Any) -> bool:
    """Whether an ``activation`` argument does anything."""
    call = parse(source)
    return call is not None and call.name not in IDENTITY


def activate(ctx: Context, node: LayerNode, value: Value, source: Any, name: str | None = None) -> Value:
    """The layer's activation on ``value``; the result belongs to ``node``. name: of the tensor; default the node's.

    ReLUs stay pending, as clamps; quantizers make the node's tensor; real-valued functions stay pending as the value's
    ``boundary``: a quantizer that follows takes them in, the end of the model leaves softmax, sigmoid and tanh outside
    the hardware. Raises UnsupportedError for everything else.
    """
    call = parse(source)
    if call is None or call.name in IDENTITY:
        return value.but(layer=node.name)
    if call.name in QUANTIZERS or call.name == "bernoulli":
        twin = quantizer(call)
        assert twin is not None
        return ctx.quantize(value, twin.rule(), node, name)
    value.settled()
    if call.name in LAYERS:
        return _as_layer(ctx, node, value, call)
    if call.name in ("relu", "relu6"):
        return _relu(value.but(layer=node.name), call)
    if call.name == "softmax" or (call.name in REAL_FUNCTIONS and not call.args and not call.kwargs):
        return value.but(boundary=call.name)
    if call.name == "leaky_relu":
        arguments = dict(zip(("negative_slope",), call.args)) | dict(call.kwargs)
        return leaky(ctx, node, value, arguments.get("negative_slope", 0.2))
    functions = QKERAS_FUNCTIONS if node.class_name.startswith("Q") else KERAS_FUNCTIONS
    if call.name in functions:
        function = functions[call.name]
        if isinstance(function, Steps):
            return ctx.quantize(value, function, node, name)
        value = ctx.grid(value, node.name) if value.clamped else value
        moved = value.affine(function.factor, function.addend).clamp(function.low, function.high)
        return moved.but(layer=node.name)
    raise UnsupportedError(f"the activation {call} is not supported", way_out=QUANTIZE_FIRST)


def _as_layer(ctx: Context, node: LayerNode, value: Value, call: Call) -> Value:
    """A layer object as an activation: ``QDense(activation=LeakyReLU())``."""
    inner = dataclasses.replace(node, class_name=call.name, config={**call.kwargs})
    record = LAYERS[call.name]
    record.check(inner)
    result = record.lower(ctx, inner, [value])
    assert isinstance(result, Value)
    return result


def _relu(value: Value, call: Call) -> Value:
    arguments = dict(zip(("negative_slope", "max_value", "threshold"), call.args)) | dict(call.kwargs)
    if call.name == "relu6":
        arguments["max_value"] = 6
    if arguments.get("negative_slope") or arguments.get("threshold"):
        raise UnsupportedError(f"the activation {call} has a slope or threshold", way_out=QUANTIZE_FIRST)
    ceiling = arguments.get("max_value")
    return value.clamp(Fraction(0), None if ceiling is None else float32(ceiling).item())


def _activation_layer(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return activate(ctx, node, inputs[0], node.config.get("activation"))


def _relu_layer(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    config, value = node.config, inputs[0]
    slope, ceiling = config.get("negative_slope") or 0, config.get("max_value")
    if config.get("threshold"):
        return _thresholded(ctx, node, value, float(config["threshold"]), float(slope), ceiling)
    if not slope:
        return _relu(value.but(layer=node.name), Call("relu", (), {"max_value": ceiling}))
    result = leaky(ctx, node, value, float(slope))
    return result if ceiling is None else result.clamp(None, float32(ceiling).item())


def _thresholded(
    ctx: Context, node: LayerNode, value: Value, threshold: float, slope: float, ceiling: float | None
) -> Value:
    """min(max(x * [x > t], 0), ceiling) - slope * max(t - x, 0); the clip to 0 and ceiling only if there is one.

    What Keras computes (keras.src.backend.tensorflow.nn and activations.relu): at x = t nothing passes. [x > t] is the
    tensor <layer>.passes of zeros and ones.
    """
    t, steepness = (float32(v).item() for v in (threshold, slope))
    value = ctx.grid(value, node.name, rising=True)
    step = value.scale.item()
    above = value.affine(1, -math.floor(t / step) * step).clamp(Fraction(0), step)
    passes = on_grid(ctx.b, above, node.name, name=f"{node.name}.passes").but(scale=1)
    named = node.name if not slope and ceiling is None else f"{node.name}.kept"
    result = multiply(ctx, node, [value, passes], named)
    if ceiling is not None:
        result = result.clamp(Fraction(0), float32(ceiling).item())
    if not slope:
        return result
    result = on_grid(ctx.b, result, node.name, name=f"{node.name}.clipped")
    below = on_grid(ctx.b, value.affine(-1, t).clamp(Fraction(0), None), node.name, name=f"{node.name}.below")
    return add(ctx, node, [result, below.affine(-steepness)], [1, 1])


def _leaky_relu_layer(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return leaky(ctx, node, inputs[0], float(node.config.get("negative_slope", node.config.get("alpha", 0.3))))


def _prelu_layer(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """x where x >= 0, alpha * x below; alpha per channel, the axes before it shared."""
    value = inputs[0]
    array = weight(node, "alpha")
    if array.size != array.shape[-1]:
        raise UnsupportedError(
            f"its alpha of shape {array.shape} differs by position",
            way_out=f"share it: shared_axes={list(range(1, len(value.shape)))}",
        )
    return leaky_by_channel(ctx, node, value, float32(array.reshape(-1)))


def _elu_layer(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    if float(node.config.get("alpha", 1.0)) != 1.0:
        raise UnsupportedError(f"its alpha is {node.config['alpha']}", way_out="use alpha=1.0")
    return activate(ctx, node, inputs[0], "elu")


def last_axis(value: Value, axis: Any) -> None:
    """Raise UnsupportedError unless ``axis``, which counts the batch, is the value's last one alone."""
    axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
    if axis not in (-1, len(value.shape)):
        raise UnsupportedError(f"its axis is {axis}", way_out="use the last one, axis=-1")


def _softmax_layer(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    last_axis(inputs[0], node.config.get("axis", -1))
    return activate(ctx, node, inputs[0], "softmax")


def _adaptive_activation(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """A quantizer whose integer bits, one number or one per channel, follow from QKeras' running averages: of a model
    in memory the ones in use, of a file those that the saved averages settle."""
    source = node.config.get("activation")
    if isinstance(source, Mapping):
        name, config = source["class_name"], dict(source["config"])
        bits = np.atleast_1d(config.pop("integer")).tolist()
    else:
        name, config, bits = _settled(node, str(source))
        ctx.b.note(
            f"The integer bits of layer {node.name!r} are those that its saved averages settle. QKeras itself, when it "
            "loads the file, uses them from its second call on: its first call still has the bits of a new layer."
        )
    rules = []
    for integer in bits:
        twin = quantizer({"class_name": name, "config": {**config, "integer": int(integer)}})
        assert twin is not None
        rules.append(twin.rule())
    if len(set(bits)) == 1:
        return ctx.quantize(inputs[0], rules[0], node)
    return ctx.quantize_channels(inputs[0], rules, node)


def _settled(node: LayerNode, name: str) -> tuple[str, dict[str, Any], list[int]]:
    """(quantizer's name, its arguments but ``integer``, integer bits) of a QAdaptiveActivation in a file."""
    config = node.config
    bits, slope = int(config["total_bits"]), float(config.get("relu_neg_slope") or 0.0)
    symmetric = bool(config.get("symmetric", True))
    if name == "quantized_bits":
        signed, arguments = True, {"symmetric": symmetric, "keep_negative": True, "alpha": 1.0}
    elif name == "quantized_relu":
        signed, arguments = slope != 0.0, {"negative_slope": slope, "is_quantized_clip": False}
    else:
        raise UnsupportedError(f"it adapts {name}", way_out="QAdaptiveActivation takes quantized_bits, quantized_relu")
    low, high = (weight(node, f"ema_{end}").reshape(-1) for end in ("min", "max"))
    clipping = bool(config.get("po2_rounding", False))
    found = [_integer_bits(float(a), float(b), bits, symmetric, signed, clipping) for a, b in zip(low, high)]
    return name, {**arguments, "bits": bits}, found


def _integer_bits(low: float, high: float, bits: int, symmetric: bool, signed: bool, clipping: bool) -> int:
    """QKeras' ``_get_integer_bits``: the least integer bits whose range holds low and high (their logarithms rounded
    up, or with ``clipping`` to the nearest), at most ``bits`` without the sign.

    Raises UnsupportedError where float32's logarithm, which differs by device in its last bits, decides.
    """
    if not signed:
        low, high = max(low, 0.0), max(high, 0.0)
    unsigned = bits - signed

    def exponent(x: float, step: float) -> int:
        log = max(float(np.log2(abs(x))) + step, 0.0) if x else 0.0
        return int(np.rint(log)) if clipping else int(np.ceil(log))

    def settled(step: float) -> int:
        lower, upper = exponent(low, step), exponent(high, step)
        if not clipping:
            upper += high > 2.0**upper - 2.0 ** min(upper - unsigned, 0)
            lower += symmetric and low < -(2.0**lower) + 2.0 ** min(lower - unsigned, 0)
        return min(unsigned, max(lower, upper))

    found = {settled(step) for step in (-1e-5, 0.0, 1e-5)}
    if len(found) > 1:
        raise UnsupportedError(
            f"its running averages {low} and {high} lie so near a power of two that float32 rounding decides its bits",
            way_out="replace the layer by a QActivation with those bits",
        )
    return found.pop()


_ADAPTIVE = ("activation", "total_bits", "symmetric", "per_channel", "po2_rounding", "relu_neg_slope")

LAYERS: Registry = {
    "QAdaptiveActivation": Record(lower=_adaptive_activation, reads=_ADAPTIVE, real=True, any_order=True),
    "ReLU": Record(lower=_relu_layer, reads=("max_value", "negative_slope", "threshold"), rows=True, any_order=True),
    "LeakyReLU": Record(lower=_leaky_relu_layer, reads=("negative_slope", "alpha"), rows=True, any_order=True),
    "PReLU": Record(lower=_prelu_layer, reads=("shared_axes",), any_order=False),
    "ELU": Record(lower=_elu_layer, reads=("alpha",), rows=True, any_order=True),
    "Softmax": Record(lower=_softmax_layer, reads=("axis",)),
    "QActivation": Record(lower=_activation_layer, reads=("activation",), rows=True, real=True, any_order=True),
    "Activation": Record(lower=_activation_layer, reads=("activation",), rows=True, real=True, any_order=True),
}
