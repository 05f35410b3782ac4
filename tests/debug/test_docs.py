"""docs/debugging.md shows real output: the samples on the bundled model are what the commands print."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import qsim
from qsim.cli import main
from qsim.demo.flow import MODEL, Record
from qsim.targets.files import emit

DOCS = Path(__file__).parents[2] / "docs" / "debugging.md"


def sample(command: str) -> list[str]:
    """The indented block behind the line of a command, without the blanks at line ends and between paragraphs."""
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"    {command}"))
    found = []
    for line in lines[start + 1 :]:
        if line and not line.startswith("    "):
            break
        found += [line[4:].rstrip()] if line.strip() else []
    assert len(found) > 5
    return found


def sizeless(line: str) -> str:
    """Without the sizes of written files, which every word in a template changes."""
    return re.sub(r"[\d,]+ bytes; README", "N bytes; README", line)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("qsim diff digits.keras --against out-c --samples 40 --terms 3", 1),
        ("qsim run digits.keras --input x.npy -o y.npy --sanitize", 0),
        ("qsim vectors digits.keras -o vectors --samples 8", 0),
        ("qsim estimate digits.keras", 0),
    ],
)
def test_samples_are_what_is_printed(
    command: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    np.save("x.npy", Record().images[:5])
    if "out-c" in command:
        emit(qsim.load(MODEL), "c", "out-c")
        weights = Path("out-c", "weights.c")
        text, count = re.subn(r"(digits_branch__shift\[[^{]*\{\s*)3", r"\g<1>4", weights.read_text())
        assert count == 1
        weights.write_text(text)
    assert main([str(MODEL) if part == MODEL.name else part for part in command.split()[1:]]) == code
    printed = [line.rstrip() for line in capfd.readouterr().out.splitlines() if line.strip()]
    shown = sample(command)
    start = printed.index(shown[0])
    assert [sizeless(line) for line in printed[start : start + len(shown)]] == [sizeless(line) for line in shown]
