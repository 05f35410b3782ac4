"""The options tables of the TensorFlow Lite schema, read off the generated accessors of the PyPI package ``tflite``."""

from __future__ import annotations

import functools
from typing import NamedTuple

import tflite


class OptionField(NamedTuple):
    """A field of an options table. slot: its number in the schema. vector: it holds a list of int32."""

    name: str
    slot: int
    vector: bool
    default: int | float | bool


class _Slots:
    """A flatbuffers builder that only counts the fields of the object it is told to start."""

    def __init__(self) -> None:
        self.count = 0

    def StartObject(self, count: int) -> None:
        self.count = count


class _Reads:
    """A flatbuffers table that notes which slot an accessor asks for, and says that it is absent."""

    Pos = 0

    def __init__(self) -> None:
        self.slot = -1

    def Offset(self, offset: int) -> int:
        self.slot = (offset - 4) // 2
        return 0


@functools.cache
def slot_count(table: str) -> int:
    """How many fields the schema gives the table, deprecated ones included."""
    slots = _Slots()
    getattr(tflite, f"{table}Start")(slots)
    return slots.count


@functools.cache
def option_fields(table: str) -> tuple[OptionField, ...]:
    """The fields of an options table with their defaults, in the schema's order."""
    kind = getattr(tflite, table)
    found = []
    for name in vars(kind):
        if not name[0].isupper() or name == "Init" or name.startswith("GetRoot") or name.endswith("HasIdentifier"):
            continue
        base = next((name.removesuffix(end) for end in ("AsNumpy", "Length", "IsNone") if name.endswith(end)), name)
        if base != name and base in vars(kind):
            continue
        vector, reads = f"{name}Length" in vars(kind), _Reads()
        accessor = kind()
        accessor._tab = reads
        default = getattr(accessor, f"{name}Length" if vector else name)()
        found.append(OptionField(name, reads.slot, vector, default))
    return tuple(sorted(found, key=lambda f: f.slot))
