"""Elementwise operations of several tensors, of one, and concatenation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.simulate.native.chains import Unsuited, chain, fits32
from qsim.simulate.native.lower.base import COMBINE, JOIN, Call, Site
from qsim.simulate.native.structures import LANES, CombineC, JoinC, OperandC

Combined = o.Add | o.Mul | o.Extremum
_ADD, _MUL, _MAX, _MIN = range(4)


@dataclass(frozen=True, kw_only=True)
class Operand:
    """One input of a combination: a stored tensor, what it passes through, and the tensor that this gives."""

    stored: str
    feed: tuple[o.Elementwise, ...]
    tensor: str


def combine(
    op: Combined | None, operands: Sequence[Operand], tail: Sequence[o.Elementwise], out: str, site: Site
) -> Call:
    """Elementwise operations of several tensors, or (op None) of one, with what stands before and behind.

    Raises Unsuited.
    """
    graph, keep = site.graph, site.keep
    target = graph[op.output if op is not None else operands[0].tensor]
    rows = []
    wide = op is not None and not _narrow_combination(op, [graph[x.tensor] for x in operands], target)
    for number, operand in enumerate(operands):
        tensor, constant = graph[operand.tensor], site.constant(operand.stored)
        if not _repeats(tensor.shape, target.shape):
            raise Unsuited("a broadcast along inner dimensions")
        zero, shift, sign = _terms(op, number)
        row = OperandC(
            type=site.types[operand.stored],
            constant=int(constant),
            size=tensor.size,
            zero=zero,
            shift=shift,
            sign=sign,
            feed=chain(operand.feed, graph, keep),
        )
        rows.append(row)
    if op is None:
        only = graph[operands[0].tensor]
        wide = not fits32(*only.range)
    repeating = [row.size for row in rows if row.size < target.size]
    run = _run(repeating)
    if run < 8 and repeating:
        raise Unsuited("a broadcast of few elements")
    kind = {None: _ADD}.get(op, 0) if op is None else _kind(op)
    params = CombineC(
        kind=kind,
        inputs=len(rows),
        wide=int(wide),
        type_out=site.types[out],
        flat=int(not repeating and not any(row.constant for row in rows)),
        size=target.size,
        run=run,
        operands=keep.structures(rows),
        chain=chain(tail, graph, keep),
    )
    return site.call(COMBINE, params)


def _kind(op: Combined) -> int:
    match op:
        case o.Add():
            return _ADD
        case o.Mul():
            return _MUL
        case o.Extremum():
            return _MAX if op.kind == "max" else _MIN


def _terms(op: Combined | None, number: int) -> tuple[int, int, int]:
    """(zero point, left shift, sign) of an input."""
    match op:
        case o.Add():
            return op.zero_points[number], op.shifts[number], op.signs[number]
        case o.Mul():
            return op.zero_points[number], 0, 1
        case o.Extremum():
            return 0, op.shifts[number], 1
        case None:
            return 0, 0, 1


def _narrow_combination(op: Combined, inputs: Sequence[Tensor], out: Tensor) -> bool:
    """Whether 32-bit lanes hold inputs, terms, and every partial result."""
    reach = []
    for number, tensor in enumerate(inputs):
        zero, shift, _ = _terms(op, number)
        ends = [abs(end - zero) << shift for end in tensor.range]
        if not fits32(*tensor.range, zero, *ends):
            return False
        reach.append(max(ends))
    match op:
        case o.Add():
            return fits32(sum(reach))
        case o.Mul():
            return fits32(math.prod(reach))
        case o.Extremum():
            return fits32(*out.range)


def _repeats(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Whether a tensor of ``shape`` repeats along one of ``full``: it has the trailing dimensions alone."""
    trimmed = list(shape)
    while trimmed and trimmed[0] == 1:
        trimmed.pop(0)
    return tuple(trimmed) == full[len(full) - len(trimmed) :]


def _run(repeating: Sequence[int]) -> int:
    """The greatest number of lanes at a time that divides every repeating operand's size."""
    if not repeating:
        return LANES
    common = math.gcd(*repeating)
    return max(d for d in range(1, min(common, LANES) + 1) if common % d == 0)


def join(op: o.Concat, site: Site) -> Call:
    """A concatenation."""
    y = site.tensor(op.output)
    inputs = [site.tensor(name) for name in op.inputs]
    if len(inputs) > 60:
        raise Unsuited("more than 60 inputs")
    constant = [int(site.constant(name)) for name in op.inputs]
    params = JoinC(
        inputs=len(inputs),
        type_out=site.types[y.name],
        outer=math.prod(y.shape[: op.axis]),
        inner=site.keep.array([math.prod(t.shape[op.axis :]) for t in inputs], np.int64),
        types=site.keep.array([site.types[t.name] for t in inputs], np.int32),
        constant=site.keep.array(constant, np.int32),
    )
    return site.call(JOIN, params)
