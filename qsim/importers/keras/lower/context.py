"""What every layer's lowering works with: the graph being built, the model around the layer, cached common grids."""

from __future__ import annotations

from typing import Any

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.model import KerasModel, LayerNode
from qsim.importers.symbolic.building import Building
from qsim.importers.symbolic.rescale import Rescaling
from qsim.importers.symbolic.value import Value
from qsim.numerics import Array
from qsim.proof.builder import GraphBuilder
from qsim.quantizers import Quantizer, quantizer


class Context(Building):
    """One import of a Keras model."""

    computes = "Keras computes in float32"
    fine = True

    def __init__(self, model: KerasModel, b: GraphBuilder, rescaling: Rescaling) -> None:
        super().__init__(b, rescaling)
        self.model = model
        self.consumers: dict[str, list[LayerNode]] = {node.name: [] for node in model.nodes}
        for node in model.nodes:
            for source, _ in node.inputs:
                self.consumers[source].append(node)
        self.at_boundary: set[str] = set()
        """Layers whose quantizer became the boundary of a graph input."""

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
