"""The emitted RTL under a generated C++ bench on Verilator: fast, for many samples and for counting cycles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsim import process
from qsim.errors import QsimError
from qsim.numerics import Array
from qsim.targets.rtl import verilator
from qsim.targets.rtl.design import Design
from qsim.targets.rtl.trace import read_traces
from qsim.targets.text import environment as templates


@dataclass(frozen=True, kw_only=True)
class NativeRun:
    """tensors: every tensor's codes (N, *shape), from the trace. outputs: output port -> codes as they left.
    completions: cycle of each frame's last output beat, the first accepted input beat being in cycle 0."""

    tensors: dict[str, Array]
    outputs: dict[str, Array]
    completions: tuple[int, ...]


class NativeBench:
    """A built simulation of the design in ``directory``; ``run`` may be called many times."""

    def __init__(self, design: Design, directory: Path, build: Path, *, optimize: bool = False) -> None:
        self.design, self.directory, self.build = design, directory.resolve(), build
        files = (self.directory / "sources.f").read_text(encoding="utf-8").split()
        slowest = max([*design.schedule.cycles.values(), design.schedule.latency])
        views = {
            "module": design.module,
            "ports": [
                {
                    "prefix": p.prefix,
                    "input": p.input,
                    "size": p.size,
                    "mask": "" if p.tdata in (8, 16, 32, 64) else f" & {(1 << p.tdata) - 1:#x}ull",
                }
                for p in design.ports
            ],
            "patience": 20 * slowest + 10000,
            "warm": design.warm,
            "settle": design.schedule.latency + 200,
        }
        self.program = verilator.build_native(
            [self.directory / name for name in files],
            design.module,
            templates().get_template("rtl/bench/main.cpp.j2").render(views),
            build,
            arguments=["-DQSIM_TRACE", f'-GMEM_DIR="{self.directory / "mem"}"'],
            optimize=optimize,
        )

    def run(
        self, codes: Mapping[str, Array], *, idle: float = 0.0, backpressure: float = 0.0, seed: int = 1
    ) -> NativeRun:
        """Send ``codes`` (input tensor -> (N, *shape)) and gather everything. idle, backpressure: how often, 0 to 1,
        the source pauses and the sink is not ready. Raises QsimError if the design stops."""
        frames = len(next(iter(codes.values())))
        with process.scratch("rtl") as folder:
            for port in self.design.ports:
                if port.input:
                    flat = np.asarray(codes[port.tensor]).reshape(-1)
                    text = "\n".join(map(str, flat.tolist()))
                    (folder / f"{port.prefix}.in").write_text(text + "\n", encoding="utf-8")
            numbers = map(str, (round(idle * 1000), round(backpressure * 1000), seed, frames))
            command = [str(self.program), str(folder), *numbers, f"+qsim_trace={folder}"]
            said = verilator.run(command, folder, "the RTL simulation")
            if "stuck" in said:
                raise QsimError(
                    f"the RTL design stops: no beat moved for a long time ({said.strip().splitlines()[-1]})"
                )
            first = min(int(line.split()[1]) for line in said.splitlines() if line.startswith("s_axis"))
            last = [0] * frames
            outputs = {}
            for port in self.design.ports:
                if not port.input:
                    rows = np.loadtxt(folder / f"{port.prefix}.out", dtype=np.uint64, ndmin=2)
                    times = rows[:, 0].astype(np.int64).reshape(frames, port.size)
                    flags = rows[:, 2].reshape(frames, port.size)
                    if not (flags[:, -1] == 1).all() or flags[:, :-1].any():
                        raise QsimError(f"port {port.prefix}: TLAST is not on the last beat of every frame alone")
                    outputs[port.prefix] = _sign(rows[:, 1], port.tdata, port.signed).reshape(frames, port.size)
                    last = [max(a, int(b) - first) for a, b in zip(last, times[:, -1])]
            tensors = read_traces(self.design, folder, frames)
        return NativeRun(tensors=tensors, outputs=outputs, completions=tuple(last))


def _sign(raw: Array, width: int, signed: bool) -> Array:
    """Unsigned TDATA as codes."""
    if not signed:
        return raw.astype(np.int64)
    shift = np.uint64(64 - width)
    return (raw << shift).view(np.int64) >> np.int64(64 - width)
