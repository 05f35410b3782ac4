"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED, BATCH_MATMUL: sums of products, then one rescale."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from qsim.errors import ModelError
from qsim.importers.tflite import xnnpack
from qsim.importers.tflite.exact import FINE_BITS, float64_rescale, float64_split
from qsim.importers.tflite.lower.context import INT32, Lowering, graph_shape
from qsim.importers.tflite.lower.record import Record
from qsim.importers.tflite.lower.rescales import make_rescale, wide_rescale
from qsim.importers.tflite.model import Operator, TfliteTensor
from qsim.ir import Quantization
from qsim.ir import ops as o
from qsim.ir.ops import Padding2D
from qsim.numerics import Array, IntArray, IntFormat, Overflow, Rounding, Scheme, rescale, shift_only

INT64 = IntFormat(64, True)
ACTIVATIONS = ("INT8", "INT16")
_EITHER_BIAS = ("CONV_2D", "FULLY_CONNECTED")
"""The operators whose kernel in TensorFlow Lite Micro looks at the bias' type when activations are int16; the others,
and all of LiteRT's, take its bytes for 64-bit numbers."""


def window_padding(
    low: Lowering, op: Operator, size: tuple[int, int], kernel: tuple[int, int], dilation: tuple[int, int] = (1, 1)
) -> tuple[tuple[int, int], Padding2D]:
    """Strides and padding of a window operator: SAME puts the odd element after, VALID pads nothing."""
    strides = int(op.options["StrideH"]), int(op.options["StrideW"])
    padding = int(op.options["Padding"])
    if padding not in (0, 1) or min(*strides, *kernel, *dilation) < 1:
        raise ModelError(
            f"{low.where(op)} has padding type {padding}, strides {strides}, window {kernel}, dilation {dilation}."
        )
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(r > 2 * n + 16 for r, n in zip(reach, size, strict=True)):
        raise low.unsupported(op, f"has a window of {reach} elements on an input of {size}", "use a smaller window")
    pads = []
    for n, k, s, d in zip(size, kernel, strides, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) if padding == 0 else 0
        pads.append((total // 2, total - total // 2))
    return strides, (pads[0], pads[1])


def image(low: Lowering, op: Operator, tensor: TfliteTensor) -> tuple[int, int, int]:
    """Height, width and channels of one image."""
    if len(tensor.shape) != 4:
        raise ModelError(f"{low.where(op)}: {tensor.name!r} of shape {tensor.shape} is not (batch, H, W, C).")
    if tensor.shape[0] != 1:
        raise low.unsupported(op, f"works on a batch of {tensor.shape[0]}", "convert with batch size 1")
    return tensor.shape[1], tensor.shape[2], tensor.shape[3]


def _weights(low: Lowering, op: Operator, position: int, axis: int) -> tuple[Array, TfliteTensor]:
    """Constant int8 weights in TFLite's layout, symmetric, with output channels along ``axis``."""
    tensor = low.tensor(op, position)
    if tensor.type != "INT8":
        raise low.unsupported(op, f"has weights of type {tensor.type}", "quantize the weights to int8")
    values = low.constant(op, position, "weights")
    q = tensor.quantization
    if q is None:
        raise low.unsupported(op, "has weights without quantization", "quantize the weights to int8")
    if q.zero_points.any():
        raise low.unsupported(
            op,
            f"has weights with the zero point {int(q.zero_points[q.zero_points != 0][0])}, which the engines read "
            "differently",
            "quantize the weights symmetrically (zero point 0)",
        )
    if not q.per_tensor and (q.axis != axis or len(q.scales) != tensor.shape[axis]):
        raise ModelError(f"{low.where(op)}: {len(q.scales)} weight scales along dimension {q.axis}, not {axis}.")
    return values, tensor


def _bias(low: Lowering, op: Operator, position: int, channels: int, wide: bool) -> tuple[IntArray | None, bool]:
    """The bias and whether the accumulator has 64 bits: 16x8 operators have unless their bias is int32."""
    tensor = low.optional(op, position)
    if tensor is None:
        return None, wide
    if tensor.type != "INT32" and not (wide and tensor.type == "INT64"):
        raise low.unsupported(op, f"has a bias of type {tensor.type}", "use full integer quantization")
    if wide and tensor.type == "INT32" and not (low.profile.micro and op.name in _EITHER_BIAS):
        raise low.unsupported(
            op, "has 16-bit activations and a 32-bit bias, which this engine reads as 64 bits", "use a 64-bit bias"
        )
    stated = int(op.options.get("QuantizedBiasType", 0))
    if wide and stated:
        raise low.unsupported(
            op, f"states that its bias has type {stated}, by which LiteRT chooses its kernel", "convert it without"
        )
    values = low.constant(op, position, "bias")
    if values.size != channels:
        raise ModelError(f"{low.where(op)}: {values.size} biases for {channels} output channels.")
    return (IntArray(values.reshape(channels)) if values.any() else None), tensor.type == "INT64"


def _factors(low: Lowering, x: TfliteTensor, w: TfliteTensor, y: TfliteTensor, channels: int) -> list[float]:
    """input scale * weight scale / output scale per channel, in float64 on the stored float32 scales (XNNPACK: in
    float32)."""
    assert w.quantization is not None
    scales = np.broadcast_to(w.quantization.scales, (channels,))
    if low.profile.single_factors:
        return [float(np.float32(np.float32(x.scale * s) / y.scale)) for s in scales]
    return [float(x.scale) * float(s) / float(y.scale) for s in scales]


def _alive(
    weights: Array, bias: IntArray | None, factors: list[float], scheme: Scheme | None, wide: bool
) -> tuple[Array, IntArray | None]:
    """Weights (output channels last) and bias without the channels whose factor takes every 32-bit sum to 0: whatever
    the sum does there, the code is the zero point, so converters leave biases that overflow it."""
    ends = np.array([INT32.low, INT32.high], dtype=np.int64)

    def dead(factor: float) -> bool:
        if scheme is None:
            return abs(factor) * (1 << 31) < 0.5
        return factor == 0 or not rescale(ends, make_rescale(scheme, [factor])).any()

    channels = weights.shape[-1]
    gone = np.broadcast_to(np.array([not wide and dead(f) for f in factors]), (channels,))
    if not gone.any():
        return weights, bias
    kept = None if bias is None else IntArray(np.where(gone, 0, bias.values))
    return np.where(gone, 0, weights), kept


def _accumulated(x: TfliteTensor, w: TfliteTensor) -> Quantization:
    """What the accumulator's integers mean."""
    assert w.quantization is not None
    return Quantization(scale=tuple(f * s for f in w.quantization.fractions for s in x.quantization.fractions))  # type: ignore[union-attr]


def _finish(low: Lowering, op: Operator, acc: str, factors: list[float], scheme: Scheme | None, wide: bool) -> None:
    """Proof of the accumulator, rescale, zero point, fused activation. scheme None: in float64, half away."""
    y = low.output(op)
    low.accumulator(op, acc, INT64 if wide else INT32)
    bounds = low.activation_range(op, y)
    if scheme is None:
        lows, highs = low.builder.interval(acc).per_channel()
        ranges = [(int(a), int(b)) for a, b in zip(lows, highs, strict=True)]
        if len(factors) == 1:
            ranges = [(min(a for a, _ in ranges), max(b for _, b in ranges))]
        codes = bounds[0] - y.zero_point, bounds[1] - y.zero_point
        single = float64_rescale(factors, ranges, codes)
        if single is None:
            _finish_split(low, op, acc, float64_split(factors, ranges, codes, low.layer(op)), bounds)
            return
        rescale = single
    elif wide:
        rescale = wide_rescale(factors)
    else:
        low.requantize_lanes(op, acc, scheme, factors, bounds)
        return
    low.requantize(op, acc, rescale, bounds)


def _finish_split(
    low: Lowering, op: Operator, acc: str, split: tuple[IntArray, IntArray, IntArray], bounds: tuple[int, int]
) -> None:
    """The rescale of ``float64_split``: two products, their sum, one shift."""
    coarse, fine, shift = split
    reach = max(-low.builder.tensor(acc).range[0], low.builder.tensor(acc).range[1])
    names = []
    for name, multiplier, right in (("coarse", coarse, 0), ("fine", fine, FINE_BITS)):
        names.append(
            low.step(
                o.Requantize(
                    inputs=(acc,),
                    **low.at(op, name),
                    rescale=dataclasses.replace(shift_only(right, Rounding.TRN), multiplier=multiplier),
                    overflow=Overflow.SAT,
                    low=-(reach * multiplier.high >> right) - 1,
                    high=reach * multiplier.high >> right,
                )
            )
        )
    total = low.step(
        o.Add(inputs=tuple(names), **low.at(op, "scaled"), shifts=(0, 0), signs=(1, 1), zero_points=(0, 0))
    )
    low.requantize(op, total, dataclasses.replace(shift_only(0, Rounding.RND), shift=shift), bounds)


def conv_2d(low: Lowering, op: Operator) -> None:
    """acc[i,j,o] = sum w*(x - zx) + bias; y = clip(rescale(acc) + zy). Groups: input depth / weight depth."""
    x, y = low.tensor(op, 0), low.output(op)
    low.activations(op, [x, y], ACTIVATIONS)
    h, w_in, channels = image(low, op, x)
    values, w = _weights(low, op, 1, 0)
    if values.ndim != 4 or not values.shape[3] or channels % values.shape[3]:
        raise ModelError(f"{low.where(op)}: weights {values.shape} do not fit the input {x.shape}.")
    groups = channels // values.shape[3]
    if values.shape[0] % groups:
        raise ModelError(f"{low.where(op)}: {values.shape[0]} output channels in {groups} groups.")
    _convolution(low, op, x, w, np.transpose(values, (1, 2, 3, 0)), groups, (h, w_in), y)


def depthwise_conv_2d(low: Lowering, op: Operator) -> None:
    """As CONV_2D with one group per input channel; output channel c*multiplier + m reads channel c."""
    x, y = low.tensor(op, 0), low.output(op)
    low.activations(op, [x, y], ACTIVATIONS)
    h, w_in, channels = image(low, op, x)
    values, w = _weights(low, op, 1, 3)
    if values.ndim != 4 or values.shape[0] != 1 or values.shape[3] % channels:
        raise ModelError(f"{low.where(op)}: weights {values.shape} do not fit the input {x.shape}.")
    if int(op.options["DepthMultiplier"]) * channels != values.shape[3]:
        raise ModelError(
            f"{low.where(op)}: depth multiplier {op.options['DepthMultiplier']} of {channels} channels does not give "
            f"the {values.shape[3]} of the weights."
        )
    _convolution(low, op, x, w, np.transpose(values, (1, 2, 0, 3)), channels, (h, w_in), y)


def _convolution(
    low: Lowering,
    op: Operator,
    x: TfliteTensor,
    w: TfliteTensor,
    hwio: Array,
    groups: int,
    size: tuple[int, int],
    y: TfliteTensor,
) -> None:
    kernel = int(hwio.shape[0]), int(hwio.shape[1])
    dilation = int(op.options["DilationHFactor"]), int(op.options["DilationWFactor"])
    strides, padding = window_padding(low, op, size, kernel, dilation)
    channels = int(hwio.shape[3])
    bias, wide = _bias(low, op, 2, channels, x.type == "INT16")
    scheme = low.profile.conv
    if op.name == "CONV_2D" and groups > 1 and low.profile.grouped is not None:
        scheme = low.profile.grouped
    factors = _factors(low, x, w, y, channels)
    hwio, bias = _alive(hwio, bias, factors, scheme, wide)
    acc = low.step(
        o.Conv2D(
            inputs=(low.value(op, 0),),
            **low.at(op, "acc"),
            weights=IntArray(hwio),
            bias=bias,
            strides=strides,
            dilation=dilation,
            padding=padding,
            groups=groups,
            input_zero_point=x.zero_point,
        ),
        quantization=_accumulated(x, w),
    )
    _finish(low, op, acc, factors, scheme, wide)


def transpose_conv(low: Lowering, op: Operator) -> None:
    """Every input element adds its weighted kernel to the output, which SAME crops by its padding."""
    x, y = low.tensor(op, 2), low.output(op)
    low.activations(op, [x, y], ACTIVATIONS)
    h, w_in, channels = image(low, op, x)
    out_h, out_w, out_channels = image(low, op, y)
    if low.constant(op, 0, "output shape").tolist() != list(y.shape):
        raise low.wrong_shape(op, low.constant(op, 0, "output shape").tolist())
    values, w = _weights(low, op, 1, 0)
    if values.ndim != 4 or values.shape[3] != channels or values.shape[0] != out_channels:
        raise ModelError(f"{low.where(op)}: weights {values.shape} do not fit {x.shape} to {y.shape}.")
    kernel = int(values.shape[1]), int(values.shape[2])
    strides, crop = window_padding(low, op, (out_h, out_w), kernel)
    same = int(op.options["Padding"]) == 0
    for n, out, k, s in zip((h, w_in), (out_h, out_w), kernel, strides, strict=True):
        if n != (-(-out // s) if same else (out - k) // s + 1) or (not same and out < k):
            raise ModelError(f"{low.where(op)}: an input of {x.shape} cannot give the output {y.shape}.")
    bottom = [
        (n - 1) * s + k - out - before
        for n, out, k, s, (before, _) in zip((h, w_in), (out_h, out_w), kernel, strides, crop, strict=True)
    ]
    bias, wide = _bias(low, op, 3, out_channels, x.type == "INT16")
    factors = _factors(low, x, w, y, out_channels)
    hwio, bias = _alive(np.transpose(values, (1, 2, 3, 0)), bias, factors, low.profile.transpose_conv, wide)
    acc = low.step(
        o.ConvTranspose2D(
            inputs=(low.value(op, 2),),
            **low.at(op, "acc"),
            weights=IntArray(hwio),
            bias=bias,
            strides=strides,
            padding=((crop[0][0], bottom[0]), (crop[1][0], bottom[1])),
            output_size=(out_h, out_w),
            input_zero_point=x.zero_point,
        ),
        quantization=_accumulated(x, w),
    )
    _finish(low, op, acc, factors, low.profile.transpose_conv, wide)


def fully_connected(low: Lowering, op: Operator) -> None:
    """acc[..., o] = sum_c w[o,c]*(x[..., c] - zx) + bias[o]; the input is read as rows of the weights' length.

    The factor is input scale * weight scale / output scale in float64; with per-tensor weights LiteRT's optimised
    kernel takes the product in float32 first.
    """
    x, y = low.tensor(op, 0), low.output(op)
    low.activations(op, [x, y], ACTIVATIONS)
    values, w = _weights(low, op, 1, 0)
    if int(op.options["WeightsFormat"]):
        raise low.unsupported(op, "stores shuffled weights", "convert without the shuffled weights format")
    if values.ndim != 2 or not values.shape[1] or x.size % values.shape[1]:
        raise ModelError(f"{low.where(op)}: weights {values.shape} do not fit the input {x.shape}.")
    channels, depth = int(values.shape[0]), int(values.shape[1])
    if y.shape[-1:] != (channels,) or math.prod(y.shape[:-1]) != x.size // depth:
        raise low.wrong_shape(op, (x.size // depth, channels))
    bias, wide = _bias(low, op, 2, channels, x.type == "INT16")
    factors = _dense_factors(low, x, w, y, channels)
    columns, bias = _alive(values.T, bias, factors, low.profile.dense, wide)
    rows = low.reshaped(op, low.value(op, 0), (*graph_shape(y.shape)[:-1], depth), "rows")
    acc = low.step(
        o.Dense(
            inputs=(rows,), **low.at(op, "acc"), weights=IntArray(columns), bias=bias, input_zero_point=x.zero_point
        ),
        quantization=_accumulated(x, w),
    )
    _finish(low, op, acc, factors, low.profile.dense, wide)


def _dense_factors(low: Lowering, x: TfliteTensor, w: TfliteTensor, y: TfliteTensor, channels: int) -> list[float]:
    """The factor per channel, or, with per-tensor weights, one."""
    assert w.quantization is not None
    if not w.quantization.per_tensor or low.profile.single_factors:
        return _factors(low, x, w, y, channels)
    if low.profile.double_dense:
        return [float(x.scale) * float(w.scale) / float(y.scale)]
    return [float(np.float32(x.scale * w.scale)) / float(y.scale)]


FLOAT_INPUTS = {"AsymmetricQuantizeInputs": "of float inputs with quantized weights, which are refused"}

RECORDS: dict[str, Record] = {
    "CONV_2D": Record(
        lower=conv_2d,
        options="Conv2DOptions",
        reads=(
            "Padding",
            "StrideW",
            "StrideH",
            "FusedActivationFunction",
            "DilationWFactor",
            "DilationHFactor",
            "QuantizedBiasType",
        ),
        xnnpack=xnnpack.with_bias,
    ),
    "DEPTHWISE_CONV_2D": Record(
        lower=depthwise_conv_2d,
        options="DepthwiseConv2DOptions",
        reads=(
            "Padding",
            "StrideW",
            "StrideH",
            "FusedActivationFunction",
            "DilationWFactor",
            "DilationHFactor",
            "DepthMultiplier",
        ),
        xnnpack=xnnpack.with_bias,
    ),
    "TRANSPOSE_CONV": Record(
        lower=transpose_conv,
        options="TransposeConvOptions",
        reads=("Padding", "StrideW", "StrideH", "FusedActivationFunction", "QuantizedBiasType"),
        xnnpack=xnnpack.transpose_conv,
    ),
    "FULLY_CONNECTED": Record(
        lower=fully_connected,
        options="FullyConnectedOptions",
        reads=("FusedActivationFunction", "WeightsFormat", "KeepNumDims", "QuantizedBiasType"),
        idle=FLOAT_INPUTS,
        xnnpack=xnnpack.with_bias,
    ),
}
