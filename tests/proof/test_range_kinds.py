"""A convolution's range, taken once for each kind of output position, against the rule at every position."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from graphs import OP_GRAPHS, Net, random_graph, requantize, small_cnn, weights

from qsim.ir import Graph, Quantization, Tensor
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat
from qsim.proof.ranges import RULES, infer, input_interval, lane_bounds, linear
from qsim.proof.ranges.base import Interval


def random_convolution(rng: np.random.Generator) -> tuple[o.Conv2D, Tensor, Tensor]:
    """Any kernel, stride, dilation, asymmetric padding, grouping, zero point, shift; with or without bias."""
    groups, group_in, per_group = (int(n) for n in rng.integers(1, 4, 3))
    kernel = tuple(int(n) for n in rng.integers(1, 5, 2))
    dilation = tuple(int(n) for n in rng.integers(1, 4, 2))
    padding = tuple(tuple(int(n) for n in rng.integers(0, 5, 2)) for _ in range(2))
    size = [int(rng.integers(1, 20)) + (k - 1) * d for k, d in zip(kernel, dilation)]
    out = groups * per_group
    op = o.Conv2D(
        inputs=("x",),
        output="y",
        layer="conv",
        weights=IntArray(rng.integers(-8, 8, (*kernel, group_in, out))),
        bias=IntArray(rng.integers(-99, 99, out)) if rng.random() < 0.5 else None,
        strides=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        dilation=(dilation[0], dilation[1]),
        padding=(padding[0], padding[1]),
        groups=groups,
        input_zero_point=int(rng.integers(-128, 128)),
        product_shift=int(rng.integers(0, 3)),
    )
    x = tensor("x", (size[0], size[1], groups * group_in), IntFormat(8, True))
    return op, x, tensor("y", o.output_shape(op, [x.shape]), IntFormat(40, True))


def tensor(name: str, shape: tuple[int, ...], fmt: IntFormat) -> Tensor:
    return Tensor(name=name, shape=shape, format=fmt, quantization=Quantization.of(1), range=(fmt.low, fmt.high))


def interval(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Interval:
    """constant: over positions; border: with lines of its own around it; free: every element its own."""
    ends = np.sort(rng.integers(-128, 128, (2, 1, 1, shape[2])), axis=0)
    both = np.broadcast_to(ends, (2, *shape)).copy()
    if kind == "border":
        both[:, 0], both[1, :, -1] = np.sort(rng.integers(-128, 128, (2, *shape[1:])), axis=0), 127
    if kind == "free":
        both = np.sort(rng.integers(-128, 128, (2, *shape)), axis=0)
    return Interval(both[0], both[1])


@pytest.mark.parametrize("kind", ["constant", "border", "free"])
@pytest.mark.parametrize("seed", range(60))
def test_kinds_of_positions_give_the_range_of_every_position(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    op, x, y = random_convolution(rng)
    inputs = [interval(rng, x.shape, kind)]
    found = linear.RULES[o.Conv2D](op, inputs, [x], y)
    wanted = linear._linear(op, inputs, [x], y)  # the rule that runs over all positions
    assert np.array_equal(found.low, wanted.low)
    assert np.array_equal(found.high, wanted.high)


def test_work_follows_the_kinds_and_not_the_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    plain = linear.apply

    def counted(*arguments):
        made = plain(*arguments)
        computed.append(made[..., 0].size)
        return made

    monkeypatch.setattr(linear, "apply", counted)
    op, _, _ = random_convolution(np.random.default_rng(0))
    kh, kw = op.weights.shape[:2]
    x = tensor("x", (300, 200, op.groups * op.weights.shape[2]), IntFormat(8, True))
    y = tensor("y", o.output_shape(op, [x.shape]), IntFormat(40, True))
    linear.RULES[o.Conv2D](op, [interval(np.random.default_rng(1), x.shape, "constant")], [x], y)
    assert computed
    assert max(computed) <= (2 * kh * op.dilation[0] + 1) * (2 * kw * op.dilation[1] + 1) < y.size // 100


GRAPHS = {**OP_GRAPHS, "small cnn": small_cnn}


def whole(x: Interval) -> Interval:
    """With every position written out."""
    return Interval(x.low, x.high)


def checked(graph: Graph) -> int:
    """Every op's interval against its rule over all positions; how many were kept with fewer of them."""
    found = {i.tensor: input_interval(graph[i.tensor], i.low, i.high) for i in graph.inputs}
    fewer = 0
    for op in graph.ops:
        tensors, out = [graph[name] for name in op.inputs], graph[op.output]
        made = infer(op, [found[name] for name in op.inputs], tensors, out)
        wanted = RULES[type(op)](op, [whole(found[name]) for name in op.inputs], tensors, out)
        assert np.array_equal(made.low, wanted.low), op
        assert np.array_equal(made.high, wanted.high), op
        assert made.bounds == wanted.bounds
        if made.low.ndim == 3:
            assert all(np.array_equal(a, b) for a, b in zip(made.per_channel(), whole(made).per_channel()))
            for shape in ((), made.low.shape[2:], (1, *made.low.shape[1:]), made.low.shape):
                for a, b in zip(lane_bounds(made, shape), lane_bounds(whole(made), shape)):
                    assert np.array_equal(a, b), (op, shape)
        fewer += made.tables[0].size < made.low.size
        found[op.output] = made
    return fewer


