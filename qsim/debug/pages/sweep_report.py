"""The page of a sweep: its table and, for each predicted cost, a plot of merit over it with the Pareto front. One file
that opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qsim.evaluation.sweep import Point, Sweep
from qsim.targets.text import environment
from qsim.version import __version__

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _MARGIN = 420, 260, 64, 40, 14
_TICKS = 4


def page(found: Sweep) -> str:
    """The page's text. The same sweep gives the same bytes."""
    names = [axis.name for axis in found.axes]
    return (
        environment()
        .get_template("report/sweep.html.j2")
        .render(
            version=__version__,
            model=found.model,
            merit=found.merit,
            names=names,
            columns=found.columns,
            rows=[_row(found, point, names) for point in found.points],
            plots=[plot for name in found.columns if (plot := _plot(found, name)) is not None],
            refused=dict.fromkeys(f"{place}: {why}" for p in found.points for place, why in p.refused.items()),
        )
    )


def _title(point: Point) -> str:
    return ", ".join(f"{name} {value}" for name, value in point.choices.items())


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def _row(found: Sweep, point: Point, names: Sequence[str]) -> dict[str, Any]:
    counts = point.evaluation.counts if point.evaluation else None
    return {
        "choices": [point.choices[name] for name in names],
        "merit": _percent(point.merit),
        "changed": f"{counts.changed:,}" if counts else "",
        "moved": f"{counts.moved:,}" if counts else "",
        "costs": [f"{point.costs[name]:,}" if name in point.costs else "refused" for name in found.columns],
        "best": point.best,
    }


def _plot(found: Sweep, cost: str) -> dict[str, Any] | None:
    """Merit over one cost: circles, the front of these two alone as steps, and ticks; None without points."""
    shown = [(p.costs[cost], p.merit, p) for p in found.points if cost in p.costs and p.merit is not None]
    if not shown:
        return None
    x = _Scale([c for c, _, _ in shown], _LEFT, _WIDTH - _MARGIN)
    y = _Scale([m for _, m, _ in shown], _HEIGHT - _BOTTOM, _MARGIN)
    front: list[tuple[float, float]] = []
    for value, merit, _ in sorted(shown, key=lambda entry: (entry[0], -entry[1])):
        if not front or merit > front[-1][1]:
            front.append((value, merit))
    path = "".join(
        f"M{x.at(a):.1f} {y.at(b):.1f}" if not k else f"H{x.at(a):.1f}V{y.at(b):.1f}" for k, (a, b) in enumerate(front)
    )
    return {
        "title": cost,
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "bottom": _HEIGHT - _BOTTOM,
        "right": _WIDTH - _MARGIN,
        "top": _MARGIN,
        "path": path,
        "points": [
            {
                "x": f"{x.at(value):.1f}",
                "y": f"{y.at(merit):.1f}",
                "title": f"{_title(point)}: {_percent(merit)}, {value:,}",
                "best": point.best,
            }
            for value, merit, point in shown
        ],
        "across": [{"at": f"{x.at(v):.1f}", "text": f"{v:,.0f}"} for v in x.ticks()],
        "up": [{"at": f"{y.at(v):.1f}", "text": f"{100 * v:.2f} %"} for v in y.ticks()],
    }


class _Scale:
    """Values to pixels, linear; a single value stands in the middle."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = min(values), max(values), start, end

    def at(self, value: float) -> float:
        """The pixel of a value."""
        span = self.high - self.low
        inner = 0.05 + 0.9 * ((value - self.low) / span if span else 0.5)
        return self.start + inner * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Values that are written beside the axis."""
        span = self.high - self.low
        return [self.low + span * k / _TICKS for k in range(_TICKS + 1)] if span else [self.low]


__all__ = ["page"]
