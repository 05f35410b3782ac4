"""Graphs that drive the C target into its corners: both computing widths, every storage type, blocks and channels that
do not divide each other, broadcasting, views, and outputs that are inputs, constants or read again."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from c_linear_graphs import binary_layers, linear_layers, ternary_layers
from net import Net, conv, plain, requantize, tflite

from qsim.ir import Graph, Quantization
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Overflow, Rounding, Scheme, scalar, shift_only
from qsim.proof.builder import GraphBuilder

NARROW, WIDE = IntFormat(9, True), IntFormat(45, True)


def rounding_modes() -> Graph:
    """Shift, multiplier, division x seven modes x 32- and 64-bit computation, shifts of 0 and beyond the width."""
    net = Net("rounding_modes")
    outs = []
    for fmt in (NARROW, WIDE, IntFormat(17, False)):
        x = net.input((3, 4), fmt, name=f"x{fmt}")
        bound = 1 << (fmt.width - 1)
        for mode in Rounding:
            for shift in (0, 1, 3, 30, 33, 61, 62, 63, 70):
                outs.append(requantize(net, x, rescale=shift_only(shift, mode), low=-bound, high=2 * bound))
            mixed = plain([3, -5, 7, 1], [4, -4, 0, 2], [3, 2, 40, -1], mode)
            outs.append(requantize(net, x, rescale=mixed, input_zero_point=3, zero_point=-2, low=-bound, high=bound))
            outs.append(
                net.add(
                    o.Divide,
                    x,
                    numerator=IntArray([2, -1, 3, 1]),
                    addend=IntArray([0, 1, -3, 6]),
                    divisor=IntArray([12, 2, 7, 1]),
                    rounding=mode,
                    zero_point=1,
                    low=-bound,
                    high=bound,
                )
            )
    return net.build(*outs)


def overflow_modes() -> Graph:
    """Every overflow mode into formats from 1 to 64 bits, from narrow and wide inputs."""
    net = Net("overflow_modes")
    outs = []
    for source in (NARROW, IntFormat(62, True)):
        x = net.input((2, 5), source, name=f"x{source}")
        for mode in Overflow:
            for width in (1, 2, 5, 8, 16, 31, 32, 33, 63, 64):
                for signed in (True, False):
                    fmt = IntFormat(width, signed)
                    if width == 64 and not signed:
                        continue
                    if mode is Overflow.SAT_SYM and not signed:
                        continue
                    low = -fmt.high if mode is Overflow.SAT_SYM else fmt.low
                    outs.append(requantize(net, x, shift=1, overflow=mode, low=low, high=fmt.high, format=fmt))
    return net.build(*outs)


def schemes() -> Graph:
    """The TFLite schemes over multipliers and shifts at their limits, float32 over ties of both of its roundings."""
    net = Net("schemes")
    outs = []
    small, medium = net.input((4, 6), IntFormat(8, True)), net.input((4, 6), IntFormat(29, True), name="y")
    extremes = [1 << 30, (1 << 31) - 1, -(1 << 31), 0, 1583594044, -1]
    for scheme in (Scheme.TFLITE_DOUBLE, Scheme.TFLITE_UPWARD, Scheme.TFLITE_SINGLE):
        for x, left in ((small, 20), (medium, 2)):
            for shifts in ([0, 1, 2, 9, 31, 40], [-left, -1, 5, 7, 3, 0], [8] * 6):
                r = tflite(extremes, shifts, scheme)
                outs.append(requantize(net, x, rescale=r, low=-(1 << 31), high=(1 << 31) - 1, input_zero_point=3))
            r, other = tflite(extremes, [4] * 6, scheme), shift_only(2, Rounding.TRN_ZERO)
            outs.append(requantize(net, x, rescale=r, negative=other, low=-300, high=300, zero_point=-5))
    # A shift by 62 in all, with products that reach half of it.
    top = net.input((4, 6), IntFormat(31, True), name="w")
    for shifts in ([31] * 6, [30, 31, 32, 33, 0, 40]):
        r = tflite(extremes[::-1], shifts, Scheme.TFLITE_SINGLE)
        outs.append(requantize(net, top, rescale=r, low=-(1 << 31), high=(1 << 31) - 1))
    wide = net.input((4, 6), IntFormat(34, True), name="z")
    floats = [1 << 23, (1 << 24) - 1, 8388609, -12345677, 3, 1]
    for x in (small, medium, wide):
        for shifts in ([23, 24, 30, 33, 1, 0], [20, 40, 60, 25, 2, 90]):
            r = tflite(floats, shifts, Scheme.FLOAT32)
            bound = 1 << 60
            outs.append(requantize(net, x, rescale=r, low=-bound, high=bound, zero_point=7))
    return net.build(*outs)


def broadcasting() -> Graph:
    """Add, Mul, Extremum of many shapes, two to five inputs, alone and fused."""
    rng = np.random.default_rng(12)
    net = Net("broadcasting")
    a = net.input((3, 4, 50), IntFormat(5, True), name="a")
    b = net.input((4, 1), IntFormat(11, True), name="b")
    c = net.input((3, 1, 50), IntFormat(8, False), name="c")
    d = net.input((1,), IntFormat(3, True), name="d")
    e = net.add(o.Constant, values=IntArray(rng.integers(-9, 9, (50,))))
    f = net.input((3, 4, 50), IntFormat(33, True), name="f")
    outs = []
    groups = [(a, b), (c, b), (a, d), (d, a), (e, b), (a, f), (a, b, c), (b, c, d, e, a), (f, e, f), (a, a), (a,), (f,)]
    for inputs in groups:
        n = len(inputs)
        shifts = tuple(int(v) for v in rng.integers(0, 4, n))
        signs = tuple(int(v) for v in rng.choice([-1, 1], n))
        zeros = tuple(int(v) for v in rng.integers(-4, 5, n))
        total = net.add(o.Add, *inputs, shifts=shifts, signs=signs, zero_points=zeros)
        outs += [
            total,
            requantize(net, net.add(o.Add, *inputs, shifts=shifts, signs=signs, zero_points=zeros), 2, -99, 99),
        ]
        for kind in ("max", "min"):
            outs.append(net.add(o.Extremum, *inputs, kind=kind, shifts=shifts))
        outs.append(requantize(net, net.add(o.Extremum, *inputs, kind="max", shifts=shifts), 1, -50, 60))
        if n == 2:
            outs.append(net.add(o.Mul, *inputs, zero_points=zeros))
            outs.append(requantize(net, net.add(o.Mul, *inputs, zero_points=zeros), 4, -60, 70))
    outs.append(net.add(o.Add, d, d, shifts=(1, 0), signs=(1, -1), zero_points=(0, 1)))
    # Elementwise ops in front of a sum and behind it, once with a name read twice, once wider than a block with loops.
    up = requantize(net, requantize(net, a, -6, -1024, 1023), 1, -900, 900)
    other = requantize(net, f, rescale=plain(np.arange(1, 51), 0, 20, Rounding.RND_INF), low=-(1 << 30), high=1 << 30)
    total = net.add(o.Add, up, other, up, shifts=(0, 0, 1), signs=(1, -1, 1), zero_points=(5, 0, 1))
    outs.append(requantize(net, total, 9, -128, 127))
    both = (requantize(net, f, s, -(1 << 20), 1 << 20) for s in (10, 11))
    outs.append(net.add(o.Extremum, *both, kind="max", shifts=(0, 1)))
    g = net.input((3, 70), IntFormat(8, True), name="g")
    h = net.add(o.Slice, g, begin=(0, 3), strides=(1, 1), shape=(3, 1))
    raised = requantize(net, g, rescale=plain(np.arange(1, 71), 0, 0, Rounding.TRN), low=-(1 << 20), high=1 << 20)
    outs.append(requantize(net, net.add(o.Mul, raised, h, zero_points=(1, 0)), 7, -99, 99))
    narrow = requantize(net, requantize(net, h, 1), -9, -(1 << 20), 1 << 20)  # broadcast: stored, not fed
    outs.append(net.add(o.Add, g, narrow, shifts=(0, 0), signs=(1, 1), zero_points=(0, 0)))
    # Partial sums that leave the type of the result: the proven range of the whole is narrower than that of a part.
    ups = net.add(o.Constant, values=IntArray(np.full((3, 4, 50), 1000)))
    outs.append(
        net.add(
            o.Add, a, ups, ups, shifts=(0, 0, 0), signs=(1, 1, -1), zero_points=(0, 0, 0), format=IntFormat(16, True)
        )
    )
    return net.build(*outs)


def reductions() -> Graph:
    """Pools and Reduce over every choice of axes, partial results outside the result's own type."""
    rng = np.random.default_rng(13)
    net = Net("reductions")
    x = net.input((3, 4, 2, 5), IntFormat(8, True))
    image = net.input((5, 6, 68), IntFormat(7, True), name="image")
    big = net.input((2, 3, 3), IntFormat(40, True), name="big")
    outs = []
    for axes in (
        (0,),
        (1,),
        (2,),
        (3,),
        (0, 1),
        (1, 2),
        (0, 2),
        (1, 3),
        (0, 3),
        (0, 1, 2),
        (1, 2, 3),
        (0, 1, 2, 3),
        (0, 2, 3),
    ):
        for kind in ("sum", "max", "min"):
            outs.append(net.add(o.Reduce, x, kind=kind, axes=axes, keepdims=bool(len(axes) % 2)))
    outs.append(requantize(net, net.add(o.Reduce, image, kind="sum", axes=(0, 1), keepdims=True), 4))
    outs.append(net.add(o.Reduce, big, kind="sum", axes=(0, 2), keepdims=False))
    for op in (o.SumPool2D, o.MaxPool2D):
        pooled = net.add(op, image, pool=(3, 2), strides=(2, 2), padding=((1, 2), (1, 0)))
        divisor = IntArray(rng.integers(2, 9, 68))
        outs.append(
            net.add(
                o.Divide,
                pooled,
                numerator=scalar(1),
                addend=scalar(0),
                divisor=divisor,
                rounding=Rounding.RND_INF,
                low=-100,
                high=100,
            )
        )
        outs.append(net.add(op, big, pool=(2, 2), strides=(1, 1), padding=o.NO_PADDING))
    # One element always positive, one always negative: a partial maximum or sum is outside the result's type.
    shifted = net.add(o.Constant, values=IntArray(np.array([-100, 200]).reshape(2, 1, 1)))
    y = net.add(
        o.Add,
        net.add(o.Slice, image, begin=(0, 0, 0), strides=(1, 1, 1), shape=(2, 1, 3)),
        shifted,
        shifts=(0, 0),
        signs=(1, 1),
        zero_points=(0, 0),
    )
    outs.append(net.add(o.Reduce, y, kind="max", axes=(0,), keepdims=False))
    outs.append(net.add(o.MaxPool2D, y, pool=(2, 1), strides=(1, 1), padding=o.NO_PADDING))
    return net.build(*outs)


