"""Layers with float weights, quantized by qsim to a number format that the user gives (``weights_format``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from qsim.errors import ModelError, UsageError
from qsim.importers.importer import WeightsFormat
from qsim.importers.keras.lower.record import Record
from qsim.importers.keras.model import KerasModel, LayerNode
from qsim.numerics import FixedPoint, parse_format
from qsim.proof.builder import GraphBuilder

ROLES = ("kernel", "depthwise", "pointwise", "recurrent")
"""Weights that are multiplied with activations; biases stay exact as they are stored."""

ALL = "*"
"""The name that stands for every layer with float weights that no other name means."""


def formatted(
    model: KerasModel, given: WeightsFormat, records: Mapping[str, Record], b: GraphBuilder
) -> KerasModel:
    """``model`` with quantizers of the given formats where a layer has float weights, and a note for each.

    Raises UsageError for names of no such layer, and where the model has none.
    """
    if given is None:
        return model
    by_name = _by_name(given)
    floats = {node.layer: None for node in model.nodes if _float_roles(node, records)}
    unknown = [name for name in by_name if name != ALL and name not in floats]
    if unknown or not floats:
        listed = ", ".join(floats) or "none"
        raise UsageError(
            f"weights_format names {', '.join(unknown) or 'float weights'}, but the model's layers with float weights "
            f"are: {listed}."
        )
    nodes, noted = [], set()
    for node in model.nodes:
        chosen = by_name.get(node.layer, by_name.get(ALL))
        if chosen is not None and (roles := _float_roles(node, records)):
            config = {**node.config, **{f"{role}_quantizer": _quantizer(chosen) for role in roles}}
            if node.layer not in noted:
                noted.add(node.layer)
                b.note(_note(node, roles, chosen))
            node = dataclasses.replace(node, config=config)
        nodes.append(node)
    return dataclasses.replace(model, nodes=tuple(nodes))


def _by_name(given: WeightsFormat) -> dict[str, FixedPoint]:
    found: Mapping[str, Any] = given if isinstance(given, Mapping) else {ALL: given}
    for name, f in found.items():
        if not isinstance(f, str | FixedPoint):
            raise UsageError(f"the weights_format of {name!r} is text such as 'fixed<8,1>' or a FixedPoint, not {f!r}.")
    return {name: parse_format(f) if isinstance(f, str) else f for name, f in found.items()}


def _float_roles(node: LayerNode, records: Mapping[str, Record]) -> list[str]:
    record = records.get(node.class_name)
    keys = record.reads if record is not None else ()
    return [role for role in ROLES if f"{role}_quantizer" in keys and node.config.get(f"{role}_quantizer") is None]


def _quantizer(f: FixedPoint) -> dict[str, Any]:
    """quantized_bits of the format, which rounds half to even and saturates."""
    arguments = {
        "bits": f.width,
        "integer": f.width - f.frac - f.signed,
        "symmetric": False,
        "keep_negative": f.signed,
        "alpha": 1.0,
    }
    return {"class_name": "quantized_bits", "config": arguments}


def _note(node: LayerNode, roles: list[str], f: FixedPoint) -> str:
    """What the format does to the layer's weights."""
    names = [name for role in roles for name in (f"{role}_kernel", role) if name in node.weights]
    if not names:
        raise ModelError(f"layer {node.name!r}: the model holds no weights for it.")
    values = np.concatenate([np.asarray(node.weights[name], dtype=np.float64).reshape(-1) for name in names])
    low, high, step = (float(v * f.scale) for v in (f.integers.low, f.integers.high, 1))
    outside = int(np.count_nonzero((values < low - step / 2) | (values > high + step / 2)))
    cut = f"; {outside} of {values.size} lie beyond [{low:g}, {high:g}] and saturate" if outside else ""
    return (
        f"layer {node.name}: its float weights ({', '.join(names)}) are quantized by qsim to {f}, as weights_format "
        f"says{cut}. Keras computes with the floats: qsim diff against it shows what that costs."
    )
