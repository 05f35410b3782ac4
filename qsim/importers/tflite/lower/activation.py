"""RELU and its kin, LEAKY_RELU, PRELU, LOGISTIC, TANH, HARD_SWISH."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from qsim.importers.tflite import fixedpoint as fx
from qsim.importers.tflite import xnnpack
from qsim.importers.tflite.lower.context import Lower, Lowering, graph_shape
from qsim.importers.tflite.lower.record import Record
from qsim.importers.tflite.lower.rescales import byte_rescale, identity_rescale, make_rescale
from qsim.importers.tflite.model import INTEGER_FORMATS, Operator
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, Overflow, quantize_multiplier, scalar

BOTH = ("INT8", "INT16")


def _clip(activation: str) -> Lower:
    def lower(low: Lowering, op: Operator) -> None:
        """y = clip(rescale(x - zx) + zy) to the activation's codes; TFLM's RELU6 never rescales."""
        x, y = low.same_shape(op)
        low.activations(op, [x, y], BOTH)
        same = x.scale == y.scale and x.zero_point == y.zero_point
        if low.profile.micro and activation == "RELU6" and not same:
            low.builder.note(
                f"Layer {y.name!r}: TensorFlow Lite Micro's RELU6 clips its input's codes and ignores that the output "
                "has another scale or zero point, so the real values change there; so does this graph."
            )
            low.clipped(op, low.value(op, 0), low.clip_range(op, x, activation))
            return
        bounds = low.clip_range(op, y, activation)
        if same:
            low.clipped(op, low.value(op, 0), bounds)
            return
        rescale = make_rescale(low.profile.elementwise, [low.ratio(x, y)])
        low.requantize(op, low.value(op, 0), rescale, bounds, input_zero_point=x.zero_point)

    return lower


def leaky_relu(low: Lowering, op: Operator) -> None:
    """y = clip(r(x - zx) + zy), r with input/output scale for x >= zx, with alpha times it below.

    XNNPACK: ((x - zx) * round_half_even(256 * factor) + 128) >> 8, the factors in float32: a table.
    """
    x, y = low.same_shape(op)
    low.activations(op, [x, y], BOTH)
    alpha = np.float32(op.options["Alpha"])
    if low.profile.xnnpack:
        up = np.float32(x.scale / y.scale)
        low.table(op, byte_rescale(x, y, up, np.float32(up * alpha)))
        return
    if alpha < 0:
        raise low.unsupported(op, f"has the negative slope {float(alpha)}", "use a slope of 0 or more")
    fmt = INTEGER_FORMATS[y.type]
    scheme = low.profile.elementwise
    low.requantize(
        op,
        low.value(op, 0),
        make_rescale(scheme, [low.ratio(x, y)]),
        (fmt.low, fmt.high),
        input_zero_point=x.zero_point,
        negative=make_rescale(scheme, [low.ratio(x, y, alpha)]),
    )


def prelu(low: Lowering, op: Operator) -> None:
    """y = clip(r(x - zx) + zy) for x >= zx, else clip(r'((x - zx) * (alpha - za)) + zy).

    The two halves are taken apart (each is 0 where the other is not), rescaled and added.
    """
    x, y = low.same_shape(op)
    alpha = low.tensor(op, 1)
    low.activations(op, [x, y], BOTH)
    low.activations(op, [alpha], ("INT8",))  # the kernels read the slopes of int16 activations as int8 too
    values = low.constant(op, 1, "slopes").reshape(graph_shape(alpha.shape)) - alpha.zero_point
    source = low.value(op, 0)
    fmt, z = INTEGER_FORMATS[x.type], x.zero_point
    scheme = low.profile.elementwise
    up = make_rescale(scheme, [low.ratio(x, y)])
    down = make_rescale(scheme, [low.ratio(x, y, alpha.scale)])
    none = dataclasses.replace(identity_rescale(), multiplier=scalar(0))
    bound = 1 << 31
    positive = low.step(
        o.Requantize(
            inputs=(source,),
            **low.at(op, "positive"),
            rescale=up,
            negative=none,
            input_zero_point=z,
            overflow=Overflow.SAT,
            low=0,
            high=bound - 1,
        )
    )
    below = low.step(
        o.Requantize(
            inputs=(source,),
            **low.at(op, "below"),
            rescale=identity_rescale(),
            input_zero_point=z,
            overflow=Overflow.SAT,
            low=min(fmt.low - z, 0),
            high=0,
        )
    )
    slopes = low.step(o.Constant(inputs=(), **low.at(op, "slopes"), values=IntArray(values)))
    product = low.step(o.Mul(inputs=(below, slopes), **low.at(op, "product")))
    negative = low.step(
        o.Requantize(
            inputs=(product,), **low.at(op, "negative"), rescale=down, overflow=Overflow.SAT, low=-bound, high=bound - 1
        )
    )
    total = low.step(
        o.Add(inputs=(positive, negative), **low.at(op, "sum"), shifts=(0, 0), signs=(1, 1), zero_points=(0, 0))
    )
    out = INTEGER_FORMATS[y.type]
    low.requantize(op, total, identity_rescale(), (out.low, out.high))


def _q4(low: Lowering, op: Operator, scale: np.float32) -> tuple[int, int, int]:
    """Multiplier, left shift and radius that bring x - zx to Q4.27, as LOGISTIC's and TANH's Prepare compute them."""
    fraction, left = math.frexp(float(scale) * (1 << 27))
    multiplier = math.floor(fraction * (1 << 31) + 0.5)
    if left < 0:
        raise low.unsupported(op, f"has the input scale {float(scale)}, far too small for its kernel")
    return multiplier, left, math.floor(15 * (1 << 27) / (1 << left))


def _table16(
    low: Lowering, op: Operator, function: Callable[[int, int, int, tuple[int, ...]], int], most_left: int
) -> None:
    """int16: the reference kernel's interpolated table, as a table over all 65,536 codes."""
    low.fixed_output(op, low.output(op), 2.0**-15, 0)
    multiplier, shift = fx.int16_multiplier(float(low.tensor(op, 0).scale), most_left)
    if multiplier > 32767 or multiplier < 1:
        raise low.unsupported(op, f"has the input scale {float(low.tensor(op, 0).scale)}, which its kernel cannot take")
    sigmoid = fx.sigmoid_table()
    low.table(op, lambda code: function(code, multiplier, shift, sigmoid))


def _real_table(low: Lowering, op: Operator, function: Callable[[Array], Array]) -> None:
    """LiteRT: y = round(function(scale * (x - zx)) / output scale) + zy, half away, each step in float32."""
    x, y = low.tensor(op, 0), low.output(op)
    values = x.scale * (np.arange(-128, 128) - x.zero_point).astype(np.float32)
    scaled = (function(values) * (np.float32(1) / y.scale)).astype(np.float64)
    codes = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5) + y.zero_point
    low.table(op, lambda c: int(np.clip(codes[c + 128], -128, 127)))


