"""Networks of Blueoil's quantizers: Keras = simulator = every target, code for code."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
qkeras = pytest.importorskip("qkeras")

from blueoil_models import WEIGHTS, Maker, evaluate, everything, images, values  # noqa: E402
from keras_compare import codes_of, keras_outputs  # noqa: E402

import qsim  # noqa: E402
from qsim.ir.ops import Conv2D, Dense, Threshold  # noqa: E402

SEEDS = range(12)
SLOW_SEEDS = range(100, 200)


def check(seed: int, weights: str | None, targets: tuple[str, ...], tmp_path: Path | None = None) -> None:
    check_model(Maker(seed, weights).model(), seed, targets, tmp_path)


def check_model(model, seed: int, targets: tuple[str, ...], tmp_path: Path | None = None) -> None:
    """Keras' own quantized kernels and integer sums of codes = simulator, tensor by tensor; simulator = targets."""
    graph = qsim.load(model)
    x = images(model, seed, 40)
    trace = qsim.Simulator(graph).trace(x)
    compared = 0
    for name, value in evaluate(model, x).items():
        if name in trace and trace[name].shape == value.shape:
            codes, off = codes_of(value, graph[name])
            assert off < 1e-4, name
            assert np.array_equal(codes, trace[name]), name
            compared += 1
    assert graph.outputs[0].tensor in evaluate(model, x)
    assert compared >= sum(1 for layer in model.layers if "activation" in layer.name) + 1
    check_keras_itself(model, graph, x, trace)
    if tmp_path is not None:
        model.save(tmp_path / "model.keras")
        assert qsim.load(tmp_path / "model.keras") == graph
        keras.models.load_model(tmp_path / "model.keras", compile=False).save(tmp_path / "again.keras")
        assert qsim.load(tmp_path / "again.keras") == graph
        model.save(tmp_path / "model.h5")
        assert qsim.load(tmp_path / "model.h5") == graph
    report = qsim.verify(graph, x[:6], targets=targets)
    assert report.ok, str(report)


def check_keras_itself(model, graph: qsim.Graph, x: np.ndarray, trace: dict[str, np.ndarray]) -> None:
    """The codes of every activation in Keras' own float32 run. Only the sign of an exact zero may differ, which float32
    sums as plus or minus a rounding error; samples with such a zero are left out behind it."""
    exact, clean, compared = values(model, x), np.ones(len(x), dtype=bool), 0
    for name, output in keras_outputs(model, x).items():
        before, _ = exact.get(name, (None, None))
        if before is None or name not in trace:
            continue
        codes, off = codes_of(output, graph[name])
        assert off < 1e-4, name
        differ = (codes != trace[name]) & clean.reshape(-1, *(1,) * (codes.ndim - 1))
        if differ.any():
            layer = model.get_layer(name)
            assert isinstance(getattr(layer, "layer", layer).activation, qkeras.binary), name
            assert np.abs(before[differ]).max() < 1e-12, name
        compared += codes[clean].size
        clean &= ~differ.reshape(len(x), -1).any(axis=1)
    assert compared


def test_every_quantizer_in_every_target() -> None:
    model = everything()
    used = {type(q).__name__ for layer in model.layers for q in quantizers_of(layer)}
    assert used == {*WEIGHTS, "linear_mid_tread_half_quantizer", "binary"}
    check_model(model, 1, ("c", "hls", "rtl"))


def quantizers_of(layer) -> list[object]:
    inner = getattr(layer, "layer", layer)
    named = [getattr(layer, n, None) for n in ("quantizer", "kernel_quantizer_internal")]
    return [q for q in (*named, getattr(inner, "activation", None)) if q is not None and not inspect.isfunction(q)]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_each_weight_quantizer_in_c(weights: str, tmp_path: Path) -> None:
    for seed in range(3):
        check(seed, weights, ("c",), tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_in_c(seed: int) -> None:
    check(seed, None, ("c",))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SLOW_SEEDS)
def test_a_hundred_random_networks_in_all_targets(seed: int) -> None:
    check(seed, None, ("c", "hls", "rtl"))


def test_factors_move_out_of_the_weights() -> None:
    """Binary and ternary weights stay -1, 0 and 1 whatever the scale, normalization goes into thresholds."""
    for weights in WEIGHTS:
        thresholds = 0
        for seed in range(3):
            graph = qsim.load(Maker(seed, weights).model())
            linear = [op for op in graph.ops if isinstance(op, Conv2D | Dense)]
            assert linear
            assert all(np.abs(op.weights.values).max() <= 1 for op in linear)
            thresholds += sum(isinstance(op, Threshold) for op in graph.ops)
        assert thresholds
