"""ONNX models in float64: onnx's own reference evaluator with every float constant as a double, QONNX's operators by
qonnx's own functions, quantized constants as float32 (as every executor has them), and every tensor kept.

It is what tells a real difference from float32's rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

QONNX_KINDS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold", "QuantAvgPool2d")
ONE_DOMAIN = "qonnx.test"


def _quant_ops() -> list[type[OpRun]]:
    from qonnx.custom_op.general.bipolar_quant import binary_quant
    from qonnx.custom_op.general.intquant import int_quant
    from qonnx.custom_op.general.multithreshold import multithreshold
    from qonnx.custom_op.general.trunc import trunc_v1, trunc_v2

    class Quant(OpRun):
        op_domain = ONE_DOMAIN

        def _run(self, x: Any, scale: Any, zero: Any, bits: Any, narrow=1, rounding_mode="ROUND", signed=1) -> Any:
            return (np.asarray(int_quant(x, scale, zero, bits, signed, narrow, rounding_mode)),)

    class IntQuant(Quant):
        pass

    class BipolarQuant(OpRun):
        op_domain = ONE_DOMAIN

        def _run(self, x: Any, scale: Any) -> Any:
            return (np.asarray(binary_quant(x, scale)),)

    class Trunc(OpRun):
        op_domain = ONE_DOMAIN

        def _run(self, x: Any, *rest: Any, narrow=0, rounding_mode="FLOOR", signed=1) -> Any:
            if len(rest) == 4:
                return (np.asarray(trunc_v1(x, *rest, rounding_mode)),)
            scale, zero, bits, out_scale, out_bits = rest
            return (np.asarray(trunc_v2(x, scale, zero, bits, narrow, signed, out_scale, out_bits, rounding_mode)),)

    class MultiThreshold(OpRun):
        op_domain = ONE_DOMAIN

        def _run(self, x: Any, t: Any, data_layout="", out_bias=0.0, out_dtype="", out_scale=1.0) -> Any:
            layout = data_layout or {2: "NC", 3: "NWC", 4: "NCHW"}[x.ndim]
            at = layout.index("C")
            moved = multithreshold(x.swapaxes(at, 1), t, out_scale, out_bias).swapaxes(at, 1)
            return (moved.astype(x.dtype),)

    class QuantAvgPool2d(OpRun):
        op_domain = ONE_DOMAIN

        def _run(self, x: Any, data_layout="NCHW", ibits=1, kernel=1, obits=1, signed=0, stride=1) -> Any:
            x = x.transpose(0, 3, 1, 2) if data_layout == "NHWC" else x
            view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
            shift = max((kernel * kernel * (2**ibits - 1)).bit_length() - obits, 0)
            y = np.right_shift(view.sum(axis=(-1, -2)).astype(np.int64), shift).astype(x.dtype)
            return (y.transpose(0, 2, 3, 1) if data_layout == "NHWC" else y,)

    return [Quant, IntQuant, BipolarQuant, Trunc, MultiThreshold, QuantAvgPool2d]


class BatchNormalization(OpRun):
    """At inference, whatever the opset: onnx's own takes a momentum for a sign of training."""

    op_domain = ""

    def _run(self, x: Any, scale: Any, bias: Any, mean: Any, var: Any, epsilon=1e-5, momentum=0.9, **_: Any) -> Any:
        shape = (-1, *(1,) * (x.ndim - 2))
        s, b, m, v = (p.reshape(shape) for p in (scale, bias, mean, var))
        return (s * (x - m) / np.sqrt(v + epsilon) + b,)


def _along(parameter: np.ndarray, rank: int, axis: int) -> np.ndarray:
    return parameter if parameter.ndim == 0 else parameter.reshape([-1 if a == axis % rank else 1 for a in range(rank)])


