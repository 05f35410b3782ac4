"""Which operators LiteRT gives to XNNPACK; the others run on its optimised built-in kernels.

Source: the conditions of LiteRT's XNNPACK delegate, and runs of the interpreter on single operators on both sides of
each of them (tests/importers/tflite/test_tflite_ops.py). Operators that only move codes are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qsim.importers.tflite.model import Operator, TfliteModel, TfliteTensor

Tensors = list[TfliteTensor]
Taken = Callable[[Operator, Tensors, TfliteTensor], bool]
"""(operator, inputs, output) -> whether the delegate takes it."""


def _ratio(numerator: TfliteTensor, denominator: TfliteTensor) -> np.float32:
    return np.float32(numerator.scale / denominator.scale)


def sums(op: Operator, x: Tensors, y: TfliteTensor) -> bool:
    return all(2.0**-10 <= _ratio(t, y) < 2.0**8 for t in x)


def mul(op: Operator, x: Tensors, y: TfliteTensor) -> bool:
    return bool(2.0**-16 <= np.float32(np.float32(x[0].scale * x[1].scale) / y.scale) < 2.0**8)


def convert(op: Operator, x: Tensors, y: TfliteTensor) -> bool:
    return bool(x[0].type == y.type and 2.0**-8 <= _ratio(x[0], y) <= 2.0**7)


def leaky_relu(op: Operator, x: Tensors, y: TfliteTensor) -> bool:
    alpha = np.float32(op.options["Alpha"])
    if not abs(alpha) >= np.finfo(np.float32).tiny:
        return False
    below = np.float32(_ratio(x[0], y) * alpha)
    return bool(convert(op, x, y) and abs(below) >= 2.0**-8 and -127.99609375 <= below <= 128)


def transpose_conv(op: Operator, x: Tensors, y: TfliteTensor) -> bool:
    same = int(op.options["Padding"]) == 0
    _, kh, kw, _ = x[1].shape
    return not (same and (kh < int(op.options["StrideH"]) or kw < int(op.options["StrideW"])))


def with_bias(op: Operator, x: Tensors, y: TfliteTensor) -> bool:
    return len(x) < 3 or x[2].quantization is not None


def batch_matmul(op: Operator, x: Tensors, y: TfliteTensor) -> bool:
    return x[1].zero_point == 0


def always(op: Operator, x: Tensors, y: TfliteTensor) -> bool:
    return True


def _defined(t: TfliteTensor) -> bool:
    """Whether the delegate has a type for the tensor: scales are normal numbers, activations name dimension 0,
    and 32-bit numbers that too and no zero point."""
    q = t.quantization
    if q is None:
        return True
    if not (q.scales >= np.finfo(np.float32).tiny).all() or (t.data is None and q.axis != 0):
        return False
    return t.type != "INT32" or not (q.zero_points.any() or q.axis)


def taken(model: TfliteModel, op: Operator, rule: Taken | None) -> bool:
    """Whether XNNPACK's own arithmetic computes the operator, whose record has ``rule``."""
    x, y = [model.tensors[i] for i in op.inputs if i >= 0], model.tensors[op.outputs[0]]
    if rule is None or any(t.quantization is None for t in (*x, y) if t.type == "INT8"):
        return False
    if not all(_defined(t) for t in (*x, y)):
        return False
    try:
        bytes_too = op.name == "QUANTIZE" and y.type == "UINT8"
        return (y.type == "INT8" or bytes_too) and rule(op, x, y)
    except (IndexError, ValueError, AssertionError, KeyError):
        return False  # a damaged operator: its lowering says what is wrong with it
