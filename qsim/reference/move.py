"""Reference kernels of the operations that move codes."""

from __future__ import annotations

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array


def _constant(op: o.Constant, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    return op.values.values[None]


def _reshape(op: o.Reshape, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    return inputs[0].reshape(-1, *out.shape)


def _transpose(op: o.Transpose, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    return inputs[0].transpose(0, *(p + 1 for p in op.perm))


def _pad(op: o.Pad, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    return np.pad(inputs[0], ((0, 0), *op.pads), constant_values=op.value)


def _slice(op: o.Slice, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    indices = [b + s * np.arange(n) for b, s, n in zip(op.begin, op.strides, out.shape, strict=True)]
    return np.asarray(inputs[0][np.ix_(np.arange(inputs[0].shape[0]), *indices)])


def _gather(op: o.Gather, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    return np.asarray(inputs[0].reshape(inputs[0].shape[0], -1)[:, op.index.values])


KERNELS = dict(
    (
        o.entry(o.Constant, _constant),
        o.entry(o.Reshape, _reshape),
        o.entry(o.Transpose, _transpose),
        o.entry(o.Pad, _pad),
        o.entry(o.Slice, _slice),
        o.entry(o.Gather, _gather),
    )
)
