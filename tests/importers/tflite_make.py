"""Small ``.tflite`` models put together by hand, and the engines that run them: what the importer is tested against.

``Maker`` writes flatbuffers through the object API that the ``tflite-micro`` wheel carries, so that every operator,
quantization and shape can be tried without a converter.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as fb

from qsim.importers.tflite.load import read_source
from qsim.importers.tflite.model import TfliteModel
from qsim.ir import Graph
from qsim.simulate import Simulator

MODELS = Path(os.environ.get("QSIM_MODELS", Path(__file__).parents[3] / "shared" / "models")) / "tflite"
FILES = (
    "hello_world_int8.tflite",
    "micro_speech_quantized.tflite",
    "kws_ref_model.tflite",
    "ad01_int8.tflite",
    "pretrainedResnet_quant.tflite",
)
DTYPES = {
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FLOAT32": np.float32,
}


def model_file(name: str) -> Path:
    """A real model's path; skips the test where the models are not there."""
    path = MODELS / name
    if not path.exists():
        pytest.skip(f"{name} is not in the models folder (set QSIM_MODELS)")
    return path


class Maker:
    """Collects tensors and operators; ``bytes()`` is the flatbuffer."""

    def __init__(self) -> None:
        self.model = fb.ModelT()
        self.model.version = 3
        self.model.description = b"qsim test"
        self.model.buffers = [fb.BufferT()]
        self.model.operatorCodes = []
        self.graph = fb.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: str = "INT8",
        scale: Any = None,
        zero_point: Any = 0,
        data: Any = None,
        axis: int = 0,
    ) -> int:
        t = fb.TensorT()
        t.name, t.shape, t.type, t.buffer = name.encode(), list(shape), getattr(fb.TensorType, kind), 0
        if scale is not None:
            q = fb.QuantizationParametersT()
            q.scale = np.atleast_1d(np.asarray(scale, dtype=np.float32))
            q.zeroPoint = np.broadcast_to(np.asarray(zero_point, dtype=np.int64), q.scale.shape).copy()
            q.quantizedDimension = axis
            t.quantization = q
        if data is not None:
            b = fb.BufferT()
            raw = np.ascontiguousarray(np.asarray(data).reshape(shape), dtype=DTYPES[kind])
            b.data = np.frombuffer(raw.tobytes(), dtype=np.uint8)
            self.model.buffers.append(b)
            t.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(t)
        return len(self.graph.tensors) - 1

    def input(
        self, name: str, shape: tuple[int, ...], kind: str = "INT8", scale: Any = None, zero_point: int = 0
    ) -> int:
        index = self.tensor(name, shape, kind, scale, zero_point)
        self.graph.inputs.append(index)
        return index

    def operator(
        self,
        name: str,
        inputs: list[int],
        outputs: list[int],
        options: str | None = None,
        version: int = 1,
        **fields: Any,
    ) -> None:
        code = fb.OperatorCodeT()
        code.builtinCode = getattr(fb.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        self.model.operatorCodes.append(code)
        op = fb.OperatorT()
        op.opcodeIndex = len(self.model.operatorCodes) - 1
        op.inputs, op.outputs = list(inputs), list(outputs)
        if options is not None:
            op.builtinOptionsType = getattr(fb.BuiltinOptions, options)
            op.builtinOptions = getattr(fb, options + "T")()
            for key, value in fields.items():
                assert hasattr(op.builtinOptions, key), (options, key)
                setattr(op.builtinOptions, key, value)
        self.graph.operators.append(op)

    def output(self, *indices: int) -> None:
        self.graph.outputs.extend(indices)

    def bytes(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def tflm(data: bytes, batches: list[np.ndarray], arena: int = 1 << 22) -> list[np.ndarray]:
    """Every output of TensorFlow Lite Micro: (N, *shape) each, for (N, *shape) inputs in the model's order."""
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=arena)
    shapes = [tuple(interpreter.get_input_details(i)["shape"]) for i in range(len(batches))]
    count = len(read_source(data).outputs)
    results: list[list[np.ndarray]] = [[] for _ in range(count)]
    for n in range(len(batches[0])):
        for i, batch in enumerate(batches):
            interpreter.set_input(batch[n].reshape(shapes[i]), i)
        interpreter.invoke()
        for k in range(count):
            results[k].append(np.array(interpreter.get_output(k)))
    return [np.stack(r) for r in results]


def with_every_output(data: bytes) -> bytes:
    """The model with the result of every operator among its outputs, and without the memory plan that its metadata may
    hold, in which tensors overwrite each other (and which ``tflm_all``'s way of keeping them does not allow)."""
    model = fb.ModelT.InitFromObj(fb.Model.GetRootAsModel(data, 0))
    model.metadata = []
    model.subgraphs[0].outputs = [i for op in read_source(data).operators for i in op.outputs]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tflm_all(data: bytes, batches: list[np.ndarray]) -> dict[int, np.ndarray]:
    """Every tensor that TensorFlow Lite Micro computes, by index: (N, *shape)."""
    keep = runtime.InterpreterConfig.kPreserveAllTensors
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=1 << 22, intrepreter_config=keep)
    shapes = [tuple(interpreter.get_input_details(i)["shape"]) for i in range(len(batches))]
    wanted = [i for op in read_source(data).operators for i in op.outputs]
    results: dict[int, list[np.ndarray]] = {i: [] for i in wanted}
    for n in range(len(batches[0])):
        for i, batch in enumerate(batches):
            interpreter.set_input(batch[n].reshape(shapes[i]), i)
        interpreter.invoke()
        for i in wanted:
            results[i].append(np.array(interpreter.GetTensor(i, 0)["tensor_data"]))
    return {i: np.stack(r) for i, r in results.items()}


