"""The import as a whole: file, ends of the model, every node in order; and the survey of what is supported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from qsim.errors import GraphError, ModelError, Place, UnsupportedError, UsageError, reading
from qsim.importers.importer import InputFormat, ModelSource, SurveyEntry
from qsim.importers.onnx.constant import INTEGERS, Constant
from qsim.importers.onnx.context import REAL, Context, Made, Operand, Operator
from qsim.importers.onnx.fold import FOLDS
from qsim.importers.onnx.lower import combine, elementwise, linear, move, norm, pool, quantize, runtime, threshold
from qsim.importers.onnx.model import STANDARD, Node, OnnxModel, Port
from qsim.importers.onnx.profiles import Profile, profile_of
from qsim.importers.onnx.read import read_model
from qsim.importers.onnx.rewrite import fused, unfused
from qsim.importers.onnx.view import View, arranged, last, places
from qsim.importers.symbolic.building import Label
from qsim.importers.symbolic.grid import quantization
from qsim.importers.symbolic.rescale import Rescaling
from qsim.importers.symbolic.shape import reshape
from qsim.importers.symbolic.value import Value, distinct
from qsim.ir import Graph, Output, Quantization
from qsim.ir.ops import Reshape
from qsim.numerics import FixedPoint, IntFormat, Rounding, parse_format
from qsim.proof.builder import GraphBuilder

OPERATORS: Mapping[tuple[str, str], Operator] = {
    **linear.OPERATORS,
    **combine.OPERATORS,
    **elementwise.OPERATORS,
    **pool.OPERATORS,
    **norm.OPERATORS,
    **move.OPERATORS,
    **quantize.OPERATORS,
    **threshold.OPERATORS,
    **runtime.OPERATORS,
}
"""(domain, operator) -> how it is lowered."""

DATA_DEPENDENT = ("DynamicQuantizeLinear", "DynamicQuantizeLSTM", "NonZero", "TopK", "NonMaxSuppression", "Unique")
CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
ALONG_CHANNELS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
                  "BatchNormalization", "QLinearConv", "ConvInteger")  # fmt: skip
"""Operators whose inputs have their channels in front: a model with one of them has images for inputs."""

BOUNDARY = ("softmax", "sigmoid", "tanh")
"""Functions that stay outside the hardware where they end the model."""

T = TypeVar("T")


def load_onnx(source: ModelSource) -> Graph:
    """The integer graph of an .onnx file.

    Of the source, input_format is the number format of the real inputs, for all or by name, needed where an input does
    not go straight into one quantizer; profile: ``qonnx``, ``onnx`` or ``ort``, the file's own by default
    (``profile_of``); rescale: as for Keras models. Raises ModelError for a file that is no sound model,
    UnsupportedError, naming node, reason and way out, for whatever cannot be reproduced exactly, UsageError for a bad
    argument, ToolMissingError without the ``onnx`` package.
    """
    return lowered(source)[0]


def lowered(source: ModelSource) -> tuple[Graph, Mapping[str, View]]:
    """The graph, and where each of the file's tensors lies in it, by the file's names (those of the rewritten file
    where a profile fuses operators). Raises as ``load_onnx``."""
    model = read_model(_path(source))
    chosen = profile_of(source.profile, model)
    model = fused(model) if chosen.fused else unfused(model)
    refused = {node.name: reason for node in model.nodes if (reason := refusal(node))}
    if refused:
        named = [f"{node.label} ({node.name!r}): {refused[node.name]}" for node in model.nodes if node.name in refused]
        raise UnsupportedError(
            "; ".join(named[:12]) + (f"; and {len(named) - 12} more" if len(named) > 12 else ""),
            way_out="run qsim doctor on the file for the whole list",
        )
    try:
        with reading(_path(source), "an ONNX model whose nodes fit together") as place:
            return lower(model, chosen, source, place)
    except GraphError as error:
        raise ModelError(f"the model does not hold together: {error}") from error


def _path(source: ModelSource) -> Path:
    if source.path is None:
        raise UsageError("an ONNX model is given as the path of its file.")
    return source.path


def refusal(node: Node) -> str | None:
    """Why nothing can lower the node, whatever its inputs are; None if something may."""
    operator = OPERATORS.get((node.domain, node.kind))
    if operator is not None:
        return operator.refusal(node)
    if node.domain == STANDARD and node.kind in FOLDS:
        return None
    if node.kind in CONTROL_FLOW:
        return "control flow is not supported"
    if node.kind in DATA_DEPENDENT:
        return "what it computes with depends on the data"
    return "the operator is not supported"


def lower(
    model: OnnxModel, profile: Profile, source: ModelSource, place: Place
) -> tuple[Graph, Mapping[str, View]]:
    """Every node of the model, in order: the graph, and the tensors of the file that lie in it."""
    b = GraphBuilder(model.name, profile.name)
    ctx = Context(model, b, Rescaling.parse(source.rescale), profile)
    for name, array in model.constants.items():
        if name in ctx.consumers or name in ctx.ends:
            ctx.values[name] = named(name, partial(Constant.of, array, model.dtypes[name]))
    formats = _formats(model, source.input_format)
    ctx.batch = _batch(model)
    for port in model.inputs:
        ctx.values[port.name] = _input(ctx, port, formats.get(port.name))
    for node in model.nodes:
        place.at = f"node {node.name!r}"
        for name, made in zip(node.outputs, lower_node(ctx, node), strict=False):
            if name:
                ctx.values[name] = made
    outputs = [_output(ctx, port) for port in model.outputs]
    _note_orders(ctx, outputs)
    ctx.note_rounding()
    ctx.rescaling.note(b)
    graph = b.build(outputs)
    views = {name: v for name, v in ctx.values.items() if isinstance(v, View) and v.value.tensor in graph.tensors}
    return graph, views


def named(name: str, make: Callable[[], T]) -> T:
    """What ``make`` gives, with the tensor's or node's name in its errors."""
    try:
        return make()
    except UnsupportedError as error:
        if error.layer is not None:
            raise
        raise UnsupportedError(error.reason, layer=name, way_out=error.way_out) from error


def lower_node(ctx: Context, node: Node) -> Made:
    """The node's outputs. Raises UnsupportedError with the node's name."""
    inputs: list[Operand] = [ctx.values[name] if name else None for name in node.inputs]

    def make() -> Made:
        constants = [i for i in inputs if not isinstance(i, View)]
        if len(constants) == len(inputs) and node.domain == STANDARD and node.kind in FOLDS:
            return list(FOLDS[node.kind](node, constants))
        if (node.domain, node.kind) not in OPERATORS:
            raise UnsupportedError("the operator is not supported on data that depend on the input")
        return OPERATORS[node.domain, node.kind].lower(ctx, node, inputs)

    return named(node.name, make)


def _formats(model: OnnxModel, given: InputFormat) -> dict[str, FixedPoint]:
    names = [port.name for port in model.inputs]
    if given is None:
        return {}
    if isinstance(given, Mapping):
        if unknown := [name for name in given if name not in names]:
            raise UsageError(f"input_format names {', '.join(unknown)}, but the model's inputs are {', '.join(names)}.")
        by_name = dict(given)
    else:
        by_name = dict.fromkeys(names, given)
    return {name: parse_format(f) if isinstance(f, str) else f for name, f in by_name.items()}


def _batch(model: OnnxModel) -> int:
    """The first dimension of the inputs; 1 where it is open."""
    sizes = {port.shape[0] or 1 for port in model.inputs if port.shape}
    if len(sizes) > 1:
        raise UnsupportedError(f"the inputs' first dimensions differ: {sorted(sizes)}", way_out="put the batch first")
    return sizes.pop() if sizes else 1


def _input(ctx: Context, port: Port, fmt: FixedPoint | None) -> View:
    """A model input, channels last where the model has convolutions or pools. Without a number format it stays real
    until a quantizer takes it."""
    if port.shape is None or len(port.shape) < 2:
        raise UnsupportedError(
            f"the input has the shape {port.shape}", layer=port.name, way_out="give it a batch and fixed dimensions"
        )
    if any(n is None for n in port.shape[1:]):
        raise UnsupportedError(
            f"the input shape {port.shape} has open dimensions behind the batch",
            layer=port.name,
            way_out="export the model with a fixed input shape",
        )
    shape = tuple(int(n) for n in port.shape[1:] if n is not None)
    images = any(node.kind in ALONG_CHANNELS for node in ctx.model.nodes)
    order = last(len(shape)) if len(shape) > 2 or (len(shape) == 2 and images) else tuple(range(len(shape)))
    stored = tuple(shape[a] for a in order)
    at = places(stored).transpose(tuple(np.argsort(order)))
    ctx.orders[port.name] = _order(order)
    if port.dtype in INTEGERS and port.dtype != "BOOL":
        low, high = INTEGERS[port.dtype]
        integers, one = IntFormat.for_range(low, high), Quantization.of(Fraction(1))
        tensor = ctx.b.input(
            port.name, stored, integers, one, Rounding.RND_CONV, low, high, order=ctx.orders[port.name]
        )
        return View(value=Value.of(tensor, port.name, stored, 1), at=at, dtype=port.dtype)
    if port.dtype not in ("FLOAT", "DOUBLE"):
        raise UnsupportedError(
            f"the input is of type {port.dtype}, in which every value is rounded",
            layer=port.name,
            way_out="export the model in float32",
        )
    if fmt is None:
        return View(value=Value.of(REAL, port.name, stored, 1), at=at, dtype=port.dtype)
    order = ctx.orders[port.name]
    given = Quantization.of(fmt.scale)
    tensor = ctx.b.input(port.name, stored, fmt.integers, given, Rounding.RND_CONV, order=order)
    return View(value=Value.of(tensor, port.name, stored, fmt.scale), at=at, dtype=port.dtype)


def _output(ctx: Context, port: Port) -> Output:
    """The tensor that ends the model, channels last where the file has an image."""
    view = ctx.values[port.name]
    if isinstance(view, Constant):
        raise UnsupportedError("the output does not depend on the input", layer=port.name, way_out="remove it")
    named(port.name, partial(ctx.exists, view.value))
    boundary, rounded = view.value.boundary, view.rounded
    if boundary != "linear":
        _check_boundary(ctx, view.value)
        view = view.but(view.value.but(boundary="linear"))
    order = last(len(view.shape)) if len(view.shape) > 2 else tuple(range(len(view.shape)))
    direct = len(view.shape) == 2 and not np.array_equal(view.at.reshape(-1), np.arange(view.at.size))
    if direct:
        order = last(2)
    value = arranged(ctx, view, order, port.name)
    value = reshape(ctx, Label(f"{value.layer}.shaped"), value, value.shape)
    if value.clamped or not value.channelwise or not any(distinct(value.scale)):
        value = ctx.grid(value, value.layer)
    meaning = quantization(value.scale, value.offset)
    if not _says(ctx.b.tensor(value.tensor).quantization, meaning):
        shaped = Reshape(inputs=(value.tensor,), output=value.layer, layer=value.layer)
        tensor = ctx.b.add(shaped, quantization=meaning, shape=value.shape)
        value = value.but(tensor=tensor)
    return Output(tensor=value.tensor, boundary=boundary, order=_order(order), rounded=rounded)


def _note_orders(ctx: Context, outputs: list[Output]) -> None:
    """One note on ends whose interface is not in the file's order."""
    ends = [(name, order) for name, order in ctx.orders.items() if order]
    ends += [(port.name, end.order) for port, end in zip(ctx.model.outputs, outputs, strict=True) if end.order]
    if ends:
        texts = [f"{name!r} ({', '.join(_AXES[len(order)])})" for name, order in ends]
        ctx.b.note(
            f"Codes and emitted interfaces are channels last: {', '.join(texts)}. The file has the channels in front; "
            "real values in Python keep its order."
        )


