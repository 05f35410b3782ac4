"""Every op of the simulator against plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import OP_GRAPHS, corner_codes, random_graph, small_cnn
from net import Net, conv, plain, requantize
from oracle import Oracle

from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Rounding
from qsim.proof.ranges import ranges
from qsim.simulate import Simulator


def check_against_oracle(graph, samples: int) -> None:
    codes = corner_codes(graph, samples)
    traced = Simulator(graph).trace_codes(codes)
    proven = ranges(graph)
    for i in range(samples):
        expected = Oracle(graph).run({name: x[i] for name, x in codes.items()})
        for name in graph.tensors:
            actual = traced[name][i]
            assert np.array_equal(actual, expected[name].astype(np.int64)), (name, i)
            assert (actual >= proven[name].low).all(), name
            assert (actual <= proven[name].high).all(), name


@pytest.mark.parametrize("name", OP_GRAPHS)
def test_every_op_equals_the_oracle(name: str) -> None:
    check_against_oracle(OP_GRAPHS[name](), 10)


def test_every_op_but_softmax_is_covered() -> None:
    covered = {type(op) for make in OP_GRAPHS.values() for op in make().ops}
    assert covered == set(o.OPS) - {o.Softmax}


def test_small_cnn_equals_the_oracle() -> None:
    check_against_oracle(small_cnn(), 6)


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_equal_the_oracle(seed: int) -> None:
    check_against_oracle(random_graph(seed), 5)


def codes_of(net: Net, name: str) -> list[int]:
    """What every code of the one input of one element becomes."""
    graph = net.build(name)
    (entry,) = graph.inputs
    x = np.arange(entry.low, entry.high + 1).reshape(-1, 1)
    return Simulator(graph, engine="numpy").trace_codes({entry.tensor: x})[name].reshape(-1).tolist()


def test_a_threshold_counts_where_it_is_reached() -> None:
    net = Net("steps")
    x = net.input((1,), IntFormat(4, True))
    fields = {"thresholds": IntArray([[-3, 2, 5]]), "base": IntArray([7]), "step": IntArray([2])}
    assert codes_of(net, net.add(o.Threshold, x, **fields)) == [7] * 5 + [9] * 5 + [11] * 3 + [13] * 3


def test_the_negative_branch_ends_below_zero() -> None:
    net = Net("branches")
    x = net.input((1,), IntFormat(4, True))
    below = plain(1, 100, 0, Rounding.RND)
    name = requantize(net, x, 0, -128, 127, format=IntFormat(8, True), negative=below)
    assert codes_of(net, name) == [*range(92, 100), *range(8)]


def test_each_axis_has_its_own_stride() -> None:
    net = Net("strides")
    rng = np.random.default_rng(1)
    x = net.input((7, 6, 2), IntFormat(5, True))
    check_against_oracle(net.build(conv(net, conv(net, x, rng, 2, strides=(2, 1)), rng, 3, strides=(1, 3))), 3)
