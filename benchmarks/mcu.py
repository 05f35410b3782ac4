"""Instructions, code, constants, arena and stack of emitted C on emulated cores, beside CMSIS-NN's instructions.

    python benchmarks/mcu.py MODEL... [--mcu cortex-m4] ... [--optimize speed] [--compiler gcc] [--layers]

Each model is emitted, cross-compiled, run once on random codes, and compared with the simulator. Figures of the other
library are constants: CMSIS-NN 99f736a with gcc 12 -O3 on a Cortex-M4, the same models, the same outputs, counted by
the same emulator. Needs pip install 'qsim-hw[mcu]', and gcc-arm-none-eabi or
gcc-riscv64-unknown-elf for --compiler gcc.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

import qsim
from qsim.errors import QsimError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.targets.c.mcu.build import OPTIMIZE, build
from qsim.targets.c.mcu.cpus import CPUS, cpu_named
from qsim.targets.c.mcu.emulate import Machine

CMSIS_NN = {
    "pretrainedResnet_quant": 29_340_000,
    "kws_ref_model": 7_500_000,
    "ad01_int8": 576_000,
    "micro_speech_quantized": 1_464_000,
}
"""Instructions of an inference on a Cortex-M4, by the model file's name."""


def macs(graph: Graph) -> int:
    """Multiply-accumulates of all windows, those beside the image among them."""
    total = 0
    for op in graph.ops:
        if isinstance(op, o.Conv2D):
            kh, kw, inputs, _ = op.weights.shape
            total += graph[op.output].size * kh * kw * inputs
        elif isinstance(op, o.Dense):
            total += graph[op.output].size * op.weights.shape[0]
    return total


def sample(graph: Graph) -> dict[str, Array]:
    """One sample of random codes."""
    rng = np.random.default_rng(0)
    return {i.tensor: rng.integers(i.low, i.high + 1, (1, *graph[i.tensor].shape)) for i in graph.inputs}


def measure(path: Path, mcu: str, optimize: str, compiler: str | None, layers: bool) -> bool:
    """Print one line; whether the outputs equal the simulator's."""
    graph = qsim.load(path)
    codes = sample(graph)
    with tempfile.TemporaryDirectory() as folder:
        emitted, scratch = Path(folder) / "c", Path(folder) / "build"
        scratch.mkdir()
        qsim.emit(graph, "c", emitted)
        program = build(graph, emitted, scratch, cpu_named(mcu), optimize=optimize, compiler=compiler)
        machine = Machine(program)
        counted = machine.count(codes)
        actual = machine.run(codes)
    expected = qsim.Simulator(graph).trace_codes(codes)
    equal = all(np.array_equal(x, expected[name]) for name, x in actual.items())
    work, other = macs(graph), CMSIS_NN.get(path.stem)
    share = f"{counted.instructions / other:.3f}" if other and mcu == "cortex-m4" else "-"
    sizes = program.sizes
    print(
        f"| {path.stem} | {mcu} | {program.compiler} {program.flags[0]} | {counted.instructions:,} | "
        f"{counted.instructions / work:.2f} | {share} | {sizes.text} ({program.kernels}) | {sizes.rodata} | "
        f"{program.arena} | {counted.stack} | {'equal' if equal else 'DIFFERENT'} |",
        flush=True,
    )
    if layers:
        for name, instructions in counted.layers:
            print(f"    {instructions:>12,} {name}")
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="what qsim.load takes")
    parser.add_argument("--mcu", action="append", choices=list(CPUS), help="default: cortex-m4")
    parser.add_argument("--optimize", choices=list(OPTIMIZE), default="speed")
    parser.add_argument("--compiler", choices=["gcc", "zig"], help="default: gcc where it is installed")
    parser.add_argument("--layers", action="store_true", help="instructions of every layer")
    chosen = parser.parse_args()
    columns = ("model", "core", "compiler", "instructions", "a MAC", "of CMSIS-NN", "text (kernels)", "rodata")
    print(f"| {' | '.join((*columns, 'arena', 'stack', 'codes'))} |\n{'|---' * 11}|")
    equal = True
    for path in chosen.models:
        for mcu in chosen.mcu or ["cortex-m4"]:
            try:
                equal &= measure(path, mcu, chosen.optimize, chosen.compiler, chosen.layers)
            except QsimError as error:
                print(error, file=sys.stderr)
                return 1
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
