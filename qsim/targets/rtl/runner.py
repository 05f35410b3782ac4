"""cocotb's runner on Verilator: builds a design and runs a bench on it, each in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qsim import process
from qsim.errors import QsimError, ToolMissingError
from qsim.targets.rtl import verilator


@dataclass(frozen=True, kw_only=True)
class Built:
    """A design that cocotb's benches can run on. folder: of the build. waves: whether runs leave a waveform there."""

    top: str
    folder: Path
    timescale: tuple[str, str]
    waves: bool
    make_flags: tuple[str, ...]


class RunnerError(QsimError):
    """The design does not build, or its bench fails; the text is what the tools said."""


def build(
    top: str,
    sources: Sequence[Path],
    folder: Path,
    *,
    includes: Sequence[Path] = (),
    arguments: Sequence[str] = (),
    defines: Mapping[str, int] | None = None,
    parameters: Mapping[str, object] | None = None,
    timescale: tuple[str, str] = ("1ns", "1ps"),
    waves: bool = False,
    make_flags: Sequence[str] = (),
) -> Built:
    """Verilate ``sources`` with module ``top`` into ``folder``. parameters: of the top, as text or numbers.

    Raises ToolMissingError without Verilator or cocotb, RunnerError with the tools' last words, TimeLimitError.
    """
    packages()
    folder.mkdir(parents=True, exist_ok=True)
    made = Built(top=top, folder=folder, timescale=timescale, waves=waves, make_flags=tuple(make_flags))
    call = {
        "sources": [str(path.resolve()) for path in sources],
        "includes": [str(path.resolve()) for path in includes],
        "hdl_toplevel": top,
        "parameters": dict(parameters or {}),
        "defines": dict(defines or {}),
        "build_dir": str(folder),
        "build_args": ["-Wno-fatal", *arguments],
        "waves": waves,
        "timescale": timescale,
        "log_file": str(folder / "build.log"),
    }
    _run(made, "build", call, folder, {}, "building the RTL design")
    return made


def run_bench(
    made: Built, module: str, folder: Path, *, environment: Mapping[str, str], plusargs: Sequence[str] = ()
) -> None:
    """Run the bench in Python module ``module`` on a built design, in ``folder``.

    Raises RunnerError with the tools' last words where it fails, TimeLimitError.
    """
    call = {
        "test_module": module,
        "hdl_toplevel": made.top,
        "hdl_toplevel_lang": "verilog",
        "build_dir": str(made.folder),
        "test_dir": str(folder),
        "results_xml": str(folder / "results.xml"),
        "plusargs": list(plusargs),
        "waves": made.waves,
        "timescale": made.timescale,
        "log_file": str(folder / "test.log"),
    }
    _run(made, "test", call, folder, environment, "the cosimulation")


def _run(made: Built, step: str, call: Mapping[str, object], folder: Path, more: Mapping[str, str], what: str) -> None:
    settings = folder / f"runner-{step}.json"
    settings.write_text(json.dumps({step: call}), encoding="utf-8")
    environment = verilator.environment() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}
    environment["MAKEFLAGS"] = " ".join([environment["MAKEFLAGS"], *made.make_flags])
    child = Path(__file__).with_name("cocotb_child.py")
    # -P: the program's folder is no place to import from
    done = process.run([sys.executable, "-P", str(child), str(settings)], what, cwd=folder, env=environment)
    if done.returncode:
        raise RunnerError(f"{done.stderr.strip()[-500:]}. {last_words(folder / f'{step}.log')}")


def last_words(log: Path) -> str:
    """The last errors in a log, else its last lines; nothing without the file."""
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    errors = [line for line in lines if "rror" in line] or lines
    return " ".join(errors[-6:])[-1500:]


def packages() -> None:
    """Raise ToolMissingError unless cocotb and its bus models are installed."""
    for module in ("cocotb", "cocotb_tools", "cocotbext.axi"):
        if not _present(module):
            raise ToolMissingError(f"cosimulation needs the package {module!r}; {verilator.HOW}")


def _present(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


__all__ = ["Built", "RunnerError", "build", "last_words", "packages", "run_bench"]
