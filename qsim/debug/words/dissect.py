"""One output element taken apart: its receptive field, every product, the running sum, and each step to its code."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from qsim.debug.words.factors import factor_of, rescale_factor
from qsim.debug.words.text import number
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array, Rescale, Scheme

Index = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Term:
    """One product of a sum: where the input stands, its code less the zero point, the weight, the sum so far."""

    at: Index
    x: int
    weight: int
    running: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """One op's part in the element. lines: sentences with this element's numbers. terms: products of a sum."""

    op: str
    layer: str
    tensor: str
    index: Index
    value: int
    lines: tuple[str, ...]
    terms: tuple[Term, ...] = ()


def dissect(graph: Graph, trace: Mapping[str, Array], tensor: str, sample: int, index: Index) -> tuple[Step, ...]:
    """The steps that make element ``index`` of ``tensor`` for one sample, from the sum over its receptive field (or
    the graph input) to its code. trace: the simulator's codes, (N, *shape) each."""
    steps: list[Step] = []
    name, at = tensor, index
    while name in graph.producers:
        op = graph.producers[name]
        xs = [trace[n][sample] if len(trace[n]) > sample else trace[n][0] for n in op.inputs]
        value = int(trace[name][sample][at])
        lines, terms, source = _step(op, xs, at, value, graph)
        steps.append(
            Step(
                op=type(op).__name__,
                layer=op.layer,
                tensor=name,
                index=at,
                value=value,
                lines=tuple(lines),
                terms=tuple(terms),
            )
        )
        if source is None:
            break
        name, at = op.inputs[0], source
    return tuple(reversed(steps))


Parts = tuple[list[str], list[Term], Index | None]


def _step(op: o.Op, xs: list[Array], at: Index, value: int, graph: Graph) -> Parts:
    match op:
        case o.Conv2D():
            return (*_convolution(op, xs[0], at), None)
        case o.Dense():
            return (*_dense(op, xs[0], at), None)
        case o.Requantize():
            shape, x = graph[op.output].shape, int(xs[0][at])
            return [*_mean(op, x, graph), *_requantize(op, x, at, shape)], [], at
        case o.Divide():
            shape, x = graph[op.output].shape, int(xs[0][at])
            return [*_mean(op, x, graph), *_divide(op, x, at, shape)], [], at
        case o.Threshold():
            row = op.thresholds.values[at[-1] if op.thresholds.shape[0] > 1 else 0]
            count = int((row <= xs[0][at]).sum())
            return [f"{int(xs[0][at])} reaches {count} of {len(row)} thresholds: code {value}"], [], at
        case o.Lookup():
            return [f"table[{int(xs[0][at])} - ({op.table_low})] = {value}"], [], at
        case o.SumPool2D() | o.MaxPool2D():
            return (*_pool(op, xs[0], at, value), None)
        case o.Reduce():
            return (*_reduce(op, xs[0], at, graph), None)
        case o.Add():
            return _add(op, xs, at, graph), [], None
        case o.Reshape():
            flat = int(np.ravel_multi_index(at, graph[op.output].shape))
            source = tuple(int(i) for i in np.unravel_index(flat, graph[op.inputs[0]].shape))
            return [f"the same code as element {source} of {op.inputs[0]!r}"], [], source
        case _:
            return [f"{type(op).__name__} of {', '.join(op.inputs)} gives {value}"], [], None


def _sum(terms: list[Term], op: o.Conv2D | o.Dense, channel: int) -> list[str]:
    total = terms[-1].running if terms else 0
    lines = [f"sum of {len(terms)} products = {total}"]
    if op.product_shift:
        lines.append(f"times 2^{op.product_shift} = {total << op.product_shift}")
    if op.bias is not None:
        bias = int(op.bias.values[channel])
        lines.append(f"plus bias {bias} = {(total << op.product_shift) + bias}")
    return lines


def _convolution(op: o.Conv2D, x: Array, at: Index) -> tuple[list[str], list[Term]]:
    kh, kw, group_in, channels = op.weights.shape
    first = at[2] // (channels // op.groups) * group_in
    terms: list[Term] = []
    running = outside = 0
    for u in range(kh):
        for v in range(kw):
            row = at[0] * op.strides[0] + u * op.dilation[0] - op.padding[0][0]
            col = at[1] * op.strides[1] + v * op.dilation[1] - op.padding[1][0]
            if not (0 <= row < x.shape[0] and 0 <= col < x.shape[1]):
                outside += group_in
                continue
            for c in range(group_in):
                code = int(x[row, col, first + c]) - op.input_zero_point
                weight = int(op.weights.values[u, v, c, at[2]])
                running += code * weight
                terms.append(Term(at=(row, col, first + c), x=code, weight=weight, running=running))
    lines = [f"{outside} positions lie in the padding and add nothing"] if outside else []
    return lines + _sum(terms, op, at[2]), terms


def _dense(op: o.Dense, x: Array, at: Index) -> tuple[list[str], list[Term]]:
    terms: list[Term] = []
    running = 0
    for c, code in enumerate(x[at[:-1]].tolist()):
        weight = int(op.weights.values[c, at[-1]])
        running += (code - op.input_zero_point) * weight
        terms.append(Term(at=(*at[:-1], c), x=code - op.input_zero_point, weight=weight, running=running))
    return _sum(terms, op, at[-1]), terms


