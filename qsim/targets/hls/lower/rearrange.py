"""The process that reads a whole tensor and writes its elements in another order."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qsim.ir import Tensor
from qsim.targets.hls.text import View, const, indices


def row_major(shape: Sequence[int]) -> list[int]:
    """Elements between neighbours along each axis."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def strided(x: Tensor, name: str, sizes: Sequence[int], strides: Sequence[int], start: int, equation: str) -> View:
    config = (
        const("elements", x.size),
        const("out_elements", math.prod(sizes)),
        const("rank", len(sizes)),
        const("start", start),
    )
    return View(
        equation=equation,
        kernel="rearrange",
        config=config,
        tables=(indices(f"{name}_sizes", sizes), indices(f"{name}_strides", strides)),
    )


__all__ = ["row_major", "strided"]
