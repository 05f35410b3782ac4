"""What ``explain`` prints is evaluated, by a reader with a calculator that knows the notation and nothing of qsim: the
printed formula of every op kind, scheme, rounding and overflow gives the simulator's code."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest
from graphs import OP_GRAPHS, corner_codes, random_graph
from net import Net, plain, requantize, tflite

import qsim
from qsim.compare.stimulus import sample_codes
from qsim.debug.words.describe import describe
from qsim.debug.words.factors import factor_of
from qsim.debug.words.formulas import FORMULAS, integer_lines
from qsim.debug.words.reals import REAL
from qsim.demo.flow import MODEL
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Overflow, Rounding, Scheme, scalar
from qsim.reference.softmax import _one_over_one_plus_x, exp_on_negative_values
from qsim.simulate import Simulator


def nearest(tie: Callable[[Fraction], bool]) -> Callable[[Fraction], int]:
    """Round to the nearest integer; ``tie`` says whether an exact half goes up."""

    def act(value: Fraction) -> int:
        value = Fraction(value)
        below = math.floor(value)
        rest = value - below
        return below + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and tie(value)))

    return act


MODES: dict[str, Callable[[Fraction], int]] = {
    "to the nearest integer, exact halves to the even one": nearest(lambda v: math.floor(v) % 2 == 1),
    "to the nearest integer, exact halves up": nearest(lambda v: True),
    "to the nearest integer, exact halves away from zero": nearest(lambda v: v > 0),
    "to the nearest integer, exact halves toward zero": nearest(lambda v: v < 0),
    "to the nearest integer, exact halves down": nearest(lambda v: False),
    "down (bits are cut off)": math.floor,
    "toward zero": math.trunc,
}


def float32(value: Fraction) -> Fraction:
    return Fraction(float(np.float32(float(value))))  # at most 48 bits come in: float64 holds them


def wrap(value: Fraction, low: int, high: int) -> int:
    size = high - low + 1
    return (int(value) - low) % size + low


def fold(value: Fraction, low: int, high: int) -> int:
    kept = wrap(value, low, high)
    if low == 0:
        return kept
    dropped = int(value) // (high - low + 1) % 2
    return wrap(~kept, low, high) if dropped != (kept < 0) else kept


class Codes:
    """An array that is read with exact indices and has a value outside (None: an error)."""

    def __init__(self, values: np.ndarray, outside: float | None = None) -> None:
        self.values, self.outside = values, outside

    @property
    def flat(self) -> Codes:
        return Codes(self.values.reshape(-1), self.outside)

    def __getitem__(self, at: object) -> Fraction | float:
        place = tuple(int(i) for i in (at if isinstance(at, tuple) else (at,)))
        if len(place) != self.values.ndim or any(not 0 <= i < n for i, n in zip(place, self.values.shape, strict=True)):
            assert self.outside is not None, (place, self.values.shape)
            return self.outside
        return Fraction(int(self.values[place]))


def _loop(combine: Callable[[list], object]) -> Callable:
    def act(ends: tuple, body: Callable) -> object:
        return combine([body(*place) for place in itertools.product(*(range(a, b + 1) for a, b in ends))])

    return act


NAMES = {
    "floor": math.floor,
    "float32": float32,
    "clamp": lambda v, low, high: min(max(v, low), high),
    "inside": lambda v, low, high: v if low <= v <= high else 0,
    "wrap": wrap,
    "fold": fold,
    "loop_sum": _loop(sum),
    "loop_max": _loop(max),
    "loop_min": _loop(min),
    "loop_count": _loop(lambda found: sum(map(bool, found))),
    "loop_argmax": _loop(lambda found: found.index(max(found))),
    "max": max,
    "min": min,
    "exp_on_negative_values": lambda t: Fraction(int(exp_on_negative_values(np.array(int(t))))),
    "one_over_one_plus_x": lambda t: Fraction(int(_one_over_one_plus_x(np.array(int(t))))),
}


def python(text: str) -> str:
    """The notation as Python: ``sum(u = 0..2, v = 0..2: ...)`` is a function of the loops and a lambda."""

    def loop(match: re.Match) -> str:
        pairs = re.findall(r"(\w) = (\d+)\.\.(\d+)", match[2])
        ends = "".join(f"({a}, {b})," for _, a, b in pairs)
        return f"loop_{match[1]}(({ends}), lambda {', '.join(n for n, _, _ in pairs)}: "

    text = re.sub(r"\b(sum|max|min|count|argmax)\(((?:\w = \d+\.\.\d+(?:, )?)+): ", loop, text)
    return text.replace("^", "**")


def parse(line: str) -> tuple[str, str, list[str]]:
    """(left side, right side as Python, what stands behind "where")."""
    formula, _, tail = line.removesuffix(".").partition(", where ")
    left, right = formula.split(" = ", 1)
    return left, python(right.split(", the ")[0].split(", in steps")[0]), tail.split("; ")


def environment(graph: Graph, op: o.Op, lines: list[str], xs: list[np.ndarray]) -> dict:
    names = dict(NAMES)
    where = [part for line in lines for part in parse(line)[2]] if op else []
    outside: float | None = None
    for part in where:
        if found := re.fullmatch(r"(round2?) is (.*)", part):
            names[found[1]] = MODES[found[2]]
        elif found := re.fullmatch(r"an x outside is (-?\d+)", part):
            outside = int(found[1])
        elif part == "an x outside takes no part":
            outside = -math.inf
        elif found := re.match(r"[tvg] is \[([-\d, ]+?)(, \.\.\.)?\]", part):
            names[part[0]] = Codes(np.array([int(v) for v in found[1].split(",")])) if not found[2] else None
    names |= {f"x{n}": Codes(x, outside) for n, x in enumerate(xs, 1)}
    names["x"] = Codes(xs[0], outside) if xs else None
    for key, field, fill in (("w", "weights", 0), ("b", "bias", None)):
        if getattr(op, field, None) is not None:
            names[key] = Codes(getattr(op, field).values, fill)
    if isinstance(op, o.Threshold) and names["t"] is None:
        names["t"] = Codes(op.thresholds.values[0])
    if isinstance(op, o.Gather):
        names["g"] = Codes(op.index.values.reshape(-1))
    if isinstance(op, o.Constant):
        names["v"] = Codes(op.values.values.reshape(-1))
    if isinstance(op, o.Lookup):
        names["table"] = Codes(op.table.values[0])
    return names


ELEMENTWISE = (o.Add, o.Mul, o.Extremum, o.Requantize, o.Divide, o.Threshold, o.Lookup)


def first_channel(op: o.Op, shape: tuple[int, ...]) -> np.ndarray:
    """Where the parameters are those of the first channel, with which the text stands."""
    same = np.ones(shape, dtype=bool)
    parameters = [op.numerator, op.addend, op.divisor] if isinstance(op, o.Divide) else []
    if isinstance(op, o.Requantize):
        for r in (op.rescale, op.negative) if op.negative else (op.rescale,):
            parameters += [r.multiplier, r.addend, r.shift]
    if isinstance(op, o.Threshold | o.Lookup):
        tables = op.thresholds if isinstance(op, o.Threshold) else op.table
        if tables.shape[0] > 1:
            same &= np.arange(shape[-1]) == 0
    for p in parameters:
        same &= np.broadcast_to(p.values == p.values.flat[0], shape)
    return same


def places(op: o.Op, shape: tuple[int, ...], most: int) -> Iterator[tuple[int, ...]]:
    found = np.argwhere(first_channel(op, shape))
    order = np.random.default_rng(0).permutation(len(found))[:most]
    yield from (tuple(int(i) for i in found[n]) for n in order)


def evaluate(graph: Graph, op: o.Op, xs: list[np.ndarray], at: tuple[int, ...]) -> Fraction:
    """The printed formula at one element. xs: the op's input codes, without batch."""
    lines = [line for line in integer_lines(graph, op) if re.match(r"[a-z](\.flat)?(\[[^\]]*\])? = ", line)]
    names = environment(graph, op, lines, xs)
    shape = graph[op.output].shape
    if isinstance(op, ELEMENTWISE):
        own = [np.broadcast_to(x, shape)[at] for x in xs]
        names |= {f"x{n}": Fraction(int(x)) for n, x in enumerate(own, 1)} | {"x": Fraction(int(own[0]))}
    for part in [part for line in lines for part in parse(line)[2]]:
        if found := re.fullmatch(r"([hg]) = (.*)", part):
            names[found[1]] = eval(python(found[2]), names)
    if isinstance(op, o.Softmax):
        return softmax(lines, names, xs[0], at)
    left, right, _ = parse(lines[0])
    inside = re.search(r"\[(.*)\]", left)
    if ".flat" in left:
        names["n"] = int(np.ravel_multi_index(at, shape))
    elif inside:
        for name, value in zip(inside[1].split(", "), at, strict=True):
            if name.isidentifier():
                names[name] = value
            else:
                assert int(name) == value
    return eval(right, names)


