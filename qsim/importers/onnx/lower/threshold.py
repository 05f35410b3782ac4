"""QONNX's Trunc and FINN's MultiThreshold."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.onnx.attributes import integer, number, text
from qsim.importers.onnx.context import Context, Made, Operand, Operator, constant_of, view_of
from qsim.importers.onnx.lower.quantize import codes_of, meant, mode_of, reach_of
from qsim.importers.onnx.model import QONNX, Node
from qsim.importers.onnx.quantizers import Grid, Mode, bits_of, int_limits, positive_scale
from qsim.importers.onnx.view import View, arranged, as_stored, settled
from qsim.importers.symbolic.steps import row_thresholds
from qsim.importers.symbolic.value import Value, fractions
from qsim.numerics import Array


def _trunc(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """Version 1: r = round half even(x / scale + zero) / 2**(input - output bits), rounded; version 2 clamps r and has
    its own output scale, a power of two times the input's."""
    x = view_of(node, inputs)
    scale = positive_scale(constant_of(node, inputs, 1, "its scale"), "its scale")
    zero = constant_of(node, inputs, 2, "its zero point").least()
    bits = bits_of(constant_of(node, inputs, 3, "its input bit width"), "its input bit width")
    mode = mode_of(node, "FLOOR")
    what = "its output bit width"
    out_bits = bits_of(constant_of(node, inputs, 4 if node.version < 2 else 5, what), what)
    if scale.size > 1 or zero.size > 1 or zero.item().denominator != 1:
        raise UnsupportedError("its scale or zero point differs by channel, or is no integer", way_out="use one number")
    if node.version < 2:
        power, out, limits = bits - out_bits, scale, None
        if power.denominator != 1:
            raise UnsupportedError("its bit widths are no integers")
    else:
        out = positive_scale(constant_of(node, inputs, 4, "its output scale"), "its output scale")
        ratio = np.float32(float(out.item())) / np.float32(float(scale.item()))
        power = Fraction(int(np.round(np.log2(ratio))))
        limits = int_limits(
            out_bits, signed=bool(integer(node, "signed", 1)), narrow=bool(integer(node, "narrow", 0))
        )
    ctx.ready(x)
    whole = _integers(ctx, node, x, scale, zero)
    unit = Fraction(2) ** int(power)
    least, most = reach_of(ctx, whole.value)
    reach = Fraction((least / unit).__floor__() - 1), Fraction((most / unit).__ceil__() + 1)
    low, high = limits or reach
    grid = Grid(scale=fractions(unit), zero=fractions(0), low=low, high=high, mode=mode)
    moved = zero if node.version < 2 else np.asarray(zero / unit)
    codes = codes_of(ctx, node, whole, grid, out, moved)
    return [meant(ctx, codes, out, moved)]


def _integers(ctx: Context, node: Node, x: View, scale: Array, zero: Array) -> View:
    """round half even(x / scale + zero): nothing to do where x lies on that grid."""
    view = settled(ctx, x, node.name)
    value = view.value
    if value.boundary == "linear" and not value.clamped:
        exact = value.affine(1 / scale, zero)
        parts = [*exact.scale.reshape(-1).tolist(), *exact.offset.reshape(-1).tolist()]
        if all(p.denominator == 1 for p in parts):
            return view.but(exact)
    low, high = reach_of(ctx, value)
    step = scale.item()
    grid = Grid(
        scale=scale,
        zero=zero,
        low=Fraction((low / step + zero.item()).__floor__()),
        high=Fraction((high / step + zero.item()).__ceil__()),
        mode=Mode.HALF_EVEN,
    )
    named = dataclasses.replace(node, name=f"{node.name}.codes")
    return codes_of(ctx, named, view, grid, scale)


def _multi_threshold(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """out_scale * #(x >= thresholds of the channel) + out_bias."""
    x = ctx.ready(view_of(node, inputs))
    table = constant_of(node, inputs, 1, "its thresholds")
    if len(table.shape) != 2:
        raise ModelError(f"node {node.name!r}: its thresholds have shape {list(table.shape)}.")
    layout = text(node, "data_layout", "") or {2: "NC", 3: "NWC", 4: "NCHW"}.get(len(x.shape) + 1, "NC")
    axis = layout.index("C") - 1 if "C" in layout else 0
    channels = x.shape[axis]
    if table.shape[0] not in (1, channels):
        raise ModelError(f"node {node.name!r}: {table.shape[0]} rows of thresholds for {channels} channels.")
    scale, bias = (Fraction(number(node, key, d)) for key, d in (("out_scale", 1.0), ("out_bias", 0.0)))
    order = (*(a for a in range(len(x.shape)) if a != axis), axis)
    value = arranged(ctx, x, order, node.name)
    rows = table.reals()
    made = _thresholds(ctx, node, value, rows)
    result = as_stored(made.affine(scale, bias), x.dtype).moved(lambda at: at.transpose(tuple(np.argsort(order))))
    return [result]


def _thresholds(ctx: Context, node: Node, value: Value, rows: Array) -> Value:
    """The number of a row's thresholds that each element reaches, rows along the last axis."""
    if value.clamped or not value.channelwise:
        value = ctx.grid(value, node.name)
    ctx.reads(value)
    return row_thresholds(ctx.b, value, rows, node.name)


OPERATORS = {
    (QONNX, "Trunc"): Operator(_trunc, reads=("rounding_mode", "signed", "narrow")),
    (QONNX, "MultiThreshold"): Operator(
        _multi_threshold, reads=("out_scale", "out_bias", "data_layout"), idle=("out_dtype",)
    ),
}
