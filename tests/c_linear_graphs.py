"""Graphs of linear layers that drive the C target into its corners: every kernel, both computing widths."""

from __future__ import annotations

from typing import Any

import numpy as np
from net import Net, conv, plain, requantize, weights

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Rounding


def linear_layers() -> Graph:
    """Convolutions of every kind with more channels than a block, 64-bit accumulators, all fused with what follows."""
    rng = np.random.default_rng(11)
    net = Net("linear_layers")
    x = net.input((6, 5, 4), IntFormat(7, False))
    deep = net.input((4, 3, 70), IntFormat(5, True), name="deep")
    wide = net.input((3, 4, 2), IntFormat(24, True), name="wide")
    outs = []

    def finish(y: str) -> None:
        channels = net.shape(y)[-1]
        m, a, s = rng.integers(1, 99, channels), rng.integers(-9, 9, channels), rng.integers(3, 9, channels)
        r = plain(m, a, s, Rounding.RND_CONV)
        outs.append(requantize(net, y, rescale=r, low=-128, high=127))

    finish(conv(net, x, rng, 100))
    kernel = weights(rng, (2, 2, 4, 75))
    size: dict[str, Any] = {"strides": (2, 2), "padding": o.NO_PADDING, "output_size": (12, 10)}
    finish(net.add(o.ConvTranspose2D, x, weights=kernel, bias=None, **size))
    grid = rng.integers(1, 30, (6, 5, 1))  # one multiplier per position
    outs.append(requantize(net, conv(net, x, rng, 80), rescale=plain(grid, grid, 6, Rounding.RND), low=-128, high=127))
    finish(conv(net, x, rng, 130, groups=2, kernel=(2, 1), padding=((1, 3), (2, 2)), strides=(2, 3)))
    finish(conv(net, x, rng, 4, kernel=(1, 1), padding=((2, 2), (2, 2)), input_zero_point=64))
    finish(conv(net, x, rng, 12, groups=4, dilation=(2, 1), padding=((3, 0), (0, 2)), input_zero_point=-3))
    finish(conv(net, deep, rng, 70, groups=70, kernel=(3, 2)))
    finish(conv(net, deep, rng, 140, groups=70, input_zero_point=1, product_shift=2))
    outs.append(conv(net, deep, rng, 70, groups=70, dilation=(1, 2), padding=((1, 1), (2, 2))))
    outs.append(conv(net, wide, rng, 3, weights=weights(rng, (3, 3, 2, 3), 17), product_shift=1))
    outs.append(conv(net, wide, rng, 2, weights=IntArray(rng.integers(0, 255, (2, 2, 1, 2))), groups=2, bias=None))
    outs.append(requantize(net, outs[-1], shift=20, low=-(1 << 31), high=(1 << 31) - 1))
    for cropped in (((0, 1), (1, 0)), ((0, -1), (0, -2)), ((2, 0), (3, 1))):
        h = (6 - 1) * 2 + 3 - sum(cropped[0])
        w = (5 - 1) * 3 + 2 - sum(cropped[1])
        y = net.add(
            o.ConvTranspose2D,
            x,
            weights=weights(rng, (3, 2, 4, 3)),
            bias=IntArray([30, -4, 0]),
            strides=(2, 3),
            padding=cropped,
            output_size=(h, w),
            input_zero_point=9,
            product_shift=1,
        )
        finish(y)
    finish(net.add(o.Dense, deep, weights=weights(rng, (70, 90)), bias=IntArray(rng.integers(-99, 99, 90))))
    outs.append(net.add(o.Dense, wide, weights=weights(rng, (2, 67), 30), bias=None, input_zero_point=-5))
    left = net.add(o.Reshape, deep, shape=(4, 3, 70))
    part = net.add(o.Slice, deep, begin=(0, 1, 0), strides=(1, 1, 1), shape=(4, 2, 70))
    right = net.add(o.Transpose, part, perm=(0, 2, 1))
    outs.append(net.add(o.MatMul, left, right, zero_points=(-3, 2)))
    outs.append(net.add(o.MatMul, right, part, zero_points=(0, 0)))
    finish(net.add(o.MatMul, right, part, zero_points=(1, 0)))
    return net.build(*outs)