def lookups() -> Graph:
    """Tables and thresholds per channel behind layers wider than a block, in every element width."""
    rng = np.random.default_rng(14)
    net = Net("lookups")
    x = net.input((3, 2, 70), IntFormat(5, True))
    wide = net.input((2, 70), IntFormat(48, True), name="wide")
    outs = []

    def steps(low: int, high: int, rows: int, levels: int) -> IntArray:
        return IntArray(np.sort(rng.integers(low, high, (rows, levels)), axis=1))

    y = conv(net, x, rng, 70, kernel=(1, 1), padding=o.NO_PADDING)
    low, high = net.range(y)
    base, step = IntArray(rng.integers(-9, 9, 70)), IntArray(rng.choice([-2, -1, 1, 3], 70))
    first = net.add(o.Threshold, y, thresholds=steps(low, high + 2, 70, 15), base=base, step=step)
    lowest, highest = net.range(first)
    table = IntArray(rng.integers(-40000, 40000, (70, highest - lowest + 3)))
    outs.append(net.add(o.Lookup, first, table=table, table_low=lowest - 1))
    outs.append(net.add(o.Threshold, x, thresholds=steps(-16, 17, 1, 31), base=IntArray([-16]), step=IntArray([1])))
    outs.append(
        net.add(
            o.Threshold, x, thresholds=IntArray(np.zeros((1, 0)).astype(int)), base=IntArray([3]), step=IntArray([1])
        )
    )
    bound = 1 << 47
    outs.append(
        net.add(o.Threshold, wide, thresholds=steps(-bound, bound, 70, 7), base=IntArray([-bound]), step=IntArray([9]))
    )
    outs.append(net.add(o.Threshold, wide, thresholds=steps(-bound, bound, 1, 300), base=base, step=step))
    for entries in ((0, 255), (-128, 127), (-32768, 32767), (0, 65535), (-(1 << 40), 1 << 40)):
        values = rng.integers(entries[0], entries[1], (1, 32), endpoint=True)
        values[0, 0], values[0, 31] = entries
        outs.append(net.add(o.Lookup, x, table=IntArray(values), table_low=-16))
    # Elementwise ops fused with one another, in blocks, with and without parameters per channel.
    chain = net.add(o.Lookup, x, table=IntArray(rng.integers(-300, 300, (70, 32))), table_low=-16)
    chain = requantize(net, chain, 3, -20, 20)
    chain = net.add(o.Threshold, chain, thresholds=steps(-20, 21, 70, 4), base=IntArray([-2]), step=IntArray([1]))
    outs.append(net.add(o.Lookup, chain, table=IntArray([[9, -7, 5, -3, 1]]), table_low=-2))
    outs.append(requantize(net, requantize(net, wide, 30, -(1 << 20), 1 << 20), 11, -128, 127))
    for axis in (0, 1, 2):
        outs.append(net.add(o.ArgMax, x, axis=axis))
    outs.append(net.add(o.ArgMax, net.add(o.Reshape, x, shape=(420,)), axis=0))
    return net.build(*outs)


