"""``qsim sweep``: what may be chosen after training, against accuracy and cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from qsim.cli import view
from qsim.cli.evaluate import counting, data_options, percent
from qsim.cli.options import model_options
from qsim.debug.pages.sweep_report import page
from qsim.errors import UsageError, writing
from qsim.evaluation.grid import FIELDS, parse_axis
from qsim.evaluation.sweep import Sweep, sweep
from qsim.importers import ModelSource
from qsim.targets.registry import TARGETS


@click.command("sweep")
@model_options
@click.option(
    "--vary",
    "axes",
    multiple=True,
    required=True,
    metavar="NAME=A,B,...",
    help=f"{', '.join(FIELDS)}, or an option of a target such as rtl.folding; several times: every combination.",
)
@data_options
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=click.Choice(list(TARGETS)),
    help="Whose predicted cost is shown; several times: each; default: c and rtl.",
)
@click.option("--csv", "csv_file", metavar="FILE", help="Write the table there.")
@click.option("--report", metavar="FILE", help="Write table and Pareto plots as one offline HTML page.")
def sweep_command(
    source: ModelSource,
    axes: tuple[str, ...],
    data: str,
    labels: str | None,
    targets: tuple[str, ...],
    csv_file: str | None,
    report: str | None,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Run every combination of choices over a data set and plan its targets: accuracy (without labels: outputs equal to
    the first combination's), changed outputs and classes, predicted cost, and which combinations no other beats."""
    for name, file, endings in (("--csv", csv_file, (".csv",)), ("--report", report, (".html", ".htm"))):
        if file and (Path(file).suffix.lower() not in endings or not Path(file).absolute().parent.is_dir()):
            raise UsageError(f"{name} {file}: a {endings[0]} file in an existing folder is needed")
    varied = [parse_axis(text) for text in axes]
    with counting(source.name) as progress:
        found = sweep(
            source,
            varied,
            data,
            labels,
            targets=tuple(dict.fromkeys(targets)) or ("c", "rtl"),
            announce=lambda text: click.echo(f"... {text}", err=True),
            progress=progress,
            **chosen,
        )
    if csv_file:
        with writing(csv_file):
            Path(csv_file).write_text(found.csv(), encoding="utf-8")
    if report:
        with writing(report):
            Path(report).write_text(page(found), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1))
        return 0
    show(found)
    for file in (csv_file, report):
        if file:
            click.echo(f"written to {file}")
    return 0


def show(found: Sweep) -> None:
    """The table, and why combinations were refused."""
    names = [axis.name for axis in found.axes]
    rows = [
        (
            *(point.choices[name] for name in names),
            percent(point.merit),
            f"{point.evaluation.counts.changed:,}" if point.evaluation else "",
            f"{point.evaluation.counts.moved:,}" if point.evaluation else "",
            *(f"{point.costs[c]:,}" if c in point.costs else "refused" for c in found.columns),
            view.mark(True, "*") if point.best else "",
        )
        for point in found.points
    ]
    columns = (*names, found.merit, "other outputs", "other classes", *found.columns, "Pareto")
    view.table(f"Sweep of {found.model}", columns, rows, right=range(len(names), len(columns) - 1))
    reasons = dict.fromkeys(f"{place}: {reason}" for p in found.points for place, reason in p.refused.items())
    for reason in reasons:
        view.paragraph(f"\nRefused by {reason}")


__all__ = ["sweep_command"]
