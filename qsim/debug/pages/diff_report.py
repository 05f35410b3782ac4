"""The page of a comparison (``qsim diff --report``, ``qsim cosim --report``): one file that opens offline.

Tensors are shown by counts, histograms and reduced pictures, never element by element, so that the page stays small
whatever the network's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qsim.debug.diff.diff import Diff, FirstDifference, TensorDiff
from qsim.debug.pages import report
from qsim.debug.pages.pictures import HEIGHT, WIDTH, difference_maps, histogram
from qsim.debug.words.dissect import Step
from qsim.debug.words.explain import Explanation
from qsim.debug.words.text import number, short
from qsim.errors import writing
from qsim.ir import Graph, quantization_text
from qsim.ir.layers import layer_facts
from qsim.numerics import Array
from qsim.targets.text import environment
from qsim.version import __version__

TERMS = 400
"""Most products of one sum that the page lists; the sum itself is always whole."""

STATES = {
    "equal": "equal",
    "first": "the first to differ",
    "differs": "differs too",
    "unobserved": "not compared",
}
"""A layer's state -> its words."""


def write_page(path: str | Path, result: Diff, problems: Sequence[str] = ()) -> None:
    """Write ``page`` to a file."""
    text = page(result, problems)
    with writing(path):
        Path(path).write_text(text, encoding="utf-8")


def page(result: Diff, problems: Sequence[str] = ()) -> str:
    """The page's text. problems: sentences about what is wrong beside codes. The same result gives the same bytes."""
    graph, first = result.graph, result.first
    rows = {row.tensor: row for row in result.tensors}
    return (
        environment()
        .get_template("report/diff.html.j2")
        .render(
            version=__version__,
            model=graph.name,
            profile=graph.profile,
            hash=graph.hash,
            against=result.against,
            samples=f"{result.samples:,}",
            ok=result.ok and not problems,
            verdict=_verdict(result),
            agreement=_agreement(result),
            problems=problems,
            finding=_finding(result, first, rows) if first else None,
            network=_network(graph, rows, first),
            states=STATES,
            rows=[_row(graph, row, first) for row in result.tensors],
            unobserved=[short(n) for n in result.unobserved if n not in [entry.tensor for entry in graph.inputs]],
            notes=_notes(result.tensors),
            histograms=_histograms(result),
            hist={"width": WIDTH, "height": HEIGHT},
            maps=_maps(result, first) if first else None,
            steps=[_step(s) for s in first.steps] if first else [],
        )
    )


def _agreement(result: Diff) -> str:
    if not result.ok:
        return ""
    return f"{result.agreement[0].upper()}{result.agreement[1:]}." + (f" {result.gaps}." if result.gaps else "")


def _verdict(result: Diff) -> str:
    differing = sum(row.differing for row in result.tensors)
    total = sum(row.total for row in result.tensors)
    bad = sum(1 for row in result.tensors if row.differing)
    where = f" in {bad} of {len(result.tensors)} tensors" if bad else f" in {len(result.tensors)} tensors"
    return f"{differing:,} of {total:,} compared codes differ{where}"


def _finding(result: Diff, first: FirstDifference, rows: dict[str, TensorDiff]) -> dict[str, Any]:
    row, tensor = rows[first.tensor], result.graph[first.tensor]
    q = tensor.quantization
    scale = q.scale[first.index[-1] if len(q.scale) > 1 and len(first.index) > 1 else 0]
    return {
        "layer": short(first.layer),
        "tensor": short(first.tensor),
        "share": f"{row.differing:,} of {row.total:,} codes ({row.percent:.3g} %)",
        "largest": f"{row.largest:,}",
        "lead": ". ".join(text.removesuffix(":") for text in result.findings[:2]),
        "causes": [
            {
                "text": e.text,
                "where": f"{e.op} of {short(e.layer)}",
                "reproduced": f"{e.reproduced:,} of {e.differing:,}",
                "broken": f"{e.broken:,}",
                "verdict": _judged(e),
                "complete": e.complete and e.fits <= 1,
            }
            for e in first.explanations
        ],
        "place": f"sample {first.index[0]}, element ({', '.join(map(str, first.index[1:]))})",
        "expected": f"{first.expected:,}",
        "actual": f"{first.actual:,}",
        "expected_real": number((first.expected - q.zero_point) * scale),
        "actual_real": number((first.actual - q.zero_point) * scale),
    }


def _judged(e: Explanation) -> str:
    if not e.complete:
        return "explains a part"
    return "explains every code" if e.fits <= 1 else f"one of {e.fits} of its kind that fit"


