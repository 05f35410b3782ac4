"""Ranges of elementwise operations are as narrow as can be: what the codes of all inputs give, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from net import Net, plain, requantize

from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Overflow, Rounding
from qsim.simulate import Simulator


def attained(net: Net, *names: str) -> dict[str, tuple[int, int]]:
    """Tensor -> least and greatest code over all codes of the one input of one element."""
    graph = net.build(*names)
    (entry,) = graph.inputs
    trace = Simulator(graph).trace_codes({entry.tensor: np.arange(entry.low, entry.high + 1).reshape(-1, 1)})
    assert {name: graph[name].range for name in names} == {
        name: (int(trace[name].min()), int(trace[name].max())) for name in names
    }
    return {name: graph[name].range for name in names}


@pytest.mark.parametrize(
    ("low", "high", "zero", "expected"),
    [
        (3, 7, 0, (9, 49)),
        (-7, -3, 0, (9, 49)),
        (-7, 3, 0, (0, 49)),
        (-3, 7, 0, (0, 49)),
        (0, 5, 0, (0, 25)),
        (-5, 0, 0, (0, 25)),
        (3, 7, 5, (0, 4)),
        (3, 7, 2, (1, 25)),
        (3, 7, 9, (4, 36)),
    ],
)
def test_a_square(low: int, high: int, zero: int, expected: tuple[int, int]) -> None:
    """Never negative, and zero only where the interval holds the zero point."""
    net = Net("square")
    x = requantize(net, net.input((1,), IntFormat(6, True)), 0, low, high)
    y = net.add(o.Mul, x, x, zero_points=(zero, zero))
    assert attained(net, y)[y] == expected


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_a_sum_with_a_constant(signs: tuple[int, int]) -> None:
    net = Net("sum")
    x = net.input((1,), IntFormat(4, True))
    one = net.add(o.Constant, values=IntArray([3]), shape=(1,), format=IntFormat(3, False))
    attained(net, net.add(o.Add, x, one, shifts=(1, 0), signs=signs, zero_points=(2, 1)))


@pytest.mark.parametrize(
    ("overflow", "low", "high", "expected"),
    [
        (Overflow.SAT, -128, 127, (0, 68)),
        (Overflow.SAT, 5, 40, (5, 40)),
        (Overflow.SAT_ZERO, -20, 20, (0, 20)),
        (Overflow.SAT_ZERO, 5, 20, (0, 20)),
        (Overflow.SAT_ZERO, -20, -5, (-5, 0)),
    ],
)
def test_two_slopes(overflow: Overflow, low: int, high: int, expected: tuple[int, int]) -> None:
    """0 to 31 by the positive branch; by the negative one, which falls, 68 down to 22: its end beside zero counts."""
    net = Net("slopes")
    x = net.input((1,), IntFormat(6, True))
    falling = plain(-3, 40, 1, Rounding.RND)
    rising = plain(1, 0, 0, Rounding.RND)
    name = net.add(
        o.Requantize, x, format=IntFormat(8, True), rescale=rising, negative=falling, input_zero_point=0, zero_point=0,
        overflow=overflow, low=low, high=high,
    )  # fmt: skip
    assert net.build(name)[name].range == expected
    if overflow is Overflow.SAT:
        attained(net, name)


def test_a_branch_that_ends_beside_zero() -> None:
    """Below zero the codes rise to -1 and fall from there: the least one is at x = -1, inside the interval."""
    net = Net("valley")
    x = net.input((1,), IntFormat(6, True))
    name = net.add(
        o.Requantize, x, format=IntFormat(8, True), rescale=plain(1, 0, 0, Rounding.RND),
        negative=plain(-1, -50, 0, Rounding.RND), input_zero_point=0, zero_point=0, overflow=Overflow.SAT, low=-128,
        high=127,
    )  # fmt: skip
    assert attained(net, name)[name] == (-49, 31)
