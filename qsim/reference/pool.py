"""Reference kernels of windows and reductions."""

from __future__ import annotations

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.reference.windows import pad2d, windows


def _sum_pool(op: o.SumPool2D, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    view = windows(pad2d(inputs[0], op.padding), op.pool, op.strides, (1, 1))
    return np.asarray(view.sum(axis=(3, 4)))


def _max_pool(op: o.MaxPool2D, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    padded = pad2d(inputs[0], op.padding, np.iinfo(np.int64).min)
    return np.asarray(windows(padded, op.pool, op.strides, (1, 1)).max(axis=(3, 4)))


def _reduce(op: o.Reduce, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    axes = tuple(a + 1 for a in op.axes)
    function: np.ufunc = {"sum": np.add, "max": np.maximum, "min": np.minimum}[op.kind]
    return np.asarray(function.reduce(inputs[0], axis=axes)).reshape(-1, *out.shape)


KERNELS = dict(
    (
        o.entry(o.SumPool2D, _sum_pool),
        o.entry(o.MaxPool2D, _max_pool),
        o.entry(o.Reduce, _reduce),
    )
)
