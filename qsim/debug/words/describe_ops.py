"""Each operation as sentences: in real numbers, and in integers with its own numbers put in."""

from __future__ import annotations

import re
from fractions import Fraction

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.ir.text import _attribute
from qsim.numerics import IntArray, Overflow, Rescale, Rounding, Scheme

ROUNDINGS = {
    Rounding.RND_CONV: "to the nearest integer, exact halves to the even one",
    Rounding.RND: "to the nearest integer, exact halves up",
    Rounding.RND_INF: "to the nearest integer, exact halves away from zero",
    Rounding.RND_ZERO: "to the nearest integer, exact halves toward zero",
    Rounding.RND_MIN_INF: "to the nearest integer, exact halves down",
    Rounding.TRN: "down (bits are cut off)",
    Rounding.TRN_ZERO: "toward zero",
}

SCHEMES = {
    Scheme.TFLITE_DOUBLE: "in two roundings: x * m / 2^31 to the nearest, then the shift, exact halves away from zero",
    Scheme.TFLITE_UPWARD: "in two roundings: x * m / 2^31 to the nearest, then the shift, exact halves up",
    Scheme.TFLITE_SINGLE: "in one rounding, exact halves up",
    Scheme.FLOAT32: "as float32 numbers: x to 24 bits, the product to 24 bits, then halves to even",
}


def number(value: Fraction) -> str:
    """A fraction for people: exact where it is short, else nine digits and, for powers of two, the exponent."""
    n, d = value.numerator, value.denominator
    if d == 1:
        return str(n)
    if n == 1 and d & (d - 1) == 0 and d > 8:
        return f"2^-{d.bit_length() - 1} ({float(value):.9g})"
    return f"{float(value):.9g}"


def short(name: str, length: int = 48) -> str:
    """A name for people: of the many names that a fused TFLite tensor carries the first one, and its own ending
    (``.acc``); cut in front where it is still longer than ``length``."""
    text = name
    if ";" in name:
        ending = re.search(r"\.[a-z_]+\d*$", name)
        text = f"{name.split(';')[0]};.." + (ending[0] if ending else "")
    return text if len(text) <= length else f"..{text[2 - length :]}"


def code_unit(tensor: Tensor, index: tuple[int, ...], code: int) -> Fraction:
    """The real number that ``code`` at ``index`` stands for, exactly."""
    q = tensor.quantization
    channel = index[-1] if index else 0
    scale = q.scale[channel if len(q.scale) > 1 else 0]
    return (code - q.zero_point) * scale + q.offset[channel if len(q.offset) > 1 else 0]


def real_lines(graph: Graph, op: o.Op) -> list[str]:
    """What the operation means for real numbers."""
    out = graph[op.output]
    match op:
        case o.Conv2D():
            kh, kw, group_in, _ = op.weights.shape
            bias = " + bias[o]" if op.bias is not None else ""
            depthwise = op.groups > 1 and group_in == 1
            what = "its own input channel" if depthwise else f"{group_in} input channels"
            return [
                f"sum[i, j, o] = sum over a {kh} x {kw} window and {what} of weight * x{bias}; the window moves by "
                f"{op.strides[0]} x {op.strides[1]}"
                + (f", padding {op.padding} counts as 0" if _pads(op) else "")
                + "."
            ]
        case o.ConvTranspose2D():
            return ["sum = every input element spread over a window with its weights, overlaps added, plus bias."]
        case o.Dense():
            bias = " + bias[o]" if op.bias is not None else ""
            return [f"sum[o] = sum over {op.weights.shape[0]} inputs of weight[c, o] * x[c]{bias}."]
        case o.Requantize() | o.Divide():
            low, high = (code_unit(out, (0,), c) for c in (op.low, op.high))
            relu = " (nothing negative passes, as after a ReLU)" if low == 0 else ""
            return [
                f"y = sum rounded to a multiple of {number(out.quantization.scale[0])} and kept within "
                f"[{number(low)}, {number(high)}]{relu}."
            ]
        case o.Threshold() | o.Lookup():
            return ["y = f(x), an elementwise function, rounded once to the output's codes."]
        case o.SumPool2D():
            return [f"sum = the sum over a {op.pool[0]} x {op.pool[1]} window of each channel."]
        case o.MaxPool2D():
            return [f"y = the greatest of a {op.pool[0]} x {op.pool[1]} window of each channel."]
        case o.Add():
            signs = " ".join(f"{'+' if s > 0 else '-'} {short(n)}" for n, s in zip(op.inputs, op.signs))
            return [f"sum = {signs.removeprefix('+ ')}."]
        case o.Mul():
            return [f"y = {short(op.inputs[0])} * {short(op.inputs[1])}, element by element."]
        case o.Softmax():
            return ["y = exp(x) / sum of exp(x) over the last axis."]
        case _:
            return [f"{type(op).__name__}: {_specification(op)}"]


