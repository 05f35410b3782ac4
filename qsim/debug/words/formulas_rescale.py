"""The formulas of what brings a sum back to a small code: requantize, divide, threshold, lookup, softmax.

See ``formulas`` for the notation. Every scheme is written as its own steps, in the order in which they are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from qsim.debug.words.factors import factor_lines
from qsim.debug.words.text import ROUNDINGS
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, Overflow, Rescale, Rounding, Scheme, exhaustive

_EXP = "exp_on_negative_values and one_over_one_plus_x are gemmlowp's fixed-point functions"


def first(array: IntArray) -> int:
    """The first channel's (element's) number."""
    return int(array.values.reshape(-1)[0])


def plus(text: str, value: int) -> str:
    return f"{text} {'+' if value > 0 else '-'} {abs(value)}" if value else text


def _several(**parameters: IntArray) -> list[str]:
    """Which parameters have other numbers in other channels."""
    varying = {name: p for name, p in parameters.items() if p.low != p.high}
    if not varying:
        return []
    shape = np.broadcast_shapes(*(p.shape for p in varying.values()))
    where = "channel 0" if len(shape) == 1 else f"element ({', '.join('0' * len(shape))})"
    return [f"The numbers are those of {where}: {', '.join(varying)} of the others differ."]


def _plain(r: Rescale, x: str) -> tuple[str, list[str], Rounding | None]:
    m, a, s = first(r.multiplier), first(r.addend), first(r.shift)
    if s <= 0:
        product = x if m == 1 else f"{x} * {m}"
        scaled = f"{plus(product, a)}" if not s else f"({plus(product, a)}) * 2^{-s}" if a else f"{product} * 2^{-s}"
        return scaled, [], None
    product = x if m == 1 else f"({x} * {m})" if not a else f"{x} * {m}"
    product = f"({plus(product, a)})" if a else product
    return f"round({product} / 2^{s})", [], r.rounding


def _double(r: Rescale, x: str) -> tuple[str, list[str], Rounding | None]:
    """gemmlowp: the doubling high multiplication rounds once (half up), the shift a second time."""
    m, s = first(r.multiplier), first(r.shift)
    shifted = f"{x} * 2^{-s}" if s < 0 else x  # proven to fit an int32
    high_half = f"floor(({shifted} * {m} + 2^30) / 2^31)"
    if m == -(1 << 31):
        high_half = f"min({high_half}, 2147483647)"
    if s <= 0:
        return "h", [f"h = {high_half}"], None
    return f"round(h / 2^{s})", [f"h = {high_half}"], r.rounding


def _single(r: Rescale, x: str) -> tuple[str, list[str], Rounding | None]:
    m, s = first(r.multiplier), first(r.shift)
    return f"floor(({x} * {m} + 2^{30 + s}) / 2^{31 + s})", [], None


def _float32(r: Rescale, x: str) -> tuple[str, list[str], Rounding | None]:
    m, s = first(r.multiplier), first(r.shift)
    scaled = f"{m} / 2^{s}" if s >= 0 else f"{m} * 2^{-s}"
    kept = "float32 keeps the nearest number of 24 significant bits, exact halves to the even one"
    return f"round(float32(float32({x}) * {scaled}))", [kept], Rounding.RND_CONV


_SCHEMES: Mapping[Scheme, Callable[[Rescale, str], tuple[str, list[str], Rounding | None]]] = exhaustive(
    {
        Scheme.PLAIN: _plain,
        Scheme.TFLITE_DOUBLE: _double,
        Scheme.TFLITE_UPWARD: _double,
        Scheme.TFLITE_SINGLE: _single,
        Scheme.FLOAT32: _float32,
    },
    Scheme,
    "debug.words.formulas_rescale",
)
_WORDS = exhaustive(
    {
        Scheme.PLAIN: "",
        Scheme.TFLITE_DOUBLE: "Two roundings, as TensorFlow Lite's reference kernels: h to the nearest, then y.",
        Scheme.TFLITE_UPWARD: "Two roundings, as LiteRT's optimised kernels: h to the nearest, then y.",
        Scheme.TFLITE_SINGLE: "One rounding, exact halves up.",
        Scheme.FLOAT32: "As XNNPACK computes it, in float32 numbers.",
    },
    Scheme,
    "debug.words.formulas_rescale, words",
)
_OVERFLOWS = exhaustive(
    {
        Overflow.SAT: ("clamp", "clamp keeps the nearest limit of what lies outside"),
        Overflow.SAT_SYM: ("clamp", "clamp keeps the nearest limit of what lies outside"),
        Overflow.SAT_ZERO: ("inside", "inside gives 0 for what lies outside the limits"),
        Overflow.WRAP: ("wrap", "wrap keeps the low bits: the high ones are dropped"),
        Overflow.WRAP_SM: ("fold", "fold inverts the low bits where the lowest dropped bit is not the sign"),
    },
    Overflow,
    "debug.words.formulas_rescale",
)



def _sentence(formula: str, where: list[str]) -> str:
    return formula + (f", where {'; '.join(where)}" if where else "") + "."


def requantize(graph: Graph, op: o.Requantize) -> list[str]:
    """Requantize: the scheme's steps, zero point, limits; then what the factor means."""
    x = f"(x {'-' if op.input_zero_point > 0 else '+'} {abs(op.input_zero_point)})" if op.input_zero_point else "x"
    verb, words = _OVERFLOWS[op.overflow]
    branches = [("", op.rescale)] if op.negative is None else [(f" if {x} >= 0", op.rescale), ("", op.negative)]
    texts: list[str] = []
    where: list[str] = []
    modes: dict[Rounding, str] = {}
    for condition, r in branches:
        text, steps, mode = _SCHEMES[r.scheme](r, x)
        if mode is not None:
            modes.setdefault(mode, "round2" if modes else "round")
            text = text.replace("round", modes[mode])
        if len(branches) > 1 and steps and steps[0].startswith("h ="):  # each branch has a step of its own
            own = "h" if condition else "g"
            text, steps = text.replace("h", own), [steps[0].replace("h", own, 1), *steps[1:]]
        texts.append(text + condition)
        where += steps
    body = " else ".join(texts)
    body = f"({body})" if op.negative is not None else body
    where += [f"{name} is {ROUNDINGS[mode]}" for mode, name in modes.items()] + [words]
    lines = [_sentence(f"y = {verb}({plus(body, op.zero_point)}, {op.low}, {op.high})", list(dict.fromkeys(where)))]
    for _, r in branches:
        lines += _several(multiplier=r.multiplier, addend=r.addend, shift=r.shift)
    lines += [text for text in dict.fromkeys(_WORDS[r.scheme] for _, r in branches) if text]
    return [*dict.fromkeys(lines), *_relu(op.low, op.high, op.zero_point), *factor_lines(graph, op)]


