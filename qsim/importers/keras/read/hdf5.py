"""Groups, attributes and arrays of a Keras HDF5 file, with errors that name the file.

h5py reads (``hdf5_content``): bytes out of an archive, whose checksum has been verified, in this process; a bare file,
which nothing protects, in a child, so that damage that ends libhdf5 does not end the user's process.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from qsim.errors import ModelError, QsimError

Array = np.ndarray[Any, Any]

_SECONDS, _BYTES_PER_SECOND = 60, 5 << 20
"""What reading a bare file may take: so many seconds, and one more for every so many bytes."""


@contextmanager
def damaged(where: str) -> Iterator[None]:
    """Turn whatever zipfile, h5py and the operating system raise into one ModelError that names the file.

    zipfile raises a dozen unrelated exception types (BadZipFile, OSError, NotImplementedError, struct.error, ...)
    depending on which byte is wrong, and documents few of them: hence every Exception.
    """
    try:
        yield
    except QsimError:
        raise
    except Exception as error:
        text = str(error).strip().split("\n")[0] or type(error).__name__
        raise ModelError(f"{where} is truncated or corrupt: {text}.") from error


def _unreadable(where: str, why: str) -> ModelError:
    return ModelError(
        f"{where} is no HDF5 file that Keras writes, or is damaged: {why}. Save the model again, or restore the file "
        "from an undamaged copy."
    )


def open_hdf5(data: bytes, where: str) -> Group:
    """The root group of an HDF5 file's bytes, which a checksum has shown to be as they were written."""
    from qsim.importers.keras.read.hdf5_content import read_content

    try:
        nodes, arrays = read_content(io.BytesIO(data), len(data))
    except Exception as error:
        raise _unreadable(where, str(error).strip().split("\n")[0] or type(error).__name__) from error
    return Group(_Content(nodes, arrays, where), 0, "")


def open_hdf5_file(path: Path) -> Group:
    """The root group of an HDF5 file, read in a child process; ModelError if it is none, or is damaged."""
    where = str(path)
    with damaged(where):
        size = path.stat().st_size
    with tempfile.TemporaryDirectory(prefix="qsim-hdf5-") as scratch:
        result = Path(scratch) / "content.npz"
        _child([str(path.resolve()), str(result), str(size)], where, _SECONDS + size // _BYTES_PER_SECOND)
        with damaged(where), np.load(result, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    nodes = json.loads(arrays.pop("structure").tobytes())
    return Group(_Content(nodes, arrays, where), 0, "")


def _program() -> list[str]:
    """The child's command. -P: the folder of the program is no place to import from."""
    return [sys.executable, "-P", str(Path(__file__).with_name("hdf5_content.py"))]


def _child(arguments: Sequence[str], where: str, seconds: float) -> None:
    # Locks fail on some network drives, and a model file is only read. One thread: their stacks count as memory.
    settings = {"HDF5_USE_FILE_LOCKING": "FALSE", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [*_program(), *arguments], env=os.environ | settings, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _unreadable(where, f"reading it did not end within {seconds} seconds") from error
    if not done.returncode:
        return
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if done.returncode < 0 or not said:
        raise _unreadable(where, f"reading it ends the HDF5 library (exit code {done.returncode})")
    raise _unreadable(where, said[-1])


class _Content:
    """A file's nodes (see ``hdf5_content.Node``) and arrays."""

    def __init__(self, nodes: Sequence[Mapping[str, Any]], arrays: Mapping[str, Array], where: str) -> None:
        self.nodes, self.arrays, self.where = nodes, arrays, where

    def node(self, number: int, path: str) -> Mapping[str, Any]:
        node = self.nodes[number]
        if node["kind"] == "refused":
            raise _unreadable(f"{self.where}, {path}", node["reason"])
        return node


class Group:
    """An HDF5 group. Every access raises ModelError where the file is damaged. path: from the root, for messages."""

    def __init__(self, content: _Content, number: int, path: str) -> None:
        self._content, self._number, self.path = content, number, path
        node = content.node(number, path)
        self._members: dict[str, int | None] = node["members"]
        self._attributes: dict[str, list[str] | str] = node["attributes"]

    def names(self) -> tuple[str, ...]:
        """Names of the members, sorted."""
        return tuple(sorted(self._members))

    def _member(self, name: str, kind: str) -> int | None:
        """The node of a member of this kind; None where there is none."""
        if name not in self._members:
            return None
        number = self._members[name]
        if number is None:
            place = f"{self._content.where}: {self.path}/{name}"
            raise ModelError(f"{place} is a link to elsewhere, which is not followed.")
        return number if self._content.node(number, f"{self.path}/{name}")["kind"] == kind else None

    def group(self, name: str) -> Group | None:
        """A member group by name; None where there is none."""
        number = self._member(name, "group")
        return None if number is None else Group(self._content, number, f"{self.path}/{name}")

    def descend(self, path: str) -> Group | None:
        """A group by its path below this one."""
        found: Group | None = self
        for part in [p for p in path.split("/") if p]:
            found = found.group(part) if found else None
        return found

    def has_arrays(self) -> bool:
        """Whether any array lies in this group or below, except the state of random generators."""
        waiting, seen = [self], {self._number}
        while waiting:
            group = waiting.pop()
            for name in group.names():
                number = group._members[name]
                if number is None or number in seen or name == "seed_generator":
                    continue
                seen.add(number)
                below = group.group(name)
                if below is not None:
                    waiting.append(below)
                elif group.dataset(name) is not None:
                    return True
        return False

    def text(self, name: str) -> str | None:
        """A text attribute, or None."""
        found = self.texts(name)
        return found[0] if found else None

    def _texts(self, name: str) -> list[str]:
        found = self._attributes[name]
        if isinstance(found, str):
            raise _unreadable(f"{self._content.where}, attribute {name!r} of {self.path or '/'}", found)
        return found

    def texts(self, name: str) -> tuple[str, ...] | None:
        """An attribute that is a list of texts, also where Keras split it into name0, name1, ...; None if absent."""
        if name in self._attributes:
            return tuple(self._texts(name))
        chunks: list[str] = []
        i = 0
        while f"{name}{i}" in self._attributes:
            chunks += self._texts(f"{name}{i}")
            i += 1
        return tuple(chunks) if i else None

    def dataset(self, path: str) -> Dataset | None:
        """An array by its path below this group, or None."""
        parts = [p for p in path.split("/") if p]
        holder = self.descend("/".join(parts[:-1]))
        number = holder._member(parts[-1], "array") if holder is not None and parts else None
        return None if number is None else Dataset(self._content, number, f"{self.path}/{path}")


class Dataset:
    """One stored array. ``shape`` is known even where the values are refused."""

    def __init__(self, content: _Content, number: int, path: str) -> None:
        self._content, self._number, self.path = content, number, path
        self.shape: tuple[int, ...] = tuple(content.nodes[number]["shape"])

    def read(self) -> Array:
        """The values, read-only; bfloat16 as float32. ModelError for values that are no numbers or an absurd size."""
        refused = self._content.nodes[self._number]["refused"]
        if refused is not None:
            raise _unreadable(f"{self._content.where}, {self.path}", refused)
        values = self._content.arrays[str(self._number)]
        values.setflags(write=False)
        return values
