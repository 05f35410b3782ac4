"""Pooling: maxima, averages over each window (padding counted or not), and QONNX's sum and shift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.onnx.attributes import integer, integers, text
from qsim.importers.onnx.context import Context, Lower, Made, Operand, Operator, from_plane, plane, view_of
from qsim.importers.onnx.fold import axis_of, given
from qsim.importers.onnx.lower.linear import pads_of, spatial, two, two_pads
from qsim.importers.onnx.lower.quantize import codes_of
from qsim.importers.onnx.model import QONNX, STANDARD, Node
from qsim.importers.onnx.quantizers import Grid, Mode
from qsim.importers.onnx.view import View, arranged, as_stored, channels_last
from qsim.importers.symbolic.pool import Window, max_pool, sum_pool, valid_counts
from qsim.importers.symbolic.value import Value, fractions
from qsim.ir import ops as o

Kind = Literal["sum", "mean", "max", "min"]


def _window(node: Node, shape: Sequence[int]) -> tuple[Window, list[tuple[int, int]]]:
    """(pool, strides, padding) on (C, spatial...), with what ceil_mode adds at the ends, which is counted apart."""
    rank = len(shape) - 1
    kernel = integers(node, "kernel_shape")
    if kernel is None or len(kernel) != rank or any(k < 1 for k in kernel):
        raise ModelError(f"node {node.name!r}: its kernel_shape is {kernel}.")
    strides = spatial(node, "strides", rank, 1)
    if any(d != 1 for d in spatial(node, "dilations", rank, 1)):
        raise UnsupportedError("its window is dilated", way_out="use dilations of 1")
    pads = list(pads_of(node, shape[1:], kernel, strides, [1] * rank))
    extra = []
    for i, (n, k, s) in enumerate(zip(shape[1:], kernel, strides, strict=True)):
        rest = (n + sum(pads[i]) - k) % s
        more = (s - rest) % s if integer(node, "ceil_mode", 0) else 0
        # A window that would begin in the padding at the end is left out.
        if more and -(-(n + sum(pads[i]) - k) // s) * s >= n + pads[i][0]:
            more = 0
        extra.append((0, more))
    if any(p >= k for k, pair in zip(kernel, pads, strict=True) for p in pair):
        raise UnsupportedError(f"its padding {pads} is as wide as its window {kernel}")
    whole = tuple((a + c, b + d) for (a, b), (c, d) in zip(pads, extra, strict=True))
    return (two(kernel), two(strides), two_pads(whole)), extra


def _max_pool(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    x = ctx.ready(view_of(node, inputs))
    window, _ = _window(node, x.shape)
    if len(node.outputs) > 1 and node.outputs[1]:
        raise UnsupportedError("it gives the positions of the maxima too", way_out="use its first output only")
    made = max_pool(ctx, node, plane(ctx, x, node.name), window)
    return [from_plane(made, len(x.shape), x.dtype)]


def _average_pool(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """The sum over a window's valid positions by their count, or by all of them, padding included."""
    x = ctx.ready(view_of(node, inputs))
    window, extra = _window(node, x.shape)
    value = plane(ctx, x, node.name)
    made, area = sum_pool(ctx, node, value, window, f"{node.name}.sum")
    if integer(node, "count_include_pad", 0):
        # Padding counts, what ceil_mode adds behind it does not: windows over the padded image.
        pool, strides, padding = window
        beyond = two_pads(tuple(extra)) if len(extra) > 1 else ((0, 0), extra[0])
        counts = []
        for n, k, s, p, e in zip(value.shape[:2], pool, strides, padding, beyond, strict=True):
            counts.append(valid_counts(n + p[0] + p[1] - e[1], k, s, (0, e[1])))
        area = fractions(counts[0][:, None, None] * counts[1][None, :, None])
    return [from_plane(made.affine(1 / area), len(x.shape), "FLOAT")]