def _float32_logistic(x: Array) -> Array:
    with np.errstate(over="ignore"):  # exp beyond float32 is infinity, and the result 0
        return np.asarray(np.float32(1) / (np.float32(1) + np.exp(-x.astype(np.float64)).astype(np.float32)))


def _float32_tanh(x: Array) -> Array:
    return np.asarray(np.tanh(x.astype(np.float64)).astype(np.float32))


def logistic(low: Lowering, op: Operator) -> None:
    """int8, TFLM: y = RDBPOT(logistic(Q4 of x - zx), 23) - 128, saturated outside the radius: a table."""
    x, y = low.same_shape(op)
    low.activations(op, [x, y], BOTH)
    if x.type == "INT16":
        _table16(low, op, fx.logistic16, 0)
        return
    low.fixed_output(op, y, 1 / 256, -128)
    if not low.profile.micro:
        _real_table(low, op, _float32_logistic)
        return
    multiplier, left, radius = _q4(low, op, x.scale)

    def code(c: int) -> int:
        value = c - x.zero_point
        if abs(value) >= radius:
            return 127 if value > 0 else -128
        raw = fx.logistic(fx.multiply(value, multiplier, left), 4)
        return max(-128, min(127, fx.divide_pot(raw, 23) - 128))

    low.table(op, code)


