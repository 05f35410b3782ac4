"""A Keras model, once read, into an integer graph: layer by layer, in the model's own order."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from qsim.errors import ModelError, Place, QsimError, UnsupportedError, UsageError
from qsim.importers.importer import InputFormat, ModelSource, SurveyEntry
from qsim.importers.keras.lower import activation as lower_activation
from qsim.importers.keras.lower import conv as lower_conv
from qsim.importers.keras.lower import linear as lower_linear
from qsim.importers.keras.lower import merge as lower_merge
from qsim.importers.keras.lower import norm as lower_norm
from qsim.importers.keras.lower import operations as lower_ops
from qsim.importers.keras.lower import pool as lower_pool
from qsim.importers.keras.lower import products
from qsim.importers.keras.lower import recurrent as lower_recurrent
from qsim.importers.keras.lower import shape as lower_shape
from qsim.importers.keras.lower.context import Context
from qsim.importers.keras.lower.floats import formatted
from qsim.importers.keras.lower.layout import as_seen, lower_in_layout
from qsim.importers.keras.lower.rearrangements import stacked
from qsim.importers.keras.lower.record import Record
from qsim.importers.keras.lower.wrapped import note_masks, unwrapped
from qsim.importers.keras.model import KerasModel, LayerNode
from qsim.importers.keras.read.operations import LEGACY_OPERATIONS
from qsim.importers.symbolic.grid import quantization
from qsim.importers.symbolic.rescale import Rescaling
from qsim.importers.symbolic.shape import reshape, sliced
from qsim.importers.symbolic.value import QUANTIZE_REAL, Value, distinct
from qsim.ir import Graph, Output, Quantization
from qsim.ir.ops import Reshape
from qsim.numerics import FixedPoint, IntFormat, Rounding, parse_format
from qsim.proof.builder import GraphBuilder
from qsim.quantizers import QUANTIZERS, QuantizedRelu, parse, quantizer
from qsim.quantizers.functions import QuantizedUlaw
from qsim.quantizers.real import REAL_FUNCTIONS
from qsim.quantizers.rules import Uniform

LAYERS: dict[str, Record] = {
    **lower_activation.LAYERS,
    **lower_linear.LAYERS,
    **lower_conv.LAYERS,
    **lower_pool.LAYERS,
    **lower_shape.LAYERS,
    **lower_merge.LAYERS,
    **products.LAYERS,
    **lower_norm.LAYERS,
    **lower_recurrent.LAYERS,
    **lower_ops.LAYERS,
}
"""Layer class -> its record. InputLayer and TimeDistributed are handled here."""


def lower(model: KerasModel, source: ModelSource, place: Place) -> Graph:
    """The integer graph of ``model``, which was read from ``source``. place: where the lowering stands, for its guard.

    Of the source, input_format is the number format of the real inputs, for all or by input name, needed where an input
    does not go straight into one QActivation with a uniform quantizer; rescale is "exact" or "multiplier:N"
    (``Rescaling.parse``); weights_format see ``floats``.
    Raises UnsupportedError, naming layer, reason and way out, for whatever cannot be reproduced exactly; ModelError
    for weights that are missing, misshapen or not finite; UsageError for a bad ``input_format``.
    """
    b = GraphBuilder(model.name, source.profile or "qkeras")
    for node in model.nodes:
        place.at = f"layer {node.name!r}"
        note_masks(b, node)
    model = dataclasses.replace(model, nodes=tuple(unwrapped(node) for node in model.nodes))
    model = formatted(model, source.weights_format, LAYERS, b)
    ctx = Context(model, b, Rescaling.parse(source.rescale))
    for node in model.nodes:
        place.at = f"layer {node.name!r}"
        _check_dtype(node)
        if node.class_name != "InputLayer" and not _is_operation(node):
            _record(node)  # before the operations that Keras adds for it, as it does for Masking
        _note_quantizers(b, node)
    formats = _formats(model, source.input_format)
    by_name = {node.name: node for node in model.nodes}
    values = {name: [_input(ctx, by_name[name], formats.get(name))] for name in model.inputs}
    for node in model.nodes:
        if node.name in values:
            continue
        place.at = f"layer {node.name!r}"
        inputs = [values[name][index] for name, index in node.inputs]
        result = _lower_node(ctx, node, inputs)
        values[node.name] = result if isinstance(result, list) else [result]
    place.at = "the model's outputs"
    outputs = [_output(ctx, values[name][index]) for name, index in model.outputs]
    ctx.note_rounding()
    ctx.rescaling.note(b)
    return b.build(outputs)


def survey(model: KerasModel) -> list[SurveyEntry]:
    """Every class of layers and operations of the model, and whether it is known here at all."""
    found: dict[str, list[str]] = {}
    for node in model.nodes:
        reason, node = "", unwrapped(node)
        if node.class_name != "InputLayer":
            try:
                _record(node)
            except UnsupportedError as error:
                reason = str(error)
        found.setdefault(node.class_name, []).append(reason)
    return [SurveyEntry(name, len(all_), not any(all_), next(filter(None, all_), "")) for name, all_ in found.items()]


def _check_dtype(node: LayerNode) -> None:
    """Raise UnsupportedError for a layer that rounds to 16 bits or fewer, where float32 would be exact."""
    dtype = node.config.get("dtype")
    wide = dtype in (None, "float32", "float64") or (isinstance(dtype, str) and dtype.startswith(("int", "uint")))
    if not wide or (node.class_name != "InputLayer" and str(dtype).startswith(("int8_", "int4_"))):
        raise UnsupportedError(
            f"it computes in {dtype}, which rounds every value that it makes",
            layer=node.name,
            way_out="build the model with the dtype float32 (weights can be copied with set_weights)",
        )


def _note_quantizers(b: GraphBuilder, node: LayerNode) -> None:
    """Tell of a mu-law's levels, and of a relu_upper_bound that does not act. A file cannot say that it does: QKeras
    saves the bound without is_quantized_clip, so that what was trained with it off comes back with it on."""
    for key, value in node.config.items():
        if key != "activation" and not key.endswith(("_quantizer", "_activation")):
            continue
        try:
            twin = quantizer(value)
        except QsimError:
            continue  # whoever needs it says why
        if isinstance(twin, QuantizedUlaw):
            b.note(
                f"layer {node.name}: the {key} {twin} has levels without a common grid. qsim holds them in 24 bits, "
                "Keras in float32: sums of such levels can differ by that rounding, and a code behind them on a tie."
            )
        if isinstance(twin, QuantizedRelu) and twin.relu_upper_bound and twin.is_quantized_clip:
            b.note(
                f"layer {node.name}: relu_upper_bound={twin.relu_upper_bound} of its {key} has no effect, since "
                "is_quantized_clip is on. QKeras does not save it where it is off: a model trained so keeps its bounds "
                "in memory only, for Keras too."
            )


def _is_operation(node: LayerNode) -> bool:
    return node.class_name.startswith("ops.") or node.class_name in LEGACY_OPERATIONS


def _record(node: LayerNode) -> Record:
    """The record of the node's class. Raises UnsupportedError, with the nearest name that there is, for others, and
    for arguments that the record does not account for."""
    if node.class_name in REFUSED:
        reason, way_out = REFUSED[node.class_name]
        raise UnsupportedError(reason, layer=node.name, way_out=way_out)
    if node.class_name not in LAYERS:
        operation = _is_operation(node)
        named = str(node.config.get("function", node.class_name)) if operation else node.class_name
        known = [n.removeprefix("ops.") for n in LAYERS if n.startswith("ops.") == operation]
        near = difflib.get_close_matches(named.removeprefix("ops.").rsplit(".", 1)[-1], known, 1, 0.6)
        what = "operation" if operation else "layer"
        listed = "an operation or a layer" if operation else "one"
        raise UnsupportedError(
            f"the operation {named.removeprefix('ops.')} is not supported"
            if operation
            else f"layers of class {named} are not supported",
            layer=node.name,
            way_out=f"use {near[0]}, the nearest {what} that is" if near else f"use {listed} that docs/qkeras.md lists",
        )
    record = LAYERS[node.class_name]
    record.check(node)
    return record


def _time_distributed(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """The wrapped layer on every step of the first axis, joined again."""
    wrapped, value = node.config["layer"], inputs[0]
    inner = LayerNode(
        name=node.name,
        layer=node.layer,
        class_name=wrapped["class_name"],
        config=wrapped["config"],
        inputs=node.inputs,
        weights={name.removeprefix("layer/"): array for name, array in node.weights.items()},
    )
    record = _record(inner)
    if record.rows:
        result = lower_in_layout(record, ctx, inner, inputs)
        assert isinstance(result, Value)
        return result
    steps = []
    for t in range(value.shape[0]):
        step = dataclasses.replace(inner, name=f"{node.name}.step{t}")
        part = sliced(ctx, step, value, (slice(t, t + 1), *(slice(None),) * (len(value.shape) - 1)), f"{step.name}.in")
        row = reshape(ctx, dataclasses.replace(step, name=f"{step.name}.row"), part, value.shape[1:])
        made = lower_in_layout(record, ctx, step, [row])
        assert isinstance(made, Value)
        steps.append(as_seen(ctx, made))
    return stacked(ctx, node, steps, 0, (1, *steps[0].shape))


REFUSED: dict[str, tuple[str, str]] = {
    "Lambda": (
        "it is a Lambda, whose function is Python code that qsim does not run",
        "write it with layers or keras.ops, which the file names",
    ),
    "LayerNormalization": (
        "it divides by a root of each sample's own variance, which has no exact integers",
        "normalize by BatchNormalization, whose constants are known, or end the model before it",
    ),
    "MultiHeadAttention": (
        "its weights and products have no quantizers inside, and its softmax divides exponentials, which have no exact "
        "integers",
        "write the projections as QDense and the products as keras.ops.matmul with a QActivation behind each",
    ),
}
"""Layers that are refused for a reason of their own: the reason and the way out."""
REFUSED |= dict.fromkeys(("GroupNormalization", "RMSNormalization", "UnitNormalization"), REFUSED["LayerNormalization"])

LAYERS["TimeDistributed"] = Record(lower=_time_distributed, reads=("layer",))

_DAMAGED = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, ZeroDivisionError)
"""What a lowering raises where the config holds a value of another kind than Keras writes."""


def _lower_node(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value | list[Value]:
    record = _record(node)
    if node.name in ctx.at_boundary:
        # The input was quantized by this layer's own quantizer at the graph's boundary.
        return inputs[0].but(layer=node.name)
    try:
        for value in inputs:
            if not record.real or value.boundary not in (*REAL_FUNCTIONS, "softmax"):
                value.settled()
        return lower_in_layout(record, ctx, node, inputs)
    except UnsupportedError as error:
        if error.layer is not None:
            raise
        raise UnsupportedError(error.reason, layer=node.name, way_out=error.way_out) from error
    except QsimError:
        raise
    except _DAMAGED as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise ModelError(
            f"layer {node.name!r} ({node.class_name}): its config cannot be what Keras wrote: {reason}."
        ) from error


def _formats(model: KerasModel, given: InputFormat) -> dict[str, FixedPoint]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        if unknown := [name for name in given if name not in model.inputs]:
            raise UsageError(
                f"input_format names {', '.join(unknown)}, but the model's inputs are {', '.join(model.inputs)}."
            )
        by_name = dict(given)
    else:
        by_name = dict.fromkeys(model.inputs, given)
    for name, f in by_name.items():
        if not isinstance(f, str | FixedPoint):
            raise UsageError(f"the input_format of {name!r} is text such as 'fixed<8,1>' or a FixedPoint, not {f!r}.")
    return {name: parse_format(f) if isinstance(f, str) else f for name, f in by_name.items()}


def _input(ctx: Context, node: LayerNode, fmt: FixedPoint | None) -> Value:
    shape = node.config.get("shape") or node.config["batch_shape"][1:]
    if any(n is None for n in shape):
        raise UnsupportedError(
            f"the input shape {tuple(shape)} has unknown dimensions",
            layer=node.name,
            way_out="build the model with a fixed input shape",
        )
    shape = tuple(int(n) for n in shape)
    if fmt is not None:
        name = ctx.b.input(node.name, shape, fmt.integers, Quantization.of(fmt.scale), Rounding.RND_CONV)
        return Value.of(name, node.name, shape, fmt.scale)
    layer, rule = _boundary_rule(ctx, node)
    if rule is None:
        reason = (
            "no QActivation quantizes it before its first use"
            if layer is node
            else f"layer {layer.name!r} quantizes it, but not to equal steps, which a graph's input has"
        )
        raise UnsupportedError(
            f"the model's input {node.name!r} is real-valued and {reason}",
            layer=node.name,
            way_out='pass the inputs\' number format, such as input_format="fixed<8,1>" in Python or '
            "--input-format 'fixed<8,1>' on the command line, or start the model with a QActivation",
        )
    ctx.at_boundary.add(layer.name)
    own = rule.scale == (rule.step,)
    name = ctx.b.input(
        layer.name if own else node.name,
        shape,
        IntFormat.for_range(rule.low, rule.high),
        Quantization.of(rule.step),
        rule.rounding,
        rule.low,
        rule.high,
    )
    return Value.of(name, node.name, shape, _column(rule.scale))


def _column(scale: tuple[Fraction, ...]) -> Any:
    return list(scale) if len(scale) > 1 else scale[0]


def _boundary_rule(ctx: Context, node: LayerNode) -> tuple[LayerNode, Uniform | None]:
    """The one QActivation that reads the input, and its rule where it is uniform."""
    readers = ctx.consumers[node.name]
    if any(name == node.name for name, _ in ctx.model.outputs):
        return node, None  # it leaves the model as it came
    if len(readers) == 1 and readers[0].class_name in ("QActivation", "Activation"):
        call = parse(readers[0].config.get("activation"))
        if call is not None and call.name in QUANTIZERS:
            try:
                twin = quantizer(call)
                rule = twin.rule() if twin is not None else None
            except UnsupportedError as error:
                raise UnsupportedError(error.reason, layer=readers[0].name, way_out=error.way_out) from error
            return readers[0], rule if isinstance(rule, Uniform) else None
    return node, None


BOUNDARY = ("softmax", "sigmoid", "tanh")
"""Functions that stay outside the hardware where they end the model."""


def _boundary(ctx: Context, value: Value) -> str:
    """The real-valued function that ends the model, and a note of it."""
    if value.boundary not in BOUNDARY:
        raise UnsupportedError(
            f"{value.boundary} is real-valued and ends the model",
            layer=value.layer,
            way_out=f"end it with one of {', '.join(BOUNDARY)}, which stay outside the hardware, or {QUANTIZE_REAL}",
        )
    ctx.b.note(
        f"The final {value.boundary} behind layer {value.layer!r} stays outside the hardware: outputs are the codes "
        f"before it, and the simulator applies {value.boundary} to their real values."
    )
    return value.boundary


def _output(ctx: Context, value: Value) -> Output:
    """The tensor that ends the model. Where the meaning has run ahead of the codes, a tensor of the layer's own name
    says it; clamps and meanings that differ by position are computed."""
    value = as_seen(ctx, value, value.layer)
    if value.boundary != "linear":
        return Output(tensor=_output(ctx, value.but(boundary="linear")).tensor, boundary=_boundary(ctx, value))
    if value.clamped or not value.channelwise or not any(distinct(value.scale)):
        value = ctx.grid(value, value.layer, exact=True)
    meaning = quantization(value.scale, value.offset)
    if ctx.b.tensor(value.tensor).quantization != meaning:
        tensor = ctx.b.add(
            Reshape(inputs=(value.tensor,), output=value.layer, layer=value.layer),
            quantization=meaning,
            shape=value.shape,
        )
        value = value.but(tensor=tensor)
    return Output(tensor=value.tensor)
