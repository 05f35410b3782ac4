"""The HDF5 reader, in this process and in its child: every array and text of random files, and damaged files."""

from __future__ import annotations

import random
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from qsim.errors import ModelError
from qsim.importers.keras.read import hdf5 as reader_hdf5
from qsim.importers.keras.read.hdf5 import Group, open_hdf5, open_hdf5_file

DTYPES = ("<f4", "<f8", "<f2", ">f4", ">f8", "<i4", "<i8", ">i8", "<u1", "<i2", ">u4", "?")


def _open(path: Path) -> Group:
    return open_hdf5(path.read_bytes(), path.name)


def _fill(group: h5py.Group, rng: np.random.Generator, depth: int) -> None:
    for i in range(int(rng.integers(1, 14))):
        name = f"member {i:03d}/é" if rng.random() < 0.1 else f"m{rng.integers(1 << 40)}"
        shape = tuple(int(n) for n in rng.integers(0, 9, rng.integers(0, 5)))
        values = (rng.normal(size=shape) * 100).astype(DTYPES[rng.integers(len(DTYPES))])
        options: dict[str, object] = {}
        if shape and values.size and rng.random() < 0.5:
            options["chunks"] = tuple(int(rng.integers(1, n + 2)) for n in shape)
            options["maxshape"] = tuple(n + 20 for n in shape)
            options["compression"] = "gzip" if rng.random() < 0.7 else None
            options["shuffle"] = bool(rng.random() < 0.5)
            options["fletcher32"] = bool(rng.random() < 0.3)
        group.create_dataset(name, data=values, **options)
    group.attrs["fixed"] = np.array([b"a", b"dense/kernel:0", b""])
    group.attrs["variable"] = "text ü " * int(rng.integers(1, 400))
    group.attrs["list"] = [f"name {i}" for i in range(int(rng.integers(1, 50)))]
    group.attrs["bytes"] = b"tensorflow"
    group.attrs["none"] = np.array([], "f8")
    for i in range(3):
        group.attrs[f"split{i}"] = [f"{i}.{j}".encode() for j in range(4)]
    for i in range(int(rng.integers(0, 4)) if depth else 0):
        _fill(group.create_group(f"group{i}"), rng, depth - 1)


def _compare(ours: Group, theirs: h5py.Group) -> int:
    assert ours.names() == tuple(sorted(theirs))
    assert ours.texts("fixed") == ("a", "dense/kernel:0", "")
    assert ours.text("variable") == theirs.attrs["variable"]
    assert ours.texts("list") == tuple(theirs.attrs["list"])
    assert ours.text("bytes") == "tensorflow"
    assert (ours.texts("none"), ours.texts("absent"), ours.text("absent")) == ((), None, None)
    assert ours.texts("split") == tuple(f"{i}.{j}" for i in range(3) for j in range(4))
    count = 0
    for name, member in theirs.items():
        if isinstance(member, h5py.Dataset):
            found = ours.dataset(name)
            assert found is not None
            assert found.shape == member.shape
            assert ours.group(name) is None
            values, wanted = found.read(), member[()]
            assert (values.dtype.isnative, values.flags.writeable) == (True, False)
            np.testing.assert_array_equal(values, wanted, strict=wanted.dtype.kind != "b" and wanted.dtype.isnative)
            count += 1
        elif "variable" in member.attrs:
            below = ours.group(name)
            assert below is not None
            assert ours.dataset(name) is None
            count += _compare(below, member)
    return count


