"""What every layer's lowering works with: the graph being built, the model around the layer, cached common grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.lower.quantize import apply_channel_rules, apply_rule, on_grid, quantization
from qsim.importers.keras.lower.rescale import Rescaling
from qsim.importers.keras.lower.value import Value
from qsim.importers.keras.model import KerasModel, LayerNode
from qsim.ir.ops import Op
from qsim.numerics import Array
from qsim.proof.builder import GraphBuilder
from qsim.quantizers import Quantizer, Rule, quantizer

MOST_NAMED = 8
"""Layers that a note names."""

Lowering = Callable[["Context", LayerNode, list[Value]], Value | list[Value]]
"""Lowers one layer call: its inputs' values to its output's (or outputs')."""


class Context:
    """One import. ``b`` collects the ops; ``rescaling`` is how factors that are no powers of two become integers."""

    def __init__(self, model: KerasModel, b: GraphBuilder, rescaling: Rescaling) -> None:
        self.model, self.b, self.rescaling = model, b, rescaling
        self.consumers: dict[str, list[LayerNode]] = {node.name: [] for node in model.nodes}
        for node in model.nodes:
            for source, _ in node.inputs:
                self.consumers[source].append(node)
        self.at_boundary: set[str] = set()
        """Layers whose quantizer became the boundary of a graph input."""
        self._grids: dict[tuple[Any, ...], Value] = {}
        self._rounded: dict[str, None] = {}

    def grid(self, value: Value, layer: str, *, rising: bool = False) -> Value:
        """``on_grid``, once per value however many layers need it."""
        key = (
            value.tensor,
            value.layer,
            rising,
            *(part.shape for part in (value.scale, value.offset)),
            *value.scale.reshape(-1).tolist(),
            *value.offset.reshape(-1).tolist(),
            value.floor,
            value.ceiling,
        )
        if key not in self._grids:
            self.reads(value)
            self._grids[key] = on_grid(self.b, value, layer, rising=rising)
        return self._grids[key]

    def add(
        self,
        op: type[Op],
        inputs: list[str],
        name: str,
        layer: str,
        scale: Array,
        offset: Array,
        **fields: Any,
    ) -> str:
        """Add an op whose output's meaning is at most per channel."""
        return self.b.add(op, inputs, name, layer=layer, quantization=quantization(scale, offset), **fields)

    def reads(self, value: Value) -> None:
        """Remember the value's layer where the source's float32 cannot hold all of its values."""
        if value.layer not in self._rounded and not value.in_float32(*self.b.tensor(value.tensor).range):
            self._rounded[value.layer] = None

    def note_rounding(self) -> None:
        """One note on all layers that ``reads`` remembered."""
        if self._rounded:
            names = [repr(name) for name in self._rounded]
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            self.b.note(
                f"Keras computes in float32, which cannot hold every value of {', '.join(names[:MOST_NAMED])}{more} "
                "(sums of more than 24 bits, averages, scales that are no powers of two). It rounds them where qsim is "
                "exact, so that its code can differ where such a value lies on a tie; qsim diff tells the two apart."
            )

    def quantize(self, value: Value, rule: Rule, node: LayerNode, name: str | None = None) -> Value:
        """``rule`` applied to ``value``; the tensor carries the node's name unless ``name`` is given."""
        self.reads(value)
        return apply_rule(self.b, value, rule, node.name, name or node.name, self.rescaling)

    def quantize_channels(self, value: Value, rules: Sequence[Rule], node: LayerNode) -> Value:
        """As ``quantize`` with one uniform rule per channel; all have the same codes."""
        self.reads(value)
        return apply_channel_rules(self.b, value, rules, node.name, node.name, self.rescaling)

    def quantizer(self, node: LayerNode, key: str) -> Quantizer | None:
        """The twin of the quantizer in ``node.config[key]``."""
        return quantizer(node.config.get(key))


def weight(node: LayerNode, name: str, shape: tuple[int, ...] | None = None) -> Array:
    """A weight array of the node, finite and (if given) of ``shape``. Raises ModelError otherwise."""
    if name not in node.weights:
        known = ", ".join(node.weights) or "none"
        raise ModelError(f"layer {node.name!r}: the weights file has no {name!r} for it (found: {known}).")
    array = np.asarray(node.weights[name])
    if shape is not None and array.shape != shape:
        raise ModelError(f"layer {node.name!r}: weight {name!r} has shape {array.shape}, its config implies {shape}.")
    if not np.isfinite(array).all():
        raise ModelError(f"layer {node.name!r}: weight {name!r} holds NaN or infinite values.")
    return array


def pair(value: Any) -> tuple[int, int]:
    """A number or a list of two as two integers."""
    if isinstance(value, int | float):
        return int(value), int(value)
    first, second = value
    return int(first), int(second)


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's 'same': output ceil(size / stride), the odd element of padding at the end."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def padding_2d(
    node: LayerNode,
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) of a node's ``padding`` on an (H, W, C) input."""
    match str(node.config.get("padding", "valid")).lower():
        case "valid":
            return (0, 0), (0, 0)
        case "same":
            return (
                same_padding(shape[0], kernel[0], strides[0], dilation[0]),
                same_padding(shape[1], kernel[1], strides[1], dilation[1]),
            )
        case other:
            raise UnsupportedError(f"padding {other!r} is not supported", way_out="use 'valid' or 'same'")


def channels_last(node: LayerNode) -> None:
    """Raise UnsupportedError for channels_first layers."""
    if node.config.get("data_format") == "channels_first":
        raise UnsupportedError(
            "data_format='channels_first' is not supported", way_out="rebuild the model with channels_last"
        )


def rank(node: LayerNode, value: Value, expected: int) -> None:
    """Raise ModelError unless the input has ``expected`` dimensions without the batch."""
    if len(value.shape) != expected:
        raise ModelError(
            f"layer {node.name!r}: {node.class_name} takes inputs of {expected} dimensions without the batch, "
            f"its input has shape {value.shape}."
        )


Registry = Mapping[str, Lowering]
