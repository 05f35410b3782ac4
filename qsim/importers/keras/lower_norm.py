"""Normalization: an exact affine function per channel, which stays pending until a quantizer arrives."""

from __future__ import annotations

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.lower_context import Context, Registry, weight
from qsim.importers.keras.lower_value import Value, fractions
from qsim.importers.keras.model import LayerNode


def _batch_normalization(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """y = x * inv + (beta - mean * inv), inv = gamma / sqrt(variance + epsilon).

    The constants are computed in float64 from the stored float32 variables and are exact from then on.
    """
    value = inputs[0]
    axis = node.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
    if axis not in (-1, len(value.shape)):
        raise UnsupportedError(
            f"BatchNormalization over axis {axis} of {len(value.shape) + 1}",
            way_out="normalize over the last axis (channels_last)",
        )
    shape = (value.shape[-1],)
    mean = weight(node, "moving_mean", shape).astype(np.float64)
    variance = weight(node, "moving_variance", shape).astype(np.float64)
    gamma = weight(node, "gamma", shape).astype(np.float64) if node.config.get("scale", True) else np.ones(shape)
    beta = weight(node, "beta", shape).astype(np.float64) if node.config.get("center", True) else np.zeros(shape)
    epsilon = float(node.config.get("epsilon", 1e-3))
    if not (variance + epsilon > 0).all():
        raise ModelError(f"layer {node.name!r}: a moving variance plus epsilon is not positive.")
    inverse = gamma / np.sqrt(variance + epsilon)
    if value.clamped:
        value = ctx.grid(value, node.name)
    return value.affine(fractions(inverse), fractions(beta - mean * inverse)).but(layer=node.name)


LAYERS: Registry = {"BatchNormalization": _batch_normalization}
