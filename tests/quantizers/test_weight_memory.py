"""What ``qsim inspect`` says of weight memory, counted again in the emitted files."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from c_graphs import C_GRAPHS
from graphs import same_weights, small_cnn

import qsim
from qsim.cli import app as cli
from qsim.demo.flow import MODELS
from qsim.errors import UnsupportedError
from qsim.ir import Graph
from qsim.targets.files import files
from qsim.targets.registry import TARGETS
from qsim.targets.rtl.design import Design
from qsim.targets.rtl.target import RTL
from qsim.targets.text import identifiers
from qsim.targets.weight_memory import WeightMemory, weight_memory

BYTES = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "uint32_t": 4}
GRAPHS = {
    "blueoil": lambda: qsim.load(MODELS["blueoil"][0]),
    "digits": lambda: qsim.load(MODELS["digits"][0]),
    "small_cnn": small_cnn,
    "same_weights": same_weights,
    "binary_layers": C_GRAPHS["binary_layers"],
    "ternary_layers": C_GRAPHS["ternary_layers"],
}


def c_arrays(graph: Graph) -> dict[str, tuple[str, list[int]]]:
    """Output tensor -> (C type, initialisers) of its weights in weights.c."""
    text = files(graph, "c")["weights.c"]
    names = {ident: tensor for tensor, ident in identifiers(graph).items()}
    found = {}
    for kind, symbol, size, body in re.findall(
        r"^const (\w+) (\w+)__weights\[(\d+)\] = \{\n(.*?)\n\};", text, flags=re.M | re.S
    ):
        values = [int(v) for v in re.findall(r"-?\d+", body)]
        assert len(values) == int(size)
        found[names[symbol.removeprefix(f"{graph.name.lower()}_")]] = kind, values
    return found


def rtl_memories(graph: Graph) -> dict[str, tuple[int, list[int]]]:
    """Output tensor -> (bits of a word, words) of its weights: the words in the .mem file, their width in the top."""
    made = files(graph, "rtl")
    (top,) = (text for name, text in made.items() if name.endswith("_top.sv"))
    found = {}
    for tensor, ident in identifiers(graph).items():
        if (text := made.get(f"mem/{ident}__weights.mem")) is None:
            continue
        (instance,) = re.findall(rf"#\(([^#]*?/{ident}__weights\.mem.*?)\)\s*{ident}__kernel\b", top, flags=re.S)
        parameter = dict(re.findall(r"\.(\w+)\s*\(([^()]*)\)", instance))
        word = int(parameter["WORD"]) if parameter["SHARED"] == "1'b1" else 1
        width = int(parameter["W_WIDTH"]) * int(parameter["LANES"]) * word
        lines = [line for line in text.split() if not line.startswith("//")]
        assert {len(line) for line in lines} == {-(-width // 4)}
        found[tensor] = width, [int(line, 16) for line in lines]
    return found


@pytest.mark.parametrize("name", GRAPHS)
def test_c_figures_are_the_emitted_arrays(name: str) -> None:
    graph = GRAPHS[name]()
    emitted = c_arrays(graph)
    figures = {m.tensor: m.stored["c"].bits for m in weight_memory(graph) if m.stored["c"].bits}
    assert figures == {tensor: 8 * BYTES[kind] * len(values) for tensor, (kind, values) in emitted.items()}
    for op in graph.ops:
        if op.output in emitted and emitted[op.output][0] == "uint32_t":
            # Every +1 is a one in memory, and with two bits every -1; padding is zeros.
            ternary = bool((op.weights.values == 0).any())
            ones = np.abs(op.weights.values).sum() if ternary else (op.weights.values > 0).sum()
            scale = np.abs(op.weights.values).max() if ternary else 1
            assert sum(v.bit_count() for v in emitted[op.output][1]) * scale == ones


@pytest.mark.parametrize("name", GRAPHS)
def test_rtl_figures_are_the_emitted_memories(name: str) -> None:
    graph = GRAPHS[name]()
    emitted = rtl_memories(graph)
    figures = {m.tensor: m.stored["rtl"].bits for m in weight_memory(graph)}
    assert figures == {tensor: width * len(words) for tensor, (width, words) in emitted.items()}
    for op in graph.ops:
        if op.output in emitted and len(np.unique(op.weights.values)) == 2 and op.weights.low == -op.weights.high:
            assert sum(v.bit_count() for v in emitted[op.output][1]) == (op.weights.values > 0).sum()


def test_a_binary_network_takes_one_bit_a_weight_and_padding() -> None:
    """In the RTL exactly one bit; in C each output's bits padded to words of 32."""
    graph = GRAPHS["blueoil"]()
    ops = {op.output: op for op in graph.ops}
    for m in weight_memory(graph):
        outputs = ops[m.tensor].weights.shape[-1]
        assert (m.encoding, m.distinct) == ("binary, 1 bit", 2)
        assert m.stored["rtl"].bits == m.count
        assert m.stored["c"].bits == 32 * outputs * -(-m.count // outputs // 32)


def test_equal_weights_are_held_once_in_c() -> None:
    """Two matrices and one bias for four dense ops; what C computes with them is the simulator's."""
    graph = same_weights()
    assert [m.stored["c"].bits for m in weight_memory(graph)] == [200, 0, 0, 200]
    text = files(graph, "c")["weights.c"]
    assert len(re.findall(r"__weights\[25\] = ", text)) == 2
    assert len(re.findall(r"__bias\[5\] = ", text)) == 1
    codes = np.random.default_rng(0).integers(-32, 32, (50, 5))
    assert qsim.verify(graph, codes, ("c",), codes=True).ok


def test_inspect_prints_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(MODELS["blueoil"][0])]) == 0
    printed = capsys.readouterr().out
    memory, kernels = printed.split("Weight memory\n")[1].split("\nc: the array")[0].split("Weight kernels\n")
    rows, names = (
        [line.split() for line in text.splitlines() if line.strip() and not set(line) <= set("─ ")]
        for text in (memory, kernels)
    )
    found = weight_memory(GRAPHS["blueoil"]())
    for row, kernel, m in zip(rows[1:-1], names[1:], found, strict=True):
        assert row == f"{m.tensor} {m.count} {m.distinct} {m.encoding} {' '.join(_bits(m))}".split()
        assert kernel == [m.tensor, *(m.stored[target].kernel for target in TARGETS)]
    totals = [sum(m.count for m in found), *(sum(m.stored[target].bits for m in found) for target in TARGETS)]
    assert rows[-1] == ["total", *map(str, totals)]


def _bits(memory: WeightMemory) -> list[str]:
    return [str(memory.stored[target].bits) for target in TARGETS]


def test_a_target_that_cannot_be_emitted_has_no_figure(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """The other targets' figures stand."""

    def refused(*arguments: object) -> Design:
        raise UnsupportedError("no")

    monkeypatch.setitem(TARGETS, "rtl", replace(RTL, plan=refused))
    assert cli.main(["inspect", str(MODELS["blueoil"][0])]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("total") and "43136" in x)
    assert line.split() == ["total", "42256", "43136", "42256", "-"]
