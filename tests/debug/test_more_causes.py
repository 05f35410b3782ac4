"""Causes that the networks of the catalogue have no place for: averages at borders, tables, clips, float32 sums."""

from __future__ import annotations

import numpy as np
import pytest
from faults import Kernel, changed, faulty
from graphs import corner_codes
from net import Net, requantize

from qsim.debug.diff.diff import diff
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Rounding, divide_rounded, scalar, shift_only
from qsim.reference.kernels import KERNELS


def averages() -> Graph:
    """A 3x3 average whose borders count the valid elements in one layer and the whole area in the other."""
    net = Net("averages")
    x = net.input((6, 6, 2), IntFormat(8, True))
    padding = ((1, 1), (1, 1))
    ones = KERNELS[o.SumPool2D]
    total = net.add(o.SumPool2D, x, pool=(3, 3), strides=(1, 1), padding=padding, name="sum")
    op = o.SumPool2D(inputs=("x",), output="n", layer="n", pool=(3, 3), strides=(1, 1), padding=padding)
    counts = ones(op, [np.ones((1, 6, 6, 1), dtype=np.int64)], [], net.builder.tensor(total))[0]
    fields = {"numerator": scalar(1), "addend": scalar(0), "rounding": Rounding.RND_INF, "low": -128, "high": 127}
    by_count = net.add(o.Divide, total, divisor=IntArray(counts), name="by_count", **fields)
    by_area = net.add(o.Divide, total, divisor=scalar(9), name="by_area", **(fields | {"rounding": Rounding.RND_CONV}))
    return net.build(by_count, by_area)


def activations() -> Graph:
    net = Net("activations")
    x = net.input((5, 4), IntFormat(6, True))
    values = IntArray(np.round(30 * np.tanh(np.arange(-32, 32) / 9))[None].astype(int))
    table = net.add(o.Lookup, x, table=values, table_low=-32, name="table")
    thresholds = IntArray([[-20, -7, 1, 4, 19]])
    steps = net.add(o.Threshold, x, thresholds=thresholds, base=IntArray([-2]), step=IntArray([1]), name="steps")
    symmetric = requantize(net, x, rescale=shift_only(1, Rounding.RND_CONV), low=-7, high=7, name="symmetric")
    return net.build(table, steps, symmetric)


def wide_sum() -> Graph:
    rng = np.random.default_rng(0)
    net = Net("wide_sum")
    x = net.input((32,), IntFormat(20, True))
    w = IntArray(rng.integers(-128, 128, (32, 16)))
    return net.build(net.add(o.Dense, x, weights=w, bias=IntArray(rng.integers(-999, 999, 16)), name="fc"))


def in_float32(op, xs, ts, out):
    acc = xs[0].astype(np.float32) @ op.weights.values.astype(np.float32)
    return np.rint((acc + op.bias.values.astype(np.float32)).astype(np.float64)).astype(np.int64)


def shifted_table(op, xs, ts, out):
    return op.table.values[0][np.clip(xs[0] - op.table_low + 1, 0, 63)]


def by_valid_count(op, xs, ts, out):
    counts = KERNELS[o.SumPool2D](
        o.SumPool2D(inputs=("x",), output="n", layer="n", pool=(3, 3), strides=(1, 1), padding=((1, 1), (1, 1))),
        [np.ones((1, 6, 6, 2), dtype=np.int64)], ts, out,
    )  # fmt: skip
    scaled = divide_rounded(xs[0] * 9, counts, Rounding.RND_CONV)
    return KERNELS[o.Divide](op, [scaled], ts, out)


STRICT = changed(thresholds=lambda op: IntArray(op.thresholds.values + 1))

CASES: list[tuple[str, object, str, Kernel, str]] = [
    ("average by area for count", averages, "by_count", changed(divisor=scalar(9)), "average by area"),
    ("average by count for area", averages, "by_area", by_valid_count, "average by count"),
    ("table shifted by one index", activations, "table", shifted_table, "table shifted"),
    ("codes of thresholds shifted", activations, "steps", changed(base=IntArray([-1])), "table shifted"),
    ("strict comparison", activations, "steps", STRICT, "strict comparison"),
    ("asymmetric clip", activations, "symmetric", changed(low=-8), "asymmetric clip"),
    ("float32 accumulation", wide_sum, "fc", in_float32, "float32 accumulation"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "layer", "kernel", "cause"), CASES, ids=[c[0] for c in CASES])
def test_cause_is_named_first(name: str, make, layer: str, kernel: Kernel, cause: str) -> None:
    graph = make()
    codes = corner_codes(graph, 400)
    dump = faulty(graph, codes, layer, kernel)
    shown = {k: v for k, v in dump.items() if k != "sum"}
    if layer == "symmetric":  # one more code at the low end needs a wider format than the graph's own
        assert dump[layer].min() == -8
    result = diff(graph, codes, shown, codes=True)
    assert result.first is not None
    assert result.first.layer == layer
    best = result.first.explanations[0]
    assert best.complete, str(result)
    assert best.name == cause, str(result)


def test_an_unknown_cause_is_said_plainly() -> None:
    graph = activations()
    codes = corner_codes(graph, 100)
    scrambled = faulty(graph, codes, "table", lambda op, xs, ts, out: (xs[0] * 7919 + 13) % 31 - 15)
    text = str(diff(graph, codes, scrambled, codes=True))
    assert "None of the known causes explains even half of them" in text
    assert "explained by" not in text
