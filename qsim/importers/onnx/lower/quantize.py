"""Quantizers: QONNX's Quant, IntQuant, BipolarQuant, Trunc and MultiThreshold; the standard's QuantizeLinear and
DequantizeLinear.

A quantized integer tensor of the file (behind QuantizeLinear) is a value whose codes mean themselves; DequantizeLinear
gives them their meaning, which costs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.onnx.attributes import integer, text
from qsim.importers.onnx.constant import INTEGERS, Constant
from qsim.importers.onnx.context import REAL, Context, Made, Operand, Operator, constant_of, optional, view_of
from qsim.importers.onnx.fold import TYPES, axis_of
from qsim.importers.onnx.model import QONNX, STANDARD, Node
from qsim.importers.onnx.quantizers import MODES, Grid, Mode, bits_of, int_limits, positive_scale
from qsim.importers.onnx.view import View, flat_if_needed, settled
from qsim.importers.symbolic.steps import code_limits
from qsim.importers.symbolic.value import Value, collapsed, fractions
from qsim.ir import Quantization
from qsim.ir.graph import Rounded
from qsim.numerics import Array, Rounding
from qsim.quantizers.rules import Jump, Rule, Steps, Uniform, clipped, rounded


def mode_of(node: Node, default: str) -> Mode:
    """The node's rounding mode. Raises UnsupportedError for a name that qonnx does not know."""
    name = text(node, "rounding_mode", default).upper()
    if name not in MODES:
        raise UnsupportedError(f"its rounding_mode {name!r} is none of {', '.join(MODES)}")
    return MODES[name]