def _globally(kind: Literal["mean", "max"]) -> Lower:
    def lower(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
        x = ctx.ready(view_of(node, inputs))
        if len(x.shape) < 2:
            raise ModelError(f"node {node.name!r}: {node.label} of a tensor without spatial dimensions.")
        size = math.prod(x.shape[1:])
        flat = x.moved(lambda at: at.reshape(at.shape[0], size))
        window = ((1, size), (1, size), ((0, 0), (0, 0)))
        value = plane(ctx, flat, node.name)
        if len(x.shape) == 3:
            value = plane(ctx, x, node.name)
            window = ((x.shape[1], x.shape[2]), (x.shape[1], x.shape[2]), ((0, 0), (0, 0)))
        if kind == "max":
            made = max_pool(ctx, node, value, window)
        else:
            made, area = sum_pool(ctx, node, value, window, f"{node.name}.sum")
            made = made.affine(1 / area)
        return [channels_last(made, x.dtype).moved(lambda at: at.reshape(at.shape[0], *(1,) * (len(x.shape) - 1)))]

    return lower


def _reduce(kind: Kind) -> Lower:
    def lower(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
        x, rank = ctx.ready(view_of(node, inputs)), 0
        rank = len(x.shape)
        axes = given(node, [None, *inputs[1:]], 1, "axes")
        if axes is None or not axes:
            if integer(node, "noop_with_empty_axes", 0):
                return [x]
            raise UnsupportedError("it reduces the batch too", way_out="name the axes behind the batch")
        chosen = sorted({axis_of(node, a, rank + 1) - 1 for a in axes})
        if chosen[0] < 0:
            raise UnsupportedError("it reduces the batch", way_out="name the axes behind the batch")
        keep = bool(integer(node, "keepdims", 1))
        return [reduced(ctx, node, x, chosen, kind, keep=keep)]

    return lower


def reduced(ctx: Context, node: Node, x: View, axes: Sequence[int], kind: Kind, *, keep: bool) -> View:
    """The sum, mean, max or min over the file's axes (without the batch)."""
    rank = len(x.shape)
    order = (*range(1, rank), 0) if rank > 1 else (0,)
    value = ctx.grid(arranged(ctx, x, order, node.name), node.name, rising=True)
    stored = tuple(sorted(order.index(a) for a in axes))
    op = o.Reduce(
        inputs=(value.tensor,),
        output=f"{node.name}.sum" if kind == "mean" else node.name,
        layer=node.name,
        kind="sum" if kind == "mean" else kind,
        axes=stored,
        keepdims=True,
    )
    tensor = ctx.add(op, value.scale, value.offset)
    made = value.but(tensor=tensor, layer=node.name, shape=ctx.b.tensor(tensor).shape)
    if kind == "mean":
        made = made.affine(Fraction(1, math.prod(x.shape[a] for a in axes)))
    view = channels_last(made, x.dtype)
    if not keep:
        view = view.moved(lambda at: at.reshape([n for i, n in enumerate(at.shape) if i not in axes] or [1]))
    return view


def _quant_avg_pool(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """floor(sum of the window / 2**shift), shift = max(bits of k*k*(2**ibits - 1) - obits, 0)."""
    x = ctx.ready(view_of(node, inputs))
    layout = text(node, "data_layout", "NCHW")
    if layout not in ("NCHW", "NHWC") or len(x.shape) != 3:
        raise UnsupportedError(f"its data_layout is {layout} on {len(x.shape) + 1} dimensions")
    if layout == "NHWC":
        x = x.moved(lambda at: at.transpose(2, 0, 1))
    k, s = integer(node, "kernel"), integer(node, "stride")
    bits = integer(node, "ibits")
    if k < 1 or s < 1 or not 1 <= bits <= 32:
        raise ModelError(f"node {node.name!r}: its kernel, stride or ibits are {k}, {s}, {bits}.")
    shift = max((k * k * ((1 << bits) - 1)).bit_length() - integer(node, "obits"), 0)
    value = plane(ctx, x, node.name)
    unit = value.scale.reshape(-1)[0]
    if not value.uniform or unit.denominator != 1:
        raise UnsupportedError("its input is no tensor of integers", way_out="put it behind a quantizer of scale 1")
    summed, _ = sum_pool(ctx, node, value, ((k, k), (s, s), ((0, 0), (0, 0))), f"{node.name}.sum")
    view = from_plane(summed, 3, x.dtype)
    low, high = (end * unit for end in ctx.b.tensor(summed.tensor).range)
    power = Fraction(1 << shift)
    grid = Grid(
        scale=fractions(power), zero=fractions(0), mode=Mode.FLOOR,
        low=Fraction((low / power).__floor__()), high=Fraction((high / power).__floor__()),
    )  # fmt: skip
    made = codes_of(ctx, node, view, grid, fractions(1))
    return [made if layout == "NCHW" else made.moved(lambda at: at.transpose(1, 2, 0))]


def _arg_max(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    x = ctx.ready(view_of(node, inputs))
    rank = len(x.shape)
    axis = axis_of(node, integer(node, "axis", 0), rank + 1) - 1
    if axis < 0:
        raise UnsupportedError("it searches along the batch")
    order = tuple(range(rank))
    value = ctx.grid(arranged(ctx, x, order, node.name), node.name, rising=True)
    search = o.ArgMax(inputs=(value.tensor,), output=node.name, layer=node.name, axis=axis)
    tensor = ctx.add(search, fractions(1), fractions(0))
    made = as_stored(Value.of(tensor, node.name, ctx.b.tensor(tensor).shape, 1), "INT64")
    shape = [1 if i == axis else n for i, n in enumerate(x.shape) if i != axis or integer(node, "keepdims", 1)]
    return [made.moved(lambda at: at.reshape(shape or [1]))]


_WINDOW = ("kernel_shape", "strides", "dilations", "pads", "auto_pad", "ceil_mode")
OPERATORS = {
    (STANDARD, "MaxPool"): Operator(_max_pool, reads=_WINDOW, idle=("storage_order",)),
    (STANDARD, "AveragePool"): Operator(_average_pool, reads=(*_WINDOW, "count_include_pad")),
    (STANDARD, "GlobalAveragePool"): Operator(_globally("mean")),
    (STANDARD, "GlobalMaxPool"): Operator(_globally("max")),
    (STANDARD, "ReduceMean"): Operator(_reduce("mean"), reads=("axes", "keepdims", "noop_with_empty_axes")),
    (STANDARD, "ReduceSum"): Operator(_reduce("sum"), reads=("axes", "keepdims", "noop_with_empty_axes")),
    (STANDARD, "ReduceMax"): Operator(_reduce("max"), reads=("axes", "keepdims", "noop_with_empty_axes")),
    (STANDARD, "ReduceMin"): Operator(_reduce("min"), reads=("axes", "keepdims", "noop_with_empty_axes")),
    (STANDARD, "ArgMax"): Operator(_arg_max, reads=("axis", "keepdims"), fixed={"select_last_index": 0}),
    (QONNX, "QuantAvgPool2d"): Operator(
        _quant_avg_pool, reads=("stride", "kernel", "ibits", "obits", "data_layout"), idle=("signed",)
    ),
}
