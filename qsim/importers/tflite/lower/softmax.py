"""SOFTMAX: int8 by the op of that name; int16 by the reference kernel's interpolated tables, from elementary ops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from qsim.errors import ModelError
from qsim.importers.tflite.lower.context import Lowering
from qsim.importers.tflite.lower.record import Record
from qsim.importers.tflite.lower.rescales import identity_rescale, make_rescale
from qsim.importers.tflite.model import INTEGER_FORMATS, Operator, TfliteTensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, Overflow, Rescale, Rounding, quantize_multiplier, shift_only

_STEPS = 512
_LEAST_BIT = 14
"""The top bit of the least sum: the largest element's exponential alone is just below 2**15."""


def softmax(low: Lowering, op: Operator) -> None:
    """int8 to int8 or int16: the integer kernel; multiplier and shift bring beta * scale * difference to Q5.26."""
    x, y = low.same_shape(op)
    low.activations(op, [x], ("INT8", "INT16"))
    if x.type == "INT16":
        low.activations(op, [y], ("INT16",))
        _softmax16(low, op, x, y)
        return
    if y.type != "INT16" or not low.profile.int16 or y.quantization is None:
        low.activations(op, [y], ("INT8",))
    bits = INTEGER_FORMATS[y.type].width
    low.fixed_output(op, y, 2.0**-bits, -(1 << (bits - 1)), within=0.001 if bits == 16 else 0.0)
    beta = float(np.float32(op.options["Beta"]))
    if beta <= 0:
        raise ModelError(f"{low.where(op)} has beta {beta}.")
    factor = min(beta * float(x.scale) * (1 << 26), (1 << 31) - 1.0)
    if factor <= 1:
        raise low.unsupported(op, f"has beta * input scale {beta * float(x.scale)}, too small for its kernel")
    multiplier, right = quantize_multiplier(factor)
    diff_min = -math.floor(31 * (1 << 26) / (1 << -right))
    _note_long_rows(low, op, x.shape[-1] if x.shape else 1, bits)
    low.result(
        op,
        o.Softmax(
            inputs=(low.value(op, 0),),
            **low.end(op),
            input_multiplier=multiplier,
            input_left_shift=-right,
            diff_min=diff_min,
        ),
    )


def _note_long_rows(low: Lowering, op: Operator, logits: int, bits: int) -> None:
    """Say where the engine leaves its own formula: a sum of exponentials of 512 and more makes the last shift of an
    8-bit result one by 32 bits and more, one of 4096 overflows the sum itself."""
    limit = 512 if bits == 8 else 4096
    if logits >= limit:
        there = "gives other codes (one more)" if low.profile.vectors else "aborts"
        low.builder.note(
            f"Layer {low.layer(op)!r}: where the exponentials of its {logits} logits add up to {limit} or more, which "
            f"only near-equal logits do, the engine of profile {low.chosen.name} {there}; this graph follows the "
            "formula there."
        )


def interpolation_table(function: Callable[[Array], Array], span: int, offset: int, real: type[Any]) -> list[int]:
    """513 int16 codes for ``function`` of (code + offset) * span / 65535 in steps of 128 codes, 32767.5 codes per unit,
    each moved by half the interpolation's error in the middle of its stretch (LUTPopulate's rule).

    real: np.float32 or np.float64, in which the engine takes every step. function: float64 -> float64.
    """
    scale, unit = real(span) / real(65535), real(2) / real(65535)
    low, high = scale * real(offset - 32768), scale * real(offset + 32767)
    per_unit = real(65536) / (unit * real(32767) - unit * real(-32768))
    step = (high - low) / real(_STEPS)
    places = low + np.arange(_STEPS + 1, dtype=real) * step

    def codes(x: Array) -> Array:
        return np.asarray(function(x.astype(np.float64)).astype(real) * per_unit)

    here, after = _away(codes(places[:-1])), codes(places[1:])
    middle = _away(codes(places[:-1] + step / real(2)))
    error = _away((after + here) / real(2)) - middle
    table = np.append(here - _away(error / real(2)), _away(codes(np.array([high], dtype=real))))
    return [int(c) for c in np.clip(table, -32768, 32767)]


def _away(x: Array) -> Array:
    """Rounded half away from zero."""
    return np.asarray(np.sign(x) * np.floor(np.abs(x.astype(np.float64)) + 0.5)).astype(x.dtype)


