"""Activations: QActivation, Activation, and the ``activation`` argument of every layer."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from qsim.errors import UnsupportedError
from qsim.importers.keras.lower_context import Context, Registry
from qsim.importers.keras.lower_value import Value
from qsim.importers.keras.model import LayerNode
from qsim.quantizers import QUANTIZERS, Call, parse, quantizer

BOUNDARY = ("softmax", "sigmoid", "tanh")
"""Functions that stay outside the hardware where they end the model."""

IDENTITY = ("linear",)
QUANTIZE_FIRST = "replace it by a QActivation with a quantizer"


def has_activation(source: Any) -> bool:
    """Whether an ``activation`` argument does anything."""
    call = parse(source)
    return call is not None and call.name not in IDENTITY


def activate(ctx: Context, node: LayerNode, value: Value, source: Any) -> Value:
    """The layer's activation on ``value``; the result belongs to ``node``.

    ReLUs stay pending, as clamps; quantizers make the node's tensor; a final softmax, sigmoid or tanh becomes the
    output's boundary. Raises UnsupportedError for everything else.
    """
    call = parse(source)
    if call is None or call.name in IDENTITY:
        return value.but(layer=node.name)
    if call.name in QUANTIZERS:
        twin = quantizer(call)
        assert twin is not None
        return ctx.quantize(value, twin.rule(), node)
    if call.name in ("relu", "relu6", "ReLU"):
        return _relu(value.but(layer=node.name), call)
    if call.name in BOUNDARY:
        return _boundary(ctx, node, value, call.name)
    raise UnsupportedError(f"the activation {call} is not supported", way_out=QUANTIZE_FIRST)


def _relu(value: Value, call: Call) -> Value:
    arguments = dict(zip(("negative_slope", "max_value", "threshold"), call.args)) | dict(call.kwargs)
    if call.name == "relu6":
        arguments["max_value"] = 6
    if arguments.get("negative_slope") or arguments.get("threshold"):
        raise UnsupportedError(f"the activation {call} has a slope or threshold", way_out=QUANTIZE_FIRST)
    ceiling = arguments.get("max_value")
    return value.clamp(Fraction(0), None if ceiling is None else Fraction(ceiling))


def _boundary(ctx: Context, node: LayerNode, value: Value, name: str) -> Value:
    if not ctx.is_final(node):
        raise UnsupportedError(
            f"{name} between layers is not supported: it is a real-valued function", way_out=QUANTIZE_FIRST
        )
    ctx.b.note(
        f"The final {name} of layer {node.name!r} stays outside the hardware: outputs are the codes before it, and "
        f"the simulator applies {name} to their real values."
    )
    return value.but(boundary=name)


def _activation_layer(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return activate(ctx, node, inputs[0], node.config.get("activation"))


LAYERS: Registry = {"QActivation": _activation_layer, "Activation": _activation_layer}
