"""The cores that emitted C is built for and emulated on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qsim.errors import UsageError


class Family(Enum):
    """Instruction set family: decides registers, calling convention and how long an instruction is."""

    ARM = "arm"
    RISCV = "riscv"


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """One core. gcc: the cross compiler's command; gcc_flags and zig_flags: what selects the core; model: the name of
    Unicorn's constant for it, where it has one."""

    name: str
    family: Family
    gcc: str
    gcc_flags: tuple[str, ...]
    zig_flags: tuple[str, ...]
    model: str


def _arm(name: str, zig: str, model: str) -> Cpu:
    return Cpu(
        name=name,
        family=Family.ARM,
        gcc="arm-none-eabi-gcc",
        gcc_flags=(f"-mcpu={name}", "-mthumb"),
        zig_flags=("-target", "thumb-freestanding-eabi", f"-mcpu={zig}"),
        model=f"UC_CPU_ARM_{model}",
    )


CPUS: dict[str, Cpu] = {
    "cortex-m0plus": _arm("cortex-m0plus", "cortex_m0plus", "CORTEX_M0"),
    "cortex-m3": _arm("cortex-m3", "cortex_m3", "CORTEX_M3"),
    "cortex-m4": _arm("cortex-m4", "cortex_m4", "CORTEX_M4"),
    "cortex-m7": _arm("cortex-m7", "cortex_m7", "CORTEX_M7"),
    "cortex-m33": _arm("cortex-m33", "cortex_m33", "CORTEX_M33"),
    "rv32imc": Cpu(
        name="rv32imc",
        family=Family.RISCV,
        gcc="riscv64-unknown-elf-gcc",
        gcc_flags=("-march=rv32imc", "-mabi=ilp32"),
        zig_flags=("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c"),
        model="UC_CPU_RISCV32_ANY",
    ),
}


def cpu_named(name: str) -> Cpu:
    """The core of that name; ``m4`` and ``cortex-m4`` mean the same. Raises UsageError for others."""
    for key in (name, f"cortex-{name}"):
        if key in CPUS:
            return CPUS[key]
    raise UsageError(f"unknown core {name!r}: choose from {', '.join(CPUS)}")


__all__ = ["CPUS", "Cpu", "Family", "cpu_named"]
