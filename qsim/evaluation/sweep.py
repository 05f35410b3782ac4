"""A grid of what may be chosen after training, against accuracy, changed codes and predicted cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qsim.errors import QsimError, UnsupportedError, UsageError
from qsim.evaluation.counts import Evaluation
from qsim.evaluation.evaluate import Progress, evaluate_all
from qsim.evaluation.grid import Axis, options_of, points, source_of
from qsim.importers import ModelSource, load
from qsim.ir import Graph
from qsim.targets.registry import planned

Costs = Mapping[str, int]
"""'target: figure (unit)' -> value."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination. evaluation: None where the import refuses it; costs: of the targets that take it.
    refused: the reasons, by "import" or target. best: no other point is at least as good in the merit and in every
    cost and better in one."""

    choices: Mapping[str, str]
    evaluation: Evaluation | None
    costs: Costs
    refused: Mapping[str, str] = field(default_factory=dict)
    best: bool = False

    @property
    def merit(self) -> float | None:
        """Accuracy; without labels the share of outputs that are the first point's."""
        found = self.evaluation
        if found is None:
            return None
        return found.accuracy if found.samples else 1 - found.counts.changed / found.counts.outputs


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Every point, in the grid's order. labelled: merit is accuracy. columns: the costs that some point has."""

    model: str
    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    labelled: bool

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for point in self.points for name in point.costs))

    @property
    def merit(self) -> str:
        return "accuracy" if self.labelled else "equal outputs"

    def csv(self) -> str:
        """A row a point; what it does not have is empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = [axis.name for axis in self.axes]
        writer.writerow([*names, self.merit, "outputs", "changed", "moved", *self.columns, "pareto", "refused"])
        for point in self.points:
            counts = point.evaluation.counts if point.evaluation else None
            writer.writerow(
                [
                    *(point.choices[name] for name in names),
                    "" if point.merit is None else repr(point.merit),
                    *((counts.outputs, counts.changed, counts.moved) if counts else ("", "", "")),
                    *(point.costs.get(name, "") for name in self.columns),
                    int(point.best),
                    "; ".join(f"{place}: {reason}" for place, reason in point.refused.items()),
                ]
            )
        return out.getvalue()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "model": self.model,
            "axes": {axis.name: list(axis.values) for axis in self.axes},
            "points": [
                {
                    "choices": dict(p.choices),
                    "evaluation": p.evaluation.to_json() if p.evaluation else None,
                    "costs": dict(p.costs),
                    "refused": dict(p.refused),
                    "pareto": p.best,
                }
                for p in self.points
            ],
        }


def sweep(
    source: ModelSource,
    axes: Sequence[Axis],
    data: Any,
    labels: Any = None,
    *,
    targets: Sequence[str] = ("c", "rtl"),
    announce: Callable[[str], None] = lambda text: None,
    progress: Progress = lambda done, total: None,
    **options: Any,
) -> Sweep:
    """Every combination of the axes' values: imported, run over the data as ``evaluate_all`` does (``options`` are
    its), and planned for each target. The first point is what others' outputs and classes are compared with.

    A combination that the importer or a target refuses as unsupported is a point with the reason. Raises what the
    importer raises for the first point and for wrong values, and UsageError for an option of a target that is not
    planned.
    """
    if unused := [a.name for a in axes if a.target and a.target not in targets]:
        raise UsageError(f"{unused[0]} is varied, but its target is not among {', '.join(targets)}")
    drafts: list[Point] = []
    graphs: dict[str, Graph] = {}
    loaded: dict[ModelSource, Graph | QsimError] = {}
    hashes: list[str | None] = []
    for choices in points(axes):
        announce(", ".join(f"{name} {value}" for name, value in choices.items()) or source.name)
        made = source_of(source, choices)
        if made not in loaded:
            loaded[made] = _load(made)
        graph = loaded[made]
        if not isinstance(graph, Graph):
            if not drafts:
                raise graph
            drafts.append(Point(choices=choices, evaluation=None, costs={}, refused={"import": str(graph)}))
            hashes.append(None)
            continue
        graphs.setdefault(graph.hash, graph)
        hashes.append(graph.hash)
        costs, refused = _costs(graph, targets, options_of(choices))
        drafts.append(Point(choices=choices, evaluation=None, costs=costs, refused=refused))
    found = {e.name: e for e in evaluate_all(graphs, data, labels, progress=progress, **options)}
    done = [
        Point(
            choices=draft.choices,
            evaluation=found[key] if key is not None else None,
            costs=draft.costs,
            refused=draft.refused,
        )
        for draft, key in zip(drafts, hashes)
    ]
    first = next(iter(found.values()))
    return Sweep(model=source.name, axes=tuple(axes), points=tuple(pareto(done)), labelled=first.samples > 0)


def _load(source: ModelSource) -> Graph | QsimError:
    """The graph, or why there is none."""
    try:
        return load(source)
    except QsimError as error:
        if error.exit_code == 2:
            raise
        return error


def _costs(
    graph: Graph, targets: Sequence[str], options: Mapping[str, Mapping[str, object]]
) -> tuple[Costs, dict[str, str]]:
    """The predicted figures of each target, and the reasons of those that refuse the graph."""
    costs: dict[str, int] = {}
    refused: dict[str, str] = {}
    for name in targets:
        try:
            figures = planned(graph, name, options.get(name)).figures()
        except UnsupportedError as error:
            refused[name] = str(error)
            continue
        for figure in figures:
            if isinstance(figure.value, int):
                costs[f"{name}: {figure.name}" + (f" ({figure.unit})" if figure.unit else "")] = figure.value
    return costs, refused


def pareto(found: Sequence[Point]) -> list[Point]:
    """The points, ``best`` set: only those with a merit and every cost that any point has take part."""
    columns = list(dict.fromkeys(name for point in found for name in point.costs))
    complete = [p for p in found if p.merit is not None and all(name in p.costs for name in columns)]

    def key(point: Point) -> tuple[float, ...]:
        assert point.merit is not None
        return (-point.merit, *(point.costs[name] for name in columns))

    keys = {id(p): key(p) for p in complete}

    def beaten(point: Point) -> bool:
        own = keys[id(point)]
        return any(all(a <= b for a, b in zip(other, own)) and other != own for other in keys.values())

    return [
        Point(
            choices=p.choices,
            evaluation=p.evaluation,
            costs=p.costs,
            refused=p.refused,
            best=id(p) in keys and not beaten(p),
        )
        for p in found
    ]


__all__ = ["Point", "Sweep", "pareto", "sweep"]
