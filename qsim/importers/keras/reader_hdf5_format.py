"""HDF5's file format, as much of it as Keras writes, read in plain Python.

Why not h5py here: the C library behind it is not safe against damaged files (a flipped byte in a length of a
variable-length string ends the process), and a model file may come from anywhere. Every Keras version writes h5py's
default ("earliest") format, which is small: superblock 0, object headers 1, symbol-table groups, attributes in the
header, contiguous, compact or chunked arrays, deflate and shuffle. Anything else is refused by name.

Source: "HDF5 File Format Specification Version 3.0" (The HDF Group); the numbers in the comments are its sections.
Every read is bounded by the file, every chain of references is followed once, and array sizes are bounded by what is
stored, so that damaged files end in ``Hdf5Error`` and nothing else.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED = (1 << 64) - 1
_LINK, _SYMBOLS, _CONTINUATION, _ATTRIBUTE, _ATTRIBUTES_ELSEWHERE = 0x06, 0x11, 0x10, 0x0C, 0x15
_DATASPACE, _LINK_INFO, _DATATYPE, _LAYOUT, _FILTERS, _EXTERNAL = 0x01, 0x02, 0x03, 0x08, 0x0B, 0x07
_MESSAGE_LIMIT, _NODE_LIMIT = 100_000, 100_000
_SIZE_FLOOR, _EXPANSION = 64 << 20, 200
"""An array may be larger than both this many bytes and this many times the file only in a hostile file."""


class Hdf5Error(ValueError):
    """The file is damaged, or uses a part of HDF5 that Keras does not write; the text says which."""


@dataclass(frozen=True)
class DataType:
    """kind: 'number', 'text' (fixed size), 'heap text' (variable length) or 'bytes' (opaque); size of an element in
    bytes; dtype: numpy's, for numbers; brain: bfloat16."""

    kind: str
    size: int
    dtype: np.dtype[Any] | None = None
    brain: bool = False


@dataclass(frozen=True)
class Stored:
    """A typed array whose bytes have not been decoded: an attribute's value."""

    type: DataType
    shape: tuple[int, ...]
    raw: bytes


@dataclass(frozen=True)
class Message:
    type: int
    start: int
    size: int


