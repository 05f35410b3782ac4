"""What samples could not show: roundings without a tie, limits never reached, accumulators far from their extremes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from qsim.debug.words.text import short
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array, Overflow, Rounding, Scheme
from qsim.reference.kernels import KERNELS

_FAR = 1 << 61
_NAMED = 4

Rescaling = o.Requantize | o.Divide


def unclipped(graph: Graph, op: Rescaling, x: Array) -> Array:
    """What the op gives before its limits."""
    return _run(graph, _wide(op), x)


def tie_count(graph: Graph, op: Rescaling, x: Array) -> int | None:
    """Elements where rounding half up and half down differ; None for schemes that do not round once."""
    ends = []
    for mode in (Rounding.RND, Rounding.RND_MIN_INF):
        wide = _wide(op)
        if isinstance(wide, o.Divide):
            ends.append(_run(graph, dataclasses.replace(wide, rounding=mode), x))
        elif wide.rescale.scheme is Scheme.PLAIN:
            negative = wide.negative and dataclasses.replace(wide.negative, rounding=mode)
            rescale = dataclasses.replace(wide.rescale, rounding=mode)
            ends.append(_run(graph, dataclasses.replace(wide, rescale=rescale, negative=negative), x))
        else:
            return None
    return int((ends[0] != ends[1]).sum())


def _wide(op: Rescaling) -> Rescaling:
    if isinstance(op, o.Divide):
        return dataclasses.replace(op, low=-_FAR, high=_FAR)
    return dataclasses.replace(op, overflow=Overflow.SAT, low=-_FAR, high=_FAR)


def _run(graph: Graph, op: Rescaling, x: Array) -> Array:
    return KERNELS[type(op)](op, [x], [graph[op.inputs[0]]], graph[op.output])


def _every(graph: Graph, op: Rescaling) -> Array | None:
    """Every code that can come in, or the ends where they are too many: shape (n, *shape)."""
    low, high = graph[op.inputs[0]].range
    shape = graph[op.inputs[0]].shape
    if high - low > 1 << 12 or (high - low + 1) * graph[op.inputs[0]].size > 1 << 20:
        return None
    return np.broadcast_to(np.arange(low, high + 1).reshape(-1, *(1,) * len(shape)), (high - low + 1, *shape))


def unseen(graph: Graph, trace: Mapping[str, Array]) -> tuple[str, ...]:
    """Sentences on what equal codes on these samples do not show; empty where every corner was hit.

    trace: codes of every tensor (N, *shape). A rounding that has no ties, or a limit that the proven range does not
    reach, is no gap.
    """
    ties: list[str] = []
    above: list[str] = []
    below: list[str] = []
    rescales = [op for op in graph.ops if isinstance(op, Rescaling)]
    for op in rescales:
        x = trace[op.inputs[0]]
        if tie_count(graph, op, x) == 0 and _has_ties(graph, op):
            ties.append(op.output)
        wide = unclipped(graph, op, x)
        ends = [np.full((1, *graph[op.inputs[0]].shape), end) for end in graph[op.inputs[0]].range]
        reach = np.concatenate([unclipped(graph, op, end) for end in ends])
        if not (wide > op.high).any() and (reach > op.high).any():
            above.append(op.output)
        if not (wide < op.low).any() and (reach < op.low).any():
            below.append(op.output)
    sums = [op.output for op in graph.ops if isinstance(op, o.Linear | o.MatMul)]
    far = [name for name in sums if _far(graph, name, trace[name])]
    found = []
    if ties:
        found.append(
            f"no exact half came up in {len(ties)} of {_count(rescales)} ({_names(ties)}): how they break ties"
        )
    if above:
        found.append(f"no value passed the upper limit of {_names(above)}: whether it is clipped there")
    if below:
        found.append(f"no value passed the lower limit of {_names(below)}: whether it is clipped there")
    if far:
        found.append(
            f"no sum came into the outer half of its proven range in {_names(far)}: whether its width suffices"
        )
    return tuple(found)


def _count(rescales: Sequence[o.Op]) -> str:
    return f"{len(rescales)} rounding{'s' * (len(rescales) != 1)}"


def _has_ties(graph: Graph, op: Rescaling) -> bool:
    """Whether any code that can come in is an exact half; taken as true where there are too many to try."""
    if isinstance(op, o.Requantize) and op.rescale.shift.high <= 0:
        return False
    if isinstance(op, o.Divide) and op.divisor.low == op.divisor.high and op.divisor.low % 2:
        return False
    every = _every(graph, op)
    return every is None or bool(tie_count(graph, op, every))


def _far(graph: Graph, name: str, codes: Array) -> bool:
    low, high = graph[name].range
    center, reach = (low + high) / 2, (high - low) / 2
    return bool(reach) and float(np.abs(codes - center).max(initial=0)) < reach / 2


def _names(tensors: Sequence[str]) -> str:
    rest = f" and {len(tensors) - _NAMED} more" if len(tensors) > _NAMED else ""
    return ", ".join(repr(short(name)) for name in tensors[:_NAMED]) + rest
