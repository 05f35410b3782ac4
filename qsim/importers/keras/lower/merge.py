"""Layers that join several tensors."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from qsim.errors import ModelError
from qsim.importers.keras.lower.context import Context
from qsim.importers.keras.lower.record import Lowering, Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.combine import add, concatenated, extremum, multiply
from qsim.importers.symbolic.value import Value


def _add(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return add(ctx, node, inputs, [1] * len(inputs))


def concatenate(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """Meanings are joined like the tensors; only what cannot be said per channel is brought to a common grid."""
    rank = len(inputs[0].shape)
    axis = int(node.config.get("axis", -1))
    # Keras counts the batch: axis 1 is the first axis here.
    axis = axis + rank if axis < 0 else axis - 1
    if not 0 <= axis < rank:
        raise ModelError(f"layer {node.name!r}: axis {node.config.get('axis')} does not exist in {inputs[0].shape}.")
    return concatenated(ctx, node, inputs, axis)


def _subtract(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return add(ctx, node, inputs, [1, -1])


def _average(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """The sum, and 1/n pending."""
    return add(ctx, node, inputs, [1] * len(inputs), f"{node.name}.sum").affine(Fraction(1, len(inputs)))


def _multiply(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return multiply(ctx, node, inputs)


def _extremum(kind: Literal["max", "min"]) -> Lowering:
    def lowering(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
        return extremum(ctx, node, inputs, kind)

    return lowering


LAYERS: Registry = {
    "Add": Record(lower=_add, any_order=True),
    "Subtract": Record(lower=_subtract, any_order=True),
    "Average": Record(lower=_average, any_order=True),
    "Multiply": Record(lower=_multiply, any_order=True),
    "Maximum": Record(lower=_extremum("max"), any_order=True),
    "Minimum": Record(lower=_extremum("min"), any_order=True),
    "Concatenate": Record(lower=concatenate, reads=("axis",)),
}
