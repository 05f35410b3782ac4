"""The command line. Exit codes: 0 fine, 1 a mismatch or an unsupported model, 2 wrong usage.

Every error is one readable paragraph on standard error. What a command computes stands in the library; here it is
called and shown. A command's module, and all that it needs, is imported when the command is called.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from qsim import process
from qsim.cli.text import paragraph
from qsim.errors import QsimError
from qsim.version import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "compile": ("compile.compile_command", "Emit a model; --verify builds and runs it."),
    "cosim": ("debug.cosim_command", "Run foreign RTL beside the simulator."),
    "demo": ("compile.demo", "The whole way on a bundled trained model."),
    "diff": ("debug.diff_command", "Find where other numbers differ from the simulator, and why."),
    "doctor": ("model.doctor", "Say what a model needs and what is unsupported."),
    "estimate": ("debug.estimate_command", "Count operations, bits, memory, energy."),
    "evaluate": ("evaluate.evaluate_command", "Accuracy and confusion over a data set."),
    "explain": ("debug.explain", "Explain a layer: formula, numbers, a worked element."),
    "inspect": ("model.inspect", "Show a model as integer layers."),
    "run": ("run.run", "Run a model on samples, bit for bit."),
    "sweep": ("sweep.sweep_command", "Choices after training against accuracy and cost."),
    "vectors": ("debug.vectors", "Write golden vectors for a team without Python."),
}
"""Command -> where it stands below ``qsim.cli``, and what it does in a line."""


class Commands(click.Group):
    """The commands of ``COMMANDS``, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(".")
        found = getattr(import_module(f"qsim.cli.{module}"), name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, does) for name, (_, does) in COMMANDS.items()])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Compilers and simulators are stopped after {process.LIMIT:g} seconds each: the environment variable "
    f"{process.VARIABLE} says another number, or 0 for no limit.",
)
@click.version_option(__version__, prog_name="qsim")
@click.option("--debug", is_flag=True, help="Show Python's traceback of an error too.")
def cli(debug: bool) -> None:
    """Run quantized neural networks bit for bit as hardware will, and emit C, HLS C++ and SystemVerilog that are built,
    run and compared: the same integers in every element of every layer."""


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
        paragraph(f"Ended by {signal.Signals(stop.number).name}.", err=True)
        return 128 + stop.number
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        usage = f"{error.ctx.get_usage()}\n" if isinstance(error, click.UsageError) and error.ctx else ""
        paragraph(f"{usage}Error: {error.format_message()}", err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):
        paragraph("Interrupted.", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe left (`qsim inspect ... | head`): no error
        return 0
    except QsimError as error:
        if debug:
            traceback.print_exc()
        paragraph(f"Error: {error}", err=True)
        return error.exit_code
    except OSError as error:
        if debug:
            traceback.print_exc()
        if error.filename is None:  # what is written to a file by name is guarded; what is left of it goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        paragraph(f"Error: {error.filename or 'standard output'}: {error.strerror or error}", err=True)
        return 2
    except Exception as error:
        if debug:
            traceback.print_exc()
        paragraph(
            f"Error: this is a bug in qsim {__version__}, not in your model: {type(error).__name__}: {error}. "
            + ("" if debug else f"Please report it with the output of: qsim --debug {' '.join(args)}"),
            err=True,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
