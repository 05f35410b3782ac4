"""Instructions per multiply-accumulate of the C kernels for one-bit weights, beside those for bytes, in one run.

python benchmarks/binary_mac.py [--channels 64] [--flags "-O2"]        needs a C compiler and valgrind

One 3x3 convolution, 8x8 pixels, as many input as output channels, is emitted four times: weights and inputs of bytes;
one-bit weights with 8-bit inputs (added and subtracted), with 2-bit inputs (bit planes) and with inputs of +1 and -1
(compared word by word). Each program is run with 1 and with 3 inferences under callgrind; half the difference of the
two instruction counts is what one inference takes, start-up left out. A MAC is one weight times one input inside the
image. ``--flags "-O2 -fno-tree-vectorize"`` is nearer to a microcontroller, ``-mpopcnt`` gives x86 its bit count.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import qsim
from qsim.analysis.builder import GraphBuilder
from qsim.errors import ToolMissingError
from qsim.ir import Graph, Quantization
from qsim.ir.ops import Conv2D, Threshold
from qsim.numerics import IntArray, IntFormat

SIZE = 8
CALLER = """#include "model.h"
#include <stdlib.h>
static uint64_t arena[(NAME_ARENA_BYTES + 7u) / 8u + 1u];
static XTYPE x[NAME_IN_X_SIZE];
static YTYPE y[NAME_OUT_CONV_SIZE];
int main(int count, char **arguments)
{
    int runs = count > 1 ? atoi(arguments[1]) : 1;
    for (int i = 0; i < NAME_IN_X_SIZE; ++i) {
        x[i] = (XTYPE)(NAME_IN_X_LOW + i * 7 % (NAME_IN_X_HIGH - NAME_IN_X_LOW + 1));
    }
    while (runs-- > 0) {
        if (LOWER_run(arena, x, y) != 0) {
            return 1;
        }
    }
    return 0;
}
"""


def network(name: str, channels: int, inputs: IntFormat, *, one_bit: bool, signs: bool = False) -> Graph:
    """The convolution with random weights; ``signs``: behind a threshold that makes the input +1 and -1."""
    rng = np.random.default_rng(0)
    b = GraphBuilder(name, "benchmark")
    unit = Quantization.of(1)
    x = b.input("x", (SIZE, SIZE, channels), inputs, unit)
    if signs:
        fields = {"thresholds": IntArray([[1]]), "base": IntArray([-1]), "step": IntArray([2])}
        x = b.add(Threshold, [x], "sign", layer="sign", quantization=unit, **fields)
    shape = (3, 3, channels, channels)
    weights = rng.choice([-1, 1], size=shape) if one_bit else rng.integers(-127, 128, size=shape)
    conv = b.add(
        Conv2D, [x], "conv", layer="conv", quantization=unit, weights=IntArray(weights), bias=None, strides=(1, 1),
        dilation=(1, 1), padding=((1, 1), (1, 1)), groups=1,
    )  # fmt: skip
    return b.build([conv])


def instructions(graph: Graph, folder: Path, flags: list[str]) -> tuple[int, int]:
    """(instructions of one inference, bytes of its weights)."""
    qsim.emit(graph, "c", folder)
    header = (folder / "model.h").read_text()
    types = re.search(rf"int {graph.name}_run\(void \*arena, const (\w+) \*\w+, (\w+) \*\w+\);", header)
    assert types is not None, header
    text = CALLER.replace("NAME", graph.name.upper()).replace("LOWER", graph.name)
    (folder / "caller.c").write_text(text.replace("XTYPE", types[1]).replace("YTYPE", types[2]))
    command = ["cc", "-std=c11", *flags, "caller.c", "model.c", "weights.c", "-o", "caller"]
    subprocess.run(command, cwd=folder, check=True)
    counts = []
    for runs in (1, 3):
        tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "./caller", str(runs)]
        done = subprocess.run(tool, cwd=folder, check=True, capture_output=True, text=True)
        found = re.search(r"Collected : (\d+)", done.stderr)
        assert found is not None, done.stderr
        counts.append(int(found[1]))
    sizes = {"int8_t": 1, "uint32_t": 4}
    arrays = re.findall(r"^const (\w+) \w+__weights\[(\d+)\]", (folder / "weights.c").read_text(), flags=re.M)
    return (counts[1] - counts[0]) // 2, sum(sizes[kind] * int(count) for kind, count in arrays)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--flags", default="-O2", help="compiler flags, such as '-O2 -mpopcnt'")
    options = parser.parse_args()
    for tool in ("cc", "valgrind"):
        if shutil.which(tool) is None:
            raise ToolMissingError(f"{tool!r} is not installed: apt-get install {'gcc' if tool == 'cc' else tool}")
    n = options.channels
    cases = {
        "8-bit weights, 8-bit inputs": network("bytes8", n, IntFormat(8, True), one_bit=False),
        "1-bit weights, 8-bit inputs": network("binary8", n, IntFormat(8, True), one_bit=True),
        "1-bit weights, 2-bit inputs": network("planes2", n, IntFormat(2, False), one_bit=True),
        "1-bit weights, 1-bit inputs": network("xnor1", n, IntFormat(2, False), one_bit=True, signs=True),
    }
    inside = (3 * SIZE - 2) ** 2  # taps of a 3x3 window at every position, those outside the image left out
    macs = inside * n * n
    print(f"3x3 convolution, {SIZE}x{SIZE}, {n} to {n} channels: {macs} MACs; cc {options.flags}")
    first = 0.0
    for label, graph in cases.items():
        with tempfile.TemporaryDirectory() as scratch:
            count, size = instructions(graph, Path(scratch), options.flags.split())
        per_mac = count / macs
        first = first or per_mac
        print(f"{label}: {per_mac:7.3f} instructions per MAC, {first / per_mac:6.2f} times fewer; weights {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