class Hdf5File:
    """An HDF5 file in memory. Objects are named by the addresses of their headers; ``root`` is the root group's."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        if data[:8] != SIGNATURE:
            raise Hdf5Error("it does not begin with HDF5's signature")
        version = self._uint(8, 1)
        if version not in (0, 1):  # II.A: later superblocks come with later formats of everything else
            raise Hdf5Error(f"superblock version {version} is not what Keras writes (0)")
        if self._uint(13, 1) != 8 or self._uint(14, 1) != 8:
            raise Hdf5Error("addresses are not 8 bytes wide")
        start = 24 if version == 0 else 28
        if self._uint(start, 8) != 0:
            raise Hdf5Error("its base address is not 0")
        self.end = self._uint(start + 16, 8)
        if self.end > len(data):
            raise Hdf5Error(f"it ends after {len(data)} of {self.end} bytes")
        self.root = self._uint(start + 40, 8)
        self._heaps: dict[int, dict[int, bytes]] = {}

    # Bytes ----------------------------------------------------------------------------------------------------------

    def _bytes(self, start: int, size: int) -> bytes:
        if start < 0 or size < 0 or start + size > len(self.data):
            raise Hdf5Error(f"{size} bytes at {start} lie beyond its end")
        return self.data[start : start + size]

    def _uint(self, start: int, size: int) -> int:
        return int.from_bytes(self._bytes(start, size), "little")

    def _expect(self, start: int, signature: bytes) -> None:
        if self._bytes(start, len(signature)) != signature:
            raise Hdf5Error(f"no {signature.decode()} block at {start}")

    # Object headers -------------------------------------------------------------------------------------------------

    def messages(self, address: int) -> list[Message]:
        """The messages of an object header, version 1 (IV.A.1.a), continuations included."""
        if self._bytes(address, 4) == b"OHDR":
            raise Hdf5Error("object headers of version 2 are not what Keras writes")
        if self._uint(address, 1) != 1:
            raise Hdf5Error(f"no object header at {address}")
        blocks = [(address + 16, self._uint(address + 8, 4))]
        seen = {address + 16}
        found: list[Message] = []
        count = self._uint(address + 2, 2)
        for start, size in blocks:  # grows while it is walked
            self._bytes(start, size)
            at = start
            while at + 8 <= start + size and len(found) < count:
                kind, length, flags = struct.unpack_from("<HHB", self.data, at)
                if at + 8 + length > start + size:
                    raise Hdf5Error(f"a message of the object header at {address} is longer than its block")
                if flags & 2:
                    raise Hdf5Error("shared header messages are not what Keras writes")
                found.append(Message(kind, at + 8, length))
                if kind == _CONTINUATION:
                    block = (self._uint(at + 8, 8), self._uint(at + 16, 8))
                    if block[0] in seen or len(blocks) > _MESSAGE_LIMIT:
                        raise Hdf5Error(f"the object header at {address} continues in itself")
                    seen.add(block[0])
                    blocks.append(block)
                at += 8 + length
        return found

    def _one(self, messages: list[Message], kind: int) -> Message | None:
        return next((m for m in messages if m.type == kind), None)

    # Groups ---------------------------------------------------------------------------------------------------------

    def members(self, address: int) -> dict[str, int | None] | None:
        """A group's members: name -> header address, None for links to elsewhere. None if the object is no group."""
        messages = self.messages(address)
        if self._one(messages, _LINK_INFO) or self._one(messages, _LINK):
            raise Hdf5Error("groups in the new format are not what Keras writes")
        table = self._one(messages, _SYMBOLS)
        if table is None:
            return None
        tree, heap = self._uint(table.start, 8), self._uint(table.start + 8, 8)
        self._expect(heap, b"HEAP")
        names_size, names = self._uint(heap + 8, 8), self._uint(heap + 24, 8)
        text = self._bytes(names, names_size)
        found: dict[str, int | None] = {}
        for node in self._leaves(tree, 0, 8):
            self._expect(node[1], b"SNOD")
            for i in range(self._uint(node[1] + 6, 2)):
                entry = node[1] + 8 + 40 * i
                name = _until_zero(text, self._uint(entry, 8))
                linked = self._uint(entry + 16, 4) == 2
                found[name] = None if linked else self._uint(entry + 8, 8)
        return found

    def _leaves(self, address: int, kind: int, key_size: int) -> list[tuple[bytes, int]]:
        """(key, child) of all leaves of a version-1 B-tree (III.A.1) in order; the key is the one before the child."""
        found: list[tuple[bytes, int]] = []
        seen: set[int] = set()

        def walk(node: int, level: int | None) -> None:
            if node in seen or len(seen) > _NODE_LIMIT:
                raise Hdf5Error(f"the B-tree at {address} leads back into itself")
            seen.add(node)
            self._expect(node, b"TREE")
            own, used = self._uint(node + 5, 1), self._uint(node + 6, 2)
            if self._uint(node + 4, 1) != kind or level not in (None, own):
                raise Hdf5Error(f"the B-tree at {address} is damaged")
            for i in range(used):
                at = node + 24 + i * (key_size + 8)
                key, child = self._bytes(at, key_size), self._uint(at + key_size, 8)
                if own:
                    walk(child, own - 1)
                else:
                    found.append((key, child))

        walk(address, None)
        return found

    # Attributes -----------------------------------------------------------------------------------------------------

    def attributes(self, address: int) -> dict[str, Stored]:
        """The attributes of an object (IV.A.2.m)."""
        found: dict[str, Stored] = {}
        for message in self.messages(address):
            if message.type == _ATTRIBUTES_ELSEWHERE:
                raise Hdf5Error("attributes outside the object header are not what Keras writes")
            if message.type == _ATTRIBUTE:
                name, value = self._attribute(message)
                found[name] = value
        return found

    def _attribute(self, message: Message) -> tuple[str, Stored]:
        start, end = message.start, message.start + message.size
        version, flags = self._uint(start, 1), self._uint(start + 1, 1)
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise Hdf5Error("an attribute is damaged or refers to a shared type")
        sizes = [self._uint(start + 2 + 2 * i, 2) for i in range(3)]
        at = start + (9 if version == 3 else 8)
        parts = []
        for size in sizes:
            parts.append((at, size))
            at += -(-size // 8) * 8 if version == 1 else size
        name = _until_zero(self._bytes(*parts[0]), 0)
        kind = self._datatype(parts[1][0], parts[1][1])
        shape = self._dataspace(parts[2][0])
        size = math.prod(shape) * kind.size
        if at + size > end:
            raise Hdf5Error(f"attribute {name!r} is longer than its message")
        return name, Stored(kind, shape, self._bytes(at, size))

    def texts(self, value: Stored) -> list[str]:
        """The elements of a text attribute. Other types: as numbers are written; an empty one of any type: []."""
        count, size = math.prod(value.shape), value.type.size
        if not count:
            return []
        raws = [value.raw[i * size : (i + 1) * size] for i in range(count)]
        if value.type.kind == "heap text":
            raws = [self._heap_object(raw) for raw in raws]
        elif value.type.kind != "text":
            raise Hdf5Error("an attribute that should be text is not")
        try:
            return [raw.split(b"\0", 1)[0].decode("utf-8") for raw in raws]
        except UnicodeDecodeError as error:
            raise Hdf5Error("a text attribute is not UTF-8") from error

    def _heap_object(self, element: bytes) -> bytes:
        """A variable-length value (III.E): length, heap address, index."""
        length, address, index = struct.unpack("<IQI", element)
        if not length:
            return b""
        if address not in self._heaps:
            self._heaps[address] = self._heap(address)
        found = self._heaps[address].get(index)
        if found is None or len(found) < length:
            raise Hdf5Error(f"the global heap at {address} lacks a value that an attribute refers to")
        return found[:length]

    def _heap(self, address: int) -> dict[int, bytes]:
        self._expect(address, b"GCOL")
        end = address + self._uint(address + 8, 8)
        self._bytes(address, end - address)
        found: dict[int, bytes] = {}
        at = address + 16
        while at + 16 <= end:
            index, size = self._uint(at, 2), self._uint(at + 8, 8)
            if not index:  # the free space at the end
                break
            if at + 16 + size > end:
                raise Hdf5Error(f"the global heap at {address} is damaged")
            found[index] = self._bytes(at + 16, size)
            at += 16 + -(-size // 8) * 8
        return found

    # Types and shapes -----------------------------------------------------------------------------------------------

    def _dataspace(self, start: int) -> tuple[int, ...]:
        """IV.A.2.b. A null dataspace (no elements at all) has shape (0,)."""
        version, rank = self._uint(start, 1), self._uint(start + 1, 1)
        if version not in (1, 2) or rank > 32:
            raise Hdf5Error("a dataspace is damaged")
        if version == 2 and self._uint(start + 3, 1) == 2:
            return (0,)
        at = start + (8 if version == 1 else 4)
        shape = tuple(self._uint(at + 8 * i, 8) for i in range(rank))
        if math.prod(shape) >= 1 << 48:
            raise Hdf5Error(f"an array claims the shape {shape}")
        return shape

    def _datatype(self, start: int, size: int) -> DataType:
        """IV.A.2.d."""
        head = self._bytes(start, min(size, 24))
        if len(head) < 8:
            raise Hdf5Error("a datatype is damaged")
        kind, version, bits = head[0] & 15, head[0] >> 4, int.from_bytes(head[1:4], "little")
        width = int.from_bytes(head[4:8], "little")
        if not 1 <= version <= 3 or not 0 < width < 1 << 31:
            raise Hdf5Error("a datatype is damaged")
        if kind == 3:
            return DataType("text", width)
        if kind == 9 and bits & 15 == 1 and width == 16:
            return DataType("heap text", width)
        if kind == 5:
            return DataType("bytes", width)
        if kind == 8:  # an enumeration, such as numpy's bool: its base type follows
            base = self._datatype(start + 8, size - 8)
            if base.kind != "number" or base.size != width:
                raise Hdf5Error("an enumeration is damaged")
            return base
        if kind == 0:
            return _integer(bits, width, head)
        if kind == 1:
            return _float(bits, width, head)
        raise Hdf5Error(f"values of HDF5's datatype class {kind} are not what Keras writes")

    # Arrays ---------------------------------------------------------------------------------------------------------

    def array_type(self, address: int) -> tuple[DataType, tuple[int, ...]] | None:
        """Type and shape of a dataset; None if the object is none."""
        messages = self.messages(address)
        kind, space = self._one(messages, _DATATYPE), self._one(messages, _DATASPACE)
        if kind is None or space is None or self._one(messages, _LAYOUT) is None:
            return None
        return self._datatype(kind.start, kind.size), self._dataspace(space.start)

    def array(self, address: int) -> Array:
        """A dataset's numbers, in native byte order; bfloat16 as float32."""
        messages = self.messages(address)
        described = self.array_type(address)
        layout = self._one(messages, _LAYOUT)
        if described is None or layout is None:
            raise Hdf5Error(f"no array at {address}")
        kind, shape = described
        if self._one(messages, _EXTERNAL):
            raise Hdf5Error("arrays stored in other files are not followed")
        if kind.dtype is None and not (kind.kind == "bytes" and kind.size == 2):
            raise Hdf5Error(f"an array holds {kind.kind}, not numbers")
        size = math.prod(shape) * kind.size
        if size > max(_SIZE_FLOOR, _EXPANSION * len(self.data)):
            raise Hdf5Error(f"an array claims {size} bytes in a file of {len(self.data)}")
        raw = self._raw(layout, self._one(messages, _FILTERS), shape, kind.size, size)
        if kind.dtype is None or kind.brain:
            return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
        values = np.frombuffer(raw, kind.dtype).reshape(shape)
        return values.astype(kind.dtype.newbyteorder("="))

    def _raw(self, layout: Message, filters: Message | None, shape: tuple[int, ...], width: int, size: int) -> bytes:
        """The array's bytes in row-major order (IV.A.2.i)."""
        start = layout.start
        version, kind = self._uint(start, 1), self._uint(start + 1, 1)
        if version != 3:
            raise Hdf5Error(f"array layouts of version {version} are not what Keras writes")
        if not size:
            return b""
        if kind == 0:
            if self._uint(start + 2, 2) != size:
                raise Hdf5Error("an array's stored size is not that of its shape")
            return self._bytes(start + 4, size)
        if kind == 1:
            address, stored = self._uint(start + 2, 8), self._uint(start + 10, 8)
            if address == _UNDEFINED:
                raise Hdf5Error("an array was never written")
            if stored != size:
                raise Hdf5Error("an array's stored size is not that of its shape")
            return self._bytes(address, size)
        if kind == 2:
            return self._chunked(start, filters, shape, width)
        raise Hdf5Error(f"array layout {kind} is not what Keras writes")

    def _chunked(self, start: int, filters: Message | None, shape: tuple[int, ...], width: int) -> bytes:
        rank = self._uint(start + 2, 1) - 1
        address = self._uint(start + 3, 8)
        chunk = tuple(self._uint(start + 11 + 4 * i, 4) for i in range(rank))
        if rank != len(shape) or not all(chunk) or self._uint(start + 11 + 4 * rank, 4) != width:
            raise Hdf5Error("a chunked array is damaged")
        size = math.prod(chunk) * width
        if size > max(_SIZE_FLOOR, _EXPANSION * len(self.data)):
            raise Hdf5Error(f"an array's chunks claim {size} bytes each")
        steps = self._filters(filters)
        values = np.zeros((*shape, width), np.uint8)
        seen: set[tuple[int, ...]] = set()
        for key, child in self._leaves(address, 1, 8 + 8 * (rank + 1)) if address != _UNDEFINED else []:
            stored, mask = struct.unpack_from("<II", key)
            offset = struct.unpack_from(f"<{rank}Q", key, 8)
            if any(o % c or o >= n for o, c, n in zip(offset, chunk, shape, strict=True)) or offset in seen:
                raise Hdf5Error("a chunk lies outside its array")
            seen.add(offset)
            raw = _unfilter(self._bytes(child, stored), steps, mask, size)
            part = np.frombuffer(raw, np.uint8).reshape(*chunk, width)
            inside = tuple(slice(0, min(c, n - o)) for o, c, n in zip(offset, chunk, shape, strict=True))
            values[tuple(slice(o, o + s.stop) for o, s in zip(offset, inside, strict=True))] = part[inside]
        if len(seen) != math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True)):
            raise Hdf5Error("an array's chunks are missing")
        return values.tobytes()

    def _filters(self, message: Message | None) -> list[tuple[int, tuple[int, ...]]]:
        """(filter number, client data) in the order of writing (IV.A.2.l)."""
        if message is None:
            return []
        version, count = self._uint(message.start, 1), self._uint(message.start + 1, 1)
        if version not in (1, 2):
            raise Hdf5Error("a filter pipeline is damaged")
        at = message.start + (8 if version == 1 else 2)
        steps = []
        for _ in range(count):
            number = self._uint(at, 2)
            named = version == 1 or number >= 256
            name = self._uint(at + 2, 2) if named else 0
            values = self._uint(at + (6 if named else 4), 2)
            at += 8 if named else 6
            at += -(-name // 8) * 8 if version == 1 else name
            steps.append((number, tuple(self._uint(at + 4 * i, 4) for i in range(values))))
            at += 4 * values + (4 if version == 1 and values % 2 else 0)
        return steps


def _until_zero(text: bytes, start: int) -> str:
    end = text.find(b"\0", start)
    if start >= len(text):
        raise Hdf5Error("a name lies outside its heap")
    try:
        return text[start : end if end >= 0 else len(text)].decode("utf-8")
    except UnicodeDecodeError as error:
        raise Hdf5Error("a name is not UTF-8") from error


def _order(bits: int) -> str:
    return ">" if bits & 1 else "<"


def _integer(bits: int, width: int, head: bytes) -> DataType:
    if width not in (1, 2, 4, 8) or head[8:12] != struct.pack("<HH", 0, 8 * width):
        raise Hdf5Error(f"integers of {width} bytes with padding are not what Keras writes")
    return DataType("number", width, np.dtype(f"{_order(bits)}{'i' if bits & 8 else 'u'}{width}"))


def _float(bits: int, width: int, head: bytes) -> DataType:
    fields = struct.unpack_from("<HHBBBBI", head.ljust(20, b"\0"), 8)
    ieee = {2: (0, 16, 10, 5, 0, 10, 15), 4: (0, 32, 23, 8, 0, 23, 127), 8: (0, 64, 52, 11, 0, 52, 1023)}
    if bits & 64:
        raise Hdf5Error("VAX floats are not what Keras writes")
    if ieee.get(width) == fields:
        return DataType("number", width, np.dtype(f"{_order(bits)}f{width}"))
    if width == 2 and fields == (0, 16, 7, 8, 0, 7, 127) and not bits & 1:
        return DataType("number", 2, np.dtype("<u2"), brain=True)
    raise Hdf5Error(f"floats of {width} bytes in another format than IEEE 754's are not what Keras writes")


def _unfilter(raw: bytes, steps: list[tuple[int, tuple[int, ...]]], mask: int, size: int) -> bytes:
    """Undo a chunk's filters, last one first: 1 deflate, 2 shuffle, 3 Fletcher checksum (skipped)."""
    for i in range(len(steps) - 1, -1, -1):
        number, values = steps[i]
        if mask >> i & 1:
            continue
        if number == 1:
            try:
                raw = zlib.decompressobj().decompress(raw, size + 8)
            except zlib.error as error:
                raise Hdf5Error(f"a compressed chunk is damaged ({error})") from error
        elif number == 2:
            width = values[0] if values else 1
            if not width or len(raw) % width:
                raise Hdf5Error("a shuffled chunk is damaged")
            raw = np.frombuffer(raw, np.uint8).reshape(width, -1).T.tobytes()
        elif number == 3:
            raw = raw[:-4]
        else:
            raise Hdf5Error(f"HDF5 filter {number} is not what Keras writes")
    if len(raw) != size:
        raise Hdf5Error("a chunk's size is not that of its shape")
    return raw
