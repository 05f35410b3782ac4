"""Normalization and scaling: exact affine functions, which stay pending until a quantizer arrives."""

from __future__ import annotations

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.lower.activation import activate
from qsim.importers.keras.lower.context import Context, weight
from qsim.importers.keras.lower.linear import quantize
from qsim.importers.keras.lower.record import Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.value import Value, float32, fractions
from qsim.numerics import Array


def _last_axis(node: LayerNode, value: Value) -> None:
    axis = node.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
    if axis not in (-1, len(value.shape)):
        raise UnsupportedError(
            f"{node.class_name} over axis {axis} of {len(value.shape) + 1}",
            way_out="normalize over the last axis (channels_last)",
        )


def affine(ctx: Context, node: LayerNode, value: Value, factor: Array, addend: Array) -> Value:
    """The value times factor plus addend (Fractions, broadcastable), pending; clamps are applied first."""
    if value.clamped:
        value = ctx.grid(value, node.name)
    return value.affine(factor, addend).but(layer=node.name)


def _inverse_root(node: LayerNode, variance: Array) -> Array:
    epsilon = float(node.config.get("epsilon", 1e-3))
    if not (variance + epsilon > 0).all():
        raise ModelError(f"layer {node.name!r}: a moving variance plus epsilon is not positive.")
    return np.asarray(1.0 / np.sqrt(variance + epsilon))


def _batch_normalization(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """y = x * inv + (beta - mean * inv), inv = gamma / sqrt(variance + epsilon).

    The constants are computed in float64 from the stored float32 variables and are exact from then on.
    """
    value = inputs[0]
    _last_axis(node, value)
    shape = (value.shape[-1],)
    mean = weight(node, "moving_mean", shape).astype(np.float64)
    variance = weight(node, "moving_variance", shape).astype(np.float64)
    gamma = weight(node, "gamma", shape).astype(np.float64) if node.config.get("scale", True) else np.ones(shape)
    beta = weight(node, "beta", shape).astype(np.float64) if node.config.get("center", True) else np.zeros(shape)
    inverse = gamma * _inverse_root(node, variance)
    return affine(ctx, node, value, fractions(inverse), fractions(beta - mean * inverse))


def _q_batch_normalization(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """As BatchNormalization with quantized constants. Without an inverse_quantizer inv is a float64 number, with one it
    is quantizer(inv); beta - mean * inv is exact, so that a value equal to the mean gives beta, which may be a tie."""
    value, config = inputs[0], node.config
    _last_axis(node, value)
    shape = (value.shape[-1],)

    def constant(name: str, variable: str, *, kernel: bool = False) -> Array:
        array = weight(node, variable, shape)
        twin = ctx.quantizer(node, f"{name}_quantizer")
        if twin is None:
            return fractions(array)
        weights = quantize(ctx, node, variable, twin.as_kernel() if kernel else twin, array)
        return np.asarray(fractions(weights.codes) * weights.scale)

    one, zero = fractions(np.ones(shape)), fractions(np.zeros(shape))
    gamma = constant("gamma", "gamma", kernel=True) if config.get("scale", True) else one
    beta = constant("beta", "beta") if config.get("center", True) else zero
    mean = constant("mean", "moving_mean")
    variance = constant("variance", "moving_variance", kernel=True)
    inverse = fractions(gamma.astype(np.float64) * _inverse_root(node, variance.astype(np.float64)))
    twin = ctx.quantizer(node, "inverse_quantizer")
    if twin is not None:
        weights = quantize(ctx, node, "inverse", twin, inverse.astype(np.float64).astype(np.float32))
        inverse = np.asarray(fractions(weights.codes) * weights.scale)
    return affine(ctx, node, value, inverse, np.asarray(beta - mean * inverse))


def _scale_shift(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """y = x * quantizer(weight) + quantizer(bias), both single numbers."""

    def constant(name: str) -> Array:
        array = weight(node, name, (1, 1))
        twin = ctx.quantizer(node, f"{name}_quantizer")
        if twin is None:
            return fractions(array).reshape(())
        weights = quantize(ctx, node, name, twin.as_kernel(), array)
        return np.asarray(fractions(weights.codes) * weights.scale).reshape(())

    addend = constant("bias") if node.config.get("use_bias", True) else fractions(0)
    result = affine(ctx, node, inputs[0], constant("weight"), addend)
    return activate(ctx, node, result, node.config.get("activation"))


def _rescaling(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """y = x * scale + offset, numbers or one per channel, as float32 numbers."""
    factor, addend = (float32(node.config.get(key, default)) for key, default in (("scale", 1.0), ("offset", 0.0)))
    return affine(ctx, node, inputs[0], factor, addend)


def _normalization(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """y = (x - mean) / max(sqrt(variance), 1e-7), or its inverse, mean and variance per channel or numbers, given or
    adapted. The factor is computed in float64 and exact from then on."""
    value, config = inputs[0], node.config
    axis = config.get("axis", -1)
    if axis is not None and axis not in ([], [None]):
        _last_axis(node, value)
    given = config.get("mean") is not None
    mean, variance = (
        np.asarray(config[key], dtype=np.float32) if given else weight(node, key) for key in ("mean", "variance")
    )
    if mean.size not in (1, value.shape[-1]) or variance.size not in (1, value.shape[-1]) or not (variance >= 0).all():
        raise ModelError(f"layer {node.name!r}: its mean and variance do not fit {value.shape[-1]} channels.")
    deviation = np.maximum(np.sqrt(variance.astype(np.float64).reshape(-1)), 1e-7)
    center = fractions(mean.reshape(-1))
    if config.get("invert"):
        return affine(ctx, node, value, fractions(deviation), center)
    inverse = fractions(1 / deviation)
    return affine(ctx, node, value, inverse, np.asarray(-center * inverse))


_NORMALIZES = ("axis", "epsilon", "center", "scale")
_CONSTANTS = ("gamma", "beta", "mean", "variance", "inverse")

LAYERS: Registry = {
    "BatchNormalization": Record(lower=_batch_normalization, reads=_NORMALIZES),
    "QBatchNormalization": Record(
        lower=_q_batch_normalization, reads=(*_NORMALIZES, *(f"{name}_quantizer" for name in _CONSTANTS))
    ),
    "Normalization": Record(lower=_normalization, reads=("axis", "mean", "variance", "invert")),
    "QScaleShift": Record(lower=_scale_shift, reads=("weight_quantizer", "bias_quantizer", "activation", "use_bias")),
    "Rescaling": Record(lower=_rescaling, reads=("scale", "offset")),
}
