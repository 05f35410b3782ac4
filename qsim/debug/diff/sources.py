"""Where the other side's numbers come from: a live Keras model, a build, another graph, LiteRT or TFLM, a dump."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qsim.compare.verify import run_planned
from qsim.debug.diff.executors import EXECUTORS, executed
from qsim.debug.diff.observations import match_names, read_array, read_dump
from qsim.debug.words.wrapper import wrapper_variables
from qsim.errors import ToolMissingError, UsageError
from qsim.importers.keras.read.revive import live_tfmot
from qsim.ir import Graph, Input, Tensor
from qsim.numerics import Array
from qsim.simulate import Simulator
from qsim.targets.registry import TARGETS, planned
from qsim.version import install


def read_source(graph: Graph, inputs: Mapping[str, Array], against: Any) -> tuple[str, dict[str, Array]]:
    """(what it is, name -> array) of ``against`` run on the input codes; see ``qsim.debug.diff.diff``."""
    if isinstance(against, Graph):
        return f"graph {against.name!r} ({against.profile})", _other_graph(graph, inputs, against)
    if isinstance(against, Mapping):
        return "the dump", {str(name): np.asarray(a) for name, a in against.items()}
    if isinstance(against, tuple) and len(against) == 2 and against[0] in EXECUTORS:
        return against[0], executed(graph, inputs, *against)
    if isinstance(against, tuple) and len(against) == 2:
        return against[0], _tflite(graph, inputs, *against)
    if isinstance(against, str) and against in TARGETS:
        return f"target {against}", dict(run_planned(planned(graph, against), inputs).tensors)
    if isinstance(against, str | Path):
        folder = Path(against)
        target = emitted_target(folder)
        if target:
            return f"{target} build {folder.name!r}", dict(run_planned(planned(graph, target), inputs, folder).tensors)
        return f"dump {folder.name!r}", read_dump(folder)
    if hasattr(against, "layers") and callable(against):
        return "the Keras model", _keras(graph, inputs, against)
    raise UsageError(f"cannot compare with {type(against).__name__}")


def dumped_inputs(graph: Graph, against: Any, *, reals: bool | None = None) -> dict[str, Array]:
    """The graph's input codes as a dump (a mapping, .npz or folder of .npy) holds them.

    Raises UsageError where ``against`` is no dump or lacks an input: comparing it on other data would show nothing.
    """
    if isinstance(against, Mapping):
        name, dump = "the dump", {str(key): np.asarray(a) for key, a in against.items()}
    elif isinstance(against, str | Path) and against not in TARGETS and emitted_target(Path(against)) is None:
        name, dump = f"the dump {Path(against).name!r}", read_dump(against)
    else:
        raise UsageError("only a dump brings its own input: give the samples")
    names = {tensor: key for key, tensor in match_names(graph, list(dump)).items()}
    wanted = [entry.tensor for entry in graph.inputs]
    missing = [tensor for tensor in wanted if tensor not in names]
    if missing:
        raise UsageError(
            f"{name} does not hold input {missing[0]!r}, so what it was run on is unknown: give it with --input x.npy "
            f"(x in Python), or dump {missing[0]!r} too"
        )
    found = {}
    for tensor in wanted:
        array = dump[names[tensor]]
        samples = len(array) if array.ndim > len(graph[tensor].shape) else 1
        found[tensor] = read_array(graph[tensor], array, samples, reals=reals).codes
    return Simulator(graph).check_codes(found)


def emitted_target(folder: Path) -> str | None:
    """The target whose files ``emit`` wrote into ``folder``, by the header of its files; None for other folders."""
    if not folder.is_dir():
        return None
    for path in [*sorted(folder.iterdir()), *sorted(folder.glob("src/*"))]:
        if path.is_file() and path.suffix in (".c", ".h", ".cpp", ".hpp", ".sv"):
            head = path.read_text(encoding="utf-8", errors="replace")[:400]
            for target in TARGETS:
                if f"for target {target}." in head:
                    return target
    return None


def _other_graph(graph: Graph, inputs: Mapping[str, Array], other: Graph) -> dict[str, Array]:
    """The other graph's tensors on the same real inputs: codes where both give them the same meaning, else real
    values."""
    names = [entry.tensor for entry in other.inputs]
    if len(names) != len(inputs):
        raise UsageError(f"the other graph has {len(names)} inputs, this one {len(inputs)}")
    simulator = Simulator(other)
    given: dict[str, Array] = {}
    for name, (own, codes) in zip(names, inputs.items(), strict=True):
        if other[name].shape != graph[own].shape:
            raise UsageError(f"input {name!r} of the other graph has shape {other[name].shape}, not {graph[own].shape}")
        given[name] = codes if _same_meaning(graph[own], other[name]) else graph[own].quantization.real(codes)
    if any(given[name].dtype.kind == "f" for name in names):
        reals = {name: a if a.dtype.kind == "f" else other[name].quantization.real(a) for name, a in given.items()}
        given = simulator.quantize({entry.tensor: _in_order(reals[entry.tensor], entry) for entry in other.inputs})
    trace = simulator.trace_codes(given)
    # The inputs are what was given, not what the other side computed; requantizing them may lose bits.
    return {
        name: codes
        if name not in graph.tensors or _same_meaning(graph[name], other[name])
        else other[name].quantization.real(codes)
        for name, codes in trace.items()
        if name not in names
    }


def _in_order(stored: Array, entry: Input) -> Array:
    """Real values in a tensor's order as the input takes them, in its source's."""
    return stored.transpose(0, *(axis + 1 for axis in entry.order)) if entry.order else stored


def _same_meaning(a: Tensor, b: Tensor) -> bool:
    return a.quantization == b.quantization


def live_keras(path: str | Path, weights: str | Path | None = None) -> Any:
    """The Keras model of a file, as Keras loads it with qkeras' layers known; tfmot-wrapped ones as tf_keras does.

    Raises ToolMissingError without TensorFlow or qkeras, UsageError where Keras refuses the file.
    """
    if wrapper_variables(path, weights):
        return live_tfmot(path, weights)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up messages are not ours
    try:
        import keras
        import qkeras  # noqa: F401  registers its layers
        from qkeras.utils import _add_supported_quantized_objects
    except ImportError as error:
        raise ToolMissingError(f"running the model in Keras needs it: {install('keras')}") from error
    custom: dict[str, Any] = {}
    _add_supported_quantized_objects(custom)
    try:
        if weights is None:
            return keras.models.load_model(path, compile=False, custom_objects=custom)
        model = keras.models.model_from_json(Path(path).read_text(encoding="utf-8"), custom_objects=custom)
        model.load_weights(weights)
        return model
    except Exception as error:  # Keras raises whatever a layer's constructor raises
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"Keras does not load {Path(path).name}: {reason}") from error


def _keras(graph: Graph, inputs: Mapping[str, Array], model: Any) -> dict[str, Array]:
    """Every layer's output of a live Keras model, by layer name, in float64 where a layer gives float64."""
    keras: Any
    try:
        keras = importlib.import_module(_keras_package(model))
    except ImportError as error:
        raise ToolMissingError(
            f"comparing with a live Keras model needs TensorFlow: {install('keras')}"
        ) from error
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    reals = [graph[name].quantization.real(codes) for name, codes in inputs.items()]
    probe = keras.Model(model.inputs, [layer.output for layer in layers])
    outputs = probe.predict(reals if len(reals) > 1 else reals[0], verbose=0)
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    return {layer.name: np.asarray(y) for layer, y in zip(layers, outputs, strict=True)}


