"""The cost of a verified network: what is counted on the graph, and what the targets' runs measured."""

from __future__ import annotations

from qsim.compare.report import Report
from qsim.debug.pages.report import TARGET_NAMES, Figure
from qsim.ir import Graph
from qsim.ir.layers import layer_facts


def figures(graph: Graph, report: Report) -> list[Figure]:
    """Figures by group: the network first, then each target in the report's order."""
    facts = layer_facts(graph)
    widest = max((f.accumulator.format.width for f in facts if f.accumulator), default=0)
    bits = sum(f.constant_bits for f in facts)
    found = [
        Figure(group="Network", name="weights", value=f"{sum(f.weights for f in facts):,}"),
        Figure(group="Network", name="constants at their least widths", value=f"{-(-bits // 8):,} bytes"),
        Figure(group="Network", name="multiplications per image", value=f"{sum(f.multiplications for f in facts):,}"),
        Figure(group="Network", name="widest accumulator", value=f"{widest} bits"),
    ]
    for result in report.results:
        group = TARGET_NAMES[result.target]
        found += [_fact(group, name, value) for name, value in result.facts.items() if name in NAMES]
    return found


NAMES = {
    "compiler": ("compiler", ""),
    "multipliers": ("multipliers", ""),
    "rom_bytes": ("ROM: weights and tables", " bytes"),
    "ram_bytes": ("RAM: arena and stack", " bytes"),
    "latency_cycles_predicted": ("latency, predicted", " cycles"),
    "latency_cycles_simulated": ("latency, simulated", " cycles"),
    "interval_cycles_predicted": ("cycles between frames, predicted", " cycles"),
    "interval_cycles_simulated": ("cycles between frames, simulated", " cycles"),
}
"""Names that runners give the facts that are figures -> (words, unit)."""


def _fact(group: str, name: str, value: object) -> Figure:
    words, unit = NAMES[name]
    return Figure(group=group, name=words, value=(f"{value:,}" if isinstance(value, int) else str(value)) + unit)