def few_bit_layers(name: str, levels: tuple[int, ...]) -> Graph:
    """Weights packed into words, on inputs of many codes, of few bits, and of +1 and -1; odd sizes, borders, groups."""
    rng = np.random.default_rng(16)
    net = Net(name)
    x = net.input((5, 6, 13), IntFormat(5, True))
    row = net.input((3, 77), IntFormat(8, False), name="row")
    outs = []

    def some(*shape: int) -> IntArray:
        return IntArray(rng.choice(levels, shape))

    def sign(y: str) -> str:
        return net.add(o.Threshold, y, thresholds=IntArray([[1]]), base=IntArray([-1]), step=IntArray([2]))

    padding = ((2, 1), (1, 2))
    for y in (x, sign(x), requantize(net, x, 3, 0, 3)):
        channels = net.shape(y)[-1]
        outs.append(conv(net, y, rng, 70, weights=some(3, 3, channels, 70)))
        outs.append(conv(net, y, rng, 5, weights=some(3, 2, channels, 5), padding=padding, strides=(2, 1)))
        outs.append(conv(net, y, rng, 3, weights=some(2, 3, channels, 3), padding=padding, dilation=(2, 2), bias=None))
        outs.append(conv(net, y, rng, 9, weights=some(2, 3, channels, 9), padding=padding, dilation=(2, 1), bias=None))
        outs.append(conv(net, y, rng, 32, weights=some(5, 6, channels, 32), padding=o.NO_PADDING, product_shift=3))
        outs.append(conv(net, y, rng, 4, weights=some(3, 3, channels, 4), input_zero_point=1))
        outs.append(conv(net, y, rng, 13, weights=some(3, 3, 1, 13), groups=13, padding=padding, dilation=(2, 1)))
        many: dict[str, Any] = {
            "weights": some(2, 2, 1, 78),
            "groups": 13,
            "input_zero_point": -1,
            "padding": o.NO_PADDING,
        }
        outs.append(conv(net, y, rng, 78, **many))
    pooled = net.add(o.MaxPool2D, sign(outs[0]), pool=(2, 2), strides=(2, 2), padding=o.NO_PADDING)
    padded = net.add(o.Pad, pooled, pads=((0, 0), (1, 0), (0, 0)), value=-1)
    outs.append(requantize(net, conv(net, padded, rng, 90, weights=some(3, 3, 70, 90)), 2, -60, 60))
    outs.append(conv(net, pooled, rng, 8, weights=some(3, 3, 35, 8), groups=2))
    outs.append(
        net.add(o.Dense, row, weights=some(77, 67), bias=IntArray(rng.integers(-50, 50, 67)), input_zero_point=3)
    )
    outs.append(net.add(o.Dense, sign(row), weights=some(77, 67), bias=None))
    flat = net.add(o.Reshape, sign(row), shape=(231,))
    outs.append(requantize(net, net.add(o.Dense, flat, weights=some(231, 100), bias=None), 1, -60, 60))
    outs.append(net.add(o.Dense, flat, weights=IntArray(np.ones((231, 1), dtype=int)), bias=None))
    # Two codes about a zero point, and weights of another size than 1.
    pair = net.add(o.Threshold, x, thresholds=IntArray([[1]]), base=IntArray([2]), step=IntArray([6]))
    large: dict[str, Any] = {"weights": IntArray(-3 * some(3, 3, 13, 9).values), "input_zero_point": 5}
    outs.append(conv(net, pair, rng, 9, padding=padding, dilation=(2, 1), product_shift=1, **large))
    large = {"weights": IntArray(5 * some(3, 3, 1, 13).values), "groups": 13}
    outs.append(conv(net, x, rng, 13, **large))
    deep = net.input((4,), IntFormat(31, True), name="deep")
    wide = net.add(o.Concat, *([deep] * 3), axis=0)
    outs.append(net.add(o.Dense, wide, weights=some(12, 6), bias=None))
    return net.build(*outs)


def binary_layers() -> Graph:
    """Weights of +1 and -1."""
    return few_bit_layers("binary_layers", (-1, 1))


def ternary_layers() -> Graph:
    """Weights of +1, 0 and -1."""
    return few_bit_layers("ternary_layers", (-1, 0, 0, 1))
