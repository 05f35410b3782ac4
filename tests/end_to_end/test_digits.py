"""The bundled digits CNN: simulator against what Keras recorded, and the whole demonstration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qsim.demo.flow import MODEL, Record, run
from qsim.importers import load
from qsim.simulate import Simulator


@pytest.fixture(scope="module")
def record() -> Record:
    return Record()


def test_every_layer_has_keras_codes(record: Record) -> None:
    """0 mismatching codes in every recorded layer, over the recorded images."""
    graph = load(MODEL)
    trace = Simulator(graph).trace(record.images[:100])
    assert len(record.layers) == 12
    for name, (codes, frac) in record.layers.items():
        # codes * 2**-frac and the tensor's values are both exact in float64: equality is equality of integers.
        assert np.array_equal(graph[name].quantization.real(trace[name]), codes * 2.0**-frac), name


def test_predictions_are_keras(record: Record) -> None:
    answers = Simulator(load(MODEL)).run(record.images).argmax(axis=-1)
    assert np.array_equal(answers, record.predictions)
    correct = int((answers == record.labels).sum())
    assert correct == round(float(record.arrays["accuracy"]) * len(record.labels))
    assert correct >= 0.96 * len(record.labels)


def test_recorded_codes_see_a_changed_weight(record: Record) -> None:
    """The comparison above can fail: another image's codes are not equal."""
    trace = Simulator(load(MODEL)).trace(record.images[1:101])
    assert not np.array_equal(trace["logits"], record.layers["logits"][0])


def test_loading_needs_no_tensorflow() -> None:
    script = (
        "import sys; from qsim.importers import load; from qsim.demo.flow import MODEL; load(MODEL);"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'qkeras')))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_demonstration(tmp_path: Path, record: Record) -> None:
    """All three targets, every tensor, a few images: everything equal, and the report written."""
    steps: list[str] = []
    result = run(tmp_path, images=4, progress=steps.append)
    assert result.verification.ok
    assert [r.target for r in result.verification.results] == ["c", "hls", "rtl"]
    graph = result.graph
    for target in result.verification.results:
        assert list(target.tensors) == list(graph.tensors)
        assert target.samples == 4
        assert np.array_equal(target.outputs["logits"], record.layers["logits"][0][:4])
    assert [a.source for a in result.accuracy] == ["Keras", "Simulator", "C", "HLS C++", "SystemVerilog"]
    assert {a.total for a in result.accuracy[2:]} == {4}
    assert steps
    page = result.report_path.read_text(encoding="utf-8")
    assert result.report_path == tmp_path / "report.html"
    assert "Bit-exact: 0 of" in page
    assert str(tmp_path) not in page
    for tensor in graph.tensors:
        assert f">{tensor}<" in page
