"""Missing tools are named before anything is built, and never pass for agreement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from graphs import corner_codes, small_cnn

from qsim.cli import app as cli
from qsim.compare.stimulus import sample_codes
from qsim.compare.verify import verify
from qsim.demo.flow import MODEL
from qsim.demo.flow import run as demonstrate
from qsim.errors import ToolMissingError
from qsim.targets.registry import TARGETS, missing_tools, require_tools
from qsim.targets.rtl import verilator


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No program on PATH, no compiler or headers named in the environment."""
    verilator.environment.cache_clear()
    for name in ("CC", "CXX", "AP_TYPES", "XILINX_HLS", "VERILATOR_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    yield
    verilator.environment.cache_clear()


def test_every_target_has_checks() -> None:
    assert all(target.tools for target in TARGETS.values())


@pytest.mark.parametrize("target", list(TARGETS))
def test_nothing_is_missing_here(target: str) -> None:
    assert missing_tools(target) == []


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("target", list(TARGETS))
def test_a_missing_compiler_is_named(target: str) -> None:
    assert any("install" in text for text in missing_tools(target))
    with pytest.raises(ToolMissingError, match="install"):
        require_tools([target])
    graph = small_cnn()
    with pytest.raises(ToolMissingError):
        verify(graph, corner_codes(graph, 2), (target,), codes=True)


@pytest.mark.usefixtures("bare")
def test_the_demo_and_compile_write_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    with pytest.raises(ToolMissingError):
        demonstrate(out)
    assert cli.main(["compile", str(MODEL), "-o", str(out), "--verify"]) == 1
    assert "Error: " in capfd.readouterr().err
    assert not out.exists()
    assert cli.main(["compile", str(MODEL), "-o", str(out)]) == 0


def test_sample_codes_have_corners_and_repeat() -> None:
    graph = small_cnn()
    entry = graph.inputs[0]
    codes = sample_codes(graph, 9, seed=3)[entry.tensor]
    assert codes.shape == (9, *graph[entry.tensor].shape)
    assert (codes[0] == entry.low).all()
    assert (codes[1] == entry.high).all()
    assert np.array_equal(codes, sample_codes(graph, 9, seed=3)[entry.tensor])
    assert not np.array_equal(codes, sample_codes(graph, 9, seed=4)[entry.tensor])
    assert [len(sample_codes(graph, n, seed=3)[entry.tensor]) for n in (1, 2, 5, 6, 7)] == [1, 2, 5, 6, 7]
