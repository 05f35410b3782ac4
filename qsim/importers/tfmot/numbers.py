"""The converter's numbers: ranges to scales and zero points, weights and biases to codes, batch normalization to both.

Source of the rules: MLIR's fakeQuantAttrsToType and UniformQuantizedValueConverter and TensorFlow Lite's
FuseBinaryOpToPrecedingAffine, restated; tests/importers/test_tfmot.py compares with the converter itself.
"""

from __future__ import annotations

import numpy as np

from qsim.numerics import Array

LOW, HIGH = -128, 127


def round_away(x: Array) -> Array:
    """Nearest integer, halves away from zero, as int64."""
    x = np.asarray(x, dtype=np.float64)
    return np.asarray(np.sign(x) * np.floor(np.abs(x) + 0.5)).astype(np.int64)


def range_quantization(low: float, high: float) -> tuple[np.float32, int]:
    """(scale, zero point) of int8 activations with the fake-quantized range [low, high].

    scale = (high - low) / 255; the zero point is taken from the end that gives the smaller error and rounded.
    """
    scale = (high - low) / (HIGH - LOW)
    from_low, from_high = LOW - low / scale, HIGH - high / scale
    low_error, high_error = abs(LOW) + abs(low / scale), abs(HIGH) + abs(high / scale)
    zero = from_low if low_error < high_error else from_high
    return np.float32(scale), int(np.clip(round_away(np.array(zero)), LOW, HIGH))


def weight_scales(kernel: Array, ranges: tuple[Array, Array] | None) -> Array:
    """Symmetric scales of weights (output channels last), float64: (high - low) / 254 of the trained ranges, or where
    the kernel is not fake-quantized, greatest magnitude per channel / 127."""
    if ranges is not None:
        return (np.asarray(ranges[1], dtype=np.float64) - np.asarray(ranges[0], dtype=np.float64)).reshape(-1) / 254
    magnitude = np.abs(kernel.astype(np.float64)).reshape(-1, kernel.shape[-1]).max(axis=0)
    return np.asarray(magnitude / 127)


def weight_codes(kernel: Array, scales: Array, ranges: tuple[Array, Array] | None) -> Array:
    """int8 codes of weights (output channels last): round(w / scale) half away, within [-127, 127].

    A fake-quantized kernel has been rounded before by TensorFlow's FakeQuantWithMinMaxVars, all in float32: with
    s = (high - low) / 254 and the range nudged to [n, n + 254 s], code = floor((w - n) * (1/s) + 0.5) - 127.
    """
    if ranges is None:
        return np.clip(round_away(kernel.astype(np.float64) / scales), -127, 127)
    single = np.float32
    low, high = (np.asarray(end, dtype=single).reshape(-1) for end in ranges)
    step = (high - low) / single(254)
    zero = np.clip(round_away(single(1) - low / step), 1, 255).astype(single)
    nudged_low, nudged_high = (single(1) - zero) * step, (single(255) - zero) * step
    shifted = np.minimum(np.maximum(kernel.astype(single), nudged_low), nudged_high) - nudged_low
    codes = np.floor(shifted * (single(1) / step) + single(0.5)) + single(1) - zero
    return np.asarray(codes).astype(np.int64)


def inverse_root(x: Array) -> Array:
    """1 / sqrt(x) in float32, correctly rounded. (TensorFlow's own vector kernel is off by one unit in the last place
    for some values, which ones depends on the processor that ran the converter.)"""
    return np.asarray((1 / np.sqrt(x.astype(np.float64))).astype(np.float32))


def normalization(
    gamma: Array | None, beta: Array | None, mean: Array, variance: Array, epsilon: float
) -> tuple[Array, Array]:
    """Batch normalization as y = multiplier * x + offset, in float32 as the converter folds it."""
    multiplier = inverse_root(variance.astype(np.float32) + np.float32(epsilon))
    if gamma is not None:
        multiplier = (gamma.astype(np.float32) * multiplier).astype(np.float32)
    offset = -(mean.astype(np.float32) * multiplier)
    return multiplier, np.asarray(offset if beta is None else beta.astype(np.float32) + offset)
