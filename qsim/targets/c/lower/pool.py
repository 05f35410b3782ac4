"""C parts of pools, reductions and the index of the maximum."""

from __future__ import annotations

import math

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.targets.c.lower.loops import (
    braces,
    check_rank,
    merge_axes,
    pairs,
    position_part,
    strides_of,
    whole,
    window,
)
from qsim.targets.c.parts import BLOCK, Lowering, Params, Part
from qsim.targets.c.types import CType, Reach, storage

_NEUTRAL = {"sum": "0", "max": "INT{}_MIN", "min": "INT{}_MAX"}


def _combining(kind: str, xt: CType, yt: CType, t: CType) -> tuple[list[str], list[tuple[str, str]]]:
    return [kind, xt.short, yt.short, "in", t.short], [
        ("QSIM_X", xt.name),
        ("QSIM_Y", yt.name),
        ("QSIM_T", t.name),
        ("QSIM_COMBINE", f"qsim_{kind}_{t.short}"),
        ("QSIM_INITIAL", _NEUTRAL[kind].format(t.bits)),
    ]


def _reduction_type(op: o.Op, kind: str, terms: int, x: Tensor, out: Tensor) -> CType:
    reach = Reach(op.layer).add(*x.range, *out.range)
    if kind == "sum":
        reach.add(terms * x.range[0], terms * x.range[1])
    return reach.type("a sum")


def _pool(op: o.SumPool2D | o.MaxPool2D, c: Lowering, kind: str) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    t = _reduction_type(op, kind, math.prod(op.pool), x, out)
    tags, defines = _combining(kind, storage(x.format), storage(out.format), t)
    kernel = c.kernel("pool2d", tags, defines, "qsim_window.h", stack=BLOCK * t.bytes)
    part = position_part(c, op, kernel, window(x.shape, op.pool, op.strides, op.padding))
    part.notes.append(f"{op.output}: {kind} over {op.pool[0]}x{op.pool[1]}, strides {op.strides[0]}x{op.strides[1]}")
    return part


def sum_pool2d(op: o.SumPool2D, c: Lowering) -> Part:
    return _pool(op, c, "sum")


def max_pool2d(op: o.MaxPool2D, c: Lowering) -> Part:
    return _pool(op, c, "max")


def reduce(op: o.Reduce, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    strides = strides_of(x.shape)
    axes = {a % len(x.shape): None for a in op.axes}
    kept = merge_axes([(n, (s,)) for i, (n, s) in enumerate(zip(x.shape, strides)) if i not in axes])
    reduced = merge_axes([(n, (s,)) for i, (n, s) in enumerate(zip(x.shape, strides)) if i in axes])
    check_rank(op, max(len(reduced), len(kept)))
    terms = math.prod(n for n, _ in reduced)
    t = _reduction_type(op, op.kind, terms, x, out)
    tags, defines = _combining(op.kind, storage(x.format), storage(out.format), t)
    kernel = c.kernel("reduce", tags, defines, stack=BLOCK * t.bytes)
    inner, (inner_stride,) = kept[-1] if kept else (1, (1,))
    outer = kept[:-1]
    loops = tuple((f"i{level}", n) for level, (n, _) in enumerate(outer))
    offset = "".join(f" + {var} * {stride}" for (var, _), (_, (stride,)) in zip(loops, outer))
    fields = pairs(kept_stride=inner_stride, rank=len(reduced))
    fields += [
        ("size", braces([n for n, _ in reduced])),
        ("stride", braces([s for _, (s,) in reduced])),
    ]
    part = Part(
        calls=lambda xs, y, first, count: [f"{kernel.name}({xs[0]}{offset}, {y}, {first}, {count}, &reduce);"],
        params=[Params(kernel.params, "reduce", tuple(fields))],
        loops=loops,
        inner=inner,
    )
    part.notes.append(f"{op.output}: {op.kind} of {terms} elements over axes {list(axes)}")
    return part


def argmax(op: o.ArgMax, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    axis = op.axis % len(x.shape)
    inner, size = math.prod(x.shape[axis + 1 :]), x.shape[axis]
    xt, yt = storage(x.format), storage(out.format)
    kernel = c.kernel("argmax", [xt.short, yt.short], [("QSIM_X", xt.name), ("QSIM_Y", yt.name)])
    arguments = f"{x.size // (size * inner)}, {size}, {inner}"
    return whole(op, c, [], lambda xs, y: [f"{kernel.name}({xs[0]}, {y}, {arguments});"], f"argmax along axis {axis}")


LOWER = dict(
    (
        o.entry(o.SumPool2D, sum_pool2d),
        o.entry(o.MaxPool2D, max_pool2d),
        o.entry(o.Reduce, reduce),
        o.entry(o.ArgMax, argmax),
    )
)


__all__ = ["LOWER"]