def _network(graph: Graph, rows: dict[str, TensorDiff], first: FirstDifference | None) -> dict[str, Any]:
    """The drawing of the compile report with every box coloured by its layer's state."""
    facts = layer_facts(graph)
    drawing = report._network(graph, facts)
    groups = [[entry.tensor] for entry in graph.inputs] + [list(f.tensors) for f in facts]
    names = [entry.tensor for entry in graph.inputs] + [f.layer for f in facts]
    for box, tensors, name in zip(drawing["boxes"], groups, names, strict=True):
        seen = [rows[n] for n in tensors if n in rows]
        state = "unobserved"
        if seen:
            state = "differs" if any(r.differing for r in seen) else "equal"
        if first is not None and first.tensor in tensors:
            state = "first"
        worst = max(seen, key=lambda r: r.percent, default=None)
        box["kind"] = state
        box["title"] = short(name, 20)
        box["text"] = STATES[state] if worst is None or not worst.differing else f"{worst.percent:.3g} % differ"
        box["link"] = f"row-{list(graph.tensors).index(worst.tensor)}" if worst else ""
        box["label"] = f"{short(name)}: {STATES[state]}"
    return drawing


def _row(graph: Graph, row: TensorDiff, first: FirstDifference | None) -> dict[str, Any]:
    tensor = graph[row.tensor]
    state = "equal" if not row.differing else "differs"
    if first is not None and first.tensor == row.tensor:
        state = "first"
    return {
        "id": f"row-{list(graph.tensors).index(row.tensor)}",
        "tensor": short(row.tensor),
        "layer": short(row.layer),
        "shape": " × ".join(map(str, tensor.shape)) or "scalar",
        "format": f"{tensor.format} {quantization_text(tensor.quantization)}",
        "total": f"{row.total:,}",
        "differing": f"{row.differing:,}",
        "percent": f"{row.percent:.3g}",
        "share": f"{max(1.5, row.percent):.2f}" if row.differing else "0",
        "largest": f"{row.largest:,}" if row.differing else "",
        "common": ", ".join(f"{d:+,} × {n:,}" for d, n in row.differences[:3])
        + (", ..." if len(row.differences) > 3 else ""),
        "state": state,
        "words": STATES[state],
    }


def _notes(rows: Sequence[TensorDiff]) -> list[dict[str, Any]]:
    notes = dict.fromkeys(note for row in rows for note in row.notes)
    return [{"text": n, "tensors": ", ".join(short(r.tensor) for r in rows if n in r.notes)} for n in notes]


def _histograms(result: Diff) -> dict[str, list[dict[str, Any]]]:
    """Every compared tensor's histogram, those that differ apart."""
    groups: dict[str, list[dict[str, Any]]] = {"differing": [], "equal": []}
    for row in result.tensors:
        tensor = result.graph[row.tensor]
        expected, actual = result.trace[row.tensor], result.observed[row.tensor]
        drawn = histogram(tensor, expected, actual)
        low, high = int(expected.min()), int(expected.max())
        groups["differing" if row.differing else "equal"].append(
            {
                "tensor": short(row.tensor),
                "format": str(tensor.format),
                "low": f"{tensor.format.low:,}",
                "high": f"{tensor.format.high:,}",
                "expected": drawn.expected,
                "actual": drawn.actual if row.differing else "",
                "zero": drawn.zero,
                "text": f"simulator {low:,} to {high:,}"
                + (f", other {int(actual.min()):,} to {int(actual.max()):,}" if row.differing else "")
                + (f"; {drawn.per_bin:,} codes a bar" if drawn.per_bin > 1 else ""),
                "limits": _at_limits(expected, tensor.format.low, tensor.format.high),
            }
        )
    return groups


def _at_limits(codes: Array, low: int, high: int) -> str:
    """Share of codes that stand at the format's ends: where saturation shows."""
    at = int((codes == low).sum() + (codes == high).sum())
    return f"{100 * at / codes.size:.3g} % at the limits"


def _maps(result: Diff, first: FirstDifference) -> dict[str, Any]:
    maps, hidden = difference_maps(result.trace[first.tensor], result.observed[first.tensor])
    return {
        "tensor": short(first.tensor),
        "maps": [
            {
                "title": m.title,
                "uri": m.uri,
                "width": m.width,
                "height": m.height,
                "text": f"{m.differing:,} of {m.total:,} differ, by up to {m.largest:+,}",
            }
            for m in maps
        ],
        "hidden": hidden,
    }


def _step(step: Step) -> dict[str, Any]:
    pool = step.op in ("SumPool2D", "MaxPool2D")
    return {
        "op": step.op,
        "layer": short(step.layer),
        "tensor": short(step.tensor),
        "index": f"({', '.join(map(str, step.index))})" if step.index else "",
        "value": f"{step.value:,}",
        "lines": step.lines,
        "pool": pool,
        "terms": [
            {
                "at": f"({', '.join(map(str, t.at))})",
                "x": t.x,
                "weight": t.weight,
                "product": t.x * t.weight,
                "running": t.running,
            }
            for t in step.terms[:TERMS]
        ],
        "count": f"{len(step.terms):,}",
        "hidden": max(0, len(step.terms) - TERMS),
    }


__all__ = ["page", "write_page"]