def softmax(lines: list[str], names: dict, x: np.ndarray, at: tuple[int, ...]) -> Fraction:
    names["x"] = Codes(x[at[:-1]])
    steps = {line.split(" = ")[0]: parse(line)[1] for line in lines}
    for name in ("d", "t", "e"):
        values = [eval(steps[f"{name}[c]"], names | {"c": c}) for c in range(x.shape[-1])]
        names[name] = values
    names["s"] = eval(steps["s"], names)
    names["z"] = 32 - int(names["s"]).bit_length()
    names["r"] = eval(steps["r"], names)
    return eval(steps["y[c]"], names | {"c": at[-1]})


def check(graph: Graph, samples: int = 8, most: int = 6) -> dict[type[o.Op], int]:
    """Evaluate every op's formula at a few elements of each sample; op -> elements."""
    codes = corner_codes(graph, samples)
    trace = Simulator(graph).trace_codes(codes)
    counts: dict[type[o.Op], int] = {}
    for op in graph.ops:
        for sample in range(samples):
            xs = [trace[n][sample] if len(trace[n]) > sample else trace[n][0] for n in op.inputs]
            expected = trace[op.output][sample if len(trace[op.output]) > sample else 0]
            for at in places(op, graph[op.output].shape, most):
                value = evaluate(graph, op, xs, at)
                assert value == int(expected[at]), (integer_lines(graph, op), at, value, int(expected[at]))
                counts[type(op)] = counts.get(type(op), 0) + 1
    return counts


