"""Arrays out of .npy and .npz files: numpy's own, whatever the order and type; damaged ones are one sentence."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from readers import campaign, limits

from qsim.compare.arrays import read_arrays
from qsim.debug.diff.observations import read_dump
from qsim.errors import UsageError

ARRAYS = {
    "a": np.arange(12, dtype=np.int8).reshape(3, 4),
    "b": np.asfortranarray(np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)),
    "c": np.array(7, dtype=">u2"),
    "d": np.zeros((0, 5)),
    "e": np.array([[True, False]]),
}


def test_arrays_are_numpys(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "all.npz", **ARRAYS)
        read = read_arrays(tmp_path / "all.npz")
        assert isinstance(read, dict)
        assert list(read) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)
    for name, array in ARRAYS.items():
        np.save(tmp_path / f"{name}.npy", array)
        np.testing.assert_array_equal(read_arrays(tmp_path / f"{name}.npy"), array)


def header(shape: str, descr: str = "'<i8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (header("(4611686018427387904,)"), "takes 36,893,488,147,419,103,232 bytes"),
        (header("(1073741824,)"), "takes 8,589,934,592 bytes, it holds"),
        (header("(2, -1)"), "shape is"),
        (header("(1,)", "'|O'"), "no plain numbers"),
        (header("(1,)", "[('a', '<i8')]"), "no plain numbers"),
        (header("()") + b"123", "takes 8 bytes|ends after 3 of 8"),
        (b"\x93NUMPY\x09\x00", "version"),
        (b"", "neither a .npy nor an .npz"),
    ],
)
def test_claims_are_not_believed(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    with limits(5, 1 << 26), pytest.raises(UsageError, match=text):
        read_arrays(tmp_path / "x.npy")


def test_an_archive_that_claims_too_much(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header("(3,)") + bytes(24))
    data = bytearray(buffer.getvalue())
    at = data.rindex(b"PK\x01\x02") + 24  # the central directory's uncompressed size
    data[at : at + 4] = (0xF0000000).to_bytes(4, "little")
    (tmp_path / "x.npz").write_bytes(data)
    with limits(5, 1 << 26), pytest.raises(UsageError, match=r"x.npz is not an .npz file.*array 'x'.*it claims"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize("count", [200, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["npz", "packed", "npy"])
def test_damaged_arrays(tmp_path: Path, kind: str, count: int) -> None:
    buffer = io.BytesIO()
    if kind == "npy":
        np.save(buffer, ARRAYS["b"])
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(buffer, **ARRAYS)
    path = tmp_path / f"x.{kind if kind == 'npy' else 'npz'}"
    read = read_arrays if kind == "npy" else read_dump
    accepted, refused = campaign(path, buffer.getvalue(), read, count, text=False)
    assert refused > count // 4
    assert accepted > 0
