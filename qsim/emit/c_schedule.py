"""The order of work of the emitted C: which ops share a layer function, which tensors are stored, and where."""

from __future__ import annotations

from dataclasses import dataclass

from qsim.analysis.memory import Buffer, MemoryPlan, plan
from qsim.emit.c_data import FUSABLE, TAILS
from qsim.emit.c_types import storage
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.ir.ops import Op

ALIGNMENT = 8
"""Bytes: of the arena and of every tensor in it; the widest element's size."""


@dataclass(frozen=True)
class Group:
    """Ops that run as one layer function: a head and elementwise ops behind it. Only the last output is stored."""

    ops: tuple[Op, ...]

    @property
    def output(self) -> str:
        return self.ops[-1].output


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """groups: layer functions in order (Constant and Reshape without a copy have none).

    roots: tensor -> the stored tensor whose bytes it shares (itself, unless it is a view). written: root -> the graph
    output whose buffer it is written to directly. copied: graph outputs that are copied at the end. memory: the arena.
    """

    groups: tuple[Group, ...]
    roots: dict[str, str]
    written: dict[str, str]
    copied: tuple[str, ...]
    memory: MemoryPlan


def _is_view(graph: Graph, op: Op) -> bool:
    return isinstance(op, o.Reshape) and storage(graph[op.inputs[0]].format) == storage(graph[op.output].format)


def _groups(graph: Graph) -> tuple[Group, ...]:
    outputs = {out.tensor: None for out in graph.outputs}
    grouped: dict[str, None] = {}
    groups: list[Group] = []
    for op in graph.ops:
        if op.output in grouped or isinstance(op, o.Constant) or _is_view(graph, op):
            continue
        chain = [op]
        while FUSABLE[type(chain[-1])] and chain[-1].output not in outputs:
            consumers = graph.consumers[chain[-1].output]
            if len(consumers) != 1 or not isinstance(consumers[0], TAILS):
                break
            chain.append(consumers[0])
        grouped.update({member.output: None for member in chain})
        groups.append(Group(tuple(chain)))
    return tuple(groups)


def schedule(graph: Graph) -> Schedule:
    """Fuse, find views, and plan the arena by liveness: a stored tensor lives from the layer function that writes it
    to the last one that reads it or a view of it."""
    groups = _groups(graph)
    roots: dict[str, str] = {i.tensor: i.tensor for i in graph.inputs}
    for op in graph.ops:
        roots[op.output] = roots[op.inputs[0]] if _is_view(graph, op) else op.output
    step_of = {group.output: step for step, group in enumerate(groups)}
    last = dict(step_of)
    for step, group in enumerate(groups):
        for name in group.ops[0].inputs:
            if roots[name] in last:
                last[roots[name]] = max(last[roots[name]], step)
    written: dict[str, str] = {}
    copied: list[str] = []
    for name in dict.fromkeys(out.tensor for out in graph.outputs):
        root = roots[name]
        if root in step_of and root not in written:
            written[root] = name
        else:
            copied.append(name)
    for name in copied:
        if roots[name] in last:
            last[roots[name]] = len(groups)
    buffers = [
        Buffer(
            name=group.output,
            size=graph[group.output].size * storage(graph[group.output].format).bytes,
            first=step,
            last=last[group.output],
        )
        for step, group in enumerate(groups)
        if group.output not in written
    ]
    memory = plan(buffers, alignment=ALIGNMENT)
    return Schedule(groups=groups, roots=roots, written=written, copied=tuple(copied), memory=memory)