def softmaxes() -> Graph:
    net = Net("softmaxes")
    x = net.input((2, 7), IntFormat(8, True))
    fields = {"input_multiplier": 1374389535, "input_left_shift": 23, "diff_min": -124}
    small = {"input_multiplier": 1717986918, "input_left_shift": 20, "diff_min": -992}
    a = net.add(o.Softmax, x, format=IntFormat(8, True), **fields)
    return net.build(a, net.add(o.Softmax, x, format=IntFormat(8, False), **small))


def products() -> Graph:
    net = Net("products")
    a = net.input((3, 4), IntFormat(6, True))
    b = net.input((4, 5), IntFormat(5, False), name="b")
    return net.build(net.add(o.MatMul, a, b, zero_points=(0, 0)), net.add(o.MatMul, a, b, zero_points=(-3, 7)))


def corner_rescales() -> Graph:
    """What the other graphs have no place for: left shifts, a multiplier of -2^31, two rounding modes in one op."""
    net = Net("corner_rescales")
    x = net.input((4, 3), IntFormat(26, True))
    wide = {"low": -(1 << 31), "high": (1 << 31) - 1, "format": IntFormat(32, True)}
    outs = [
        requantize(net, x, rescale=tflite(1500000001, -5, scheme), **wide)
        for scheme in (Scheme.TFLITE_DOUBLE, Scheme.TFLITE_UPWARD)
    ]
    outs.append(requantize(net, x, rescale=tflite(-(1 << 31), -6, Scheme.TFLITE_DOUBLE), **wide))
    outs.append(requantize(net, x, rescale=tflite(1500000001, -5, Scheme.TFLITE_SINGLE), **wide))
    outs.append(requantize(net, x, rescale=tflite(9000000, -3, Scheme.FLOAT32), low=-(1 << 25), high=1 << 25))
    outs.append(
        requantize(
            net,
            x,
            rescale=plain(3, 5, 20, Rounding.TRN),
            negative=plain(1, 0, 22, Rounding.RND_INF),
            input_zero_point=-4,
            zero_point=2,
            low=-90,
            high=80,
        )
    )
    for mode in (Overflow.WRAP, Overflow.WRAP_SM, Overflow.SAT_ZERO):
        outs.append(requantize(net, x, shift=4, overflow=mode, low=-32, high=31, format=IntFormat(6, True)))
    return net.build(*outs)


GRAPHS = {**OP_GRAPHS, **{f.__name__: f for f in (softmaxes, products, corner_rescales)}}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_printed_formula_gives_the_code(name: str) -> None:
    assert all(check(GRAPHS[name]()).values())


def test_every_op_scheme_rounding_and_overflow_is_evaluated() -> None:
    ops = [op for make in GRAPHS.values() for op in make().ops]
    assert {type(op) for op in ops} == set(o.OPS) == set(FORMULAS) == set(REAL)
    rescales = [op for op in ops if isinstance(op, o.Requantize)]
    assert {op.rescale.scheme for op in rescales} == set(Scheme)
    assert {op.rescale.rounding for op in rescales if op.rescale.scheme is Scheme.PLAIN} == set(Rounding)
    assert {op.rounding for op in ops if isinstance(op, o.Divide)} == set(Rounding)
    assert {op.overflow for op in rescales} == set(Overflow)


