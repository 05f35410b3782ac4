"""What a model needs and what stands in its way, before anything is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qsim.errors import QsimError, ToolMissingError
from qsim.importers import ModelSource, importer_of, load
from qsim.ir import Graph, quantization_text
from qsim.ir.layers import layer_facts
from qsim.targets.registry import TARGETS, missing_tools
from qsim.targets.target import AnyTarget

Level = Literal["ok", "note", "missing", "unsupported"]


@dataclass(frozen=True)
class Finding:
    """One line of an examination. "missing" names a tool that only verification needs."""

    subject: str
    level: Level
    text: str


def examine(source: ModelSource) -> list[Finding]:
    """Import the model and plan every target in memory. Nothing is written, built or run.

    Raises UsageError for a wrong call (an unreadable format string, no such profile).
    """
    try:
        graph = load(source)
    except ToolMissingError as error:
        return [Finding("import", "missing", str(error))]
    except QsimError as error:
        if error.exit_code == 2:
            raise
        return [Finding("import", "unsupported", str(error)), *_survey(source)]
    return [*_model(graph), *(f for target in TARGETS.values() for f in _target(graph, target))]


def _survey(source: ModelSource) -> list[Finding]:
    """Kind by kind, what the model holds; nothing for broken files."""
    try:
        entries = importer_of(source).survey(source)
    except QsimError:
        return []
    return [Finding(f"{e.occurrences} x {e.name}", "ok" if e.supported else "unsupported", e.reason) for e in entries]


def _model(graph: Graph) -> list[Finding]:
    facts = layer_facts(graph)
    found = [
        Finding(
            "import",
            "ok",
            f"{len(facts)} layers, {sum(f.weights for f in facts)} weights, "
            f"{sum(f.multiplications for f in facts)} multiplications per sample, numeric profile {graph.profile}",
        )
    ]
    for entry in graph.inputs:
        tensor = graph[entry.tensor]
        text = f"{tensor.format} codes {quantization_text(tensor.quantization)} in [{entry.low}, {entry.high}]"
        found.append(Finding(f"input {tensor.name}", "ok", text))
    widest = max((f.accumulator for f in facts if f.accumulator), key=lambda t: t.format.width, default=None)
    if widest is not None:
        found.append(Finding("accumulators", "ok", f"at most {widest.format.width} bits ({widest.name})"))
    return found + [Finding("note", "note", note) for note in graph.notes]


def _target(graph: Graph, target: AnyTarget) -> list[Finding]:
    name = target.title
    try:
        stored = target.planned(graph).weights().values()
    except QsimError as error:
        return [Finding(name, "unsupported", str(error))]
    found = [Finding(name, "ok", f"weights take {sum(weights.bits for weights in stored):,} bits")]
    return found + [Finding(f"{name}: verify", "missing", text) for text in missing_tools(target.name)]
