"""Comparison of two traces of a graph, and the report of a verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from qsim.errors import GraphError
from qsim.ir import Graph
from qsim.numerics import Array
from qsim.targets.registry import find
from qsim.targets.target import Figure


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """One tensor whose codes differ between the simulator and a target.

    count of ``total`` elements differ; ``index`` is the first one (sample first, row-major), with both codes.
    """

    target: str
    layer: str
    tensor: str
    count: int
    total: int
    index: tuple[int, ...]
    expected: int
    actual: int

    def __str__(self) -> str:
        place = ", ".join(map(str, self.index[1:]))
        return (
            f"{self.target}: layer {self.layer!r}, tensor {self.tensor!r}: {self.count} of {self.total} codes differ, "
            f"first at sample {self.index[0]}, element ({place}): simulator {self.expected}, target {self.actual}"
        )


@dataclass(frozen=True, kw_only=True)
class TargetResult:
    """What one target gave. tensors: name -> number of differing codes, in graph order, for every tensor compared.
    outputs: the target's own codes of the graph's outputs, (N, *shape)."""

    target: str
    samples: int
    tensors: Mapping[str, int]
    mismatches: tuple[Mismatch, ...]
    seconds: float
    figures: tuple[Figure, ...] = ()
    """Of the design and of its run (bytes, simulated cycles, ...)."""
    outputs: Mapping[str, Array] = field(default_factory=dict, compare=False, repr=False)

    @property
    def ok(self) -> bool:
        return not self.mismatches

    @property
    def title(self) -> str:
        """What the target is called in tables."""
        return find(self.target).title


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of ``qsim.verify``. ``ok`` only if every requested target ran and gave the simulator's codes."""

    graph: Graph
    results: tuple[TargetResult, ...]

    @property
    def ok(self) -> bool:
        return all(result.ok for result in self.results)

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """All mismatching tensors, by target, each in graph order: the first one is where a difference starts."""
        return tuple(m for result in self.results for m in result.mismatches)

    def __str__(self) -> str:
        lines = []
        for result in self.results:
            codes = result.samples * sum(self.graph[name].size for name in result.tensors)
            verdict = "equal" if result.ok else "DIFFERENT"
            lines.append(
                f"{result.target}: {verdict}, {len(result.tensors)} tensors, {result.samples} samples, {codes} codes "
                f"compared, {sum(result.tensors.values())} differ"
            )
            lines += [f"  {m}" for m in result.mismatches]
        return "\n".join(lines)


def layer_of(graph: Graph, tensor: str) -> str:
    """The source layer of a tensor; for a graph input the input itself."""
    op = graph.producers.get(tensor)
    return op.layer if op else tensor


def compare(
    graph: Graph, target: str, expected: Mapping[str, Array], actual: Mapping[str, Array]
) -> tuple[dict[str, int], tuple[Mismatch, ...]]:
    """Differing codes per tensor, and a Mismatch for every tensor that has some, in graph order.

    Raises GraphError where ``actual`` lacks a tensor or has another shape: an incomplete trace is no agreement.
    """
    counts: dict[str, int] = {}
    found = []
    for name in graph.tensors:
        if name not in actual:
            raise GraphError(f"{target} left no trace of tensor {name!r}")
        if actual[name].shape != expected[name].shape:
            raise GraphError(
                f"{target}: the trace of tensor {name!r} has shape {actual[name].shape}, not {expected[name].shape}"
            )
        different = actual[name] != expected[name]
        counts[name] = int(np.count_nonzero(different))
        if counts[name]:
            index = tuple(int(i) for i in np.argwhere(different)[0])
            found.append(
                Mismatch(
                    target=target,
                    layer=layer_of(graph, name),
                    tensor=name,
                    count=counts[name],
                    total=different.size,
                    index=index,
                    expected=int(expected[name][index]),
                    actual=int(actual[name][index]),
                )
            )
    return counts, tuple(found)