@pytest.mark.parametrize("name", GRAPHS)
def test_intervals_of_images_are_those_of_every_position(name: str) -> None:
    checked(GRAPHS[name]())


def test_random_graphs_keep_fewer_positions() -> None:
    assert sum(checked(random_graph(seed)) for seed in range(25)) > 20


@pytest.mark.parametrize("seed", range(20))
def test_a_product_of_matrices_is_that_of_every_element(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lead = ((), (3,), (2, 2))[seed % 3]
    n, k, m = (int(v) for v in rng.integers(1, 6, 3))
    ends = []
    for shape in ((*lead, n, k), (*lead, k, m)):
        both = np.sort(rng.integers(-9, 9, (2, *shape)), axis=0)
        if rng.random() < 0.5:
            both[:] = both.reshape(2, -1)[:, 0].reshape(2, *(1,) * len(shape))
        ends.append(Interval(both[0], both[1]))
    a, b = (tensor(name, x.low.shape, IntFormat(8, True)) for name, x in zip("ab", ends))
    op = o.MatMul(inputs=("a", "b"), output="y", layer="y", zero_points=(int(rng.integers(-3, 4)), 2))
    found = linear.RULES[o.MatMul](op, ends, [a, b], tensor("y", (*lead, n, m), IntFormat(40, True)))
    least, greatest = np.zeros((*lead, n, m), dtype=np.int64), np.zeros((*lead, n, m), dtype=np.int64)
    for where in np.ndindex(*lead, n, m):
        for i in range(k):
            x = [int(end[(*where[:-1], i)]) - op.zero_points[0] for end in (ends[0].low, ends[0].high)]
            y = [int(end[(*where[:-2], i, where[-1])]) - op.zero_points[1] for end in (ends[1].low, ends[1].high)]
            products = [p * q for p in x for q in y]
            least[where] += min(products)
            greatest[where] += max(products)
    assert np.array_equal(found.low, least)
    assert np.array_equal(found.high, greatest)


def test_large_images_take_no_memory_of_their_positions() -> None:
    """Thirty layers at 640 x 640 x 32, a residual addition and a concatenation among them: built in well under what
    one interval of every position would take."""
    net = Net("large")
    rng = np.random.default_rng(0)
    x = net.input((640, 640, 3), IntFormat(8, True))
    tracemalloc.start()
    kept = []
    for layer in range(30):
        x = net.add(
            o.Conv2D,
            x,
            weights=weights(rng, (3, 3, net.shape(x)[2], 32)),
            bias=None,
            strides=(1, 1),
            dilation=(1, 1),
            padding=((1, 1), (1, 1)),
            groups=1,
        )
        x = requantize(net, x, 6, -128, 127)
        kept.append(x)
        if layer % 7 == 6:
            x = net.add(o.Concat, kept[-2], x, axis=2)
        elif layer % 3 == 2:
            x = requantize(
                net, net.add(o.Add, kept[-2], x, shifts=(0, 0), signs=(1, 1), zero_points=(0, 0)), 1, -128, 127
            )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole_intervals = 2 * 8 * 640 * 640 * 32
    assert peak < whole_intervals
