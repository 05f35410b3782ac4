"""Tables keyed by a mode: whole, or the module that holds them does not import."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

Mode = TypeVar("Mode", bound=Enum)
Entry = TypeVar("Entry")


def exhaustive(table: Mapping[Mode, Entry], modes: type[Mode], consumer: str) -> Mapping[Mode, Entry]:
    """``table`` itself. Raises TypeError unless it has an entry for every member of ``modes``, and no other."""
    missing = [mode.name for mode in modes if mode not in table]
    unknown = [str(mode) for mode in table if mode not in tuple(modes)]
    if missing or unknown:
        raise TypeError(f"{consumer}: no entry for {missing}, unknown entries {unknown}")
    return table


__all__ = ["exhaustive"]