RESOLVERS = {
    "litert-ref": OpResolverType.BUILTIN_REF,
    "litert-opt": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "litert-xnnpack": OpResolverType.AUTO,
}


def litert(
    data: bytes, batches: list[np.ndarray], profile: str = "litert-ref", keep: bool = True
) -> dict[int, np.ndarray]:
    """Every tensor that LiteRT computes (only the outputs if not ``keep``), by index: (N, *shape)."""
    interpreter = Interpreter(
        model_content=data,
        experimental_op_resolver_type=RESOLVERS[profile],
        experimental_preserve_all_tensors=keep,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    model = read_source(data)
    wanted = [i for op in model.operators for i in op.outputs] if keep else list(model.outputs)
    results: dict[int, list[np.ndarray]] = {i: [] for i in wanted}
    for n in range(len(batches[0])):
        for detail, batch in zip(details, batches, strict=True):
            interpreter.set_tensor(detail["index"], batch[n].reshape(detail["shape"]))
        interpreter.invoke()
        for i in wanted:
            results[i].append(np.array(interpreter.get_tensor(i)))
    return {i: np.stack(r) for i, r in results.items()}


def random_codes(graph: Graph, count: int, seed: int) -> list[np.ndarray]:
    """Uniform random codes for every input, the first four samples being all low, all high, zero point, alternating."""
    rng = np.random.default_rng(seed)
    batches = []
    for entry in graph.inputs:
        tensor = graph[entry.tensor]
        x = rng.integers(entry.low, entry.high + 1, (count, *tensor.shape))
        x[0], x[1], x[2] = entry.low, entry.high, tensor.quantization.zero_point
        x[3] = np.where(np.arange(tensor.size).reshape(tensor.shape) % 2, entry.low, entry.high)
        batches.append(x.astype(f"{'int' if tensor.format.signed else 'uint'}{tensor.format.width}"))
    return batches


def simulate(graph: Graph, batches: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor of the simulator."""
    codes = {entry.tensor: batch for entry, batch in zip(graph.inputs, batches, strict=True)}
    return Simulator(graph).trace_codes(codes if len(codes) > 1 else next(iter(codes.values())))


def graph_names(model: TfliteModel) -> dict[int, str]:
    """Index of every tensor that an operator makes -> its name in the graph, where a name that the file uses again
    gets a number."""
    seen: dict[str, int] = {model.tensors[i].name: 1 for i in model.inputs}
    names = {}
    for i in (i for op in model.operators for i in op.outputs):
        name = model.tensors[i].name
        count = seen.get(name, 0)
        seen[name] = count + 1
        names[i] = f"{name}_{count}" if count else name
    return names


def differences(
    graph: Graph, data: bytes, traced: dict[str, np.ndarray], reference: dict[int, np.ndarray]
) -> dict[str, int]:
    """Tensor name -> number of differing codes, for every tensor that both sides have and where any differs."""
    found = {}
    compared = 0
    names = graph_names(read_source(data))
    for index, values in reference.items():
        name = names[index]
        if name in traced:
            compared += 1
            bad = int((traced[name].reshape(len(values), -1) != values.reshape(len(values), -1)).sum())
            if bad:
                found[name] = bad
    assert compared
    return found
