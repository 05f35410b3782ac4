"""Arrays in files, as the command line reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from qsim.errors import UsageError
from qsim.numerics import Array


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
