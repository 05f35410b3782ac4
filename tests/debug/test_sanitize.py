"""The numeric sanitizer against counts made with plain Python integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from graphs import corner_codes, small_cnn
from net import Net, plain, requantize

from qsim.debug.sanitize import sanitize, worst_case
from qsim.errors import UsageError
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Overflow, Rounding, shift_only
from qsim.reference.kernels import KERNELS


def test_counts_equal_an_exhaustive_oracle() -> None:
    net = Net("counts")
    x = net.input((4,), IntFormat(8, True))
    y = requantize(net, x, rescale=shift_only(2, Rounding.RND_CONV), low=-20, high=15, name="sat")
    z = requantize(net, x, shift=1, overflow=Overflow.WRAP, low=-16, high=15, format=IntFormat(5, True), name="wrap")
    d = net.add(
        o.Divide,
        x,
        name="div",
        numerator=IntArray(2),
        addend=IntArray(1),
        divisor=IntArray(6),
        rounding=Rounding.RND_INF,
        low=-99,
        high=99,
    )
    m = requantize(net, x, rescale=plain(0, 3, 0, Rounding.TRN), low=0, high=3, name="constant")
    codes = np.arange(-128, 128).reshape(-1, 4)
    health = {h.tensor: h for h in sanitize(net.build(y, z, d, m), codes, codes=True)}
    quarter = [Fraction(c, 4) for c in range(-128, 128)]
    sat = health["sat"]
    assert sat.saturated_low == sum(round(q) < -20 for q in quarter)
    assert sat.saturated_high == sum(round(q) > 15 for q in quarter)
    assert sat.ties == sum(q % 1 == Fraction(1, 2) for q in quarter)
    assert sat.underflowed == sum(round(q) == 0 for q in quarter) - 1
    assert (sat.wrapped, sat.observed, sat.proven) == (0, (-20, 15), (-20, 15))
    assert health["wrap"].wrapped == sum(not -16 <= round(Fraction(c, 2)) <= 15 for c in range(-128, 128))
    assert health["div"].ties == sum(Fraction(2 * c + 1, 6) % 1 == Fraction(1, 2) for c in range(-128, 128))
    assert health["constant"].constant_channels == (0, 1, 2, 3)
    assert health["x"].dead_msbs == 0


def test_dead_bits_and_channels() -> None:
    net = Net("dead")
    x = net.input((3,), IntFormat(8, True))
    graph = net.build(net.add(o.Reshape, x, shape=(3,)))
    codes = np.array([[3, 0, -4], [1, 0, -4]])
    health = sanitize(graph, codes, codes=True)[0]
    assert health.dead_msbs == 5
    assert health.dead_channels == (1,)
    assert health.constant_channels == (2,)
    assert health.remarks == ("5 high bits unused", "1 dead channels", "1 constant channels")


def test_worst_case_attains_the_bound() -> None:
    graph = small_cnn()
    for name in ("conv2d1", "conv2d8", "dense13"):
        for upper in (True, False):
            index, codes = worst_case(graph, name, upper=upper)
            op = graph.producers[name]
            y = KERNELS[type(op)](op, [codes[None]], [graph[op.inputs[0]]], graph[name])[0]
            assert y[index] == graph[name].range[upper]
    with pytest.raises(UsageError, match="not the accumulator"):
        worst_case(graph, "add5")


def test_healthy_tensors_have_observed_within_proven() -> None:
    graph = small_cnn()
    for health in sanitize(graph, corner_codes(graph, 50), codes=True):
        assert health.proven[0] <= health.observed[0] <= health.observed[1] <= health.proven[1]
