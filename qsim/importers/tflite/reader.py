"""Flatbuffer bytes -> checked plain structure.

``flatbuffer.py`` checks that what is read lies in the file; here it is checked for sense: sizes of constants, lengths
of quantization arrays, types, the order of operators. All errors are ModelError (the bytes are not a sound model) or
UnsupportedError (sound, but outside what qsim reproduces).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import tflite as schema

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.tflite.flatbuffer import FLATBUFFER_ERRORS, Bytes, Table
from qsim.importers.tflite.model import (
    INTEGER_FORMATS,
    Operator,
    TfliteModel,
    TfliteQuantization,
    TfliteTensor,
)
from qsim.importers.tflite.operators import OPERATORS
from qsim.importers.tflite.options import Number, read_options
from qsim.numerics import Array

MAX_ELEMENTS = 1 << 24
"""Elements of one tensor that qsim takes on: far beyond any microcontroller, and small enough to prove ranges on."""

MAX_RANK = 6

_TYPES = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
_BUILTINS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_ITEM_DTYPES = {
    "INT8": "<i1",
    "UINT8": "<u1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FLOAT32": "<f4",
    "FLOAT16": "<f2",
    "BOOL": "<u1",
}

WITHOUT_RESULT = ("CALL_ONCE", "ASSIGN_VARIABLE", "HASHTABLE_IMPORT")
"""Operators that by definition have no output."""

Refuse = Callable[..., None]
"""(reason, way out) -> nothing: what is wrong with the tensor at hand."""


class Refusals:
    """What a sound file has that qsim does not take: raised where it is found, or (``collect``) kept per place.

    found: (subgraph, "tensor" or "operator", index) -> sentences; subgraph -1 is the file itself.
    """

    def __init__(self, collect: bool) -> None:
        self.collect, self.subgraph = collect, 0
        self.found: dict[tuple[int, str, int], list[str]] = {}

    def add(self, place: str, index: int, error: UnsupportedError) -> None:
        if not self.collect:
            raise error
        self.found.setdefault((-1 if place == "file" else self.subgraph, place, index), []).append(str(error))


def read_model(data: bytes, name: str) -> TfliteModel:
    """Read and check the bytes of a ``.tflite`` file.

    Parameters
    ----------
    data: the file. name: what to call the model (a file's stem).

    Raises ModelError for anything that is not a sound model, UnsupportedError for control flow, several subgraphs,
    dynamic shapes and variables.
    """
    return _guarded(data, name, Refusals(collect=False))[0]


def read_everything(data: bytes, name: str) -> tuple[list[TfliteModel], Refusals]:
    """Every subgraph as far as it can be read, and all that ``read_model`` would refuse. Where something is refused,
    the order of operators is not checked. Raises ModelError as ``read_model`` does."""
    refusals = Refusals(collect=True)
    return _guarded(data, name, refusals), refusals


def _guarded(data: bytes, name: str, refusals: Refusals) -> list[TfliteModel]:
    try:
        return _read(data, name, refusals)
    except FLATBUFFER_ERRORS as error:
        raise ModelError(f"not a sound .tflite file: {type(error).__name__} while reading it ({error}).") from error


def _read(data: bytes, name: str, refusals: Refusals) -> list[TfliteModel]:
    if len(data) < 16 or data[4:8] != b"TFL3":
        raise ModelError(
            f"not a .tflite file: it has {len(data)} bytes and does not carry the identifier TFL3. A TensorFlow Lite "
            "flatbuffer is expected."
        )
    file = Bytes(data)
    root = Table(file, file.u32(0, "the root table"), "the model table")
    version = root.view(schema.Model).Version()
    if version != 3:
        raise ModelError(f"the .tflite schema version is {version}; only version 3 is in use.")
    subgraphs = root.tables(2, "subgraphs")
    if not subgraphs:
        raise ModelError("the .tflite file holds no subgraph.")
    codes = [_operator_code(t) for t in root.tables(1, "operator_codes")]
    if len(subgraphs) > 1:
        reason = f"the model has {len(subgraphs)} subgraphs, which only control flow and stateful models use"
        way_out = "convert a model without tf.cond, tf.while_loop and variables, with one signature"
        refusals.add("file", 0, UnsupportedError(reason, way_out=way_out))
    buffers = root.tables(4, "buffers")
    models = []
    for number, graph in enumerate(subgraphs):
        refusals.subgraph = number
        tensors = tuple(_tensor(i, t, buffers, refusals) for i, t in enumerate(graph.tables(0, "tensors")))
        operators = tuple(_operator(i, t, codes, tensors, refusals) for i, t in enumerate(graph.tables(3, "operators")))
        inputs = _indices(graph.numbers(1, "<i4", "subgraph inputs"), len(tensors), "subgraph inputs")
        outputs = _indices(graph.numbers(2, "<i4", "subgraph outputs"), len(tensors), "subgraph outputs")
        models.append(TfliteModel(name=name, tensors=tensors, operators=operators, inputs=inputs, outputs=outputs))
        if not refusals.found:
            _check_order(models[-1])
    return models


def _operator_code(table: Table) -> tuple[str, int]:
    """The operator's name and version. Its code stands in builtin_code (slot 3), in deprecated_builtin_code (slot 0,
    one byte, 127 for all that do not fit), or in both: the greater of them counts."""
    code = max(table.number(3, "<i4", 0), table.number(0, "<i1", 0))
    if code not in _BUILTINS or code < 0:
        raise ModelError(f"operator code {code} is unknown to the TensorFlow Lite schema.")
    name = _BUILTINS[code]
    if name == "CUSTOM":
        name = f"CUSTOM {table.text(1, 'custom operator code')!r}"
    return name, table.number(2, "<i4", 1)


def _indices(values: Array | None, count: int, what: str, optional: bool = False) -> tuple[int, ...]:
    indices = tuple(int(v) for v in values) if values is not None else ()
    for i in indices:
        if not (0 <= i < count or (optional and i == -1)):
            raise ModelError(f"{what} name tensor {i}; the model has {count} tensors.")
    return indices


def _operator(
    index: int, table: Table, codes: Sequence[tuple[str, int]], tensors: Sequence[TfliteTensor], refusals: Refusals
) -> Operator:
    what = f"operator {index}"
    view = table.view(schema.Operator)
    if view.OpcodeIndex() >= len(codes):
        raise ModelError(f"{what} uses operator code {view.OpcodeIndex()}; the model has {len(codes)}.")
    name, version = codes[view.OpcodeIndex()]
    inputs = _indices(table.numbers(1, "<i4", f"{what} inputs"), len(tensors), f"{what} ({name}) inputs", True)
    outputs = _indices(table.numbers(2, "<i4", f"{what} outputs"), len(tensors), f"{what} ({name}) outputs")
    if not outputs and name not in WITHOUT_RESULT and not name.startswith("CUSTOM"):
        raise ModelError(f"{what} ({name}) has no outputs.")
    layer = tensors[outputs[0]].name if outputs else what
    intermediates = table.numbers(8, "<i4", f"{what} intermediates")
    if intermediates is not None and len(intermediates):
        reason = f"{what} ({name}) keeps intermediate tensors, as only recurrent operators do"
        refusals.add("operator", index, UnsupportedError(reason))
    options: dict[str, Number] = {}
    lists: dict[str, tuple[int, ...]] = {}
    if name in OPERATORS:
        try:
            options, lists = read_options(table, OPERATORS[name], f"{what} ({name})", layer)
        except UnsupportedError as error:
            refusals.add("operator", index, error)
    return Operator(
        index=index, name=name, version=version, inputs=inputs, outputs=outputs, options=options, lists=lists
    )


def _tensor(index: int, table: Table, buffers: list[Table], refusals: Refusals) -> TfliteTensor:
    what = f"tensor {index}"
    view = table.view(schema.Tensor)
    name = table.text(3, f"the name of {what}") or f"tensor_{index}"
    what = f"tensor {name!r}"

    def refuse(reason: str, way_out: str | None = None) -> None:
        refusals.add("tensor", index, UnsupportedError(f"{what} {reason}", way_out=way_out))

    if view.Type() not in _TYPES:
        raise ModelError(f"{what} has type {view.Type()}, which the TensorFlow Lite schema does not know.")
    kind = _TYPES[view.Type()]
    shape = _shape(table, what, refuse)
    if view.IsVariable():
        refuse("is a variable, so the model keeps state between inferences", "convert a stateless model")
    sparse = table.table(6, f"the sparsity of {what}") is not None
    if sparse:
        refuse("is stored sparse", "convert without sparsity")
    if view.Buffer() >= len(buffers):
        raise ModelError(f"{what} uses buffer {view.Buffer()}; the model has {len(buffers)}.")
    data = None if sparse else _data(buffers[view.Buffer()], kind, shape, what, refuse)
    return TfliteTensor(
        index=index,
        name=name,
        shape=shape,
        type=kind,
        quantization=_quantization(table, kind, shape, data is not None, what, refuse),
        data=data,
    )


def _shape(table: Table, what: str, refuse: Refuse) -> tuple[int, ...]:
    stored = table.numbers(0, "<i4", f"the shape of {what}")
    shape = tuple(int(n) for n in stored) if stored is not None else ()
    signature = table.numbers(7, "<i4", f"the shape signature of {what}")
    if len(shape) > MAX_RANK:
        refuse(f"has {len(shape)} dimensions; qsim takes up to {MAX_RANK}")
    if signature is not None and len(signature):
        _check_signature(signature.tolist(), shape, refuse)
    if any(n < 0 for n in shape):
        raise ModelError(f"{what} has the negative dimension in shape {shape}.")
    if math.prod(shape) > MAX_ELEMENTS:
        refuse(f"of shape {shape} has more than {MAX_ELEMENTS} elements")
    return shape


def _check_signature(signature: list[int], shape: tuple[int, ...], refuse: Refuse) -> None:
    """Refuse a shape that the converter left open. The engines run the stored shape whatever the signature says, so
    only a dimension that is open there and 1 in the shape, where none was ever given, hides what the model is for."""
    if len(signature) != len(shape):
        return
    if any(s == -1 and n == 1 for s, n in zip(signature[1:], shape[1:], strict=True)):
        refuse(
            f"has the dynamic shape {signature}; only the batch may be open",
            "convert with a fixed input shape (tf.keras.Input(shape=...), batch 1)",
        )


def _data(buffer: Table, kind: str, shape: tuple[int, ...], what: str, refuse: Refuse) -> Array | None:
    view = buffer.view(schema.Buffer)
    if view.Offset() > 1 or view.Size() > 1:
        refuse("is stored outside the flatbuffer", "use a model below 2 GB")
        return None
    raw = buffer.numbers(0, "<u1", f"the data of {what}")
    if raw is None or not len(raw):
        return None
    if kind not in _ITEM_DTYPES:
        refuse(f"is a constant of type {kind}", "use int8 or int16 quantization")
        return None
    dtype = np.dtype(_ITEM_DTYPES[kind])
    expected = math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise ModelError(f"{what}: {kind} of shape {shape} takes {expected} bytes, its buffer holds {len(raw)}.")
    values = np.frombuffer(raw.tobytes(), dtype=dtype)
    if kind in INTEGER_FORMATS or kind == "BOOL":
        return values.astype(np.int64).reshape(shape)
    if not np.isfinite(values).all():
        raise ModelError(f"{what} holds NaN or infinity.")
    return values.astype(np.float32).reshape(shape)


def _quantization(
    table: Table, kind: str, shape: tuple[int, ...], constant: bool, what: str, refuse: Refuse
) -> TfliteQuantization | None:
    stored = table.table(4, f"the quantization of {what}")
    if stored is None:
        return None
    view = stored.view(schema.QuantizationParameters)
    if view.DetailsType():
        refuse("uses custom or block-wise quantization details")
        return None
    scales = stored.numbers(2, "<f4", f"the scales of {what}")
    zeros = stored.numbers(3, "<i8", f"the zero points of {what}")
    count = len(scales) if scales is not None else 0
    zero_count = len(zeros) if zeros is not None else 0
    if not count and not zero_count:
        return None
    if kind in ("INT2", "INT4", "UINT4"):
        return None  # no operator takes the type, whatever its scales
    if kind not in INTEGER_FORMATS:
        return None  # the engines ignore what the converter left there
    if scales is None or zeros is None or count != zero_count:
        raise ModelError(f"{what} has {count} scales and {zero_count} zero points.")
    axis = int(view.QuantizedDimension())
    if count > 1:
        # Biases of some trained models name the weights' axis (3) though they have one; there is only one to mean.
        axis = 0 if len(shape) == 1 else axis
        if not 0 <= axis < len(shape) or shape[axis] != count:
            raise ModelError(f"{what}: {count} scales along dimension {axis} do not fit shape {shape}.")
    # A channel of weights that are all zero may have the scale 0: its multiplier is 0.
    least_allowed = 0.0 if constant else np.finfo(np.float32).smallest_subnormal
    if not (np.isfinite(scales).all() and (scales >= least_allowed).all()):
        raise ModelError(f"{what} has a scale that is not a positive number.")
    fmt = INTEGER_FORMATS[kind]
    if not fmt.holds(int(zeros.min()), int(zeros.max())):
        raise ModelError(f"{what} has the zero point {int(zeros.min())} outside {kind}.")
    return TfliteQuantization(scales=scales.astype(np.float32), zero_points=zeros.astype(np.int64), axis=axis)


def _check_order(model: TfliteModel) -> None:
    """Raise ModelError unless every tensor is made once, before it is read."""

    def label(i: int) -> str:
        return f"tensor {model.tensors[i].name!r}"

    if not model.inputs or not model.outputs:
        raise ModelError(f"the model has no {'outputs' if model.inputs else 'inputs'}.")
    made: dict[int, str] = {}
    for i in model.inputs:
        if i in made:
            raise ModelError(f"{label(i)} is named twice among the model's inputs.")
        if model.tensors[i].data is not None:
            raise ModelError(f"{label(i)} is a model input and yet holds constant data.")
        made[i] = "the model's inputs"
    producers = {i: op for op in model.operators for i in op.outputs}
    for op in model.operators:
        for i in op.inputs:
            if i >= 0 and i not in made and model.tensors[i].data is None and model.tensors[i].size:
                reason = (
                    f"is made by operator {producers[i].index}, which comes later: the model holds a cycle or its "
                    "operators are out of order"
                    if i in producers
                    else "is neither a constant nor made by any operator"
                )
                raise ModelError(f"operator {op.index} ({op.name}) reads {label(i)}, which {reason}.")
        for i in op.outputs:
            if i in made:
                raise ModelError(f"operator {op.index} ({op.name}) writes {label(i)}, already made by {made[i]}.")
            if model.tensors[i].data is not None:
                raise ModelError(f"operator {op.index} ({op.name}) writes {label(i)}, which holds constant data.")
            if not model.tensors[i].size:
                raise ModelError(f"operator {op.index} ({op.name}) writes {label(i)}, which is empty.")
            made[i] = f"operator {op.index}"
    for i in model.outputs:
        if i not in made:
            raise ModelError(f"{label(i)} is a model output that no operator makes.")
