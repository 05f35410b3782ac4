"""Encodings of weights by their real values, and inputs that take two codes only."""

from __future__ import annotations

import numpy as np
import pytest
from net import Net

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat
from qsim.proof.weights import WeightEncoding, encoding, sign_magnitude, two_codes

CASES: list[tuple[list[int], str, int, int]] = [
    ([1, -1, 1], "binary", 1, 1),
    ([1, 1], "binary", 1, 1),
    ([-1], "binary", 1, 1),
    ([24, -24], "binary", 24, 1),
    ([5, 5], "binary", 5, 1),
    ([1, 0, -1], "ternary", 1, 2),
    ([0, 0], "ternary", 1, 2),
    ([0, 7], "ternary", 7, 2),
    ([-6, 0, 6], "ternary", 6, 2),
    ([1, -2], "power_of_two", 1, 2),
    ([1, -2, 0], "power_of_two", 1, 3),
    ([4, -16, 0], "power_of_two", 4, 3),
    ([3, -12, 24], "power_of_two", 3, 3),
    ([1, 128, -128, 0], "power_of_two", 1, 5),
    ([1, 128, -128], "power_of_two", 1, 4),
    ([1, 2, 3], "multiplier", 1, 3),
    ([-4, 3], "multiplier", 1, 3),
    ([6, -10], "multiplier", 1, 5),
    ([1, -(1 << 62)], "power_of_two", 1, 7),
]


@pytest.mark.parametrize(("values", "kind", "scale", "bits"), CASES)
def test_kind_scale_and_bits(values: list[int], kind: str, scale: int, bits: int) -> None:
    found = encoding(IntArray(values))
    assert (found.kind, found.scale, found.bits) == (kind, scale, bits)
    assert found.multiplies == (kind == "multiplier")
    weights = np.array(values)
    codes = found.codes(weights)
    assert codes.min() >= 0
    assert codes.max() < 1 << found.bits
    np.testing.assert_array_equal(found.weights(codes), weights)


def test_codes_by_hand() -> None:
    def codes(*values: int) -> list[int]:
        return [int(c) for c in encoding(IntArray(list(values))).codes(np.array(values))]

    assert codes(3, -3) == [1, 0]
    assert codes(1, 0, -1) == [0b01, 0b00, 0b11]
    assert codes(0, 1, -1, 2, -8) == [0b0000, 0b0001, 0b1001, 0b0010, 0b1100]
    assert codes(1, -4, 2) == [0b000, 0b110, 0b001]
    assert codes(3, -4, 1) == [0b011, 0b100, 0b001]


def test_random_weights_come_back() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        exponent = int(rng.integers(0, 12))
        signs = rng.integers(-1, 2, 20)
        weights = signs * (1 << rng.integers(0, exponent + 1, 20)) * int(rng.integers(1, 30))
        found = encoding(IntArray(weights))
        assert not found.multiplies
        np.testing.assert_array_equal(found.weights(found.codes(weights)), weights)


def test_no_weights_is_an_error() -> None:
    with pytest.raises(ValueError, match="no weights"):
        encoding(IntArray(np.zeros((0, 3), dtype=np.int64)))


def test_it_reads() -> None:
    assert str(encoding(IntArray([5, -5]))) == "binary, 1 bit, times 5"
    assert str(encoding(IntArray([1, -2]))) == "power of two, 2 bits"
    assert str(WeightEncoding(kind="multiplier", scale=1, bits=4)) == "multiplier, 4 bits"


def _signs(net: Net, x: str, channels: int, base: int = -1, step: int = 2) -> str:
    return net.add(
        o.Threshold, x, thresholds=IntArray(np.zeros((channels, 1), dtype=int)),
        base=IntArray([base] * channels), step=IntArray([step] * channels),
    )  # fmt: skip


def _dense(graph: Graph) -> o.Dense:
    return next(op for op in graph.ops if isinstance(op, o.Dense))


@pytest.mark.parametrize(
    ("base", "step", "zero", "expected"),
    [(-1, 2, 0, 1), (3, -6, 0, 3), (2, 4, 4, 2), (-1, 2, 1, None), (0, 1, 0, None), (-1, 3, 0, None)],
)
def test_inputs_of_two_codes(base: int, step: int, zero: int, expected: int | None) -> None:
    net = Net("pair")
    y = _signs(net, net.input((4,)), 4, base, step)
    w = IntArray([[1], [-1], [1], [1]])
    graph = net.build(net.add(o.Dense, y, weights=w, bias=None, input_zero_point=zero))
    assert two_codes(graph, y) == tuple(sorted((base, base + step)))
    assert sign_magnitude(graph, _dense(graph)) == expected


def test_two_codes_through_what_moves_them() -> None:
    net = Net("moved")
    x = net.input((2, 2, 2))
    y = _signs(net, x, 2)
    moved = net.add(o.Transpose, y, perm=(1, 0, 2))
    whole = net.add(o.Pad, moved, pads=((1, 0), (0, 0), (0, 0)), value=-1)
    broken = net.add(o.Pad, moved, pads=((1, 0), (0, 0), (0, 0)), value=0)
    none = net.add(o.Pad, moved, pads=((0, 0), (0, 0), (0, 0)), value=0)
    graph = net.build(whole, broken, none)
    assert two_codes(graph, whole) == (-1, 1)
    assert two_codes(graph, broken) is None
    assert two_codes(graph, none) == (-1, 1)
    assert two_codes(graph, x) is None


def test_three_codes_are_not_two() -> None:
    net = Net("three")
    x = net.input((4,), IntFormat(2, True))
    bits = net.input((4,), IntFormat(1, False), name="bits")
    graph = net.build(x, bits)
    assert two_codes(graph, x) is None
    assert two_codes(graph, bits) == (0, 1)
