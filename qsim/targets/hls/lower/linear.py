"""HLS views of convolutions, dense layers and matrix products, and what they read before they write."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qsim.errors import UnsupportedError
from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.ir.ops import Linear
from qsim.numerics import Array, IntArray, IntFormat
from qsim.targets.hls.lower.needs import Need, last_axis, positions_read, whole
from qsim.targets.hls.products import Products, products
from qsim.targets.hls.text import Context, Table, View, centred, const, table, typedef


def _zero(name: str, value: int, prefix: str = "") -> tuple[str, str]:
    return typedef(f"{prefix}zero_t", IntFormat.for_range(value, value)), const(name, value)


def _linear(
    op: Linear, context: Context, weights: Array, group_outputs: int, axes: str, *, outside: bool
) -> tuple[tuple[str, ...], tuple[Table, ...], Products]:
    """Configuration and tables that every layer with weights shares. weights: (Cout, ..., terms)."""
    found = products(op, context, weights, group_outputs, axes, outside=outside)
    bias = np.zeros(weights.shape[0], dtype=np.int64) if op.bias is None else op.bias.values
    bias_fmt = IntArray(bias).format
    comment = f"bias, {bias_fmt}: per output, in units of the accumulator"
    config = (
        const("outputs", weights.shape[0]),
        const("terms", weights.shape[-1]),
        *_zero("input_zero_point", op.input_zero_point),
        *found.config,
        const("product_shift", op.product_shift),
        typedef("bias_t", bias_fmt),
    )
    return config, (found.weights, table(f"{context.names[op.output]}_bias", bias, bias_fmt, comment=comment)), found


def _view(
    equation: str,
    kernel: str,
    config: tuple[str, ...],
    tables: tuple[Table, ...],
    found: Products,
    terms: int,
    turns: int,
) -> View:
    return View(
        equation=equation,
        kernel=kernel,
        config=config,
        tables=tables,
        lanes=found.lanes,
        terms=terms,
        multipliers=found.multipliers,
        products=found.text,
        memory=found.bits,
        turns=turns,
    )


def conv2d(op: o.Conv2D, context: Context) -> View:
    """A convolution over a streamed image. Raises UnsupportedError for negative padding."""
    height, width, channels = context.graph[op.inputs[0]].shape
    kh, kw, group_in, out = op.weights.shape
    (top, bottom), (left, right) = op.padding
    if min(top, bottom, left, right) < 0:
        raise UnsupportedError(
            f"convolution {op.output!r} has negative padding {op.padding}", layer=op.layer, way_out="crop with a Slice"
        )
    terms = kh * kw * group_in
    weights = op.weights.values.transpose(3, 0, 1, 2).reshape(out, terms)
    axes = f"per output {kh} x {kw} x {group_in} (row, column, channel)"
    outside = max(top, bottom, left, right) > 0
    shared, tables, found = _linear(op, context, weights, out // op.groups, axes, outside=outside)
    config = (
        *(const(n, v) for n, v in (("height", height), ("width", width), ("channels", channels))),
        *(const(n, v) for n, v in (("kernel_height", kh), ("kernel_width", kw))),
        *(const(n, v) for n, v in (("stride_height", op.strides[0]), ("stride_width", op.strides[1]))),
        *(const(n, v) for n, v in (("dilation_height", op.dilation[0]), ("dilation_width", op.dilation[1]))),
        *(const(n, v) for n, v in (("pad_top", top), ("pad_bottom", bottom), ("pad_left", left), ("pad_right", right))),
        *(const(n, v) for n, v in (("groups", op.groups), ("group_channels", group_in))),
        const("group_outputs", out // op.groups),
        *shared,
    )
    kind = "depthwise convolution" if op.groups == channels > 1 else "convolution"
    grouped = f", {op.groups} groups" if op.groups > 1 else ""
    equation = f"{kh}x{kw} {kind}, {channels} to {out} channels{grouped}"
    positions = math.prod(context.graph[op.output].shape[:2])
    turns = (top + height + bottom) * (left + width + right) * channels
    turns += positions * (out + found.counts * op.groups) * found.steps
    return _view(equation, "conv2d", config, tables, found, terms, turns)


def conv_transpose(op: o.ConvTranspose2D, context: Context) -> View:
    """A transposed convolution from a frame buffer."""
    height, width, channels = context.graph[op.inputs[0]].shape
    kh, kw, _, out = op.weights.shape
    weights = op.weights.values.transpose(3, 0, 1, 2).reshape(out, kh * kw, channels)
    axes = f"per output {kh} x {kw} taps (row, column) of {channels} channels"
    shared, tables, found = _linear(op, context, weights, kh * kw * out, axes, outside=False)
    config = (
        *(const(n, v) for n, v in (("height", height), ("width", width))),
        *(const(n, v) for n, v in (("kernel_height", kh), ("kernel_width", kw), ("taps", kh * kw))),
        *(const(n, v) for n, v in (("stride_height", op.strides[0]), ("stride_width", op.strides[1]))),
        *(const(n, v) for n, v in (("pad_top", op.padding[0][0]), ("pad_left", op.padding[1][0]))),
        *(const(n, v) for n, v in (("out_height", op.output_size[0]), ("out_width", op.output_size[1]))),
        *shared,
    )
    equation = f"{kh}x{kw} transposed convolution, {channels} to {out} channels"
    turns = height * width * channels + math.prod(op.output_size) * out * kh * kw * found.steps
    return _view(equation, "conv_transpose2d", config, tables, found, channels, turns)


def dense(op: o.Dense, context: Context) -> View:
    """A dense layer over the last axis."""
    terms, out = op.weights.shape
    shared, tables, found = _linear(op, context, op.weights.values.T, out, f"per output {terms} inputs", outside=False)
    rows = context.graph[op.inputs[0]].size // terms
    turns = rows * (terms + out * found.steps)
    config = (const("rows", rows), *shared)
    return _view(f"dense, {terms} to {out}", "dense", config, tables, found, terms, turns)


def matmul(op: o.MatMul, context: Context) -> View:
    """A product of two streamed matrices."""
    a, b = context.tensors(op)
    za, zb = op.zero_points
    terms = a.shape[-1]
    lanes = context.lanes(op, terms)
    config = (
        const("matrices", math.prod(a.shape[:-2])),
        *(const(n, v) for n, v in (("rows", a.shape[-2]), ("terms", terms), ("columns", b.shape[-1]))),
        typedef("a_centred_t", centred(a, za)),
        typedef("b_centred_t", centred(b, zb)),
        *_zero("a_zero_point", za, "a_"),
        *_zero("b_zero_point", zb, "b_"),
        const("lanes", lanes),
    )
    turns = terms * b.shape[-1] + a.shape[-2] * (terms + b.shape[-1] * -(-terms // lanes))
    return View(
        equation="matrix product",
        kernel="matmul",
        config=config,
        lanes=lanes,
        terms=terms,
        multipliers=lanes,
        turns=turns * math.prod(a.shape[:-2]),
    )


def _conv_need(op: o.Conv2D, inputs: Sequence[Tensor], out: Tensor) -> Need:
    ends = []
    for axis in (0, 1):
        extent = (op.weights.shape[axis] - 1) * op.dilation[axis] + 1
        ends.append(np.arange(out.shape[axis]) * op.strides[axis] - op.padding[axis][0] + extent - 1)
    return [positions_read(inputs[0], (ends[0], ends[1]), out.shape[2])]


def _matmul_need(op: o.MatMul, inputs: Sequence[Tensor], out: Tensor) -> Need:
    a, b = inputs
    k = np.arange(out.size, dtype=np.int64)
    rows, matrices = k // out.shape[-1] + 1, k // math.prod(out.shape[-2:]) + 1
    return [
        np.concatenate([[0], rows * a.shape[-1]]),
        np.concatenate([[0], matrices * math.prod(b.shape[-2:])]),
    ]


VIEWS = dict(
    (
        o.entry(o.Conv2D, conv2d),
        o.entry(o.ConvTranspose2D, conv_transpose),
        o.entry(o.Dense, dense),
        o.entry(o.MatMul, matmul),
    )
)

NEEDS = dict(
    (
        o.entry(o.Conv2D, _conv_need),
        o.entry(o.ConvTranspose2D, whole),
        o.entry(o.Dense, last_axis),
        o.entry(o.MatMul, _matmul_need),
    )
)

__all__ = ["NEEDS", "VIEWS"]
