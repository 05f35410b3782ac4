"""BATCH_MATMUL: products of two tensors' matrices, then one rescale."""

from __future__ import annotations

import math

import numpy as np

from qsim.errors import ModelError
from qsim.importers.tflite import xnnpack
from qsim.importers.tflite.lower.context import INT32, UNIT, Lowering, graph_shape
from qsim.importers.tflite.lower.linear import ACTIVATIONS, FLOAT_INPUTS, INT64
from qsim.importers.tflite.lower.record import Record
from qsim.importers.tflite.lower.rescales import make_rescale, wide_rescale
from qsim.importers.tflite.model import INTEGER_FORMATS, Operator
from qsim.ir import ops as o
from qsim.numerics import IntArray


def batch_matmul(low: Lowering, op: Operator) -> None:
    """acc = (a - za) @ (b - zb) over equal or broadcast leading dimensions, either matrix optionally transposed."""
    a, b, y = low.tensor(op, 0), low.tensor(op, 1), low.output(op)
    low.activations(op, [a, b, y], ACTIVATIONS)
    if min(len(a.shape), len(b.shape)) < 2:
        raise ModelError(f"{low.where(op)}: {a.shape} and {b.shape} are not matrices.")
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    names = [
        _matrix(low, op, position, lead, bool(op.options[flag]), suffix)
        for position, flag, suffix in ((0, "AdjX", "a"), (1, "AdjY", "b"))
    ]
    acc = low.step(
        o.MatMul(inputs=tuple(names), **low.at(op, "acc"), zero_points=(a.zero_point, b.zero_point)), quantization=UNIT
    )
    low.accumulator(op, acc, INT64 if a.type == "INT16" else INT32)
    full = low.builder.tensor(acc).shape
    if math.prod(full) != y.size or full[-2:] != y.shape[-2:]:
        raise low.wrong_shape(op, full)
    product = float(a.scale) * float(b.scale) if low.profile.double_factors else float(np.float32(a.scale * b.scale))
    factor = product / float(y.scale)
    rescale = wide_rescale([factor]) if a.type == "INT16" else make_rescale(low.profile.elementwise, [factor])
    fmt = INTEGER_FORMATS[y.type]
    source = low.reshaped(op, acc, graph_shape(y.shape), "acc_shape")
    low.requantize(op, source, rescale, (fmt.low, fmt.high))


def _matrix(low: Lowering, op: Operator, position: int, lead: tuple[int, ...], adjoint: bool, suffix: str) -> str:
    """One operand as a tensor of shape (lead, rows, columns): transposed and repeated where needed."""
    tensor = low.tensor(op, position)
    name = low.value(op, position)
    index = np.arange(tensor.size).reshape(tensor.shape)
    moved = np.broadcast_to(index.swapaxes(-1, -2) if adjoint else index, (*lead, *_ends(tensor.shape, adjoint)))
    shape = moved.shape[1:] if moved.ndim > 2 and moved.shape[0] == 1 else moved.shape
    if np.array_equal(moved.reshape(-1), np.arange(tensor.size)):
        return low.reshaped(op, name, shape, f"{suffix}_shape")
    quantization = low.quantization(tensor)
    return low.step(
        o.Gather(inputs=(name,), **low.at(op, f"{suffix}_moved"), index=IntArray(moved.reshape(shape))),
        quantization=quantization,
    )


def _ends(shape: tuple[int, ...], adjoint: bool) -> tuple[int, int]:
    return (shape[-1], shape[-2]) if adjoint else (shape[-2], shape[-1])


RECORDS: dict[str, Record] = {
    "BATCH_MATMUL": Record(
        lower=batch_matmul,
        options="BatchMatMulOptions",
        reads=("AdjX", "AdjY"),
        idle=FLOAT_INPUTS,
        xnnpack=xnnpack.batch_matmul,
    ),
}
