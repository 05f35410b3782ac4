"""The fast C kernels in the forms that a host can run, every tensor against the simulator; and when they are taken."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from built import ran
from graphs import corner_codes
from net import Net, weights
from tiled_graphs import I8, TILED_GRAPHS, bias, convolution, rescaled

from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat
from qsim.simulate import Simulator
from qsim.targets.c.lower.tiled import Tiling, high_requantize, ordered_weights, strips, tiling
from qsim.targets.files import emit

FORMS = {"plain": "cc", "eight registers": "cc -DQSIM_SMALL=1"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TILED_GRAPHS)
def test_every_tensor_equals_the_simulator(name: str, form: str, tmp_path: Path) -> None:
    """Under UBSan and ASan."""
    graph = TILED_GRAPHS[name]()
    codes = corner_codes(graph, 12)
    emit(graph, "c", tmp_path)
    actual = ran(graph, "c", tmp_path, codes, sanitize=True, cc=FORMS[form])
    for tensor, expected in Simulator(graph).trace_codes(codes).items():
        assert np.array_equal(expected, actual[tensor]), tensor


FAULTS = {
    "swapped lanes": ("qsim_tile_four.h", r"x1 = x\[\(to\) \+ 2\];", "x1 = x[(to) + 4];"),
    "swapped k": ("qsim_tiled.h", r"to\[1\] = \(int16_t\)x\[2\];", "to[1] = (int16_t)x[1];"),
    "no zero point": ("qsim_tiled.h", r"inside \? from\[c\] : p->zero_point", "inside ? from[c] : 0"),
    "no rounding away": ("qsim_high.h", r"high \+= high >> 31;", ""),
    "eight": ("qsim_tile_one.h", r"\(at\) \+ 8\)", "(at) + 4)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_kernel_is_seen(fault: str, tmp_path: Path) -> None:
    graph = TILED_GRAPHS["dense_tiles" if fault == "eight" else "tiled_int8"]()
    codes = corner_codes(graph, 12)
    emit(graph, "c", tmp_path)
    file, pattern, by = FAULTS[fault]
    text, count = re.subn(pattern, by, (tmp_path / file).read_text())
    assert count
    (tmp_path / file).write_text(text)
    actual = ran(graph, "c", tmp_path, codes)
    assert any(not np.array_equal(x, actual[name]) for name, x in Simulator(graph).trace_codes(codes).items())


def test_weights_in_the_order_of_use() -> None:
    """Each weight's place worked out from the words of qsim_tile.h, one by one."""
    rng = np.random.default_rng(0)
    for lanes, channels, inputs in ((4, 5, 9), (1, 11, 6), (1, 16, 8)):
        rows = rng.integers(-128, 128, (channels, inputs))
        groups = -(-inputs // 4)
        made = ordered_weights(
            Tiling(lanes=lanes, rows=rows, bias=rows[:, 0], zero_point=0, groups=groups, parts=1, packed=0, geometry=())
        )
        eights = channels // 8 if lanes == 1 else 0
        for channel in range(channels + channels % 2):
            for k in range(4 * groups):
                group, odd, second = k >> 2, k & 1, k >> 1 & 1
                if channel < 8 * eights:
                    eight, pair, which = channel // 8, channel % 8 // 2, channel % 2
                    at = ((((eight * groups + group) * 2 + odd) * 4 + pair) * 2 + second) * 2 + which
                else:
                    pair, which = (channel - 8 * eights) // 2, channel % 2
                    at = 32 * groups * eights + (((pair * groups + group) * 2 + odd) * 2 + second) * 2 + which
                inside = channel < channels and k < inputs
                assert made[at] == (rows[channel, k] if inside else 0)


def test_what_the_general_kernels_keep_and_why() -> None:
    rng = np.random.default_rng(5)
    net = Net("kept")
    x = net.input((4, 4, 4), I8)
    wide = net.input((4, 4, 4), IntFormat(20, True), name="wide")
    nine = IntArray(np.full((1, 1, 4, 2), 200))
    many = net.input((70000,), IntFormat(16, True), name="many")
    layers = {
        "its inputs take more than 16 bits": convolution(net, wide, rng, 2, (1, 1)),
        "its weights take more than 8 bits": convolution(net, x, rng, 2, (1, 1), weights=nine),
        "it has groups": convolution(net, x, rng, 2, (3, 3), groups=2, weights=weights(rng, (3, 3, 2, 2), 8)),
        "a partial sum could leave 32 bits": net.add(
            o.Dense, many, weights=IntArray(np.full((70000, 1), 127)), bias=bias(rng, 1)
        ),
    }
    outputs = [rescaled(net, made, rng, shift=8) for made in layers.values() if net.range(made)[1] < 1 << 30]
    graph = net.build(*outputs, *[made for made in layers.values() if net.range(made)[1] >= 1 << 30])
    for reason, name in layers.items():
        op = graph.producers[name]
        assert isinstance(op, o.Conv2D | o.Dense)
        found = tiling(op, graph)
        assert found == reason or (isinstance(found, str) and found.startswith("its sums are stored as int64"))


def test_requantizers_that_32_bits_do_not_hold() -> None:
    rng = np.random.default_rng(6)
    net = Net("kept")
    narrow = net.input((2, 2, 4), IntFormat(24, True))
    wide = net.input((2, 2, 4), IntFormat(31, True), name="wide")
    cases = {
        "its input reaches 2^30": rescaled(net, wide, rng, shift=4),
        "a channel shifts by less than one": rescaled(net, narrow, rng, shift=0),
        "a rescaled value and its zero point leave 32 bits": rescaled(net, narrow, rng, shift=25, zero_point=-128),
    }
    graph = net.build(*cases.values())
    for reason, name in cases.items():
        op = graph.producers[name]
        assert isinstance(op, o.Requantize)
        found = high_requantize(op, graph)
        assert isinstance(found, str)
        assert found.startswith(reason)


def test_a_depthwise_convolution_of_three_channels_is_general() -> None:
    rng = np.random.default_rng(7)
    net = Net("three")
    x = net.input((3, 3, 3), I8)
    made = convolution(net, x, rng, 3, (3, 3), groups=3, weights=weights(rng, (3, 3, 1, 3), 8))
    graph = net.build(rescaled(net, made, rng, shift=6))
    op = graph.producers[made]
    assert isinstance(op, o.Conv2D)
    assert strips(op, graph) == "its channels are no multiple of four, or multiplied"
