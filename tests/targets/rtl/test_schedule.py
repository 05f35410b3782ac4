"""Predicted cycles against cycles counted on Verilator, every tensor compared on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from c_graphs import movements, odd_names, softmaxes
from graphs import OP_GRAPHS, corner_codes, random_graph, small_cnn
from net import Net, requantize
from random_dags import random_dag

from qsim.errors import QsimError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat
from qsim.simulate import Simulator
from qsim.targets.files import emit
from qsim.targets.rtl.lower.tables import build
from qsim.targets.rtl.native import NativeBench
from qsim.targets.rtl.network.folding import choose
from qsim.targets.rtl.network.kernels import Network
from qsim.targets.rtl.network.machines import process
from qsim.targets.rtl.network.schedule import (
    FIFO_DEPTH,
    completions,
    fifo_depths,
    schedule_network,
    waiting_links,
)
from qsim.targets.rtl.network.timing import Traffic
from qsim.targets.rtl.target import RTL

FRAMES = 5


def _network(graph: Graph, folding: object = None) -> Network:
    return build(graph, choose(graph, folding))


def measure(graph: Graph, folder: Path, options: dict[str, object] | None = None) -> None:
    """Equal in every tensor, free-running and with gaps, and in the cycle of every frame's end."""
    emit(graph, "rtl", folder, options)
    made = RTL.planned(graph, options).design
    bench = NativeBench(made, folder, folder / "build")
    codes = corner_codes(graph, FRAMES)
    expected = Simulator(graph).trace_codes(codes)
    free = bench.run(codes)
    rough = bench.run(codes, idle=0.3, backpressure=0.4, seed=5)
    for name, value in expected.items():
        np.testing.assert_array_equal(free.tensors[name], value, err_msg=name)
        np.testing.assert_array_equal(rough.tensors[name], value, err_msg=name)
    assert free.completions == made.schedule.completions[:FRAMES]
    assert free.completions[0] == made.schedule.latency
    assert rough.completions[-1] > free.completions[-1]


@pytest.mark.parametrize("name", OP_GRAPHS)
def test_every_op(name: str, tmp_path: Path) -> None:
    measure(OP_GRAPHS[name](), tmp_path)


@pytest.mark.parametrize("make", [softmaxes, movements, odd_names])
def test_further_graphs(make: Callable[[], Graph], tmp_path: Path) -> None:
    measure(make(), tmp_path)


@pytest.mark.parametrize("folding", [1, {"conv2d1": 8, "conv2d4": 2}, 10**6])
def test_foldings(folding: object, tmp_path: Path) -> None:
    graph = small_cnn()
    if isinstance(folding, dict):
        layers = [op.layer for op in graph.ops if type(op).__name__ in ("Conv2D", "Dense")]
        folding = dict(zip(layers, folding.values()))
    measure(graph, tmp_path, {"folding": folding})


@pytest.mark.parametrize("seed", [3, 9])
def test_random_networks(seed: int, tmp_path: Path) -> None:
    measure(random_graph(seed), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_branching_networks(seed: int, tmp_path: Path) -> None:
    measure(random_dag(seed), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 60))
def test_more_random_networks(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    measure(random_graph(seed), tmp_path, {"folding": int(rng.integers(1, 80))})


def test_interval_is_the_difference_of_completions() -> None:
    made = schedule_network(_network(small_cnn(), 1), frames=6)
    times = made.completions
    assert made.latency == times[0]
    assert made.interval == times[-1] - times[-2] == times[-2] - times[-3]
    assert made.interval >= max(made.cycles.values())


@pytest.mark.parametrize("make", [small_cnn, movements, lambda: random_dag(0), lambda: random_dag(4)])
def test_depths_are_the_least(make: Callable[[], Graph]) -> None:
    """No frame ends later than with FIFOs without bounds, and with one place less in any of them some frame does."""
    network = _network(make())
    depths = fifo_depths(network, FRAMES)
    free = depths | dict.fromkeys(waiting_links(network))
    best = completions(network, free, FRAMES)
    assert completions(network, depths, FRAMES) == best
    deep = [link for link in waiting_links(network) if depths[link] > FIFO_DEPTH]
    assert deep, "the test needs branches that wait"
    for link in deep:
        less = Traffic(network, depths | {link: depths[link] - 1}, FRAMES, process)
        assert not less.settle(np.array(best), 200)


def test_one_place_less_stops_or_slows_the_hardware(tmp_path: Path) -> None:
    graph = small_cnn()
    emit(graph, "rtl", tmp_path)
    made = RTL.planned(graph).design
    link = max(made.schedule.depths, key=lambda link: made.schedule.depths[link])
    depth, top = made.schedule.depths[link], tmp_path / f"{made.module}.sv"
    text, count = re.subn(rf"\.DEPTH\({depth}\)(?=\n  \) \w+_fifo)", f".DEPTH({depth - 1})", top.read_text())
    assert count == 1
    top.write_text(text)
    bench = NativeBench(made, tmp_path, tmp_path / "build")
    least = made.schedule.completions[:FRAMES]
    try:
        slower = bench.run(corner_codes(graph, FRAMES)).completions
    except QsimError as error:
        slower, stopped = least, "the RTL design stops" in str(error)
    else:
        stopped = False
    assert stopped or slower > least


def test_a_branch_waits_in_its_narrowest_codes() -> None:
    """In front of a sum that follows a widening requantize the narrow codes wait."""
    net = Net("narrow")
    x = net.input((6, 6, 2), IntFormat(5, True))
    y = net.add(
        o.Conv2D, x, weights=IntArray(np.ones((3, 3, 2, 2), dtype=int)), bias=None, strides=(1, 1), dilation=(1, 1),
        padding=((1, 1), (1, 1)), groups=1,
    )  # fmt: skip
    wide = requantize(net, x, -6, -(1 << 11), (1 << 11) - 1)
    network = _network(net.build(net.add(o.Add, wide, y, shifts=(0, 0), signs=(1, 1), zero_points=(0, 0))))
    depths = fifo_depths(network, FRAMES)
    (deep,) = [link for link in depths if depths[link] > FIFO_DEPTH]
    assert (deep.stream.tensor, deep.stream.format.width) == (x, 5)
    assert type(deep.kernel).__name__ == "Pointwise"


def test_schedule_takes_little_time() -> None:
    import time

    start = time.process_time()
    made = schedule_network(_network(small_cnn(), 1), frames=24)
    assert made.completions[-1] > 20_000
    assert time.process_time() - start < 2
