"""Samples from memory, files and folders, block by block, so that no more than a block of them is ever in memory."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from qsim.compare.arrays import Header, read_exactly, read_header
from qsim.errors import UsageError, reading
from qsim.numerics import Array

Wanted = Callable[[int], bool]
"""Whether the block of this number shall be read."""


class Rows(Protocol):
    """An array's rows, in order. shape: of one row. identity: changes whenever the rows may have changed."""

    @property
    def count(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def identity(self) -> str: ...

    def blocks(self, size: int, wanted: Wanted) -> Iterator[tuple[int, Array]]:
        """(number, rows) of each wanted block of ``size`` rows; the last one may be shorter."""


@dataclass(frozen=True)
class MemoryRows:
    """Rows of an array in memory (or of one that numpy maps)."""

    array: Array

    @property
    def count(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape[1:]

    @property
    def identity(self) -> str:
        made = hashlib.sha256(f"{self.array.shape} {self.array.dtype.str}".encode())
        for _, rows in self.blocks(256, lambda number: True):
            made.update(np.ascontiguousarray(rows).tobytes())
        return made.hexdigest()

    def blocks(self, size: int, wanted: Wanted) -> Iterator[tuple[int, Array]]:
        for number in range(-(-self.count // size)):
            if wanted(number):
                yield number, self.array[number * size : (number + 1) * size]


class NpyRows:
    """Rows of a .npy file, read where they lie."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path, "a .npy file", error=UsageError), path.open("rb") as file:
            self._header = read_header(file, path.stat().st_size)
            _rows_of(self._header)
            self._start = file.tell()
            wanted, there = math.prod(self._header.shape) * self._header.dtype.itemsize, path.stat().st_size
            if self._start + wanted > there:
                raise ValueError(f"its array takes {wanted:,} bytes, {there - self._start:,} are there")

    @property
    def count(self) -> int:
        return self._header.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self._header.shape[1:]

    @property
    def identity(self) -> str:
        return stamp(self.path)

    def blocks(self, size: int, wanted: Wanted) -> Iterator[tuple[int, Array]]:
        if self._header.fortran:  # a row's elements lie apart: the system pages them in and out
            shape, dtype = self._header.shape, self._header.dtype
            mapped = np.memmap(self.path, dtype=dtype, mode="r", offset=self._start, shape=shape, order="F")
            yield from MemoryRows(mapped).blocks(size, wanted)
            return
        stride = math.prod(self.shape) * self._header.dtype.itemsize
        with self.path.open("rb") as file:
            for number in range(-(-self.count // size)):
                if wanted(number):
                    rows = min(size, self.count - number * size)
                    with reading(self.path, "a .npy file", error=UsageError):
                        file.seek(self._start + number * size * stride)
                        yield number, _decode(self._header, read_exactly(file, rows * stride), rows)


class NpzRows:
    """Rows of one array of an .npz file, unpacked as they are needed."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        with reading(path, "an .npz file", error=UsageError), zipfile.ZipFile(path) as archive:
            with archive.open(f"{name}.npy") as file:
                self._header = read_header(file, archive.getinfo(f"{name}.npy").file_size)
            _rows_of(self._header)
            if self._header.fortran:
                raise ValueError(f"array {name!r} has its first axis fastest; save numpy.ascontiguousarray of it")

    @property
    def count(self) -> int:
        return self._header.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self._header.shape[1:]

    @property
    def identity(self) -> str:
        return f"{stamp(self.path)} {self.name}"

    def blocks(self, size: int, wanted: Wanted) -> Iterator[tuple[int, Array]]:
        stride = math.prod(self.shape) * self._header.dtype.itemsize
        with (
            reading(self.path, "an .npz file", error=UsageError) as place,
            zipfile.ZipFile(self.path) as archive,
            archive.open(f"{self.name}.npy") as file,
        ):
            place.at = f"array {self.name!r}"
            read_header(file, archive.getinfo(f"{self.name}.npy").file_size)
            for number in range(-(-self.count // size)):
                rows = min(size, self.count - number * size)
                data = read_exactly(file, rows * stride)
                if wanted(number):
                    yield number, _decode(self._header, data, rows)


def _rows_of(header: Header) -> None:
    if not header.shape:
        raise ValueError("it holds one number, no rows of samples")


def _decode(header: Header, data: bytes, rows: int) -> Array:
    return np.frombuffer(data, dtype=header.dtype).reshape(rows, *header.shape[1:])


def stamp(path: Path) -> str:
    """Name, size and time of change of a file."""
    found = path.stat()
    return f"{path.name} {found.st_size} {found.st_mtime_ns}"


def open_rows(source: Any) -> Rows | dict[str, Rows]:
    """The rows of an array in memory, a mapping of arrays, a .npy or an .npz file (several arrays: by name).
    ``FILE.npz:NAME`` is one array of an .npz file.

    Raises UsageError for what is none of these.
    """
    if isinstance(source, Mapping):
        return {str(name): MemoryRows(np.asarray(array)) for name, array in source.items()}
    if not isinstance(source, str | Path):
        array = np.asanyarray(source)
        if not array.ndim or array.dtype.kind not in "iufb":
            raise UsageError(f"rows of numbers are needed, not {array.dtype} of shape {array.shape}")
        return MemoryRows(array)
    text = str(source)
    archive, colon, name = text.rpartition(":")
    if colon and not Path(text).exists() and archive.lower().endswith(".npz"):
        return _members(Path(archive), name)[name]
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"there is no file {path}; samples come as .npy, .npz, or a folder of images")
    with path.open("rb") as file:
        magic = file.read(6)
    if magic == b"\x93NUMPY":
        return NpyRows(path)
    if magic.startswith(b"PK"):
        found = _members(path, None)
        return next(iter(found.values())) if len(found) == 1 else found
    raise UsageError(f"{path} is neither a .npy nor an .npz file")


def _members(path: Path, wanted: str | None) -> dict[str, Rows]:
    """The arrays of an .npz file, or the wanted one."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    with reading(path, "an .npz file", error=UsageError), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    if wanted is not None and wanted not in names:
        raise UsageError(f"{path} has no array {wanted!r}; it holds {', '.join(names) or 'none'}")
    return {name: NpzRows(path, name) for name in names if wanted in (None, name)}


__all__ = ["MemoryRows", "NpyRows", "NpzRows", "Rows", "Wanted", "open_rows", "stamp"]
