"""Conv, ConvTranspose, Gemm and MatMul: integer weights in least form, the bias on the accumulator's grid where it has
one, else pending as an exact offset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.onnx.attributes import integer, integers, number, text
from qsim.importers.onnx.constant import Constant
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
from qsim.importers.onnx.model import STANDARD, Node
from qsim.importers.onnx.view import View, arranged, as_stored, places
from qsim.importers.symbolic.linear import per_output, place_bias
from qsim.importers.symbolic.sums import Make, Sums, as_conv2d, as_dense, as_transposed
from qsim.importers.symbolic.value import Value, fractions
from qsim.ir.ops import MatMul
from qsim.numerics import Array, IntArray
from qsim.quantizers import Weights

Pads = tuple[tuple[int, int], ...]


def weights_of(node: Node, constant: Constant) -> Weights:
    """Codes and scales of constant weights. Raises UnsupportedError where they are real numbers without a quantizer."""
    if not constant.quantized:
        values = constant.reals()
        if all(v.denominator == 1 and abs(v) < 1 << 31 for v in values.reshape(-1).tolist()):
            return Weights(values.astype(np.int64), fractions(1))
        raise UnsupportedError(
            "its weights are real numbers that no quantizer has made integers",
            way_out="quantize them: Quant, or QuantizeLinear and DequantizeLinear, before this node",
        )
    return Weights(constant.codes, constant.scale)


def with_zero_point(ctx: Context, value: Value, layer: str) -> tuple[Value, int]:
    """The value with one scale and without clamps, and the code of real zero where that is an integer."""
    if not value.clamped and value.scale.ndim == 0 == value.offset.ndim and value.scale.item():
        zero = -value.offset.item() / value.scale.item()
        if zero.denominator == 1 and abs(zero) < 1 << 31:
            return value.settled(), int(zero)
    return ctx.grid(value, layer), 0


def linear(
    ctx: Context, node: Node, value: Value, make: Make, weights: Weights, bias: Array | None
) -> Value:
    """The dense or convolution op of ``make`` on a settled value; weights in the op's layout, bias in reals (one per
    output). A constant that the next node adds becomes the bias, where it lies on the accumulator's grid."""
    value, zero = with_zero_point(ctx, value, node.name)
    codes, channel_scale = per_output(weights)
    acc_scale = np.asarray(channel_scale * value.scale.item())
    follower = ctx.added_constant(node) if bias is None else None
    if follower is not None and follower[1].size in (1, codes.shape[-1]):
        wide = np.broadcast_to(follower[1].reshape(-1), (codes.shape[-1],))
        if place_bias(wide, acc_scale)[0] is not None:
            bias = wide
            ctx.taken.add(follower[0].name)
    bias_codes, shift, offset = place_bias(bias, acc_scale)
    result = Value.of(value.tensor, node.name, value.shape, acc_scale * Fraction(1, 1 << shift), offset)
    sums = Sums(
        inputs=(value.tensor,),
        output=node.name,
        layer=node.name,
        weights=IntArray(codes),
        bias=None if bias_codes is None else IntArray(bias_codes),
        product_shift=shift,
        input_zero_point=zero,
    )
    tensor = ctx.add(make(sums), result.scale, result.offset)
    return result.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape)


def moved_weights(weights: Weights, how: Callable[[Array], Array]) -> Weights:
    """Codes and scales after a rearrangement."""
    scale = np.asarray(weights.scale, dtype=object)
    laid = scale.reshape(()) if scale.size == 1 else np.asarray(how(np.broadcast_to(scale, weights.codes.shape)))
    return Weights(np.asarray(how(weights.codes)), laid)


def bias_of(node: Node, inputs: Sequence[Operand], position: int, size: int) -> Array | None:
    """The bias as Fractions, or None."""
    found = optional(node, inputs, position, "its bias")
    if found is None:
        return None
    if found.codes.size != size:
        raise ModelError(f"node {node.name!r}: {found.codes.size} biases for {size} outputs.")
    return found.reals().reshape(-1)


