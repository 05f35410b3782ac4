"""HLS views of pools, reductions and the index of the maximum, and what they read before they write."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.targets.hls.lower.needs import Need, positions_read, rows, whole
from qsim.targets.hls.lower.rearrange import row_major
from qsim.targets.hls.text import Context, View, const, indices, typedef


def disjoint_windows(op: o.SumPool2D | o.MaxPool2D, x: Tensor, out: Tensor) -> bool:
    """Whether no two windows overlap and every window holds an element of x: then no window buffer is needed."""
    for axis in (0, 1):
        before = op.padding[axis][0]
        last = (out.shape[axis] - 1) * op.strides[axis] - before
        if op.strides[axis] < op.pool[axis] or before >= op.pool[axis] or last >= x.shape[axis]:
            return False
    return True


def _pool(op: o.SumPool2D | o.MaxPool2D, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    (top, bottom), (left, right) = op.padding
    kind = "SUM" if isinstance(op, o.SumPool2D) else "MAX"
    disjoint = disjoint_windows(op, x, out)
    config = [
        *(const(n, v) for n, v in zip(("height", "width", "channels"), x.shape)),
        *(const(n, v) for n, v in (("pool_height", op.pool[0]), ("pool_width", op.pool[1]))),
        *(const(n, v) for n, v in (("stride_height", op.strides[0]), ("stride_width", op.strides[1]))),
        *(const(n, v) for n, v in (("pad_top", top), ("pad_left", left))),
        f"static const qsim::Reduction kind = qsim::{kind};",
        typedef("partial_t", out.format if kind == "SUM" else x.format),
    ]
    if disjoint:
        config += [const("out_height", out.shape[0]), const("out_width", out.shape[1])]
    else:
        config += [
            const("pad_bottom", bottom),
            const("pad_right", right),
            const("outside", 0 if kind == "SUM" else x.format.low),
        ]
    return View(
        equation=f"{op.pool[0]}x{op.pool[1]} {'sum' if kind == 'SUM' else 'maximum'} pool",
        kernel="pool_disjoint" if disjoint else "pool_window",
        config=tuple(config),
    )


def _reduce(op: o.Reduce, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    kept = [1 if a in op.axes else n for a, n in enumerate(x.shape)]
    strides = [0 if a in op.axes else s for a, s in enumerate(row_major(kept))]
    name = context.names[op.output]
    config = (
        const("elements", x.size),
        const("out_elements", out.size),
        const("rank", len(x.shape)),
        f"static const qsim::Reduction kind = qsim::{op.kind.upper()};",
        typedef("partial_t", out.format if op.kind == "sum" else x.format),
    )
    return View(
        equation=f"{op.kind} over axes {', '.join(map(str, op.axes))}",
        kernel="reduce",
        config=config,
        tables=(indices(f"{name}_sizes", x.shape), indices(f"{name}_strides", strides)),
    )


def _argmax(op: o.ArgMax, context: Context) -> View:
    x = context.graph[op.inputs[0]]
    config = (
        const("outer", math.prod(x.shape[: op.axis])),
        const("size", x.shape[op.axis]),
        const("inner", math.prod(x.shape[op.axis + 1 :])),
    )
    return View(equation=f"index of the maximum along axis {op.axis}", kernel="argmax", config=config)


def _pool_need(op: o.SumPool2D | o.MaxPool2D, inputs: Sequence[Tensor], out: Tensor) -> Need:
    x = inputs[0]
    ends = []
    for axis in (0, 1):
        end = np.arange(out.shape[axis]) * op.strides[axis] - op.padding[axis][0] + op.pool[axis] - 1
        # without a window buffer a pool is complete at its last position inside the image
        ends.append(np.minimum(end, x.shape[axis] - 1) if disjoint_windows(op, x, out) else end)
    need = positions_read(x, (ends[0], ends[1]), out.shape[2])
    # channels come one by one: the pixel's later channels are not yet read, unless the window ends outside the image
    channel = np.arange(out.size) % out.shape[2]
    rows, columns = np.broadcast_arrays(ends[0][:, None], ends[1][None, :])
    inside = (rows >= 0) & (rows < x.shape[0]) & (columns >= 0) & (columns < x.shape[1])
    early = np.repeat(inside.reshape(-1), out.shape[2]) * (out.shape[2] - 1 - channel)
    need[1:] -= early
    return [need]


def _argmax_need(op: o.ArgMax, inputs: Sequence[Tensor], out: Tensor) -> Need:
    inner = math.prod(inputs[0].shape[op.axis + 1 :])
    return rows(out, inputs[0].shape[op.axis] * inner, inner)


VIEWS = dict(
    (
        o.entry(o.SumPool2D, _pool),
        o.entry(o.MaxPool2D, _pool),
        o.entry(o.Reduce, _reduce),
        o.entry(o.ArgMax, _argmax),
    )
)

NEEDS = dict(
    (
        o.entry(o.SumPool2D, _pool_need),
        o.entry(o.MaxPool2D, _pool_need),
        o.entry(o.Reduce, whole),
        o.entry(o.ArgMax, _argmax_need),
    )
)


__all__ = ["NEEDS", "VIEWS", "disjoint_windows"]
