"""``--rescale`` and the proofs that ``inspect`` prints, on a QKeras model."""

from __future__ import annotations

import re

import numpy as np
import pytest

import qsim
from qsim.cli.app import main

keras = pytest.importorskip("keras")
qkeras = pytest.importorskip("qkeras")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A convolution, a normalization and an average over nine: none of their factors is a power of two."""
    keras.utils.set_random_seed(2)
    bits = qkeras.quantized_bits(4, 0, alpha=1)
    i = keras.Input((6, 6, 1), name="x")
    x = qkeras.QActivation("quantized_bits(6,1)", name="q")(i)
    x = qkeras.QConv2D(4, 3, kernel_quantizer=bits, bias_quantizer=bits, name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = qkeras.QActivation("quantized_bits(8,2)", name="wide")(x)
    x = keras.layers.AveragePooling2D(3, 1, name="mean")(x)
    x = qkeras.QActivation("quantized_relu(3,1)", name="few")(x)
    network = keras.Model(i, x, name="rescaled")
    rng = np.random.default_rng(1)
    for v in network.weights:
        v.assign(rng.uniform(0.3, 1.7, v.shape) if "norm" in v.path else rng.normal(0, 0.5, v.shape))
    path = tmp_path_factory.mktemp("rescale") / "model.keras"
    network.save(path)
    return path


def test_inspect_prints_the_proof(model, capsys):
    assert main(["inspect", str(model)]) == 0
    out = capsys.readouterr().out
    (wide,) = [line for line in out.splitlines() if re.match(r"\s*wide\s+multiplier\b", line)]
    graph = qsim.load(model)
    op = next(op for op in graph.ops if op.output == "wide")
    bits = op.rescale.multiplier.high.bit_length()
    low, high = graph[op.inputs[0]].range
    assert f"multiplier {bits} bit" in wide
    assert f"[{low}, {high}]" in wide
    values = int(re.search(r"all (\d+) equal", wide)[1])
    # Four channels, each with its own proven range.
    acc = qsim.Simulator(graph).trace(np.zeros((1, 6, 6, 1)))[op.inputs[0]]
    assert acc.shape[-1] == 4
    assert high - low + 1 < values <= 4 * (high - low + 1)
    (few,) = [line for line in out.splitlines() if re.match(r"\s*few\s+thresholds\b", line)]
    assert "7 thresholds" in few
    assert "equal" in few


def test_multipliers_of_few_bits_are_counted_and_verified(model, capsys, tmp_path):
    exact, x = qsim.load(model), np.random.default_rng(0).normal(0, 1, (300, 6, 6, 1))
    graph = qsim.load(model, rescale="multiplier:3")
    note = next(n for n in graph.notes if "multiplier:3" in n)
    total = int(re.search(r"(\d+) of the \d+ accumulator values", note)[1])
    assert total > 0
    ours, theirs = (qsim.Simulator(g).trace(x)["wide"] for g in (graph, exact))
    assert (ours != theirs).any()
    assert qsim.verify(graph, x[:3], ("c",)).ok
    assert main(["inspect", str(model), "--rescale", "multiplier:3"]) == 0
    out = capsys.readouterr().out
    assert "DIFFER" in out
    assert f"in all, {total} of the" in " ".join(out.split())
    out_dir = tmp_path / "out"
    assert main(["compile", str(model), "--rescale", "multiplier:3", "--target", "c", "-o", str(out_dir)]) == 0
    out = capsys.readouterr().out
    assert f"Rescales: {total} of " in " ".join(out.split())
    assert f"in all, {total} of the" in (out_dir / "c" / "README.md").read_text().replace("\n", " ")
    # Enough bits for the normalization. The mean of nine has ties that break both ways: no multiplier does that.
    notes = qsim.load(model, rescale="multiplier:24").notes
    assert not any("Layer 'wide'" in n for n in notes)
    assert any("Layer 'few'" in n for n in notes)


@pytest.mark.parametrize(
    "rescale", ["multiplier:3", *(pytest.param(f"multiplier:{n}", marks=pytest.mark.slow) for n in (1, 2, 8, 24))]
)
def test_every_target_computes_with_the_chosen_multipliers(model, rescale):
    graph, rng = qsim.load(model, rescale=rescale), np.random.default_rng(0)
    low, high = graph["q"].range
    codes = np.concatenate([rng.integers(low, high + 1, (20, 6, 6, 1)), np.full((1, 6, 6, 1), low)])
    report = qsim.verify(graph, codes, codes=True)
    assert report.ok, report
    assert {result.target for result in report.results} == {"c", "hls", "rtl"}


def test_every_command_that_loads_takes_it(model, capsys, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 6, 6, 1)))
    for command in (
        ["run", "--input", str(tmp_path / "x.npy")],
        ["doctor"],
        ["estimate", "--samples", "2"],
        ["explain", "wide"],
        ["diff", "--against", str(model), "--samples", "40"],
        ["vectors", "-o", str(tmp_path / "v"), "--samples", "2", "--layer", "wide"],
    ):
        code = main([command[0], str(model), *command[1:], "--rescale", "multiplier:2"])
        assert code == (1 if command[0] == "diff" else 0), command
        capsys.readouterr()
    assert main(["run", str(model), "--input", str(tmp_path / "x.npy"), "--rescale", "three"]) == 2
    assert "neither 'exact' nor 'multiplier:N'" in " ".join(capsys.readouterr().err.split())


def test_other_sources_bring_their_own(models, tmp_path, capsys):
    path = next(iter(sorted(models.rglob("*.tflite"))), None)
    if path is None:
        pytest.skip("no .tflite model at hand")
    assert main(["inspect", str(path), "--rescale", "multiplier:8"]) == 2
    assert "multipliers are the file's own" in " ".join(capsys.readouterr().err.split())
    assert main(["inspect", str(path), "--rescale", "exact"]) == 0
    assert "the source file's own multiplier" in capsys.readouterr().out
