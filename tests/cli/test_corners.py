"""Command lines that people type by mistake: each is one paragraph, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qsim.cli import app as cli
from qsim.demo.flow import MODEL, Record


def refusal(capfd: pytest.CaptureFixture[str], *args: object) -> str:
    """The error paragraph of a command that must end with exit code 2."""
    assert cli.main([str(a) for a in args]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith(("...", "Usage:"))]
    assert lines[0].startswith("Error: ")
    assert all(line.strip() for line in lines)
    text = " ".join(lines)
    assert "bug in qsim" not in text
    return text


@pytest.mark.parametrize("command", [["run", MODEL, "--sanitize"], ["inspect", MODEL]])
def test_a_file_without_samples(capfd: pytest.CaptureFixture[str], tmp_path: Path, command: list[object]) -> None:
    np.save(tmp_path / "none.npy", Record().images[:0])
    assert "sample" in refusal(capfd, *command, "--input", tmp_path / "none.npy")


@pytest.mark.parametrize("command", ["demo", "compile", "vectors"])
def test_an_output_folder_inside_a_file(capfd: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    (tmp_path / "taken").write_text("kept")
    out = tmp_path / "taken" / "deeper"
    args = ["demo", "--images", 1] if command == "demo" else [command, MODEL]
    assert "taken" in refusal(capfd, *args, "-o", out)
    assert (tmp_path / "taken").read_text() == "kept"
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_a_report_that_cannot_be_written(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "page.html").symlink_to(tmp_path / "nowhere" / "page.html")
    args = ["diff", MODEL, "--against", MODEL, "--samples", 1, "--report", tmp_path / "page.html"]
    assert "page.html" in refusal(capfd, *args)


def test_public_names_need_no_import_of_their_own() -> None:
    names = "*inspect.signature(qsim.estimate.analyze_accumulator).parameters"
    code = f"import inspect, sys, qsim; print({names}, 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["in_model", "x", "verbose", "False"]  # qkeras.estimate's names
