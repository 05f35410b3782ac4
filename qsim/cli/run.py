"""``qsim run``: a model on samples."""

from __future__ import annotations

import click

from qsim.cli import health, view
from qsim.cli.options import model_options
from qsim.compare.arrays import check_writable, read_arrays, write_arrays
from qsim.importers import ModelSource, load
from qsim.simulate import Simulator


@click.command()
@model_options
@click.option("--input", "input_file", required=True, metavar="FILE", help="Samples (.npy, .npz), batch first.")
@click.option("-o", "--out", metavar="FILE", help="Write the results there (.npy, .npz) and print only their shape.")
@click.option("--codes", is_flag=True, help="Integer codes in and out; default: real values in and out.")
@click.option("--sanitize", is_flag=True, help="Show what saturates, wraps, ties, underflows or is never used.")
def run(
    source: ModelSource,
    input_file: str,
    out: str | None,
    codes: bool,
    sanitize: bool,
) -> int:
    """Run MODEL on samples, bit for bit as the targets will."""
    graph = load(source)
    target = check_writable(out, several=len(graph.outputs) > 1) if out else None
    arrays = read_arrays(input_file)
    simulator = Simulator(graph)
    results = simulator.run_codes(arrays) if codes else simulator.run(arrays)
    if not codes and not sanitize:
        health.clipping(graph, arrays)
    if target:
        write_arrays(target, results)
    for line in view.results(results, codes=codes, full=target is None):
        click.echo(line)
    if target:
        click.echo(f"written to {target}")
    if sanitize:
        health.show_health(graph, arrays, codes=codes)
    return 0


__all__ = ["run"]