def _keras_package(model: Any) -> str:
    """keras, or tf_keras for the legacy models that tfmot wraps."""
    return "tf_keras" if any(kind.__module__.startswith("tf_keras.") for kind in type(model).__mro__) else "keras"


def _tflite(graph: Graph, inputs: Mapping[str, Array], engine: str, path: str | Path) -> dict[str, Array]:
    """Output codes (TFLM) or every preserved tensor (LiteRT's reference kernels) of a .tflite file."""
    blob = Path(path).read_bytes()
    samples = next(iter(inputs.values())).shape[0]
    try:
        if engine == "tflm":
            return _tflm(graph, inputs, blob, samples)
        if engine == "litert":
            return _litert(inputs, blob, samples)
    except ImportError as error:
        raise ToolMissingError(f"engine {engine} is not installed: {install('tfmot')}") from error
    raise UsageError(f"unknown engine {engine!r}: choose tflm or litert")


def _tflm(graph: Graph, inputs: Mapping[str, Array], blob: bytes, samples: int) -> dict[str, Array]:
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(blob)
    outputs: dict[str, list[Array]] = {out.tensor: [] for out in graph.outputs}
    for i in range(samples):
        for k, codes in enumerate(inputs.values()):
            kind = interpreter.get_input_details(k)["dtype"]
            interpreter.set_input(codes[i : i + 1].astype(kind), k)
        interpreter.invoke()
        for k, out in enumerate(graph.outputs):
            outputs[out.tensor].append(np.asarray(interpreter.get_output(k)).reshape(graph[out.tensor].shape))
    return {name: np.stack(rows) for name, rows in outputs.items()}


def _litert(inputs: Mapping[str, Array], blob: bytes, samples: int) -> dict[str, Array]:
    from ai_edge_litert import interpreter as litert

    engine = litert.Interpreter(
        model_content=blob,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    engine.allocate_tensors()
    details = engine.get_tensor_details()
    constant = {d["index"] for d in details if not d["name"]}
    rows: dict[str, list[Array]] = {}
    for i in range(samples):
        for detail, codes in zip(engine.get_input_details(), inputs.values(), strict=True):
            engine.set_tensor(detail["index"], codes[i : i + 1].astype(detail["dtype"]))
        engine.invoke()
        for detail in details:
            if detail["index"] in constant:
                continue
            try:
                rows.setdefault(detail["name"], []).append(engine.get_tensor(detail["index"]))
            except ValueError:  # a tensor that the engine never allocated
                continue
    whole = {name: np.stack(values) for name, values in rows.items() if len(values) == samples}
    return {name: a.reshape(samples, *a.shape[2:]) for name, a in whole.items() if a.ndim > 1 and a.shape[1] == 1}
