"""Data-derived weight scales ('auto', 'auto_po2') of QKeras, recomputed in numpy.

The rule is QKeras' ``_get_least_squares_scale``: scale = mean(x*q) / (mean(q*q) + epsilon) over all axes but the
scale axis, and for 'auto_po2' 2 ** round(log2(scale + epsilon)). Every step is a float32 operation, as in QKeras, but
the
means: a float32 sum depends on the order in which a device adds, so they are taken in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsim.numerics import Array

EPSILON = 1e-7
"""keras.backend.epsilon()."""


def reduced_axes(scale_axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The axes that share one scale: all but ``scale_axis`` (default: the last)."""
    if scale_axis is None:
        return tuple(range(max(ndim - 1, 0)))
    kept = [scale_axis] if isinstance(scale_axis, int) else list(scale_axis)
    return tuple(i for i in range(ndim) if i not in kept)


def group_mean(x: Array, scale_axis: int | Sequence[int] | None, per_scale: int | Sequence[int] | None) -> Array:
    """The float64 mean that each element's scale is made of, broadcastable against x.

    per_scale: elements along each scale axis that share one scale (QKeras' ``elements_per_scale``).
    """
    x = np.asarray(x, dtype=np.float64)
    if per_scale is None:
        return np.asarray(x.mean(axis=reduced_axes(scale_axis, x.ndim), keepdims=True))
    if scale_axis is None:
        raise ValueError("elements_per_scale needs scale_axis")
    axes = [scale_axis] if isinstance(scale_axis, int) else list(scale_axis)
    counts = [per_scale] * len(axes) if isinstance(per_scale, int) else list(per_scale)
    if len(axes) != len(counts) or any(x.shape[a] % n for a, n in zip(axes, counts)):
        raise ValueError(f"elements_per_scale {counts} does not divide axes {axes} of shape {x.shape}")
    mean = np.asarray(x.mean(axis=reduced_axes(axes, x.ndim), keepdims=True))
    for axis, n in zip(axes, counts):
        shape = (*mean.shape[:axis], mean.shape[axis] // n, n, *mean.shape[axis + 1 :])
        mean = np.repeat(mean.reshape(shape).mean(axis=axis + 1), n, axis=axis)
    return mean


def power_of_two(scale: Array) -> tuple[Array, bool]:
    """(2 ** round(log2(scale + epsilon)) as float32, whether any exponent lies so near a tie that float32's own
    logarithm could round it the other way)."""
    exponent = np.log2(np.asarray(scale, dtype=np.float64) + np.float64(np.float32(EPSILON)))
    doubt = np.abs(exponent - np.floor(exponent) - 0.5) < 1e-5
    return np.exp2(np.rint(exponent)).astype(np.float32), bool(doubt.any())


def least_squares(
    x: Array,
    q: Array,
    *,
    po2: bool,
    scale_axis: int | Sequence[int] | None = None,
    per_scale: int | Sequence[int] | None = None,
    exponents: tuple[int | None, int | None] = (None, None),
) -> tuple[Array, bool]:
    """The scale that brings codes q nearest to x, float32 and broadcastable against x; and power_of_two's doubt.

    One-dimensional x has a scale of its own for every element, as in QKeras. exponents: limits for po2.
    """
    x64, q64 = np.asarray(x, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if x64.ndim > 1:
        qx, qq = group_mean(x64 * q64, scale_axis, per_scale), group_mean(q64 * q64, scale_axis, per_scale)
    else:
        qx, qq = x64 * q64, q64 * q64
    scale = qx.astype(np.float32) / (qq.astype(np.float32) + np.float32(EPSILON))
    if not po2:
        return scale, False
    scale, doubt = power_of_two(scale)
    low, high = exponents
    if low is not None or high is not None:
        scale = np.clip(scale, None if low is None else 2.0**low, None if high is None else 2.0**high)
    return scale.astype(np.float32), doubt
