"""Emitted C on one core: every tensor compared with the simulator's, and what an inference takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsim import process
from qsim.ir import Graph
from qsim.numerics import Array
from qsim.targets.c.mcu.build import Program, build
from qsim.targets.c.mcu.cpus import cpu_named
from qsim.targets.c.mcu.emulate import Counted, Machine


@dataclass(frozen=True, kw_only=True)
class Checked:
    """different: tensors whose codes are not the simulator's, in graph order; program and counted: of the build without
    the trace, by its first sample."""

    different: tuple[str, ...]
    samples: int
    program: Program
    counted: Counted


def check(
    graph: Graph,
    directory: Path,
    mcu: str,
    codes: Mapping[str, Array],
    expected: Mapping[str, Array],
    *,
    optimize: str = "speed",
    compiler: str | None = None,
) -> Checked:
    """Build the files that ``emit`` wrote into ``directory`` twice, with the trace and without, and run both.

    codes: input tensor -> int64 (N, *shape). expected: every tensor -> int64 (N, *shape), of the simulator.
    Raises UsageError for an unknown core, ToolMissingError, CBuildError, EmulationError.
    """
    cpu = cpu_named(mcu)
    with process.scratch("mcu") as folder:
        source = directory.resolve()
        traced = Machine(build(graph, source, folder, cpu, optimize=optimize, compiler=compiler, trace=True))
        actual = traced.trace(codes)
        program = build(graph, source, folder, cpu, optimize=optimize, compiler=compiler)
        machine = Machine(program)
        counted = machine.count(codes)
        outputs = machine.run(codes)
    different = []
    for name, x in expected.items():
        flat = x.reshape(len(x), -1)
        equal = name in actual and np.array_equal(flat, actual[name])
        if name in outputs:
            equal &= np.array_equal(x, outputs[name])
        if not equal:
            different.append(name)
    samples = len(next(iter(codes.values())))
    return Checked(different=tuple(different), samples=samples, program=program, counted=counted)


__all__ = ["Checked", "check"]
