"""Samples per second of the bit-exact simulation beside its peers, in one run.

    python benchmarks/simulator.py [--models FOLDER] [--python PEER_ENVIRONMENT/bin/python]

For each TFLite file of FOLDER (default: the real models beside the checkout): qsim's two engines, one thread, batch
1 and 256, against LiteRT's reference, optimised and XNNPACK kernels and TensorFlow Lite Micro; CPU time, medians,
peers and qsim in turn. "x best peer" is the ratio to the fastest of them in the same run, whatever its batch; a
fresh process then says how long the first result takes, and its peak memory. Then the bundled digits CNN against
Keras, tf.function and, where --python names an environment that has it, hls4ml's emulation. What is not installed is
named and left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import qsim
from qsim.errors import QsimError
from qsim.ir import Graph

SHARED = Path(os.environ.get("QSIM_MODELS", Path(__file__).resolve().parents[2] / "shared" / "models"))
DIGITS = Path(qsim.__file__).parent / "demo" / "digits.keras"
BATCH, REPEATS = 256, 5

Run = Callable[[], object]


def rates(runs: dict[str, tuple[Run, int]]) -> dict[str, float]:
    """Samples per second of CPU time: the median of REPEATS rounds in which every run has its turn."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run, _ in runs.values():
        run()
    for _ in range(REPEATS):
        for name, (run, _) in runs.items():
            times, start = 0, time.process_time()
            while time.process_time() - start < 0.05:
                run()
                times += 1
            seconds[name].append((time.process_time() - start) / times)
    return {name: samples / statistics.median(seconds[name]) for name, (_, samples) in runs.items()}


def ours(graph: Graph, codes: np.ndarray) -> Iterator[tuple[str, tuple[Run, int]]]:
    """Both engines, batch 1 and the whole batch."""
    for engine in ("native", "numpy"):
        simulator = qsim.Simulator(graph, engine=engine)
        for batch in (1, len(codes)):
            yield f"qsim {engine}, batch {batch}", (lambda s=simulator, b=batch: s.run_codes(codes[:b]), batch)


