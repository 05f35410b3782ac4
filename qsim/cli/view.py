"""How the command line prints: tables, progress and error paragraphs, readable on a terminal and in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qsim.cli.text import paragraph
from qsim.compare.report import Report
from qsim.debug.pages.report import Accuracy, Figure, clip
from qsim.ir import Graph, quantization_text
from qsim.ir.layers import layer_facts
from qsim.numerics import Array
from qsim.targets.registry import TARGETS
from qsim.targets.weight_memory import weight_memory

PIPE_WIDTH = 160
"""Columns where the output is no terminal: wide enough that no table wraps."""


def console() -> Console:
    """Standard output: coloured on a terminal, plain text in a pipe or a file."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, soft_wrap=False)


def _line(text: str) -> None:
    click.echo(f"... {text}", err=True)


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """A function that announces a long step on standard error; on a terminal a spinner turns until the next one."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield _line
        return
    with err.status("") as status:

        def announce(text: str) -> None:
            _line(text)
            status.update(Text(text))

        yield announce


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> None:
    """Print a table; ``right`` are the columns of numbers. Cells are text, never markup."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, name in enumerate(columns):
        drawn.add_column(Text(name), justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    out = console()
    out.print(Text(f"\n{title}\n", style="bold"))
    out.print(drawn)


def mark(good: bool, text: str) -> Text:
    """A verdict in green or red; the word carries the meaning where there is no colour."""
    return Text(text, style="green" if good else "bold red")


def shape(dimensions: Sequence[int]) -> str:
    return "x".join(map(str, dimensions)) or "scalar"


def show_layers(graph: Graph) -> None:
    """The table of layers: what each computes, its widths, its constants and multiplications."""
    facts = layer_facts(graph)
    rows: list[Sequence[object]] = [
        (
            clip(f.layer),
            " + ".join(f.operations),
            shape(f.output.shape),
            f"{f.weights} x {f.weight_format}" if f.weight_format else "",
            f.accumulator.format if f.accumulator else "",
            f.output.format,
            quantization_text(f.output.quantization)[1:],
            f.constant_bits or "",
            f.multiplications or "",
        )
        for f in facts
    ]
    total = ("total", "", "", sum(f.weights for f in facts), "", "", "")
    rows.append((*total, sum(f.constant_bits for f in facts), sum(f.multiplications for f in facts)))
    columns = ("layer", "operations", "shape", "weights", "accumulator", "codes", "unit", "const. bits", "mult.")
    table("Layers", columns, rows, right=(7, 8))


def show_weights(graph: Graph) -> None:
    """What the weights of each layer take in each target, and which kernel computes with them."""
    found = weight_memory(graph)
    if not found:
        return
    rows: list[Sequence[object]] = []
    kernels: list[Sequence[object]] = []
    for m in found:
        stored = [m.stored.get(name) for name in TARGETS]
        bits = ("-" if s is None else s.bits for s in stored)
        rows.append((clip(m.tensor), m.count, m.distinct, m.encoding, *bits))
        kernels.append((clip(m.tensor), *("-" if s is None else s.kernel for s in stored)))
    totals = [_sum([m.stored[name].bits if name in m.stored else None for m in found]) for name in TARGETS]
    rows.append(("total", sum(m.count for m in found), "", "", *totals))
    columns = ("sums", "weights", "values", "encoding", *(f"{name} bits" for name in TARGETS))
    table("Weight memory", columns, rows, right=(1, 2, *range(4, len(columns))))
    table("Weight kernels", ("sums", *TARGETS), kernels)
    paragraph(
        "\nc: the array in weights.c; 0: an earlier line's, whose weights are the same. Binary weights take one bit "
        "and ternary ones two, each output's (depthwise: each tap's) padded to words of 32, unless bytes take no more. "
        "hls: the array in the layer's header. rtl: the weight memory, at the encoding's bits, without padding. All at "
        "the targets' default options."
    )


def _sum(values: Sequence[int | None]) -> object:
    known = [v for v in values if v is not None]
    return sum(known) if len(known) == len(values) else "-"


def show_graph(graph: Graph) -> None:
    """Name, profile, hash, inputs and outputs."""
    paragraph(f"Model {graph.name}, numeric profile {graph.profile}, graph {graph.hash[:16]}")
    ends = [("input", graph[i.tensor]) for i in graph.inputs] + [("output", graph[o.tensor]) for o in graph.outputs]
    rows = [(end, clip(t.name), shape(t.shape), t.format, quantization_text(t.quantization)[1:]) for end, t in ends]
    table("Inputs and outputs", ("", "tensor", "shape", "codes", "unit"), rows)


def show_ranges(graph: Graph) -> None:
    """Every tensor's proven range against its format."""
    rows = [(clip(t.name), t.format, t.format.low, *t.range, t.format.high) for t in graph.tensors.values()]
    columns = ("tensor", "codes", "format from", "proven from", "proven to", "format to")
    table("Proven ranges", columns, rows, right=(2, 3, 4, 5))


def results(values: Array | Mapping[str, Array], *, codes: bool, full: bool) -> list[str]:
    """Lines that show outputs: their shape, and with ``full`` every number, one sample per line."""
    lines = []
    for name, array in values.items() if isinstance(values, Mapping) else [("", values)]:
        kind = "codes" if codes else "values"
        lines.append(f"{name + ': ' if name else ''}{shape(array.shape)} {kind}")
        if full:
            lines += [" ".join(f"{v:d}" if codes else f"{v:.9g}" for v in row.reshape(-1).tolist()) for row in array]
    return lines


def show_notes(graph: Graph) -> None:
    """The sentences that a user must read."""
    if graph.notes:
        click.echo()
    for note in graph.notes:
        paragraph(f"Note: {note}")


def show_verification(report: Report) -> None:
    """Differing codes per tensor and target, a line per target, and every mismatch in words."""
    columns = ["tensor", "elements", *(r.title for r in report.results)]
    rows = [
        (clip(t.name), t.size, *(mark(not r.tensors[t.name], str(r.tensors[t.name])) for r in report.results))
        for t in report.graph.tensors.values()
    ]
    table("Codes that differ from the simulator's", columns, rows, right=range(1, len(columns)))
    click.echo()
    for result in report.results:
        total = result.samples * sum(report.graph[name].size for name in result.tensors)
        verdict = "equal" if result.ok else "DIFFERENT"
        line = f"{result.title}: {verdict}, {sum(result.tensors.values())} of {total} codes differ"
        click.secho(f"{line} ({result.samples} samples, {result.seconds:.1f} s)", fg=None if result.ok else "red")
    for mismatch in report.mismatches:
        paragraph(str(mismatch))


def show_figures(figures: Sequence[Figure]) -> None:
    """What the network costs, by target."""
    table("Cost", ("where", "what", "value"), [(f.group, f.name, f.value) for f in figures], right=(2,))


def show_accuracy(accuracy: Sequence[Accuracy]) -> None:
    """Every source's accuracy, side by side."""
    rows = [(a.source, a.total, a.correct, a.percent, a.note) for a in accuracy]
    table("Accuracy", ("source", "test images", "correct", "accuracy", ""), rows, right=(1, 2, 3))


__all__ = [
    "console",
    "mark",
    "paragraph",
    "results",
    "shape",
    "show_accuracy",
    "show_figures",
    "show_graph",
    "show_layers",
    "show_notes",
    "show_ranges",
    "show_verification",
    "show_weights",
    "steps",
    "table",
]
