"""Integer operators on constants, worked out at import: the shape arithmetic that Keras' Reshape leaves in a file
(SHAPE, STRIDED_SLICE, PACK, ...). All shapes are fixed here, so SHAPE is a constant too."""

from __future__ import annotations

import dataclasses

import numpy as np

from qsim.errors import ModelError
from qsim.importers.tflite.model import Operator, TfliteModel, TfliteTensor
from qsim.importers.tflite.operators import OPERATORS
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
    record = OPERATORS.get(op.name)
    rule = record.fold if record else None
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
