"""The parts of a graph's readable print (``str(graph)``): stable, for people and golden tests."""

from __future__ import annotations

import dataclasses
from enum import Enum
from fractions import Fraction

from qsim.ir.ops import Op, attributes
from qsim.ir.tensor import Quantization, Tensor
from qsim.numerics import IntArray, Rescale, Rounding


def _fraction(value: Fraction) -> str:
    n, d = value.numerator, value.denominator
    if n == 1 and d & (d - 1) == 0:
        return f"2^-{d.bit_length() - 1}" if d > 1 else "1"
    return str(value) if len(str(value)) <= 15 else f"~{float(value):.9g}"


def quantization_text(q: Quantization) -> str:
    """``*2^-7``, ``*0.0235 zp -4``, ``*[16 scales]``: how codes become real values."""
    scale = _fraction(q.scale[0]) if len(q.scale) == 1 else f"[{len(q.scale)} scales]"
    return f"*{scale}" + (f" zp {q.zero_point}" if q.zero_point else "") + (" +offset" if any(q.offset) else "")


def _attribute(value: object) -> str:
    if isinstance(value, IntArray):
        return str(value.item()) if value.is_scalar else repr(value)[8:].replace("(", "<", 1).replace(")", ">")
    if isinstance(value, Rescale):
        if value.is_shift:
            return f"{value.rounding.value}>>{_attribute(value.shift)}"
        return (
            f"{value.scheme.value}({value.rounding.value}, m={_attribute(value.multiplier)}, "
            f"a={_attribute(value.addend)}, s={_attribute(value.shift)})"
        )
    if isinstance(value, Enum):
        return str(value.value)
    return str(value)


def tensor_text(t: Tensor) -> str:
    """``name: int8[8x8x4] *2^-7 in [-128, 127]``."""
    shape = "x".join(map(str, t.shape))
    return f"{t.name}: {t.format}[{shape}] {quantization_text(t.quantization)} in [{t.range[0]}, {t.range[1]}]"


def input_text(tensor: Tensor, rounding: Rounding, low: int, high: int, arithmetic: str) -> str:
    """A graph input, and the quantizer at its boundary."""
    exact = "" if arithmetic == "exact" else f", {arithmetic}"
    return f"  input {tensor_text(tensor)} <- {rounding.value}, sat [{low}, {high}]{exact}"


def op_text(op: Op, out: Tensor) -> str:
    """An operation and its output. Weights appear by shape, format and range; defaults are left out."""
    defaults = {f.name: f.default for f in dataclasses.fields(op)}
    attrs = ", ".join(f"{k}={_attribute(v)}" for k, v in attributes(op).items() if v != defaults[k])
    return f"  {tensor_text(out)}\n      = {type(op).__name__}({', '.join(op.inputs)}; {attrs})  # {op.layer}"