_AXES = {2: ("length", "channels"), 3: ("height", "width", "channels"), 4: ("depth", "height", "width", "channels")}
"""A channels-last tensor's axes by their number."""


def _order(stored: tuple[int, ...]) -> tuple[int, ...]:
    """The order of an end (``qsim.ir.Input``) whose tensor's axis i is the file's axis stored[i]."""
    order = tuple(int(a) for a in np.argsort(stored))
    return () if order == tuple(range(len(order))) else order


def _says(found: Quantization, meaning: Quantization) -> bool:
    """Whether a tensor's quantization gives the same reals."""

    def spread(q: Quantization) -> set[tuple[Fraction, Fraction, int]]:
        n = max(len(q.scale), len(q.offset))
        pairs = ((q.scale[i % len(q.scale)], q.offset[i % len(q.offset)]) for i in range(n))
        return {(s, o - q.zero_point * s, i if n > 1 else 0) for i, (s, o) in enumerate(pairs)}

    return spread(found) == spread(meaning)


def _check_boundary(ctx: Context, value: Value) -> None:
    if value.boundary not in BOUNDARY:
        raise UnsupportedError(
            f"{value.boundary} is real-valued and ends the model",
            layer=value.layer,
            way_out=f"end it with one of {', '.join(BOUNDARY)}, which stay outside the hardware, or quantize it",
        )
    ctx.b.note(
        f"The final {value.boundary} behind layer {value.layer!r} stays outside the hardware: outputs are the codes "
        f"before it, and the simulator applies {value.boundary} to their real values."
    )


def survey(source: ModelSource) -> list[SurveyEntry]:
    """Every operator kind of the file, with its occurrences and whether each can be imported."""
    model = read_model(_path(source))
    model = fused(model) if profile_of(source.profile, model).fused else unfused(model)
    found: dict[str, list[str]] = {}
    for node in model.nodes:
        reason = refusal(node)
        found.setdefault(node.label, []).append(f"Node {node.name!r}: {reason}." if reason else "")
    return [
        SurveyEntry(name, len(reasons), not any(reasons), " ".join(r for r in reasons if r))
        for name, reasons in found.items()
    ]
