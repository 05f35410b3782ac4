"""Exact integer convolutions and matrix products, through BLAS wherever a bound proves every partial sum exact.

A float64 (float32) product of integers is exact in any summation order while the sum of magnitudes of its terms stays
below 2**53 (2**24). The bound used is max over output channels of sum |w| times max |x|, so it covers every partial
sum. Beyond 2**53 the product runs in int64; beyond 62 bits the graph would not have been built.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from qsim.ir.ops import Padding2D
from qsim.numerics import FLOAT32_EXACT, FLOAT64_EXACT, Array, assert_fits


def partial_sum_bound(weights: Array, x_magnitude: int, reduce_axes: tuple[int, ...]) -> int:
    """An upper bound of every partial sum's magnitude: max over outputs of sum |w|, times max |x|, at least both.

    The sum of |w| is taken in float64, which is exact up to 2**53 and rounded up by a factor of two beyond."""
    total = np.abs(weights.astype(np.float64)).sum(axis=reduce_axes).max(initial=0.0)
    magnitude = int(total) if total < FLOAT64_EXACT else int(total) * 2
    return max(magnitude * x_magnitude, magnitude, x_magnitude)


def exact_dtype(bound: int) -> type[np.generic]:
    """The dtype in which sums up to ``bound`` are exact. Raises UnsupportedError beyond 62 bits."""
    if bound < FLOAT32_EXACT:
        return np.float32
    if bound < FLOAT64_EXACT:
        return np.float64
    assert_fits(-bound, bound, "a sum of products")
    return np.int64


def windows(x: Array, kernel: tuple[int, int], strides: tuple[int, int], dilation: tuple[int, int]) -> Array:
    """A read-only view (N, OH, OW, KH, KW, C) of the sliding windows of an already padded (N, H, W, C) array."""
    n, h, w, c = x.shape
    oh = (h - (kernel[0] - 1) * dilation[0] - 1) // strides[0] + 1
    ow = (w - (kernel[1] - 1) * dilation[1] - 1) // strides[1] + 1
    sn, sh, sw, sc = x.strides
    return as_strided(
        x,
        (n, oh, ow, kernel[0], kernel[1], c),
        (sn, sh * strides[0], sw * strides[1], sh * dilation[0], sw * dilation[1], sc),
        writeable=False,
    )


def pad2d(x: Array, padding: Padding2D, value: Any = 0) -> Array:
    """(N, H, W, C) padded by ((top, bottom), (left, right)) with ``value``."""
    if not any(padding[0]) and not any(padding[1]):
        return x
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def conv2d(
    x: Array,
    weights: Array,
    *,
    strides: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding2D,
    groups: int,
    x_magnitude: int,
) -> Array:
    """sum w * x over zero-padded windows, int64 (N, OH, OW, Cout).

    x: (N, H, W, Cin), weights: (KH, KW, Cin/groups, Cout), both integers.
    ``x_magnitude`` is a proven bound of |x|.
    """
    kh, kw, group_in, out = weights.shape
    dtype = exact_dtype(partial_sum_bound(weights, x_magnitude, (0, 1, 2)))
    view = windows(pad2d(x.astype(dtype), padding), (kh, kw), strides, dilation)
    n, oh, ow = view.shape[:3]
    w = weights.astype(dtype)
    result: Array
    if groups == 1:
        result = view.reshape(n * oh * ow, kh * kw * group_in) @ w.reshape(-1, out)
    elif group_in == 1:
        per_group = out // groups
        result = np.zeros((n * oh * ow, groups, per_group), dtype=dtype)
        taps = w.reshape(kh, kw, groups, per_group)
        for u in range(kh):
            for v in range(kw):
                result += view[:, :, :, u, v, :, None].reshape(-1, groups, 1) * taps[u, v]
    else:
        by_group = view.reshape(n * oh * ow, kh * kw, groups, group_in).transpose(2, 0, 1, 3)
        grouped: Array = by_group.reshape(groups, n * oh * ow, kh * kw * group_in)
        kernels = w.reshape(kh * kw, group_in, groups, out // groups).transpose(2, 0, 1, 3)
        result = np.swapaxes(grouped @ kernels.reshape(groups, kh * kw * group_in, -1), 0, 1)
    return np.asarray(result.reshape(n, oh, ow, out)).astype(np.int64)


def matmul(a: Array, b: Array, bound: int) -> Array:
    """a @ b for integers, int64 out; ``bound`` bounds every partial sum's magnitude."""
    dtype = exact_dtype(bound)
    return np.asarray(a.astype(dtype) @ b.astype(dtype)).astype(np.int64)


def conv2d_transpose(
    x: Array,
    weights: Array,
    *,
    strides: tuple[int, int],
    padding: Padding2D,
    output_size: tuple[int, int],
    x_magnitude: int,
) -> Array:
    """Scatter form of the transposed convolution (see ops.ConvTranspose2D): int64 (N, *output_size, Cout)."""
    n, h, w, _ = x.shape
    kh, kw, _, out = weights.shape
    # Several input positions meet in one output element: at most KH*KW*Cin terms of one output channel.
    bound = partial_sum_bound(weights, x_magnitude, (0, 1, 2))
    (top, _), (left, _) = padding
    full_h = max((h - 1) * strides[0] + kh, top + output_size[0])
    full_w = max((w - 1) * strides[1] + kw, left + output_size[1])
    full = np.zeros((n, full_h, full_w, out), dtype=np.int64)
    for u in range(kh):
        for v in range(kw):
            part = matmul(x, weights[u, v], bound)
            full[:, u : u + h * strides[0] : strides[0], v : v + w * strides[1] : strides[1]] += part
    return full[:, top : top + output_size[0], left : left + output_size[1]]


__all__ = ["conv2d", "conv2d_transpose", "exact_dtype", "matmul", "pad2d", "partial_sum_bound", "windows"]