def tanh(low: Lowering, op: Operator) -> None:
    """int8, TFLM: y = RDBPOT(tanh(Q4 of x - zx), 24), saturated outside the radius: a table over all 256 codes."""
    x, y = low.same_shape(op)
    low.activations(op, [x, y], BOTH)
    if x.type == "INT16":
        _table16(low, op, fx.tanh16, 1)
        return
    low.fixed_output(op, y, 1 / 128, 0)
    if not low.profile.micro:
        _real_table(low, op, _float32_tanh)
        return
    multiplier, left, radius = _q4(low, op, x.scale)

    def code(c: int) -> int:
        value = c - x.zero_point
        if abs(value) >= radius:
            return 127 if value > 0 else -128
        raw = fx.tanh(fx.multiply(value, multiplier, left), 4)
        return max(-128, min(127, fx.divide_pot(raw, 24)))

    low.table(op, code)


def _int16_multiplier(factor: float) -> tuple[int, int]:
    """QuantizeMultiplier's result in 16 bits (DownScaleInt32ToInt16Multiplier), with TFLite's shift."""
    multiplier, right = quantize_multiplier(factor)
    reduced = 32767 if multiplier >= fx.INT32_MAX - (1 << 15) else (multiplier + (1 << 15)) >> 16
    return reduced, -right


def hard_swish(low: Lowering, op: Operator) -> None:
    """int8: x * relu6(x + 3) / 6 in the reference kernel's 16-bit fixed point, as a table over all 256 codes."""
    x, y = low.same_shape(op)
    low.activations(op, [x, y], ("INT8",))
    # Dividing by 128 is exact; 3 / 32768 is the scale on which the gate's 3.0 is 32768.
    out_multiplier, out_shift = _int16_multiplier(low.ratio(x, y) / 128)
    gate_scale = np.float32(3 / 32768)
    fine = float(x.scale) / 128
    exact = low.profile.double_factors
    relu_factor = fine / float(gate_scale) if exact else float(np.float32(np.float32(fine) / gate_scale))
    relu_multiplier, relu_shift = _int16_multiplier(relu_factor)
    if out_shift > 0:
        raise low.unsupported(op, "has an output scale below 1/128 of its input scale, which its kernel refuses")

    def saturate(v: int) -> int:
        return max(-32768, min(32767, v))

    def code(c: int) -> int:
        wide = (c - x.zero_point) << 7
        wide = ((wide + 32768) & 0xFFFF) - 32768
        on_output = fx.high_mul(wide, out_multiplier, 16)
        gate = saturate(wide << (relu_shift - 1)) if relu_shift > 0 else wide
        gate = fx.high_mul(gate, relu_multiplier, 16)
        if relu_shift > 0:
            gate = saturate(gate << 1)
        elif relu_shift < 0:
            gate = fx.divide_pot(gate, -relu_shift)
        gate = (gate + (1 << 15)) >> 1
        product = gate * on_output
        before_shift = product >> 15 if product >= 0 else -(-product >> 15)
        return max(-128, min(127, fx.divide_pot(before_shift, -out_shift) + y.zero_point))

    low.table(op, code)


RECORDS: dict[str, Record] = {
    "RELU": Record(lower=_clip("RELU")),
    "RELU6": Record(lower=_clip("RELU6")),
    "RELU_N1_TO_1": Record(lower=_clip("RELU_N1_TO_1"), micro_lacks=("INT8", "INT16")),
    "LEAKY_RELU": Record(lower=leaky_relu, options="LeakyReluOptions", reads=("Alpha",), xnnpack=xnnpack.leaky_relu),
    "PRELU": Record(lower=prelu),
    "LOGISTIC": Record(lower=logistic, xnnpack=xnnpack.always),
    "TANH": Record(lower=tanh, xnnpack=xnnpack.always),
    "HARD_SWISH": Record(lower=hard_swish, options="HardSwishOptions"),
}
