"""ADD, SUB, MUL, MAXIMUM, MINIMUM, QUANTIZE, DEQUANTIZE: elementwise arithmetic between scales."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np

from qsim.importers.tflite import xnnpack
from qsim.importers.tflite.lower.context import Lower, Lowering, graph_shape
from qsim.importers.tflite.lower.record import Record
from qsim.importers.tflite.lower.rescales import byte_rescale, identity_rescale, make_rescale
from qsim.importers.tflite.lower.vector import Chain, Kernel, lower_pair
from qsim.importers.tflite.model import INTEGER_FORMATS, Operator
from qsim.ir import ops as o
from qsim.numerics import (
    Array,
    Overflow,
    Rounding,
    Scheme,
    quantize_multiplier,
    scalar,
    shift_only,
)

BOTH = ("INT8", "INT16")


def _sum(sign: int) -> Lower:
    def lower(low: Lowering, op: Operator) -> None:
        """y = clip(r(r1(x1 - z1) +- r2(x2 - z2)) + zy).

        Each input is shifted left by 20 (15 for int16) and multiplied by its scale / (2 * larger scale); the larger
        scale's factor is exactly one half, which is a left shift by one bit less. All ratios in float64.

        Vector code of LiteRT's optimised ADD: multiplier and shift of an input are one product, rounded half up once;
        of an input that stays over the run the product is rounded half up and then shifted right without rounding.
        The result keeps its low 16 bits before the clip.
        """
        a, b, y = low.tensor(op, 0), low.tensor(op, 1), low.output(op)
        low.activations(op, [a, b, y], BOTH)
        if low.profile.xnnpack:
            _fixed_sum(low, op, sign)
            return
        if y.type == "INT16" and not low.profile.micro:
            _check_power_of_two(low, op)
        left = 20 if y.type == "INT8" else 15
        twice = 2 * float(max(a.scale, b.scale))
        factors = [float(a.scale) / twice, float(b.scale) / twice]
        out_factor = twice / ((1 << left) * float(y.scale))
        if not 0 < out_factor < 1:
            raise low.unsupported(op, "has an output scale far below its input scales, which its kernel refuses")
        scheme = low.profile.elementwise
        half = shift_only(1 - left, Rounding.TRN)

        def scalar_chain(factor: float) -> Chain:
            return (half,) if factor == 0.5 else (shift_only(-left, Rounding.TRN), make_rescale(scheme, [factor]))

        def vector_chain(factor: float, repeated: bool) -> Chain:
            if factor == 0.5:
                return (half,)
            multiplier, right = quantize_multiplier(factor)
            if right > left:
                raise low.unsupported(op, "has input scales more than 2**20 apart", "choose profile='litert-ref'")
            shift = scalar(31 - left + right)
            once = dataclasses.replace(identity_rescale(), multiplier=scalar(multiplier), shift=shift)
            if repeated:
                return (dataclasses.replace(once, addend=scalar(1 << (30 - left))),)
            return (dataclasses.replace(once, rounding=Rounding.RND),)

        scalar_code = Kernel(
            zeros=(a.zero_point, b.zero_point),
            chains=(scalar_chain(factors[0]), scalar_chain(factors[1])),
            sign=sign,
            out=make_rescale(scheme, [out_factor]),
            narrow="no",
            zero_point=y.zero_point,
            bounds=low.activation_range(op, y),
        )

        def vector_code(repeated: bool) -> Kernel:
            chains = vector_chain(factors[0], repeated), vector_chain(factors[1], repeated)
            return dataclasses.replace(scalar_code, chains=chains, narrow="wrap")

        lower_pair(low, op, scalar_code, vector_code)

    return lower


def _check_power_of_two(low: Lowering, op: Operator) -> None:
    """Refuse what LiteRT computes by shifts of its own: int16 scales that are powers of two (to a thousandth of an
    octave), where the file allows it, as it does unless it says otherwise."""
    octaves = [math.log2(t.scale) for t in (low.tensor(op, 0), low.tensor(op, 1), low.output(op))]
    if op.options["PotScaleInt16"] and all(abs(v - round(v)) < 1e-3 for v in octaves):
        raise low.unsupported(
            op,
            "has 16-bit tensors whose scales are all powers of two, and PotScaleInt16 set, for which LiteRT has an "
            "arithmetic of its own",
            "convert with PotScaleInt16 unset, as the TensorFlow Lite converter does, or choose profile='tflm'",
        )


def _fixed_sum(low: Lowering, op: Operator, sign: int) -> None:
    """y = clip((m1*(x1 - z1) +- m2*(x2 - z2)) * 2**-s, half up, + zy): XNNPACK's ADD and SUB.

    r: ratios of input to output scale (float32), each in [2**-10, 2**8); s = 20 - floor(log2(max r));
    m = round_half_even(r * 2**s).
    """
    a, b, y = low.tensor(op, 0), low.tensor(op, 1), low.output(op)
    ratios = [np.float32(t.scale / y.scale) for t in (a, b)]
    shift = 20 - (int(np.frexp(max(ratios))[1]) - 1)
    names = []
    for position, (t, ratio) in enumerate(zip((a, b), ratios, strict=True)):
        multiplier, fmt = round(float(ratio) * (1 << shift)), INTEGER_FORMATS[t.type]
        names.append(
            low.step(
                o.Requantize(
                    inputs=(low.value(op, position),),
                    **low.at(op, f"scaled{position + 1}"),
                    rescale=dataclasses.replace(identity_rescale(), multiplier=scalar(multiplier)),
                    input_zero_point=t.zero_point,
                    overflow=Overflow.SAT,
                    low=(fmt.low - t.zero_point) * multiplier,
                    high=(fmt.high - t.zero_point) * multiplier,
                )
            )
        )
    total = low.step(
        o.Add(inputs=tuple(names), **low.at(op, "acc"), shifts=(0, 0), signs=(1, sign), zero_points=(0, 0))
    )
    low.requantize(op, total, shift_only(shift, Rounding.RND), low.activation_range(op, y))


def mul(low: Lowering, op: Operator) -> None:
    """y = clip(r((a - za) * (b - zb)) + zy), r with scale a * scale b / scale y.

    Vector code of LiteRT's optimised kernel: the result is clipped to 16 bits, and the zero point added in 16 bits.
    """
    a, b, y = low.tensor(op, 0), low.tensor(op, 1), low.output(op)
    low.activations(op, [a, b, y], BOTH)
    scalar_code = Kernel(
        zeros=(a.zero_point, b.zero_point),
        chains=((), ()),
        sign=0,
        out=make_rescale(low.profile.elementwise, [low.ratio(a, y, b.scale)]),
        narrow="no",
        zero_point=y.zero_point,
        bounds=low.activation_range(op, y),
    )
    lower_pair(low, op, scalar_code, lambda _: dataclasses.replace(scalar_code, narrow="saturate"))


def _extremum(kind: Literal["max", "min"]) -> Lower:
    def lower(low: Lowering, op: Operator) -> None:
        """y = max or min of the bare codes: all three tensors have one quantization."""
        a, b, y = low.tensor(op, 0), low.tensor(op, 1), low.output(op)
        low.activations(op, [a, b, y], BOTH)
        low.same_quantization(op, [a, b, y])
        low.result(op, o.Extremum(inputs=(low.value(op, 0), low.value(op, 1)), **low.end(op), kind=kind, shifts=(0, 0)))

    return lower


def quantize(low: Lowering, op: Operator) -> None:
    """Between integer scales: y = clip(r(x - zx) + zy). From float it is the graph input's quantizer (see __init__).

    XNNPACK: ((x - zx) * round_half_even(256 * scale / scale) + 128) >> 8: a table.
    """
    x, y = low.tensor(op, 0), low.output(op)
    for t in (x, y):
        if t.type not in ("INT8", "UINT8", "INT16", "INT32") or t.quantization is None or not t.quantization.per_tensor:
            raise low.unsupported(
                op,
                f"converts {x.type} to {y.type} with {t.name!r} inside the network",
                "keep floats at the model's ends; quantize everything between them",
            )
    if not low.profile.int16 and "INT16" in (x.type, y.type):
        raise low.unsupported(op, f"converts {x.type} to {y.type}", "choose profile='tflm'")
    if graph_shape(x.shape) != graph_shape(y.shape):
        raise low.wrong_shape(op, x.shape)
    if low.profile.xnnpack:
        ratio = np.float32(x.scale / y.scale)
        low.table(op, byte_rescale(x, y, ratio, ratio))
        return
    factor, fmt = float(x.scale) / float(y.scale), INTEGER_FORMATS[y.type]
    bounds, source = (fmt.low, fmt.high), low.value(op, 0)
    lanes = low.profile.lanes.get(op.name, 1)
    if factor == 1 and x.type != "INT32":  # of 32 bits the engines lose the topmost in their own multiplication by one
        low.requantize(op, source, identity_rescale(), bounds, input_zero_point=x.zero_point)
    elif x.size % lanes == 0 or x.size < lanes:
        scheme = low.profile.quantize if x.size >= lanes else Scheme.TFLITE_DOUBLE
        low.requantize(op, source, make_rescale(scheme, [factor]), bounds, input_zero_point=x.zero_point)
    else:
        # The vector kernel runs over the flat elements.
        flat = low.reshaped(op, source, (x.size,), "flat")
        low.requantize_lanes(op, flat, low.profile.quantize, [factor], bounds, input_zero_point=x.zero_point)


def _int32(x: Array) -> Array:
    if np.abs(x).max(initial=0) > (1 << 31) - 1:
        raise ValueError("a result beyond 32 bits")
    return x


RECORDS: dict[str, Record] = {
    "ADD": Record(
        lower=_sum(1),
        options="AddOptions",
        reads=("FusedActivationFunction", "PotScaleInt16"),
        xnnpack=xnnpack.sums,
        fold=lambda op, x: _int32(x[0] + x[1]),
    ),
    "SUB": Record(
        lower=_sum(-1),
        options="SubOptions",
        reads=("FusedActivationFunction", "PotScaleInt16"),
        xnnpack=xnnpack.sums,
        fold=lambda op, x: _int32(x[0] - x[1]),
    ),
    "MUL": Record(
        lower=mul,
        options="MulOptions",
        reads=("FusedActivationFunction",),
        xnnpack=xnnpack.mul,
        fold=lambda op, x: _int32(x[0] * x[1]),
    ),
    "MAXIMUM": Record(lower=_extremum("max"), options="MaximumMinimumOptions"),
    "MINIMUM": Record(lower=_extremum("min"), options="MaximumMinimumOptions"),
    "QUANTIZE": Record(lower=quantize, options="QuantizeOptions", xnnpack=xnnpack.convert),
}