class QuantizeLinear(OpRun):
    """By the standard's text, in the input's own precision."""

    op_domain = ""

    def _run(self, x: Any, scale: Any, zero: Any = None, axis=1, **_: Any) -> Any:
        zero = np.uint8(0) if zero is None else zero
        limits = np.iinfo(zero.dtype)
        s, z = (_along(np.asarray(p), x.ndim, axis) for p in (scale, zero))
        y = np.rint(x / s.astype(x.dtype)) + z.astype(np.float64)
        return (np.clip(y, limits.min, limits.max).astype(zero.dtype),)


class DequantizeLinear(OpRun):
    """(q - zero) * scale in the scale's precision."""

    op_domain = ""

    def _run(self, x: Any, scale: Any, zero: Any = None, axis=1, **_: Any) -> Any:
        s, z = (_along(np.asarray(p), x.ndim, axis) for p in (scale, np.int64(0) if zero is None else zero))
        return ((x.astype(np.int64) - z.astype(np.int64)).astype(scale.dtype) * s,)


STANDARD = [BatchNormalization, QuantizeLinear, DequantizeLinear]


def _renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with QONNX's operators in one domain, and every node named as qsim names it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.op_type in QONNX_KINDS:
            node.domain = ONE_DOMAIN
    del copy.opset_import[:]
    versions = {o.domain: o.version for o in model.opset_import}
    copy.opset_import.extend([helper.make_opsetid("", versions.get("", 13)), helper.make_opsetid(ONE_DOMAIN, 1)])
    return copy


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _folded(node: onnx.NodeProto, run: OpRun, values: list[np.ndarray | None]) -> list[np.ndarray]:
    """A node on constants: in float64, but a quantizer's codes as float32 has them, times the exact scale."""
    if node.op_type in ("Quant", "IntQuant", "BipolarQuant"):
        narrow = [None if v is None else v.astype(np.float32) if v.dtype == np.float64 else v for v in values]
        found, scale = run.run(*narrow)[0], narrow[1]
        return [np.rint(found / scale).astype(np.float64) * scale.astype(np.float64)]
    return [np.asarray(v) for v in run.run(*values)]


def _doubled(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with every float tensor as a double, and what is computed from constants alone done."""
    made = ReferenceEvaluator(model, new_ops=[*STANDARD, *_quant_ops()])
    constants = {i.name: _wide(numpy_helper.to_array(i)) for i in model.graph.initializer}
    kept = []
    for node, run in zip(model.graph.node, made.rt_nodes_, strict=True):
        if all(not name or name in constants for name in node.input):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values = _folded(node, run, [constants[name] if name else None for name in node.input])
            constants.update(zip(node.output, map(_wide, values), strict=False))
        else:
            kept.append(node)
    double = onnx.ModelProto()
    double.CopyFrom(model)
    del double.graph.node[:], double.graph.initializer[:]
    double.graph.node.extend(kept)
    read = {name for node in kept for name in node.input}
    for name, array in constants.items():
        if name in read:
            double.graph.initializer.append(numpy_helper.from_array(np.array(array), name))
    for node in double.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    return double


def trace(path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor's values in float64, by the file's tensor names; inputs with the batch in front."""
    model = _doubled(_renamed(onnx.load(str(path))))
    evaluator = ReferenceEvaluator(model, new_ops=[*STANDARD, *_quant_ops()])
    first = next(iter(inputs.values()))
    (end,) = (i for i in model.graph.input if i.name == next(iter(inputs)))
    batch = end.type.tensor_type.shape.dim[0].dim_value or 1
    rows: dict[str, list[np.ndarray]] = {}
    for start in range(0, first.shape[0], batch):
        feeds = {name: np.asarray(a[start : start + batch], dtype=np.float64) for name, a in inputs.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = evaluator.run(None, feeds, intermediate=True)
        for name, value in found.items():
            rows.setdefault(name, []).append(np.asarray(value))
    return {n: np.concatenate(r) for n, r in rows.items() if all(v.ndim and v.shape[0] == batch for v in r)}
