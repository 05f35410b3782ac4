"""Samples per second of qsim and of the engines it reproduces, on int8 .tflite files, and where the engines disagree.

python benchmarks/tflite_engines.py [--seconds 1.0] [--samples 200] [FILE ...]

Without files: the five in the models folder (environment variable QSIM_MODELS, or ../shared/models). One core. qsim's
simulator takes all samples in one call; the C (cc -O2, no vector intrinsics) and the interpreters one sample a call,
through Python; seconds are seconds of CPU time. The second table counts output codes that differ from TensorFlow Lite
Micro's on the same uniform random inputs, each next to what qsim's profile of that engine predicts: the two must be
equal.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import ctypes
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime

import qsim
from qsim.ir import Graph
from qsim.simulate import Simulator
from qsim.targets.files import emit

MODELS = Path(os.environ.get("QSIM_MODELS", Path(__file__).parents[2] / "shared" / "models")) / "tflite"
RESOLVERS = {
    "litert-ref": OpResolverType.BUILTIN_REF,
    "litert-opt": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "litert-xnnpack": OpResolverType.AUTO,
}
Run = Callable[[np.ndarray], np.ndarray]
"""(1, *shape) codes of one sample to its output codes, flat."""


def micro(data: bytes) -> Run:
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=1 << 22)
    shape = tuple(interpreter.get_input_details(0)["shape"])

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.set_input(x.reshape(shape), 0)
        interpreter.invoke()
        return np.asarray(interpreter.get_output(0)).reshape(-1)

    return run


def litert(data: bytes, profile: str) -> Run:
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=RESOLVERS[profile], num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], x.reshape(source["shape"]))
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(target["index"])).reshape(-1)

    return run


def emitted_c(graph: Graph, folder: Path) -> Run:
    """The emitted C as a shared library."""
    emit(graph, "c", folder)
    header = (folder / "model.h").read_text(encoding="utf-8")
    name = re.search(r"int (\w+)_run\(", header)
    arena = re.search(r"_ARENA_BYTES (\d+)u", header)
    if name is None or arena is None:
        raise SystemExit("model.h has another form than this benchmark reads")
    library = folder / "model.so"
    command = ["cc", "-std=c99", "-O2", "-shared", "-fPIC", "-o", str(library), "model.c", "weights.c"]
    subprocess.run(command, cwd=folder, check=True)
    function = getattr(ctypes.CDLL(str(library)), f"{name[1]}_run")
    memory = np.zeros(int(arena[1]) // 8 + 2, dtype=np.uint64)
    y = np.zeros(graph[graph.outputs[0].tensor].size, dtype=np.int8)

    def run(x: np.ndarray) -> np.ndarray:
        error = function(
            ctypes.c_void_p(memory.ctypes.data), ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data)
        )
        if error:
            raise SystemExit(f"the emitted C returned {error}")
        return y

    return run


def rate(run: Run, x: np.ndarray, seconds: float) -> float:
    """Samples per second of CPU time, one a call, over at least ``seconds`` after one warm-up."""
    run(x[:1])
    done, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        run(x[done % len(x)][None])
        done += 1
    return done / spent


def simulated_rate(simulator: Simulator, x: np.ndarray, seconds: float) -> float:
    """The same for the simulator, all of ``x`` in one call."""
    simulator.run_codes(x[:1])
    done, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds or not done:
        simulator.run_codes(x)
        done += len(x)
    return done / spent


def measure(path: Path, samples: int, seconds: float) -> tuple[dict[str, float], dict[str, tuple[int, int, int]]]:
    """Engine -> samples per second; engine -> (codes that differ from TFLM's, the same as predicted, codes)."""
    data = path.read_bytes()
    graphs = {p: qsim.load(path, profile=p) for p in ("tflm", *RESOLVERS)}
    graph = graphs["tflm"]
    entry = graph.inputs[0]
    rng = np.random.default_rng(0)
    x = rng.integers(entry.low, entry.high + 1, (samples, *graph[entry.tensor].shape)).astype(np.int8)
    with tempfile.TemporaryDirectory() as folder:
        runs = {"qsim C": emitted_c(graph, Path(folder)), "tflite-micro": micro(data)}
        runs |= {p: litert(data, p) for p in RESOLVERS}
        speed = {"qsim simulator": simulated_rate(Simulator(graph), x, seconds)}
        speed |= {name: rate(run, x, seconds) for name, run in runs.items()}
        codes = {name: np.stack([run(sample[None]).astype(np.int64) for sample in x]) for name, run in runs.items()}
    predicted = {p: Simulator(g).run_codes(x).reshape(samples, -1) for p, g in graphs.items()}
    reference = codes["tflite-micro"]
    counts = {}
    for name, profile in (("qsim C", "tflm"), *((p, p) for p in RESOLVERS)):
        differ = int((codes[name] != reference).sum())
        counts[name] = differ, int((predicted[profile] != predicted["tflm"]).sum()), reference.size
        if not np.array_equal(codes[name], predicted[profile]):
            print(f"{path.stem}: {name} gives other codes than qsim's profile {profile}", file=sys.stderr)
    return speed, counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=1.0, help="per engine and file")
    parser.add_argument("--samples", type=int, default=200)
    arguments = parser.parse_args()
    files = arguments.files or sorted(MODELS.glob("*.tflite"))
    if not files:
        raise SystemExit("no .tflite files: name some, or set QSIM_MODELS")
    results = {f.stem: measure(f, arguments.samples, arguments.seconds) for f in files}
    for name, (speed, _) in results.items():
        base = speed["tflite-micro"]
        print(f"{name}\n  {'engine':16} {'samples/s':>12} {'of tflite-micro':>16}")
        for engine, value in speed.items():
            print(f"  {engine:16} {value:12.0f} {value / base:15.2f}x")
    print(f"\nOutput codes that differ from tflite-micro's, {arguments.samples} inputs")
    for name, (_, counts) in results.items():
        print(f"  {name}")
        for engine, (differ, predicted, total) in counts.items():
            print(f"    {engine:16} {differ:6} of {total:6} ({differ / total:6.2%}), qsim predicts {predicted}")


if __name__ == "__main__":
    main()