def bias_codes(node: Node, inputs: Sequence[Operand], position: int, size: int) -> Array | None:
    """An integer operator's bias: int32 codes on the accumulator's grid, or None."""
    found = optional(node, inputs, position, "its bias")
    if found is None:
        return None
    if found.codes.size != size or not found.quantized:
        raise ModelError(f"node {node.name!r}: its bias is not {size} integers.")
    return found.codes.reshape(-1)


def spatial(node: Node, name: str, rank: int, default: int) -> list[int]:
    """A list of one integer per spatial dimension."""
    found = integers(node, name)
    if found is None:
        return [default] * rank
    if len(found) != rank or any(n < 1 for n in found):
        raise ModelError(f"node {node.name!r}: its {name} {found} do not fit {rank} spatial dimensions.")
    return found


def pads_of(
    node: Node, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Pads:
    """(before, after) per spatial dimension from ``pads`` or ``auto_pad``."""
    mode = text(node, "auto_pad", "NOTSET")
    rank = len(sizes)
    if mode == "VALID":
        return ((0, 0),) * rank
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        result = []
        for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
            total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            small = total // 2
            result.append((small, total - small) if mode == "SAME_UPPER" else (total - small, small))
        return tuple(result)
    if mode != "NOTSET":
        raise ModelError(f"node {node.name!r}: its auto_pad is {mode!r}.")
    pads = integers(node, "pads") or [0] * (2 * rank)
    if len(pads) != 2 * rank:
        raise ModelError(f"node {node.name!r}: its pads {pads} do not fit {rank} spatial dimensions.")
    if any(p < 0 for p in pads):
        raise UnsupportedError(f"its pads {pads} are negative", way_out="use a Slice")
    return tuple((pads[i], pads[i + rank]) for i in range(rank))


def two(values: Sequence[int], fill: int = 1) -> tuple[int, int]:
    """One number per spatial dimension as (height, width)."""
    return (fill, values[0]) if len(values) == 1 else (values[0], values[1])


def two_pads(pads: Pads) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding as ((top, bottom), (left, right))."""
    return ((0, 0), pads[0]) if len(pads) == 1 else (pads[0], pads[1])


def kernel_of(weights: Weights, order: tuple[int, ...]) -> Weights:
    """Weights of one or two spatial dimensions as (KH, KW, ...)."""

    def how(w: Array) -> Array:
        turned = w.transpose(order)
        return turned[None] if turned.ndim == 3 else turned

    return moved_weights(weights, how)


def conv_of(node: Node, x_shape: Sequence[int], kernel: Sequence[int]) -> Make:
    """The Conv of a node on a (C, spatial...) input."""
    rank = len(x_shape) - 1
    given = integers(node, "kernel_shape")
    if given is not None and list(given) != list(kernel):
        raise ModelError(f"node {node.name!r}: its kernel_shape {given} is not that of its weights, {list(kernel)}.")
    strides, dilations = spatial(node, "strides", rank, 1), spatial(node, "dilations", rank, 1)
    pads = pads_of(node, x_shape[1:], kernel, strides, dilations)
    return as_conv2d(two(strides), two(dilations), two_pads(pads), integer(node, "group", 1))


def _conv(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    x = ctx.ready(view_of(node, inputs))
    weights = weights_of(node, constant_of(node, inputs, 1, "its weight"))
    shape = weights.codes.shape
    if len(shape) != len(x.shape) + 1:
        raise ModelError(f"node {node.name!r}: weights {list(shape)} for an input of {len(x.shape) + 1} dimensions.")
    value = plane(ctx, x, node.name)
    make = conv_of(node, x.shape, shape[2:])
    laid = kernel_of(weights, (*range(2, len(shape)), 1, 0))
    made = linear(ctx, node, value, make, laid, bias_of(node, inputs, 2, shape[0]))
    return [from_plane(made, len(x.shape), "FLOAT")]


def _conv_transpose(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """Weights (Cin, Cout, K...); output[i] = (n - 1) * stride + (k - 1) * dilation + 1 + output_padding - pads."""
    x = ctx.ready(view_of(node, inputs))
    weights = weights_of(node, constant_of(node, inputs, 1, "its weight"))
    shape, rank = weights.codes.shape, len(x.shape) - 1
    if len(shape) != rank + 2 or shape[0] != x.shape[0]:
        raise ModelError(f"node {node.name!r}: weights {list(shape)} for an input of shape {list(x.shape)}.")
    if integer(node, "group", 1) != 1:
        raise UnsupportedError("it is a transposed convolution in groups", way_out="split it into one per group")
    strides, dilations = spatial(node, "strides", rank, 1), spatial(node, "dilations", rank, 1)
    extra = integers(node, "output_padding") or [0] * rank
    spread = [(k - 1) * d + 1 for k, d in zip(shape[2:], dilations, strict=True)]
    full = [(n - 1) * s + k for n, s, k in zip(x.shape[1:], strides, spread, strict=True)]
    wanted = integers(node, "output_shape")
    mode = text(node, "auto_pad", "NOTSET")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(x.shape[1:], strides, strict=True)]
    if wanted is not None:
        wanted = wanted[-rank:]
        totals = [f + e - w for f, e, w in zip(full, extra, wanted, strict=True)]
        upper = mode != "SAME_LOWER" if mode.startswith("SAME") else False
        begins = [max(t, 0) // 2 if upper else max(t, 0) - max(t, 0) // 2 for t in totals]
        size = wanted
    else:
        pads = pads_of(node, x.shape[1:], spread, strides, [1] * rank)
        begins = [before for before, _ in pads]
        size = [f + e - sum(p) for f, e, p in zip(full, extra, pads, strict=True)]
    crop = tuple((before, f - before - n) for before, f, n in zip(begins, full, size, strict=True))
    laid = kernel_of(weights, (*range(2, len(shape)), 0, 1))

    def spaced(w: Array) -> Array:
        steps = two(dilations)
        wide = np.zeros((*two(spread), *w.shape[2:]), dtype=w.dtype)
        if w.dtype == object:
            wide[...] = Fraction(1)
        wide[:: steps[0], :: steps[1]] = w
        return wide

    if any(d > 1 for d in dilations):
        laid = moved_weights(laid, spaced)
    make = as_transposed(two(strides), two_pads(crop), two(size))
    made = linear(ctx, node, plane(ctx, x, node.name), make, laid, bias_of(node, inputs, 2, shape[1]))
    return [from_plane(made, len(x.shape), "FLOAT")]


def rows(ctx: Context, view: View, layer: str) -> tuple[Value, Array]:
    """(value whose last axis are the features, positions): feature i of the file is position[i] of that axis. A flat
    tensor stays in its stored order, so that its weights are permuted instead of its elements."""
    if len(view.shape) == 1 and view.whole:
        size = view.shape[0]
        value = view.value
        if value.shape != (size,):
            value = arranged(ctx, View(value=value, at=places((size,)), dtype=view.dtype), (0,), layer)
        return value, view.at
    value = arranged(ctx, view, tuple(range(len(view.shape))), layer)
    return value, np.arange(view.shape[-1])


def dense_position(ctx: Context, node: Node, x: View, weights: Weights) -> tuple[Value, Array]:
    """(value whose last axis are the features, order in which the weights' rows meet them)."""
    if not x.shape or weights.codes.ndim != 2 or x.shape[-1] != weights.codes.shape[0]:
        raise ModelError(f"node {node.name!r}: weights {list(weights.codes.shape)} for an input {list(x.shape)}.")
    value, position = rows(ctx, x, node.name)
    return value, np.argsort(position)


def dense(ctx: Context, node: Node, x: View, weights: Weights, bias: Array | None) -> View:
    """x @ weights + bias; weights (features, outputs)."""
    value, order = dense_position(ctx, node, x, weights)
    laid = moved_weights(weights, lambda w: w[order])
    return as_stored(linear(ctx, node, value, as_dense, laid, bias), "FLOAT")


def _gemm(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """alpha * A @ B + beta * C, A the data."""
    x = ctx.ready(view_of(node, inputs))
    weights = weights_of(node, constant_of(node, inputs, 1, "its weight"))
    if integer(node, "transA", 0) or len(x.shape) != 1:
        raise UnsupportedError("its first operand is transposed or no batch of rows", way_out="use a plain Linear")
    if integer(node, "transB", 0):
        weights = moved_weights(weights, lambda w: w.T)
    alpha, beta = (Fraction(number(node, key, 1.0)) for key in ("alpha", "beta"))
    weights = Weights(weights.codes, np.asarray(weights.scale * alpha))
    if alpha == 0:
        raise UnsupportedError("its alpha is 0")
    size = weights.codes.shape[1]
    given = optional(node, inputs, 2, "its bias")
    bias = None
    if given is not None:
        reals = given.reals()
        if reals.ndim > 1 and reals.shape[0] != 1:
            raise UnsupportedError("its bias differs along the batch")
        bias = np.broadcast_to(np.asarray(reals.reshape(-1) * beta), (size,)) if reals.size in (1, size) else None
        if bias is None:
            raise ModelError(f"node {node.name!r}: {reals.size} biases for {size} outputs.")
    return [dense(ctx, node, x, weights, bias)]


def _matmul(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    a, b = (inputs[i] if i < len(inputs) else None for i in (0, 1))
    if isinstance(a, View) and isinstance(b, Constant):
        ctx.ready(a)
        if len(b.shape) == 1:
            raise UnsupportedError("its weights have one dimension")
        if len(b.shape) > 2 and all(n == 1 for n in b.shape[:-2]):
            b = b.moved(lambda w: w.reshape(w.shape[-2:]))
        if len(b.shape) != 2:
            raise UnsupportedError("its weights differ along a leading dimension", way_out="use one matrix")
        return [dense(ctx, node, a, weights_of(node, b), None)]
    if isinstance(b, View) and isinstance(a, Constant):
        raise UnsupportedError("its weights stand on the left", way_out="transpose both operands")
    return [_product(ctx, node, ctx.ready(view_of(node, inputs, 0)), ctx.ready(view_of(node, inputs, 1)))]


def _product(ctx: Context, node: Node, a: View, b: View) -> View:
    """Of two tensors of the network, leading dimensions equal."""
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[:-2] != b.shape[:-2]:
        raise UnsupportedError(
            f"it multiplies {list(a.shape)} by {list(b.shape)} without the batch",
            way_out="use operands of equal leading dimensions",
        )
    made = []
    for view in (a, b):
        value = arranged(ctx, view, tuple(range(len(view.shape))), node.name)
        made.append(with_zero_point(ctx, value, node.name))
    (x, zx), (y, zy) = made
    result = Value.of("", node.name, (), np.asarray(x.scale * y.scale))
    product = MatMul(inputs=(x.tensor, y.tensor), output=node.name, layer=node.name, zero_points=(zx, zy))
    tensor = ctx.add(product, result.scale, result.offset)
    return as_stored(result.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape), "FLOAT")


_WINDOW = ("kernel_shape", "strides", "dilations", "pads", "auto_pad", "group")
OPERATORS = {
    (STANDARD, "Conv"): Operator(_conv, reads=_WINDOW),
    (STANDARD, "ConvTranspose"): Operator(_conv_transpose, reads=(*_WINDOW, "output_padding", "output_shape")),
    (STANDARD, "Gemm"): Operator(_gemm, reads=("alpha", "beta", "transA", "transB")),
    (STANDARD, "MatMul"): Operator(_matmul),
}
