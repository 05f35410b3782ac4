"""The import as a whole: file, ends of the model, every operator in order; and the survey of what is supported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from qsim.errors import GraphError, ModelError, QsimError, UnsupportedError
from qsim.importers.tflite import xnnpack
from qsim.importers.tflite.fold import fold_constants, without_dead
from qsim.importers.tflite.lower.context import Lowering, graph_shape
from qsim.importers.tflite.model import INTEGER_FORMATS, Operator, TfliteModel, TfliteTensor
from qsim.importers.tflite.operators import OPERATORS
from qsim.importers.tflite.profiles import Profile, get_profile
from qsim.importers.tflite.reader import read_everything, read_model
from qsim.ir import Graph, Output
from qsim.numerics import Rounding
from qsim.proof.builder import GraphBuilder

CONTROL_FLOW = ("IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_COMPOSITE")


NPUS: Mapping[str, str] = {
    "ethos-u": "an Arm Ethos-U by Vela",
    "XC_": "an XMOS xcore by xmos-ai-tools",
    "NeutronGraph": "an NXP eIQ Neutron",
    "edgetpu-custom-op": "a Coral Edge TPU",
}
"""How the names of custom operators begin in files that a vendor's compiler made for its own hardware."""


class SurveyEntry(NamedTuple):
    """One operator kind of a model: how often it occurs, whether every occurrence can be imported, and if not, why
    (one sentence per layer, in order)."""

    name: str
    occurrences: int
    supported: bool
    reason: str


def _bytes(source: str | Path | bytes) -> tuple[bytes, str]:
    """The file's bytes and the model's name. Raises ModelError where the file cannot be read."""
    if isinstance(source, (bytes, bytearray)):
        return bytes(source), "model"
    path = Path(source)
    try:
        return path.read_bytes(), path.stem
    except OSError as error:
        raise ModelError(f"cannot read {path.name!r}: {error.strerror or error}.") from error


def read_source(source: str | Path | bytes) -> TfliteModel:
    """The checked model of a path or of a file's bytes, constants folded. Raises ModelError, UnsupportedError."""
    return fold_constants(read_model(*_bytes(source)))


def load_tflite(source: str | Path | bytes, profile: str | None = None) -> Graph:
    """Import a ``.tflite`` model.

    Parameters
    ----------
    source: the path, or the file's bytes.
    profile: whose arithmetic to reproduce: ``tflm`` (default), ``litert-ref``, ``litert-opt``, ``litert-xnnpack``.

    Raises ModelError for a file that is not a sound model, UnsupportedError for anything that cannot be reproduced
    exactly, UsageError for an unknown profile.
    """
    engine = get_profile(profile)
    model, dead = without_dead(read_source(source))
    unknown = {op.name: None for op in model.operators if _refusal(model, op, engine)}
    if unknown:
        raise UnsupportedError(
            "; ".join(
                f"{name} in layers {', '.join(repr(_layer(model, op)) for op in model.operators if op.name == name)}: "
                + next(r for op in model.operators if op.name == name and (r := _refusal(model, op, engine)))
                for name in unknown
            ),
            way_out="run qsim doctor on the file for the whole list; quantize the model fully to int8, or replace "
            "these layers",
        )
    try:
        return import_model(model, engine, dead)
    except GraphError as error:
        raise ModelError(f"the model does not hold together: {error}") from error


def survey(source: str | Path | bytes, profile: str | None = None) -> list[SurveyEntry]:
    """Every operator kind of the model, in all subgraphs, with its occurrences and whether each can be imported.

    Each operator is tried alone, so one unsupported operator hides no other; an operator is charged with what is wrong
    with its tensors. What belongs to no operator is an entry of its own. Raises ModelError for unsound files.
    """
    engine = get_profile(profile)
    models, refusals = read_everything(*_bytes(source))
    found: dict[str, list[str]] = {}
    left = dict(refusals.found)
    for number, whole in enumerate(models):
        model = fold_constants(whole)
        live = {op.index for op in without_dead(model)[0].operators}
        for op in model.operators:
            places = [(number, "operator", op.index), *((number, "tensor", i) for i in (*op.inputs, *op.outputs))]
            blamed = [text for place in dict.fromkeys(places) for text in refusals.found.get(place, ())]
            for place in places:
                left.pop(place, None)
            refusal = _refusal(model, op, engine)
            if op.index not in live:
                reason = ""
            elif refusal:
                reason = f"Layer {_layer(model, op)!r}: {refusal}."
            else:
                reason = " ".join(blamed) or _trial(model, op, engine) or ""
            found.setdefault(op.name, []).append(reason)
    entries = [
        SurveyEntry(name, len(reasons), not any(reasons), " ".join(r for r in reasons if r))
        for name, reasons in found.items()
    ]
    for (_, kind, _), texts in left.items():
        name, count = ("subgraphs", len(models)) if kind == "file" else (kind, 1)
        entries.append(SurveyEntry(name, count, False, " ".join(texts)))
    return entries


def _layer(model: TfliteModel, op: Operator) -> str:
    return model.tensors[op.outputs[0]].name if op.outputs else f"operator {op.index}"


def _refusal(model: TfliteModel, op: Operator, profile: Profile) -> str | None:
    """Why no lowering exists for the operator at all; None if one does."""
    if op.name in CONTROL_FLOW:
        return "control flow is not supported"
    if _is_end(model, op):
        return None
    if op.name.startswith("CUSTOM"):
        code = op.name.removeprefix("CUSTOM ").strip("'")
        npu = next((made for start, made in NPUS.items() if code.startswith(start)), None)
        if npu is not None:
            return f"the file was compiled for an NPU ({npu}); load the .tflite file that its compiler was given"
    if op.name == "DEQUANTIZE":
        return "it gives floats that the network goes on to use"
    if op.name not in OPERATORS:
        return "the operator is not supported"
    floats = [
        model.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0 and model.tensors[i].type.startswith("FLOAT")
    ]
    if not floats:
        return None
    weights = [model.tensors[i].type for i in op.inputs if i >= 0 and model.tensors[i].data is not None]
    hybrid = " with INT8 weights, as dynamic-range quantization leaves it" if "INT8" in weights else ""
    return f"it works on {floats[0].type} numbers ({floats[0].name!r}){hybrid}"


