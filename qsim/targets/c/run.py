"""Builds the emitted C with the trace on and runs it: every tensor's codes, as the C program computed them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qsim import process
from qsim.errors import QsimError, ToolMissingError
from qsim.ir import Graph
from qsim.numerics import Array
from qsim.targets.c.design import Design
from qsim.targets.c.types import storage
from qsim.targets.target import Run

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
OPTIMIZED = ("-O2",)
SANITIZED = ("-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SOURCES = ("model.c", "weights.c", "main.c")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of building and running the emitted C."""

    sanitize: bool = field(
        default=False, metadata={"help": "Stop at the first undefined behaviour or invalid access (UBSan, ASan)."}
    )
    cc: str | None = field(default=None, metadata={"help": "The compiler's command; default: CC, else cc."})


@dataclass(frozen=True, kw_only=True)
class Measured:
    """compiler: the command that built the program."""

    compiler: str


class CBuildError(QsimError):
    """The emitted C does not compile, or its program stops with an error: a defect of qsim or of edited files."""


def compiler(cc: str | None = None) -> str:
    """The C compiler's command: ``cc``, else the environment's CC, else "cc". Raises ToolMissingError if absent."""
    name = cc or os.environ.get("CC") or "cc"
    if shutil.which(name.split()[0]) is None:
        raise ToolMissingError(
            f"the C compiler {name!r} is not installed: install gcc or clang (Debian and Ubuntu: apt-get install gcc) "
            "or set the environment variable CC"
        )
    return name


def _record(graph: Graph, names: list[str]) -> np.dtype[np.void]:
    fields = [(f"f{k}", storage(graph[name].format).dtype, (graph[name].size,)) for k, name in enumerate(names)]
    return np.dtype(fields)


def _call(command: list[str], cwd: Path, what: str, layer: str, program: str) -> None:
    environment = {**os.environ, "LC_ALL": "C", "ASAN_OPTIONS": "detect_leaks=0"}
    done = process.run(command, program, cwd=cwd, env=environment)
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).splitlines()[:12])
        raise CBuildError(f"the emitted C of model {layer!r} {what} (exit code {done.returncode}):\n{tail}")


def run(design: Design, directory: Path, codes: Mapping[str, Array], settings: Settings) -> Run[Measured]:
    """Compile the files that ``emit`` wrote into ``directory`` and run them on ``codes``.

    codes: input tensor name -> int64 (N, *shape). Gives every tensor of the graph, in its order, as int64 (N, *shape).
    The build is strict (-Wall -Wextra -Wconversion -Wshadow -Werror, C99) and made in a temporary folder. All samples
    go through one process, one after another in the same arena.

    Raises ToolMissingError without a compiler, CBuildError where compiling or running fails, TimeLimitError where they
    do not end.
    """
    graph = design.graph
    command = compiler(settings.cc).split()
    source = Path(directory).resolve()
    inputs = [i.tensor for i in graph.inputs]
    batch = next(iter(codes.values())).shape[0]
    vectors = np.zeros(batch, dtype=_record(graph, inputs))
    for k, name in enumerate(inputs):
        vectors[f"f{k}"] = np.asarray(codes[name]).reshape(batch, -1)
    with process.scratch("c") as build:
        flags = [*WARNINGS, *(SANITIZED if settings.sanitize else OPTIMIZED), "-DQSIM_TRACE", f"-I{source}"]
        files = [str(source / name) for name in SOURCES]
        line = [*command, *flags, *files, "-o", str(build / "model_test")]
        _call(line, build, "does not compile", graph.name, f"the C compiler {command[0]!r}")
        (build / "inputs.bin").write_bytes(vectors.tobytes())
        line = ["./model_test", "inputs.bin", "outputs.bin", "trace.bin"]
        _call(line, build, "fails when it runs", graph.name, "the program of the emitted C")
        names = list(graph.tensors)
        record = _record(graph, names)
        if (build / "trace.bin").stat().st_size != batch * record.itemsize:
            raise CBuildError(f"the emitted C of model {graph.name!r} wrote an incomplete trace")
        trace = np.fromfile(build / "trace.bin", dtype=record)
    tensors = {name: trace[f"f{k}"].astype(np.int64).reshape(batch, *graph[name].shape) for k, name in enumerate(names)}
    return Run(tensors=tensors, measured=Measured(compiler=" ".join(command)))


__all__ = ["CBuildError", "Measured", "Settings", "compiler", "run"]
