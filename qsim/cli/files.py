"""Arrays in files, as the command line reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qsim.errors import UsageError
from qsim.numerics import Array


def read_arrays(path: str | Path) -> Any:
    """The array of a .npy file, or the mapping of an .npz file (one array per graph input).

    Raises UsageError for a file that is missing or holds no plain numeric arrays; pickled objects are never loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}; arrays come as .npy (one input) or .npz (one array per input)")
    with path.open("rb") as file:
        if not file.read(6).startswith((b"\x93NUMPY", b"PK")):
            raise UsageError(f"{path} is neither a .npy nor an .npz file")
    try:
        loaded = np.load(path, allow_pickle=False)
        return {name: loaded[name] for name in loaded.files} if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
    except Exception as error:  # numpy, zipfile and zlib raise many kinds for a damaged file
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise UsageError(f"cannot read arrays from {path}: {reason}") from error


def check_writable(path: str | Path, several: bool) -> Path:
    """``path`` if arrays can go there: the ending fits and the folder exists. Raises UsageError else."""
    path = Path(path)
    ending = ".npz" if several else ".npy"
    if path.suffix != ending:
        raise UsageError(f"{path}: {'several outputs go' if several else 'one output goes'} into a {ending} file")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write {path.name} into")
    return path


def write_arrays(path: Path, arrays: Array | Mapping[str, Array]) -> None:
    """Write one array as .npy or several as .npz, completely or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as out:
            if isinstance(arrays, Mapping):
                np.savez_compressed(out, **{key: np.asarray(value) for key, value in arrays.items()})  # type: ignore[arg-type]
            else:
                np.save(out, arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
