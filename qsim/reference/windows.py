"""Sliding windows over images."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from qsim.ir.ops import Padding2D
from qsim.numerics import Array


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


def pad2d(x: Array, padding: Padding2D, value: int = 0) -> Array:
    """(N, H, W, C) padded by ((top, bottom), (left, right)) with ``value``."""
    if not any(padding[0]) and not any(padding[1]):
        return x
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)
