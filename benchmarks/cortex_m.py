"""Instructions that emitted C takes on an Arm Cortex-M: built by Zig's Clang, run and counted in Unicorn.

Needs pip install 'qsim-hw[mcu]'. The emulator counts instructions, not cycles, as callgrind does on the host.
"""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys
from pathlib import Path

CPUS = {"cortex-m4": "cortex_m4", "cortex-m0+": "cortex_m0plus"}
"""Name -> Clang's; the Cortex-M0+ has Armv6-M, without bit-field and conditional instructions."""

FLAGS = ("-std=c99", "-ffreestanding", "-nostdlib", "-fno-sanitize=all", "-Wl,-e,bench")

RUNTIME = """#include <stddef.h>
#include <stdint.h>
void __aeabi_memclr4(void *to, size_t bytes);
void __aeabi_memclr8(void *to, size_t bytes);
void __aeabi_memclr4(void *to, size_t bytes)
{
    uint32_t *words = to;
    for (size_t i = 0; i < bytes / 4; ++i) {
        words[i] = 0;
        __asm__ volatile(""); /* or the compiler would make a call of this function of it */
    }
}
void __aeabi_memclr8(void *to, size_t bytes)
{
    __aeabi_memclr4(to, bytes);
}
"""
"""What the compiler calls for local arrays that start as zeros; every C runtime has it."""

_STACK, _STACK_BYTES, _RETURN = 0x2000_0000, 1 << 20, 0x3000_0000


def available() -> bool:
    """Whether Zig and Unicorn are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("ziglang", "unicorn"))


def build(folder: Path, sources: list[str], cpu: str, flags: list[str]) -> Path:
    """Compile ``sources`` of ``folder``, whose entry is ``int bench(int)``; the ELF file. Raises CalledProcessError."""
    (folder / "runtime.c").write_text(RUNTIME)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", f"-mcpu={CPUS[cpu]}"]
    subprocess.run([*command, *FLAGS, *flags, *sources, "runtime.c", "-o", "bench.elf"], cwd=folder, check=True)
    return folder / "bench.elf"


def run(elf: Path, argument: int) -> tuple[int, int]:
    """(result, executed instructions) of ``bench(argument)``."""
    import unicorn as u
    from unicorn import arm_const as a

    machine = u.Uc(u.UC_ARCH_ARM, u.UC_MODE_THUMB | u.UC_MODE_MCLASS)
    data = elf.read_bytes()
    entry, table = struct.unpack_from("<II", data, 24)
    size, count = struct.unpack_from("<HH", data, 42)
    mapped: set[int] = set()
    for k in range(count):
        kind, offset, address, _, in_file, in_memory = struct.unpack_from("<6I", data, table + k * size)
        if kind != 1 or not in_memory:
            continue
        for page in range(address & ~0xFFF, address + in_memory, 0x1000):
            if page not in mapped:
                machine.mem_map(page, 0x1000)
                mapped.add(page)
        machine.mem_write(address, data[offset : offset + in_file])
    machine.mem_map(_STACK, _STACK_BYTES)
    machine.mem_map(_RETURN, 0x1000)
    machine.reg_write(a.UC_ARM_REG_SP, _STACK + _STACK_BYTES)
    machine.reg_write(a.UC_ARM_REG_LR, _RETURN | 1)
    machine.reg_write(a.UC_ARM_REG_R0, argument)
    lengths: dict[tuple[int, int], int] = {}
    total = 0

    def count_block(uc: object, address: int, size: int, data: object) -> None:
        nonlocal total
        if (address, size) not in lengths:
            lengths[address, size] = _instructions(machine.mem_read(address, size))
        total += lengths[address, size]

    machine.hook_add(u.UC_HOOK_BLOCK, count_block)
    machine.emu_start(entry | 1, _RETURN)
    result = machine.reg_read(a.UC_ARM_REG_R0)
    return result - (1 << 32) if result >> 31 else result, total


def _instructions(code: bytes | bytearray) -> int:
    """The number of Thumb instructions: 32 bits where the first five bits are 0b11101 or more, else 16."""
    at = found = 0
    while at < len(code):
        at += 4 if code[at + 1] >> 3 >= 0b11101 else 2
        found += 1
    return found
