"""docs/binary.md: its example runs as printed, its tables hold what the code does."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import qsim
from qsim.cli import app as cli
from qsim.demo.flow import MODELS
from qsim.targets.files import emit
from qsim.targets.weight_memory import weight_memory

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "binary.md").read_text(encoding="utf-8")
sys.path.insert(0, str(ROOT / "benchmarks"))

import binary_mac  # noqa: E402


def table(heading: str) -> list[list[str]]:
    """The cells of the last table under a heading, its head left out."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    last = max(k for k, row in enumerate(rows) if set("".join(row)) <= set("-"))
    return [[cell.strip(" `") for cell in row] for row in rows[last + 1 :]]


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_the_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = map(float, re.search(r"loss ([\d.]+) to ([\d.]+)", done.stdout).groups())
    assert after < 0.8 * before
    assert re.search(r"c: equal, .* codes compared, 0 differ", done.stdout)


def test_the_memory_table_is_inspects() -> None:
    found = weight_memory(qsim.load(MODELS["blueoil"][0]))
    c, rtl = [m.stored["c"] for m in found], [m.stored["rtl"] for m in found]
    shown = [
        [m.tensor, str(m.count), m.encoding, str(in_c.bits // 8), in_c.kernel, str(in_rtl.bits)]
        for m, in_c, in_rtl in zip(found, c, rtl)
    ]
    *rows, total = table("Weight memory")
    assert rows == shown
    sums = sum(m.count for m in found), sum(s.bits for s in c) // 8, sum(s.bits for s in rtl)
    assert total == ["total", str(sums[0]), "", str(sums[1]), "", str(sums[2])]


def test_the_benchmark_table_names_the_kernels(tmp_path: Path) -> None:
    """Figures are the command's; cases, kernels and sizes are checked here."""
    rows = table("Instructions per multiply-accumulate")
    assert [row[0] for row in rows] == [case.label for case in binary_mac.CASES]
    for number, (row, case) in enumerate(zip(rows, binary_mac.CASES)):
        folder = tmp_path / str(number)
        emit(binary_mac.network(case, 64, 64), "c", folder)
        assert row[1:3] == [binary_mac.kernel_of(folder), str(binary_mac.weight_bytes(folder))]
        assert len(row) == 3 + len(binary_mac.MACHINES)
    packed = [float(cell) for row in rows[1:5] for cell in row[3:]]
    assert max(packed) < 3


def test_commands_and_links() -> None:
    for command in re.findall(r"`?qsim (inspect|demo)\b", PAGE):
        assert command in cli.COMMANDS
    for path in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / path).is_file()
    for path in re.findall(r"`((?:examples|qsim/demo|benchmarks)/\w+\.\w+)`|python (benchmarks/\w+\.py)", PAGE):
        assert (ROOT / "".join(path)).is_file()
