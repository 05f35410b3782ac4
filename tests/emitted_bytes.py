"""The bytes of everything that is emitted, as one line of JSON per graph: record before a restructuring, compare after.

    python tests/emitted_bytes.py record before.json [--keras]
    python tests/emitted_bytes.py compare before.json

Graphs: the bundled models, the real models of ../shared/models (those that load), the graphs that tests are made of,
every TFLite operator in both widths, and with --keras (which needs TensorFlow) seeded random QKeras models. For each
the graph's hash and a digest of every file of every target; a graph that a target refuses is recorded by its error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "importers"), str(HERE / "importers/tflite")]

import qsim  # noqa: E402
from qsim.errors import QsimError  # noqa: E402
from qsim.importers.tflite.load import load_tflite  # noqa: E402
from qsim.ir import Graph  # noqa: E402

TARGETS = ("c", "hls", "rtl")
MODELS = Path(os.environ.get("QSIM_MODELS", HERE.parents[1] / "shared" / "models"))
Source = tuple[str, Callable[[], Graph]]


def test_graphs() -> Iterator[Source]:
    """The graphs of tests/graphs.py, tests/c_graphs.py and tests/rtl_products.py."""
    import c_graphs
    import graphs
    import random_dags
    import rtl_products

    for name, make in (*graphs.OP_GRAPHS.items(), *c_graphs.C_GRAPHS.items()):
        yield f"test {name}", make
    yield "test small_cnn", graphs.small_cnn
    yield "test same_weights", graphs.same_weights
    for seed in range(12):
        yield f"test random_graph {seed}", partial(graphs.random_graph, seed)
        yield f"test random_dag {seed}", partial(random_dags.random_dag, seed)
    for inputs in rtl_products.INPUTS:
        cells = [(layer, weights) for layer in rtl_products.LAYERS for weights in rtl_products.WEIGHTS]
        yield f"products {inputs}", partial(_products, inputs, cells)


def _products(inputs: str, cells: list[tuple[str, str]]) -> Graph:
    import rtl_products

    return rtl_products.network(inputs, cells, 3, "one")[0]


def _operator(name: str, kind: str, profile: str) -> Graph:
    import tflite_ops

    return load_tflite(tflite_ops.build(name, 1, kind), profile=profile)


def _keras(make: Callable[[int, int], Sequence[object]], seed: int) -> Graph:
    return qsim.load(make(seed, 1)[0])


def models() -> Iterator[Source]:
    """The bundled models, and the real ones."""
    demo = Path(qsim.__file__).parent / "demo"
    for path in sorted(demo.glob("*.keras")):
        yield f"bundled {path.name}", partial(qsim.load, path)
    for path in sorted((MODELS / "tflite").glob("*.tflite")):
        if path.name.startswith("hps"):
            continue  # 240 x 320: minutes in the RTL's schedule
        yield f"real {path.name}", partial(qsim.load, path)
        yield f"real {path.name} litert-ref", partial(qsim.load, path, profile="litert-ref")
    qkeras = MODELS / "qkeras"
    if qkeras.is_dir():
        yield "real jet", lambda: qsim.load(qkeras / "qkeras-v3_3layer.keras", input_format="fixed<16,6>")
        weights = qkeras / "qkeras_mnist_cnn_weights.h5"
        yield (
            "real mnist",
            lambda: qsim.load(qkeras / "qkeras_mnist_cnn.json", weights=weights, input_format="ufixed<8,0>"),
        )


def operators() -> Iterator[Source]:
    """Every TFLite operator of the tests, in every profile."""
    import tflite_ops

    for kind, cases in (("INT8", tflite_ops.CASES), ("INT16", tflite_ops.CASES16)):
        for name in cases:
            for profile in ("tflm", "litert-opt"):
                yield f"operator {kind} {name} {profile}", partial(_operator, name, kind, profile)


def keras_models() -> Iterator[Source]:
    """Seeded random QKeras models."""
    from random_models import random_model, wide_model
    from random_whole import whole_model

    for make in (random_model, wide_model, whole_model):
        for seed in range(15):
            yield f"keras {make.__name__} {seed}", partial(_keras, make, seed)


def digest(make: Callable[[], Graph], name: str) -> dict[str, object]:
    """The hash of the graph, and of each file of each target."""
    try:
        graph = make()
    except QsimError as error:
        return {"name": name, "refused": str(error)}
    found: dict[str, object] = {"name": name, "graph": graph.hash}
    for target in TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                paths = qsim.emit(graph, target, folder)
            except QsimError as error:
                found[target] = str(error)
                continue
            found[target] = {
                path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
                for path in sorted(paths)
            }
    return found


def main() -> int:
    """Record or compare; exit code 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--keras", action="store_true")
    parser.add_argument("--only", default="", help="graphs whose name holds this text")
    arguments = parser.parse_args()
    sources = [*test_graphs(), *models(), *operators(), *(keras_models() if arguments.keras else ())]
    found = {name: digest(make, name) for name, make in sources if arguments.only in name}
    if arguments.what == "record":
        arguments.file.write_text("".join(f"{json.dumps(entry)}\n" for entry in found.values()), encoding="utf-8")
        print(f"{len(found)} graphs recorded")
        return 0
    lines = arguments.file.read_text(encoding="utf-8").splitlines()
    before = {entry["name"]: entry for entry in map(json.loads, lines)}
    different = 0
    for name, entry in found.items():
        old = before.get(name, {})
        for key in entry:
            if entry[key] != old.get(key):
                different += 1
                one, other = old.get(key), entry[key]
                if isinstance(one, dict) and isinstance(other, dict):
                    print(f"{name}: {key}: {sorted(f for f in {*one, *other} if one.get(f) != other.get(f))}")
                else:
                    print(f"{name}: {key}: {one} -> {other}")
    print(f"{len(found)} graphs compared, {different} entries differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
