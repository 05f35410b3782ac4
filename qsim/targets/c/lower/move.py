"""C parts of the ops that move data, and of constants."""

from __future__ import annotations

from qsim.ir import ops as o
from qsim.targets.c.lower.loops import (
    strided_copy,
    strides_of,
    whole,
)
from qsim.targets.c.parts import Lowering, Part
from qsim.targets.c.types import least, storage


def reshape(op: o.Reshape, c: Lowering) -> Part:
    x = c.graph[op.inputs[0]]
    params, call = strided_copy(op, c, x, [(x.size, (1, 1))], (0, 0))
    return whole(op, c, [params], lambda xs, y: [call(xs[0], y)], "reshape into another element type")


def transpose(op: o.Transpose, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    source, target = strides_of(x.shape), strides_of(out.shape)
    axes = [(n, (source[p], s)) for n, p, s in zip(out.shape, op.perm, target, strict=True)]
    params, call = strided_copy(op, c, x, axes, (0, 0))
    return whole(op, c, [params], lambda xs, y: [call(xs[0], y)], f"transposition {list(op.perm)}")


def slice_(op: o.Slice, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    source, target = strides_of(x.shape), strides_of(out.shape)
    axes = [(n, (s * step, t)) for n, s, step, t in zip(out.shape, source, op.strides, target, strict=True)]
    begin = sum(b * s for b, s in zip(op.begin, source, strict=True))
    params, call = strided_copy(op, c, x, axes, (begin, 0))
    return whole(op, c, [params], lambda xs, y: [call(xs[0], y)], f"slice from {list(op.begin)} by {list(op.strides)}")


def pad(op: o.Pad, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    yt = storage(out.format)
    target = strides_of(out.shape)
    axes = [(n, (s, t)) for n, s, t in zip(x.shape, strides_of(x.shape), target, strict=True)]
    offset = sum(before * t for (before, _), t in zip(op.pads, target, strict=True))
    params, call = strided_copy(op, c, x, axes, (0, offset))
    fill = c.kernel("fill", [yt.short], [("QSIM_Y", yt.name)])
    return whole(
        op,
        c,
        [params],
        lambda xs, y: [f"{fill.name}({y}, {yt.literal(op.value)}, {out.size});", call(xs[0], y)],
        f"padded with {op.value}",
    )


def gather(op: o.Gather, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    xt, yt, kt = storage(x.format), storage(out.format), least(op.index.low, op.index.high)
    kernel = c.kernel(
        "gather", [xt.short, kt.short, yt.short], [("QSIM_X", xt.name), ("QSIM_Y", yt.name), ("QSIM_K", kt.name)]
    )
    index = c.array(op, "index", op.index.values, kt, f"{op.output}: the input element that each output element copies")
    return whole(
        op, c, [], lambda xs, y: [f"{kernel.name}({xs[0]}, {y}, {index}, {out.size});"], "static rearrangement"
    )


def constant(op: o.Constant, c: Lowering) -> Part:
    out = c.graph[op.output]
    t = storage(out.format)
    symbol = c.array(op, "values", op.values.values, t, f"{op.output}: constant")
    return whole(op, c, [], lambda xs, y: [symbol], "constant")


LOWER = dict(
    (
        o.entry(o.Constant, constant),
        o.entry(o.Reshape, reshape),
        o.entry(o.Transpose, transpose),
        o.entry(o.Pad, pad),
        o.entry(o.Slice, slice_),
        o.entry(o.Gather, gather),
    )
)


__all__ = ["LOWER"]
