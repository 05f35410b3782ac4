"""float32 arithmetic as engines do it, exactly, on numpy arrays: one rounding an operation, fused multiply-add too."""

from __future__ import annotations

from typing import Any

import numpy as np

from qsim.numerics.rounding import Array


def f32(x: Array | np.floating[Any] | float) -> Array:
    """The nearest float32 numbers, ties to even."""
    return np.asarray(x).astype(np.float32)


def fma(a: Array, b: Array, c: Array) -> Array:
    """float32(a * b + c) of float32 numbers with one rounding.

    The product of two float32 numbers is a float64 number. The float64 sum is brought to an odd last bit wherever it
    is inexact, so that the rounding to float32 sees on which side the exact sum lies (Boldo and Melquiond, 2008).
    """
    product, addend = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = np.asarray(product + addend)
    part = total - product
    error = (product - (total - part)) + (addend - part)
    even = (total.view(np.int64) & 1) == 0
    toward = np.where(error > 0, np.inf, -np.inf)
    odd = np.where((error != 0) & even, np.nextafter(total, toward), total)
    return odd.astype(np.float32)
