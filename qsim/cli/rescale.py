"""How the command line shows rescales: what each became, and what was proven of it."""

from __future__ import annotations

from collections.abc import Sequence

from qsim.cli import view
from qsim.debug.pages.report import clip
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.proof.rescales import RescaleFacts, rescale_facts

NAMED_LANES = 8
"""Channels with differing codes that a table names."""


def show_rescales(graph: Graph) -> None:
    """Every rescale that is more than a shift: its integers, the accumulator's proven range, and the proof's result."""
    facts = rescale_facts(graph)
    shifts = sum(isinstance(op, o.Requantize) and op.negative is None and op.rescale.is_shift for op in graph.ops)
    if facts:
        rows = [
            (clip(f.tensor), f.form, f.lanes, _integers(f), f"[{f.bounds[0]}, {f.bounds[1]}]", f.values, _proof(f))
            for f in facts
        ]
        columns = ("rescale", "form", "lanes", "integers", "accumulators", "values", "codes against the real scale")
        view.table("Rescales by factors that are no powers of two", columns, rows, right=(2, 5))
        view.paragraph(
            "\nlanes: channels (or elements) with parameters of their own. accumulators: proven range over all lanes; "
            "values: numbers within the lanes' proven ranges."
        )
    if shifts:
        view.paragraph(f"\n{shifts} rescale{'s are' if shifts > 1 else ' is'} by powers of two: a rounding shift each.")


def show_difference(graph: Graph) -> None:
    """``show_rescales`` in one line, where codes differ; nothing else."""
    facts = [f for f in rescale_facts(graph) if f.differing and any(f.differing)]
    if facts:
        differing = sum(sum(f.differing or ()) for f in facts)
        view.paragraph(
            f"\nRescales: {differing} of {sum(f.values for f in facts)} accumulator values have another code than the "
            f"exact rescale gives, in {', '.join(clip(f.tensor) for f in facts)}."
        )


def _integers(f: RescaleFacts) -> str:
    if f.form in ("thresholds", "table"):
        return f"{f.thresholds} {'entries' if f.form == 'table' else 'thresholds'}"
    if f.form == "division":
        return "exact quotient"
    low, high = f.shifts
    return f"multiplier {f.multiplier_bits} bit, shift {low if low == high else f'{low} to {high}'}"


def _proof(f: RescaleFacts) -> str:
    if f.differing is None:
        return "an exact integer multiple" if f.form == "integers" else "the source file's own multiplier"
    if not any(f.differing):
        return f"all {f.values} equal"
    lanes: Sequence[tuple[int, int]] = [(lane, n) for lane, n in enumerate(f.differing) if n]
    named = ", ".join(f"{lane}: {n}" for lane, n in lanes[:NAMED_LANES]) + (", ..." if len(lanes) > NAMED_LANES else "")
    return f"{sum(f.differing)} DIFFER" + (f" (lane {named})" if f.lanes > 1 else "")


__all__ = ["show_difference", "show_rescales"]
