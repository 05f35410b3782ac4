"""Placing a network's layers on a page: ranks from top to bottom, branches side by side, edges around the boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

BOX_WIDTH, BOX_HEIGHT = 168, 44
"""Size of a layer's box, in SVG user units (CSS pixels where the drawing is not shrunk)."""
GAP_X, GAP_Y = 28, 26
LANE_WIDTH = 28
"""Width that an edge takes where it passes a rank."""
MARGIN = 8


@dataclass(frozen=True)
class Box:
    """A placed node: its name and its top left corner."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """Boxes in the nodes' order, one SVG path per edge, and the size of the whole."""

    boxes: tuple[Box, ...]
    paths: tuple[str, ...]
    width: float
    height: float


def place(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Drawing:
    """Place ``nodes`` (in topological order) and route ``edges`` (from, to).

    A node's rank is its longest distance from a source. An edge that passes ranks gets a lane of its own in each, so
    that it never runs through a box. Within a rank, slots are ordered by the mean place of their predecessors.
    """
    rank = ranks(nodes, edges)
    slots: list[list[tuple[str, int]]] = [[] for _ in range(max(rank.values()) + 1)]
    parents: dict[tuple[str, int], list[tuple[str, int]]] = {}
    routes: list[list[tuple[str, int]]] = []
    for node in nodes:
        slots[rank[node]].append((node, -1))
    for number, (start, end) in enumerate(edges):
        lanes = [("", number * len(slots) + r) for r in range(rank[start] + 1, rank[end])]
        route = [(start, -1), *lanes, (end, -1)]
        for r, lane in enumerate(lanes, rank[start] + 1):
            slots[r].append(lane)
        for before, after in pairwise(route):
            parents.setdefault(after, []).append(before)
        routes.append(route)
    centre = _centres(slots, parents)
    tops = [MARGIN + r * (BOX_HEIGHT + GAP_Y) for r in range(len(slots))]
    row = {slot: r for r, line in enumerate(slots) for slot in line}
    left = min(c - _width(slot) / 2 for slot, c in centre.items()) - MARGIN
    right = max(c + _width(slot) / 2 for slot, c in centre.items()) + MARGIN
    boxes = tuple(Box(n, centre[n, -1] - BOX_WIDTH / 2 - left, tops[rank[n]]) for n in nodes)
    paths = tuple(_path([(centre[s] - left, tops[row[s]]) for s in route]) for route in routes)
    return Drawing(boxes, paths, right - left, tops[-1] + BOX_HEIGHT + MARGIN)


def ranks(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Longest distance of every node from a node without predecessors."""
    found = dict.fromkeys(nodes, 0)
    incoming: Mapping[str, list[str]] = {n: [a for a, b in edges if b == n] for n in nodes}
    for node in nodes:
        found[node] = max((found[a] + 1 for a in incoming[node]), default=0)
    return found


def _width(slot: tuple[str, int]) -> float:
    return BOX_WIDTH if slot[1] < 0 else LANE_WIDTH


def _centres(
    slots: list[list[tuple[str, int]]], parents: Mapping[tuple[str, int], list[tuple[str, int]]]
) -> dict[tuple[str, int], float]:
    """The horizontal centre of every slot; single boxes stay on the axis, with the lanes to their right."""
    centre: dict[tuple[str, int], float] = {}
    for line in slots:

        def wanted(slot: tuple[str, int]) -> float:
            above = [centre[p] for p in parents.get(slot, []) if p in centre]
            return sum(above) / len(above) if above else 0.0

        boxes = sorted((s for s in line if s[1] < 0), key=wanted)
        lanes = sorted((s for s in line if s[1] >= 0), key=wanted)
        x = -(len(boxes) * BOX_WIDTH + (len(boxes) - 1) * GAP_X) / 2
        for slot in boxes:
            centre[slot] = x + BOX_WIDTH / 2
            x += BOX_WIDTH + GAP_X
        for slot in lanes:
            centre[slot] = x + LANE_WIDTH / 2 - GAP_X / 2
            x += LANE_WIDTH
    return centre


def _path(points: list[tuple[float, float]]) -> str:
    """A smooth path from the bottom of the first box through the lanes to the top of the last one."""
    x, y = points[0][0], points[0][1] + BOX_HEIGHT
    parts = [f"M{x:g} {y:g}"]
    for nx, top in points[1:-1]:
        parts.append(f"C{x:g} {y + GAP_Y:g} {nx:g} {top - GAP_Y:g} {nx:g} {top:g}L{nx:g} {top + BOX_HEIGHT:g}")
        x, y = nx, top + BOX_HEIGHT
    nx, top = points[-1]
    parts.append(f"C{x:g} {y + GAP_Y / 2:g} {nx:g} {top - GAP_Y / 2:g} {nx:g} {top:g}")
    return "".join(parts)
