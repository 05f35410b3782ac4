"""Proven ranges: for every element of every tensor the least and greatest code that any valid input can give.

Interval arithmetic, element by element, so that padding borders, channels and positions keep their own bounds.
For one convolution or dense layer the bounds are attained: every element of its input is independent in the interval
model, and the input that takes ``high`` where a weight is positive and ``low`` where it is negative gives the upper
bound (``attaining_input``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.proof.ranges import combine, linear, rescale, softmax
from qsim.proof.ranges.base import Interval, Rule, lane_bounds, monotone
from qsim.proof.ranges.linear import attaining_input

RULES: dict[type[o.Op], Rule] = {
    **{op: monotone for op in o.OPS if op.monotone},
    **{op: rule for family in (linear, combine, rescale, softmax) for op, rule in family.RULES.items()},
}
o.check_registry(RULES, "proof.ranges")


def infer(op: o.Op, inputs: list[Interval], tensors: list[Tensor], out: Tensor) -> Interval:
    """The output's interval from the inputs'. ``out`` gives shape and, where the op saturates or wraps, the format.

    Raises UnsupportedError where an intermediate result can leave 62 bits, so that numpy and C int64 code is proven.
    """
    rule = RULES[type(op)]
    if not positionwise(op, tensors, out):
        return rule(op, inputs, tensors, out).folded()
    images = [x.folded() for x in inputs]
    rows, row_of = np.unique(np.stack([_known(x.rows) for x in images]), axis=1, return_inverse=True)
    columns, column_of = np.unique(np.stack([_known(x.columns) for x in images]), axis=1, return_inverse=True)
    kept = [[end[np.ix_(r, c)] for end in x.tables] for x, r, c in zip(images, rows, columns)]
    small = [replace(t, shape=ends[0].shape) for t, ends in zip(tensors, kept)]
    drawn = replace(out, shape=(rows.shape[1], columns.shape[1], out.shape[2]))
    found = rule(op, [Interval(low, high) for low, high in kept], small, drawn)
    return Interval(found.low, found.high, row_of.reshape(-1), column_of.reshape(-1)).folded()


def positionwise(op: o.Op, tensors: list[Tensor], out: Tensor) -> bool:
    """Whether images go in and out and each position depends on the inputs' codes there alone, alike everywhere: the
    bounds are then taken once for each combination of positions that are kept."""
    match op:
        case o.Requantize():
            rescales = (r for r in (op.rescale, op.negative) if r is not None)
            parameters = [p for r in rescales for p in (r.multiplier, r.addend, r.shift)]
        case o.Divide():
            parameters = [op.numerator, op.addend, op.divisor]
        case o.Threshold() | o.Lookup() | o.Add() | o.Mul() | o.Extremum():
            parameters = []
        case o.Concat():
            if op.axis != 2:
                return False
            parameters = []
        case _:
            return False
    alike = all(len(t.shape) == 3 and t.shape[:2] == out.shape[:2] for t in (*tensors, out))
    whole = isinstance(op, o.Concat) or all(t.shape == out.shape for t in tensors)
    return alike and whole and all(n == 1 for p in parameters for n in p.shape[:-1])


def _known(lines: Array | None) -> Array:
    assert lines is not None
    return lines


def input_interval(tensor: Tensor, low: int, high: int) -> Interval:
    """The interval of a graph input: every code that its boundary lets through."""
    if len(tensor.shape) == 3:
        height, width, channels = tensor.shape
        least, greatest = (np.full((1, 1, channels), end, dtype=np.int64) for end in (low, high))
        return Interval(least, greatest, np.zeros(height, dtype=np.int64), np.zeros(width, dtype=np.int64))
    return Interval(np.full(tensor.shape, low, dtype=np.int64), np.full(tensor.shape, high, dtype=np.int64))


def ranges(graph: Graph) -> dict[str, Interval]:
    """The proven interval of every tensor, in graph order."""
    found = {i.tensor: input_interval(graph[i.tensor], i.low, i.high) for i in graph.inputs}
    for op in graph.ops:
        tensors = [graph[name] for name in op.inputs]
        found[op.output] = infer(op, [found[name] for name in op.inputs], tensors, graph[op.output])
    return found


__all__ = ["Interval", "attaining_input", "infer", "input_interval", "lane_bounds", "ranges"]
