"""ONNX Runtime's integer kernels, bit for bit: float32 multipliers, half to even.

Each formula is the one that ONNX Runtime's CPU kernels (MLAS) compute, f being the rounding to float32 and rint half to
even; those measured against it are named in docs/onnx.md. Between the integers that a kernel reads and the code that it
gives there is one function of one integer (an accumulator, a product, a sum, a code) or, for an addition, of two codes:
it becomes a multiplier and shift proven equal on the whole proven range, thresholds, or a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.onnx.attributes import integer, number
from qsim.importers.onnx.constant import INTEGERS, Constant
from qsim.importers.onnx.context import (
    Context,
    Made,
    Operand,
    Operator,
    constant_of,
    from_plane,
    optional,
    plane,
    view_of,
)
from qsim.importers.onnx.lower.combine import concat, together
from qsim.importers.onnx.lower.linear import bias_codes, conv_of, dense_position, kernel_of, moved_weights
from qsim.importers.onnx.model import MICROSOFT, STANDARD, Node
from qsim.importers.onnx.view import View, as_stored, settled
from qsim.importers.symbolic.pool import sum_pool
from qsim.importers.symbolic.staged import float32_requantize, pair_op, stairs_of, table_of
from qsim.importers.symbolic.sums import Make, Sums, as_dense
from qsim.importers.symbolic.value import Value, fractions
from qsim.ir import Quantization
from qsim.ir import ops as o
from qsim.ir.graph import Rounded
from qsim.numerics import Array, IntArray
from qsim.numerics.float32 import f32, fma
from qsim.quantizers import Weights


@dataclass(frozen=True)
class Codes:
    """How a tensor's codes are meant: scale (float32, one or one per channel), zero point, limits of the type."""

    scale: Array
    zero: int
    low: int
    high: int

    @property
    def step(self) -> np.float32:
        """The one scale."""
        return np.float32(self.scale.reshape(-1)[0])

    @property
    def meaning(self) -> Quantization:
        return Quantization.of(Fraction(float(self.step)), self.zero)

    def clip(self, real: Array) -> Array:
        """rint, zero point and saturation of float32 numbers."""
        return np.clip(np.rint(real).astype(np.int64) + self.zero, self.low, self.high)


def codes(node: Node, inputs: Sequence[Operand], at: int, dtype: str = "") -> Codes:
    """The scale and zero point at inputs ``at`` and ``at`` + 1; dtype: where there is no zero point to say it."""
    scale = constant_of(node, inputs, at, "a scale").floats().astype(np.float32)
    zero = optional(node, inputs, at + 1, "a zero point")
    if zero is not None and len(set(zero.codes.reshape(-1).tolist())) != 1:
        raise UnsupportedError("its zero points differ by channel", way_out="use one zero point for the tensor")
    kind = dtype if zero is None else zero.dtype
    if kind not in INTEGERS or not (scale > 0).all():
        raise ModelError(f"node {node.name!r}: its scale or type is none of a quantized tensor ({kind}).")
    low, high = INTEGERS[kind]
    return Codes(scale, 0 if zero is None else int(zero.codes.reshape(-1)[0]), low, high)


def raw(ctx: Context, view: View, layer: str) -> View:
    """The view as plain codes: one scale of 1, no offset, no clamps."""
    value = ctx.ready(view).value
    if value.uniform and value.scale.item() == 1:
        return view
    made = ctx.grid(value, layer)
    if made.scale.item() != 1:
        raise UnsupportedError("its input is no tensor of codes", way_out="put it behind a QuantizeLinear")
    return view.but(made)


def typed(view: View, value: Value, node: Node) -> View:
    return View(value=value.but(layer=node.name), at=view.at, dtype=view.dtype)


def _rescaled(ctx: Context, node: Node, acc: Value, multiplier: Array, out: Codes) -> Value:
    """clip(rint(f(f(acc) * multiplier)) + zero)."""
    op = float32_requantize(ctx.b, acc, multiplier, out.zero, (out.low, out.high), node.name)
    return Value.of(ctx.b.add(op, quantization=out.meaning), node.name, acc.shape, 1)


def _sums(
    ctx: Context, node: Node, x: Value, make: Make, weights: Weights, bias: Array | None, zero: int
) -> Value:
    sums = Sums(
        inputs=(x.tensor,),
        output=f"{node.name}.acc",
        layer=node.name,
        weights=IntArray(weights.codes),
        bias=None if bias is None else IntArray(bias),
        input_zero_point=zero,
    )
    tensor = ctx.b.add(make(sums), quantization=Quantization.of(Fraction(1)))
    return Value.of(tensor, node.name, ctx.b.tensor(tensor).shape, 1)


