"""What the estimate functions work on: a graph, with a Keras model's declared quantizers beside it where it has one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qsim.importers import InputFormat, ModelSource, load
from qsim.importers.keras.model import KerasModel, LayerNode
from qsim.importers.sources import keras_model
from qsim.ir import Graph
from qsim.ir import ops as o

QKERAS_INPUT = "ufixed<8,0>"
"""The input format that qkeras.estimate assumes for a model that does not say: quantized_relu(8, 0)."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """graph: the integer graph. nodes: layer call -> its description, empty for a bare graph; of a Bidirectional there
    are '<layer>.forward' and '<layer>.backward' too, and wrappers stand as the layer that they wrap."""

    graph: Graph
    nodes: Mapping[str, LayerNode] = field(default_factory=dict)

    def linear(self) -> dict[str, list[o.Linear]]:
        """Layer -> its convolutions and products, in execution order."""
        found: dict[str, list[o.Linear]] = {}
        for op in self.graph.ops:
            if isinstance(op, o.Linear):
                found.setdefault(self._owner(op.layer), []).append(op)
        return found

    def _owner(self, layer: str) -> str:
        """The layer, without the step that a TimeDistributed adds to its name."""
        base = re.sub(r"\.step\d+$", "", layer)
        return base if layer not in self.nodes and base in self.nodes else layer


def as_source(model: Any, input_format: InputFormat = None) -> Source:
    """A Graph, a Source, a ModelSource, a path of a model file, or a Keras model in memory.

    input_format: as for ``qsim.load``; a Keras model that needs an input format and is given none gets qkeras' own
    assumption.
    """
    if isinstance(model, Source):
        return model
    if isinstance(model, Graph):
        return Source(graph=model)
    source = model if isinstance(model, ModelSource) else ModelSource(model=model, input_format=input_format)
    described = keras_model(source)
    if described is None:
        return Source(graph=load(source))
    if source.input_format is None and _first_layer_takes_reals(described):
        source = source.but(input_format=QKERAS_INPUT)
    return Source(graph=load(source), nodes=_nodes(described))


def _nodes(model: KerasModel) -> dict[str, LayerNode]:
    found: dict[str, LayerNode] = {}
    for node in model.nodes:
        if node.class_name in ("Bidirectional", "QBidirectional"):
            backward = node.config.get("backward_layer") or node.config["layer"]
            found[f"{node.name}.forward"] = _inner(node, node.config["layer"], "forward")
            found[f"{node.name}.backward"] = _inner(node, backward, "backward")
            found[node.name] = found[f"{node.name}.forward"]
        elif node.class_name == "TimeDistributed":
            found[node.name] = _inner(node, node.config["layer"], "layer")
        else:
            found[node.name] = node
    return found


def _inner(node: LayerNode, wrapped: Mapping[str, Any], role: str) -> LayerNode:
    """The wrapped layer with its part of the wrapper's weights."""
    return dataclasses.replace(
        node,
        class_name=wrapped["class_name"],
        config=wrapped["config"],
        weights={k.removeprefix(f"{role}/"): w for k, w in node.weights.items() if k.startswith(f"{role}/")},
    )


def _first_layer_takes_reals(model: KerasModel) -> bool:
    """Whether some input is read by another layer than a quantizer."""
    return any(
        name in model.inputs and node.class_name != "QActivation" for node in model.nodes for name, _ in node.inputs
    )
