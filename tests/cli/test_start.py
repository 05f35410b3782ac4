"""What the command line costs before it does anything: a command imports what it needs, examinations build nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest

from qsim.cli import app as cli
from qsim.demo.flow import MODEL
from qsim.targets.registry import TARGETS
from qsim.targets.rtl.design import Design

LOADED = """
import contextlib, io, sys
from qsim.cli.app import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main(sys.argv[1:]) == 0
print(" ".join(sorted(name for name in sys.modules)))
"""


def loaded(*args: object) -> set[str]:
    """The modules that a process has imported after a command."""
    command = [sys.executable, "-c", LOADED, *map(str, args)]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_help_imports_no_numbers() -> None:
    for args in (("--help",), ("--version",)):
        seen = loaded(*args)
        assert "click" in seen
        assert not seen & {"numpy", "rich", "jinja2", "h5py", "qsim.ir", "qsim.targets"}


HEAVY = {"tensorflow", "keras", "qkeras", "jinja2", "qsim.simulate", "qsim.importers.onnx", "distributed"}


def test_examinations_import_no_engine_and_no_framework(models: Path) -> None:
    seen = loaded("inspect", models / "tflite" / "pretrainedResnet_quant.tflite")
    assert "qsim.importers.tflite" in seen
    assert not seen & (HEAVY | {"h5py", "qsim.importers.keras.lower.graph"})
    seen = loaded("doctor", MODEL)
    assert "h5py" in seen
    assert not seen & HEAVY


def test_every_command_stands_where_it_is_said() -> None:
    context = click.Context(cli.cli)
    for name, (_, does) in cli.COMMANDS.items():
        command = cli.cli.get_command(context, name)
        assert command is not None
        assert (command.name, bool(command.help), does[-1]) == (name, True, ".")
    assert list(cli.COMMANDS) == sorted(cli.COMMANDS)
    assert cli.cli.get_command(context, "nothing") is None


def test_doctor_plans_and_emits_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(*args: object) -> None:
        raise AssertionError("called")

    for name, target in TARGETS.items():
        monkeypatch.setitem(TARGETS, name, replace(target, files=fail, run=fail))
    monkeypatch.setattr(Design, "schedule", property(fail))
    assert cli.main(["doctor", str(MODEL)]) == 0
    out = capfd.readouterr().out
    assert out.count("weights take") == len(TARGETS)
    assert cli.main(["inspect", str(MODEL)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("command", "most"), [("--help", 0.2), ("inspect", 1.0), ("doctor", 1.0)])
def test_cpu_seconds(command: str, most: float, models: Path, tmp_path: Path) -> None:
    """The least of several runs: a busy machine makes them longer, never shorter. The first one compiles."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path)
    model = models / "tflite" / "pretrainedResnet_quant.tflite"
    taken = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        args = [sys.executable, "-m", "qsim", command, *([] if command == "--help" else [str(model)])]
        subprocess.run(args, capture_output=True, check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(taken) < most
