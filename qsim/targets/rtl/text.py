"""SystemVerilog text of numbers and memories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsInt


@dataclass(frozen=True)
class Memory:
    """Contents of a $readmemh file: ``words`` of ``width`` bits, as non-negative integers."""

    width: int
    words: list[int]


def signed_width(low: int, high: int) -> int:
    """Bits of the least two's-complement format that holds [low, high]."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def pack(values: Iterable[SupportsInt], width: int) -> int:
    """The values' low ``width`` bits side by side, the first one lowest."""
    mask = (1 << width) - 1
    word = 0
    for position, value in enumerate(values):
        word |= (int(value) & mask) << (position * width)
    return word


def number(value: int) -> str:
    """An ``int`` parameter."""
    return str(int(value))


def flag(value: bool) -> str:
    """A ``bit`` parameter."""
    return "1'b1" if value else "1'b0"


def string(value: str) -> str:
    """A string parameter."""
    return f'"{value}"'


def wide(width: int, value: int, signed: bool = False) -> str:
    """A sized constant."""
    if signed:
        return f"-{width}'sd{-value}" if value < 0 else f"{width}'sd{value}"
    return f"{width}'h{value:x}"


def mem_lines(memory: Memory) -> str:
    """The text of a $readmemh file: one word per line, full width."""
    digits = -(-memory.width // 4)
    return "".join(f"{word:0{digits}x}\n" for word in memory.words)
