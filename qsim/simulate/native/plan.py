"""Which kernel runs what: operations in groups, groups as steps, steps in segments between operations left to numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.simulate.native.chains import Unsuited
from qsim.simulate.native.lower.base import Call, Site
from qsim.simulate.native.lower.combine import Combined, Operand, combine, join
from qsim.simulate.native.lower.linear import linear
from qsim.simulate.native.lower.move import move
from qsim.simulate.native.lower.pool import pool
from qsim.simulate.native.lower.softmax import softmax
from qsim.simulate.native.structures import TYPES, Keep

_RANGES = ((-128, 127), (0, 255), (-(1 << 15), (1 << 15) - 1), (-(1 << 31), (1 << 31) - 1), (-(1 << 63), (1 << 63) - 1))
"""Of the element types, in the order of structures.TYPES."""

_COMBINED = (o.Add, o.Mul, o.Extremum)
_MOVED = (o.Transpose, o.Pad, o.Slice, o.Gather)
_HEADS = (o.Conv2D, o.Dense, *_COMBINED, o.SumPool2D, o.MaxPool2D, o.Reduce)
"""Operations that an elementwise one can follow within a step."""


@dataclass
class Group:
    """Operations that one step computes. feeds: input of the head -> elementwise operations in front of it."""

    ops: list[o.Op]
    feeds: dict[str, list[o.Op]] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """The tensor that it stores."""
        return self.ops[-1].output

    @property
    def sources(self) -> tuple[str, ...]:
        """The stored tensors that it reads, in the order of the head's inputs."""
        return tuple(self.feeds[n][0].inputs[0] if n in self.feeds else n for n in self.ops[0].inputs)

    def names(self) -> tuple[str, ...]:
        """The operations' class names, feeds first."""
        before = (op for feed in self.feeds.values() for op in feed)
        return tuple(type(op).__name__ for op in (*before, *self.ops))


@dataclass(frozen=True, kw_only=True)
class Step:
    """A group and the kernel's call for it; call None: numpy runs its operations one by one."""

    group: Group
    call: Call | None
    reason: str = ""


def element_type(tensor: Tensor) -> int:
    """The number of the narrowest element type that holds the tensor's proven range."""
    low, high = tensor.range
    return next(k for k, (least, greatest) in enumerate(_RANGES) if least <= low and high <= greatest)


def groups(graph: Graph, kept: frozenset[str]) -> list[Group]:
    """The operations in groups, in order of execution. Tensors of ``kept`` are stored whatever follows them."""
    made: dict[str, Group] = {}

    def single(name: str) -> bool:
        return name not in kept and len(graph.consumers[name]) == 1

    for op in graph.ops:
        source = made.get(op.inputs[0]) if op.inputs else None
        if isinstance(op, o.Elementwise) and source is not None and single(op.inputs[0]) and _takes_tail(source):
            del made[op.inputs[0]]
            source.ops.append(op)
            made[op.output] = source
            continue
        group = Group([op])
        if isinstance(op, _COMBINED):
            for name in dict.fromkeys(op.inputs):
                feed = made.get(name)
                # A feed keeps the shape of its input, so that its parameters repeat as they do there.
                if feed is not None and single(name) and op.inputs.count(name) == 1 and _is_chain(feed):
                    group.feeds[name] = made.pop(name).ops
        made[op.output] = group
    return list(made.values())


def _is_chain(group: Group) -> bool:
    return isinstance(group.ops[0], o.Elementwise)


def _takes_tail(group: Group) -> bool:
    return isinstance(group.ops[0], (*_HEADS, o.Elementwise))


def steps(
    graph: Graph, kept: frozenset[str], keep: Keep, dot: bool
) -> tuple[list[Step], dict[str, int], dict[str, str]]:
    """(steps in order, element type of each stored tensor, view -> the tensor whose bytes it shares)."""
    views: dict[str, str] = {}
    types = {i.tensor: element_type(graph[i.tensor]) for i in graph.inputs}
    made: list[Step] = []
    site = Site(graph=graph, types=types, keep=keep, dot=dot)
    for group in _ordered(graph, kept):
        head, out = group.ops[0], group.output
        types[out] = element_type(graph[out])
        if isinstance(head, o.Reshape):
            views[out], types[out] = head.inputs[0], types[head.inputs[0]]
            continue
        if isinstance(head, _MOVED) and not isinstance(head, o.Pad):
            types[out] = types[head.inputs[0]]
        try:
            made.append(Step(group=group, call=_call(group, site)))
        except (Unsuited, OverflowError) as error:
            made += _by_numpy(group, site, types, str(error))
    return made, types, views


def _ordered(graph: Graph, kept: frozenset[str]) -> list[Group]:
    """Groups in the order of their last operation: all that a group reads is stored before."""
    place = {op.output: number for number, op in enumerate(graph.ops)}
    return sorted(groups(graph, kept), key=lambda g: place[g.output])


def _by_numpy(group: Group, site: Site, types: dict[str, int], reason: str) -> list[Step]:
    """A group that its kernel does not take: the head alone by numpy, the rest as a chain of its own."""
    graph = site.graph
    found: list[Step] = []
    feeds = [Group(list(feed)) for feed in group.feeds.values()]
    parts = [*feeds, Group(group.ops[:1])] + ([Group(group.ops[1:])] if len(group.ops) > 1 else [])
    for part in parts:
        types[part.output] = element_type(graph[part.output])
        if part.ops[0] is group.ops[0]:
            found.append(Step(group=part, call=None, reason=reason))
            continue
        try:
            found.append(Step(group=part, call=_call(part, site)))
        except (Unsuited, OverflowError) as error:
            for op in part.ops:
                types[op.output] = element_type(graph[op.output])
                found.append(Step(group=Group([op]), call=None, reason=str(error)))
    return found


def _call(group: Group, site: Site) -> Call:
    head, out = group.ops[0], group.output
    if all(site.constant(name) for name in group.sources):
        raise Unsuited("constants alone")  # the kernels step from sample to sample
    chain = [op for op in group.ops if isinstance(op, o.Elementwise)]
    match head:
        case o.Conv2D() | o.Dense():
            return linear(head, chain, out, site)
        case o.Add() | o.Mul() | o.Extremum():
            return combine(head, _operands(head, group.feeds), chain, out, site)
        case o.SumPool2D() | o.MaxPool2D() | o.Reduce():
            return pool(head, chain, out, site)
        case o.Requantize() | o.Divide() | o.Threshold() | o.Lookup():
            name = head.inputs[0]
            return combine(None, [Operand(stored=name, feed=(), tensor=name)], chain, out, site)
        case o.Transpose() | o.Pad() | o.Slice() | o.Gather():
            return move(head, site)
        case o.Concat():
            return join(head, site)
        case o.Softmax():
            return softmax(head, out, site)
        case _:
            raise Unsuited(f"{type(head).__name__} has no native kernel")


def _operands(op: Combined, feeds: Mapping[str, Sequence[o.Op]]) -> list[Operand]:
    found = []
    for name in op.inputs:
        feed: tuple[o.Elementwise, ...] = tuple(f for f in feeds.get(name, ()) if isinstance(f, o.Elementwise))
        found.append(Operand(stored=feed[0].inputs[0] if feed else name, feed=feed, tensor=name))
    return found


__all__ = ["TYPES", "Group", "Step", "element_type", "groups", "steps"]
