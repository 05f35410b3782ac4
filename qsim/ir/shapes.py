"""Output shapes of every op from its inputs' shapes, with the errors for shapes that do not fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsim.errors import GraphError
from qsim.ir import ops as o

Shape = tuple[int, ...]


def _windows(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]) -> int:
    return (size + sum(pads) - (kernel - 1) * dilation - 1) // stride + 1


def output_shape(op: o.Op, inputs: Sequence[Shape], declared: Shape | None = None) -> Shape:
    """The shape of ``op.output``, without batch. Reshape and Slice take it from ``declared``.

    Raises GraphError where the inputs do not fit the op.
    """
    try:
        shape = _shape(op, [tuple(s) for s in inputs], declared)
    except (ValueError, IndexError, TypeError) as error:
        raise GraphError(
            f"op {type(op).__name__} of layer {op.layer!r} does not fit its input shapes {list(inputs)}: {error}"
        ) from error
    if any(n < 1 for n in shape):
        raise GraphError(f"op {type(op).__name__} of layer {op.layer!r}: inputs {list(inputs)} give output {shape}")
    return shape


def _shape(op: o.Op, inputs: list[Shape], declared: Shape | None) -> Shape:
    match op:
        case o.Constant():
            return op.values.shape
        case o.Conv2D():
            h, w, c = inputs[0]
            kh, kw, group_in, out = op.weights.shape
            if group_in * op.groups != c or out % op.groups:
                raise ValueError(f"weights {op.weights.shape} in {op.groups} groups")
            return (
                _windows(h, kh, op.strides[0], op.dilation[0], op.padding[0]),
                _windows(w, kw, op.strides[1], op.dilation[1], op.padding[1]),
                out,
            )
        case o.ConvTranspose2D():
            _, _, c = inputs[0]
            if op.weights.shape[2] != c:
                raise ValueError(f"weights {op.weights.shape}")
            return (*op.output_size, op.weights.shape[3])
        case o.Dense():
            if inputs[0][-1] != op.weights.shape[0]:
                raise ValueError(f"weights {op.weights.shape}")
            return (*inputs[0][:-1], op.weights.shape[1])
        case o.MatMul():
            a, b = inputs
            if a[:-2] != b[:-2] or a[-1] != b[-2]:
                raise ValueError("inner or leading dimensions differ")
            return (*a[:-1], b[-1])
        case o.Add() | o.Mul() | o.Extremum():
            return tuple(np.broadcast_shapes(*inputs))
        case o.Concat():
            first = inputs[0]
            for other in inputs[1:]:
                if len(other) != len(first) or any(
                    a != b for i, (a, b) in enumerate(zip(first, other)) if i != op.axis
                ):
                    raise ValueError("other dimensions differ")
            return (*first[: op.axis], sum(s[op.axis] for s in inputs), *first[op.axis + 1 :])
        case o.SumPool2D() | o.MaxPool2D():
            h, w, c = inputs[0]
            return (
                _windows(h, op.pool[0], op.strides[0], 1, op.padding[0]),
                _windows(w, op.pool[1], op.strides[1], 1, op.padding[1]),
                c,
            )
        case o.Reduce():
            return tuple(
                1 if i in op.axes else n for i, n in enumerate(inputs[0]) if op.keepdims or i not in op.axes
            ) or (1,)
        case o.Requantize() | o.Divide() | o.Threshold() | o.Lookup() | o.Softmax():
            return inputs[0]
        case o.Reshape():
            if declared is None or np.prod(declared, dtype=int) != np.prod(inputs[0], dtype=int):
                raise ValueError(f"output {declared}")
            return declared
        case o.Slice():
            if declared is None or not len(declared) == len(inputs[0]) == len(op.begin) == len(op.strides):
                raise ValueError(f"output {declared}")
            for size, n, begin, stride in zip(inputs[0], declared, op.begin, op.strides):
                last = begin + (n - 1) * stride
                if not (0 <= begin < size and 0 <= last < size):
                    raise ValueError(f"elements {begin} to {last} of {size}")
            return declared
        case o.Transpose():
            return tuple(inputs[0][p] for p in op.perm)
        case o.Pad():
            return tuple(n + before + after for n, (before, after) in zip(inputs[0], op.pads, strict=True))
        case o.Gather():
            if op.index.low < 0 or op.index.high >= np.prod(inputs[0], dtype=int):
                raise ValueError("index out of range")
            return op.index.shape
        case o.ArgMax():
            return tuple(n for i, n in enumerate(inputs[0]) if i != op.axis) or (1,)
        case _:
            raise GraphError(f"no shape rule for op {type(op).__name__}")
