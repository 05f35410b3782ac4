"""``diff`` says what the evidence carries: how many hypotheses fit, what samples could not show, whose input it was."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from faults import changed, faulty, flipped_weight
from graphs import corner_codes, small_cnn

import qsim
from qsim.cli.app import main
from qsim.debug.diff.diff import diff
from qsim.debug.diff.evidence import unseen
from qsim.demo.flow import MODEL
from qsim.errors import UsageError
from qsim.ir import to_json
from qsim.simulate import Simulator

GRAPH = small_cnn()


def flipped(count: int) -> tuple[dict, dict]:
    """(codes, dump) of a run in which ``count`` codes of one channel are one too high: no constant is wrong."""
    codes = corner_codes(GRAPH, 30)
    dump = Simulator(GRAPH).trace_codes(codes)
    dump["requantize2"] = dump["requantize2"].copy()
    places = [(s, i, 3, 1) for s in range(6, 30) for i in range(8) if dump["requantize2"][s, i, 3, 1] < 15]
    for place in places[:count]:
        dump["requantize2"][place] += 1
    return codes, {name: a for name, a in dump.items() if name == "requantize2"}


def test_a_single_code_names_no_single_weight() -> None:
    codes, dump = flipped(1)
    result = diff(GRAPH, codes, dump, codes=True)
    text = str(result)
    assert not result.ok
    for found in result.first.explanations:
        if found.name in ("weight bit", "bias value"):
            assert found.fits > 1
    assert "every one is explained by weight" not in text
    if any(e.complete for e in result.first.explanations):
        fits = re.search(r"(\d+) of (\d+) hypotheses of this kind fit the 1 differing codes, more samples decide", text)
        assert fits, text
        assert 1 < int(fits[1]) < int(fits[2])
        assert "No single cause" in text


def test_many_codes_leave_one_hypothesis() -> None:
    codes = corner_codes(GRAPH, 30)
    dump = faulty(GRAPH, codes, "conv2d3", changed(weights=flipped_weight))
    result = diff(GRAPH, codes, dump, codes=True)
    best = result.first.explanations[0]
    assert (best.name, best.fits) == ("weight bit", 1)
    assert best.tried > 100
    assert f"the only fit of {best.tried} hypotheses" in str(result)


def test_the_count_is_the_number_that_fit() -> None:
    """Counted again by hand on single samples of a sum: each candidate that gives the observed codes."""
    every = corner_codes(GRAPH, 12)
    counts = []
    for sample in (0, 2, 7):
        codes = {name: a[sample : sample + 1] for name, a in every.items()}
        trace = Simulator(GRAPH).trace_codes(codes)
        observed = faulty(GRAPH, codes, "conv2d3", changed(weights=flipped_weight))["conv2d3"]
        delta = observed - trace["conv2d3"]
        if not delta.any():
            continue
        result = diff(GRAPH, codes, {"conv2d3": observed}, codes=True)
        best = next(e for e in result.first.explanations if e.name == "weight bit")
        counts.append(best.fits)
        assert best.fits == _fits(trace, delta)
    assert max(counts) > 1


def _fits(trace: dict, delta: np.ndarray) -> int:
    op = next(p for p in GRAPH.ops if p.layer == "conv2d3")
    x = trace[op.inputs[0]]
    padded = np.pad(x, ((0, 0), *op.padding, (0, 0)))
    width = op.weights.format.width
    fits = 0
    for u, v, c in np.ndindex(op.weights.shape[:3]):
        view = padded[:, u : u + x.shape[1], v : v + x.shape[2], c]
        for bit in range(width):
            weight = int(op.weights.values[u, v, c, 2])
            other = (weight % (1 << width)) ^ (1 << bit)
            other -= (1 << width) if other >= 1 << (width - 1) else 0
            fits += bool(((other - weight) * view == delta[..., 2]).all())
    return fits


def test_a_dumps_own_input_is_used(tmp_path: Path) -> None:
    codes = corner_codes(GRAPH, 20, seed=5)
    trace = Simulator(GRAPH).trace_codes(codes)
    dump = {"x": trace["x"], "requantize9": trace["requantize9"]}
    assert diff(GRAPH, None, dump).ok
    reals = {name: GRAPH[name].quantization.real(a).astype(np.float32) for name, a in dump.items()}
    np.savez(tmp_path / "dump.npz", **reals)
    assert diff(GRAPH, None, tmp_path / "dump.npz").samples == 20
    with pytest.raises(UsageError, match=r"does not hold input 'x'.*--input x.npy"):
        diff(GRAPH, None, {"requantize9": trace["requantize9"]})
    with pytest.raises(UsageError, match="only a dump brings its own input"):
        diff(GRAPH, None, "c")
    (tmp_path / "m.json").write_text(to_json(GRAPH))
    assert main(["diff", str(tmp_path / "m.json"), "--against", str(tmp_path / "dump.npz")]) == 0
    np.savez(tmp_path / "less.npz", requantize9=reals["requantize9"])
    assert main(["diff", str(tmp_path / "m.json"), "--against", str(tmp_path / "less.npz")]) == 2


def test_what_equal_codes_do_not_show() -> None:
    graph = qsim.load(MODEL)
    zeros = {"pixels": np.zeros((1, 8, 8, 1), dtype=np.int64)}
    result = diff(graph, zeros, Simulator(graph).trace_codes(zeros), codes=True)
    text = str(result)
    assert result.ok
    assert "What these samples could not show: no " in text
    assert "no value passed the upper limit of" in text
    assert "outer half of its proven range" in text
    rng = np.random.default_rng(0)
    many = {"pixels": rng.integers(0, 16, (200, 8, 8, 1))}
    trace = Simulator(graph).trace_codes(many)
    assert not any("exact half" in clause for clause in unseen(graph, trace))
    assert len(unseen(graph, trace)) < len(result.unseen)
    # A rounding that has no ties is no gap: the shift by 0 of relu2 never rounds.
    ones = {name: np.ones((1, *graph[name].shape), dtype=np.int64) for name in graph.tensors}
    halves = next(clause for clause in unseen(graph, ones) if "exact half" in clause)
    assert "'relu1', 'branch', 'relu3', 'pool'" in halves
    assert "4 of 5 roundings" in halves


def test_ties_are_counted_by_hand() -> None:
    graph = qsim.load(MODEL)
    op = next(p for p in graph.ops if p.output == "branch")  # a shift by 3
    x = {name: np.full(graph[name].shape, 0)[None] for name in graph.tensors}
    x["conv2"] = np.full((1, *graph["conv2"].shape), 8)
    assert any("'branch'" in clause for clause in unseen(graph, x) if "half" in clause)
    x["conv2"][0, 0, 0, 0] = 12
    assert op.rescale.shift.item() == 3
    assert not any("'branch'" in clause for clause in unseen(graph, x) if "half" in clause)


def test_float_kernels_of_tfmot_are_a_known_cause() -> None:
    keras = pytest.importorskip("tf_keras")
    tfmot = pytest.importorskip("tensorflow_model_optimization")
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((12, 12, 2)), keras.layers.Conv2D(6, 3), keras.layers.ReLU()]
    plain = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(3)])
    model = tfmot.quantization.keras.quantize_model(plain)
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).random((64, 12, 12, 2)).astype(np.float32)
    model.fit(x, np.zeros((64, 3)), epochs=2, verbose=0)
    graph = qsim.load(model)
    result = diff(graph, x, model)
    best = result.first.explanations[0]
    assert best.name == "float kernel"
    assert best.complete or best.nearly
    assert "no defect" in str(result)
    assert "No known cause" not in str(result)
