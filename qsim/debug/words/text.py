"""Numbers, names and rounding modes for people."""

from __future__ import annotations

import re
from fractions import Fraction

from qsim.ir import Tensor
from qsim.numerics import Rounding, exhaustive

ROUNDINGS = exhaustive(
    {
        Rounding.RND_CONV: "to the nearest integer, exact halves to the even one",
        Rounding.RND: "to the nearest integer, exact halves up",
        Rounding.RND_INF: "to the nearest integer, exact halves away from zero",
        Rounding.RND_ZERO: "to the nearest integer, exact halves toward zero",
        Rounding.RND_MIN_INF: "to the nearest integer, exact halves down",
        Rounding.TRN: "down (bits are cut off)",
        Rounding.TRN_ZERO: "toward zero",
    },
    Rounding,
    "debug.words.text",
)


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


def zero_text(zero_point: int) -> str:
    """The addition of a zero point as a phrase; empty for 0."""
    return "" if not zero_point else f", {'plus' if zero_point > 0 else 'minus'} {abs(zero_point)} (the zero point)"


def code_unit(tensor: Tensor, index: tuple[int, ...], code: int) -> Fraction:
    """The real number that ``code`` at ``index`` stands for, exactly."""
    q = tensor.quantization
    channel = index[-1] if index else 0
    scale = q.scale[channel if len(q.scale) > 1 else 0]
    return (code - q.zero_point) * scale + q.offset[channel if len(q.offset) > 1 else 0]
