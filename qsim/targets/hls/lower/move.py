"""HLS views of the ops that move data, and of constants, and what they read before they write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.targets.hls.lower.needs import Need, elementwise, whole
from qsim.targets.hls.lower.rearrange import row_major, strided
from qsim.targets.hls.text import Context, View, const, indices, table


def _constant(op: o.Constant, context: Context) -> View:
    out = context.graph[op.output]
    values = op.values.values.reshape(-1)
    tables = (table(f"{context.names[op.output]}_values", values),)
    return View(equation="constant", kernel="constant", config=(const("elements", out.size),), tables=tables)


def _reshape(op: o.Reshape, context: Context) -> View:
    out = context.graph[op.output]
    shape = "x".join(map(str, out.shape))
    return View(equation=f"reshape to {shape}", kernel="forward", config=(const("elements", out.size),))


def _transpose(op: o.Transpose, context: Context) -> View:
    x = context.graph[op.inputs[0]]
    strides = row_major(x.shape)
    sizes = [x.shape[p] for p in op.perm]
    name = context.names[op.output]
    return strided(x, name, sizes, [strides[p] for p in op.perm], 0, f"axes {', '.join(map(str, op.perm))}")


def _slice(op: o.Slice, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    strides = row_major(x.shape)
    start = sum(b * s for b, s in zip(op.begin, strides))
    steps = [s * t for s, t in zip(op.strides, strides)]
    return strided(x, context.names[op.output], out.shape, steps, start, "slice")


def _pad(op: o.Pad, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    name = context.names[op.output]
    config = (const("out_elements", out.size), const("rank", len(out.shape)), const("value", op.value))
    before = [b for b, _ in op.pads]
    tables = (
        indices(f"{name}_sizes", out.shape),
        indices(f"{name}_before", before),
        indices(f"{name}_after", [b + n for b, n in zip(before, x.shape)]),
    )
    return View(equation=f"padding with {op.value}", kernel="pad", config=config, tables=tables)


def _gather(op: o.Gather, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    config = (const("elements", x.size), const("out_elements", out.size))
    tables = (table(f"{context.names[op.output]}_index", op.index.values.reshape(-1)),)
    return View(equation="static rearrangement by index", kernel="gather", config=config, tables=tables)


def _nothing(op: o.Constant, inputs: Sequence[Tensor], out: Tensor) -> Need:
    return []


def _pad_need(op: o.Pad, inputs: Sequence[Tensor], out: Tensor) -> Need:
    inside = np.zeros(out.shape, dtype=np.int64)
    inside[tuple(slice(b, b + n) for (b, _), n in zip(op.pads, inputs[0].shape))] = 1
    return [np.concatenate([[0], np.cumsum(inside.reshape(-1))])]


VIEWS = dict(
    (
        o.entry(o.Constant, _constant),
        o.entry(o.Reshape, _reshape),
        o.entry(o.Transpose, _transpose),
        o.entry(o.Pad, _pad),
        o.entry(o.Slice, _slice),
        o.entry(o.Gather, _gather),
    )
)

NEEDS = dict(
    (
        o.entry(o.Constant, _nothing),
        o.entry(o.Reshape, elementwise),
        o.entry(o.Transpose, whole),
        o.entry(o.Pad, _pad_need),
        o.entry(o.Slice, whole),
        o.entry(o.Gather, whole),
    )
)


__all__ = ["NEEDS", "VIEWS"]
