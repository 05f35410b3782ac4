"""report.html: one file that opens offline and shows a network, its formats, its verification and its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qsim.compare.report import Report
from qsim.debug.pages import layout
from qsim.ir import Graph, quantization_text
from qsim.ir.layers import LayerFacts, layer_facts
from qsim.numerics import Array
from qsim.targets.text import environment
from qsim.version import __version__


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Correct classifications of one source ("Keras", "simulator", a target) over ``total`` images."""

    source: str
    correct: int
    total: int
    note: str = ""

    @property
    def percent(self) -> str:
        return f"{100 * self.correct / self.total:.2f} %"

    @property
    def count(self) -> str:
        return f"{self.correct:,} of {self.total:,}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of merit: what it belongs to, what it is, its value with unit."""

    group: str
    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """All that a report shows. Parts that are empty are left out of the page.

    observed: tensor -> (lowest, highest) code seen over the samples. confusion: (classes, classes) counts, rows are
    the true classes.
    """

    graph: Graph
    verification: Report | None = None
    accuracy: Sequence[Accuracy] = ()
    figures: Sequence[Figure] = ()
    observed: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    confusion: Array | None = None


def observe(trace: Mapping[str, Array]) -> dict[str, tuple[int, int]]:
    """The lowest and highest code of every tensor of a trace."""
    return {name: (int(codes.min()), int(codes.max())) for name, codes in trace.items()}


def html(content: Content) -> str:
    """The page. The same content gives the same bytes."""
    graph = content.graph
    facts = layer_facts(graph)
    return (
        environment()
        .get_template("report/report.html.j2")
        .render(
            version=__version__,
            model=graph.name,
            profile=graph.profile,
            hash=graph.hash,
            notes=graph.notes,
            accuracy=content.accuracy,
            verdict=_verdict(content.verification),
            network=_network(graph, facts),
            layers=[_layer_row(f) for f in facts],
            totals=_totals(facts),
            ranges=[_range_row(graph, name, content.observed.get(name)) for name in graph.tensors],
            has_observed=bool(content.observed),
            verification=_verification(graph, content.verification),
            figures=_figures(content.figures),
            confusion=_confusion(content.confusion),
        )
    )


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) if shape else "scalar"


def _verdict(report: Report | None) -> dict[str, object] | None:
    if report is None:
        return None
    differing = sum(sum(r.tensors.values()) for r in report.results)
    compared = sum(r.samples * sum(report.graph[n].size for n in r.tensors) for r in report.results)
    names = ", ".join(r.title for r in report.results)
    return {
        "ok": report.ok,
        "text": f"{differing:,} of {compared:,} compared codes differ",
        "detail": f"every element of every tensor; simulator against {names}",
    }


def _network(graph: Graph, facts: Sequence[LayerFacts]) -> dict[str, Any]:
    """The layer graph as SVG parts: boxes with two lines of text each, and paths."""
    layer_of = {name: f.layer for f in facts for name in f.tensors}
    sources = [i.tensor for i in graph.inputs]
    nodes = [f"in:{name}" for name in sources] + [f.layer for f in facts]
    layer_of.update({name: f"in:{name}" for name in sources})
    edges = dict.fromkeys(
        (layer_of[name], op.layer) for op in graph.ops for name in op.inputs if layer_of[name] != op.layer
    )
    drawing = layout.place(nodes, list(edges))
    lines = {
        **{f"in:{n}": (n, f"{graph[n].format} [{_shape(graph[n].shape)}]") for n in sources},
        **{f.layer: (f.layer, f"{f.output.format} [{_shape(f.output.shape)}]") for f in facts},
    }
    heavy = {f.layer for f in facts if f.weights}
    return {
        "width": drawing.width,
        "height": drawing.height,
        "paths": drawing.paths,
        "boxes": [
            {
                "x": b.x,
                "y": b.y,
                "width": layout.BOX_WIDTH,
                "height": layout.BOX_HEIGHT,
                "title": clip(lines[b.name][0]),
                "text": lines[b.name][1],
                "kind": "input" if b.name.startswith("in:") else "weights" if b.name in heavy else "plain",
            }
            for b in drawing.boxes
        ],
    }


def clip(text: str, length: int = 24) -> str:
    """``text``, cut to ``length`` characters if it is longer, three dots being the last ones."""
    return text if len(text) <= length else text[: length - 3] + "..."


def _layer_row(f: LayerFacts) -> dict[str, str]:
    return {
        "name": f.layer,
        "operations": " + ".join(f.operations),
        "shape": _shape(f.output.shape),
        "weights": f"{f.weights:,} × {f.weight_format}" if f.weight_format else "",
        "accumulator": str(f.accumulator.format) if f.accumulator else "",
        "output": str(f.output.format),
        "unit": quantization_text(f.output.quantization)[1:],
        "constants": f"{f.constant_bits:,}" if f.constant_bits else "",
        "multiplications": f"{f.multiplications:,}" if f.multiplications else "",
    }


def _totals(facts: Sequence[LayerFacts]) -> dict[str, str]:
    return {
        "weights": f"{sum(f.weights for f in facts):,}",
        "constants": f"{sum(f.constant_bits for f in facts):,}",
        "multiplications": f"{sum(f.multiplications for f in facts):,}",
    }


def _range_row(graph: Graph, name: str, seen: tuple[int, int] | None) -> dict[str, Any]:
    """One bar of the range plot: positions in percent of the format's span."""
    tensor = graph[name]
    low, high = tensor.format.low, tensor.format.high
    span = high - low + 1

    def bar(limits: tuple[int, int]) -> dict[str, str]:
        start = 100 * (limits[0] - low) / span
        return {"x": f"{start:.3f}", "width": f"{max(0.6, 100 * (limits[1] - limits[0] + 1) / span):.3f}"}

    return {
        "name": name,
        "format": str(tensor.format),
        "low": f"{low:,}",
        "high": f"{high:,}",
        "zero": f"{100 * (0 - low) / span:.3f}",
        "proven": bar(tensor.range),
        "proven_text": f"[{tensor.range[0]:,}, {tensor.range[1]:,}]",
        "seen": bar(seen) if seen else None,
        "seen_text": f"[{seen[0]:,}, {seen[1]:,}]" if seen else "",
    }


def _verification(graph: Graph, report: Report | None) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "targets": [
            {
                "name": r.title,
                "samples": f"{r.samples:,}",
                "seconds": f"{r.seconds:.1f} s",
                "ok": r.ok,
            }
            for r in report.results
        ],
        "rows": [
            {
                "tensor": name,
                "size": f"{graph[name].size:,}",
                "counts": [r.tensors.get(name) for r in report.results],
            }
            for name in graph.tensors
        ],
        "mismatches": [str(m) for m in report.mismatches],
    }


def _figures(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(figure.group, []).append(figure)
    return [{"name": name, "rows": rows} for name, rows in groups.items()]


def _confusion(matrix: Array | None) -> dict[str, Any] | None:
    if matrix is None:
        return None
    rows = []
    for label, counts in enumerate(matrix.tolist()):
        total = max(1, sum(counts))
        cells = [
            {"count": n, "share": round(100 * n / total), "kind": "hit" if c == label else "miss" if n else "none"}
            for c, n in enumerate(counts)
        ]
        rows.append({"label": label, "cells": cells, "total": sum(counts)})
    return {"rows": rows, "classes": list(range(len(rows)))}


__all__ = ["Accuracy", "Content", "Figure", "clip", "html", "observe"]
