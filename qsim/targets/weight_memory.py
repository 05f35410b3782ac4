"""What each layer's weights take: their encoding, and the memory that each target holds them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qsim.errors import UnsupportedError
from qsim.ir import Graph
from qsim.ir.ops import Linear
from qsim.proof.weights import encoding
from qsim.targets.registry import TARGETS
from qsim.targets.target import AnyTarget, StoredWeights


@dataclass(frozen=True, kw_only=True)
class WeightMemory:
    """The weights of one operation, at the targets' default options.

    tensor: its output. count: weights; distinct: different values among them. encoding: in words, with bits of a
    stored weight. stored: target -> where it holds them; none of a target that cannot be emitted.
    """

    layer: str
    tensor: str
    count: int
    distinct: int
    encoding: str
    stored: Mapping[str, StoredWeights]


def weight_memory(graph: Graph) -> tuple[WeightMemory, ...]:
    """One entry per operation with weights, in the graph's order."""
    stored = {name: _stored(graph, target) for name, target in TARGETS.items()}
    return tuple(
        WeightMemory(
            layer=op.layer,
            tensor=op.output,
            count=op.weights.size,
            distinct=len(np.unique(op.weights.values)),
            encoding=str(encoding(op)),
            stored={name: found[op.output] for name, found in stored.items() if op.output in found},
        )
        for op in graph.ops
        if isinstance(op, Linear)
    )


def _stored(graph: Graph, target: AnyTarget) -> Mapping[str, StoredWeights]:
    try:
        return target.planned(graph).weights()
    except UnsupportedError:
        return {}


__all__ = ["WeightMemory", "weight_memory"]
