"""Reference kernels: one function per op, int64 arrays (N, *shape) in and out, following the op's docstring.

``analysis`` evaluates the elementwise ones on interval ends, so each is written for any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntFormat, Overflow, divide_rounded, overflow, rescale
from qsim.reference.linear import conv2d, conv2d_transpose, matmul, pad2d, windows
from qsim.reference.softmax import softmax

Kernel = Callable[[Any, list[Array], list[Tensor], Tensor], Array]
"""(op, input codes, input tensors, output tensor) -> output codes."""


def magnitude(tensor: Tensor, zero_point: int = 0) -> int:
    """A bound of |x - zero_point| over the tensor's proven range."""
    low, high = tensor.range
    return max(abs(low - zero_point), abs(high - zero_point))


def _constant(op: o.Constant, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    return op.values.values[None]


def _finish(acc: Array, bias: Any, product_shift: int) -> Array:
    if product_shift:
        acc = acc << product_shift
    return acc if bias is None else acc + bias.values


def _conv2d(op: o.Conv2D, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    x = inputs[0] - op.input_zero_point if op.input_zero_point else inputs[0]
    acc = conv2d(
        x,
        op.weights.values,
        strides=op.strides,
        dilation=op.dilation,
        padding=op.padding,
        groups=op.groups,
        x_magnitude=magnitude(tensors[0], op.input_zero_point),
    )
    return _finish(acc, op.bias, op.product_shift)


def _conv_transpose(op: o.ConvTranspose2D, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    acc = conv2d_transpose(
        inputs[0] - op.input_zero_point,
        op.weights.values,
        strides=op.strides,
        padding=op.padding,
        output_size=op.output_size,
        x_magnitude=magnitude(tensors[0], op.input_zero_point),
    )
    return _finish(acc, op.bias, op.product_shift)


def _dense(op: o.Dense, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    x = inputs[0] - op.input_zero_point if op.input_zero_point else inputs[0]
    weights = op.weights.values
    as_kernel = weights.reshape(1, 1, *weights.shape)
    flat = x.reshape(1, 1, -1, x.shape[-1])  # every leading position is one column of a 1x1 convolution
    acc = conv2d(
        flat,
        as_kernel,
        strides=(1, 1),
        dilation=(1, 1),
        padding=o.NO_PADDING,
        groups=1,
        x_magnitude=magnitude(tensors[0], op.input_zero_point),
    )
    return _finish(acc.reshape(*x.shape[:-1], -1), op.bias, op.product_shift)


def _matmul(op: o.MatMul, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    za, zb = op.zero_points
    bound = magnitude(tensors[0], za) * magnitude(tensors[1], zb) * tensors[0].shape[-1]
    return matmul(inputs[0] - za, inputs[1] - zb, max(bound, magnitude(tensors[0], za), magnitude(tensors[1], zb)))


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


def _sum_pool(op: o.SumPool2D, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    view = windows(pad2d(inputs[0], op.padding), op.pool, op.strides, (1, 1))
    return np.asarray(view.sum(axis=(3, 4)))


def _max_pool(op: o.MaxPool2D, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    padded = pad2d(inputs[0], op.padding, np.iinfo(np.int64).min)
    return np.asarray(windows(padded, op.pool, op.strides, (1, 1)).max(axis=(3, 4)))


def _reduce(op: o.Reduce, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    axes = tuple(a + 1 for a in op.axes)
    function: Any = {"sum": np.sum, "max": np.max, "min": np.min}[op.kind]
    return np.asarray(function(inputs[0], axis=axes)).reshape(-1, *out.shape)


def saturate(x: Array, mode: Overflow, low: int, high: int, fmt: IntFormat) -> Array:
    """A Requantize's last step: see ops.Requantize."""
    match mode:
        case Overflow.SAT | Overflow.SAT_SYM:
            return np.asarray(np.clip(x, low, high))
        case Overflow.SAT_ZERO:
            return np.where((x < low) | (x > high), np.zeros_like(x), x)
        case _:
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


def _softmax(op: o.Softmax, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    return softmax(inputs[0], op, out.format)


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


def _argmax(op: o.ArgMax, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    return np.argmax(inputs[0], axis=op.axis + 1).astype(np.int64).reshape(-1, *out.shape)


KERNELS: dict[type[o.Op], Kernel] = {
    o.Constant: _constant,
    o.Conv2D: _conv2d,
    o.ConvTranspose2D: _conv_transpose,
    o.Dense: _dense,
    o.MatMul: _matmul,
    o.Add: _add,
    o.Mul: _mul,
    o.Extremum: _extremum,
    o.Concat: _concat,
    o.SumPool2D: _sum_pool,
    o.MaxPool2D: _max_pool,
    o.Reduce: _reduce,
    o.Requantize: _requantize,
    o.Divide: _divide,
    o.Threshold: _threshold,
    o.Lookup: _lookup,
    o.Softmax: _softmax,
    o.Reshape: _reshape,
    o.Transpose: _transpose,
    o.Pad: _pad,
    o.Slice: _slice,
    o.Gather: _gather,
    o.ArgMax: _argmax,
}
o.check_registry(dict(KERNELS), "reference.kernels")