def integer_lines(graph: Graph, op: o.Op) -> list[str]:
    """The operation on codes, with its constants."""
    match op:
        case o.Conv2D() | o.Dense() | o.ConvTranspose2D():
            return _linear(graph, op)
        case o.Requantize():
            return _requantize(graph, op)
        case o.Divide():
            n, a, d = (_value(v) for v in (op.numerator, op.addend, op.divisor))
            plus = f" + {a}" if a != "0" else ""
            return [
                f"code = (x * {n}{plus}) / {d}, rounded {ROUNDINGS[op.rounding]}{zero_text(op.zero_point)}, clipped to "
                f"[{op.low}, {op.high}]."
            ]
        case o.Threshold():
            channels, levels = op.thresholds.shape
            where = "per channel" if channels > 1 else "for all channels"
            row = op.thresholds.values[0]
            shown = ", ".join(str(int(v)) for v in row[:8]) + (", ..." if levels > 8 else "")
            return [
                f"code = {_value(op.base)} + {_value(op.step)} * (how many of {levels} thresholds x reaches), {where}: "
                f"{shown}. The thresholds were found over every x that can occur, so the function is exact."
            ]
        case o.Lookup():
            return [
                f"code = table[x + {-op.table_low}]: {op.table.shape[1]} entries, one for every x that can occur, each "
                "the function's value rounded once."
            ]
        case o.Add():
            parts = []
            for n, sign, zero, shift in zip(op.inputs, op.signs, op.zero_points, op.shifts):
                code = f"({short(n)} - {zero})" if zero else short(n)
                parts.append(f"{'+' if sign > 0 else '-'} {code}{f' * 2^{shift}' if shift else ''}")
            return [f"sum = {' '.join(parts).removeprefix('+ ')} (the shifts bring both to one scale)."]
        case o.SumPool2D():
            return [f"sum of {op.pool[0] * op.pool[1]} codes; positions outside the image are left out."]
        case o.MaxPool2D():
            return ["the greatest code; the order of codes is the order of real numbers, so nothing is rounded."]
        case _:
            attributes = ", ".join(f"{k} = {_attribute(v)}" for k, v in o.attributes(op).items())
            return [f"{_specification(op)}" + (f" Here: {attributes}." if attributes else "")]


def _linear(graph: Graph, op: o.Conv2D | o.Dense | o.ConvTranspose2D) -> list[str]:
    x, y = graph[op.inputs[0]], graph[op.output]
    unit = y.quantization.scale[0] * (1 << op.product_shift) / x.quantization.scale[0]
    several = len(y.quantization.scale) > 1
    code = "x"
    if op.input_zero_point:
        code = f"(x - {op.input_zero_point})" if op.input_zero_point > 0 else f"(x + {-op.input_zero_point})"
    products = op.weights.size // op.weights.shape[-1]
    shift = f"2^{op.product_shift} * " if op.product_shift else ""
    lines = [
        f"sum = {shift}(sum over {products} products of w * {code})" + (" + b." if op.bias is not None else "."),
        f"The weights w are {op.weights.format} integers from {op.weights.low} to {op.weights.high}; one step of them "
        f"is worth {number(unit)}" + (" in channel 0, each channel has its own." if several else "."),
    ]
    if op.bias is not None:
        lines.append(
            f"The bias b is an integer from {op.bias.low} to {op.bias.high} in units of the sum, "
            + number(y.quantization.scale[0])
            + (" in channel 0." if several else ".")
        )
    lines.append(f"The sum fits {y.format}: it is proven to stay within [{y.range[0]}, {y.range[1]}] for every input.")
    return lines