def litert(path: Path, codes: np.ndarray) -> Iterator[tuple[str, tuple[Run, int]]]:
    """LiteRT's three kinds of kernels; XNNPACK with the whole batch too."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kinds = {
        "LiteRT reference": OpResolverType.BUILTIN_REF,
        "LiteRT optimised": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "XNNPACK": OpResolverType.AUTO,
    }
    for name, kind in kinds.items():
        for batch in (1, len(codes)) if name == "XNNPACK" else (1,):
            interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=kind)
            (entry, *_) = interpreter.get_input_details()
            if batch > 1:
                interpreter.resize_tensor_input(entry["index"], [batch, *entry["shape"][1:]])
            interpreter.allocate_tensors()
            interpreter.set_tensor(
                entry["index"], codes[:batch].astype(entry["dtype"]).reshape(batch, *entry["shape"][1:])
            )
            yield f"{name}, batch {batch}", (interpreter.invoke, batch)


def tflm(path: Path, codes: np.ndarray) -> Iterator[tuple[str, tuple[Run, int]]]:
    """TensorFlow Lite Micro."""
    from tflite_micro.python.tflite_micro.runtime import Interpreter

    interpreter = Interpreter.from_file(str(path))
    details = interpreter.get_input_details(0)
    interpreter.set_input(codes[:1].astype(details["dtype"]).reshape(details["shape"]), 0)
    yield "TFLM, batch 1", (interpreter.invoke, 1)


def keras_peers(x: np.ndarray) -> Iterator[tuple[str, tuple[Run, int]]]:
    """The digits CNN as Keras runs it, float32: predict, and as a tf.function."""
    import keras
    import qkeras
    import tensorflow as tf

    model = keras.models.load_model(DIGITS, custom_objects=vars(qkeras), compile=False)
    function, tensor = tf.function(lambda data: model(data, training=False)), tf.constant(x)
    yield "Keras predict", (lambda: model.predict(x, verbose=0, batch_size=512), len(x))
    yield "tf.function", (lambda: function(tensor), len(x))


def show(title: str, found: dict[str, float]) -> None:
    """A table of rates, and each of ours against the best peer."""
    best = max((rate for name, rate in found.items() if not name.startswith("qsim")), default=0.0)
    print(f"\n{title}")
    for name, rate in found.items():
        ratio = f"{rate / best:8.2f} x best peer" if best and name.startswith("qsim") else ""
        print(f"  {name:32} {rate:12,.0f} samples/s {ratio}")


def collect(*sources: Callable[[], Iterator[tuple[str, tuple[Run, int]]]]) -> dict[str, float]:
    """Rates of all runs of the sources; a source whose package is missing is named."""
    runs: dict[str, tuple[Run, int]] = {}
    for source in sources:
        try:
            runs |= dict(source())
        except (ImportError, RuntimeError, ValueError) as error:
            print(f"  left out: {type(error).__name__}: {str(error).splitlines()[0]}")
    return rates(runs)


FRESH = """
import resource, sys, time
start = time.perf_counter()
import numpy as np, qsim
graph = qsim.load(sys.argv[1])
entry = graph.inputs[0]
qsim.Simulator(graph).run_codes(np.zeros((1, *graph[entry.tensor].shape), dtype=int) + entry.low)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
cpu = time.process_time()
print(f"  fresh process: first result after {time.perf_counter() - start:.2f} s ({cpu:.2f} CPU s), peak {peak:.0f} MB")
"""

HLS4ML = """
import sys, time
import hls4ml, keras, numpy as np
from keras import layers
x = i = keras.Input((8, 8, 1))
x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
y = layers.Conv2D(8, 3, padding="same")(x)
x = layers.Activation("relu")(layers.Add()([x, y]))
x = layers.Conv2D(16, 3, activation="relu")(x)
x = layers.Dense(10)(layers.Flatten()(layers.AveragePooling2D(3)(x)))
model = keras.Model(i, x)
config = hls4ml.utils.config_from_keras_model(model, granularity="name", default_precision="fixed<12,5>")
made = hls4ml.converters.convert_from_keras_model(
    model, hls_config=config, output_dir=sys.argv[1], backend="Vitis", io_type="io_parallel")
made.compile()
data = np.zeros((500, 8, 8, 1), dtype=np.float32)
made.predict(data[:2])
start = time.process_time()
made.predict(data)
print(500 / (time.process_time() - start))
"""


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=SHARED / "tflite")
    parser.add_argument("--python", help="an interpreter whose environment has hls4ml and keras")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    for path in sorted(arguments.models.glob("*.tflite")):
        try:
            graph = qsim.load(path)
        except QsimError as error:
            print(f"\n{path.name}: {str(error)[:100]}")
            continue
        if len(graph.inputs) > 1:
            continue
        entry = graph.inputs[0]
        codes = rng.integers(entry.low, entry.high + 1, (BATCH, *graph[entry.tensor].shape))
        found = collect(
            lambda g=graph, c=codes: ours(g, c),
            lambda p=path, c=codes: litert(p, c),
            lambda p=path, c=codes: tflm(p, c),
        )
        show(path.name, found)
        subprocess.run([sys.executable, "-c", FRESH, str(path)], check=False)
    x = (rng.integers(0, 16, (4096, 8, 8, 1)) / 16).astype(np.float32)
    simulators = {name: qsim.Simulator(qsim.load(DIGITS), engine=name) for name in ("native", "numpy")}
    found = collect(
        lambda: iter([(f"qsim {name}", (lambda s=s: s.run(x), len(x))) for name, s in simulators.items()]),
        lambda: keras_peers(x),
    )
    if arguments.python:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([arguments.python, "-c", HLS4ML, folder], capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"  hls4ml left out: {done.stderr.strip().splitlines()[-1]}")
            else:
                found["hls4ml emulation, plain Keras"] = float(done.stdout.split()[-1])
    show("digits CNN (QKeras), real values in and out", found)


if __name__ == "__main__":
    main()
