"""Every op of the simulator against plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import OP_GRAPHS, corner_codes, random_graph, small_cnn
from oracle import Oracle

from qsim.ir import ops as o
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
