"""The cost of a verified network: what is counted on the graph, and what the targets' runs measured."""

from __future__ import annotations

from qsim.compare.report import Report
from qsim.debug.pages.report import Figure
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
        found += [Figure(group=result.title, name=f.name, value=f.text) for f in result.figures]
    return found
