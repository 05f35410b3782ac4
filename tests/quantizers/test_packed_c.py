"""Packed weights in the emitted C: bit counting by instruction and without, on this machine and on a Cortex-M."""

from __future__ import annotations

import importlib.util
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from built import ran

import qsim
from qsim.errors import QsimError
from qsim.targets.c.mcu.emulate import available

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import binary_mac  # noqa: E402

COUNTING = [case for case in binary_mac.CASES if re.search(r"\b[12]-bit inputs", case.label)]
MCU = pytest.mark.skipif(
    not available() or importlib.util.find_spec("ziglang") is None,
    reason="Zig and Unicorn are not installed: 'qsim-hw[mcu]'",
)
X86 = platform.machine() == "x86_64"


@pytest.mark.parametrize("flags", ["", pytest.param("-mpopcnt", marks=pytest.mark.skipif(not X86, reason="x86 only"))])
def test_bits_are_counted_by_the_instruction_and_without(flags: str, tmp_path: Path) -> None:
    """The instruction is there exactly where the flag allows it; no library function; the same codes either way."""
    assert len(COUNTING) == 3
    for number, case in enumerate(COUNTING):
        graph, folder = binary_mac.network(case, 37, 5), tmp_path / str(number)
        qsim.emit(graph, "c", folder)
        low, high = graph["x"].range
        codes = {"x": np.random.default_rng(0).integers(low, high + 1, size=(4, *graph["x"].shape))}
        found = ran(graph, "c", folder, codes, cc=f"cc {flags}")
        for name, expected in qsim.Simulator(graph).trace_codes(codes["x"]).items():
            assert np.array_equal(found[name], expected), (case.label, name)
        assembly = subprocess.run(
            ["cc", "-std=c99", "-O2", *flags.split(), "-S", "-o", "-", "model.c"],
            cwd=folder, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert bool(re.search(r"\bpopcnt", assembly)) == bool(flags) or not X86
        assert "__popcount" not in assembly


@MCU
@pytest.mark.parametrize("cpu", binary_mac.CORES)
def test_cortex_m_computes_what_the_simulator_does(cpu: str, tmp_path: Path) -> None:
    """Every kernel; the counts are plausible: packed weights take fewer instructions than bytes."""
    counts = {}
    for number, case in enumerate(binary_mac.CASES):
        graph = binary_mac.network(case, 32, 16)
        counts[case.label] = binary_mac.instructions(graph, tmp_path / str(number), cpu, ["-O2"])
        assert binary_mac.weight_bytes(tmp_path / str(number)) == 9 * 32 * 16 * int(case.label[0]) // 8
    assert all(c < counts["8-bit weights, 8-bit inputs"] for label, c in counts.items() if label.startswith("1-bit"))


@MCU
def test_a_wrong_bit_count_is_seen_on_the_cortex_m(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(graph: qsim.Graph, folder: Path) -> None:
        written(graph, folder)
        text = (folder / "qsim_bits.h").read_text()
        assert "0x0f0f0f0f" in text
        (folder / "qsim_bits.h").write_text(text.replace("0x0f0f0f0f", "0x0f0f0f0e"))

    written = binary_mac.write
    monkeypatch.setattr(binary_mac, "write", write)
    with pytest.raises(QsimError, match="on cortex-m4 the program computes"):
        binary_mac.instructions(binary_mac.network(COUNTING[0], 32, 4), tmp_path, "cortex-m4", ["-O2"])
