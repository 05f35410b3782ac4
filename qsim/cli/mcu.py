"""qsim compile --mcu: the emitted C on emulated microcontrollers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from qsim.cli import view
from qsim.numerics import Array
from qsim.simulate import Simulator
from qsim.targets.c.mcu.check import Checked, check
from qsim.targets.c.mcu.cpus import CPUS

mcu_option = click.option(
    "--mcu",
    "mcus",
    multiple=True,
    type=click.Choice(list(CPUS)),
    help="Run the emitted C on this emulated core, compare every tensor, count instructions; can be repeated.",
)


def run_on(
    simulator: Simulator,
    codes: Mapping[str, Array],
    folder: Path,
    mcus: Sequence[str],
    progress: Callable[[str], None],
) -> dict[str, Checked]:
    """The files in ``folder`` on each core."""
    found = {}
    expected = simulator.trace_codes(codes) if mcus else {}
    for name in dict.fromkeys(mcus):
        progress(f"c: building for {name} and running it in the emulator")
        found[name] = check(simulator.graph, folder, name, codes, expected)
    return found


def show(found: Mapping[str, Checked]) -> bool:
    """Print what each core gave, and the instructions by layer; whether all codes are equal."""
    for name, one in found.items():
        program, counted, sizes = one.program, one.counted, one.program.sizes
        rows: list[tuple[str, object]] = [
            ("compiler", f"{program.compiler} {' '.join(program.flags)}"),
            ("instructions of an inference", f"{counted.instructions:,}"),
            ("code", f"{sizes.text:,} bytes, of which kernels {program.kernels:,}"),
            ("constants", f"{sizes.rodata:,} bytes"),
            ("arena", f"{program.arena:,} bytes"),
            ("stack, measured", f"{counted.stack:,} bytes"),
        ]
        view.table(f"On an emulated {name}", ("what", "value"), rows, right=(1,))
        view.table(
            "Instructions by layer", ("layer", "instructions"), [(k, f"{n:,}") for k, n in counted.layers], right=(1,)
        )
        if one.different:
            view.paragraph(f"{name}: {len(one.different)} tensors DIFFER, the first is {one.different[0]}")
        else:
            view.paragraph(f"{name}: every tensor of {one.samples} samples equals the simulator's")
    return not any(one.different for one in found.values())


__all__ = ["mcu_option", "run_on", "show"]
