"""Quantizers of a model in memory, with every argument they have.

QKeras' ``get_config`` leaves arguments out (is_quantized_clip, scale_axis, elements_per_scale, ...), so that a saved
model comes back with their defaults. A model in memory acts by its live objects: their attributes replace the config's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from qsim.importers.keras.model import KerasModel
from qsim.quantizers import QUANTIZERS


def with_live_quantizers(model: KerasModel, source: Any) -> KerasModel:
    """``model`` with the arguments that the quantizers of ``source`` (the keras.Model it was read from) have now."""
    layers = dict(_layers(source, ""))
    nodes = []
    for node in model.nodes:
        layer = layers.get(node.layer)
        if layer is not None:
            node = dataclasses.replace(node, config=_live_config(node.config, layer))
        nodes.append(node)
    return dataclasses.replace(model, nodes=tuple(nodes))


def _layers(source: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for layer in source.layers:
        name = prefix + layer.name
        yield name, layer
        if hasattr(layer, "layers"):
            yield from _layers(layer, name + "/")


def _live_config(config: Mapping[str, Any], layer: Any) -> dict[str, Any]:
    result = dict(config)
    if "layer" in config and "quantizer" in config:  # a QuantizedKernel: what it wraps has quantizers of its own
        held = {**config["layer"], "config": _live_config(config["layer"]["config"], layer.layer)}
        return {**result, "layer": held, "quantizer": _live_quantizer(layer.quantizer) or config["quantizer"]}
    for key in config:
        if key == "activation" or key.endswith(("_quantizer", "_activation")):
            live = getattr(layer, f"{key}_internal", None) or getattr(layer, key, None)
            if (found := _live_quantizer(live)) is not None:
                result[key] = found
    return result


def _live_quantizer(live: Any) -> dict[str, Any] | None:
    name = type(live).__name__
    return {"class_name": name, "config": _arguments(live)} if name in QUANTIZERS else None


def _arguments(live: Any) -> dict[str, Any]:
    twin = QUANTIZERS[type(live).__name__]
    names = (f.name for f in dataclasses.fields(twin) if f.name not in twin.ignored)
    return {name: _plain(getattr(live, name)) for name in names if hasattr(live, name)}


def _plain(value: Any) -> Any:
    """Variables, tensors and arrays as numbers and lists."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return np.asarray(value).tolist()
