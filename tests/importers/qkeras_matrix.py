"""The layer x quantizer table: every cell's model imported, run against Keras, and verified in C, HLS C++ and RTL.

Cells (``qkeras_cells``) are imported one by one and then stand side by side in one graph, so that a target is built
once for many; what a target computes is counted per cell. Results are plain data; ``benchmarks/qkeras_table.py``
collects them and ``qkeras_matrix_table`` renders them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import keras_reference_more  # noqa: F401  (adds its layers to keras_reference)
import layer_cells as cells
import numpy as np
import tensorflow as tf
from keras_compare import codes_of
from keras_reference import evaluate
from qkeras_cells import Cell, all_cells, expected_refusal

import qsim
from qsim.compare.verify import verify
from qsim.errors import QsimError
from qsim.importers import load
from qsim.ir import Graph
from qsim.ir.serialize import from_json, to_json
from qsim.simulate import Simulator
from qsim.targets.files import emit

TARGETS = ("c", "hls", "rtl")
SAMPLES = 100
TOGETHER, TOGETHER_WIDE = 44, 10
"""Cells that are built as one graph; of unrolled recurrent layers fewer."""

SETTINGS: dict[str, dict[str, Any]] = {"c": {}, "hls": {"optimize": "-O0"}, "rtl": {"cocotb_frames": 0}}
"""The C++ bench drives all samples with idle gaps and backpressure; cocotb has its own tests."""


@dataclass(kw_only=True)
class Result:
    """What became of one cell.

    refused: the words of the import (or of QKeras itself). codes: how many codes of the model's layers and outputs were
    compared with the reference, differ: how many of them differ, why: the first. reference: "Keras", or "float64"
    where Keras' float32 rounds: then the same layers in float64 are it, and ``keras`` counts the codes in which Keras'
    own run differs from them. targets: target -> codes of the graph's tensors that differ from the simulator, or the
    error.
    """

    refused: str = ""
    reference: str = ""
    codes: int = 0
    differ: int = 0
    keras: int = 0
    why: str = ""
    targets: dict[str, int | str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Refused, or everything was compared and nothing differs."""
        done = self.codes > 0 and sorted(self.targets) == sorted(TARGETS)
        return bool(self.refused) or (done and not self.differ and not any(self.targets.values()))

    def plain(self) -> dict[str, Any]:
        """Without the fields that say nothing."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v or (k == "differ" and not self.refused)}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A cell that was imported: its graph and the input codes."""

    cell: Cell
    graph: Graph
    codes: dict[str, Any]


def inputs(model: Any) -> list[Any]:
    """Real inputs beyond the input quantizers' ranges, with corners: zero, both limits, ties; one array per input."""
    made = []
    for i, tensor in enumerate(model.inputs):
        rng = np.random.default_rng(i)
        shape = tensor.shape[1:]
        x = rng.normal(0, 1.2, (SAMPLES, *shape))
        x[0], x[1], x[2] = 0, 9, -9
        x[3] = rng.integers(-16, 16, shape) / 8 + 1 / 16
        made.append(x.astype(np.float32))
    return made