def test_formulas_of_random_networks_and_the_bundled_one() -> None:
    for seed in range(12):
        check(random_graph(seed), samples=3, most=3)
    check(qsim.load(MODEL), samples=3, most=4)


def averages() -> Graph:
    """Every kind of mean: by a quantized inverse, exactly, by the number of elements inside, of all, of two tensors."""
    net = Net("averages")
    x = net.input((6, 6, 3), IntFormat(5, True))
    window = {"pool": (3, 3), "strides": (3, 3), "padding": o.NO_PADDING}
    by_inverse = requantize(
        net,
        net.add(o.SumPool2D, x, name="a.sum", **window),
        name="by_inverse",
        rescale=plain(7, 0, 6, Rounding.RND_CONV),
        low=-16,
        high=15,
    )
    total = net.add(o.Reduce, x, kind="sum", axes=(0, 1), keepdims=False, name="b.sum")
    fields = {"numerator": scalar(1), "addend": scalar(0), "rounding": Rounding.RND_INF, "low": -16, "high": 15}
    whole = net.add(o.Divide, total, divisor=scalar(36), name="whole", **fields)
    bordered = net.add(o.SumPool2D, x, pool=(3, 3), strides=(1, 1), padding=((1, 1), (1, 1)), name="c.sum")
    counts = np.pad(np.ones((6, 6)), 1)
    counts = np.array([[counts[i : i + 3, j : j + 3].sum() for j in range(6)] for i in range(6)], dtype=int)[..., None]
    inside = net.add(o.Divide, bordered, divisor=IntArray(counts), name="inside", **fields)
    both = net.add(o.Add, x, x, shifts=(0, 0), signs=(1, 1), zero_points=(0, 0), name="d.sum")
    half = requantize(net, both, name="half", shift=1, low=-16, high=15)
    alone = net.add(o.SumPool2D, x, name="e.sum", **window)
    summed = requantize(net, alone, name="summed", shift=0, low=-99, high=99)  # a sum, no mean
    return net.build(by_inverse, whole, inside, half, summed)


def test_means_are_told_with_their_division() -> None:
    graph = averages()
    check(graph)
    codes = corner_codes(graph, 6)
    words = {d.layer: "\n".join(line for part in d.parts for line in part.lines) for d in describe(graph, codes)}
    assert (
        "the layer keeps the inverse of 9 as 0.109375 in place of 1/9 = 0.111111111, 1.56 % away" in words["by_inverse"]
    )
    assert "y = sum * 0.109375 (near 1/9) rounded" in words["by_inverse"]
    assert "y = sum / 36 rounded" in words["whole"]
    assert "The mean of the sum over 'x' is taken exactly: sum / 36." in words["whole"]
    assert "divides by the number of elements inside" in words["inside"]
    assert "sum / 2" in words["half"]
    assert "mean of" not in words["summed"]
    assert "exactly the scale of x divided by the scale of y" in words["summed"]
    for text in words.values():
        assert "stands for" not in text.replace("A code q stands for", "").replace("that stands for exactly 0", "")
        assert "``" not in text
    # The worked example: sum, inverse, product, rounding, in this order and with true numbers.
    trace = Simulator(graph).trace_codes(codes)
    for described in describe(graph, codes, ["by_inverse"])[1:]:
        lines = described.steps[-1].lines
        x = int(trace["a.sum"][described.sample][described.steps[-1].index])
        exact = Fraction(7, 64) * x
        assert lines[0] == f"the mean: {x} * 0.109375 (near 1/9) = {exact} (about {float(exact):.6f})"
        assert f"{x} * 7 * 2^-6 = {exact}" in lines[2]
        conclusion = "\n".join(described.parts[-1].lines)
        off = abs(described.steps[-1].value - exact)
        assert (
            f"Before rounding it is {float(exact):.9g}: rounding moves it by {float(off):.3g} of a step." in conclusion
        )
        mean = Fraction(x, 16) / 9
        assert f"the exact mean is {float(mean):.9g}" in conclusion


def test_the_factor_of_the_bundled_average() -> None:
    graph = qsim.load(MODEL)
    pool = next(op for op in graph.ops if op.layer == "pool" and isinstance(op, o.Requantize))
    found = factor_of(graph, pool)
    assert (found.count, found.inverse, found.scales) == (9, Fraction(7, 64), 2)
    assert found.value == found.inverse * found.scales
    text = "\n".join(
        line for d in describe(graph, sample_codes(graph, 8, 1), ["pool"]) for p in d.parts for line in p.lines
    )
    assert "64 of a step" not in text
