"""Verilator's own objects are compiled once a machine and used again by builds of the same kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qsim.targets.rtl import verilator


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("QSIM_CACHE", str(tmp_path / "cache"))
    verilator._objects.cache_clear()
    yield tmp_path
    verilator._objects.cache_clear()


def _build(folder: Path, name: str) -> Path:
    build = folder / name
    build.mkdir()
    return build


def test_objects_are_kept_for_their_kind_and_compiler(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _build(fresh, "first")
    (first / "verilated.o").write_bytes(b"runtime")
    (first / "Vtop__ALL.o").write_bytes(b"design")
    verilator.keep_objects("native", first)
    verilator._objects.cache_clear()  # as another process finds it
    second = _build(fresh, "second")
    verilator.reuse_objects("native", second)
    assert {path.name: path.read_bytes() for path in second.iterdir()} == {"verilated.o": b"runtime"}
    other = _build(fresh, "other")
    verilator.reuse_objects("cocotb", other)
    monkeypatch.setenv("CXXFLAGS", "-O3")
    verilator._objects.cache_clear()
    verilator.reuse_objects("native", other)
    assert not list(other.iterdir())


def test_a_cache_that_cannot_be_written_is_replaced(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh / "file").write_text("no folder")
    monkeypatch.setenv("QSIM_CACHE", str(fresh / "file"))
    build = _build(fresh, "build")
    (build / "verilated.o").write_bytes(b"runtime")
    verilator.keep_objects("native", build)
    (build / "verilated.o").unlink()
    verilator.reuse_objects("native", build)
    assert (build / "verilated.o").read_bytes() == b"runtime"
