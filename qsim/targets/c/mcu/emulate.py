"""Runs a built model in Unicorn: outputs or every tensor, executed instructions by layer, measured stack."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from qsim import process
from qsim.errors import QsimError, ToolMissingError
from qsim.numerics import Array
from qsim.targets.c.mcu.build import Port, Program, is_layer
from qsim.targets.c.mcu.cpus import Family
from qsim.version import install

_STACK, _STACK_BYTES, _RETURN, _PAGE = 0x6000_0000, 1 << 20, 0x7000_0000, 0x1000
_PAINT = 0xA5

_Hook = Callable[[object, int, int, object], None]
"""(emulator, address, bytes, user data) at a block or an instruction."""


class EmulationError(QsimError):
    """The emulated program faulted or returned an error code: a defect of qsim or of edited files."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Of one inference. layers: (layer function, instructions until the next one starts); functions: instructions by
    the function that holds them; stack: bytes that the run function and everything below it wrote."""

    instructions: int
    layers: tuple[tuple[str, int], ...]
    functions: dict[str, int]
    stack: int


def available() -> bool:
    """Whether Unicorn is installed."""
    return importlib.util.find_spec("unicorn") is not None


class _Emulator(Protocol):
    """What is used of unicorn.Uc, which has no types."""

    def ctl_set_cpu_model(self, model: int) -> None: ...
    def mem_map(self, address: int, size: int) -> None: ...
    def mem_read(self, address: int, size: int) -> bytearray: ...
    def mem_write(self, address: int, data: bytes) -> None: ...
    def reg_read(self, register: int) -> int: ...
    def reg_write(self, register: int, value: int) -> None: ...
    def hook_add(self, kind: int, hook: _Hook, begin: int = 1, end: int = 0) -> int: ...
    def hook_del(self, hook: int) -> None: ...
    def emu_start(self, begin: int, until: int, timeout: int) -> None: ...


class Machine:
    """An emulated core with a program in its memory. Raises ToolMissingError without Unicorn."""

    def __init__(self, program: Program) -> None:
        if not available():
            raise ToolMissingError(f"the emulator is not installed: {install('mcu')}")
        import unicorn as u
        from unicorn import arm_const as a
        from unicorn import riscv_const as r

        self.program = program
        self.uc: _Emulator
        if program.cpu.family is Family.ARM:
            self.uc = u.Uc(u.UC_ARCH_ARM, u.UC_MODE_THUMB | u.UC_MODE_MCLASS)
            self.uc.ctl_set_cpu_model(getattr(a, program.cpu.model))
            self._sp, self._link, self._result = a.UC_ARM_REG_SP, a.UC_ARM_REG_LR, a.UC_ARM_REG_R0
            self._arguments = (a.UC_ARM_REG_R0, a.UC_ARM_REG_R1, a.UC_ARM_REG_R2, a.UC_ARM_REG_R3)
            self._entry, self._back = program.elf.entry | 1, _RETURN | 1
        else:
            self.uc = u.Uc(u.UC_ARCH_RISCV, u.UC_MODE_RISCV32)
            self._sp, self._link, self._result = r.UC_RISCV_REG_SP, r.UC_RISCV_REG_RA, r.UC_RISCV_REG_A0
            self._arguments = (r.UC_RISCV_REG_A0, r.UC_RISCV_REG_A1, r.UC_RISCV_REG_A2, r.UC_RISCV_REG_A3)
            self._entry, self._back = program.elf.entry, _RETURN
            marks = [s.address for s in program.elf.symbols if s.name == "__global_pointer$"]
            self.uc.reg_write(r.UC_RISCV_REG_GP, marks[0] if marks else 0)
        self._block, self._code = u.UC_HOOK_BLOCK, u.UC_HOOK_CODE
        self._error = u.UcError
        self._load()

    def _load(self) -> None:
        pages: set[int] = set()
        for segment in self.program.elf.segments:
            end = segment.address + segment.size
            for page in range(segment.address & -_PAGE, end, _PAGE):
                if page not in pages:
                    self.uc.mem_map(page, _PAGE)
                    pages.add(page)
            self.uc.mem_write(segment.address, segment.data)
        self.uc.mem_map(_STACK, _STACK_BYTES)
        self.uc.mem_map(_RETURN, _PAGE)

    def _start(self, codes: Mapping[str, Array], sample: int) -> None:
        for port in self.program.inputs:
            data = np.asarray(codes[port.tensor])[sample].reshape(-1).astype(port.dtype)
            self.uc.mem_write(self.program.elf.symbol(port.argument).address, data.tobytes())
        for port in self.program.outputs:
            symbol = self.program.elf.symbol(port.argument)
            self.uc.mem_write(symbol.address, bytes([_PAINT]) * symbol.size)
        self.uc.mem_write(_STACK, bytes([_PAINT]) * _STACK_BYTES)
        self.uc.reg_write(self._sp, _STACK + _STACK_BYTES)
        self.uc.reg_write(self._link, self._back)
        seconds, start = process.limit(), time.monotonic()
        try:
            self.uc.emu_start(self._entry, _RETURN, int((seconds or 0) * 1e6))  # microseconds, 0: no limit
        except self._error as error:
            raise EmulationError(f"the emitted C stops on {self.program.cpu.name}: {error}") from error
        if seconds is not None and time.monotonic() - start >= seconds:
            raise process.TimeLimitError(f"the emitted C on the emulated {self.program.cpu.name}", seconds)
        status = int(self.uc.reg_read(self._result))
        if status != 0:
            raise EmulationError(f"the emitted C returns {status} on {self.program.cpu.name}")

    def _read(self, port: Port) -> Array:
        symbol = self.program.elf.symbol(port.argument)
        data = np.frombuffer(bytes(self.uc.mem_read(symbol.address, symbol.size)), dtype=port.dtype)
        return data[: port.size].astype(np.int64).reshape(port.shape)

    def run(self, codes: Mapping[str, Array]) -> dict[str, Array]:
        """Input tensor -> int64 (N, *shape) codes; the outputs likewise."""
        batch = next(iter(codes.values())).shape[0]
        rows: dict[str, list[Array]] = {port.tensor: [] for port in self.program.outputs}
        for sample in range(batch):
            self._start(codes, sample)
            for port in self.program.outputs:
                rows[port.tensor].append(self._read(port))
        return {name: np.stack(values) for name, values in rows.items()}

    def trace(self, codes: Mapping[str, Array]) -> dict[str, Array]:
        """Every traced tensor, int64 (N, elements), of a program built with the trace."""
        batch = next(iter(codes.values())).shape[0]
        pieces: dict[str, list[Array]] = {}
        names: dict[int, str] = {}

        def arrive(uc: object, address: int, size: int, data: object) -> None:
            name, where, count, bits = (int(self.uc.reg_read(r)) for r in self._arguments)
            if name not in names:
                names[name] = self._string(name)
            stack = self.uc.mem_read(self.uc.reg_read(self._sp), 4)
            signed = stack[0] if self.program.cpu.family is Family.ARM else self._fifth()
            kind = np.dtype(f"{'int' if signed else 'uint'}{bits}")
            values = np.frombuffer(bytes(self.uc.mem_read(where, count * kind.itemsize)), dtype=kind)
            pieces.setdefault(names[name], []).append(values.astype(np.int64))

        at = self.program.elf.symbol("qsim_trace").address
        hook = self.uc.hook_add(self._code, arrive, begin=at, end=at)
        for sample in range(batch):
            self._start(codes, sample)
        self.uc.hook_del(hook)
        return {name: np.concatenate(values).reshape(batch, -1) for name, values in pieces.items()}

    def _fifth(self) -> int:
        from unicorn import riscv_const as r

        return int(self.uc.reg_read(r.UC_RISCV_REG_A4))

    def _string(self, address: int) -> str:
        data = bytearray()
        while not data.endswith(b"\0"):
            data += self.uc.mem_read(address + len(data), 1)
        return data[:-1].decode()

    def count(self, codes: Mapping[str, Array]) -> Counted:
        """Instructions and stack of the first sample. The emulator counts instructions, not cycles; of an IT block
        those count too whose condition does not hold, as they take their cycle."""
        blocks: dict[tuple[int, int], int] = {}
        order: list[str] = []
        entered: list[dict[tuple[int, int], int]] = []
        layers = {s.address: s.name for s in self.program.elf.symbols if s.function and is_layer(s.name)}

        def step(uc: object, address: int, size: int, data: object) -> None:
            nonlocal blocks
            if address in layers:
                order.append(layers[address])
                entered.append(blocks)
                blocks = {}
            key = (address, size)
            blocks[key] = blocks.get(key, 0) + 1

        hook = self.uc.hook_add(self._block, step)
        self._start(codes, 0)
        self.uc.hook_del(hook)
        spans = [*entered, blocks]
        length = _thumb_length if self.program.cpu.family is Family.ARM else _riscv_length
        sizes = {key: self._instructions(key, length) for span in spans for key in span}
        totals = [sum(sizes[key] * n for key, n in span.items()) for span in spans]
        functions: dict[str, int] = {}
        code = sorted((s for s in self.program.elf.symbols if s.function), key=lambda s: s.address)
        for span in spans:
            for key, n in span.items():
                name = next((s.name for s in reversed(code) if s.address <= key[0]), "?")
                functions[name] = functions.get(name, 0) + sizes[key] * n
        memory = self.uc.mem_read(_STACK, _STACK_BYTES)
        used = next((k for k in range(_STACK_BYTES) if memory[k] != _PAINT), _STACK_BYTES)
        return Counted(
            instructions=sum(totals),
            layers=tuple(zip(order, totals[1:], strict=True)),
            functions=dict(sorted(functions.items(), key=lambda pair: -pair[1])),
            stack=_STACK_BYTES - used,
        )

    def _instructions(self, key: tuple[int, int], length: Callable[[int], int]) -> int:
        code = self.uc.mem_read(*key)
        at = found = 0
        while at < len(code):
            at += length(code[at] | code[at + 1] << 8)
            found += 1
        return found


def _thumb_length(half: int) -> int:
    """32 bits where the first five bits are 0b11101 or more, else 16 (Armv7-M manual, A5.1)."""
    return 4 if half >> 11 >= 0b11101 else 2


def _riscv_length(half: int) -> int:
    """32 bits where the lowest two bits are set, else 16 (RISC-V unprivileged manual, 1.5)."""
    return 4 if half & 3 == 3 else 2


__all__ = ["Counted", "EmulationError", "Machine", "available"]
