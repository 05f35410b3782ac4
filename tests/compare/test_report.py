"""Comparing two traces: every differing code counts, and the first one is named."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import corner_codes, small_cnn

from qsim.compare.report import compare
from qsim.errors import GraphError
from qsim.simulate import Simulator


@pytest.mark.parametrize("sample", [0, 1, 3])
def test_one_code_anywhere_is_seen(sample: int) -> None:
    graph = small_cnn()
    expected = Simulator(graph).trace_codes(corner_codes(graph, 4))
    for name in graph.tensors:
        actual = {n: a.copy() for n, a in expected.items()}
        index = (sample, *(n - 1 for n in graph[name].shape))
        actual[name][index] += 1
        counts, found = compare(graph, "c", expected, actual)
        assert counts == {n: int(n == name) for n in graph.tensors}
        (one,) = found
        assert (one.tensor, one.index, one.actual - one.expected, one.count) == (name, index, 1, 1)
    assert compare(graph, "c", expected, expected) == (dict.fromkeys(graph.tensors, 0), ())


def test_an_incomplete_trace_is_no_agreement() -> None:
    graph = small_cnn()
    expected = Simulator(graph).trace_codes(corner_codes(graph, 2))
    last = list(graph.tensors)[-1]
    with pytest.raises(GraphError, match="left no trace"):
        compare(graph, "c", expected, {n: a for n, a in expected.items() if n != last})
    with pytest.raises(GraphError, match="has shape"):
        compare(graph, "c", expected, {**expected, last: np.zeros((1, 1))})