@pytest.mark.parametrize("seed", range(8))
def test_reads_what_h5py_writes(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "random.h5"
    with h5py.File(path, "w", libver="latest" if seed == 7 else None) as file:
        _fill(file, np.random.default_rng(seed), 2)
    with h5py.File(path) as file:
        assert _compare(_open(path), file) > 0
        if seed > 4:
            assert _compare(open_hdf5_file(path), file) > 0


def test_group_with_many_members(tmp_path: Path) -> None:
    path = tmp_path / "many.h5"
    with h5py.File(path, "w") as file:
        for i in range(3000):
            file[f"{i * 7919 % 3000}"] = i
    root = _open(path)
    assert len(root.names()) == 3000
    for i in range(0, 3000, 97):
        data = root.dataset(str(i * 7919 % 3000))
        assert data is not None
        assert data.read() == i


def test_long_text_and_many_chunks(tmp_path: Path) -> None:
    path = tmp_path / "big.h5"
    text = "".join(random.Random(1).choices("abcdef é", k=300_000))
    values = np.arange(40_000, dtype="f4").reshape(200, 200)
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = text.encode()
        file.create_dataset("chunked", data=values, chunks=(3, 7), compression="gzip", shuffle=True)
    root = _open(path)
    assert root.text("model_config") == text
    np.testing.assert_array_equal(root.dataset("chunked").read(), values)


def test_bfloat16(tmp_path: Path) -> None:
    path = tmp_path / "brain.h5"
    bits = np.array([0x3F80, 0xBF00, 0x4049, 0x0000, 0x8000], np.uint16)
    with h5py.File(path, "w") as file:
        file.create_dataset("brain", data=bits.view("V2")).attrs["dtype"] = "bfloat16"
    values = _open(path).dataset("brain").read()
    np.testing.assert_array_equal(values, np.array([1.0, -0.5, 3.140625, 0.0, -0.0], np.float32), strict=True)


def test_links_elsewhere_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = 1.0
    path = tmp_path / "links.h5"
    with h5py.File(path, "w") as file:
        file["soft"] = h5py.SoftLink("/nowhere")
        file["hard"] = 1.0
        file["same"] = file["hard"]
    root = _open(path)
    assert root.dataset("same").read() == 1.0
    with pytest.raises(ModelError, match="/soft is a link to elsewhere"):
        root.dataset("soft")
    with h5py.File(path, "a") as file:
        file["external"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
        file["loop"] = file["/"]
    root = _open(path)
    with pytest.raises(ModelError, match="/external is a link to elsewhere"):
        root.group("external")
    assert root.group("loop").dataset("loop/hard").read() == 1.0
    assert root.has_arrays()


def test_external_and_virtual_and_text_arrays_are_refused(tmp_path: Path) -> None:
    (tmp_path / "raw.bin").write_bytes(bytes(400))
    path = tmp_path / "refused.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("external", (100,), "f4", external=[(str(tmp_path / "raw.bin"), 0, 400)])
        file["texts"] = ["a", "b"]
        file.create_dataset("unwritten", (10,), "f4")
        file.create_dataset("sparse", (100, 100), "f4", chunks=(10, 10))[:20] = 1
        file["complex"] = np.zeros(3, "c8")
        file["null"] = h5py.Empty("f4")
    root = _open(path)
    for name in ("external", "texts", "unwritten", "sparse", "complex", "null"):
        data = root.dataset(name)
        assert data is not None
        with pytest.raises(ModelError, match=f"/{name} is no HDF5 file that Keras writes, or is damaged"):
            data.read()


def test_claimed_size_is_bounded(tmp_path: Path) -> None:
    """A file of some kilobytes that claims a terabyte costs no memory."""
    path = tmp_path / "huge.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("huge", (1 << 38,), "f4", chunks=(1 << 20,), compression="gzip")
        file.create_dataset("bomb", data=np.zeros(1 << 25, "f4"), chunks=(1 << 25,), compression="gzip")
    root = _open(path)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    for name in ("huge", "bomb"):
        with pytest.raises(ModelError, match="claims"):
            root.dataset(name).read()
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def _walk(group: Group, depth: int = 6) -> None:
    for name in ("fixed", "variable", "list", "bytes", "none", "split"):
        group.texts(name)
    group.has_arrays()
    for name in group.names():
        data = group.dataset(name)
        if data is not None:
            data.read()
        below = group.group(name)
        if below is not None and depth:
            _walk(below, depth - 1)


def _damages(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for _ in range(count):
        found = bytearray(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)
        for _ in range(rng.choice((1, 2, 8))):
            if found:
                found[rng.randrange(len(found))] = rng.randrange(256)
        yield bytes(found)


def test_damaged_files_end_in_model_errors(tmp_path: Path) -> None:
    path = tmp_path / "random.h5"
    with h5py.File(path, "w") as file:
        _fill(file, np.random.default_rng(100), 1)
    refused = 0
    for damaged in _damages(path.read_bytes(), 1, 20):
        (tmp_path / "damaged.h5").write_bytes(damaged)
        try:
            _walk(open_hdf5_file(tmp_path / "damaged.h5"))
        except ModelError:
            refused += 1
    assert 2 < refused < 20


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os; os.abort()", r"reading it ends the HDF5 library \(exit code -6\)"),
        ("import time; time.sleep(60)", "reading it did not end within 0.5 seconds"),
        ("import sys; print('why', file=sys.stderr); sys.exit(3)", "or is damaged: why. Save"),
        ("pass", "is truncated or corrupt"),
    ],
)
def test_a_child_that_dies_or_hangs_is_a_damaged_file(
    code: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "fine.h5", "w") as file:
        file["x"] = 1.0
    monkeypatch.setattr(reader_hdf5, "_program", lambda: [sys.executable, "-c", code])
    monkeypatch.setattr(reader_hdf5, "_SECONDS", 0.5 if "sleep" in code else 60)
    with pytest.raises(ModelError, match=text) as caught:
        open_hdf5_file(tmp_path / "fine.h5")
    assert "\n" not in str(caught.value)


def test_damaged_references_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "text.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "x" * 500
    data = path.read_bytes()
    at = data.index((500).to_bytes(4, "little") + (0x800).to_bytes(8, "little"))
    for place, value in ((1, 0x40), (3, 0x7F), (4, 9), (12, 7)):  # length, heap address, index
        path.write_bytes(data[: at + place] + bytes([value]) + data[at + place + 1 :])
        with pytest.raises(ModelError, match="is no HDF5 file that Keras writes, or is damaged"):
            open_hdf5_file(path).text("model_config")
