"""``qsim evaluate``: a model over a data set."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qsim.cli import view
from qsim.cli.options import Command, model_options
from qsim.errors import UsageError
from qsim.evaluation.counts import MOST_CLASSES, Evaluation
from qsim.evaluation.evaluate import evaluate_all
from qsim.evaluation.images import PIXELS
from qsim.importers import ModelSource, load

_SHOWN_CLASSES = 32
"""Most classes of a confusion matrix on a terminal; --json has them all."""


def data_options(command: Command) -> Command:
    """The data set, and who does the work."""
    for decorate in (
        click.option("--json", "as_json", is_flag=True, help="Print everything as JSON."),
        click.option(
            "--record", metavar="FILE", help="Remember finished blocks there; the same call goes on where it stopped."
        ),
        click.option("--scheduler", metavar="ADDRESS", help="Work on a Dask cluster: local, or tcp://host:8786."),
        click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes."),
        click.option("--samples", type=click.IntRange(1), metavar="N", help="The first N samples only."),
        click.option(
            "--pixels",
            type=click.Choice(list(PIXELS)),
            default="0..255",
            show_default=True,
            help="Real values of the bytes of images.",
        ),
        click.option("--output", metavar="TENSOR", help="The output that is read as classes, where there are several."),
        click.option("--codes", is_flag=True, help="--data holds integer codes."),
        click.option(
            "--labels", metavar="FILE", help="Class numbers or one-hot rows (.npy, FILE.npz:NAME); default: folders."
        ),
        click.option(
            "--data",
            required=True,
            metavar="X",
            help="Samples, batch first: .npy, .npz, FILE.npz:NAME, or a folder of images (one folder a class).",
        ),
    ):
        command = decorate(command)
    return command


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function that shows (done, total) on standard error: a bar on a terminal, a line every tenth elsewhere."""
    err = Console(stderr=True)
    if not err.is_terminal:
        shown = -1

        def line(done: int, total: int) -> None:
            nonlocal shown
            if done * 10 // total > shown:
                shown = done * 10 // total
                click.echo(f"... {title}: {done:,} of {total:,} samples", err=True)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@click.command("evaluate")
@model_options
@data_options
@click.option("--top", multiple=True, type=click.IntRange(1), metavar="K", help="Top-K too; several times: each.")
@click.option(
    "--threshold", type=float, default=0.5, show_default=True, help="Of one output value: class 1 from there on."
)
@click.option("--profiles", metavar="A,B,...", help="Numeric profiles side by side, the first the one compared with.")
def evaluate_command(
    source: ModelSource,
    data: str,
    labels: str | None,
    top: tuple[int, ...],
    threshold: float,
    profiles: str | None,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Run MODEL over a data set, bit for bit, and count: accuracy, top-k, each class, confusion. The counts are the
    same for any number of processes or machines, and a worker that dies loses nothing."""
    if profiles is not None and source.profile is not None:
        raise UsageError("give either --profile or --profiles")
    if labels is None and not Path(data).is_dir():
        raise UsageError("--labels is needed: class numbers of the samples; only folders of images name their classes")
    names = [name.strip() for name in profiles.split(",") if name.strip()] if profiles is not None else [source.profile]
    models = {}
    for name in dict.fromkeys(names):
        graph = load(source.but(profile=name))
        models[graph.profile] = graph
    if not models:
        raise UsageError("--profiles names no profile")
    start = time.perf_counter()
    with counting(source.name) as progress:
        found = evaluate_all(models, data, labels, top=top, threshold=threshold, progress=progress, **chosen)
    if as_json:
        click.echo(json.dumps([entry.to_json() for entry in found], indent=1))
        return 0
    show(found)
    print(f"\n{found[0].samples:,} labels, {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return 0


def percent(share: float | None) -> str:
    """A share in percent; empty for None."""
    return "" if share is None else f"{100 * share:.2f} %"


def show(found: Sequence[Evaluation]) -> None:
    """Accuracy of each model; classes and confusion of the first."""
    first = found[0]
    ks = list(first.top)
    rows: list[Sequence[object]] = [
        (
            entry.name,
            f"{entry.samples:,}",
            f"{entry.correct:,}",
            percent(entry.accuracy),
            *(percent(entry.top[k]) for k in ks),
            f"{entry.counts.changed:,}",
            f"{entry.counts.moved:,}",
        )
        for entry in found
    ]
    columns = ["profile", "labels", "correct", "accuracy", *(f"top {k}" for k in ks), "other outputs", "other classes"]
    keep = len(columns) - (2 if len(found) == 1 else 0)
    view.table("Accuracy", columns[:keep], [row[:keep] for row in rows], right=range(1, keep))
    if first.classes > MOST_CLASSES:
        view.paragraph(f"\n{first.classes} classes: --json has each.")
        return
    shown = [row for row in first.per_class() if row.samples or row.predicted][:_SHOWN_CLASSES]
    cells = [
        (r.label, f"{r.samples:,}", f"{r.predicted:,}", f"{r.correct:,}", percent(r.recall), percent(r.precision))
        for r in shown
    ]
    columns = ["class", "labels", "predicted", "correct", "recall", "precision"]
    view.table(f"Classes ({first.name})", columns, cells, right=range(6))
    labels = [r.label for r in shown]
    matrix = first.confusion[labels][:, labels].tolist()
    table = [(label, *(n or "." for n in counts)) for label, counts in zip(labels, matrix)]
    view.table("Confusion: a row is a label", ["", *map(str, labels)], table, right=range(len(labels) + 1))
    if first.classes > len(shown):
        view.paragraph(f"\n{len(shown)} of {first.classes} classes are shown; --json has all.")


__all__ = ["counting", "data_options", "evaluate_command", "percent"]
