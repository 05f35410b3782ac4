"""Small graphs for tests: one or more per op, every mode among them, and seeded random networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from net import Net, conv, plain, requantize, tflite, weights

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Overflow, Rounding, Scheme, scalar, shift_only


def convolutions() -> Graph:
    rng = np.random.default_rng(1)
    net = Net("convolutions")
    x = net.input((5, 6, 4))
    outs = [
        conv(net, x, rng, 3),
        conv(net, x, rng, 5, strides=(2, 2), padding=((0, 1), (0, 1))),
        conv(net, x, rng, 2, kernel=(2, 3), padding=o.NO_PADDING, bias=None),
        conv(net, x, rng, 2, dilation=(2, 2), padding=((2, 2), (2, 2))),
        conv(net, x, rng, 8, groups=4),
        conv(net, x, rng, 4, groups=4, strides=(1, 2), product_shift=3),
        conv(net, x, rng, 6, groups=2),
        conv(net, x, rng, 3, kernel=(1, 1), padding=o.NO_PADDING, input_zero_point=-7),
        conv(net, x, rng, 3, input_zero_point=5),
        conv(net, x, rng, 3, kernel=(5, 6), padding=o.NO_PADDING),
        net.add(
            o.ConvTranspose2D,
            x,
            weights=weights(rng, (3, 3, 4, 2)),
            bias=IntArray([3, -4]),
            strides=(2, 2),
            padding=((0, 1), (1, 0)),
            output_size=(10, 12),
        ),
        net.add(
            o.ConvTranspose2D,
            x,
            weights=weights(rng, (2, 2, 4, 3)),
            bias=None,
            strides=(1, 1),
            padding=o.NO_PADDING,
            output_size=(6, 7),
            input_zero_point=3,
            product_shift=1,
        ),
    ]
    return net.build(*outs)


def dense_layers() -> Graph:
    rng = np.random.default_rng(2)
    net = Net("dense_layers")
    x = net.input((3, 8))
    outs = [
        net.add(o.Dense, x, weights=weights(rng, (8, 5)), bias=IntArray(rng.integers(-99, 99, 5))),
        net.add(o.Dense, x, weights=weights(rng, (8, 1), 8), bias=None, input_zero_point=-3),
        net.add(o.Dense, x, weights=IntArray(rng.choice([-1, 1], (8, 4))), bias=None),
        net.add(
            o.Dense, x, weights=IntArray(rng.integers(-1, 2, (8, 4))), bias=IntArray([1, 2, 3, 4]), product_shift=4
        ),
        net.add(o.Dense, x, weights=IntArray(rng.choice([-8, -2, 1, 4], (8, 4))), bias=None),
    ]
    y = net.add(o.Transpose, x, perm=(1, 0))
    outs.append(net.add(o.MatMul, x, y, zero_points=(1, -2)))
    return net.build(*outs)


def merges() -> Graph:
    rng = np.random.default_rng(3)
    net = Net("merges")
    x = net.input((3, 4, 5))
    y = net.input((3, 4, 5), IntFormat(4, False), name="y")
    c = net.add(o.Constant, values=IntArray(rng.integers(-9, 9, (5,))))
    d = net.add(o.Constant, values=IntArray(rng.integers(-9, 9, (3, 1, 5))))
    outs = [
        net.add(o.Add, x, y, shifts=(0, 2), signs=(1, 1), zero_points=(0, 0)),
        net.add(o.Add, x, y, x, shifts=(3, 0, 1), signs=(1, -1, -1), zero_points=(-2, 3, 0)),
        net.add(o.Add, x, c, shifts=(0, 0), signs=(1, -1), zero_points=(0, 0)),
        net.add(o.Mul, x, y, zero_points=(0, 0)),
        net.add(o.Mul, x, x, zero_points=(2, 2)),
        net.add(o.Mul, d, y, zero_points=(1, 4)),
        net.add(o.Extremum, x, y, kind="max", shifts=(0, 1)),
        net.add(o.Extremum, x, y, c, kind="min", shifts=(1, 0, 0)),
        net.add(o.Concat, x, y, axis=2),
        net.add(o.Concat, x, y, x, axis=0),
        net.add(o.Concat, y, x, axis=1),
    ]
    return net.build(*outs)


def pools() -> Graph:
    net = Net("pools")
    x = net.input((6, 5, 3))
    outs = []
    for op in (o.SumPool2D, o.MaxPool2D):
        outs.append(net.add(op, x, pool=(2, 2), strides=(2, 2), padding=o.NO_PADDING))
        outs.append(net.add(op, x, pool=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1))))
        outs.append(net.add(op, x, pool=(2, 3), strides=(1, 1), padding=((0, 1), (1, 1))))
        outs.append(net.add(op, x, pool=(6, 5), strides=(6, 5), padding=o.NO_PADDING))
        outs.append(net.add(op, x, pool=(1, 2), strides=(3, 3), padding=o.NO_PADDING))
        outs.append(net.add(op, x, pool=(2, 2), strides=(2, 2), padding=((0, 0), (1, 0))))  # windows begin outside
    for kind in ("sum", "max", "min"):
        outs.append(net.add(o.Reduce, x, kind=kind, axes=(0, 1), keepdims=False))
        outs.append(net.add(o.Reduce, x, kind=kind, axes=(2,), keepdims=True))
    outs.append(net.add(o.Reduce, x, kind="sum", axes=(0, 1, 2), keepdims=False))
    return net.build(*outs)


def roundings() -> Graph:
    """Every rounding and overflow mode of PLAIN rescales and divisions, ties included."""
    net = Net("roundings")
    x = net.input((2, 3, 4), IntFormat(9, True))
    outs = []
    for mode in Rounding:
        outs.append(requantize(net, x, rescale=shift_only(3, mode), low=-16, high=15))
        outs.append(
            requantize(
                net,
                x,
                rescale=plain([3, -5, 7, 1], [4, -4, 0, 2], [3, 2, 4, -1], mode),
                input_zero_point=3,
                zero_point=-2,
                low=-100,
                high=90,
            )
        )
        outs.append(
            net.add(
                o.Divide,
                x,
                numerator=scalar(2),
                addend=IntArray([0, 1, -3, 6]),
                divisor=IntArray([12, 3, 7, 4]),
                rounding=mode,
                zero_point=1,
                low=-50,
                high=40,
            )
        )
    for overflow in Overflow:
        for fmt in (IntFormat(5, True), IntFormat(4, False)):
            low, high = (-fmt.high if overflow is Overflow.SAT_SYM and fmt.signed else fmt.low), fmt.high
            if overflow is Overflow.SAT_SYM and not fmt.signed:
                continue
            outs.append(requantize(net, x, shift=1, overflow=overflow, low=low, high=high, format=fmt))
    outs.append(requantize(net, x, shift=2, negative=shift_only(5, Rounding.RND_CONV), low=-8, high=50))
    outs.append(requantize(net, x, shift=-3, low=-5000, high=5000))
    grid = np.arange(2 * 3).reshape(2, 3, 1) + 1
    outs.append(requantize(net, x, rescale=plain(grid, grid * 5, grid // 2, Rounding.RND_CONV), low=-400, high=400))
    return net.build(*outs)


def tflite_schemes() -> Graph:
    net = Net("tflite_schemes")
    x = net.input((2, 4), IntFormat(20, True))
    rng = np.random.default_rng(4)
    outs = []
    for scheme in (Scheme.TFLITE_DOUBLE, Scheme.TFLITE_UPWARD, Scheme.TFLITE_SINGLE):
        m = rng.integers(1 << 30, 1 << 31, 4)
        m[0] = 1 << 30
        outs.append(
            requantize(net, x, rescale=tflite(m, [11, 3, 0, -2], scheme), zero_point=-5, low=-(1 << 25), high=1 << 25)
        )
        outs.append(
            requantize(
                net,
                x,
                rescale=tflite(1583594044, 9, scheme),
                negative=tflite(m[1], 12, scheme),
                input_zero_point=11,
                low=-128,
                high=127,
            )
        )
    m24 = rng.integers(1 << 23, 1 << 24, 4)
    outs.append(
        requantize(net, x, rescale=tflite(m24, [30, 27, 33, 24], Scheme.FLOAT32), zero_point=3, low=-9999, high=9999)
    )
    return net.build(*outs)


def cancelling_addends() -> Graph:
    """Products that need more bits than the sums with their addends: a kernel that widens the sum before it is taken
    in its own width is off by a power of two."""
    net = Net("cancelling_addends")
    x = net.input((4, 4, 4), IntFormat(8, False))
    outs = [
        requantize(net, x, rescale=plain(193, -22279, 4, Rounding.RND_CONV), low=0, high=255),
        requantize(net, x, rescale=plain(-129, 20000, 5, Rounding.RND_INF), low=-400, high=400),
        requantize(net, x, rescale=plain(129, -32000, 0, Rounding.RND), low=-90, high=99),
        requantize(net, x, rescale=plain(300, -70000, 7, Rounding.RND_ZERO), input_zero_point=5, low=-99, high=99),
        requantize(
            net,
            x,
            rescale=plain([130, -7, 1, 255], [-16000, 900, 3, -32500], [3, 0, -2, 6], Rounding.TRN),
            low=-99,
            high=99,
        ),
        net.add(
            o.Divide,
            x,
            numerator=scalar(201),
            addend=scalar(-25000),
            divisor=scalar(37),
            rounding=Rounding.RND_CONV,
            low=-500,
            high=500,
        ),
    ]
    return net.build(*outs)


def tables() -> Graph:
    rng = np.random.default_rng(5)
    net = Net("tables")
    x = net.input((3, 2, 4), IntFormat(5, True))
    ascending = np.sort(rng.integers(-20, 20, (4, 7)), axis=1)
    outs = [
        net.add(
            o.Threshold, x, thresholds=IntArray(ascending), base=IntArray([-4, 0, 3, 9]), step=IntArray([1, 2, -1, 1])
        ),
        net.add(o.Threshold, x, thresholds=IntArray([[0]]), base=IntArray([-1]), step=IntArray([2])),
        net.add(o.Lookup, x, table=IntArray(rng.integers(-90, 90, (1, 32))), table_low=-16),
        net.add(o.Lookup, x, table=IntArray(rng.integers(0, 9, (4, 40))), table_low=-20),
        net.add(o.ArgMax, x, axis=2),
        net.add(o.ArgMax, x, axis=0),
    ]
    return net.build(*outs)


def shapes() -> Graph:
    rng = np.random.default_rng(6)
    net = Net("shapes")
    x = net.input((4, 3, 6))
    outs = [
        net.add(o.Reshape, x, shape=(72,)),
        net.add(o.Reshape, x, shape=(2, 36)),
        net.add(o.Transpose, x, perm=(2, 0, 1)),
        net.add(o.Pad, x, pads=((1, 2), (0, 1), (0, 0)), value=0),
        net.add(o.Pad, x, pads=((0, 0), (1, 1), (2, 0)), value=-9),
        net.add(o.Slice, x, begin=(1, 0, 2), strides=(1, 1, 2), shape=(3, 2, 2)),
        net.add(o.Slice, x, begin=(3, 2, 0), strides=(-2, -1, 1), shape=(2, 3, 6)),
        net.add(o.Gather, x, index=IntArray(rng.integers(0, 72, (5, 4)))),
        net.add(o.Gather, x, index=IntArray(np.arange(72).reshape(4, 3, 6).repeat(2, 0).repeat(2, 1))),
    ]
    return net.build(*outs)


OP_GRAPHS: dict[str, Callable[[], Graph]] = {
    f.__name__: f
    for f in (
        *(convolutions, dense_layers, merges, pools, roundings, tflite_schemes, cancelling_addends, tables, shapes),
    )
}
"""Together these hold every op but Softmax, which the TFLite tests compare with its reference implementation."""


def small_cnn() -> Graph:
    """What a QKeras CNN becomes: convolutions, residual add, pools, average by multiplier, dense."""
    rng = np.random.default_rng(7)
    net = Net("small_cnn")
    x = net.input((8, 8, 1), IntFormat(4, True))
    a = requantize(net, conv(net, x, rng, 4), low=0, high=15)
    b = requantize(net, conv(net, a, rng, 4), shift=5, low=0, high=15)
    c = net.add(o.Add, a, b, shifts=(0, 1), signs=(1, 1), zero_points=(0, 0))
    d = net.add(o.MaxPool2D, requantize(net, c, 1, 0, 15), pool=(2, 2), strides=(2, 2), padding=o.NO_PADDING)
    e = requantize(net, conv(net, d, rng, 6, strides=(2, 2), padding=((0, 1), (0, 1))), 5, low=0, high=15)
    f = net.add(o.SumPool2D, e, pool=(2, 2), strides=(2, 2), padding=o.NO_PADDING)
    g = requantize(net, f, rescale=plain(13, 0, 6, Rounding.RND_CONV), low=0, high=15)
    h = net.add(o.Dense, net.add(o.Reshape, g, shape=(6,)), weights=weights(rng, (6, 10)), bias=weights(rng, (10,), 6))
    return net.build(h)


def same_weights(steps: int = 3) -> Graph:
    """A layer called several times, as a recurrent one is: dense ops with one matrix and bias, and with another one."""
    rng = np.random.default_rng(11)
    net = Net("same_weights")
    x = net.input((5,), IntFormat(6, True))
    matrix, bias = weights(rng, (5, 5)), weights(rng, (5,), 6)
    for _ in range(steps):
        x = requantize(net, net.add(o.Dense, x, weights=matrix, bias=bias), shift=3, low=-32, high=31)
    return net.build(net.add(o.Dense, x, weights=weights(rng, (5, 5)), bias=bias))


def random_graph(seed: int) -> Graph:
    """A random network of depth 1 to 6 with odd shapes, branches and every rounding mode; codes stay below 2**30."""
    rng = np.random.default_rng(seed)
    net = Net(f"random{seed}")
    shape = (int(rng.integers(1, 8)), int(rng.integers(1, 8)), int(rng.integers(1, 5)))
    x = net.input(shape, IntFormat(int(rng.integers(1, 9)), bool(rng.integers(2))))
    for _ in range(int(rng.integers(1, 7))):
        x = _random_layer(net, x, rng)
    return net.build(x)


def _random_layer(net: Net, x: str, rng: np.random.Generator) -> str:
    h, w, c = net.shape(x)
    mode = list(Rounding)[int(rng.integers(7))]
    match int(rng.integers(9)):
        case 0 | 1:
            kernel = int(rng.integers(1, min(h, 3) + 1)), int(rng.integers(1, min(w, 3) + 1))
            groups = int(rng.choice([g for g in range(1, c + 1) if c % g == 0]))
            out = groups * int(rng.integers(1, 4))
            pads = tuple((int(rng.integers(0, k)), int(rng.integers(0, k))) for k in kernel)
            strides = int(rng.integers(1, 3)), int(rng.integers(1, 3))
            bits = int(rng.integers(1, 9))
            w_array = IntArray(rng.integers(-(1 << bits) + 1, 1 << bits, (*kernel, c // groups, out)))
            y = conv(net, x, rng, out, weights=w_array, groups=groups, strides=strides, padding=pads)
        case 2:
            op = o.SumPool2D if rng.integers(2) else o.MaxPool2D
            pool = int(rng.integers(1, min(h, 3) + 1)), int(rng.integers(1, min(w, 3) + 1))
            y = net.add(op, x, pool=pool, strides=pool, padding=o.NO_PADDING)
        case 3:
            branch = conv(net, x, rng, c, kernel=(1, 1), padding=o.NO_PADDING)
            y = net.add(o.Add, x, branch, shifts=(int(rng.integers(4)), 0), signs=(1, 1), zero_points=(0, 0))
        case 4:
            y = net.add(o.Concat, x, conv(net, x, rng, 2, kernel=(1, 1), padding=o.NO_PADDING), axis=2)
        case 5:
            pads = ((int(rng.integers(2)), 1), (0, int(rng.integers(2))), (0, 0))
            y = net.add(o.Pad, x, pads=pads, value=0)
        case 6:
            low, high = net.range(x)
            steps = np.sort(rng.integers(low, high + 2, (c, 5)), axis=1)
            y = net.add(o.Threshold, x, thresholds=IntArray(steps), base=IntArray([0]), step=IntArray([1]))
        case 7:
            n = int(rng.integers(2, 12))
            y = net.add(
                o.Divide, x, numerator=scalar(3), addend=scalar(1), divisor=scalar(n), rounding=mode, low=-200, high=200
            )
        case _:
            y = net.add(o.Reshape, net.add(o.Transpose, x, perm=(1, 0, 2)), shape=(w, h, c))
    low, high = net.range(y)
    if high - low > 255:
        bits = int(rng.integers(2, 9))
        shift = max(0, int(max(high, -low)).bit_length() - bits)
        y = requantize(net, y, rescale=shift_only(shift, mode), low=-(1 << (bits - 1)), high=(1 << (bits - 1)) - 1)
    return y


def corner_codes(graph: Graph, samples: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Input codes (samples, *shape) by name: all-lowest, all-highest, zero, alternating corners, then random."""
    rng = np.random.default_rng(seed)
    codes = {}
    for entry in graph.inputs:
        shape = graph[entry.tensor].shape
        x = rng.integers(entry.low, entry.high + 1, (samples, *shape))
        patterns: Iterator[Any] = iter(
            (
                np.full(shape, entry.low),
                np.full(shape, entry.high),
                np.full(shape, min(max(0, entry.low), entry.high)),
                np.where(np.arange(int(np.prod(shape))).reshape(shape) % 2 == 0, entry.low, entry.high),
            )
        )
        for i, pattern in zip(range(samples), patterns):
            x[i] = pattern
        codes[entry.tensor] = x
    return codes
