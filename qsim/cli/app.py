"""The command line. Exit codes: 0 fine, 1 a mismatch or an unsupported model, 2 wrong usage.

Every error is one readable paragraph on standard error. What a command computes stands in the library; here it is
called and shown.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from qsim import process
from qsim.cli import mcu, view
from qsim.cli.debug import COMMANDS, prepared_codes, show_health, write_worst_case
from qsim.cli.evaluate import evaluate_command
from qsim.cli.mcu import mcu_option
from qsim.cli.options import model_options
from qsim.cli.rescale import show_difference, show_rescales
from qsim.cli.sweep import sweep_command
from qsim.compare.arrays import check_writable, read_arrays, write_arrays
from qsim.compare.report import Report
from qsim.compare.verify import verify_planned
from qsim.debug.pages.figures import figures
from qsim.debug.pages.report import Content, html
from qsim.errors import QsimError, UsageError
from qsim.importers import ModelSource, load
from qsim.ir import to_json
from qsim.simulate import Simulator
from qsim.targets.files import Emission, emission
from qsim.targets.options import parse_options
from qsim.targets.registry import TARGETS, planned, require_tools
from qsim.version import __version__

SEED = 1
"""Of the generated verification inputs, so that two runs compare the same samples."""

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Compilers and simulators are stopped after {process.LIMIT:g} seconds each: the environment variable "
    f"{process.VARIABLE} says another number, or 0 for no limit.",
)
@click.version_option(__version__, prog_name="qsim")
@click.option("--debug", is_flag=True, help="Show Python's traceback of an error too.")
def cli(debug: bool) -> None:
    """Run quantized neural networks bit for bit as hardware will, and emit C, HLS C++ and SystemVerilog that are built,
    run and compared: the same integers in every element of every layer."""


def target_option(command: Command) -> Command:
    decorate: Callable[[Command], Command] = click.option(
        "--target",
        "targets",
        multiple=True,
        type=click.Choice(list(TARGETS)),
        help="May be given several times; default: all.",
    )
    return decorate(command)


@cli.command(short_help="The whole way on a bundled trained model.")
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
    from qsim.demo.flow import run

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


@cli.command("compile", short_help="Emit a model; --verify builds and runs it.")
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


@cli.command(short_help="Run a model on samples, bit for bit.")
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
        view.clipping(graph, arrays)
    if target:
        write_arrays(target, results)
    for line in view.results(results, codes=codes, full=target is None):
        click.echo(line)
    if target:
        click.echo(f"written to {target}")
    if sanitize:
        show_health(graph, arrays, codes=codes)
    return 0


@cli.command(short_help="Show a model as integer layers.")
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
    if worst_case and out:
        return write_worst_case(graph, worst_case, out)
    if input_file:
        show_health(graph, read_arrays(input_file))
        return 0
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


@cli.command(short_help="Say what a model needs and what is unsupported.")
@model_options
def doctor(source: ModelSource) -> int:
    """Say what MODEL needs and what is unsupported, before anything is built."""
    from qsim.debug.doctor import examine

    findings = examine(source)
    rows = [(f.subject, view.mark(f.level == "ok", f.level), f.text) for f in findings]
    view.table(f"Examination of {source.name}", ("what", "state", ""), rows)
    return 1 if any(f.level == "unsupported" for f in findings) else 0


for _command in (*COMMANDS, evaluate_command, sweep_command):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; what went wrong is a paragraph on standard error."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in args
    try:
        with process.ended_by_signals():
            result = cli.main(args=args, prog_name="qsim", standalone_mode=False)
        sys.stdout.flush()
        return int(result or 0)
    except process.Ended as stop:
        view.paragraph(f"Ended by {signal.Signals(stop.number).name}.", err=True)
        return 128 + stop.number
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        usage = f"{error.ctx.get_usage()}\n" if isinstance(error, click.UsageError) and error.ctx else ""
        view.paragraph(f"{usage}Error: {error.format_message()}", err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):
        view.paragraph("Interrupted.", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe left (`qsim inspect ... | head`): no error
        return 0
    except QsimError as error:
        if debug:
            traceback.print_exc()
        view.paragraph(f"Error: {error}", err=True)
        return error.exit_code
    except OSError as error:
        if debug:
            traceback.print_exc()
        if error.filename is None:  # what is written to a file by name is guarded; what is left of it goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        view.paragraph(f"Error: {error.filename or 'standard output'}: {error.strerror or error}", err=True)
        return 2
    except Exception as error:
        if debug:
            traceback.print_exc()
        view.paragraph(
            f"Error: this is a bug in qsim {__version__}, not in your model: {type(error).__name__}: {error}. "
            + ("" if debug else f"Please report it with the output of: qsim --debug {' '.join(args)}"),
            err=True,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