def _softmax16(low: Lowering, op: Operator, x: TfliteTensor, y: TfliteTensor) -> None:
    """int16 to int16, d = x - max(x) over the last axis:

    e = T1(clip(r(d) + 32767)), r by beta * scale / (10/65535) and T1 = exp over [-10, 0]; s = sum e with the top bit p;
    i = T2(clip(round_half_up(s * 2**(30-p) / 2**14) - 98304)), T2 = 1/(1 + v) over [0, 1];
    y = clip(round_half_up(e * i / 2**p), 0, 32767).

    T1 and T2 interpolate between 513 codes, worked out in float32 by TensorFlow Lite Micro and in float64 by LiteRT.
    The shift by p, which depends on the data, is a product with a power of two out of a table of p; the last shift
    then is by the largest p that the proven sum can have.
    """
    low.fixed_output(op, y, 2.0**-15, 0, within=0.001)
    factor = float(x.scale) * float(np.float32(op.options["Beta"])) / (10.0 / 65535.0)
    if factor <= 0:
        raise ModelError(f"{low.where(op)} has beta {op.options['Beta']}.")
    source = low.value(op, 0)
    last = (len(low.builder.tensor(source).shape) - 1,)
    real = np.float32 if low.profile.micro else np.float64

    greatest = low.step(o.Reduce(inputs=(source,), **low.at(op, "max"), kind="max", axes=last, keepdims=True))
    difference = low.step(
        o.Add(inputs=(source, greatest), **low.at(op, "difference"), shifts=(0, 0), signs=(1, -1), zero_points=(0, 0))
    )
    scaled = _clipped(
        low, op, difference, "scaled", make_rescale(low.profile.elementwise, [factor]), (-32768, 32767), 32767
    )
    exps = _interpolated(low, op, scaled, "exp", interpolation_table(np.exp, 10, -32767, real))
    total = low.step(o.Reduce(inputs=(exps,), **low.at(op, "sum"), kind="sum", axes=last, keepdims=True))
    low.accumulator(op, total)

    most = max(low.builder.tensor(total).range[1].bit_length() - 1, _LEAST_BIT + 1)
    bits = range(_LEAST_BIT, most + 1)
    top = low.step(
        o.Threshold(
            inputs=(total,),
            **low.at(op, "bit"),
            thresholds=IntArray([[1 << b for b in bits[1:]]]),
            base=IntArray([_LEAST_BIT]),
            step=IntArray([1]),
        )
    )
    left, right = (
        low.step(o.Lookup(inputs=(top,), **low.at(op, name), table=IntArray([powers]), table_low=_LEAST_BIT))
        for name, powers in (("left", [1 << (30 - b) for b in bits]), ("right", [1 << (most - b) for b in bits]))
    )
    normal = low.step(o.Mul(inputs=(total, left), **low.at(op, "normal")))
    place = _clipped(low, op, normal, "place", shift_only(14, Rounding.RND), (-32768, 32767), -98304)
    reciprocals = interpolation_table(lambda v: 1.0 / (1.0 + v), 1, 32768, real)
    inverse = _interpolated(low, op, place, "inverse", reciprocals)
    weight = low.step(o.Mul(inputs=(inverse, right), **low.at(op, "weight")))
    product = low.step(o.Mul(inputs=(exps, weight), **low.at(op, "product")))
    low.requantize(op, product, shift_only(most, Rounding.RND), (0, 32767))


def _clipped(
    low: Lowering,
    op: Operator,
    source: str,
    suffix: str,
    rescale: Rescale,
    bounds: tuple[int, int],
    zero_point: int = 0,
) -> str:
    return low.step(
        o.Requantize(
            inputs=(source,),
            **low.at(op, suffix),
            rescale=rescale,
            zero_point=zero_point,
            overflow=Overflow.SAT,
            low=bounds[0],
            high=bounds[1],
        )
    )


def _interpolated(low: Lowering, op: Operator, source: str, name: str, table: list[int]) -> str:
    """t[i] + ((t[i+1] - t[i]) * (x mod 128) + 64 >> 7), i = (x >> 7) + 256, for x in int16."""
    index = _clipped(low, op, source, f"{name}_index", shift_only(7, Rounding.TRN), (0, _STEPS - 1), _STEPS // 2)
    rest = low.step(
        o.Add(
            inputs=(source, index),
            **low.at(op, f"{name}_rest"),
            shifts=(0, 7),
            signs=(1, -1),
            zero_points=(0, _STEPS // 2),
        )
    )
    part = _clipped(low, op, rest, f"{name}_part", identity_rescale(), (0, 127))
    slopes = [b - a for a, b in itertools.pairwise(table)]
    base, slope = (
        low.step(o.Lookup(inputs=(index,), **low.at(op, f"{name}_{what}"), table=IntArray([values]), table_low=0))
        for what, values in (("base", table[:-1]), ("slope", slopes))
    )
    product = low.step(o.Mul(inputs=(slope, part), **low.at(op, f"{name}_product")))
    rise = _clipped(low, op, product, f"{name}_rise", shift_only(7, Rounding.RND), (-65536, 65535))
    return low.step(o.Add(inputs=(base, rise), **low.at(op, name), shifts=(0, 0), signs=(1, 1), zero_points=(0, 0)))


RECORDS: dict[str, Record] = {
    "SOFTMAX": Record(lower=softmax, options="SoftmaxOptions", reads=("Beta",)),
}
