"""Alternatives of the rescaling ops: rounding, scheme, shift, clip, zero point, accumulator width, multiplier width."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from qsim.debug.causes.alternative import Alternative, Compute, replaced, run
from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import (
    Array,
    IntArray,
    IntFormat,
    Overflow,
    Rescale,
    Rounding,
    Scheme,
    exhaustive,
    overflow,
    scalar,
)
from qsim.reference.rescale import saturate

Rescaling = o.Requantize | o.Divide

ROUNDING_TEXT = exhaustive(
    {
        Rounding.TRN: "AP_TRN (truncation toward minus infinity)",
        Rounding.TRN_ZERO: "AP_TRN_ZERO (truncation toward zero)",
        Rounding.RND: "AP_RND (half up)",
        Rounding.RND_ZERO: "AP_RND_ZERO (half toward zero)",
        Rounding.RND_MIN_INF: "AP_RND_MIN_INF (half down)",
        Rounding.RND_INF: "AP_RND_INF (half away from zero)",
        Rounding.RND_CONV: "AP_RND_CONV (half to even)",
    },
    Rounding,
    "debug.causes.rescale",
)
_SCHEME_ROUNDING = {
    Scheme.TFLITE_DOUBLE: Rounding.RND_INF,
    Scheme.TFLITE_UPWARD: Rounding.RND,
    Scheme.TFLITE_SINGLE: Rounding.RND,
}
_SCHEME_TEXT = {
    Scheme.TFLITE_DOUBLE: "double rounding (TFLM, LiteRT's reference convolutions)",
    Scheme.TFLITE_UPWARD: "double rounding with half up last (LiteRT's optimised kernels)",
    Scheme.TFLITE_SINGLE: "single rounding (LiteRT's reference fully connected)",
}
_FAR = 1 << 61


def _roundings(op: Rescaling) -> Iterator[Alternative]:
    own = op.rescale.rounding if isinstance(op, o.Requantize) else op.rounding
    for mode in Rounding:
        if mode is own:
            continue
        text = f"{ROUNDING_TEXT[mode]} in place of {ROUNDING_TEXT[own]}"
        if isinstance(op, o.Divide):
            yield replaced(op, f"rounding {mode.value}", text, 10, rounding=mode)
        elif op.rescale.scheme is Scheme.PLAIN:
            negative = op.negative and dataclasses.replace(op.negative, rounding=mode)
            rescale = dataclasses.replace(op.rescale, rounding=mode)
            yield replaced(op, f"rounding {mode.value}", text, 10, rescale=rescale, negative=negative)


def _schemes(op: o.Requantize) -> Iterator[Alternative]:
    """Other engines' arithmetic for the same TFLite multiplier."""
    own = op.rescale
    if own.scheme not in _SCHEME_ROUNDING:
        return
    for scheme, rounding in _SCHEME_ROUNDING.items():
        if scheme is not own.scheme:
            text = f"{_SCHEME_TEXT[scheme]} in place of {_SCHEME_TEXT[own.scheme]}"
            other = dataclasses.replace(own, scheme=scheme, rounding=rounding)
            yield replaced(op, f"scheme {scheme.value}", text, 11, rescale=other)
    for mode, text in ((Rounding.TRN, "truncation"), (Rounding.RND_CONV, "one half-even rounding")):
        once = Rescale(
            multiplier=own.multiplier,
            addend=scalar(0),
            shift=IntArray(own.shift.values + 31),
            rounding=mode,
            scheme=Scheme.PLAIN,
        )
        text = f"{text} of the product in place of {_SCHEME_TEXT[own.scheme]}"
        yield replaced(op, f"rounding {mode.value}", text, 12, rescale=once, negative=None)
    factor = (own.multiplier.values.astype(np.float64) * 2.0 ** -(31.0 + own.shift.values)).astype(np.float32)

    def float32_scale(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        y = np.rint((xs[0] - op.input_zero_point).astype(np.float32) * factor).astype(np.int64)
        return saturate(y + op.zero_point, op.overflow, op.low, op.high, out.format)

    yield Alternative(
        name="scheme float32",
        text="a float32 scale and half-even rounding (XNNPACK) in place of an integer multiplier",
        weight=13,
        compute=float32_scale,
    )


def _factors(op: o.Requantize) -> Iterator[Alternative]:
    own = op.rescale
    for delta in (1, -1, 2, -2):
        moved = dataclasses.replace(own, shift=IntArray(own.shift.values + delta))
        where = f"{abs(delta)} bit{'s' * (abs(delta) > 1)} too far {'right' if delta > 0 else 'left'}"
        yield replaced(op, f"shift {delta:+d}", f"a shift {where} (off by {delta:+d})", 20 + abs(delta), rescale=moved)
    if own.addend.low or own.addend.high:
        without = dataclasses.replace(own, addend=scalar(0))
        text = "the addend (bias or batch-normalization offset) left out"
        yield replaced(op, "addend missing", text, 21, rescale=without)
    if own.multiplier.size > 1 or own.shift.size > 1:
        m, s = np.broadcast_arrays(own.multiplier.values, own.shift.values)
        one = dataclasses.replace(own, multiplier=scalar(int(m.flat[0])), shift=scalar(int(s.flat[0])))
        text = "the first channel's multiplier and shift used for every channel"
        yield replaced(op, "per-tensor scale", text, 25, rescale=one)
        rolled = dataclasses.replace(own, multiplier=IntArray(np.roll(m, 1, -1)), shift=IntArray(np.roll(s, 1, -1)))
        yield replaced(op, "scales rotated", "each channel using the channel before's scale", 26, rescale=rolled)
    if own.scheme is Scheme.PLAIN and not own.is_shift:
        yield from _short_multipliers(op)


def _short_multipliers(op: o.Requantize) -> Iterator[Alternative]:
    """The multiplier kept in fewer bits (rounded, shift adapted), as where a table or DSP port is too narrow."""
    own = op.rescale
    m = own.multiplier.values
    length = np.vectorize(lambda v: abs(int(v)).bit_length(), otypes=[np.int64])(m)
    for bits in (24, 18, 16, 12, 8):
        excess = np.maximum(length - bits, 0)
        if not excess.any():
            continue
        rounded = (m + (1 << excess >> 1)) >> excess
        shorter = dataclasses.replace(
            own,
            multiplier=IntArray(rounded),
            addend=IntArray(own.addend.values >> excess),
            shift=IntArray(own.shift.values - excess),
        )
        yield replaced(op, f"multiplier of {bits} bits", f"a multiplier rounded to {bits} bits", 34, rescale=shorter)


def _zero_points(op: o.Requantize) -> Iterator[Alternative]:
    if op.zero_point:
        yield replaced(op, "zero point missing", "the output zero point left out", 22, zero_point=0)
        yield replaced(op, "zero point sign", "the output zero point negated", 23, zero_point=-op.zero_point)
        yield replaced(op, "zero point twice", "the output zero point added twice", 24, zero_point=2 * op.zero_point)
    if op.input_zero_point:
        yield replaced(op, "zero point missing", "the input zero point left out", 22, input_zero_point=0)
    if op.negative is not None:
        yield replaced(op, "negative slope missing", "the negative branch scaled like the positive", 24, negative=None)


def _unclipped(op: Rescaling, xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
    if isinstance(op, o.Divide):
        return run(dataclasses.replace(op, low=-_FAR, high=_FAR), xs, ts, out)
    return run(dataclasses.replace(op, overflow=Overflow.SAT, low=-_FAR, high=_FAR), xs, ts, out)


def _clips(op: Rescaling) -> Iterator[Alternative]:
    low, high = op.low, op.high

    def limits(name: str, text: str, weight: int, new_low: int, new_high: int) -> Alternative:
        return Alternative(
            name=name,
            text=text,
            weight=weight,
            compute=lambda xs, ts, out: np.clip(_unclipped(op, xs, ts, out), new_low, new_high),
        )

    if low == -high - 1:
        text = f"a symmetric clip at +-{high} in place of [{low}, {high}]"
        yield limits("symmetric clip", text, 30, -high, high)
    if low == -high:
        yield limits("asymmetric clip", f"a clip at [{low - 1}, {high}] in place of +-{high}", 30, low - 1, high)
    if low == op.zero_point:
        yield limits("ReLU missing", "the lower clip (ReLU) left out", 31, low - (high - low) - 1, high)
    elif low < op.zero_point < high:
        yield limits("extra ReLU", "a lower clip at the zero point (a ReLU too many)", 32, op.zero_point, high)
    least = IntFormat.for_range(low, high)
    for fmt in dict.fromkeys((least, IntFormat(least.width, True))):
        yield Alternative(
            name="wrap for saturate",
            text=f"wrapping to {fmt} (AP_WRAP) in place of saturation",
            weight=15,
            compute=lambda xs, ts, out, f=fmt: overflow(_unclipped(op, xs, ts, out), f, Overflow.WRAP),  # type: ignore[misc]
        )

    def zeroed(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        wide = _unclipped(op, xs, ts, out)
        return np.where((wide < low) | (wide > high), 0, wide)

    text = "zero outside the limits (AP_SAT_ZERO) in place of saturation"
    yield Alternative(name="zero for saturate", text=text, weight=33, compute=zeroed)


def narrow_inputs(op: o.Op) -> Iterator[Alternative]:
    """The value that reaches ``op`` went through an accumulator too narrow by k bits.

    An accumulator is signed whatever its values: "too narrow" counts from the least signed width that holds the
    proven range."""
    for k in range(1, 9):
        for mode, verb, weight in ((Overflow.WRAP, "wrapping", 40), (Overflow.SAT, "saturating", 50)):

            def compute(xs: list[Array], ts: list[Tensor], out: Tensor, k: int = k, mode: Overflow = mode) -> Array:
                width = IntFormat.for_range(min(ts[0].range[0], -1), ts[0].range[1]).width - k
                if width < 2:
                    return run(op, xs, ts, out)
                return run(op, [overflow(xs[0], IntFormat(width, True), mode), *xs[1:]], ts, out)

            bits = f"{k} bit{'s' * (k > 1)}"
            yield Alternative(
                name=f"accumulator {verb}",
                text=f"an accumulator too narrow by {bits}, {verb}",
                weight=weight + k,
                compute=compute,
            )


def requantize(op: o.Requantize) -> Iterator[Alternative]:
    """Every alternative of a Requantize."""
    yield from _roundings(op)
    yield from _schemes(op)
    yield from _factors(op)
    yield from _zero_points(op)
    yield from _clips(op)
    yield from narrow_inputs(op)


def divide(op: o.Divide) -> Iterator[Alternative]:
    """Every alternative of a Divide."""
    yield from _roundings(op)
    yield from _clips(op)
    if op.divisor.low != op.divisor.high:
        text = "the average taken over the window's area in place of its valid count"
        yield replaced(op, "average by area", text, 18, divisor=scalar(op.divisor.high))
    yield from narrow_inputs(op)


__all__ = ["Compute", "divide", "narrow_inputs", "requantize"]
