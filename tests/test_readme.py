"""What README.md promises: its Python example runs as printed, its commands and files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from qsim.cli import app as cli
from qsim.importers.keras.lower.graph import LAYERS
from qsim.quantizers import QUANTIZERS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len(example.splitlines()) <= 14
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for target in ("c", "hls", "rtl"):
        assert f"{target}: equal" in done.stdout
    assert (tmp_path / "out" / "c" / "model.c").is_file()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^    make (\w+)$", README, flags=re.M):
        assert re.search(rf"^{target}:", makefile, flags=re.M)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^    qsim (\w+)", README, flags=re.M))))
def test_commands_exist(command: str) -> None:
    assert command in cli.COMMANDS


def test_what_is_called_supported_is() -> None:
    """Every name of the table of sources is a layer or a quantizer that the import knows."""
    table = README.split("## What is supported")[1].split("\n\n")[1]
    names = [name for row in table.splitlines()[2:4] for name in re.findall(r"`(\w+)`", row)]
    assert len(names) > 40
    assert not [name for name in names if name not in LAYERS and name not in QUANTIZERS]
    assert sorted(n for n in names if n in QUANTIZERS) == sorted(QUANTIZERS)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).is_file()
