"""What the emulation needs of an ELF32 file: segments, section sizes, symbols (System V ABI, little endian)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_LOAD, _SYMTAB, _NOBITS = 1, 2, 8
_FUNC, _KINDS = 2, (0, 1, 2)
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4


@dataclass(frozen=True)
class Segment:
    """Bytes to load at ``address``; ``size`` is that in memory, the rest is zero."""

    address: int
    size: int
    data: bytes


@dataclass(frozen=True)
class Symbol:
    """A function, an object or a linker's mark. Addresses of Thumb functions come without their lowest bit."""

    name: str
    address: int
    size: int
    function: bool


@dataclass(frozen=True)
class Sizes:
    """Bytes of the allocated sections of an object or program: code, constants, initialised and zeroed data."""

    text: int
    rodata: int
    data: int
    bss: int


@dataclass(frozen=True)
class Elf:
    """A parsed file. entry: with the Thumb bit, as the file has it."""

    entry: int
    segments: tuple[Segment, ...]
    symbols: tuple[Symbol, ...]
    sizes: Sizes

    def symbol(self, name: str) -> Symbol:
        """The one symbol of that name. Raises KeyError."""
        for symbol in self.symbols:
            if symbol.name == name:
                return symbol
        raise KeyError(name)


def _string(table: bytes, at: int) -> str:
    return table[at : table.index(b"\0", at)].decode()


def read_elf(path: Path) -> Elf:
    """Parse ``path``. Raises ValueError for anything but a little-endian ELF32 file."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x01\x01":
        raise ValueError(f"{path.name} is not a little-endian ELF32 file")
    machine, _, entry, ph, sh = struct.unpack_from("<HIIII", data, 18)
    ph_size, ph_count, sh_size, sh_count = struct.unpack_from("<HHHH", data, 42)
    segments = []
    for k in range(ph_count):
        kind, offset, address, _, in_file, in_memory = struct.unpack_from("<6I", data, ph + k * ph_size)
        if kind == _LOAD and in_memory:
            segments.append(Segment(address, in_memory, data[offset : offset + in_file]))
    sections = [struct.unpack_from("<10I", data, sh + k * sh_size) for k in range(sh_count)]
    sizes = dict.fromkeys(("text", "rodata", "data", "bss"), 0)
    symbols: list[Symbol] = []
    for _, kind, flags, _, offset, size, link, _, _, entry_size in sections:
        if flags & _ALLOC:
            writable = "bss" if kind == _NOBITS else "data"
            sizes["text" if flags & _EXECUTE else writable if flags & _WRITE else "rodata"] += size
        if kind == _SYMTAB:
            strings = data[sections[link][4] : sections[link][4] + sections[link][5]]
            for at in range(offset, offset + size, entry_size):
                name, value, length, info, _, _ = struct.unpack_from("<IIIBBH", data, at)
                if name and info & 15 in _KINDS:
                    function = info & 15 == _FUNC
                    thumb = value & ~1 if function and machine == 40 else value
                    symbols.append(Symbol(_string(strings, name), thumb, length, function))
    return Elf(entry, tuple(segments), tuple(symbols), Sizes(**sizes))


__all__ = ["Elf", "Segment", "Sizes", "Symbol", "read_elf"]