def _weights(node: Node, inputs: Sequence[Operand], at: int) -> tuple[Constant, Codes]:
    constant = constant_of(node, inputs, at, "its weight")
    meant = codes(node, inputs, at + 1, constant.dtype)
    return constant, meant


def _multiplier(x: Codes, w: Codes, y: Codes) -> Array:
    return f32(f32(x.step * w.scale.reshape(-1)) / y.step)


def _integer_sums(kind: Literal["conv", "dense"]) -> Callable[[Context, Node, Sequence[Operand]], Made]:
    """ConvInteger and MatMulInteger: sums of (x - zx) * (w - zw) in int32, for any profile."""

    def lower(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
        view = raw(ctx, view_of(node, inputs), node.name)
        constant, zeros = constant_of(node, inputs, 1, "its weight"), []
        for at in (2, 3):
            zero = optional(node, inputs, at, "a zero point")
            if zero is not None and len(set(zero.codes.reshape(-1).tolist())) != 1:
                raise UnsupportedError("its zero points differ by channel", way_out="use one zero point for the tensor")
            zeros.append(0 if zero is None else int(zero.codes.reshape(-1)[0]))
        weights = Weights(constant.codes - zeros[1], fractions(1))
        if kind == "dense":
            value, order = dense_position(ctx, node, view, weights)
            laid = moved_weights(weights, lambda a: a[order])
            return [as_stored(_sums(ctx, node, value, as_dense, laid, None, zeros[0]), "INT32")]
        shape = constant.shape
        laid = kernel_of(weights, (*range(2, len(shape)), 1, 0))
        make = conv_of(node, view.shape, shape[2:])
        acc = _sums(ctx, node, plane(ctx, view, node.name), make, laid, None, zeros[0])
        return [from_plane(acc, len(view.shape), "INT32")]

    return lower


def _q_conv(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """acc + bias in int32, then f(f(acc + bias) * f(f(sx * sw) / sy))."""
    view = raw(ctx, view_of(node, inputs), node.name)
    x, y = codes(node, inputs, 1, view.dtype), codes(node, inputs, 6)
    constant, w = _weights(node, inputs, 3)
    shape = constant.shape
    laid = kernel_of(Weights(constant.codes - w.zero, fractions(1)), (*range(2, len(shape)), 1, 0))
    value = plane(ctx, view, node.name)
    make = conv_of(node, view.shape, shape[2:])
    acc = _sums(ctx, node, value, make, laid, bias_codes(node, inputs, 8, shape[0]), x.zero)
    made = _rescaled(ctx, node, acc, _multiplier(x, w, y), y)
    return [from_plane(made, len(view.shape), _type(y))]


def _type(c: Codes) -> str:
    return next(k for k, limits in INTEGERS.items() if limits == (c.low, c.high))


def _q_dense(ctx: Context, node: Node, inputs: Sequence[Operand], out: int, bias_at: int | None) -> Made:
    view = raw(ctx, view_of(node, inputs), node.name)
    x, y = codes(node, inputs, 1, view.dtype), codes(node, inputs, out)
    constant, w = _weights(node, inputs, 3)
    weights = Weights(constant.codes - w.zero, fractions(1))
    if integer(node, "transB", 0):
        weights = moved_weights(weights, lambda a: a.T)
    value, order = dense_position(ctx, node, view, weights)
    laid = moved_weights(weights, lambda a: a[order])
    bias = None if bias_at is None else bias_codes(node, inputs, bias_at, laid.codes.shape[1])
    acc = _sums(ctx, node, value, as_dense, laid, bias, x.zero)
    return [as_stored(_rescaled(ctx, node, acc, _multiplier(x, w, y), y), _type(y))]


def _q_matmul(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    return _q_dense(ctx, node, inputs, 6, None)


def _q_gemm(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    if number(node, "alpha", 1.0) != 1.0 or integer(node, "transA", 0):
        raise UnsupportedError("its alpha is not 1, or its first operand is transposed", way_out="use a plain Linear")
    return _q_dense(ctx, node, inputs, 7, 6)


def add_codes(a: Codes, b: Codes, y: Codes) -> Callable[[Array, Array], Array]:
    """QLinearAdd: rint(fma(ra, qa, fma(rb, qb, k))), k = f(zy - fma(ra, za, f(rb * zb))): the zero point comes before
    the rounding."""
    ra, rb = f32(a.step / y.step), f32(b.step / y.step)
    inner = fma(ra, f32(a.zero), f32(rb * f32(b.zero)))
    k = f32(f32(y.zero) - inner)

    def of(qa: Array, qb: Array) -> Array:
        real = fma(ra, f32(qa), fma(rb, f32(qb), k))
        return np.clip(np.rint(real.astype(np.float64)).astype(np.int64), y.low, y.high)

    return of


def mul_codes(a: Codes, b: Codes, y: Codes) -> Callable[[Array], Array]:
    """QLinearMul of p = (qa - za) * (qb - zb): rint(f(f(p * f(f(sa * sb) / sy)) + zy))."""
    scale = f32(f32(a.step * b.step) / y.step)

    def of(p: Array) -> Array:
        real = f32(f32(f32(p) * scale) + f32(y.zero))
        return np.clip(np.rint(real.astype(np.float64)).astype(np.int64), y.low, y.high)

    return of


def _q_add(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    a, b, y = codes(node, inputs, 1), codes(node, inputs, 4), codes(node, inputs, 6)
    of = add_codes(a, b, y)
    if isinstance(inputs[3], Constant) or isinstance(inputs[0], Constant):
        return [_with_constant(ctx, node, inputs, of, y)]
    views = [raw(ctx, view_of(node, inputs, i), node.name) for i in (0, 3)]
    values, back = together(ctx, node, views)
    return [back(_two_codes(ctx, node, values, of, (a, b), y))]


def _with_constant(
    ctx: Context, node: Node, inputs: Sequence[Operand], of: Callable[[Array, Array], Array], y: Codes
) -> View:
    """A table of the other operand's codes."""
    first = isinstance(inputs[0], Constant)
    constant = constant_of(node, inputs, 0 if first else 3, "its constant")
    if constant.codes.size != 1:
        raise UnsupportedError("its constant differs by element", way_out="use one number")
    view = settled(ctx, raw(ctx, view_of(node, inputs, 3 if first else 0), node.name), node.name)
    other = constant.codes.reshape(-1)[:1]
    made = table_of(ctx.b, view.value, lambda q: of(other, q) if first else of(q, other), y.meaning, node.name)
    return typed(view, made, node)


def _two_codes(
    ctx: Context,
    node: Node,
    values: list[Value],
    of: Callable[[Array, Array], Array],
    kinds: tuple[Codes, Codes],
    y: Codes,
) -> Value:
    """A function of two codes: multipliers, one addend and one shift proven equal on all pairs, else a table."""
    factors = float(kinds[0].step / y.step), float(kinds[1].step / y.step)
    return pair_op(ctx.b, values, of, factors, (y.low, y.high), y.meaning, node.name)


def _q_mul(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    a, b, y = codes(node, inputs, 1), codes(node, inputs, 4), codes(node, inputs, 6)
    of = mul_codes(a, b, y)
    if isinstance(inputs[3], Constant) or isinstance(inputs[0], Constant):
        return [_with_constant(ctx, node, inputs, lambda p, q: of((p - a.zero) * (q - b.zero)), y)]
    views = [raw(ctx, view_of(node, inputs, i), node.name) for i in (0, 3)]
    values, back = together(ctx, node, views)
    product = o.Mul(
        inputs=(values[0].tensor, values[1].tensor),
        output=f"{node.name}.product",
        layer=node.name,
        zero_points=(a.zero, b.zero),
    )
    tensor = ctx.b.add(product, quantization=Quantization.of(Fraction(1)))
    acc = Value.of(tensor, node.name, ctx.b.tensor(tensor).shape, 1)
    hint = Fraction(float(f32(f32(a.step * b.step) / y.step)))
    return [back(stairs_of(ctx.b, acc, of, hint, (y.low, y.high), y.meaning, node.name))]


def _between(c: Codes, y: Codes) -> Callable[[Array], Array]:
    """From one scale and zero point to another, through float32."""
    return lambda q: y.clip(f32(f32(c.step * f32(q - c.zero)) / y.step))


def _q_concat(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """Each input rint(f(f(s * (q - z)) / sy)) + zy; nothing where scale and zero point are the output's."""
    y = codes(node, inputs, 0)
    parts = []
    for position in range(2, len(inputs) - 2, 3):
        view, c = raw(ctx, view_of(node, inputs, position), node.name), codes(node, inputs, position + 1)
        if (c.step, c.zero) == (y.step, y.zero):
            parts.append(view)
            continue
        view = settled(ctx, view, node.name)
        name = f"{node.name}.in{len(parts)}"
        made = table_of(ctx.b, view.value, _between(c, y), y.meaning, node.name, name)
        parts.append(typed(view, made, node))
    return [concat(ctx, node, parts, integer(node, "axis"))]


def _q_global_average(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """rint(f(f(sum of (q - zx)) * f(sx / f(sy * count)))) + zy."""
    view = raw(ctx, view_of(node, inputs), node.name)
    x, y = codes(node, inputs, 1), codes(node, inputs, 3)
    if integer(node, "channels_last", 0):
        raise UnsupportedError("it is channels last")
    value = plane(ctx, view, node.name)
    size = (value.shape[0], value.shape[1])
    acc, _ = sum_pool(ctx, node, value, (size, size, ((0, 0), (0, 0))), f"{node.name}.sum")
    count = size[0] * size[1]
    scale = f32(x.step / f32(y.step * f32(count)))

    def of(total: Array) -> Array:
        return y.clip(f32(f32(total - count * x.zero) * scale))

    made = stairs_of(ctx.b, acc, of, Fraction(float(scale)), (y.low, y.high), y.meaning, node.name)
    found = from_plane(made, 3, _type(y))
    return [found.moved(lambda at: at.reshape(at.shape[0], *(1,) * (len(view.shape) - 1)))]


def _table(of: Callable[[Node, Array], Array]) -> Callable[[Context, Node, Sequence[Operand]], Made]:
    """A function of the dequantized float32 number, quantized again: a table of the codes."""

    def lower(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
        view = settled(ctx, raw(ctx, view_of(node, inputs), node.name), node.name)
        x, y = codes(node, inputs, 1), codes(node, inputs, 3)

        def codes_of(q: Array) -> Array:
            real = of(node, f32(x.step * f32(q - x.zero)))
            if real.dtype == np.float32:
                return y.clip(f32(real / y.step))
            return y.clip(real / np.float64(y.step))

        return [typed(view, table_of(ctx.b, view.value, codes_of, y.meaning, node.name), node)]

    return lower


def _sigmoid(node: Node, x: Array) -> Array:
    """The correctly rounded real value."""
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def _leaky(node: Node, x: Array) -> Array:
    return np.where(x < 0, f32(x * f32(number(node, "alpha", 0.01))), x)


def _q_softmax(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """rint(softmax * floor(f(1 / sy))) + zy, outside the hardware: it ends the model. At a scale of 1/255 the floor is
    254. A file's own signed operator (those that fusing makes run unsigned) wraps where its largest code does not
    fit."""
    view = settled(ctx, raw(ctx, view_of(node, inputs), node.name), node.name)
    x, y = codes(node, inputs, 1), codes(node, inputs, 3)
    axis = integer(node, "axis", -1)
    if axis % (len(view.shape) + 1) != len(view.shape):
        raise UnsupportedError(f"its axis is {axis}", way_out="take the softmax along the last axis")
    step = Fraction(float(x.step))
    real = view.value.affine(step, -x.zero * step).but(boundary="softmax", layer=node.name)
    levels = int(np.floor(f32(np.float32(1) / y.step)))
    if "opset" in node.attributes and y.low < 0 and levels + y.zero > y.high:
        raise UnsupportedError(
            f"its code for 1, {levels + y.zero}, does not fit int8, and ONNX Runtime lets it wrap around",
            way_out=f"use a zero point of {y.high - levels} or less, uint8, or the profile onnx",
        )
    rounded = Rounded(
        scale=Fraction(float(y.step)), zero_point=y.zero, low=y.low, high=y.high, dequantized=False, levels=levels
    )
    return [View(value=real, at=view.at, dtype=_type(y), rounded=rounded)]


_WINDOW = ("kernel_shape", "strides", "dilations", "pads", "auto_pad", "group")
OPERATORS = {
    (STANDARD, "ConvInteger"): Operator(_integer_sums("conv"), reads=_WINDOW),
    (STANDARD, "MatMulInteger"): Operator(_integer_sums("dense")),
    (MICROSOFT, "QLinearSoftmax"): Operator(_q_softmax, reads=("axis",), idle=("opset",)),
    (STANDARD, "QLinearConv"): Operator(_q_conv, reads=_WINDOW),
    (STANDARD, "QLinearMatMul"): Operator(_q_matmul),
    (MICROSOFT, "QGemm"): Operator(_q_gemm, reads=("alpha", "transA", "transB"), idle=("beta",)),
    (MICROSOFT, "QLinearAdd"): Operator(_q_add),
    (MICROSOFT, "QLinearMul"): Operator(_q_mul),
    (MICROSOFT, "QLinearConcat"): Operator(_q_concat, reads=("axis",)),
    (MICROSOFT, "QLinearGlobalAveragePool"): Operator(_q_global_average, reads=("channels_last",)),
    (MICROSOFT, "QLinearSigmoid"): Operator(_table(_sigmoid)),
    (MICROSOFT, "QLinearLeakyRelu"): Operator(_table(_leaky), reads=("alpha",)),
}
