"""Reference kernels of the operations on several tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array


def aligned(inputs: Sequence[Array], ndim: int) -> list[Array]:
    """(N, *shape) arrays with ones inserted after the batch, so that shapes broadcast as without the batch."""
    return [x.reshape(x.shape[0], *(1,) * (ndim + 1 - x.ndim), *x.shape[1:]) for x in inputs]


def _add(op: o.Add, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    total: Array = np.zeros((1,) * (len(out.shape) + 1), dtype=np.int64)
    for x, shift, sign, zero in zip(aligned(inputs, len(out.shape)), op.shifts, op.signs, op.zero_points, strict=True):
        total = total + sign * ((x - zero) << shift)
    return total


def _mul(op: o.Mul, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    a, b = aligned(inputs, len(out.shape))
    return (a - op.zero_points[0]) * (b - op.zero_points[1])


def _extremum(op: o.Extremum, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    pick = np.maximum if op.kind == "max" else np.minimum
    terms = [x << s for x, s in zip(aligned(inputs, len(out.shape)), op.shifts, strict=True)]
    result = terms[0]
    for term in terms[1:]:
        result = pick(result, term)
    return result


def _concat(op: o.Concat, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    batch = max(x.shape[0] for x in inputs)
    return np.concatenate([np.broadcast_to(x, (batch, *x.shape[1:])) for x in inputs], axis=op.axis + 1)


KERNELS = dict(
    (
        o.entry(o.Add, _add),
        o.entry(o.Mul, _mul),
        o.entry(o.Extremum, _extremum),
        o.entry(o.Concat, _concat),
    )
)