def softmaxes() -> Graph:
    net = Net("softmaxes")
    outs: list[str] = []
    for fmt, m, left, diff_min in (
        (IntFormat(8, True), 1717986918, 23, -128),
        (IntFormat(8, True), 1073741824, 20, -248),
        (IntFormat(8, False), 2147483647, 22, -31),
        (IntFormat(8, True), 1234567890, 26, -4),
    ):
        x = net.input((5, 13), fmt, name=f"x{len(outs)}")
        for out in (IntFormat(8, True), IntFormat(8, False)):
            outs.append(net.add(o.Softmax, x, input_multiplier=m, input_left_shift=left, diff_min=diff_min, format=out))
    return net.build(*outs)


def movements() -> Graph:
    """Data-moving ops of ranks 1 to 5; outputs that are inputs, constants, views, or read again later."""
    rng = np.random.default_rng(15)
    net = Net("movements")
    x = net.input((2, 3, 4, 5), IntFormat(6, True))
    y = net.input((300,), IntFormat(10, False), name="y")
    k = net.add(o.Constant, values=IntArray(rng.integers(-500, 500, (2, 3))))
    outs = [x, k]
    five = net.add(o.Reshape, x, shape=(2, 3, 2, 2, 5))
    outs += [five, net.add(o.Reshape, five, shape=(120,)), net.add(o.Reshape, k, shape=(6,))]
    for perm in ((3, 2, 1, 0), (0, 2, 1, 3), (1, 0, 3, 2), (0, 1, 2, 3)):
        outs.append(net.add(o.Transpose, x, perm=perm))
    outs.append(net.add(o.Transpose, five, perm=(4, 2, 0, 1, 3)))
    again = net.add(o.Reshape, outs[-1], shape=(5, 24))
    outs += [again, net.add(o.Concat, again, again, axis=1)]
    outs.append(net.add(o.Pad, x, pads=((1, 0), (0, 2), (3, 1), (0, 1)), value=-32))
    outs.append(net.add(o.Slice, x, begin=(1, 2, 0, 4), strides=(-1, -2, 3, -1), shape=(2, 2, 2, 5)))
    outs.append(net.add(o.Gather, y, index=IntArray(rng.integers(0, 300, (4, 70)))))
    outs.append(
        net.add(
            o.Concat,
            net.add(o.Slice, y, begin=(7,), strides=(2,), shape=(5,)),
            net.add(o.Reshape, k, shape=(6,)),
            axis=0,
        )
    )
    shared = requantize(net, x, 2, 0, 9)
    outs += [shared, requantize(net, shared, 1, 0, 3), net.add(o.Reshape, shared, shape=(6, 20))]
    return net.build(*outs)


