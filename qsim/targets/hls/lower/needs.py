"""How much of its inputs a process has read before it writes: what the depths of the streams follow from.

The rules here serve several families; each family has its own beside its views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array

Need = list[Array]
"""Per input: need[k] = elements read before output element k is written, k = 1 .. size; need[0] = 0."""

NeedOf = Callable[[o.Op, Sequence[Tensor], Tensor], Need]
"""(op, input tensors, output tensor) -> what it needs."""


def whole(op: o.Op, inputs: Sequence[Tensor], out: Tensor) -> Need:
    """A frame buffer: everything is read before anything is written."""
    found = []
    for x in inputs:
        need = np.full(out.size + 1, x.size, dtype=np.int64)
        need[0] = 0
        found.append(need)
    return found


def elementwise(op: o.Op, inputs: Sequence[Tensor], out: Tensor) -> Need:
    """In step, but a repeated input passes through a frame buffer first."""
    buffered = whole(op, inputs, out)
    step = np.arange(out.size + 1, dtype=np.int64)
    return [step if x.size == out.size else buffered[i] for i, x in enumerate(inputs)]


def rows(out: Tensor, row_in: int, row_out: int) -> Need:
    """One input row is read before one output row is written."""
    k = np.arange(1, out.size + 1, dtype=np.int64)
    return [np.concatenate([[0], ((k - 1) // row_out + 1) * row_in])]


def last_axis(op: o.Op, inputs: Sequence[Tensor], out: Tensor) -> Need:
    """Row by row of the last axis."""
    return rows(out, inputs[0].shape[-1], out.shape[-1])


def positions_read(x: Tensor, ends: tuple[Array, Array], channels_out: int) -> Array:
    """Elements read before the windows that end at image row ends[0][i] and column ends[1][j] (may lie outside) write
    their outputs, all channels of a pixel being read first."""
    height, width, channels = x.shape
    r, c = ends
    above = np.clip(r, 0, height)[:, None] * width
    within = np.where((r >= 0) & (r < height), 1, 0)[:, None] * np.clip(c + 1, 0, width)[None, :]
    pixels = (above + within).reshape(-1)
    return np.concatenate([[0], np.repeat(pixels * channels, channels_out)])


__all__ = ["Need", "NeedOf", "elementwise", "last_axis", "positions_read", "rows", "whole"]
