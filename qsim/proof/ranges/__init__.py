"""Proven ranges: for every element of every tensor the least and greatest code that any valid input can give.

Interval arithmetic, element by element, so that padding borders, channels and positions keep their own bounds.
For one convolution or dense layer the bounds are attained: every element of its input is independent in the interval
model, and the input that takes ``high`` where a weight is positive and ``low`` where it is negative gives the upper
bound (``attaining_input``).
"""

from __future__ import annotations

import numpy as np

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
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
    return RULES[type(op)](op, inputs, tensors, out)


def input_interval(tensor: Tensor, low: int, high: int) -> Interval:
    """The interval of a graph input: every code that its boundary lets through."""
    return Interval(np.full(tensor.shape, low, dtype=np.int64), np.full(tensor.shape, high, dtype=np.int64))


def ranges(graph: Graph) -> dict[str, Interval]:
    """The proven interval of every tensor, in graph order."""
    found = {i.tensor: input_interval(graph[i.tensor], i.low, i.high) for i in graph.inputs}
    for op in graph.ops:
        tensors = [graph[name] for name in op.inputs]
        found[op.output] = infer(op, [found[name] for name in op.inputs], tensors, graph[op.output])
    return found


__all__ = ["Interval", "attaining_input", "infer", "input_interval", "lane_bounds", "ranges"]
