"""Cross-compiles emitted C with a program around it that the emulator can run: by gcc, else by the Clang in ziglang."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qsim import process
from qsim.errors import ToolMissingError
from qsim.ir import Graph
from qsim.targets.c.mcu.cpus import Cpu
from qsim.targets.c.mcu.elf import Elf, Sizes, read_elf
from qsim.targets.c.run import CBuildError
from qsim.targets.c.types import storage
from qsim.targets.text import environment, header_lines
from qsim.version import install

OPTIMIZE = {"speed": "-O3", "size": "-Os"}
LAYER = "-DQSIM_LAYER=static __attribute__((noinline))"
"""Keeps the layer functions apart, so that instructions can be counted by layer."""

_FLAGS = ("-std=c99", "-ffreestanding", "-nostdlib", "-fno-builtin-printf")


@dataclass(frozen=True)
class Port:
    """An input or output of the model: tensor name, symbol in the program (bench_<name>), C type, elements."""

    tensor: str
    name: str
    type: str
    dtype: str
    size: int
    shape: tuple[int, ...]

    @property
    def argument(self) -> str:
        return f"bench_{self.name}"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A built model. sizes: of the model's own objects; kernels: bytes of its functions that are no layer."""

    cpu: Cpu
    compiler: str
    flags: tuple[str, ...]
    elf: Elf
    sizes: Sizes
    kernels: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena: int


def compiler_for(cpu: Cpu, compiler: str | None = None) -> tuple[str, list[str]]:
    """(what to call it, its command) for ``compiler``: gcc, zig, or None for the first that is there.

    Raises ToolMissingError.
    """
    if compiler in (None, "gcc") and shutil.which(cpu.gcc):
        return "gcc", [cpu.gcc, *cpu.gcc_flags]
    if compiler in (None, "zig") and importlib.util.find_spec("ziglang") is not None:
        return "zig", [sys.executable, "-m", "ziglang", "cc", *cpu.zig_flags]
    raise ToolMissingError(
        f"no cross compiler for {cpu.name}: install {cpu.gcc} (Debian: apt-get install gcc-arm-none-eabi "
        f"gcc-riscv64-unknown-elf) or {install('mcu')}"
    )


def _ports(graph: Graph, names: Sequence[str], direction: str) -> tuple[Port, ...]:
    ports = []
    for k, name in enumerate(names):
        t = storage(graph[name].format)
        ports.append(Port(name, f"{direction}{k}", t.name, t.dtype, graph[name].size, graph[name].shape))
    return tuple(ports)


def _compile(command: list[str], cwd: Path, what: str) -> None:
    done = process.run(command, "the cross compiler", cwd=cwd)
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).splitlines()[:12])
        raise CBuildError(f"the emitted C {what} (exit code {done.returncode}):\n{tail}")


def build(
    graph: Graph,
    directory: Path,
    scratch: Path,
    cpu: Cpu,
    *,
    optimize: str = "speed",
    compiler: str | None = None,
    trace: bool = False,
    flags: Sequence[str] = (),
) -> Program:
    """Compile the files that ``emit`` wrote into ``directory``; objects and program go to ``scratch``.

    optimize: speed or size, a key of OPTIMIZE. trace: with every tensor traced. flags: further compiler flags.
    Raises ToolMissingError, CBuildError.
    """
    called, command = compiler_for(cpu, compiler)
    header = (directory / "model.h").read_text()
    prefix, arena = re.search(r"int (\w+)_run\(", header), re.search(r"_ARENA_BYTES (\d+)u", header)
    if prefix is None or arena is None:
        raise CBuildError(f"{directory} holds no model.h that qsim emitted")
    inputs = _ports(graph, [i.tensor for i in graph.inputs], "in")
    outputs = _ports(graph, list(dict.fromkeys(x.tensor for x in graph.outputs)), "out")
    view = {"header": header_lines(graph, "c"), "prefix": prefix[1], "macro": prefix[1].upper()}
    text = environment().get_template("c/mcu/bench.c.j2").render(view | {"ports": [*inputs, *outputs]})
    (scratch / "bench.c").write_text(text)
    chosen = [*_FLAGS, OPTIMIZE[optimize], LAYER, *(["-DQSIM_TRACE"] if trace else []), *flags, f"-I{directory}"]
    if called == "zig":
        chosen += ["-fno-sanitize=all", "-g"]  # it strips symbols at -Os otherwise
    objects = []
    for source in (directory / "model.c", directory / "weights.c", scratch / "bench.c"):
        objects.append(f"{source.stem}.o")
        _compile([*command, *chosen, "-c", str(source), "-o", objects[-1]], scratch, "does not compile")
    link = ["-lgcc"] if called == "gcc" else []
    _compile([*command, *chosen, "-Wl,-e,bench", *objects, *link, "-o", "bench.elf"], scratch, "does not link")
    parts = [read_elf(scratch / name) for name in objects[:2]]
    summed = Sizes(*(sum(getattr(p.sizes, key) for p in parts) for key in ("text", "rodata", "data", "bss")))
    code = {s.address: s for s in parts[0].symbols if s.function}
    own = sum(s.size for s in code.values() if not is_layer(s.name) and not s.name.endswith("_run"))
    return Program(
        cpu=cpu,
        compiler=called,
        flags=(OPTIMIZE[optimize], *flags),
        elf=read_elf(scratch / "bench.elf"),
        sizes=summed,
        kernels=own,
        inputs=inputs,
        outputs=outputs,
        arena=int(arena[1]),
    )


def is_layer(symbol: str) -> bool:
    """Whether a function of model.c is a layer's, not a kernel's."""
    return symbol.startswith("layer_")


__all__ = ["OPTIMIZE", "Port", "Program", "build", "compiler_for", "is_layer"]
