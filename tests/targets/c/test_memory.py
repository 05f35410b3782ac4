"""Memory plans: no two live buffers overlap, all aligned, deterministic, within reach of the bound."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
from c_graphs import C_GRAPHS
from graphs import OP_GRAPHS, random_graph, small_cnn
from random_dags import random_dag

from qsim.errors import GraphError
from qsim.targets.c.memory import Buffer, MemoryPlan, plan
from qsim.targets.c.plan import schedule, scratch_of, scratch_offsets
from qsim.targets.c.types import storage


def overlaps(made: MemoryPlan) -> list[tuple[str, str]]:
    """Pairs of buffers that share a byte in a step in which both live."""
    found = []
    for a, b in itertools.combinations(made.buffers, 2):
        alive_together = any(
            a.first <= step <= a.last and b.first <= step <= b.last for step in range(a.first, a.last + 1)
        )
        start, other = made.offsets[a.name], made.offsets[b.name]
        if alive_together and start < other + b.size and other < start + a.size:
            found.append((a.name, b.name))
    return found


def random_buffers(seed: int) -> list[Buffer]:
    rng = np.random.default_rng(seed)
    buffers = []
    for i in range(int(rng.integers(1, 40))):
        first = int(rng.integers(0, 30))
        size = int(rng.choice([1, 7, 8, 9, 64, 1000]) * rng.integers(1, 5))
        buffers.append(Buffer(name=f"b{i}", size=size, first=first, last=first + int(rng.integers(0, 9))))
    return buffers


@pytest.mark.parametrize("seed", range(100))
def test_live_buffers_never_overlap(seed: int) -> None:
    for alignment in (1, 8, 16):
        made = plan(random_buffers(seed), alignment=alignment)
        assert overlaps(made) == []
        assert all(offset % alignment == 0 for offset in made.offsets.values())
        assert made.size % alignment == 0
        assert made.size >= max(made.offsets[b.name] + b.size for b in made.buffers)
        assert made.peak <= made.size <= sum(-(-b.size // alignment) * alignment for b in made.buffers)


def test_the_overlap_check_can_fail() -> None:
    buffers = (Buffer(name="a", size=8, first=0, last=2), Buffer(name="b", size=8, first=2, last=3))
    assert overlaps(MemoryPlan(buffers=buffers, offsets={"a": 0, "b": 0}, size=8, alignment=8, peak=16)) == [("a", "b")]


@pytest.mark.parametrize(
    "name", [*OP_GRAPHS, *C_GRAPHS, "small_cnn", *map(str, range(20)), *(f"dag{seed}" for seed in range(40))]
)
def test_live_tensors_of_a_graph_never_overlap(name: str) -> None:
    """Lifetimes are worked out here again: written by its group, read by any op that takes it or a view of it."""
    makers = OP_GRAPHS | C_GRAPHS | {"small_cnn": small_cnn}
    makers |= {f"dag{seed}": partial(random_dag, seed) for seed in range(40)}
    graph = makers[name]() if name in makers else random_graph(int(name))
    made = schedule(graph)
    step_of_op = {op.output: step for step, group in enumerate(made.groups) for op in (*group.fused, *group.ops)}
    working = {scratch_of(group): step for step, group in enumerate(made.groups)}
    step_of_op |= working
    lives: dict[str, list[int]] = {b.name: [step_of_op[b.name]] for b in made.memory.buffers}
    for op in graph.ops:
        for source in op.inputs:
            root = made.roots[source]
            if root in lives and op.output in step_of_op:
                lives[root].append(step_of_op[op.output])
    for out in made.copied:
        if made.roots[out] in lives:
            lives[made.roots[out]].append(len(made.groups))
    buffers = tuple(
        Buffer(
            name=tensor,
            size=scratch_offsets(graph, made.groups[working[tensor]])[1]
            if tensor in working
            else graph[tensor].size * storage(graph[tensor].format).bytes,
            first=min(steps),
            last=max(steps),
        )
        for tensor, steps in lives.items()
    )
    memory = made.memory
    again = MemoryPlan(buffers=buffers, offsets=memory.offsets, size=memory.size, alignment=8, peak=memory.peak)
    assert overlaps(again) == []


def test_a_chain_needs_its_two_largest_neighbours() -> None:
    sizes = [100, 300, 50, 200]
    made = plan([Buffer(name=str(i), size=s, first=i, last=i + 1) for i, s in enumerate(sizes)], alignment=1)
    assert made.size == made.peak == 400


def test_the_report_names_every_buffer() -> None:
    text = str(plan([Buffer(name="a", size=3, first=0, last=1), Buffer(name="b", size=9, first=1, last=2)]))
    assert text.splitlines() == [
        "arena 24 bytes, at least 24 are alive at once, alignment 8",
        "        16          3 bytes  steps   0 to   1  a",
        "         0          9 bytes  steps   1 to   2  b",
    ]


@pytest.mark.parametrize(
    "buffers",
    [
        [Buffer(name="a", size=1, first=0, last=0), Buffer(name="a", size=1, first=1, last=1)],
        [Buffer(name="a", size=0, first=0, last=0)],
        [Buffer(name="a", size=1, first=1, last=0)],
    ],
)
def test_impossible_buffers_are_refused(buffers: list[Buffer]) -> None:
    with pytest.raises(GraphError, match="memory plan: buffer 'a'"):
        plan(buffers)


def test_no_buffers() -> None:
    assert plan([]).size == 0
