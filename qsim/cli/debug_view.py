"""How the debugger's results print: tables and sentences, readable on a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click
import numpy as np

from qsim.cli import view
from qsim.debug.diff.diff import Diff, FirstDifference, TensorDiff
from qsim.debug.diff.profiles import ProfileChanges
from qsim.debug.words.describe import Description
from qsim.debug.words.dissect import Step
from qsim.debug.words.text import short
from qsim.estimate import LayerEstimate
from qsim.estimate.operations import ENERGY_SOURCE
from qsim.targets.c.design import Footprint

BAR = 10
"""Characters of a bar."""


def bar(share: float) -> str:
    """A bar for a share of 0 to 1; anything above 0 shows."""
    full = int(np.ceil(share * BAR)) if share > 0 else 0
    return "#" * full + "." * (BAR - full)


def differences(row: TensorDiff, most: int = 3) -> str:
    """``+1 x 12, -1 x 3``: the most frequent differences."""
    text = ", ".join(f"{d:+d} x {n}" for d, n in row.differences[:most])
    return text + (", ..." if len(row.differences) > most else "")


def show_diff(result: Diff, terms: int) -> None:
    """Every compared tensor, the first difference in words, its element taken apart."""
    view.paragraph(
        f"Simulator against {result.against}: {result.samples} samples, {_tensors(len(result.tensors))} compared"
    )
    rows = [
        (
            short(row.tensor),
            short(row.layer),
            row.total,
            view.mark(not row.differing, str(row.differing)),
            f"{row.percent:.3g}",
            bar(row.differing / row.total),
            row.largest or "",
            differences(row),
        )
        for row in result.tensors
    ]
    columns = ("tensor", "layer", "codes", "differ", "%", "", "largest", "most frequent differences")
    view.table("Codes that differ from the simulator's", columns, rows, right=(2, 3, 4, 6))
    click.echo()
    for note in dict.fromkeys(note for row in result.tensors for note in row.notes):
        which = [row.tensor for row in result.tensors if note in row.notes]
        names = ", ".join(map(short, which[:6])) + (f" and {len(which) - 6} more" if len(which) > 6 else "")
        view.paragraph(f"Read: {names}: {note}")
    given = [entry.tensor for entry in result.graph.inputs]
    unobserved = [name for name in result.unobserved if name not in given]
    if unobserved:
        names = ", ".join(map(short, unobserved[:6])) + (", ..." if len(unobserved) > 6 else "")
        view.paragraph(f"Not observed: {_tensors(len(unobserved))} ({names})")
    if result.first is None:
        view.paragraph(f"{result.agreement[0].upper()}{result.agreement[1:]}.")
        if result.gaps:
            view.paragraph(f"{result.gaps}.")
        return
    for line in headline(result, result.first):
        view.paragraph(line)
    show_steps(result.first.steps, terms)


def _tensors(count: int) -> str:
    return f"{count} tensor{'' if count == 1 else 's'}"


def headline(result: Diff, first: FirstDifference) -> list[str]:
    """The finding in sentences: where, how much, why, and the first element's two codes."""
    row = next(t for t in result.tensors if t.tensor == first.tensor)
    lines = [
        f"Layer {short(first.layer)!r} is the first to differ: {row.differing} of {row.total} codes "
        f"({row.percent:.3g} %) of tensor {short(first.tensor)!r}, by up to {row.largest}."
    ]
    lines += [text if text.endswith(":") else f"{text}." for text in result.findings]
    where = ", ".join(map(str, first.index[1:]))
    lines.append(
        f"First at sample {first.index[0]}, element ({where}): the simulator has {first.expected}, "
        f"{result.against} has {first.actual}."
    )
    return lines


def show_steps(steps: Sequence[Step], terms: int) -> None:
    """Each step of one element with its numbers; of a sum the first ``terms`` products."""
    for step in steps:
        place = f" element ({', '.join(map(str, step.index))})" if step.index else ""
        click.echo(f"\n{step.op} of layer {short(step.layer)!r} makes {short(step.tensor)!r}{place} = {step.value}")
        if step.terms and terms:
            rows: list[Sequence[object]] = [
                (t.at, t.x, t.weight, t.x * t.weight, t.running) for t in step.terms[:terms]
            ]
            columns = ("input element", "code - zero point", "weight", "product", "running")
            if step.op in ("SumPool2D", "MaxPool2D"):
                columns = ("input element", "code", "", "", "running")
                rows = [(t.at, t.x, "", "", t.running) for t in step.terms[:terms]]
            view.table("Terms", columns, rows, right=(1, 2, 3, 4))
            if len(step.terms) > terms:
                rest = len(step.terms) - terms
                click.echo(f"... and {rest} more, to {step.terms[-1].running} (--terms {len(step.terms)} shows all)")
        for line in step.lines:
            view.paragraph(f"  {line}")


