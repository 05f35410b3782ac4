"""Memory plans: offsets in one arena for buffers that live over known steps, so that no two live ones overlap.

The rule is greedy by size (as TensorFlow Lite Micro's planner): the largest buffer first, each at the lowest aligned
offset where it meets no buffer already placed that is alive at the same time. Ties go to the earlier birth, then to
the given order, so the plan depends on nothing but its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qsim.errors import GraphError


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """``size`` bytes that are written first in step ``first`` and read last in step ``last`` (inclusive)."""

    name: str
    size: int
    first: int
    last: int

    def meets(self, other: Buffer) -> bool:
        """Whether both are alive in some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Where each buffer lies. offsets: bytes from the arena's start, by buffer name, in the given order of buffers.

    size: bytes of the arena, a multiple of ``alignment``. peak: the most bytes alive in one step, each buffer rounded
    up to the alignment: no plan can be smaller than this.
    """

    buffers: tuple[Buffer, ...]
    offsets: dict[str, int]
    size: int
    alignment: int
    peak: int

    def __str__(self) -> str:
        """One line per buffer, in order of birth: offset, bytes, steps, name."""
        lines = [f"arena {self.size} bytes, at least {self.peak} are alive at once, alignment {self.alignment}"]
        for b in self.buffers:
            lines.append(f"{self.offsets[b.name]:>10} {b.size:>10} bytes  steps {b.first:>3} to {b.last:>3}  {b.name}")
        return "\n".join(lines)


def _round_up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


def plan(buffers: Sequence[Buffer], *, alignment: int = 8) -> MemoryPlan:
    """Place ``buffers``.

    Raises GraphError for a repeated name, an empty buffer or a life that ends before it begins.
    """
    seen: dict[str, None] = {}
    for b in buffers:
        if b.name in seen:
            raise GraphError(f"memory plan: buffer {b.name!r} is given twice")
        if b.size < 1 or b.last < b.first:
            raise GraphError(f"memory plan: buffer {b.name!r} has {b.size} bytes in steps {b.first} to {b.last}")
        seen[b.name] = None
    order = sorted(range(len(buffers)), key=lambda i: (-buffers[i].size, buffers[i].first, i))
    placed: list[tuple[int, int, Buffer]] = []
    for i in order:
        b = buffers[i]
        size = _round_up(b.size, alignment)
        offset = 0
        for start, end, _ in sorted((p for p in placed if p[2].meets(b)), key=lambda p: (p[0], p[1])):
            if offset + size <= start:
                break
            offset = max(offset, end)
        placed.append((offset, offset + size, b))
    where = {b.name: start for start, _, b in placed}
    steps = sorted(dict.fromkeys(b.first for b in buffers))
    alive = (sum(_round_up(b.size, alignment) for b in buffers if b.first <= s <= b.last) for s in steps)
    return MemoryPlan(
        buffers=tuple(buffers),
        offsets={b.name: where[b.name] for b in buffers},
        size=max((end for _, end, _ in placed), default=0),
        alignment=alignment,
        peak=max(alive, default=0),
    )
