"""Predicted cycles against cycles counted on Verilator, every tensor compared on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from c_graphs import movements, odd_names, random_dag, softmaxes
from graphs import OP_GRAPHS, corner_codes, random_graph, small_cnn

from qsim.errors import UnsupportedError
from qsim.ir import Graph
from qsim.simulate import Simulator
from qsim.targets.files import emit
from qsim.targets.rtl.lower.tables import build
from qsim.targets.rtl.native import NativeBench
from qsim.targets.rtl.network.folding import choose
from qsim.targets.rtl.network.kernels import Network
from qsim.targets.rtl.network.schedule import fifo_depths, schedule_network
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


def test_shallower_fifo_stops_or_slows_the_design(monkeypatch: pytest.MonkeyPatch) -> None:
    """The depth is needed: two places in front of the join and the design deadlocks, and the schedule says so."""
    network = _network(small_cnn())
    depths = fifo_depths(network)
    deep = max(depths, key=lambda link: depths[link])
    assert depths[deep] > 2, "the test needs a residual branch that waits"
    depths[deep] = 2
    monkeypatch.setattr("qsim.targets.rtl.network.schedule.fifo_depths", lambda _: depths)
    with pytest.raises(UnsupportedError, match="stops after"):
        schedule_network(network)


def test_schedule_takes_little_time() -> None:
    import time

    start = time.process_time()
    made = schedule_network(_network(small_cnn(), 1), frames=24)
    assert made.completions[-1] > 20_000
    assert time.process_time() - start < 5
