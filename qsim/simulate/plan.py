"""What an engine says of how it runs a graph."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of ``Simulator.plan()``. tensor: what is stored; operations: those that make it, in order; kernel: the
    native kernel's name, "view" (no work), or "numpy"; reason: why numpy, else empty."""

    tensor: str
    operations: tuple[str, ...]
    kernel: str
    reason: str = ""


__all__ = ["Row"]