def _fraction(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{value} (about {float(value):.6f})"


def _parameter(array: Array, at: Index, shape: Index) -> int:
    return int(np.broadcast_to(array, shape)[at])


def before_rounding(op: o.Requantize | o.Divide, x: int, at: Index, shape: Index) -> Fraction:
    """The exact product that the op rounds, in codes of the output without its zero point. x: the input code."""
    if isinstance(op, o.Divide):
        n, a, d = (_parameter(p.values, at, shape) for p in (op.numerator, op.addend, op.divisor))
        return Fraction(x * n + a, d)
    x -= op.input_zero_point
    r = op.negative if op.negative is not None and x < 0 else op.rescale
    m, a, s = (_parameter(p.values, at, shape) for p in (r.multiplier, r.addend, r.shift))
    return Fraction(x * m + a) * rescale_factor(r, 1, s)


def _requantize(op: o.Requantize, x: int, at: Index, shape: Index) -> list[str]:
    lines = [f"accumulator {x}"]
    exact = before_rounding(op, x, at, shape)
    if op.input_zero_point:
        x -= op.input_zero_point
        lines.append(f"less zero point {op.input_zero_point} = {x}")
    r: Rescale = op.rescale
    if op.negative is not None and x < 0:
        r = op.negative
        lines.append("negative: the negative branch's scale is used")
    m, a, s = (_parameter(p.values, at, shape) for p in (r.multiplier, r.addend, r.shift))
    formula = f"({x} * {m} + {a})" if a else f"{x} * {m}" if m != 1 else f"{x}"
    exponent = -s if r.scheme in (Scheme.PLAIN, Scheme.FLOAT32) else -31 - s
    lines.append(
        f"{formula} * 2^{exponent} = {_fraction(exact)} before rounding ({r.scheme.value}, {r.rounding.value})"
    )
    lines.append(
        f"rounded{f', plus zero point {op.zero_point}' if op.zero_point else ''}, then {op.overflow.value} to "
        f"[{op.low}, {op.high}]"
    )
    return lines


def _divide(op: o.Divide, x: int, at: Index, shape: Index) -> list[str]:
    n, a, d = (_parameter(p.values, at, shape) for p in (op.numerator, op.addend, op.divisor))
    exact = before_rounding(op, x, at, shape)
    return [
        f"({x} * {n} + {a}) / {d} = {_fraction(exact)} before rounding ({op.rounding.value})",
        f"rounded{f', plus zero point {op.zero_point}' if op.zero_point else ''}, clipped to [{op.low}, {op.high}]",
    ]


def _mean(op: o.Requantize | o.Divide, x: int, graph: Graph) -> list[str]:
    """A mean in the order in which it is taken: sum, inverse, product; the rounding follows."""
    f = factor_of(graph, op)
    if f.count == 1:
        return []
    mean = x * f.inverse
    by = f"/ {f.count}" if f.inverse * f.count == 1 else f"* {number(f.inverse)} (near 1/{f.count})"
    scaled = f", times {number(f.scales)} (the scales) = {_fraction(mean * f.scales)}" if f.scales != 1 else ""
    return [f"the mean: {x} {by} = {_fraction(mean)}{scaled}"]


def _reduce(op: o.Reduce, x: Array, at: Index, graph: Graph) -> tuple[list[str], list[Term]]:
    shape = graph[op.inputs[0]].shape
    out = iter(at)
    places: list[list[int]] = []
    for axis, size in enumerate(shape):
        if axis in op.axes:
            places.append(list(range(size)))
            if op.keepdims:
                next(out)
        else:
            places.append([int(next(out))])
    terms: list[Term] = []
    running = 0
    kinds: dict[str, Callable[[int, int], int]] = {"sum": operator.add, "max": max, "min": min}
    pick = kinds[op.kind]
    for place in itertools.product(*places):
        code = int(x[place])
        running = pick(running, code) if terms else code
        terms.append(Term(at=place, x=code, weight=1, running=running))
    verb = {"sum": "sum", "max": "maximum", "min": "minimum"}[op.kind]
    return [f"{verb} of {len(terms)} codes = {running}"], terms


def _pool(op: o.SumPool2D | o.MaxPool2D, x: Array, at: Index, value: int) -> tuple[list[str], list[Term]]:
    terms: list[Term] = []
    running = 0
    for u in range(op.pool[0]):
        for v in range(op.pool[1]):
            row = at[0] * op.strides[0] + u - op.padding[0][0]
            col = at[1] * op.strides[1] + v - op.padding[1][0]
            if 0 <= row < x.shape[0] and 0 <= col < x.shape[1]:
                code = int(x[row, col, at[2]])
                summing = isinstance(op, o.SumPool2D)
                running = running + code if summing else max(running, code) if terms else code
                terms.append(Term(at=(row, col, at[2]), x=code, weight=1, running=running))
    verb = "sum" if isinstance(op, o.SumPool2D) else "maximum"
    return [f"{verb} of {len(terms)} codes = {value}"], terms


def _add(op: o.Add, xs: list[Array], at: Index, graph: Graph) -> list[str]:
    shape = graph[op.output].shape
    lines = []
    for name, x, shift, sign, zero in zip(op.inputs, xs, op.shifts, op.signs, op.zero_points, strict=True):
        code = int(np.broadcast_to(x, shape)[at])
        text = f"{'+' if sign > 0 else '-'} {code}" if not zero else f"{'+' if sign > 0 else '-'} ({code} - {zero})"
        lines.append(f"{text}{f' * 2^{shift}' if shift else ''}  from {name!r}")
    return lines
