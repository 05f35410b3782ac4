"""SystemVerilog text of numbers and memories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsInt

import numpy as np

from qsim.numerics import Array


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


def pack_rows(rows: Array, width: int) -> list[int]:
    """``pack`` of each row of an integer array (n, values)."""
    at_once = 62 // width
    if not at_once:
        return [pack(row, width) for row in rows.tolist()]
    found = [0] * len(rows)
    low = np.asarray(rows, dtype=np.int64) & ((1 << width) - 1)
    for first in range(0, low.shape[1], at_once):
        part = low[:, first : first + at_once]
        words = (part << (width * np.arange(part.shape[1]))).sum(axis=1).tolist()
        found = [word | more << (first * width) for word, more in zip(found, words)]
    return found


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
