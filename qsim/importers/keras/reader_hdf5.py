"""HDF5 files read defensively: hard links only, plain numeric datasets only, sizes bounded before anything is read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from qsim.errors import ModelError, QsimError

Array = np.ndarray[Any, Any]

_EXPANSION_FLOOR, _EXPANSION = 64 << 20, 200
"""A dataset may be larger than both this many bytes and this many times its stored bytes only in a hostile file."""


@contextmanager
def damaged(where: str) -> Iterator[None]:
    """Turn whatever h5py or zipfile raise on a damaged file into one ModelError that names the file.

    Both raise a dozen unrelated exception types (OSError, KeyError, RuntimeError, struct.error, ...) depending on
    which byte is wrong, and document none of them: hence every Exception.
    """
    try:
        yield
    except QsimError:
        raise
    except Exception as error:
        text = str(error).strip().split("\n")[0] or type(error).__name__
        raise ModelError(f"{where} is truncated or corrupt: {text}") from error


@contextmanager
def open_hdf5(source: str | io.BytesIO, where: str) -> Iterator[Group]:
    """The root group of an HDF5 file; ModelError if it is none or is damaged."""
    with damaged(where):
        file = h5py.File(source, "r")
    try:
        yield Group(file, where, "")
    finally:
        with damaged(where):
            file.close()


class Group:
    """An HDF5 group. Every access raises ModelError where the file is damaged."""

    def __init__(self, group: Any, where: str, path: str) -> None:
        self._group, self._where, self.path = group, where, path

    def names(self) -> tuple[str, ...]:
        """Names of the members, sorted."""
        with damaged(self._where):
            return tuple(sorted(str(n) for n in self._group))

    def group(self, name: str) -> Group | None:
        """A member group by name; None where there is none."""
        return self._step(name, h5py.Group)

    def descend(self, path: str) -> Group | None:
        """A group by its path below this one, one hard link at a time."""
        found: Group | None = self
        for part in [p for p in path.split("/") if p]:
            found = found.group(part) if found else None
        return found

    def _step(self, name: str, kind: Any) -> Group | None:
        with damaged(self._where):
            if name not in self._group:
                return None
            if not isinstance(self._group.get(name, getlink=True), h5py.HardLink):
                raise ModelError(f"{self._where}: {self.path}/{name} is a link to elsewhere, which is not followed.")
            found = self._group[name]
            return Group(found, self._where, f"{self.path}/{name}") if isinstance(found, kind) else None

    def has_arrays(self, depth: int = 8) -> bool:
        """Whether any dataset lies in this group or below, except the state of random generators."""
        with damaged(self._where):
            for name in self.names():
                if self._step(name, h5py.Dataset) is not None:
                    return True
                below = self.group(name) if name != "seed_generator" else None
                if below is not None and depth and below.has_arrays(depth - 1):
                    return True
            return False

    def text(self, name: str) -> str | None:
        """A text attribute, or None."""
        with damaged(self._where):
            if name not in self._group.attrs:
                return None
            return _decode(self._group.attrs[name])

    def texts(self, name: str) -> tuple[str, ...] | None:
        """An attribute that is a list of texts, also where Keras split it into name0, name1, ...; None if absent."""
        with damaged(self._where):
            attrs = self._group.attrs
            if name in attrs:
                return tuple(_decode(v) for v in np.asarray(attrs[name]).ravel())
            chunks: list[str] = []
            i = 0
            while f"{name}{i}" in attrs:
                chunks += [_decode(v) for v in np.asarray(attrs[f"{name}{i}"]).ravel()]
                i += 1
            return tuple(chunks) if i else None

    def dataset(self, path: str) -> Dataset | None:
        """A dataset by its path below this group, or None. The path's steps are hard links."""
        parts = [p for p in path.split("/") if p]
        holder = self.descend("/".join(parts[:-1]))
        if holder is None or not parts:
            return None
        found = holder._step(parts[-1], h5py.Dataset)
        return None if found is None else Dataset(found._group, self._where, f"{self.path}/{path}")


class Dataset:
    """One stored array. ``shape`` is known before any value is read."""

    def __init__(self, dataset: Any, where: str, path: str) -> None:
        self._dataset, self._where, self.path = dataset, where, path
        with damaged(where):
            if dataset.is_virtual or dataset.external:
                raise ModelError(f"{where}: {path} takes its values from another file, which is not followed.")
            if dataset.shape is None:
                raise ModelError(f"{where}: {path} is empty.")
            self.shape: tuple[int, ...] = tuple(int(n) for n in dataset.shape)

    def read(self) -> Array:
        """The values, read-only; bfloat16 as float32. ModelError for values that are no numbers or an absurd size."""
        with damaged(self._where):
            data = self._dataset
            if data.nbytes > max(_EXPANSION_FLOOR, _EXPANSION * max(1, data.id.get_storage_size())):
                raise ModelError(
                    f"{self._where}: {self.path} claims {data.nbytes} bytes but stores only "
                    f"{data.id.get_storage_size()}; such a file is not read."
                )
            half = _decode(data.attrs["dtype"]) == "bfloat16" if "dtype" in data.attrs else False
            if not (half and data.dtype.itemsize == 2) and data.dtype.kind not in "fiub":
                raise ModelError(f"{self._where}: {self.path} holds {data.dtype}, not numbers.")
            values = np.array(data[()])
            if half and values.dtype.kind not in "fiub":
                values = (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
            values.setflags(write=False)
            return values


def _decode(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
