"""Layers that only hold another one: Blueoil's QuantizedKernel, tfmot's PruneLowMagnitude."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from qsim.errors import ModelError
from qsim.importers.keras.model import LayerNode
from qsim.importers.keras.read.config import short_name
from qsim.importers.keras.read.prune import PRUNER, prunable
from qsim.proof.builder import GraphBuilder

WRAPPERS = ("QuantizedKernel", PRUNER)


def unwrapped(node: LayerNode) -> LayerNode:
    """The layer that a wrapper holds, under the wrapper's name and with what the wrapper does to it; other nodes as
    they are. Raises ModelError where the wrapper's config lacks its layer."""
    if node.class_name not in WRAPPERS:
        return node
    layer = node.config.get("layer")
    if not isinstance(layer, Mapping) or not isinstance(layer.get("config"), Mapping):
        raise ModelError(f"layer {node.name!r}: the config of this {node.class_name} lacks its layer.")
    class_name = short_name(str(layer.get("class_name")))
    changed = _quantized if node.class_name == "QuantizedKernel" else _pruned
    return changed(node, class_name, {**layer["config"], "name": node.config.get("name")})


def _quantized(node: LayerNode, class_name: str, config: dict[str, Any]) -> LayerNode:
    """The quantizer among the layer's own. Raises ModelError where there is none."""
    quantizer = node.config.get("quantizer")
    if quantizer is None:
        raise ModelError(f"layer {node.name!r}: the config of this QuantizedKernel lacks its quantizer.")
    weight = str(node.config.get("weight", "kernel"))
    key = "depthwise_quantizer" if class_name == "DepthwiseConv2D" else f"{weight}_quantizer"
    weights = {}
    for name, array in node.weights.items():
        role, _, rest = name.partition("/")
        weights[rest if role == "layer" else f"{key}/{rest}"] = array
    return dataclasses.replace(node, class_name=class_name, config={**config, key: quantizer}, weights=weights)


def _pruned(node: LayerNode, class_name: str, config: dict[str, Any]) -> LayerNode:
    """The weights times their masks, as tfmot computes them (pruning_wrapper.PruneLowMagnitude)."""
    weights = {name[6:]: array for name, array in node.weights.items() if name.startswith("layer/")}
    for mask, name in prunable(class_name):
        weights[name] = weights[name] * node.weights[mask]
    return dataclasses.replace(node, class_name=class_name, config=config, weights=weights)


def note_masks(b: GraphBuilder, node: LayerNode) -> None:
    """Tell of weights that a mask prunes and the file holds: tfmot masks them in training and in graphs, not in eager
    runs, and ``strip_pruning`` keeps them."""
    if node.class_name != PRUNER:
        return
    held = 0
    for mask, name in prunable(short_name(str(node.config["layer"]["class_name"]))):
        held += int(np.count_nonzero(node.weights[f"layer/{name}"][node.weights[mask] == 0]))
    if held:
        b.note(
            f"layer {node.name}: {held} weights that its pruning mask removes are not zero in the model. qsim takes "
            "them as zero; a run of Keras outside a graph, and strip_pruning, do not until the masks have been applied."
        )