def show_profiles(names: Sequence[str], rows: Sequence[ProfileChanges]) -> None:
    """Per layer and profile: codes that change by the layer itself, and along the network."""
    columns = ["layer", "codes"]
    for name in names[1:]:
        columns += [f"{name}: own", "along", "largest"]
    cells: list[Sequence[object]] = []
    for row in rows:
        line: list[object] = [short(row.layer), next((c.total for c in row.changes if c), "")]
        for change in row.changes:
            if change is None:
                line += ["absent", "", ""]
                continue
            own: object = "" if change.own is None else view.mark(not change.own, str(change.own))
            line += [own, view.mark(not change.along, str(change.along)), change.largest or ""]
        cells.append(line)
    view.table(f"Codes that change against profile {names[0]}", columns, cells, right=range(1, len(columns)))
    click.echo()
    view.paragraph(
        "own: the layer is given the first profile's input codes, so that only its own arithmetic differs. along: the "
        "whole network runs under the other profile, so that differences of earlier layers come through too."
    )


def show_estimate(
    rows: Sequence[LayerEstimate],
    proven: Mapping[str, int],
    sampled: Mapping[str, int],
    qkeras: Mapping[str, int],
    memory: Footprint | str,
) -> None:
    """Operations, weights, accumulators, memory, energy."""
    _show_layers(rows, proven, sampled, qkeras)
    kinds: dict[str, int] = {}
    for r in rows:
        kinds[r.kind] = kinds.get(r.kind, 0) + r.operations
    view.table("Operations by kind", ("kind", "operations"), sorted(kinds.items()), right=(1,))
    click.echo()
    view.paragraph(
        "acc. width: bits of the accumulator in codes, sign included, proven over every input. proven, sampled, "
        "qkeras: integer bits of its largest magnitude in real units: over every input, on these samples, and as "
        "qkeras.estimate figures it (it bounds the first kernel.shape[1] output channels only and multiplies the bias "
        "by the input's range)."
    )
    if isinstance(memory, str):
        view.paragraph(f"Memory: {memory}")
    else:
        view.paragraph(
            f"Memory of the emitted C: {memory.rom:,} bytes of constants, {memory.arena:,} bytes of arena, about "
            f"{memory.stack:,} bytes of stack."
        )
    view.paragraph(f"Energy: {ENERGY_SOURCE}")


def _show_layers(
    rows: Sequence[LayerEstimate],
    proven: Mapping[str, int],
    sampled: Mapping[str, int],
    qkeras: Mapping[str, int],
) -> None:
    """The table of layers and their sum."""
    cells: list[Sequence[object]] = [
        (
            short(r.layer),
            r.kind,
            r.operations,
            r.weights,
            r.weight_bits,
            r.bias_bits or "",
            f"{100 * r.sparsity:.1f} %",
            r.accumulator_bits,
            proven[r.layer],
            sampled[r.layer],
            qkeras[r.layer],
            f"{r.energy_pj:,.1f}",
        )
        for r in rows
    ]
    weights = sum(r.weights for r in rows)
    zeros = sum(r.sparsity * r.weights for r in rows)
    total = ("total", "", sum(r.operations for r in rows), weights, sum(r.weight_bits for r in rows))
    share = f"{100 * zeros / weights:.1f} %" if weights else ""
    cells.append(
        (*total, sum(r.bias_bits for r in rows), share, "", "", "", "", f"{sum(r.energy_pj for r in rows):,.1f}")
    )
    sizes = ("operations", "weights", "weight bits", "bias bits", "zeros", "acc. width")
    columns = ("layer", "kind", *sizes, "proven", "sampled", "qkeras", "pJ/sample")
    view.table("Estimate", columns, cells, right=range(2, len(columns)))


def show_description(found: Description, terms: int) -> None:
    """A layer explained: in reals, in integers, the wrapper's variables, one worked element."""
    click.echo(f"\n{found.title}")
    click.echo("-" * min(100, len(found.title)))
    for part in found.parts:
        click.echo(f"\n{part.title}")
        for line in part.lines:
            view.paragraph(f"  {line}")
    if found.variables:
        rows = [(v.name, "x".join(map(str, v.shape)) or "scalar", v.size, v.purpose) for v in found.variables]
        view.table("Variables that the quantization wrapper added", ("variable", "shape", "numbers", "what for"), rows)
    if found.steps:
        click.echo(f"\nOne element worked out (sample {found.sample})")
        show_steps(found.steps, terms)