def _relu(low: int, high: int, zero_point: int) -> list[str]:
    if low == zero_point and low < high:
        return ["The low limit is the code of 0: nothing negative passes, as after a ReLU."]
    return []


def divide(graph: Graph, op: o.Divide) -> list[str]:
    """Divide: one exact fraction, rounded once."""
    n, a, d = first(op.numerator), first(op.addend), first(op.divisor)
    product = "x" if n == 1 else f"x * {n}"
    product = f"({plus(product, a)})" if a or n != 1 else product
    _, words = _OVERFLOWS[Overflow.SAT]
    where = [f"round is {ROUNDINGS[op.rounding]}", words]
    return [
        _sentence(f"y = clamp({plus(f'round({product} / {d})', op.zero_point)}, {op.low}, {op.high})", where),
        *_several(numerator=op.numerator, addend=op.addend, divisor=op.divisor),
        *_relu(op.low, op.high, op.zero_point),
        *factor_lines(graph, op),
    ]


def threshold(graph: Graph, op: o.Threshold) -> list[str]:
    """Threshold: how many thresholds the input reaches."""
    levels = op.thresholds.shape[1]
    row = op.thresholds.values[0]
    shown = ", ".join(str(int(v)) for v in row[:8]) + (", ..." if levels > 8 else "")
    base, step = first(op.base), first(op.step)
    count = f"count(k = 0..{levels - 1}: x >= t[k])"
    text = f"{base} {'+' if step > 0 else '-'} {f'{abs(step)} * ' if abs(step) != 1 else ''}{count}"
    return [
        f"y = {text}, where t is [{shown}], {levels} thresholds; count is how many of them x reaches.",
        *(["The numbers are those of channel 0: each has its own."] if op.thresholds.shape[0] > 1 else []),
        "The thresholds were found over every x that can occur, so the function is exact.",
    ]


def lookup(graph: Graph, op: o.Lookup) -> list[str]:
    """Lookup: a table with an entry for every x that can occur."""
    several = [] if op.table.shape[0] == 1 else [f"Each of the {op.table.shape[0]} channels has a table of its own."]
    return [
        f"y = table[{plus('x', -op.table_low)}], where the table has {op.table.shape[1]} entries.",
        *several,
        "There is an entry for every x that can occur, each the function's value rounded once.",
    ]


def softmax(graph: Graph, op: o.Softmax) -> list[str]:
    """Softmax: TensorFlow Lite's integer steps."""
    out = graph[op.output].format
    n = graph[op.inputs[0]].shape[-1]
    shift = f" * 2^{op.input_left_shift}" if op.input_left_shift else ""
    scaled = plus(f"round(floor((e[c] * r + 2^30) / 2^31) / 2^({43 - out.width} - z))", out.low)
    return [
        f"d[c] = x[c] - max(k = 0..{n - 1}: x[k]).",
        f"t[c] = floor((d[c]{shift} * {op.input_multiplier} + 2^30) / 2^31), the exponent in steps of 2^-26.",
        f"e[c] = exp_on_negative_values(t[c]), in steps of 2^-31, where {_EXP}.",
        f"s = sum(k = 0..{n - 1}: round(e[k] / 2^12) if d[k] >= {op.diff_min} else 0), where round is "
        f"{ROUNDINGS[Rounding.RND_INF]}.",
        "r = one_over_one_plus_x(s * 2^z - 2^31), where z is the number of leading zeros of s as a 32-bit number.",
        f"y[c] = clamp({scaled}, {out.low}, {out.high}) if d[c] >= {op.diff_min} else {out.low}.",
    ]
