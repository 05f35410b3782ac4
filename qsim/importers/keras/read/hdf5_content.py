"""What an HDF5 file holds, read whole with h5py: groups, text attributes, arrays, and what could not be read and why.

Also a program: ``python hdf5_content.py FILE RESULT`` writes the content of FILE to RESULT (.npz). libhdf5 is not safe
against damaged files (a flipped byte in the length of a text can end the process), so ``hdf5`` reads files that
no checksum protects in such a child. The module imports h5py and numpy alone: starting it takes a fraction of a second.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import h5py
import numpy as np

Array = np.ndarray[Any, Any]
Node = dict[str, Any]
"""kind 'group': members (name -> node number, None for a link to elsewhere), attributes (name -> list of texts, or a
text that says why not). kind 'array': shape, refused (None, or why). kind 'refused': reason. kind 'other'."""

DAMAGED = 3
"""Exit code of the program for a file that h5py refuses; its last line of standard error says why."""

_NODE_LIMIT = 100_000
_SIZE_FLOOR, _EXPANSION = 64 << 20, 200
"""The arrays of a file may take more than both this many bytes and this many times the file only if it is hostile."""


def read_content(source: Any, size: int) -> tuple[list[Node], dict[str, Array]]:
    """All nodes of an HDF5 file, the root first, and the arrays by node number as text.

    source: a path or a file object. size: bytes of the file, which bounds what its arrays may claim. Raises whatever
    h5py raises where the structure cannot be walked; what only a part of the file is to blame for stands in its node.
    """
    return _Walk(size).file(source)


class _Walk:
    def __init__(self, size: int) -> None:
        self.size = size
        self.budget = max(_SIZE_FLOOR, _EXPANSION * size)
        self.nodes: list[Node] = []
        self.arrays: dict[str, Array] = {}
        self.known: dict[Any, int] = {}

    def file(self, source: Any) -> tuple[list[Node], dict[str, Array]]:
        with h5py.File(source, "r") as file:
            waiting: list[tuple[int, Any]] = [(self._node(), file["/"])]
            self.known[_address(file["/"])] = 0
            for number, item in waiting:  # grows while it is walked
                node = self.nodes[number]
                if isinstance(item, h5py.Group):
                    node |= {"kind": "group", "attributes": self._attributes(item)}
                    node["members"] = {_text(name): self._member(item, name, waiting) for name in item}
                elif isinstance(item, h5py.Dataset):
                    shape = [0] if item.shape is None else list(item.shape)
                    node |= {"kind": "array", "shape": shape, "refused": self._array(number, item)}
                else:
                    node["kind"] = "other"
        return self.nodes, self.arrays

    def _node(self) -> int:
        if len(self.nodes) >= _NODE_LIMIT:
            raise ValueError(f"it has more than {_NODE_LIMIT} objects")
        self.nodes.append({})
        return len(self.nodes) - 1

    def _member(self, group: h5py.Group, name: str, waiting: list[tuple[int, Any]]) -> int | None:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            return None
        try:
            item = group[name]
            address = _address(item)
        except Exception as error:
            number = self._node()
            self.nodes[number] |= {"kind": "refused", "reason": _line(error)}
            return number
        if address not in self.known:
            self.known[address] = self._node()
            waiting.append((self.known[address], item))
        return self.known[address]

    def _attributes(self, group: h5py.Group) -> dict[str, list[str] | str]:
        return {_text(name): _kept(partial(_attribute, group, name)) for name in group.attrs}

    def _array(self, number: int, data: h5py.Dataset) -> str | None:
        found = _kept(partial(self._values, data))
        if isinstance(found, str):
            return found
        self.arrays[str(number)] = found
        return None

    def _values(self, data: h5py.Dataset) -> Array:
        """A dataset's numbers, in native byte order; bfloat16 as float32."""
        if data.external or data.is_virtual:
            raise ValueError("arrays stored in other files are not followed")
        brain = data.dtype.kind == "V" and data.dtype.itemsize == 2 and data.dtype.names is None
        if data.shape is None or not (brain or data.dtype.kind in "fiub"):
            raise ValueError(f"it holds {'text' if data.dtype.kind in 'OSU' else data.dtype}, not numbers")
        chunk = math.prod(data.chunks) * data.dtype.itemsize if data.chunks else 0
        if max(data.nbytes, chunk) > self.budget:
            raise ValueError(f"it claims {max(data.nbytes, chunk)} bytes in a file of {self.size}")
        if data.size and not data.id.get_storage_size():
            raise ValueError("it was never written")
        if data.chunks and data.id.get_num_chunks() < math.prod(-(-n // c) for n, c in zip(data.shape, data.chunks)):
            raise ValueError("some of its chunks are missing")
        self.budget -= data.nbytes
        values = np.asarray(data[()])
        if brain:
            return (values.view("<u2").astype(np.uint32) << 16).view(np.float32)
        return values.astype(values.dtype.newbyteorder("="))


def _address(item: Any) -> Any:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _kept(read: Callable[[], Any]) -> Any:
    """What ``read`` gives, or the reason why not as a text."""
    try:
        return read()
    except Exception as error:
        return _line(error)


def _line(error: Exception) -> str:
    return (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")


def _attribute(group: h5py.Group, name: str) -> list[str]:
    return _texts(group.attrs[name])


def _texts(value: Any) -> list[str]:
    """The elements of a text attribute; an empty one of any type: []."""
    if isinstance(value, h5py.Empty):
        return []
    flat = [value] if isinstance(value, (str, bytes)) else list(np.asarray(value).reshape(-1))
    if not all(isinstance(element, (str, bytes)) for element in flat):
        raise ValueError("an attribute that should be text is not")
    return [_text(element) for element in flat]


def _text(value: str | bytes) -> str:
    """As UTF-8 has it; h5py marks what is none by surrogates."""
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    try:
        return raw.split(b"\0", 1)[0].decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("a text in it is not UTF-8") from error


def _limit_memory(size: int) -> None:
    """A damaged length must not take the machine's memory, nor a dead child leave a core file. Where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, limit in ((resource.RLIMIT_AS, (4 << 30) + 3 * max(_SIZE_FLOOR, _EXPANSION * size)),
                        (resource.RLIMIT_CORE, 0)):  # fmt: skip
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def main(path: str, result: str, size: int) -> int:
    _limit_memory(size)
    try:
        nodes, arrays = read_content(path, size)
    except Exception as error:
        print(_line(error), file=sys.stderr)
        return DAMAGED
    content: dict[str, Any] = {"structure": np.frombuffer(json.dumps(nodes).encode(), np.uint8), **arrays}
    np.savez(result, **content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
