"""All alternatives of an op, by type; see ``alternative.Alternative``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from qsim.debug.causes.alternative import Alternative, replaced, run
from qsim.debug.causes.linear import linear
from qsim.debug.causes.rescale import divide, narrow_inputs, requantize
from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, Rounding, divide_rounded


def _pool_side(op: o.SumPool2D | o.MaxPool2D) -> Iterator[Alternative]:
    (top, bottom), (left, right) = op.padding
    if (top, left) != (bottom, right):
        text = "the odd padding row or column on the other side"
        yield replaced(op, "padding side", text, 15, padding=((bottom, top), (right, left)))


def _sum_pool(op: o.SumPool2D) -> Iterator[Alternative]:
    yield from _pool_side(op)
    if any(map(any, op.padding)):

        def by_count(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
            count = run(op, [np.ones_like(xs[0][:1])], ts, out)
            return divide_rounded(run(op, xs, ts, out) * (op.pool[0] * op.pool[1]), count, Rounding.RND_CONV)

        text = "the average taken over the valid count in place of the window's area"
        yield Alternative(name="average by count", text=text, weight=18, compute=by_count)


def _max_pool(op: o.MaxPool2D) -> Iterator[Alternative]:
    yield from _pool_side(op)
    if any(map(any, op.padding)):

        def zeros(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
            view = np.pad(xs[0], ((0, 0), *op.padding, (0, 0)))
            return run(dataclasses.replace(op, padding=o.NO_PADDING), [view], ts, out)

        text = "zeros of the padding taking part in the maximum"
        yield Alternative(name="padding value", text=text, weight=18, compute=zeros)

    def average(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        area = op.pool[0] * op.pool[1]
        summed = o.SumPool2D(
            inputs=op.inputs, output=op.output, layer=op.layer, pool=op.pool, strides=op.strides, padding=op.padding
        )
        return divide_rounded(run(summed, xs, ts, out), area, Rounding.TRN)

    yield Alternative(name="average for maximum", text="an average in place of the maximum", weight=35, compute=average)


def _table_read(op: o.Lookup, index: Array) -> Array:
    table = op.table.values
    return table[0][index] if table.shape[0] == 1 else table[np.arange(table.shape[0]), index]


def _lookup(op: o.Lookup) -> Iterator[Alternative]:
    size = op.table.shape[1]
    for delta in (1, -1):
        yield Alternative(
            name="table shifted",
            text=f"the table read {delta:+d} index off",
            weight=20,
            compute=lambda xs, ts, out, d=delta: _table_read(op, np.clip(xs[0] - op.table_low + d, 0, size - 1)),  # type: ignore[misc]
        )
    yield Alternative(
        name="table addressed unsigned",
        text="the table addressed by the code's bits, so that negative codes come last",
        weight=21,
        compute=lambda xs, ts, out: _table_read(op, xs[0] % size),
    )


def _threshold(op: o.Threshold) -> Iterator[Alternative]:
    t = op.thresholds.values
    text = "x > threshold in place of x >= threshold"
    yield replaced(op, "strict comparison", text, 16, thresholds=IntArray(t + 1))
    yield replaced(op, "threshold one low", "thresholds lower by one code", 19, thresholds=IntArray(t - 1))
    if t.shape[0] > 1:
        rolled = IntArray(np.roll(t, 1, 0))
        yield replaced(
            op, "thresholds rotated", "each channel using the channel before's thresholds", 22, thresholds=rolled
        )
    for delta in (1, -1):
        moved = IntArray(op.base.values + delta * op.step.values)
        yield replaced(op, "table shifted", f"the codes shifted by {delta:+d} index", 20, base=moved)
    yield from narrow_inputs(op)


def _add(op: o.Add) -> Iterator[Alternative]:
    n = len(op.inputs)
    if any(op.shifts):
        text = "the inputs added without aligning their scales"
        yield replaced(op, "alignment missing", text, 18, shifts=(0,) * n)
    if any(op.zero_points):
        yield replaced(op, "zero point missing", "the inputs' zero points left out", 19, zero_points=(0,) * n)
    for i, shift in enumerate(op.shifts):
        for delta in (1, -1):
            if shift + delta >= 0:
                moved = (*op.shifts[:i], shift + delta, *op.shifts[i + 1 :])
                yield replaced(
                    op, f"shift {delta:+d}", f"input {i + 1} aligned off by {delta:+d} bit", 20, shifts=moved
                )
        flipped = tuple(-s if j == i else s for j, s in enumerate(op.signs))
        yield replaced(op, "sign", f"input {i + 1} with the wrong sign", 23, signs=flipped)

        def without(xs: list[Array], ts: list[Tensor], out: Tensor, i: int = i) -> Array:
            return run(op, [np.full_like(x, op.zero_points[i]) if j == i else x for j, x in enumerate(xs)], ts, out)

        yield Alternative(name="branch missing", text=f"input {i + 1} left out of the sum", weight=22, compute=without)


def _concat(op: o.Concat) -> Iterator[Alternative]:
    yield Alternative(
        name="concatenation order",
        text="the inputs concatenated in reverse order",
        weight=15,
        compute=lambda xs, ts, out: run(op, xs[::-1], ts[::-1], out),
    )


def _reshape(op: o.Reshape) -> Iterator[Alternative]:
    def channels_first(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        return np.moveaxis(xs[0], -1, 1).reshape(xs[0].shape[0], *out.shape)

    text = "the elements flattened channels first (NCHW) in place of channels last"
    yield Alternative(name="NCHW order", text=text, weight=12, compute=channels_first)


_BY_OP: dict[type[o.Op], Callable[[Any], Iterator[Alternative]]] = {
    o.Conv2D: linear,
    o.ConvTranspose2D: linear,
    o.Dense: linear,
    o.Requantize: requantize,
    o.Divide: divide,
    o.SumPool2D: _sum_pool,
    o.MaxPool2D: _max_pool,
    o.Lookup: _lookup,
    o.Threshold: _threshold,
    o.Add: _add,
    o.Concat: _concat,
    o.Reshape: _reshape,
}


def _layouts(op: o.Op) -> Iterator[Alternative]:
    """The op is right; its result stands in another order than the graph's."""

    def channels_first(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        y = run(op, xs, ts, out)
        return np.moveaxis(y, -1, 1).reshape(y.shape)

    yield Alternative(
        name="NCHW order", text="its elements in channels-first (NCHW) order", weight=14, compute=channels_first
    )

    def swapped(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        y = run(op, xs, ts, out)
        return np.swapaxes(y, 1, 2).reshape(y.shape) if y.ndim == 4 else y

    text = "its rows and columns swapped"
    yield Alternative(name="rows and columns swapped", text=text, weight=15, compute=swapped)


def alternatives(op: o.Op) -> Iterator[Alternative]:
    """Every alternative of ``op``; ops without mistakes of their own can still be laid out wrongly."""
    if type(op) in _BY_OP:
        yield from _BY_OP[type(op)](op)
    yield from _layouts(op)
