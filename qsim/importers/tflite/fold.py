"""Integer operators on constants, worked out at import: the shape arithmetic that Keras' Reshape leaves in a file
(SHAPE, STRIDED_SLICE, PACK, ...). All shapes are fixed here, so SHAPE is a constant too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from qsim.errors import ModelError
from qsim.importers.tflite.lower.shape import take_strided
from qsim.importers.tflite.model import Operator, TfliteModel, TfliteTensor
from qsim.numerics import Array

_INDEX_TYPES = ("INT32", "INT64")


def fold_constants(model: TfliteModel) -> TfliteModel:
    """The model without operators on unquantized integer constants; their results are constants now.

    Raises ModelError where such an operator does not fit its inputs.
    """
    tensors = list(model.tensors)
    kept: list[Operator] = []
    for op in model.operators:
        inputs = [tensors[i] for i in op.inputs if i >= 0]
        value = _evaluate(op, inputs, tensors[op.outputs[0]]) if op.outputs else None
        if value is None or op.outputs[0] in model.outputs:
            kept.append(op)
            continue
        out = tensors[op.outputs[0]]
        if value.shape != out.shape:
            raise ModelError(
                f"operator {op.index} ({op.name}) makes {out.name!r} of shape {value.shape}, the file says {out.shape}."
            )
        tensors[out.index] = dataclasses.replace(out, data=value.astype(np.int64))
    if len(kept) == len(model.operators):
        return model
    return dataclasses.replace(model, tensors=tuple(tensors), operators=tuple(kept))


def without_dead(model: TfliteModel) -> tuple[TfliteModel, list[str]]:
    """The model without operators whose results reach no output, and a sentence on each. Operators without a result
    stay: what they do, they do to the model's state."""
    wanted, kept, sentences = set(model.outputs), [], []
    for op in reversed(model.operators):
        if op.outputs and not wanted.intersection(op.outputs):
            name = model.tensors[op.outputs[0]].name
            sentences.append(f"Layer {name!r} ({op.name}) reaches no output of the model and is left out.")
            continue
        kept.append(op)
        wanted.update(op.inputs)
    if not sentences:
        return model, []
    return dataclasses.replace(model, operators=tuple(reversed(kept))), sentences[::-1]


def _evaluate(op: Operator, inputs: list[TfliteTensor], out: TfliteTensor) -> Array | None:
    """The operator's result if it is one of index arithmetic on constants; else None."""
    if op.name == "SHAPE":
        return np.array(inputs[0].shape, dtype=np.int64) if len(inputs) == 1 else None
    rule = _RULES.get(op.name)
    plain = all(t.data is not None and t.type in _INDEX_TYPES and t.quantization is None for t in inputs)
    if (
        rule is None
        or not inputs
        or not plain
        or op.options.get("FusedActivationFunction")
        or out.type not in _INDEX_TYPES
        or len(op.outputs) != 1
    ):
        return None
    try:
        return rule(op, [t.data for t in inputs if t.data is not None])
    except (ValueError, IndexError, TypeError) as error:
        raise ModelError(f"operator {op.index} ({op.name}) does not fit its constant inputs: {error}.") from error


def _strided_slice(op: Operator, x: list[Array]) -> Array | None:
    if op.options["EllipsisMask"] or op.options["NewAxisMask"] or op.options["Offset"]:
        return None
    begin, end, strides = ([int(v) for v in a.reshape(-1)] for a in x[1:4])
    if 0 in strides:
        raise ValueError("stride 0")
    return take_strided(x[0], begin, end, strides, op.options, f"operator {op.index} ({op.name})")


def _int32(x: Array) -> Array:
    if np.abs(x).max(initial=0) > (1 << 31) - 1:
        raise ValueError("a result beyond 32 bits")
    return x


_RULES: dict[str, Callable[[Operator, list[Array]], Array | None]] = {
    "STRIDED_SLICE": _strided_slice,
    "PACK": lambda op, x: np.stack(x, axis=int(op.options["Axis"])),
    "CONCATENATION": lambda op, x: np.concatenate(x, axis=int(op.options["Axis"])),
    "GATHER": lambda op, x: np.take(x[0], x[1], axis=int(op.options["Axis"])) if not op.options["BatchDims"] else None,
    "MUL": lambda op, x: _int32(x[0] * x[1]),
    "ADD": lambda op, x: _int32(x[0] + x[1]),
    "SUB": lambda op, x: _int32(x[0] - x[1]),
    "RESHAPE": lambda op, x: x[0].reshape([int(n) for n in x[1]]) if len(x) == 2 else None,
}