def _quant(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    scale = positive_scale(constant_of(node, inputs, 1, "its scale"), "its scale")
    zero = constant_of(node, inputs, 2, "its zero point").least()
    bits = bits_of(constant_of(node, inputs, 3, "its bit width"), "its bit width")
    signed, narrow = bool(integer(node, "signed", 1)), bool(integer(node, "narrow", 1))
    low, high = int_limits(bits, signed=signed, narrow=narrow)
    mode = mode_of(node, "ROUND")
    grid = Grid(scale=scale, zero=zero, low=low, high=high, mode=mode, sign=signed and bits == 1)
    return [quantized(ctx, node, inputs[0], grid)]


def _bipolar(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """The sign of x itself, times the scale."""
    scale = constant_of(node, inputs, 1, "its scale").least()
    grid = Grid(scale=fractions(1), zero=fractions(0), low=Fraction(-1), high=Fraction(1), mode=Mode.FLOOR, sign=True)
    made = quantized(ctx, node, inputs[0], grid, scale)
    return [made]


def quantized(ctx: Context, node: Node, x: Operand, grid: Grid, out: Array | None = None) -> View | Constant:
    """x on the grid; a code is worth ``out`` (default: the grid's scale)."""
    worth = grid.scale if out is None else out
    if isinstance(x, Constant):
        made = grid.constant(x)
        return made if out is None else dataclasses.replace(made, scale=out.reshape(()) if out.size == 1 else out)
    if x is None:
        raise ModelError(f"node {node.name!r}: {node.label} lacks its input.")
    codes = codes_of(ctx, node, x, grid, worth)
    return meant(ctx, codes, worth, grid.zero)


def meant(ctx: Context, view: View, scale: Array, zero: Array) -> View:
    """(code - zero) * scale of a view of codes, pending; parameters in the file's layout."""
    s, z = view.placed(scale), view.placed(zero)
    value = view.value
    if value.clamped:
        if s.size > 1 or z.size > 1 or s.item() <= 0:
            value = ctx.grid(value, value.layer)
        else:
            ends = (None if e is None else (e - z.item()) * s.item() for e in (value.floor, value.ceiling))
            floor, ceiling = ends
            plain = value.but(floor=None, ceiling=None).affine(s, -z * s)
            return view.but(plain.but(floor=floor, ceiling=ceiling))
    return view.but(value.affine(s, -z * s))


def _meaning(scale: Array, zero: Array) -> Quantization | None:
    """What a tensor's codes are worth, where that differs along the last axis at most."""
    if scale.ndim > 1 or zero.ndim > 1:
        return None
    zeros = list(dict.fromkeys(zero.reshape(-1).tolist()))
    if len(zeros) == 1 and zeros[0].denominator == 1:
        return Quantization(scale=tuple(scale.reshape(-1).tolist()), zero_point=int(zeros[0]))
    offset = np.asarray(-zero * scale)
    return Quantization(scale=tuple(scale.reshape(-1).tolist()), offset=tuple(offset.reshape(-1).tolist()))


def codes_of(ctx: Context, node: Node, x: View, grid: Grid, worth: Array, zero: Array | None = None) -> View:
    """The codes of x as a view whose values are the codes themselves. worth, zero: the tensor says that a code means
    (code - zero) * worth; default: the grid's zero."""
    zero = grid.zero if zero is None else zero
    if x.value.tensor == REAL:
        return _at_boundary(ctx, node, x, grid, worth)
    view = settled(ctx, x, node.name)
    if not grid.late and view.value.boundary != "linear":
        view = flat_if_needed(ctx, view, node.name)
    unit, shift = view.placed(1 / grid.scale), view.placed(grid.shift)
    value = view.value
    boundary = value.boundary
    if boundary != "linear":
        return _behind_function(ctx, node, view, grid, worth, zero)
    limits = None
    if value.clamped and (unit.size > 1 or shift.size > 1):
        limits = _clamped_codes(value, grid, unit, shift)
        value = ctx.grid(value, node.name) if limits is None else value.but(floor=None, ceiling=None)
    u, h = unit, shift
    if value.clamped:
        ends = [None if e is None else e * u.item() + h.item() for e in (value.floor, value.ceiling)]
        value = value.but(floor=None, ceiling=None).affine(u, h).but(floor=ends[0], ceiling=ends[1])
    else:
        value = value.affine(u, h)
    low, high = reach_of(ctx, value)
    if (directed := grid.directed(low, high)) is None:
        rule = grid.rule()
    else:
        rule, addend = directed
        ends = [None if e is None else e + addend for e in (value.floor, value.ceiling)]
        value = value.but(floor=None, ceiling=None).affine(1, addend).but(floor=ends[0], ceiling=ends[1])
    if limits is not None:
        rule = within(rule, *limits)
    view = flat_if_needed(ctx, view.but(value), node.name)
    return _apply(ctx, node, view, rule, worth, zero)


def _clamped_codes(value: Value, grid: Grid, unit: Array, shift: Array) -> tuple[int, int] | None:
    """The codes of a value's clamps, where every channel has the same (those of a ReLU's zero, mostly); else None."""
    rule, found = grid.rule(), []
    for end, default in ((value.floor, rule.low), (value.ceiling, rule.high)):
        lanes = [] if end is None else np.broadcast_arrays(unit, shift)
        pairs = zip(*(part.reshape(-1).tolist() for part in lanes), strict=True) if lanes else ()
        codes = {rule.code(end * u + h) for u, h in pairs if end is not None} or {default}
        if len(codes) > 1:
            return None
        found.append(codes.pop())
    return found[0], found[1]


def within(rule: Uniform | Steps, low: int, high: int) -> Uniform | Steps:
    """The rule with its codes limited further."""
    if isinstance(rule, Steps):
        return clipped(rule, low, high)
    return dataclasses.replace(rule, low=low, high=high)


def _apply(ctx: Context, node: Node, view: View, rule: Rule, worth: Array, zero: Array) -> View:
    meaning = _meaning(view.placed(worth), view.placed(zero))
    made = ctx.quantize(view.value, rule, node, meaning=meaning or Quantization.of(Fraction(1)))
    return view.but(made.but(scale=1, offset=0))


def reach_of(ctx: Context, value: Value) -> tuple[Fraction, Fraction]:
    """Bounds of a value's reals."""
    low, high = ctx.b.tensor(value.tensor).range
    scales, offsets = np.broadcast_arrays(value.scale, value.offset)
    ends = [c * s + o for s, o in zip(scales.reshape(-1).tolist(), offsets.reshape(-1).tolist()) for c in (low, high)]
    least, most = min(ends), max(ends)
    if value.floor is not None:
        least, most = max(least, value.floor), max(most, value.floor)
    if value.ceiling is not None:
        least, most = min(least, value.ceiling), min(most, value.ceiling)
    return least, most


def _behind_function(ctx: Context, node: Node, view: View, grid: Grid, worth: Array, zero: Array) -> View:
    """The quantizer of a real-valued function: one staircase for the tensor."""
    if grid.scale.size > 1 or grid.zero.size > 1:
        raise UnsupportedError(
            f"it quantizes {view.value.boundary} per channel", way_out="use one scale for the tensor"
        )
    step, shift = grid.scale.item(), grid.shift.item()
    inner = grid.rule()
    jumps = [Jump((j.at - shift) * step, j.inclusive, j.rise) for j in _jumps(inner)]
    return _apply(ctx, node, view, Steps(inner.low, tuple(jumps), (Fraction(1),)), worth, zero)


def _jumps(rule: Uniform | Steps) -> Sequence[Jump]:
    if isinstance(rule, Steps):
        return rule.jumps
    zero = rule.zero_point
    return rounded(Fraction(1), Fraction(0), rule.low - zero, rule.high - zero, rounding=rule.rounding)[1]


def _at_boundary(ctx: Context, node: Node, x: View, grid: Grid, worth: Array) -> View:
    """The quantizer of a model input becomes the graph's boundary: code = clip(round((x - offset) / scale) + zero)."""
    value = x.value
    parts = (value.scale, value.offset, grid.scale, grid.shift)
    rule = grid.rule()
    rounding = Rounding.TRN if grid.mode is Mode.FLOOR else rule.rounding if isinstance(rule, Uniform) else None
    if (
        any(p.size > 1 for p in parts)
        or rounding is None
        or grid.sign
        or value.scale.item() <= 0
        or value.boundary != "linear"
    ):
        ctx.exists(value)
    step = grid.scale.item() / value.scale.item()
    offset = -(value.offset.item() / grid.scale.item() + grid.shift.item()) * step
    ends = [None if e is None else e / grid.scale.item() + grid.shift.item() for e in (value.floor, value.ceiling)]
    pending = value.but(floor=ends[0], ceiling=ends[1])
    low, high = code_limits(pending, rule)
    quantization = Quantization(scale=(step,), zero_point=grid.behind, offset=(offset,))
    tensor = ctx.claim(value, quantization, rounding or Rounding.RND_CONV, (low, high))
    return x.but(Value.of(tensor, node.name, value.shape, 1))


def quantize_grid(ctx: Context, node: Node, inputs: Sequence[Operand], rank: int) -> tuple[Grid, str]:
    """QuantizeLinear's grid and the type of its codes, along its axis; the batch is not counted in what it returns."""
    scale_input = constant_of(node, inputs, 1, "its scale")
    zero_input = optional(node, inputs, 2, "its zero point")
    kind = TYPES.get(integer(node, "output_dtype", 0), "UINT8")
    kind = kind if zero_input is None else zero_input.dtype
    if kind not in INTEGERS or kind == "BOOL":
        raise UnsupportedError(f"it quantizes to {kind}", way_out="use an integer type")
    scale, zero = along_axis(node, scale_input, zero_input, rank)
    low, high = INTEGERS[kind]
    late = zero.size == 1
    if not late and any(z != zero.reshape(-1)[0] for z in zero.reshape(-1).tolist()):
        raise UnsupportedError("its zero points differ by channel", way_out="use one zero point for the tensor")
    zero = zero.reshape(-1)[:1].reshape(())
    grid = Grid(scale=scale, zero=zero, low=Fraction(low), high=Fraction(high), mode=Mode.HALF_EVEN, late=True)
    return grid, kind


def along_axis(node: Node, scale: Constant, zero: Constant | None, rank: int) -> tuple[Array, Array]:
    """Scale and zero point as arrays that broadcast against a tensor of ``rank`` dimensions."""
    if integer(node, "block_size", 0):
        raise UnsupportedError("it is quantized in blocks (block_size)", way_out="quantize per tensor or per axis")
    scale_array = positive_scale(scale, "its scale")
    values = scale.reals()
    zeros = fractions(np.zeros((), dtype=np.int64)) if zero is None else zero.reals()
    if values.ndim == 0 or values.size == 1:
        return scale_array.reshape(()), collapsed(zeros).reshape(-1)[:1].reshape(()) if zeros.size == 1 else zeros
    if values.ndim > 1:
        raise UnsupportedError("it is quantized in blocks", way_out="quantize per tensor or per axis")
    axis = axis_of(node, integer(node, "axis", 1), rank)
    shape = tuple(values.size if a == axis else 1 for a in range(rank))
    wide = zeros.reshape(shape) if zeros.size > 1 else zeros.reshape(())
    return values.reshape(shape), wide


def _narrowed(ctx: Context, node: Node, grid: Grid) -> Grid:
    """The grid within the limits of a Clip that is the codes' one reader, as Brevitas' QCDQ writes it."""
    readers = ctx.consumers.get(node.outputs[0], [])
    if len(readers) != 1 or readers[0].kind != "Clip" or node.outputs[0] in ctx.ends:
        return grid
    ends = [ctx.values.get(name) if name else None for name in (*readers[0].inputs, "", "")[1:3]]
    if any(end is not None and not isinstance(end, Constant) for end in ends):
        return grid
    low, high = (e.number("its bound") if isinstance(e, Constant) else None for e in ends)
    return dataclasses.replace(
        grid,
        low=grid.low if low is None else max(grid.low, low),
        high=grid.high if high is None else min(grid.high, high),
    )


def _quantize_linear(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    x = inputs[0]
    if isinstance(x, Constant):
        grid, kind = quantize_grid(ctx, node, inputs, len(x.shape))
        made = grid.constant(x)
        return [Constant(codes=made.codes + grid.behind, scale=fractions(1), dtype=kind)]
    x = view_of(node, inputs)
    grid, kind = quantize_grid(ctx, node, inputs, len(x.shape) + 1)
    if x.value.boundary == "softmax":
        return [rounded_end(x, grid, kind)]
    grid = _unbatched(_narrowed(ctx, node, grid))
    return [dataclasses.replace(codes_of(ctx, node, x, grid, grid.scale), dtype=kind)]


def rounded_end(x: View, grid: Grid, kind: str) -> View:
    """A softmax stays outside the hardware, and its quantizer with it."""
    if grid.scale.size > 1:
        raise UnsupportedError("it quantizes a softmax per channel", way_out="use one scale for the tensor")
    low, high = grid.codes
    rounded = Rounded(scale=grid.scale.item(), zero_point=grid.behind, low=low, high=high, dequantized=False)
    return dataclasses.replace(x, rounded=rounded, dtype=kind)


def _unbatched(grid: Grid) -> Grid:
    """Parameters without the axis of the batch."""
    return dataclasses.replace(grid, scale=unbatched(grid.scale), zero=unbatched(grid.zero))


def unbatched(parameter: Array) -> Array:
    """A parameter against the file's shape with the batch, as one without it."""
    array = np.asarray(parameter, dtype=object)
    if array.size == 1:
        return array.reshape(())
    if array.shape[0] != 1:
        raise UnsupportedError("a parameter differs along the batch")
    return array[0]


def _dequantize_linear(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    scale_input = constant_of(node, inputs, 1, "its scale")
    zero_input = optional(node, inputs, 2, "its zero point")
    x = inputs[0]
    if isinstance(x, Constant):
        scale, zero = along_axis(node, scale_input, zero_input, len(x.shape))
        codes = x.codes - np.broadcast_to(zero, x.shape).astype(np.int64)
        return [Constant(codes=np.asarray(codes), scale=scale, dtype="FLOAT")]
    if isinstance(x, View) and x.rounded is not None and not x.rounded.dequantized:
        scale, zero = along_axis(node, scale_input, zero_input, len(x.shape) + 1)
        if scale.size == 1 == zero.size and (scale.item(), zero.item()) == (x.rounded.scale, x.rounded.zero_point):
            return [dataclasses.replace(x, rounded=dataclasses.replace(x.rounded, dequantized=True), dtype="FLOAT")]
    x = view_of(node, inputs)
    scale, zero = along_axis(node, scale_input, zero_input, len(x.shape) + 1)
    x = settled(ctx, x, node.name)
    made = meant(ctx, x, unbatched(scale), unbatched(zero))
    return [dataclasses.replace(made, dtype="FLOAT")]


OPERATORS = {
    (QONNX, "Quant"): Operator(_quant, reads=("signed", "narrow", "rounding_mode"), symbolic=True),
    (QONNX, "IntQuant"): Operator(_quant, reads=("signed", "narrow", "rounding_mode"), symbolic=True),
    (QONNX, "BipolarQuant"): Operator(_bipolar, symbolic=True),
    (STANDARD, "QuantizeLinear"): Operator(
        _quantize_linear, reads=("axis", "output_dtype", "block_size"), idle=("saturate", "precision"), symbolic=True
    ),
    (STANDARD, "DequantizeLinear"): Operator(
        _dequantize_linear, reads=("axis", "block_size"), fixed={"output_dtype": 1}, symbolic=True
    ),
}
