"""Arrays out of .npy and .npz files that somebody else wrote, and into such files."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from qsim.errors import UsageError, reading, writing
from qsim.numerics import Array

MOST_BYTES = 16 << 30
"""What the arrays of one file may take in memory; a damaged or crafted file claims any size in a few bytes."""

_DEFLATE = 1100
"""No deflated byte unpacks to more (the format's limit is 1032)."""


def read_arrays(path: str | Path) -> Array | dict[str, Array]:
    """The array of a .npy file, or the arrays of an .npz file by name.

    Raises UsageError for a file that is missing, damaged, or holds anything but plain numbers; pickled objects are
    never loaded, and no memory is taken for elements that the file cannot hold.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}; arrays come as .npy (one input) or .npz (one array per input)")
    with path.open("rb") as file:
        magic = file.read(6)
    if magic == b"\x93NUMPY":
        return read_npy(path)
    if magic.startswith(b"PK"):
        return read_npz(path)
    raise UsageError(f"{path} is neither a .npy nor an .npz file")


def read_npy(path: str | Path) -> Array:
    """The array of one .npy file; see ``read_arrays``."""
    with reading(path, "a .npy file", error=UsageError), Path(path).open("rb") as file:
        return _array(file, Path(path).stat().st_size)


def read_npz(path: str | Path) -> dict[str, Array]:
    """The arrays of one .npz file by name; see ``read_arrays``."""
    found: dict[str, Array] = {}
    with reading(path, "an .npz file", error=UsageError) as place, zipfile.ZipFile(path) as archive:
        total = 0
        for member in archive.infolist():
            place.at = f"array {member.filename.removesuffix('.npy')!r}"
            total += member.file_size
            if member.file_size > member.compress_size * _DEFLATE + 4096 or total > MOST_BYTES:
                raise ValueError(f"it claims {member.file_size:,} bytes packed in {member.compress_size:,}")
            with archive.open(member) as file:
                found[member.filename.removesuffix(".npy")] = _array(file, member.file_size)
    return found


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file in numpy's format says of its array. fortran: the first axis runs fastest."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool


def read_header(file: IO[bytes], size: int) -> Header:
    """The header of one array in numpy's format; ``file`` stands behind it afterwards. size: bytes that there are.

    Raises ValueError for anything but plain numbers, and where the array claims more bytes than there are.
    """
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the format is unknown")
    shape, fortran, dtype = readers[version](file)
    if dtype.kind not in "iufb":
        raise ValueError(f"it holds {dtype}, no plain numbers")
    if any(n < 0 for n in shape):
        raise ValueError(f"its shape is {shape}")
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > size:
        raise ValueError(f"shape {shape} of {dtype} takes {wanted:,} bytes, it holds {size:,}")
    return Header(shape=shape, dtype=dtype, fortran=fortran)


def read_exactly(file: IO[bytes], wanted: int) -> bytes:
    """``wanted`` bytes. Raises ValueError where the file ends before."""
    data = file.read(wanted)
    if len(data) < wanted:
        raise ValueError(f"it ends after {len(data):,} of {wanted:,} bytes")
    return data


def _array(file: IO[bytes], size: int) -> Array:
    """One array in numpy's format. size: bytes that there are, header included."""
    header = read_header(file, min(size, MOST_BYTES))
    data = read_exactly(file, math.prod(header.shape) * header.dtype.itemsize)
    flat = np.frombuffer(data, dtype=header.dtype)
    return flat.reshape(header.shape[::-1]).T.copy() if header.fortran else flat.reshape(header.shape).copy()


def check_writable(path: str | Path, several: bool) -> Path:
    """``path`` if arrays can go there: the ending fits and the folder exists. Raises UsageError else."""
    path = Path(path)
    ending = ".npz" if several else ".npy"
    if path.suffix != ending:
        raise UsageError(f"{path}: {'several outputs go' if several else 'one output goes'} into a {ending} file")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write {path.name} into")
    return path


class _Pieces:
    """A file that numpy writes into piece by piece. What it takes for a file it writes by itself, and where that fails
    it does not say why."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write


def write_arrays(path: Path, arrays: Array | Mapping[str, Array]) -> None:
    """Write one array as .npy or several as .npz, completely or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        with writing(path), part.open("wb") as file:
            if isinstance(arrays, Mapping):
                with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                    for name, value in arrays.items():
                        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                            np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)
            else:
                np.save(_Pieces(file), arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
