"""FIFO depths of the HLS design: how many elements each branch of a fork must hold so that nothing deadlocks.

Every process reads and writes its streams in a fixed order, so the design is a Kahn process network: whether it
deadlocks depends on the depths alone, and it does not if a single schedule exists that never overfills a FIFO. The
schedule used here asks for the elements of each join one at a time. Let J be the tensor in which all branches of a
forked tensor T meet again (its immediate post-dominator), and k count J's elements:

    made(k)    elements of T that exist once k elements of J do: the greatest demand of any branch
    read(k)    elements of T that one branch has taken by then
    depth      max over k of made(k) - read(k-1), the last step being the drain of the whole frame

A branch that is always the most demanding one, and whose reader has no other input to wait for, takes each element as
soon as it is made: it needs no depth of its own, and neither do streams with one reader. Branches that never meet again
get a whole frame, which is always enough: no process needs an element of the next frame to finish this one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.targets.hls.lower.needs import Need
from qsim.targets.hls.lower.tables import NEEDS

DEFAULT_DEPTH = 2
"""The depth of a stream with one reader: the two places of a ping-pong register."""


class Reader(NamedTuple):
    """An op that reads a tensor: its output, and at which position of its inputs."""

    output: str
    position: int


def needs(graph: Graph, op: o.Op) -> Need:
    """How many elements of each input ``op`` has read before it writes each output element."""
    return NEEDS[type(op)](op, [graph[name] for name in op.inputs], graph[op.output])


def readers(graph: Graph) -> dict[str, list[Reader]]:
    """Tensor -> everything that reads it; an op that reads it twice stands twice."""
    found: dict[str, list[Reader]] = {name: [] for name in graph.tensors}
    for op in graph.ops:
        for i, name in enumerate(op.inputs):
            found[name].append(Reader(op.output, i))
    return found


def meeting_points(graph: Graph) -> dict[str, str | None]:
    """Tensor -> the first tensor that everything made from it passes through (immediate post-dominator), or None."""
    order = [entry.tensor for entry in graph.inputs] + [op.output for op in graph.ops]
    place = {name: i for i, name in enumerate(order)}
    found: dict[str, str | None] = {}
    read_by = readers(graph)
    for name in reversed(order):
        meet: str | None = None
        for count, reader in enumerate(read_by[name]):
            other: str | None = reader.output
            if count == 0:
                meet = other
            while meet != other and meet is not None and other is not None:
                if place[meet] < place[other]:
                    meet = found[meet]
                else:
                    other = found[other]
            if meet is None or other is None:
                meet = None
                break
        found[name] = meet
    return found


def fork_depths(graph: Graph) -> dict[Reader, int]:
    """The FIFO depth of every branch of every forked tensor."""
    read_by, meets = readers(graph), meeting_points(graph)
    cache: dict[str, Need] = {}

    def need(reader: Reader) -> Array:
        if reader.output not in cache:
            cache[reader.output] = needs(graph, graph.producers[reader.output])
        return cache[reader.output][reader.position]

    depths: dict[Reader, int] = {}
    for name, branches in read_by.items():
        if len(branches) < 2:
            continue
        size, meet = graph[name].size, meets[name]
        if meet is None:
            depths.update({reader: max(DEFAULT_DEPTH, size) for reader in branches})
            continue
        made: dict[str, Array] = {meet: np.arange(graph[meet].size + 1, dtype=np.int64)}

        def demand(tensor: str, made: dict[str, Array] = made) -> Array:
            if tensor not in made:
                wanted = [need(reader)[demand(reader.output, made)] for reader in read_by[tensor]]
                made[tensor] = np.maximum.reduce(wanted)
            return made[tensor]

        supply = np.append(demand(name), size)
        for reader in branches:
            taken = need(reader)[made[reader.output]]
            alone = len(graph.producers[reader.output].inputs) == 1
            if alone and np.array_equal(taken, demand(name)):
                depths[reader] = DEFAULT_DEPTH
                continue
            behind = int((supply[1:] - taken).max())
            depths[reader] = max(DEFAULT_DEPTH, behind)
    return depths