def storage_types() -> Graph:
    """Inputs of every storage type through one rescale and one addition."""
    net = Net("storage_types")
    outs = []
    for width in (1, 7, 8, 9, 16, 17, 31, 32, 33, 61, 62):
        for signed in (True, False):
            if width == 62 and not signed:
                continue
            fmt = IntFormat(width, signed)
            x = net.input((3, 3), fmt, name=f"x{fmt}")
            outs.append(requantize(net, x, 1, fmt.low // 2, fmt.high // 2 + 1))
            if width < 61:
                outs.append(net.add(o.Add, x, x, shifts=(0, 1), signs=(-1, 1), zero_points=(0, 0)))
    return net.build(*outs)


def odd_names() -> Graph:
    """Names that are no identifiers, keywords, hold quotes, trigraphs, comment ends and starts, control characters,
    pragmas of tools or non-ASCII, or differ in case."""
    q = Quantization(scale=(Fraction(1, 3), Fraction(2, 7)), zero_point=0)
    builder = GraphBuilder('net "a" */ /* \0 \n int x; ??/', "tflm")
    x = builder.input("int", (3, 2), IntFormat(4, True), q)
    names = [
        "Int",
        'quote"d\\',
        "ü/ber:0",
        "for",
        "y",
        "Y",
        "x",
        "first",
        "??/",
        "*/",
        "count",
        "arena",
        "base",
        "main",
        "%d%n",
        "/*",
        "*/*",
        "/*/",
        "//",
        "a\0b",
        "line\nint z;\r\v\f\x85\u2028#error",
        "it's",
        "层层/",
        "$(rm) `define {{ x }} |p|",
        "verilator lint_off WIDTH",
        "synopsys translate_off",
    ]
    for name in names:
        x = builder.add(
            o.Add(inputs=(x, "int"), output=name, layer=name, shifts=(0, 0), signs=(1, 1), zero_points=(0, 0)),
            quantization=q,
        )
    return builder.build(["Int", x])


C_GRAPHS: dict[str, Callable[[], Graph]] = {
    f.__name__: f
    for f in (
        rounding_modes,
        overflow_modes,
        schemes,
        linear_layers,
        binary_layers,
        ternary_layers,
        broadcasting,
        reductions,
        lookups,
        softmaxes,
        movements,
        storage_types,
        odd_names,
    )
}
