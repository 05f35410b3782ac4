"""Real .onnx models through the targets: every element of every layer equal to the simulator's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the onnx package is not installed: pip install 'qsim-hw[dev]'")

import qsim
from qsim.compare.stimulus import sample_codes
from qsim.compare.verify import verify
from qsim.debug.diff.diff import diff
from qsim.importers.importer import ModelSource
from qsim.ir.ops import Dense
from qsim.numerics import IntArray
from qsim.simulate import Simulator

FORMATS = {"qkeras_jettagging": "fixed<16,6>"}
MODELS = (
    "TFC_1W2A",
    "TFC_2W2A",
    "qkeras_jettagging",
    "brevitas_cnn_po2_w4a4_qonnx",
    "ort_cnn_qdq_s8s8_perchannel",
    "ort_cnn_qoperator_u8u8",
)
SLOW = pytest.mark.slow


@pytest.mark.parametrize("target", ["c", pytest.param("hls", marks=SLOW), pytest.param("rtl", marks=SLOW)])
@pytest.mark.parametrize("name", MODELS)
def test_targets_give_the_simulators_integers(models: Path, name: str, target: str) -> None:
    graph = qsim.load(models / "onnx" / f"{name}.onnx", input_format=FORMATS.get(name))
    report = verify(graph, sample_codes(graph, 4, 1), (target,), codes=True)
    assert report.ok, str(report)


def test_the_jet_tagger_is_the_same_from_qkeras(models: Path) -> None:
    """The same codes at every quantizer, from the QONNX file and from QKeras' own archive."""
    from_onnx = qsim.load(models / "onnx" / "qkeras_jettagging.onnx", input_format="fixed<16,6>")
    from_keras = qsim.load(models / "qkeras" / "qkeras-v3_3layer.keras", input_format="fixed<16,6>")
    x = np.random.default_rng(2).integers(-(1 << 15), 1 << 15, (500, 16)) / 1024
    ours, theirs = (Simulator(graph).trace(x) for graph in (from_onnx, from_keras))
    for a, b in zip(("Quant_8", "Quant_9", "Quant_10"), ("relu1", "relu2", "relu3"), strict=True):
        assert len(np.unique(ours[a])) > 8
        assert np.array_equal(ours[a], theirs[b])
    assert np.array_equal(Simulator(from_onnx).run(x), Simulator(from_keras).run(x))


def test_diff_runs_the_executors(models: Path) -> None:
    """The residual CNN in qonnx, and the QOperator CNN in ONNX Runtime: no code differs."""
    for name, executor in (("brevitas_cnn_po2_w4a4_qonnx", "qonnx"), ("ort_cnn_qoperator_u8u8", "onnxruntime")):
        pytest.importorskip(executor, reason=f"{executor} is not installed: pip install 'qsim-hw[dev]'")
        source = ModelSource(model=models / "onnx" / f"{name}.onnx")
        graph = qsim.load(source)
        result = diff(graph, sample_codes(graph, 8, 3), (executor, source), codes=True)
        assert result.ok
        assert len(result.tensors) > 10


def test_diff_sees_a_changed_weight(models: Path) -> None:
    pytest.importorskip("qonnx", reason="qonnx is not installed: pip install 'qsim-hw[dev]'")
    source = ModelSource(model=models / "onnx" / "brevitas_mlp_w2a2_qonnx.onnx")
    graph = qsim.load(source)
    op = next(op for op in graph.ops if isinstance(op, Dense))
    weights = op.weights.values.copy()
    weights[:, 0] -= 1
    damaged = dataclasses.replace(op, weights=IntArray(weights))
    wrong = dataclasses.replace(graph, ops=tuple(damaged if o is op else o for o in graph.ops))
    assert not diff(wrong, sample_codes(graph, 8, 3), ("qonnx", source), codes=True).ok
