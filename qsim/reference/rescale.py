"""Reference kernels of the elementwise operations on one tensor."""

from __future__ import annotations

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntFormat, Overflow, divide_rounded, overflow, rescale


def saturate(x: Array, mode: Overflow, low: int, high: int, fmt: IntFormat) -> Array:
    """A Requantize's last step: see ops.Requantize."""
    match mode:
        case Overflow.SAT | Overflow.SAT_SYM:
            return np.asarray(np.clip(x, low, high))
        case Overflow.SAT_ZERO:
            return np.where((x < low) | (x > high), np.zeros_like(x), x)
        case Overflow.WRAP | Overflow.WRAP_SM:
            return overflow(x, fmt, mode)


def _requantize(op: o.Requantize, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    x = inputs[0] - op.input_zero_point if op.input_zero_point else inputs[0]
    y = rescale(x, op.rescale)
    if op.negative is not None:
        y = np.where(x < 0, rescale(x, op.negative), y)
    return saturate(y + op.zero_point, op.overflow, op.low, op.high, out.format)


def _divide(op: o.Divide, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    fraction = inputs[0] * op.numerator.values + op.addend.values
    quotient = divide_rounded(fraction, op.divisor.values, op.rounding)
    return np.asarray(np.minimum(np.maximum(quotient + op.zero_point, op.low), op.high))


def _threshold(op: o.Threshold, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    x = inputs[0]
    table = op.thresholds.values
    if table.shape[0] == 1:
        count = np.searchsorted(table[0], x.reshape(-1), side="right").reshape(x.shape)
    else:
        count = np.empty(x.shape, dtype=np.int64)
        for c in range(table.shape[0]):
            count[..., c] = np.searchsorted(table[c], x[..., c], side="right")
    return op.base.values + op.step.values * count


def _lookup(op: o.Lookup, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    index = inputs[0] - op.table_low
    table = op.table.values
    return table[0][index] if table.shape[0] == 1 else table[np.arange(table.shape[0]), index]


KERNELS = dict(
    (
        o.entry(o.Requantize, _requantize),
        o.entry(o.Divide, _divide),
        o.entry(o.Threshold, _threshold),
        o.entry(o.Lookup, _lookup),
    )
)
