"""The order of work of the emitted C: which ops share a layer function, which tensors are stored, and where."""

from __future__ import annotations

from dataclasses import dataclass

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.ir.ops import Op
from qsim.targets.c.lower.tables import FUSABLE, MERGES, TAILS
from qsim.targets.c.lower.tiled import Tiling, tiling
from qsim.targets.c.memory import Buffer, MemoryPlan, plan
from qsim.targets.c.types import storage

ALIGNMENT = 8
"""Bytes: of the arena and of every tensor in it; the widest element's size."""


@dataclass(frozen=True)
class Group:
    """Ops that run as one layer function: a head and elementwise ops behind it. Only the last output is stored.

    feeds: input of the head -> elementwise ops in front of it that run here too, block by block (a head that adds,
    multiplies or compares: the wide, aligned form of its inputs is never stored).
    """

    ops: tuple[Op, ...]
    feeds: dict[str, tuple[Op, ...]]

    @property
    def sources(self) -> tuple[str, ...]:
        """The stored tensors that the function reads, each once."""
        names = (self.feeds[name][0].inputs[0] if name in self.feeds else name for name in self.ops[0].inputs)
        return tuple(dict.fromkeys(names))

    @property
    def fused(self) -> tuple[Op, ...]:
        """The ops whose outputs are not stored."""
        return (*(op for chain in self.feeds.values() for op in chain), *self.ops[:-1])

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


def _feed(graph: Graph, name: str, shape: tuple[int, ...], kept: dict[str, None]) -> tuple[Op, ...]:
    """The elementwise ops to run inside the op of output ``shape`` that reads ``name``: those behind the tensor of the
    chain that takes the fewest bytes to store. kept: tensors that are stored in any case."""

    def cost(tensor: str) -> int:
        return graph[tensor].size * storage(graph[tensor].format).bytes

    chain: list[Op] = []
    at = name
    while at not in kept and graph[at].shape == shape and isinstance(graph.producers[at], TAILS):
        chain.insert(0, graph.producers[at])
        at = chain[0].inputs[0]
    stored = [at, *(op.output for op in chain)]
    best = min(range(len(stored)), key=lambda k: (cost(stored[k]), 0 if stored[k] in kept else 1, -k))
    return tuple(chain[best:])


def _groups(graph: Graph) -> tuple[Group, ...]:
    outputs = {out.tensor: None for out in graph.outputs}
    kept = {name: None for name in graph.tensors if name not in graph.producers or len(graph.consumers[name]) != 1}
    kept |= outputs | {op.output: None for op in graph.ops if isinstance(op, o.Constant) or _is_view(graph, op)}
    feeds: dict[str, dict[str, tuple[Op, ...]]] = {}
    for op in graph.ops:
        if isinstance(op, MERGES):
            chains = {name: _feed(graph, name, graph[op.output].shape, kept) for name in dict.fromkeys(op.inputs)}
            feeds[op.output] = {name: chain for name, chain in chains.items() if chain}
    fed = {op.output: None for chains in feeds.values() for chain in chains.values() for op in chain}
    grouped: dict[str, None] = dict(fed)
    groups: list[Group] = []
    for op in graph.ops:
        if op.output in grouped or isinstance(op, o.Constant) or _is_view(graph, op):
            continue
        chain = [op]
        while FUSABLE[type(chain[-1])] and chain[-1].output not in outputs:
            consumers = graph.consumers[chain[-1].output]
            if len(consumers) != 1 or not isinstance(consumers[0], TAILS) or consumers[0].output in fed:
                break
            chain.append(consumers[0])
        grouped.update({member.output: None for member in chain})
        groups.append(Group(tuple(chain), feeds.get(op.output, {})))
    return tuple(groups)


def scratch_of(group: Group) -> str:
    """The name of a layer's working memory in the plan; no tensor has it."""
    return f"{group.output} (working memory)"


def scratch_offsets(graph: Graph, group: Group) -> tuple[dict[str, int], int]:
    """Of a layer in tiles: fused tensor -> offset of its block behind the tile's inputs in the layer's working memory;
    and the bytes of all. No block and no byte of the other layers, whose blocks lie on the stack."""
    head = group.ops[0]
    if len(group.ops) == 1 or not isinstance(head, o.Conv2D | o.Dense):
        return {}, 0
    tiles = tiling(head, graph)
    if not isinstance(tiles, Tiling):
        return {}, 0
    offsets, end = {}, tiles.columns
    for op in group.fused:
        offsets[op.output] = end = -(-end // ALIGNMENT) * ALIGNMENT
        end += (tiles.block + tiles.channels % 2) * storage(graph[op.output].format).bytes
    return offsets, end


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
        for name in group.sources:
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
    for step, group in enumerate(groups):
        size = scratch_offsets(graph, group)[1]
        if size:
            buffers.append(Buffer(name=scratch_of(group), size=size, first=step, last=step))
    memory = plan(buffers, alignment=ALIGNMENT)
    return Schedule(groups=groups, roots=roots, written=written, copied=tuple(copied), memory=memory)
