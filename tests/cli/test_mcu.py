"""qsim compile --mcu: what it prints, what it refuses, and its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphs import corner_codes
from tiled_graphs import TILED_GRAPHS

from qsim.cli import app, mcu
from qsim.demo.flow import MODEL
from qsim.simulate import Simulator
from qsim.targets.c.mcu.emulate import available
from qsim.targets.files import emit

pytestmark = pytest.mark.skipif(not available(), reason="pip install 'qsim-hw[mcu]'")


def test_a_core_beside_compile(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["compile", str(MODEL), "-o", str(tmp_path), "--target", "c", "--mcu", "cortex-m4", "--samples", "1"]
    assert app.main(arguments) == 0
    out = capfd.readouterr().out
    assert "cortex-m4: every tensor of 1 samples equals the simulator's" in out
    assert "Instructions by layer" in out
    assert app.main([*arguments[:4], "--target", "hls", "--mcu", "cortex-m4"]) == 2
    assert "--mcu runs the emitted C: add --target c" in capfd.readouterr().err


def test_a_difference_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = TILED_GRAPHS["dense_tiles"]()
    simulator = Simulator(graph)
    codes = corner_codes(graph, 2)
    emit(graph, "c", tmp_path)
    found = mcu.run_on(simulator, codes, tmp_path, ["cortex-m4", "cortex-m4"], print)
    assert list(found) == ["cortex-m4"]
    assert mcu.show(found)
    assert f"{found['cortex-m4'].counted.instructions:,}" in capsys.readouterr().out
    weights = tmp_path / "weights.c"
    lines = weights.read_text().splitlines()
    at = next(k for k, line in enumerate(lines) if "__addend[" in line)
    lines[at + 1] = lines[at + 1].replace("-", "")
    weights.write_text("\n".join(lines) + "\n")
    found = mcu.run_on(simulator, codes, tmp_path, ["cortex-m4"], print)
    assert not mcu.show(found)
    assert f"DIFFER, the first is {graph.ops[1].output}" in capsys.readouterr().out
