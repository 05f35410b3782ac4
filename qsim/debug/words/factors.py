"""What the factor of a rescale is made of: the two scales, the number of elements of a mean, its quantized inverse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from qsim.debug.words.text import number, short
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Rescale, Scheme

_NEAR = Fraction(1, 4)
"""An inverse that a source keeps in few bits lies within this share of the true one."""

_MOVES = (o.Reshape, o.Transpose, o.Slice, o.Gather, o.Pad)


@dataclass(frozen=True, kw_only=True)
class Factor:
    """The factor of a Requantize's or Divide's first channel.

    value: what the integers multiply by. scales: scale of the input over scale of the output. source: the factor that
    the source multiplies by, where the importer kept it (the integers stand for it). count: elements of the mean that
    this op takes, 1 where it takes none. what: the elements in words ("the 3 x 3 window of 'pool.sum'").
    """

    value: Fraction
    scales: Fraction
    source: Fraction | None
    count: int
    what: str

    @property
    def exact(self) -> Fraction:
        """The factor of exact arithmetic: the scales' quotient over the count."""
        return self.scales / self.count

    @property
    def inverse(self) -> Fraction:
        """What stands in place of 1 / count, with the scales taken out."""
        return (self.source or self.value) / self.scales


def rescale_factor(r: Rescale, m: int, s: int) -> Fraction:
    """The real factor of multiplier ``m`` and shift ``s`` under the scheme."""
    return m * Fraction(2) ** -(s if r.scheme in (Scheme.PLAIN, Scheme.FLOAT32) else s + 31)


def factor_of(graph: Graph, op: o.Requantize | o.Divide) -> Factor:
    """What the op's factor is made of, in its first channel."""
    x, y = graph[op.inputs[0]], graph[op.output]
    scales = x.quantization.scale[0] / y.quantization.scale[0]
    source = None
    if isinstance(op, o.Requantize):
        r = op.rescale
        value = rescale_factor(r, int(r.multiplier.values.flat[0]), int(r.shift.values.flat[0]))
        source = op.real.factor[0] if op.real is not None else None
    else:
        # Of a window that reaches beyond the image fewer elements count: the whole one's divisor is the greatest.
        divisor = op.divisor.high if op.numerator.low == op.numerator.high else int(op.divisor.values.flat[0])
        value = Fraction(int(op.numerator.values.flat[0]), divisor)
    count, what = _summed(graph, op.inputs[0])
    wanted = source or value
    if count == 1 or not _is_mean(wanted, scales, count):
        count, what = 1, ""
    return Factor(value=value, scales=scales, source=source, count=count, what=what)


def _is_mean(factor: Fraction, scales: Fraction, count: int) -> bool:
    """Whether the factor divides by the count: it lies near scales / count, and nearer than to scales alone."""
    relative = factor / scales * count
    near = abs(relative - 1) <= _NEAR or abs(factor - scales / count) <= scales * Fraction(1, 2 * count)
    return near and abs(relative - 1) < abs(factor / scales - 1) * count


def _summed(graph: Graph, name: str) -> tuple[int, str]:
    """(how many elements the tensor is a sum of, in words); (1, "") where it is no such sum. A mean of a mean's moves
    (reshape, transpose) counts as the mean."""
    op = graph.producers.get(name)
    while isinstance(op, _MOVES):
        op = graph.producers.get(op.inputs[0])
    match op:
        case o.SumPool2D():
            return op.pool[0] * op.pool[1], f"the {op.pool[0]} x {op.pool[1]} window"
        case o.Reduce(kind="sum"):
            shape = graph[op.inputs[0]].shape
            return math.prod(shape[a] for a in op.axes), f"the sum over {short(op.inputs[0])!r}"
        case o.Add() if len(op.inputs) > 1 and all(s > 0 for s in op.signs):
            return len(op.inputs), "the inputs of the sum"
        case _:
            return 1, ""


def factor_lines(graph: Graph, op: o.Requantize | o.Divide) -> list[str]:
    """What the factor stands for; nothing is said that its number does not bear out."""
    f = factor_of(graph, op)
    varies = len({*graph[op.inputs[0]].quantization.scale, *graph[op.output].quantization.scale}) > 2
    if isinstance(op, o.Requantize):
        varies = varies or op.rescale.multiplier.low != op.rescale.multiplier.high
        varies = varies or op.rescale.shift.low != op.rescale.shift.high
    where = " in channel 0" if varies else ""
    ratio = f"{number(graph[op.inputs[0]].quantization.scale[0])} / {number(graph[op.output].quantization.scale[0])}"
    scales = f"the scale of x divided by the scale of y, {ratio} = {number(f.scales)}"
    if f.count > 1:
        return [*_mean_lines(op, f, where, scales), *_border_line(op)]
    value = f"The factor{where} is {float(f.value):.12g}"
    if f.value == f.scales:
        return [f"{value}, exactly {scales.removesuffix(f' = {number(f.scales)}')}."]
    if f.source is not None and f.source != f.value:
        value += f"; it stands for the source's factor {float(f.source):.12g}"
    if abs(f.value / f.scales - 1) < Fraction(1, 256):
        return [f"{value}; {scales} in exact numbers, {_percent(f.value / f.scales - 1)} away."]
    return [f"{value}: {scales}, times {float(f.value / f.scales):.9g}, which the layer multiplies real numbers by."]


def _mean_lines(op: o.Requantize | o.Divide, f: Factor, where: str, scales: str) -> list[str]:
    exact = f"1/{f.count} = {float(Fraction(1, f.count)):.9g}"
    if f.inverse * f.count == 1:
        kept = f"the mean of {f.what} is taken exactly: sum / {f.count}"
    else:
        kept = (
            f"the mean of {f.what} is sum * {number(f.inverse)}: the layer keeps the inverse of {f.count} as "
            f"{number(f.inverse)} in place of {exact}, {_percent(f.inverse * f.count - 1)} away"
        )
    lines = [f"{kept[0].upper()}{kept[1:]}."]
    together = f.inverse * f.scales
    text = (
        f"Brought to y's scale the factor{where} is {number(f.inverse)} * {number(f.scales)} = {float(together):.12g}"
    )
    lines.append(f"{text}: the inverse times {scales}.")
    if f.value != together:
        lines.append(f"In integers it is {float(f.value):.12g}, {_percent(f.value / together - 1)} away.")
    return lines


def _border_line(op: o.Requantize | o.Divide) -> list[str]:
    if isinstance(op, o.Divide) and op.divisor.low != op.divisor.high:
        return ["Where the window reaches beyond the image it divides by the number of elements inside."]
    return []


def _percent(share: Fraction) -> str:
    return f"{abs(float(share)) * 100:.3g} %"
