"""Build and run the HLS C++ target in C simulation with the real ap_int and hls_stream headers; read every tensor."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qsim import process
from qsim.errors import GraphError, ToolMissingError
from qsim.numerics import Array
from qsim.targets.hls.design import Design
from qsim.targets.target import Run
from qsim.version import install

INSTALL = install("hls")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of building and running the C simulation."""

    optimize: str = field(default="-O1", metadata={"help": "The compiler's optimisation flag."})


def compiler() -> str:
    """The C++ compiler: the environment's CXX, or g++, or clang++. Raises ToolMissingError if there is none."""
    wanted = os.environ.get("CXX")
    for name in [wanted] if wanted else ["g++", "clang++"]:
        if found := shutil.which(name):
            return found
    raise ToolMissingError(
        f"the HLS target needs a C++ compiler{f' ({wanted}, from CXX, is not there)' if wanted else ''}: install g++ "
        f"(apt install g++), and the headers of ap_int with {INSTALL}"
    )


def ap_types() -> Path:
    """The folder of ap_int.h and hls_stream.h: AP_TYPES, else Vitis' (XILINX_HLS), else the hls4ml package's.

    The package is found, not imported. Raises ToolMissingError if none of them has the headers.
    """
    candidates: list[Path] = []
    if named := os.environ.get("AP_TYPES"):
        candidates = [Path(named)]
    else:
        if vitis := os.environ.get("XILINX_HLS"):
            candidates.append(Path(vitis) / "include")
        try:
            spec = importlib.util.find_spec("hls4ml")
        except (ImportError, ValueError):
            spec = None
        for place in (spec.submodule_search_locations or []) if spec else []:
            candidates.append(Path(place) / "templates" / "vivado" / "ap_types")
    for folder in candidates:
        if (folder / "ap_int.h").is_file() and (folder / "hls_stream.h").is_file():
            return folder
    where = f" (AP_TYPES names {named}, which lacks them)" if named else ""
    raise ToolMissingError(
        f"the HLS target needs the headers ap_int.h and hls_stream.h{where}: {INSTALL}, or set XILINX_HLS to a Vitis "
        "HLS installation, or AP_TYPES to their folder"
    )


def build(directory: Path, top: str, out: Path, *, trace: bool, optimize: str = "-O1") -> Path:
    """Compile the C simulation in ``directory`` into the folder ``out``; returns the program.

    Raises GraphError with the compiler's first lines where the emitted files do not compile.
    """
    cxx, headers = compiler(), ap_types()
    flags = ["-std=c++14", optimize, "-w", f"-I{directory / 'lib'}", f"-I{directory / 'src'}", "-isystem", str(headers)]
    if trace:
        flags.append("-DQSIM_TRACE")
    objects = []
    # two processes: the test bench compiles while the design does
    commands = []
    for source in (directory / "src" / f"{top}.cpp", directory / "tb" / "testbench.cpp"):
        target = out / f"{source.stem}.o"
        objects.append(str(target))
        commands.append([cxx, *flags, "-c", str(source), "-o", str(target)])
    for done in process.run_all(commands, "the C++ compiler"):
        if done.returncode:
            lines = (done.stdout + done.stderr).splitlines()
            raise GraphError("hls: the emitted files do not compile:\n" + "\n".join(lines[:12]))
    program = out / "csim"
    linked = process.run([cxx, *objects, "-o", str(program)], "the C++ compiler")
    if linked.returncode:
        raise GraphError("hls: the emitted files do not link:\n" + "\n".join(linked.stderr.splitlines()[:12]))
    return program


def run(design: Design, directory: Path, codes: Mapping[str, Array], settings: Settings) -> Run[None]:
    """Compile what ``emit`` wrote into ``directory``, run all samples in one process, give every tensor's codes.

    codes: input tensor -> int64 (N, *shape). Gives tensor -> int64 (N, *shape), inputs and accumulators included.

    Raises ToolMissingError without compiler or headers, GraphError where the files do not compile or the run fails.
    """
    graph = design.graph
    ports = {port.tensor: port.file for port in design.inputs}
    with process.scratch("hls") as out:
        program = build(Path(directory), design.top, out, trace=True, optimize=settings.optimize)
        for tensor, name in ports.items():
            rows = np.asarray(codes[tensor], dtype=np.int64).reshape(len(codes[tensor]), -1).tolist()
            (out / name).write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
        done = process.run([str(program), str(out), str(out / "trace.bin")], "the C simulation of the HLS C++", cwd=out)
        if done.returncode:
            reason = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
            raise GraphError(f"hls: the C simulation failed: {reason[:2000]}")
        warnings = [line for line in done.stdout.splitlines() if "WARNING" in line]
        if warnings:
            raise GraphError(f"hls: a stream is read while empty or not drained: {warnings[0]}")
        samples = len(next(iter(codes.values())))
        trace = np.fromfile(out / "trace.bin", dtype=np.int64)
    order = [entry.tensor for entry in graph.inputs] + [op.output for op in graph.ops]
    sizes = [graph[name].size for name in order]
    if trace.size != samples * sum(sizes):
        raise GraphError(f"hls: the trace has {trace.size} codes, not {samples} samples of {sum(sizes)}")
    parts = np.split(trace.reshape(samples, -1), np.cumsum(sizes)[:-1], axis=1)
    tensors = {name: part.reshape(samples, *graph[name].shape) for name, part in zip(order, parts)}
    return Run(tensors=tensors, measured=None)


__all__ = ["Settings", "ap_types", "build", "compiler", "run"]