def _is_end(model: TfliteModel, op: Operator) -> bool:
    """QUANTIZE of a float model input, or DEQUANTIZE into a float model output that nothing else reads."""
    if len(op.inputs) != 1 or len(op.outputs) != 1:
        return False
    x, y = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
    if op.name == "QUANTIZE" and x.type == "FLOAT32":
        return x.index in model.inputs and y.type in INTEGER_FORMATS
    if op.name == "DEQUANTIZE" and y.type == "FLOAT32":
        read = any(y.index in other.inputs for other in model.operators)
        return y.index in model.outputs and not read and x.type in INTEGER_FORMATS
    return False


def _trial(model: TfliteModel, op: Operator, profile: Profile) -> str | None:
    """The error of lowering one operator alone, its activations taken as inputs; None if it works."""
    if _is_end(model, op):
        return None
    low = Lowering(model, profile, GraphBuilder(model.name, profile.name))
    try:
        for i in dict.fromkeys(op.inputs):
            if i >= 0 and model.tensors[i].data is None and model.tensors[i].size:
                _input(low, model.tensors[i])
        _lower(low, op)
    except QsimError as error:
        return str(error)
    return None


def _input(low: Lowering, tensor: TfliteTensor, quantized_by_model: bool = False) -> None:
    """Declare a graph input with the codes of ``tensor``: reals are rounded half away from zero, unless the model's own
    QUANTIZE does it, in float32, as the profile's engine does."""
    if tensor.type not in INTEGER_FORMATS or tensor.quantization is None or not tensor.quantization.per_tensor:
        raise UnsupportedError(
            f"the model input {tensor.name!r} of type {tensor.type} has no per-tensor quantization",
            way_out="convert with full integer quantization (a representative dataset and int8 input type)",
        )
    low.names[tensor.index] = low.builder.input(
        tensor.name,
        graph_shape(tensor.shape),
        INTEGER_FORMATS[tensor.type],
        low.quantization(tensor),
        rounding=low.profile.input_rounding if quantized_by_model else Rounding.RND_INF,
        arithmetic=low.profile.input_arithmetic if quantized_by_model else "exact",
    )


def _lower(low: Lowering, op: Operator) -> None:
    """Run one lowering in the profile of the kernel that the engine uses for it; whatever its checks let through and
    the graph's own checks do not is a damaged model."""
    record = OPERATORS[op.name]
    if low.chosen.fallback and not xnnpack.taken(low.model, op, record.xnnpack):
        low.profile = get_profile(low.chosen.fallback)
    else:
        low.profile = low.chosen
    kinds = [low.model.tensors[i].type for i in op.inputs[:1] if i >= 0]
    if low.chosen.micro and any(kind in record.micro_lacks for kind in kinds):
        low.builder.note(
            f"Layer {low.layer(op)!r}: TensorFlow Lite Micro has no {kinds[0]} kernel for {op.name}; the codes here "
            "follow the operator's definition."
        )
    try:
        record.lower(low, op)
    except (GraphError, ValueError, IndexError, KeyError, OverflowError, ZeroDivisionError) as error:
        raise ModelError(f"{low.where(op)} does not hold together: {str(error).rstrip('.')}.") from error


def import_model(model: TfliteModel, profile: Profile, dead: Sequence[str] = ()) -> Graph:
    """The graph of a checked model. dead: sentences on what was left out before. Raises UnsupportedError, ModelError,
    GraphError."""
    low = Lowering(model, profile, GraphBuilder(model.name, profile.name))
    for sentence in dead:
        low.builder.note(sentence)
    ends = {op.index for op in model.operators if _is_end(model, op)}
    for i in model.inputs:
        tensor = model.tensors[i]
        if tensor.type != "FLOAT32":
            _input(low, tensor)
            continue
        readers = [op for op in model.operators if i in op.inputs]
        if not readers and i not in model.outputs:
            low.builder.note(f"The float model input {tensor.name!r} is read by nothing and left out.")
            continue
        if len(readers) != 1 or readers[0].index not in ends:
            raise UnsupportedError(
                f"the float model input {tensor.name!r} does not go into exactly one QUANTIZE",
                way_out="convert with full integer quantization",
            )
        code = model.tensors[readers[0].outputs[0]]
        if graph_shape(code.shape) != graph_shape(tensor.shape):
            raise ModelError(f"QUANTIZE turns {tensor.name!r} of shape {tensor.shape} into {code.shape}.")
        _input(low, code, quantized_by_model=True)
    real: dict[int, int] = {}
    for op in model.operators:
        if op.index not in ends:
            _lower(low, op)
        elif op.name == "DEQUANTIZE":
            x, y = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
            if x.index not in low.names or graph_shape(x.shape) != graph_shape(y.shape):
                raise ModelError(f"DEQUANTIZE turns {x.name!r} of shape {x.shape} into {y.name!r} of {y.shape}.")
            real[y.index] = x.index
    outputs = []
    for i in model.outputs:
        index = real.get(i, i)
        if index not in low.names:
            raise UnsupportedError(f"the model output {model.tensors[i].name!r} is a float that no DEQUANTIZE makes")
        outputs.append(Output(tensor=low.names[index]))
    return low.builder.build(outputs)
