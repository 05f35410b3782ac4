"""C parts of the ops that combine tensors by broadcasting and of those that move data; and the registry of all ops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from qsim.errors import UnsupportedError
from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.targets.c.lower import elementwise as c_elementwise
from qsim.targets.c.lower import linear as c_linear
from qsim.targets.c.lower.linear import braces, check_rank, merge_axes, strides_of
from qsim.targets.c.parts import BlockPointer, Kernel, Lowering, Params, Part
from qsim.targets.c.types import I64, CType, Reach, least, storage

Lower = Callable[[Any, Lowering], Part]


def _broadcast_strides(shape: tuple[int, ...], out: tuple[int, ...]) -> list[int]:
    """Strides of a tensor of ``shape`` along the axes of ``out``; 0 where it is repeated."""
    padded = (1,) * (len(out) - len(shape)) + shape
    return [0 if n == 1 else s for n, s in zip(padded, strides_of(padded), strict=True)]


class _Walk:
    """A loop nest over an output to which every operand broadcasts: outer loops, one contiguous inner run."""

    def __init__(self, op: o.Op, operands: list[Tensor], out: Tensor) -> None:
        columns = zip(out.shape, *(_broadcast_strides(t.shape, out.shape) for t in operands), strict=True)
        axes = merge_axes([(n, tuple(strides)) for n, *strides in columns]) or [(1, (0,) * len(operands))]
        check_rank(op, len(axes))
        self.inner, self.steps = axes[-1]
        self.loops = tuple((f"i{level}", n) for level, (n, _) in enumerate(axes[:-1]))
        self._outer = [strides for _, strides in axes[:-1]]

    def pointer(self, x: str, operand: int, first: str) -> str:
        """C expression of operand's element at the block's first element."""
        if isinstance(x, BlockPointer):
            return x
        terms = [f"{var} * {s[operand]}" for (var, _), s in zip(self.loops, self._outer) if s[operand]]
        if self.steps[operand] and first != "0":
            terms.append(first)
        return " + ".join([x, *terms])


def _at(name: str, step: int) -> str:
    return f"{name}[i]" if step else f"{name}[0]"


def _binary_defines(
    at: CType, bt: CType, yt: CType, t: CType, steps: tuple[int, int]
) -> tuple[list[str], list[tuple[str, str]]]:
    tags = [at.short + ("" if steps[0] else "x1"), bt.short + ("" if steps[1] else "x1"), yt.short, "in", t.short]
    defines = [("QSIM_A", at.name), ("QSIM_B", bt.name), ("QSIM_Y", yt.name), ("QSIM_T", t.name)]
    return tags, [*defines, ("QSIM_A_AT(i)", _at("a", steps[0])), ("QSIM_B_AT(i)", _at("b", steps[1]))]


def _fold(op: Any, c: Lowering, kind: str, factors: list[int], zero_points: list[int]) -> Part:
    """Add and Extremum: inputs folded from the left, two at a time; partial results stay in a block on the stack."""
    operands, out = c.tensors(op), c.graph[op.output]
    walk = _Walk(op, operands, out)
    reach = Reach(op.layer).add(*out.range)
    partial = [0, 0]
    for x, f, z in zip(operands, factors, zero_points, strict=True):
        terms = [f * (end - z) for end in x.range]
        reach.add(*x.range, *(end - z for end in x.range), f, z, *terms)
        partial = [partial[0] + min(0, *terms), partial[1] + max(0, *terms)]
    if kind == "sum":
        reach.add(*partial)
    t = reach.type("a sum")
    yt = storage(out.format)
    if len(operands) == 1:
        xt = storage(operands[0].format)
        kernel = c.kernel(
            "scale",
            [xt.short, yt.short, "in", t.short],
            [("QSIM_X", xt.name), ("QSIM_Y", yt.name), ("QSIM_T", t.name)],
        )
        single = (("factor", t.literal(factors[0])), ("zero_point", t.literal(zero_points[0])))
        scale = Params(kernel.params, c.local("scale"), single)
        return Part(
            calls=lambda xs, y, first, count: [
                f"{kernel.name}({walk.pointer(xs[0], 0, first)}, {y}, {count}, &{scale.name});"
            ],
            params=[scale],
            loops=walk.loops,
            inner=walk.inner,
        )
    steps: list[tuple[Kernel, Params]] = []
    for k in range(1, len(operands)):
        left, left_step = (storage(operands[0].format), walk.steps[0]) if k == 1 else (t, 1)
        target = yt if k == len(operands) - 1 else t
        tags, defines = _binary_defines(left, storage(operands[k].format), target, t, (left_step, walk.steps[k]))
        kernel = c.kernel("combine", [kind, *tags], [*defines, ("QSIM_COMBINE", f"qsim_{kind}_{t.short}")])
        fields = (
            ("a_factor", t.literal(factors[0] if k == 1 else 1)),
            ("a_zero_point", t.literal(zero_points[0] if k == 1 else 0)),
            ("b_factor", t.literal(factors[k])),
            ("b_zero_point", t.literal(zero_points[k])),
        )
        steps.append((kernel, Params(kernel.params, c.local("combine"), fields)))

    def calls(xs: Any, y: str, first: str, count: str) -> list[str]:
        lines = []
        for k, (kernel, params) in enumerate(steps, start=1):
            a = walk.pointer(xs[0], 0, first) if k == 1 else f"partial{k - 1}"
            target = y if k == len(steps) else f"partial{k}"
            lines.append(f"{kernel.name}({a}, {walk.pointer(xs[k], k, first)}, {target}, {count}, &{params.name});")
        return lines

    part = Part(
        calls=calls,
        params=[params for _, params in steps],
        loops=walk.loops,
        inner=walk.inner,
        temporaries=[(f"partial{k}", t) for k in range(1, len(steps))],
    )
    part.notes.append(f"{op.output}: {kind} of {len(operands)} tensors, computed in {t.bits} bits")
    return part


def add(op: o.Add, c: Lowering) -> Part:
    factors = [sign << shift for sign, shift in zip(op.signs, op.shifts)]
    return _fold(op, c, "sum", factors, list(op.zero_points))


def extremum(op: o.Extremum, c: Lowering) -> Part:
    return _fold(op, c, op.kind, [1 << s for s in op.shifts], [0] * len(op.shifts))


def mul(op: o.Mul, c: Lowering) -> Part:
    operands, out = c.tensors(op), c.graph[op.output]
    walk = _Walk(op, operands, out)
    reach = Reach(op.layer).add(*out.range, *op.zero_points)
    ends = [[end - z for end in x.range] for x, z in zip(operands, op.zero_points)]
    reach.add(*ends[0], *ends[1], *(a * b for a in ends[0] for b in ends[1]))
    for x in operands:
        reach.add(*x.range)
    t = reach.type("a product")
    a, b = (storage(x.format) for x in operands)
    tags, defines = _binary_defines(a, b, storage(out.format), t, (walk.steps[0], walk.steps[1]))
    kernel = c.kernel("mul", tags, defines)
    fields = (("a_zero_point", t.literal(op.zero_points[0])), ("b_zero_point", t.literal(op.zero_points[1])))
    params = Params(kernel.params, c.local("mul"), fields)
    part = Part(
        calls=lambda xs, y, first, count: [
            f"{kernel.name}({walk.pointer(xs[0], 0, first)}, {walk.pointer(xs[1], 1, first)}, {y}, {count}, "
            f"&{params.name});"
        ],
        params=[params],
        loops=walk.loops,
        inner=walk.inner,
    )
    part.notes.append(f"{op.output}: product of two tensors, computed in {t.bits} bits")
    return part


def _copy(
    op: o.Op, c: Lowering, x: Tensor, axes: Sequence[tuple[int, tuple[int, ...]]], offsets: tuple[int, int]
) -> tuple[Params, Callable[[str, str], str]]:
    """A strided copy of a box: axes (size, (x stride, y stride)), offsets of its first element in x and y."""
    xt, yt = storage(x.format), storage(c.graph[op.output].format)
    walk = merge_axes(axes) or [(1, (1, 1))]
    check_rank(op, len(walk))
    kernel = c.kernel("copy", [xt.short, yt.short], [("QSIM_X", xt.name), ("QSIM_Y", yt.name)])
    fields = (
        ("rank", str(len(walk))),
        ("size", braces([n for n, _ in walk])),
        ("x_stride", braces([s[0] for _, s in walk])),
        ("y_stride", braces([s[1] for _, s in walk])),
    )
    params = Params(kernel.params, c.local("copy"), fields)
    plus = [f" + {v}" if v else "" for v in offsets]
    return params, lambda source, y: f"{kernel.name}({source}{plus[0]}, {y}{plus[1]}, &{params.name});"


def _whole(
    op: o.Op, c: Lowering, params: list[Params], calls: Callable[[list[str], str], list[str]], note: str
) -> Part:
    """A part that makes its whole output in one go."""
    return Part(
        calls=lambda xs, y, first, count: calls(list(xs), y),
        params=params,
        inner=c.graph[op.output].size,
        notes=[f"{op.output}: {note}"],
    )


def concat(op: o.Concat, c: Lowering) -> Part:
    out = c.graph[op.output]
    axis = op.axis % len(out.shape)
    inner = math.prod(out.shape[axis + 1 :])
    row = out.shape[axis] * inner
    copies, at = [], 0
    for x in c.tensors(op):
        run = x.shape[axis] * inner
        copies.append(_copy(op, c, x, [(out.size // row, (run, row)), (run, (1, 1))], (0, at)))
        at += run
    return _whole(
        op,
        c,
        [params for params, _ in copies],
        lambda xs, y: [call(x, y) for x, (_, call) in zip(xs, copies, strict=True)],
        f"{len(copies)} tensors joined along axis {axis}",
    )


def reshape(op: o.Reshape, c: Lowering) -> Part:
    x = c.graph[op.inputs[0]]
    params, call = _copy(op, c, x, [(x.size, (1, 1))], (0, 0))
    return _whole(op, c, [params], lambda xs, y: [call(xs[0], y)], "reshape into another element type")


def transpose(op: o.Transpose, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    source, target = strides_of(x.shape), strides_of(out.shape)
    axes = [(n, (source[p], s)) for n, p, s in zip(out.shape, op.perm, target, strict=True)]
    params, call = _copy(op, c, x, axes, (0, 0))
    return _whole(op, c, [params], lambda xs, y: [call(xs[0], y)], f"transposition {list(op.perm)}")


def slice_(op: o.Slice, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    source, target = strides_of(x.shape), strides_of(out.shape)
    axes = [(n, (s * step, t)) for n, s, step, t in zip(out.shape, source, op.strides, target, strict=True)]
    begin = sum(b * s for b, s in zip(op.begin, source, strict=True))
    params, call = _copy(op, c, x, axes, (begin, 0))
    return _whole(op, c, [params], lambda xs, y: [call(xs[0], y)], f"slice from {list(op.begin)} by {list(op.strides)}")


def pad(op: o.Pad, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    yt = storage(out.format)
    target = strides_of(out.shape)
    axes = [(n, (s, t)) for n, s, t in zip(x.shape, strides_of(x.shape), target, strict=True)]
    offset = sum(before * t for (before, _), t in zip(op.pads, target, strict=True))
    params, call = _copy(op, c, x, axes, (0, offset))
    fill = c.kernel("fill", [yt.short], [("QSIM_Y", yt.name)])
    return _whole(
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
    return _whole(
        op, c, [], lambda xs, y: [f"{kernel.name}({xs[0]}, {y}, {index}, {out.size});"], "static rearrangement"
    )


def argmax(op: o.ArgMax, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    axis = op.axis % len(x.shape)
    inner, size = math.prod(x.shape[axis + 1 :]), x.shape[axis]
    xt, yt = storage(x.format), storage(out.format)
    kernel = c.kernel("argmax", [xt.short, yt.short], [("QSIM_X", xt.name), ("QSIM_Y", yt.name)])
    arguments = f"{x.size // (size * inner)}, {size}, {inner}"
    return _whole(op, c, [], lambda xs, y: [f"{kernel.name}({xs[0]}, {y}, {arguments});"], f"argmax along axis {axis}")


def softmax(op: o.Softmax, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    depth = x.shape[-1]
    way_out = "leave the softmax outside the hardware"
    if depth >= 4096:
        raise UnsupportedError(
            f"a softmax over {depth} elements overflows its 12-bit sum", layer=op.layer, way_out=way_out
        )
    if out.format.width > 16:
        raise UnsupportedError(f"a softmax into {out.format}", layer=op.layer, way_out=way_out)
    span = x.range[1] - x.range[0]
    if not 0 <= op.input_left_shift <= 31 or span << op.input_left_shift >= 1 << 62 or not I64.holds(*x.range):
        raise UnsupportedError(
            f"a softmax whose differences up to {span} are shifted left by {op.input_left_shift}",
            layer=op.layer,
            way_out=way_out,
        )
    xt, yt = storage(x.format), storage(out.format)
    bits = out.format.width
    kernel = c.kernel(
        "softmax",
        [xt.short, yt.short, str(bits)],
        [("QSIM_X", xt.name), ("QSIM_Y", yt.name), ("QSIM_BITS", str(bits))],
        "qsim_fixed_point.h",
    )
    values = {
        "multiplier": op.input_multiplier,
        "left_shift": op.input_left_shift,
        "diff_min": max(op.diff_min, -(1 << 31)),
        "low": out.format.low,
        "high": out.format.high,
        "depth": depth,
    }
    fields = tuple((name, "INT32_MIN" if v == -(1 << 31) else str(v)) for name, v in values.items())
    params = Params(kernel.params, c.local("softmax"), fields)
    return _whole(
        op,
        c,
        [params],
        lambda xs, y: [f"{kernel.name}({xs[0]}, {y}, {x.size // depth}, &{params.name});"],
        f"TensorFlow Lite's integer softmax over {depth} elements",
    )


def constant(op: o.Constant, c: Lowering) -> Part:
    out = c.graph[op.output]
    t = storage(out.format)
    symbol = c.array(op, "values", op.values.values, t, f"{op.output}: constant")
    return _whole(op, c, [], lambda xs, y: [symbol], "constant")


LOWER: dict[type[o.Op], Lower] = {
    o.Constant: constant,
    o.Conv2D: c_linear.conv2d,
    o.ConvTranspose2D: c_linear.conv_transpose2d,
    o.Dense: c_linear.dense,
    o.MatMul: c_linear.matmul,
    o.Add: add,
    o.Mul: mul,
    o.Extremum: extremum,
    o.Concat: concat,
    o.SumPool2D: c_linear.sum_pool2d,
    o.MaxPool2D: c_linear.max_pool2d,
    o.Reduce: c_linear.reduce,
    o.Requantize: c_elementwise.requantize,
    o.Divide: c_elementwise.divide,
    o.Threshold: c_elementwise.threshold,
    o.Lookup: c_elementwise.lookup,
    o.Softmax: softmax,
    o.Reshape: reshape,
    o.Transpose: transpose,
    o.Pad: pad,
    o.Slice: slice_,
    o.Gather: gather,
    o.ArgMax: argmax,
}
o.check_registry(LOWER, "emit.c")

FUSABLE: dict[type[o.Op], bool] = {
    op: op
    in (
        o.Conv2D,
        o.ConvTranspose2D,
        o.Dense,
        o.MatMul,
        o.Add,
        o.Mul,
        o.Extremum,
        o.SumPool2D,
        o.MaxPool2D,
        o.Reduce,
        o.Requantize,
        o.Divide,
        o.Threshold,
        o.Lookup,
    )
    for op in o.OPS
}
"""Ops that make their output block by block, so that elementwise ops can follow in the same layer function."""

TAILS: tuple[type[o.Op], ...] = (o.Requantize, o.Divide, o.Threshold, o.Lookup)
"""Ops that can follow in a fused layer."""

MERGES: tuple[type[o.Op], ...] = (o.Add, o.Mul, o.Extremum)
"""Ops whose inputs can be blocks made by elementwise ops in the same layer function."""

__all__ = ["FUSABLE", "LOWER", "MERGES", "TAILS"]
