"""``qsim inspect`` and ``qsim doctor``: a model before anything is run or built."""

from __future__ import annotations

import click

from qsim.cli import view
from qsim.cli.options import model_options
from qsim.cli.rescale import show_rescales
from qsim.debug.doctor import examine
from qsim.errors import UsageError
from qsim.importers import ModelSource, load
from qsim.ir import to_json


@click.command()
@model_options
@click.option("--text", is_flag=True, help="Print the integer graph, every operation with its attributes.")
@click.option("--json", "as_json", is_flag=True, help="Print the integer graph as JSON, weights included.")
@click.option("--input", "input_file", metavar="FILE", help="Samples: show how they use each tensor's format.")
@click.option("--worst-case", metavar="TENSOR", help="Accumulator whose greatest value's input goes to -o.")
@click.option("-o", "--out", metavar="FILE", help="The .npy file for --worst-case.")
def inspect(
    source: ModelSource,
    text: bool,
    as_json: bool,
    input_file: str | None,
    worst_case: str | None,
    out: str | None,
) -> int:
    """Show what MODEL becomes: layers, integer formats, accumulators, proven ranges."""
    if bool(worst_case) != bool(out):
        raise UsageError("--worst-case TENSOR and -o FILE.npy go together")
    graph = load(source)
    if worst_case or input_file:
        from qsim.cli import health  # here: it runs the model, which nothing below does

        if worst_case and out:
            return health.write_worst_case(graph, worst_case, out)
        return health.show_use(graph, str(input_file))
    if as_json:
        click.echo(to_json(graph))
    elif text:
        click.echo(str(graph), nl=False)
    else:
        view.show_graph(graph)
        view.show_layers(graph)
        view.show_weights(graph)
        show_rescales(graph)
        view.show_ranges(graph)
        view.show_notes(graph)
    return 0


@click.command()
@model_options
def doctor(source: ModelSource) -> int:
    """Say what MODEL needs and what is unsupported, before anything is built."""
    findings = examine(source)
    rows = [(f.subject, view.mark(f.level == "ok", f.level), f.text) for f in findings]
    view.table(f"Examination of {source.name}", ("what", "state", ""), rows)
    return 1 if any(f.level == "unsupported" for f in findings) else 0


__all__ = ["doctor", "inspect"]
