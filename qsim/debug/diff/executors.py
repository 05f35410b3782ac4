"""What ONNX's own executors give for a graph's tensors: ONNX Runtime, and qonnx for QONNX files."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from qsim.errors import ToolMissingError, UsageError
from qsim.importers.importer import ModelSource
from qsim.importers.onnx import lowered
from qsim.importers.onnx.view import View
from qsim.ir import Graph
from qsim.numerics import Array
from qsim.simulate import Simulator

EXECUTORS = ("onnxruntime", "qonnx")
EXACT_KERNELS = "session.x64quantprecision"
"""ONNX Runtime's option: on processors with AVX2 alone signed weights become unsigned ones, since the kernels for u8
and s8 saturate sums of two products at 16 bits there."""
MOST_CODES = 1 << 16
"""Of a tensor whose real values are codes in float32 too, up to a rounding far below one code."""


def executed(graph: Graph, inputs: Mapping[str, Array], executor: str, source: ModelSource) -> dict[str, Array]:
    """Graph tensor -> what the executor has in its place, for the same inputs: codes of integer tensors, else reals.

    ONNX Runtime runs without graph optimisation, or with it for the profile ``ort``; fused operators then show no inner
    tensors. It is told to take kernels whose sums do not saturate. Raises ToolMissingError where the executor is not
    installed, UsageError where it refuses the file.
    """
    onnx = _package("onnx")
    model = onnx.load(str(source.path))
    feeds = {name: real.astype(_dtype(model, name)) for name, real in Simulator(graph).reals(inputs).items()}
    run = _onnx_runtime if executor == "onnxruntime" else _qonnx
    found = run(model, feeds, graph.profile)
    _, views = lowered(source)
    ends = {entry.tensor for entry in graph.inputs}
    placed: dict[str, Array] = {}
    for name, view in views.items():
        tensor = view.value.tensor
        if name in found and tensor not in ends and (array := _placed(graph, view, found[name])) is not None:
            placed[tensor] = array
    return placed


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ToolMissingError(f"comparing with it needs {package}: pip install {package}") from error


def _dtype(model: Any, name: str) -> Any:
    onnx = _package("onnx")
    kinds = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
    return onnx.helper.tensor_dtype_to_np_dtype(kinds[name])


def _placed(graph: Graph, view: View, array: Array) -> Array | None:
    """The executor's array as the stored tensor has it; None where the tensor's codes mean something else by now."""
    value, tensor = view.value, graph[view.value.tensor]
    if not view.whole or value.boundary != "linear" or value.clamped or array.shape[1:] != view.shape:
        return None
    codes = array.dtype.kind in "iu"
    if codes and not (value.uniform and value.scale.item() == 1):
        return None
    low, high = tensor.range
    if not codes and high - low > MOST_CODES and not value.in_float32(low, high):
        return None  # an accumulator whose float32 sums are no codes
    if not codes:
        q = tensor.quantization
        scale, offset = (np.array([float(v) for v in p.reshape(-1)]) for p in (value.scale, value.offset))
        own = np.array([float(o) - q.zero_point * float(s) for s in q.scale for o in q.offset])
        if not np.array_equal(np.unique(scale), np.unique([float(s) for s in q.scale])):
            return None
        if not np.array_equal(np.unique(offset), np.unique(own)):
            return None
    flat = np.empty((array.shape[0], view.at.size), dtype=np.int64 if codes else np.float64)
    flat[:, view.at.reshape(-1)] = array.reshape(array.shape[0], -1)
    return flat.reshape(array.shape[0], *tensor.shape)


def _onnx_runtime(model: Any, feeds: Mapping[str, Array], profile: str) -> dict[str, Array]:
    runtime, onnx = _package("onnxruntime"), _package("onnx")
    kinds = {node.op_type for node in model.graph.node}
    fuses = profile == "ort" and not any(kind.startswith("QLinear") for kind in kinds)
    if not fuses:
        known = {o.name for o in model.graph.output}
        inner = dict.fromkeys(name for node in model.graph.node for name in node.output if name and name not in known)
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(EXACT_KERNELS, "1")
    if profile != "ort":
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        return _batches(model, feeds, lambda part: dict(zip(names, session.run(None, part), strict=True)))
    except Exception as error:  # its own exceptions, one for every kind of trouble
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"ONNX Runtime does not run the model (for QONNX files take qonnx): {reason}") from error


def _qonnx(model: Any, feeds: Mapping[str, Array], profile: str) -> dict[str, Array]:
    wrapper = _package("qonnx.core.modelwrapper")
    execute = _package("qonnx.core.onnx_exec").execute_onnx
    shapes = _package("qonnx.transformation.infer_shapes")
    try:
        wrapped = wrapper.ModelWrapper(model).transform(shapes.InferShapes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _batches(model, feeds, lambda part: execute(wrapped, dict(part), return_full_exec_context=True))
    except Exception as error:  # whatever an operator's implementation raises
        raise UsageError(f"qonnx does not run the model: {' '.join(str(error).split())[:300]}") from error


def _batches(model: Any, feeds: Mapping[str, Array], run: Any) -> dict[str, Array]:
    """Every tensor for all samples, in batches of the size that the model declares."""
    declared = {i.name: i.type.tensor_type.shape.dim for i in model.graph.input}
    size = max(1, *(declared[name][0].dim_value for name in feeds))
    total = len(next(iter(feeds.values())))
    rows: dict[str, list[Array]] = {}
    for first in range(0, total, size):
        part = {name: array[first : first + size] for name, array in feeds.items()}
        for name, value in run(part).items():
            rows.setdefault(name, []).append(np.asarray(value))
    return {name: np.concatenate(values) for name, values in rows.items() if _has_batch(values, size)}


def _has_batch(values: Iterable[Array], size: int) -> bool:
    return all(v.ndim and v.shape[0] <= size for v in values)
