"""Checked access to a flatbuffer's bytes: every table, vector and string is seen to lie within the file before it is
read. The generated accessors of the PyPI package ``tflite`` follow any offset that stands there.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from qsim.errors import ModelError
from qsim.numerics import Array

MAX_NAME = 1 << 16

FLATBUFFER_ERRORS = (struct.error, IndexError, ValueError, TypeError, KeyError, OverflowError, UnicodeDecodeError)
"""What the flatbuffers runtime raises on bytes that do not fit."""


class Bytes:
    """Bounds checks over the file's bytes: the part of a flatbuffers verifier that reading needs."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def u32(self, position: int, what: str) -> int:
        if not 0 <= position <= len(self.data) - 4:
            raise ModelError(f"not a sound .tflite file: {what} lies outside the file's {len(self.data)} bytes.")
        return int(struct.unpack_from("<I", self.data, position)[0])

    def table(self, position: int, what: str) -> None:
        """Check that the table at ``position``, its vtable and every field that the vtable names lie in the file."""
        back = self.u32(position, what)
        vtable = position - (back - (1 << 32) if back >= 1 << 31 else back)
        size, table_size = self.u32(vtable, f"the vtable of {what}") & 0xFFFF, self.u32(vtable, what) >> 16
        if size < 4 or size % 2 or vtable + size > len(self.data) or position + table_size > len(self.data):
            raise ModelError(f"not a sound .tflite file: the vtable of {what} is damaged.")
        for slot in range(vtable + 4, vtable + size, 2):
            field = int(struct.unpack_from("<H", self.data, slot)[0])
            if field and not 4 <= field < table_size:
                raise ModelError(f"not a sound .tflite file: a field of {what} lies outside its table.")

    def vector(self, position: int, item: int, what: str) -> int:
        """Check the vector whose length stands at ``position``; returns its length."""
        length = self.u32(position, what)
        if position + 4 + length * item > len(self.data):
            raise ModelError(f"not a sound .tflite file: {what} with {length} entries runs past the end of the file.")
        return length


class Table:
    """One flatbuffer table under check: raw access to its fields by slot (the schema's field number)."""

    def __init__(self, file: Bytes, position: int, what: str) -> None:
        file.table(position, what)
        self.file, self.position, self.what = file, position, what

    def view(self, kind: type[Any]) -> Any:
        """The generated accessor class ``kind`` on this table."""
        accessor = kind()
        accessor.Init(self.file.data, self.position)
        return accessor

    def _field(self, slot: int) -> int | None:
        """The absolute position of a field, None if it is absent."""
        data = self.file.data
        vtable = self.position - struct.unpack_from("<i", data, self.position)[0]
        size = struct.unpack_from("<H", data, vtable)[0]
        if 4 + 2 * slot >= size:
            return None
        offset = struct.unpack_from("<H", data, vtable + 4 + 2 * slot)[0]
        return self.position + offset if offset else None

    def slots(self) -> list[int]:
        """The numbers of the fields that are present."""
        vtable = self.position - struct.unpack_from("<i", self.file.data, self.position)[0]
        size = struct.unpack_from("<H", self.file.data, vtable)[0]
        return [slot for slot in range((size - 4) // 2) if self._field(slot) is not None]

    def _target(self, slot: int, what: str) -> int | None:
        field = self._field(slot)
        return None if field is None else field + self.file.u32(field, what)

    def number(self, slot: int, dtype: str, default: int) -> int:
        """The scalar in ``slot``, ``default`` if absent; the vtable is checked, the scalar's own bytes here."""
        field = self._field(slot)
        if field is None:
            return default
        if field + np.dtype(dtype).itemsize > len(self.file.data):
            raise ModelError(f"not a sound .tflite file: a number of {self.what} runs past the end of the file.")
        return int(np.frombuffer(self.file.data, dtype=dtype, count=1, offset=field)[0])

    def table(self, slot: int, what: str) -> Table | None:
        target = self._target(slot, what)
        return None if target is None else Table(self.file, target, what)

    def tables(self, slot: int, what: str) -> list[Table]:
        """The vector of tables in ``slot``; empty if absent."""
        target = self._target(slot, what)
        if target is None:
            return []
        length = self.file.vector(target, 4, what)
        starts = [target + 4 + 4 * i for i in range(length)]
        return [Table(self.file, s + self.file.u32(s, what), f"{what}[{i}]") for i, s in enumerate(starts)]

    def numbers(self, slot: int, dtype: str, what: str) -> Array | None:
        """The vector of scalars in ``slot``, None if absent."""
        target = self._target(slot, what)
        if target is None:
            return None
        length = self.file.vector(target, np.dtype(dtype).itemsize, what)
        return np.frombuffer(self.file.data, dtype=dtype, count=length, offset=target + 4)

    def text(self, slot: int, what: str) -> str:
        target = self._target(slot, what)
        if target is None:
            return ""
        length = self.file.vector(target, 1, what)
        if length > MAX_NAME:
            raise ModelError(f"not a sound .tflite file: {what} has {length} characters.")
        try:
            return self.file.data[target + 4 : target + 4 + length].decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModelError(f"not a sound .tflite file: {what} is not UTF-8 text.") from error
