"""What samples do to a model: values that its input clips, and how they use each tensor's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from qsim.cli import view
from qsim.compare.arrays import check_writable, read_arrays
from qsim.compare.clipping import clipped_inputs
from qsim.debug.sanitize import TensorHealth, export_worst_case, sanitize
from qsim.debug.words.text import short
from qsim.ir import Graph
from qsim.numerics import Array


def clipping(graph: Graph, arrays: Array | Mapping[str, Array]) -> None:
    """On standard error: which real inputs the model's input quantizer clips, and the likely cause."""
    for text in clipped_inputs(graph, arrays):
        view.paragraph(f"Note: {text}", err=True)


def show_health(graph: Graph, arrays: Any, *, codes: bool = False) -> None:
    """The sanitizer's table for samples, as ``run --sanitize`` and ``inspect --input`` show it."""
    found = sanitize(graph, arrays, codes=codes)
    if not codes:
        clipping(graph, arrays)
    _show(found)


def show_use(graph: Graph, input_file: str) -> int:
    """``inspect --input``."""
    show_health(graph, read_arrays(input_file))
    return 0


def write_worst_case(graph: Graph, tensor: str, out: str) -> int:
    """``inspect --worst-case``: the input codes that bring an accumulator to its greatest value, as .npy."""
    path = export_worst_case(graph, tensor, check_writable(out, several=False))
    op = graph.producers[tensor]
    low, high = graph[tensor].range
    view.paragraph(
        f"{path}: codes of {op.inputs[0]!r} that bring an element of {tensor!r} to its greatest value {high} (proven "
        f"range [{low}, {high}])."
    )
    return 0


def _show(rows: Sequence[TensorHealth]) -> None:
    """The numeric sanitizer's table."""
    cells = [
        (
            short(h.tensor),
            h.format,
            f"[{h.observed[0]}, {h.observed[1]}]",
            f"[{h.proven[0]}, {h.proven[1]}]",
            h.saturated_low or "",
            h.saturated_high or "",
            h.wrapped or "",
            "n/a" if h.ties is None else h.ties or "",
            h.underflowed or "",
            h.dead_msbs or "",
            len(h.dead_channels) or "",
            len(h.constant_channels) or "",
        )
        for h in rows
    ]
    columns: tuple[str, ...] = (
        "tensor",
        "codes",
        "observed",
        "proven",
        "sat. low",
        "sat. high",
        "wrap",
        "ties",
        "to zero",
    )
    columns += ("dead MSBs", "dead ch.", "const. ch.")
    view.table("How each tensor uses its format", columns, cells, right=range(2, len(columns)))
    click.echo()
    for h in rows:
        if h.remarks:
            view.paragraph(f"{short(h.tensor)}: {', '.join(h.remarks)}")
    view.paragraph(
        "sat.: clipped by the layer's limits (a ReLU clips low by design). ties: exactly half way, so that the "
        "rounding mode decides. to zero: a nonzero value became the code of zero. dead MSBs: high bits that no "
        "observed code needs."
    )


__all__ = ["show_health", "write_worst_case"]
