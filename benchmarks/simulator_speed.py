"""Samples per second of the bit-exact simulation, side by side with its peers, in one run.

python benchmarks/simulator_speed.py [--samples N]

qsim simulates the digits CNN (quantized). Keras runs the same model in float32, which is not bit-exact hardware
arithmetic. hls4ml does not convert qkeras-v3 layers, so it gets a plain Keras CNN of the same shapes and the same
precisions set by hand, and runs its C++ emulation. A peer that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import qsim

MODEL = Path(qsim.__file__).parent / "demo" / "digits.keras"


def rate(run: Callable[[np.ndarray], object], x: np.ndarray) -> float:
    """Samples per second, best of three after one warm-up."""
    run(x[:2])
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        run(x)
        best = min(best, time.perf_counter() - start)
    return len(x) / best


def keras_model() -> Callable[[np.ndarray], object]:
    import keras
    import qkeras

    model = keras.models.load_model(MODEL, custom_objects=vars(qkeras), compile=False)
    return lambda x: model.predict(x, verbose=0, batch_size=512)


def hls4ml_model(io_type: str, folder: str) -> Callable[[np.ndarray], object]:
    import hls4ml
    import keras
    from keras import layers

    x = i = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.Activation("relu")(layers.Add()([x, y]))
    x = layers.Conv2D(16, 3, activation="relu")(x)
    x = layers.AveragePooling2D(3)(x)
    x = layers.Dense(10)(layers.Flatten()(x))
    model = keras.Model(i, x)
    config = hls4ml.utils.config_from_keras_model(model, granularity="name", default_precision="fixed<12,5>")
    converted = hls4ml.converters.convert_from_keras_model(
        model, hls_config=config, output_dir=folder, backend="Vitis", io_type=io_type
    )
    converted.compile()
    return lambda data: converted.predict(np.ascontiguousarray(data, dtype=np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5000)
    count = parser.parse_args().samples
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 16, (count, 8, 8, 1)) / 16).astype(np.float32)
    simulator = qsim.Simulator(qsim.load(MODEL))
    ours = rate(simulator.run, x)
    rows = [("qsim simulator, bit-exact", ours)]
    try:
        rows.append(("Keras predict, float32", rate(keras_model(), x)))
    except ImportError as error:
        print(f"Keras left out: {error}")
    for io_type in ("io_parallel", "io_stream"):
        with tempfile.TemporaryDirectory() as folder:
            try:
                peer = hls4ml_model(io_type, folder)
                rows.append((f"hls4ml C++ emulation, {io_type}", rate(peer, x[: min(count, 500)])))
            except Exception as error:
                print(f"hls4ml {io_type} left out: {type(error).__name__}: {error}")
    for name, value in rows:
        print(f"{name:36} {value:10.0f} samples/s   qsim is {ours / value:8.2f} times as fast")


if __name__ == "__main__":
    main()