def _requantize(graph: Graph, op: o.Requantize) -> list[str]:
    x, y = graph[op.inputs[0]], graph[op.output]
    source = f"(x - {op.input_zero_point})" if op.input_zero_point else "x"
    lines = [f"{_rescale_text(op.rescale, source)}{zero_text(op.zero_point)}, {_overflow_text(op)}."]
    if op.negative is not None:
        lines.append(f"Where {source} is negative instead: {_rescale_text(op.negative, source)}.")
    factor = _factor(op.rescale)
    ideal = x.quantization.scale[0] / y.quantization.scale[0]
    where = "" if op.rescale.multiplier.is_scalar and op.rescale.shift.is_scalar else " in channel 0"
    ratio = f"{number(x.quantization.scale[0])} / {number(y.quantization.scale[0])}"
    if factor == ideal:
        text = f"is {float(factor):.12g}, exactly the scale of x divided by the scale of the output, {ratio}"
    else:
        text = (
            f"is {float(factor):.12g}; it stands for the scale of x divided by the scale of the output, {ratio} = "
            f"{float(ideal):.12g}"
        )
    lines.append(f"The factor{where} {text}.")
    return lines


def _factor(r: Rescale) -> Fraction:
    """The real factor of channel 0."""
    m, s = int(r.multiplier.values.reshape(-1)[0]), int(r.shift.values.reshape(-1)[0])
    return m * Fraction(2) ** -(s if r.scheme in (Scheme.PLAIN, Scheme.FLOAT32) else s + 31)


def _rescale_text(r: Rescale, source: str) -> str:
    m, a, s = _value(r.multiplier), _value(r.addend), _value(r.shift)
    if r.is_shift:
        s_int = int(r.shift.values.reshape(-1)[0]) if r.shift.is_scalar else None
        if s_int == 0:
            return f"code = {source} as it is"
        if s_int is not None and s_int < 0:
            return f"code = {source} * 2^{-s_int}"
        return f"code = {source} / 2^{s} (a shift by {s} bits), rounded {ROUNDINGS[r.rounding]}"
    if r.scheme is Scheme.PLAIN:
        plus = f" + {a}" if a != "0" else ""
        return f"code = ({source} * {m}{plus}) / 2^{s}, rounded {ROUNDINGS[r.rounding]}"
    if r.scheme is Scheme.FLOAT32:
        return f"code = {source} * {m} / 2^{s}, {SCHEMES[r.scheme]}"
    return f"code = {source} * m / 2^31 / 2^s with multiplier m = {m} and shift s = {s}, {SCHEMES[r.scheme]}"


def _overflow_text(op: o.Requantize) -> str:
    if op.overflow is Overflow.SAT or op.overflow is Overflow.SAT_SYM:
        relu = op.low == op.zero_point and op.low < op.high
        return f"clamped to [{op.low}, {op.high}]" + (
            " (the low end is the code of 0: nothing negative passes, as after a ReLU)" if relu else ""
        )
    if op.overflow is Overflow.SAT_ZERO:
        return f"and 0 where it lies outside [{op.low}, {op.high}]"
    return f"wrapped into [{op.low}, {op.high}] (high bits are dropped)"


def zero_text(zero_point: int) -> str:
    """The addition of a zero point as a phrase; empty for 0."""
    return "" if not zero_point else f", {'plus' if zero_point > 0 else 'minus'} {abs(zero_point)} (the zero point)"


def _value(array: IntArray) -> str:
    """A scalar, or the first channel's number and how many there are."""
    flat = array.values.reshape(-1)
    if len(flat) == 1 or array.low == array.high:
        return str(int(flat[0]))
    return f"{int(flat[0])} [channel 0 of {len(flat)}]"


def _pads(op: o.Conv2D) -> bool:
    return any(n for pair in op.padding for n in pair)


def _specification(op: o.Op) -> str:
    """The operation's own specification, its first paragraph."""
    return " ".join((type(op).__doc__ or "").split("\n\n")[0].split()).replace("``", "")
