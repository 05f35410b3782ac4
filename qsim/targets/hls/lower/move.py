"""HLS views of the ops that move data, and of constants."""

from __future__ import annotations

from qsim.ir import ops as o
from qsim.targets.hls.lower.rearrange import row_major, strided
from qsim.targets.hls.text import Context, View, ViewOf, const, indices, table


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


VIEWS: dict[type[o.Op], ViewOf] = {
    o.Constant: _constant,
    o.Reshape: _reshape,
    o.Transpose: _transpose,
    o.Pad: _pad,
    o.Slice: _slice,
    o.Gather: _gather,
}


__all__ = ["VIEWS"]