def live_outputs(model: Any, given: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    """Keras' own float32 run: ({layer name: output}, the model's outputs)."""
    layers = {
        layer.name: layer.output
        for layer in model.layers
        if not isinstance(layer, keras.Model) and len(layer._inbound_nodes) == 1
    }
    layers = {name: value for name, value in layers.items() if not isinstance(value, list | tuple)}
    values, outputs = keras.Model(model.inputs, [layers, list(model.outputs)])(given, training=False)
    return {name: np.asarray(v) for name, v in values.items()}, [np.asarray(v) for v in outputs]


def float64_outputs(model: Any, given: list[Any]) -> tuple[dict[str, Any], list[Any]] | None:
    """The same in float64; None for layers that the evaluation does not know."""
    x = given[0] if len(given) == 1 else {t.name: v for t, v in zip(model.inputs, given)}
    try:
        values = evaluate(model, x)
        names = [t._keras_history.operation.name for t in model.outputs]
        return values, [values[name] for name in names]
    except (KeyError, TypeError, AttributeError):
        return None


def compared(graph: Graph, run: tuple[dict[str, Any], list[Any]], trace: dict[str, Any]) -> tuple[int, int, str]:
    """(codes compared, codes that differ, the first of them): every layer that has a tensor, and every output."""
    values, outputs = run
    pairs = [(name, value, name) for name, value in values.items() if name in trace]
    pairs += [(f"output {i}", v, o.tensor) for i, (v, o) in enumerate(zip(outputs, graph.outputs, strict=True))]
    total = differ = 0
    why = ""
    for name, value, tensor in pairs:
        if value.shape != trace[tensor].shape:
            if name.startswith("output "):
                raise ValueError(f"{name} has shape {value.shape}, its tensor {trace[tensor].shape}")
            continue
        if max(map(abs, graph[tensor].range)) >= 1 << 53:
            continue  # no float64 can say what these codes should be; the layers behind still tell
        codes, _ = codes_of(value, graph[tensor])
        wrong = codes != trace[tensor]
        total, differ = total + codes.size, differ + int(wrong.sum())
        if wrong.any() and not why:
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            why = f"{name} {where}: reference {codes[where]}, qsim {trace[tensor][where]}"
    return total, differ, why


def imported(cell: Cell, model: Any) -> Graph:
    """The model through qsim's importer, from memory or from the file it is saved to."""
    if cell.via == "memory":
        return load(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{cell.via}"
        model.save(path)
        return load(path)


def prepare(cell: Cell) -> tuple[Result, Prepared | None]:
    """The cell's import and its comparison with Keras."""
    result = Result()
    keras.utils.clear_session()
    try:
        model = cells.fill(cell.make())
        given = inputs(model)
        for _ in range(cell.settle):
            model(given, training=True)
        live = live_outputs(model, given)
    except (ValueError, TypeError, AssertionError, NotImplementedError, AttributeError, tf.errors.OpError) as error:
        if expected_refusal(cell.key) != "qkeras itself refuses":
            raise  # the cell, or what it stands for, is wrong
        # Keras wraps what a layer raises: "Exception encountered when calling <layer>", a blank line, the words.
        lines = [line for line in str(error).replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines() if line.strip()]
        words = lines[1] if len(lines) > 1 and lines[0].startswith("Exception encountered") else lines[0]
        words = re.sub(r"\{\{function_node \S+\}\} ", "", words).removesuffix(" name: ")
        result.refused = f"qkeras itself refuses: {type(error).__name__}: {words}"
        return result, None
    try:
        graph = imported(cell, model)
    except QsimError as error:
        result.refused = str(error)
        return result, None
    simulator = Simulator(graph)
    codes = simulator.quantize({i.tensor: x for i, x in zip(graph.inputs, given, strict=True)})
    trace = simulator.trace_codes(codes)
    result.reference = "Keras"
    result.codes, result.differ, result.why = compared(graph, live, trace)
    if result.differ and (exact := float64_outputs(model, given)) is not None:
        result.reference, result.keras = "float64", result.differ
        result.codes, result.differ, result.why = compared(graph, exact, trace)
    return result, Prepared(cell=cell, graph=graph, codes=codes)


def union(graphs: Sequence[Graph]) -> tuple[Graph, list[dict[str, str]]]:
    """The graphs side by side in one, and each one's tensor names in it."""
    tensors, ops, entries, outputs, names = {}, [], [], [], []
    for i, graph in enumerate(graphs):
        renamed = {name: f"g{i}.{name}" for name in graph.tensors}
        names.append(renamed)
        tensors |= {new: dataclasses.replace(graph[old], name=new) for old, new in renamed.items()}
        entries += [dataclasses.replace(entry, tensor=renamed[entry.tensor]) for entry in graph.inputs]
        outputs += [dataclasses.replace(entry, tensor=renamed[entry.tensor]) for entry in graph.outputs]
        for op in graph.ops:
            read, layer = tuple(renamed[name] for name in op.inputs), f"g{i}.{op.layer}"
            ops.append(dataclasses.replace(op, inputs=read, output=renamed[op.output], layer=layer))
    made = Graph(
        name="cells",
        profile=graphs[0].profile,
        inputs=tuple(entries),
        outputs=tuple(outputs),
        ops=tuple(ops),
        tensors=tensors,
    )
    return made, names


Cache = Callable[[str, Callable[[], Any]], Any]
"""(key, make): what ``make`` returned, now or when the key was last seen."""


def run_target(prepared: Sequence[Prepared], target: str, cache: Cache) -> Iterator[tuple[Prepared, int | str]]:
    """Each cell's differing codes in ``target``; where cells do not go through together, they are halved."""
    graph, names = union([p.graph for p in prepared])
    codes = {new[tensor]: array for p, new in zip(prepared, names) for tensor, array in p.codes.items()}
    try:
        with tempfile.TemporaryDirectory(prefix="qsim-matrix-") as scratch:
            folder = Path(scratch) / target
            emit(graph, target, folder)
            key = _digest(folder, graph.hash, *(codes[name].tobytes() for name in codes))
            counts = cache(f"{target}-{key}", lambda: _verified(graph, codes, target, folder))
    except (QsimError, AssertionError) as error:
        if len(prepared) == 1:
            yield prepared[0], f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            return
        half = len(prepared) // 2
        yield from run_target(prepared[:half], target, cache)
        yield from run_target(prepared[half:], target, cache)
        return
    for p, new in zip(prepared, names):
        yield p, sum(counts[name] for name in new.values())


def _verified(graph: Graph, codes: dict[str, Any], target: str, folder: Path) -> dict[str, int]:
    """Tensor -> codes that differ from the simulator."""
    report = verify(
        graph, codes, (target,), codes=True, directories={target: folder}, settings={target: SETTINGS[target]}
    )
    return dict(report.results[0].tensors)


def _digest(folder: Path, *parts: str | bytes) -> str:
    """What the emitted files and the further parts are, the runners' own sources included."""
    made = hashlib.sha256()
    for part in (*parts, *sources("compare", "targets")):
        made.update(part.encode() if isinstance(part, str) else part)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            made.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return made.hexdigest()


def sources(*parts: str) -> list[bytes]:
    """The sources of parts of qsim, and of these modules with the part "tests"."""
    found = []
    for part in parts:
        root = Path(__file__).parent if part == "tests" else Path(qsim.__file__).parent / part
        names = ("qkeras_*.py", "keras_*.py", "layer_cells.py", "operation_cells.py") if part == "tests" else ("*.py",)
        found += [p.read_bytes() for name in names for p in sorted(root.rglob(name))]
    return found


def bundles(chosen: Sequence[Cell]) -> list[list[Cell]]:
    """The cells in groups that are built together: a column of a table, or a part of it."""
    columns: dict[tuple[str, str, bool], list[Cell]] = {}
    for cell in chosen:
        columns.setdefault((cell.family, cell.column, cell.wide), []).append(cell)
    made = []
    for (_, _, wide), column in columns.items():
        most = TOGETHER_WIDE if wide else TOGETHER
        made += [column[i : i + most] for i in range(0, len(column), most)]
    return made


def run_bundle(
    bundle: Sequence[Cell], targets: Sequence[str] = TARGETS, cache: Cache | None = None
) -> dict[str, Result]:
    """Cell key -> result."""
    keep: Cache = cache or (lambda key, make: make())
    made = keep(f"keras-{_bundle_key(bundle)}", lambda: [(c.key, *_portable(*prepare(c))) for c in bundle])
    by_key = {cell.key: cell for cell in bundle}
    results = {key: result for key, result, _ in made}
    prepared = [
        Prepared(cell=by_key[key], graph=from_json(ready["graph"]), codes=ready["codes"])
        for key, _, ready in made
        if ready
    ]
    for target in targets:
        for p, verdict in run_target(prepared, target, keep) if prepared else ():
            results[p.cell.key].targets[target] = verdict
    return results


def _portable(result: Result, ready: Prepared | None) -> tuple[Result, dict[str, Any]]:
    return result, {"graph": to_json(ready.graph), "codes": ready.codes} if ready else {}


def _bundle_key(bundle: Sequence[Cell]) -> str:
    made = hashlib.sha256()
    parts = ("numerics", "ir", "reference", "proof", "quantizers", "importers", "simulate", "tests")
    for part in (
        *(c.key.encode() for c in bundle),
        *(version(n).encode() for n in ("keras", "qkeras-v3", "tensorflow")),
    ):
        made.update(part)
    for part in sources(*parts):
        made.update(part)
    return made.hexdigest()


class FileCache:
    """Results on disk, so that a broken-off run continues where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, key: str, make: Callable[[], Any]) -> Any:
        path = self.folder / f"{key}.pickle"
        if path.exists():
            return pickle.loads(path.read_bytes())
        made = make()
        part = path.with_suffix(".part")
        part.write_bytes(pickle.dumps(made))
        part.replace(path)
        return made


__all__ = ["SAMPLES", "TARGETS", "Cell", "FileCache", "Result", "all_cells", "bundles", "prepare", "run_bundle"]
