"""Dense and convolutional layers: integer weights in least form, the bias on the accumulator's grid."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.keras.lower.activation import activate, has_activation
from qsim.importers.keras.lower.blueoil import split_linear, trained_ternary, two_levels
from qsim.importers.keras.lower.context import Context, channels_last, padding_2d, pair, rank, weight
from qsim.importers.keras.lower.record import Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.linear import per_output, place_bias
from qsim.importers.symbolic.sums import Make, Sums, as_conv2d, as_dense
from qsim.importers.symbolic.value import Value, fractions
from qsim.numerics import Array, IntArray
from qsim.quantizers import Quantizer, Weights
from qsim.quantizers.blueoil_numpy import TrainedTernary


def quantized_kernel(ctx: Context, node: LayerNode, name: str, shape: tuple[int, ...]) -> Weights:
    """The codes and scales of kernel ``name``, quantized by ``<name>_quantizer``.

    Raises UnsupportedError where the layer has no quantizer for it.
    """
    array = weight(node, name, shape)
    twin = ctx.quantizer(node, f"{name}_quantizer")
    if twin is None:
        raise UnsupportedError(
            f"the weights {name!r} of this {node.class_name} have no quantizer; float weights have no exact integers",
            way_out=f"use {'' if node.class_name.startswith('Q') else 'Q'}{node.class_name} with {name}_quantizer, "
            "such as quantized_bits(8,0,alpha=1), or let qsim quantize them: --weights-format 'fixed<8,1>'",
        )
    return quantize(ctx, node, name, twin.as_kernel(), array)


def quantize(ctx: Context, node: LayerNode, name: str, twin: Quantizer, array: Array) -> Weights:
    """``twin`` on the constant ``array``, with a note where an automatic scale is in doubt."""
    weights = trained_ternary(node, name, twin, array) if isinstance(twin, TrainedTernary) else twin.weights(array)
    if weights.doubtful:
        ctx.b.note(
            f"Quantizing {name!r} of layer {node.name!r} takes a float32 logarithm so near a tie that machines may "
            "round it either way: compare with qsim diff, or move the weight (or freeze the automatic scale)."
        )
    return weights


def bias_values(ctx: Context, node: LayerNode, size: int, name: str = "bias") -> Array | None:
    """The quantized bias as exact Fractions, shape (size,), or None. A bias without quantizer is taken as stored."""
    if not node.config.get("use_bias", True):
        return None
    array = weight(node, name, (size,))
    twin = ctx.quantizer(node, f"{name}_quantizer")
    if twin is None:
        return fractions(array)
    weights = quantize(ctx, node, name, twin, array)
    return np.asarray(fractions(weights.codes) * weights.scale)


def linear(
    ctx: Context,
    node: LayerNode,
    value: Value,
    make: Make,
    weights: Weights,
    bias: Array | None,
    *,
    layout: Callable[[Array], Array] = lambda w: w,
    name: str | None = None,
) -> Value:
    """The dense or convolution op of ``make``, before the layer's activation.

    layout: from the framework's weight layout to the op's, for codes and (broadcast) scales alike; the last axis is
    the output channel. name: of the tensor; default the layer's, or ``<layer>.acc`` where an activation follows.
    """
    value = ctx.grid(value, node.name, exact=True)
    scale = np.broadcast_to(np.asarray(weights.scale, dtype=object), weights.codes.shape)
    uniform_scale = np.asarray(weights.scale, dtype=object).size == 1
    laid_out = Weights(
        layout(weights.codes), np.asarray(weights.scale, dtype=object).reshape(()) if uniform_scale else layout(scale)
    )
    codes, channel_scale = per_output(laid_out)
    acc_scale = np.asarray(channel_scale * value.scale.item())
    name = name or (f"{node.name}.acc" if has_activation(node.config.get("activation")) else node.name)
    if not acc_scale.ndim and (levels := two_levels(codes)) is not None:
        return split_linear(ctx, node, value, make, codes, levels, acc_scale.item(), bias, name)
    bias_codes, shift, offset = place_bias(bias, acc_scale)
    made = Fraction(1, 1 << shift)
    result = Value.of(value.tensor, node.name, value.shape, acc_scale * made, offset)
    sums = Sums(
        inputs=(value.tensor,),
        output=name,
        layer=node.name,
        weights=IntArray(codes),
        bias=None if bias_codes is None else IntArray(bias_codes),
        product_shift=shift,
    )
    tensor = ctx.add(make(sums), result.scale, result.offset)
    return result.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape)


def _dense(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    value = inputs[0]
    units = int(node.config["units"])
    kernel = quantized_kernel(ctx, node, "kernel", (value.shape[-1], units))
    result = linear(ctx, node, value, as_dense, kernel, bias_values(ctx, node, units))
    return activate(ctx, node, result, node.config.get("activation"))


def _masked(node: LayerNode, weights: Weights) -> Weights:
    """QConv2D's ``mask`` of zeros and ones over the kernel's positions."""
    if node.config.get("mask") is None:
        return weights
    mask = np.asarray(node.config["mask"], dtype=np.float64)
    mask = mask.reshape(*mask.shape[:2], 1, 1)
    if not np.isin(mask, (0.0, 1.0)).all():
        raise UnsupportedError("its mask holds values other than 0 and 1", way_out="use a mask of zeros and ones")
    return Weights(weights.codes * mask.astype(np.int64), weights.scale, weights.doubtful)


def _conv2d(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    channels_last(node)
    value, config = inputs[0], node.config
    rank(node, value, 3)
    kernel_size, filters, groups = pair(config["kernel_size"]), int(config["filters"]), int(config.get("groups") or 1)
    strides, dilation = pair(config.get("strides", 1)), pair(config.get("dilation_rate", 1))
    kernel = quantized_kernel(ctx, node, "kernel", (*kernel_size, value.shape[2] // groups, filters))
    result = linear(
        ctx,
        node,
        value,
        as_conv2d(strides, dilation, padding_2d(node, value.shape, kernel_size, strides, dilation), groups),
        _masked(node, kernel),
        bias_values(ctx, node, filters),
    )
    return activate(ctx, node, result, config.get("activation"))


_READS = ("activation", "use_bias", "kernel_quantizer", "bias_quantizer")
DENSE_READS = ("units", *_READS)
CONV_READS = ("filters", "kernel_size", "strides", "padding", "dilation_rate", *_READS)

LAYERS: Registry = {
    **dict.fromkeys(("Dense", "QDense"), Record(lower=_dense, reads=DENSE_READS, rows=True)),
    **dict.fromkeys(("Conv2D", "QConv2D"), Record(lower=_conv2d, reads=(*CONV_READS, "groups", "mask"))),
}
