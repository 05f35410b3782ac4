"""Channels-first layers. The graph is channels last throughout.

``data_format='channels_first'`` (and a normalization over axis 1) turns the layer's input by a Transpose and leaves its
output *turned*: the tensor stays channels last, and the value remembers that the model sees it channels first.
Elementwise layers and channels-first neighbours go on with such values as they are; any other layer, and the model's
end, turn them back first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from qsim.importers.keras.lower.context import Context
from qsim.importers.keras.lower.record import Record
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.shape import transpose
from qsim.importers.symbolic.value import Value

_NORMALIZATIONS = ("BatchNormalization", "QBatchNormalization")


def lower_in_layout(record: Record, ctx: Context, node: LayerNode, inputs: list[Value]) -> Value | list[Value]:
    """The record's lowering applied to ``inputs`` in the order that the layer takes them."""
    if all(v.turned for v in inputs) and inputs and record.any_order:
        return _mark(record.lower(ctx, node, [v.but(turned=False) for v in inputs]))
    if record.identity:
        return record.lower(ctx, node, inputs)
    if len(inputs) == 1 and _is_channels_first(node, inputs[0]):
        value = inputs[0]
        if not value.turned:
            value = _turn(ctx, value, f"{node.name}.in", lambda rank: (*range(1, rank), 0))
        config = {**node.config, "data_format": "channels_last"}
        config |= {"axis": -1} if node.class_name in _NORMALIZATIONS else {}
        return _mark(record.lower(ctx, dataclasses.replace(node, config=config), [value.but(turned=False)]))
    return record.lower(ctx, node, [as_seen(ctx, v) for v in inputs])


def as_seen(ctx: Context, value: Value, name: str | None = None) -> Value:
    """The value in the order in which the model sees it."""
    if not value.turned:
        return value
    back = _turn(ctx, value, name or f"{value.layer}.chw", lambda rank: (rank - 1, *range(rank - 1)))
    return back.but(turned=False)


def _is_channels_first(node: LayerNode, value: Value) -> bool:
    if len(value.shape) < 2:
        return False
    if node.class_name in _NORMALIZATIONS:
        return node.config.get("axis", -1) in (1, [1], (1,))
    return node.config.get("data_format") == "channels_first"


def _mark(result: Value | list[Value]) -> Value | list[Value]:
    """Turned, where an order is left: a Flatten or global pool ends channels last in Keras too."""
    if isinstance(result, list):
        return [v.but(turned=len(v.shape) > 1) for v in result]
    return result.but(turned=len(result.shape) > 1)


def _turn(ctx: Context, value: Value, name: str, order: Callable[[int], tuple[int, ...]]) -> Value:
    perm = order(len(value.shape))
    node = LayerNode(name=name, layer=value.layer, class_name="Permute", config={}, inputs=(), weights={})
    return transpose(ctx, node, value, perm).but(layer=value.layer)
