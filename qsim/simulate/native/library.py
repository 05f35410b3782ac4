"""The compiled kernels: built once a machine, kept by the hash of their source, flags, compiler and processor."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
from functools import lru_cache
from pathlib import Path

from qsim import process
from qsim.errors import ToolMissingError

SOURCE = Path(__file__).parent / "csrc"
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fwrapv", "-fPIC", "-shared")
"""No option may change what a float operation gives: contraction of products and sums is off. -fwrapv: the two's
complement that the kernels state."""


def compiler() -> list[str]:
    """The host's C compiler as a command: $CC, else the first of cc, gcc, clang. Raises ToolMissingError for none."""
    given = shlex.split(os.environ.get("CC", ""))
    for command in (given, ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    raise ToolMissingError("the native engine needs a C compiler (gcc or clang); engine='numpy' needs none")


def _processor() -> str:
    """What -march=native depends on: the processor's features, where the system tells them."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    return f"{platform.processor()} {platform.node()}"


def _key(command: list[str], extra: tuple[str, ...]) -> str:
    made = hashlib.sha256()
    version = process.run([*command, "--version"], "the C compiler").stdout
    for text in (" ".join((*command, *FLAGS, *extra)), version, platform.machine(), _processor()):
        made.update(text.encode() + b"\0")
    for path in sorted(SOURCE.iterdir()):
        made.update(path.name.encode() + b"\0" + path.read_bytes())
    return made.hexdigest()[:32]


def build(folder: Path, extra: tuple[str, ...] = ()) -> Path:
    """Compile the kernels into ``folder`` and return the library. Raises ToolMissingError where that fails.

    Written beside and renamed: several processes may build at once.
    """
    command = compiler()
    path = folder / f"kernels-{_key(command, extra)}.so"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with process.scratch("build", within=folder) as scratch:
        made = scratch / "kernels.so"
        sources = [str(p) for p in sorted(SOURCE.glob("*.c"))]
        line = [*command, *FLAGS, *extra, *sources, "-lm", "-o", str(made)]
        done = process.run(line, "compiling the native engine")
        if done.returncode:
            raise ToolMissingError(f"{command[0]} does not compile the native engine: {done.stderr.strip()[-600:]}")
        made.replace(path)
    return path


@lru_cache(maxsize=4)
def load(extra: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The kernels, compiled now where they are not kept yet. extra: further compiler options.

    Raises ToolMissingError without a compiler that takes them. A cache folder that cannot be written is replaced by a
    temporary one.
    """
    try:
        library = ctypes.CDLL(str(build(process.cache(), extra)))
    except OSError:
        with process.scratch("native") as folder:
            library = ctypes.CDLL(str(build(folder, extra)))
    run = library.qn_run
    run.restype = ctypes.c_int
    run.argtypes = (
        *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p),
        *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64),
    )
    return library


__all__ = ["build", "compiler", "load"]
