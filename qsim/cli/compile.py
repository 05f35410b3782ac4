"""``qsim compile`` and ``qsim demo``: files of the targets, built, run and compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from qsim.cli import mcu, view
from qsim.cli.debug import prepared_codes
from qsim.cli.mcu import mcu_option
from qsim.cli.options import Command, model_options
from qsim.cli.rescale import show_difference
from qsim.compare.report import Report
from qsim.compare.verify import verify_planned
from qsim.debug.pages.figures import figures
from qsim.debug.pages.report import Content, html
from qsim.demo.flow import run
from qsim.errors import UsageError
from qsim.importers import ModelSource, load
from qsim.simulate import Simulator
from qsim.targets.files import Emission, emission
from qsim.targets.options import parse_options
from qsim.targets.registry import TARGETS, planned, require_tools

SEED = 1
"""Of the generated verification inputs, so that two runs compare the same samples."""


def target_option(command: Command) -> Command:
    decorate: Callable[[Command], Command] = click.option(
        "--target",
        "targets",
        multiple=True,
        type=click.Choice(list(TARGETS)),
        help="May be given several times; default: all.",
    )
    return decorate(command)


@click.command("demo")
@click.option("-o", "--out", default="qsim-demo", show_default=True, metavar="DIR", help="Folder for files and report.")
@target_option
@click.option("--images", type=click.IntRange(1), metavar="N", help="Run the targets on the first N test images only.")
@click.option(
    "--model",
    type=click.Choice(["digits", "blueoil"]),
    default="digits",
    show_default=True,
    help="Handwritten digits with 4- to 8-bit weights, or with 1-bit weights and 2-bit activations.",
)
def demo(out: str, targets: tuple[str, ...], images: int | None, model: str) -> int:
    """The whole way on a bundled trained model: three targets, each built, run and compared; ends in report.html."""
    chosen = tuple(targets) or tuple(TARGETS)
    with view.steps() as progress:
        result = run(Path(out), model=model, targets=chosen, images=images, progress=progress)
    view.show_layers(result.graph)
    view.show_notes(result.graph)
    view.show_verification(result.verification)
    view.show_figures(result.figures)
    view.show_accuracy(result.accuracy)
    view.paragraph(f"\nReport: {result.report_path} (open it in a browser; it needs no network)")
    return 0 if result.verification.ok else 1


@click.command("compile")
@model_options
@click.option("-o", "--out", required=True, metavar="DIR", help="Output folder; each target gets a folder in it.")
@target_option
@click.option(
    "--option",
    "option_texts",
    multiple=True,
    metavar="TARGET.NAME=VALUE",
    help="Emit option, such as rtl.folding=64 (multipliers) or rtl.folding.conv2=8; may be given several times.",
)
@click.option("--verify", "check", is_flag=True, help="Build and run what was emitted, compare with the simulator.")
@click.option("--input", "input_file", metavar="FILE", help="Samples for --verify (.npy, .npz): real values.")
@click.option("--codes", is_flag=True, help="--input holds integer codes.")
@click.option("--samples", type=click.IntRange(1), default=16, show_default=True, help="Samples without --input.")
@mcu_option
def compile_command(
    source: ModelSource,
    out: str,
    targets: tuple[str, ...],
    option_texts: tuple[str, ...],
    check: bool,
    input_file: str | None,
    codes: bool,
    samples: int,
    mcus: tuple[str, ...],
) -> int:
    """Emit MODEL as C, HLS C++ and SystemVerilog. Nothing is written unless every target can be emitted."""
    chosen = tuple(dict.fromkeys(targets)) or tuple(TARGETS)
    options = parse_options(option_texts)
    if input_file and not (check or mcus):
        raise UsageError("--input is what --verify runs: give --verify too, or leave --input out")
    if unused := [target for target in options if target not in chosen]:
        raise UsageError(f"options for target {unused[0]}, which is not among the targets {', '.join(chosen)}")
    if mcus and "c" not in chosen:
        raise UsageError("--mcu runs the emitted C: add --target c")
    graph = load(source)
    prepared = prepared_codes(graph, input_file, codes, samples, SEED)
    simulator = Simulator(graph)
    plans = {target: planned(graph, target, options.get(target)) for target in chosen}
    made = {target: plan.files() for target, plan in plans.items()}
    if check:
        require_tools(chosen)
    with emission(out, graph, chosen) as folder:
        report = None
        with view.steps() as progress:
            for target in chosen:
                progress(f"{target}: writing {len(made[target])} files to {folder.directories[target]}")
                folder.write(target, made[target])
            if check:
                report = verify_planned(
                    simulator,
                    prepared,
                    tuple(plans.values()),
                    directories=folder.directories,
                    thorough=True,
                    progress=progress,
                )
            emulated = mcu.run_on(simulator, prepared, folder.directories["c"], mcus, progress) if mcus else {}
        view.show_layers(graph)
        show_difference(graph)
        view.show_notes(graph)
        equal = mcu.show(emulated)
        if report is not None:
            _show_report(folder, report)
    return 0 if equal and (report is None or report.ok) else 1


def _show_report(folder: Emission, report: Report) -> None:
    """Show what the targets gave, and write it beside them."""
    view.show_verification(report)
    found = figures(folder.graph, report)
    view.show_figures(found)
    page = folder.report(html(Content(graph=folder.graph, verification=report, figures=found)))
    view.paragraph(f"\nReport: {page}")


__all__ = ["compile_command", "demo"]
