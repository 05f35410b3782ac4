"""What the estimate functions work on: a graph, with a Keras model's declared quantizers beside it where it has one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qsim.importers import load
from qsim.importers.keras.model import KerasModel, LayerNode
from qsim.ir import Graph
from qsim.ir import ops as o

Linear = o.Conv2D | o.ConvTranspose2D | o.Dense

QKERAS_INPUT = "ufixed<8,0>"
"""The input format that qkeras.estimate assumes for a model that does not say: quantized_relu(8, 0)."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """graph: the integer graph. nodes: source layer -> its description, empty for a bare graph."""

    graph: Graph
    nodes: Mapping[str, LayerNode] = field(default_factory=dict)

    def linear(self) -> dict[str, list[Linear]]:
        """Layer -> its convolutions and products, in execution order."""
        found: dict[str, list[Linear]] = {}
        for op in self.graph.ops:
            if isinstance(op, Linear):
                found.setdefault(op.layer, []).append(op)
        return found


def as_source(
    model: Any,
    input_format: Any = None,
    *,
    weights: Any = None,
    profile: str | None = None,
    rescale: str | None = None,
) -> Source:
    """A Graph, a Source, a path of a model file, or a Keras model in memory.

    input_format, weights, profile, rescale: as for ``qsim.load``; a Keras model that needs an input format
    and is given none gets qkeras' own assumption.
    """
    if isinstance(model, Source):
        return model
    if isinstance(model, Graph):
        return Source(graph=model)
    described = _describe(model, weights)
    if described is None:
        return Source(graph=load(model, weights=weights, input_format=input_format, profile=profile, rescale=rescale))
    if input_format is None and _first_layer_takes_reals(described):
        input_format = QKERAS_INPUT
    graph = load(model, weights=weights, input_format=input_format, profile=profile, rescale=rescale)
    return Source(graph=graph, nodes={n.layer: n for n in described.nodes})


def _describe(model: Any, weights: Any = None) -> KerasModel | None:
    if isinstance(model, str | os.PathLike):
        if os.fspath(model).lower().endswith(".tflite"):
            return None
        from qsim.importers.keras.reader import read

        return read(model, weights)
    from qsim.importers.keras.reader import from_memory

    return from_memory(model)


def _first_layer_takes_reals(model: KerasModel) -> bool:
    """Whether some input is read by another layer than a quantizer."""
    return any(
        name in model.inputs and node.class_name != "QActivation" for node in model.nodes for name, _ in node.inputs
    )
