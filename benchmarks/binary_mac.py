"""Instructions per multiply-accumulate of the C kernels for weights of one and two bits, beside those for bytes.

    python benchmarks/binary_mac.py [--channels 64] [--outputs 64] [--machine host] [--machine cortex-m4] ...

One 3x3 convolution over 8x8 pixels is emitted with weights of bytes, of one bit and of two, and inputs of 8, 4, 2 and 1
bits; the kernels are those that ``qsim.emit`` chooses. On the host each program runs 1 and 3 inferences; half the
difference of the two instruction counts is what one inference takes, start-up left out. A MAC is one weight times one
input inside the image. What a program computes is compared with the simulator.

Machines: ``host`` (this computer's C compiler with --flags; needs cc and valgrind), ``host-popcount`` (the same with
-mpopcnt, x86 only), ``cortex-m4``, ``cortex-m0plus`` (Zig's Clang with --flags; needs pip install 'qsim-hw[mcu]').
Default: all of them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import qsim
from qsim.errors import QsimError, ToolMissingError
from qsim.ir import Graph, Quantization
from qsim.ir.ops import Conv2D, Threshold
from qsim.numerics import Array, IntArray, IntFormat
from qsim.proof.builder import GraphBuilder
from qsim.targets.c.mcu.build import build, compiler_for
from qsim.targets.c.mcu.cpus import cpu_named
from qsim.targets.c.mcu.emulate import Machine, available
from qsim.version import install

SIZE = 8
HOSTS = {"host": (), "host-popcount": ("-mpopcnt",)}
CORES = ("cortex-m4", "cortex-m0plus")
MACHINES = (*HOSTS, *CORES)
CALLER = """#include "model.h"
int bench(int runs);
static uint64_t arena[(NAME_ARENA_BYTES + 7u) / 8u + 1u];
static XTYPE x[NAME_IN_X_SIZE];
static YTYPE y[NAME_OUT_CONV_SIZE];
int bench(int runs)
{
    uint32_t sum = 0;
    for (int i = 0; i < NAME_IN_X_SIZE; ++i) {
        x[i] = (XTYPE)(NAME_IN_X_LOW + i * 7 % (NAME_IN_X_HIGH - NAME_IN_X_LOW + 1));
    }
    while (runs-- > 0) {
        if (LOWER_run(arena, x, y) != 0) {
            return -1;
        }
    }
    for (int i = 0; i < NAME_OUT_CONV_SIZE; ++i) {
        sum = sum * 31u + (uint32_t)y[i];
    }
    return (int)sum;
}
#ifdef BENCH_HOST
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **arguments)
{
    printf("%d\\n", bench(count > 1 ? atoi(arguments[1]) : 1));
    return 0;
}
#endif
"""


@dataclass(frozen=True)
class Case:
    """Weights of ``levels``, inputs of ``inputs``; ``signs``: behind a threshold that makes the inputs +1 and -1."""

    label: str
    levels: tuple[int, ...]
    inputs: IntFormat
    signs: bool = False


BYTE, BINARY, TERNARY = tuple(range(-127, 128)), (-1, 1), (-1, 0, 1)
CASES = (
    Case("8-bit weights, 8-bit inputs", BYTE, IntFormat(8, True)),
    Case("1-bit weights, 8-bit inputs", BINARY, IntFormat(8, True)),
    Case("1-bit weights, 4-bit inputs", BINARY, IntFormat(4, False)),
    Case("1-bit weights, 2-bit inputs", BINARY, IntFormat(2, False)),
    Case("1-bit weights, 1-bit inputs", BINARY, IntFormat(2, False), signs=True),
    Case("2-bit weights, 8-bit inputs", TERNARY, IntFormat(8, True)),
    Case("2-bit weights, 2-bit inputs", TERNARY, IntFormat(2, False)),
)


def network(case: Case, channels: int, outputs: int) -> Graph:
    """The convolution with random weights."""
    rng = np.random.default_rng(0)
    b = GraphBuilder("bench", "benchmark")
    unit = Quantization.of(1)
    x = b.input("x", (SIZE, SIZE, channels), case.inputs, unit)
    if case.signs:
        fields = {"thresholds": IntArray([[1]]), "base": IntArray([-1]), "step": IntArray([2])}
        x = b.add(Threshold(inputs=(x,), output="sign", layer="sign", **fields), quantization=unit)
    weights = IntArray(rng.choice(case.levels, size=(3, 3, channels, outputs)))
    conv = b.add(
        Conv2D(
            inputs=(x,),
            output="conv",
            layer="conv",
            weights=weights,
            bias=None,
            strides=(1, 1),
            dilation=(1, 1),
            padding=((1, 1), (1, 1)),
            groups=1,
        ),
        quantization=unit,
    )
    return b.build([conv])


def sample(graph: Graph) -> Array:
    """The input codes, (1, *shape)."""
    tensor = graph["x"]
    low, high = tensor.range
    return np.asarray(low + np.arange(tensor.size) * 7 % (high - low + 1)).reshape(1, *tensor.shape)


def checksum(outputs: Array) -> int:
    """What ``bench`` returns for these output codes."""
    total = 0
    for value in outputs.reshape(-1).tolist():
        total = (total * 31 + value) & 0xFFFFFFFF
    return total - (1 << 32) if total >> 31 else total


def write(graph: Graph, folder: Path) -> None:
    """The emitted files, and the caller beside them."""
    qsim.emit(graph, "c", folder)
    header = (folder / "model.h").read_text()
    types = re.search(r"int bench_run\(void \*arena, const (\w+) \*\w+, (\w+) \*\w+\);", header)
    assert types is not None, header
    text = CALLER.replace("NAME", "BENCH").replace("LOWER", "bench")
    (folder / "caller.c").write_text(text.replace("XTYPE", types[1]).replace("YTYPE", types[2]))


SOURCES = ["caller.c", "model.c", "weights.c"]


def on_host(folder: Path, flags: list[str], runs: tuple[int, ...]) -> list[tuple[int, int]]:
    """(result, instructions) for each number of runs, under callgrind."""
    subprocess.run(["cc", "-std=c11", "-DBENCH_HOST", *flags, *SOURCES, "-o", "caller"], cwd=folder, check=True)
    found = []
    for count in runs:
        tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "./caller", str(count)]
        done = subprocess.run(tool, cwd=folder, check=True, capture_output=True, text=True)
        collected = re.search(r"Collected : (\d+)", done.stderr)
        assert collected is not None, done.stderr
        found.append((int(done.stdout), int(collected[1])))
    return found


def on_core(graph: Graph, folder: Path, core: str, flags: list[str]) -> tuple[int, int]:
    """(result, instructions) of one inference on an emulated core."""
    scratch = folder / "build"
    scratch.mkdir(exist_ok=True)
    machine = Machine(build(graph, folder, scratch, cpu_named(core), compiler="zig", flags=flags))
    codes = {"x": sample(graph)}
    counted = machine.count(codes).instructions
    return checksum(machine.run(codes)["conv"]), counted


def instructions(graph: Graph, folder: Path, machine: str, flags: list[str]) -> int:
    """Instructions of one inference. Raises QsimError where the program's result is not the simulator's."""
    write(graph, folder)
    expected = checksum(qsim.Simulator(graph).run_codes(sample(graph)))
    if machine in HOSTS:
        (one, first), (three, last) = on_host(folder, [*flags, *HOSTS[machine]], (1, 3))
        results, count = {one, three}, (last - first) // 2
    else:
        one, count = on_core(graph, folder, machine, flags)
        results = {one}
    if results != {expected}:
        raise QsimError(f"on {machine} the program computes {sorted(results)}, the simulator {expected}")
    return count


def weight_bytes(folder: Path) -> int:
    sizes = {"int8_t": 1, "uint32_t": 4}
    arrays = re.findall(r"^const (\w+) \w+__weights\[(\d+)\]", (folder / "weights.c").read_text(), flags=re.M)
    return sum(sizes[kind] * int(count) for kind, count in arrays)


def kernel_of(folder: Path) -> str:
    found = re.search(r'#include "qsim_((?:conv|depth)\w+)\.h"', (folder / "kernels.h").read_text())
    assert found is not None
    return found[1]


def check_tools(machines: list[str]) -> None:
    """Raise ToolMissingError where a machine's tools are not installed."""
    if any(m in HOSTS for m in machines):
        for tool in ("cc", "valgrind"):
            if shutil.which(tool) is None:
                raise ToolMissingError(f"{tool!r} is not installed: apt-get install {'gcc' if tool == 'cc' else tool}")
    for core in (m for m in machines if m in CORES):
        compiler_for(cpu_named(core), "zig")
        if not available():
            raise ToolMissingError(f"the emulated cores need Unicorn: {install('mcu')}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=64, help="input channels")
    parser.add_argument("--outputs", type=int, help="output channels; default: as many as input channels")
    parser.add_argument("--machine", action="append", choices=MACHINES, help="may be given several times")
    parser.add_argument("--flags", default="-O2", help="compiler flags, as in --flags='-O2 -fno-tree-vectorize'")
    options = parser.parse_args()
    channels, outputs = options.channels, options.outputs or options.channels
    machines = options.machine or [m for m in MACHINES if m != "host-popcount" or os.uname().machine == "x86_64"]
    check_tools(machines)
    macs = (3 * SIZE - 2) ** 2 * channels * outputs  # taps of a 3x3 window at every position, inside the image
    print(f"3x3 convolution, {SIZE}x{SIZE}, {channels} to {outputs} channels: {macs} MACs; {options.flags}")
    print("\n| weights and inputs | kernel | bytes of weights |" + "".join(f" {m} |" for m in machines))
    print("|---|---|---|" + "---|" * len(machines))
    for case in CASES:
        graph, cells = network(case, channels, outputs), []
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            for machine in machines:
                cells.append(f"{instructions(graph, folder, machine, options.flags.split()) / macs:.2f}")
            row = f"| {case.label} | `{kernel_of(folder)}` | {weight_bytes(folder)} | {' | '.join(cells)} |"
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
