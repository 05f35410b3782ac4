"""Axes as runs of consecutive ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def runs(axes: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending axes as runs [start, stop) of consecutive ones."""
    if not axes:
        return []
    cuts = [0, *(i + 1 for i, (a, c) in enumerate(pairwise(axes)) if c != a + 1), len(axes)]
    return [(axes[i], axes[j - 1] + 1) for i, j in pairwise(cuts)]
