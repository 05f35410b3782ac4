"""The guard around readers of foreign files: what goes wrong is one sentence; what is no fault of the file passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qsim.errors import ModelError, ToolMissingError, UnsupportedError, UsageError, reading


class PanicException(BaseException):
    """As pyo3 raises it for a panic in Rust."""


def deep() -> None:
    json.loads("[" * 200_000)


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


CAUSES: list[tuple[Callable[[], object], str]] = [
    (raising(PanicException("index out of\nbounds")), "index out of bounds"),
    (raising(KeyError("shape")), "it lacks 'shape'"),
    (raising(MemoryError()), "more memory than there is"),
    (deep, "nested too deeply"),
    (lambda: 1 // 0, "divides by zero"),
    (lambda: b"\xff".decode(), r"not text in utf-8 \(byte 0\)"),
    (raising(ValueError("x" * 5000)), r"x{237}\.\.\.$"),
    (raising(ValueError("a\0b\x1b[31m.")), r"a b \[31m$"),
    (raising(AssertionError()), "AssertionError"),
]


@pytest.mark.parametrize(("act", "text"), CAUSES, ids=range(len(CAUSES)))
def test_any_error_becomes_a_sentence(act: Callable[[], object], text: str) -> None:
    def read() -> None:
        with reading("a.vcd", "a VCD file") as place:
            place.at = "signal 'clk'"
            act()

    with pytest.raises(ModelError, match=text) as caught:
        read()
    assert str(caught.value).startswith("a.vcd is not a VCD file that can be read (at signal 'clk'): ")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "error",
    [UnsupportedError("no", layer="x"), ToolMissingError("vcd"), KeyboardInterrupt(), SystemExit(3), ImportError()],
)
def test_what_is_no_fault_of_the_file_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, reading("a", "a file"):
        raise error
    assert caught.value is error


def test_sizes_are_bounded_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    with (
        pytest.raises(UsageError, match="has 5 bytes, more than the 4 "),
        reading(tmp_path / "x", "x", error=UsageError, most=4),
    ):
        pytest.fail("read")
    with reading(tmp_path / "x", "x", most=5):
        pass
    with pytest.raises(ModelError, match="no ordinary file"), reading("/dev/zero", "x", most=5):
        pytest.fail("read")
    with pytest.raises(ModelError, match="No such file"), reading(tmp_path / "y", "x", most=5):
        pytest.fail("read")
