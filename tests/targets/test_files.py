"""Files in folders: what an earlier emission left goes, and only that; one writer at a time; a full disk is named."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from graphs import Net, requantize, small_cnn

from qsim.compare.arrays import write_arrays
from qsim.debug.vectors import write_vectors
from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.targets.files import RECORD, emission, emit, files, held, write_files


def other() -> Graph:
    net = Net("other")
    return net.build(requantize(net, net.input((3,)), name="narrow"))


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != RECORD)


@contextmanager
def full(after: int) -> Iterator[None]:
    """No file can grow beyond ``after`` bytes: the system refuses the write, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("target", ["c", "rtl"])
def test_another_model_takes_the_place_of_the_earlier_one(target: str, tmp_path: Path) -> None:
    first, second = files(small_cnn(), target), files(other(), target)
    assert set(first) - set(second)
    emit(small_cnn(), target, tmp_path)
    own = tmp_path / "notes.txt", tmp_path / "mem" / "mine.mem"
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    paths = emit(other(), target, tmp_path)
    assert names(tmp_path) == sorted([*second, "notes.txt", "mem/mine.mem"])
    assert paths == [tmp_path / name for name in second]
    assert all((tmp_path / name).read_text() == text for name, text in second.items())


def test_empty_folders_go_too(tmp_path: Path) -> None:
    graph = other()
    write_files({"a/b/x": "1", "c/y": "2"}, tmp_path, "part", graph)
    write_files({"c/z": "3"}, tmp_path, "part", graph)
    assert sorted(p.name for p in tmp_path.iterdir()) == [RECORD, "c"]


def test_what_was_changed_since_is_the_users(tmp_path: Path) -> None:
    emit(small_cnn(), "c", tmp_path)
    stale = sorted(set(files(small_cnn(), "c")) - set(files(other(), "c")))
    (tmp_path / stale[0]).write_text("changed by hand")
    (tmp_path / stale[1]).unlink()
    emit(other(), "c", tmp_path)
    assert names(tmp_path) == sorted([*files(other(), "c"), stale[0]])


def test_parts_of_one_model_stand_side_by_side(tmp_path: Path) -> None:
    """Vectors and C of one graph in one folder stay; of another graph they go."""
    graph = small_cnn()
    vectors = write_vectors(graph, tmp_path, samples=1)
    emit(graph, "c", tmp_path)
    assert all(path.is_file() for path in vectors)
    emit(other(), "c", tmp_path)
    assert names(tmp_path) == sorted(files(other(), "c"))


def test_a_whole_model_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    """Other targets and the report of another graph go; other targets of the same graph stay, its report does not."""
    graph = small_cnn()
    with emission(tmp_path, graph, ("c", "rtl")) as folder:
        folder.write("c", {"model.c": "c of one"})
        folder.write("rtl", {"top.sv": "rtl of one"})
        folder.report("one")
    assert names(tmp_path) == ["c/model.c", "report.html", "rtl/top.sv"]
    with emission(tmp_path, graph, ("c",)) as folder:
        folder.write("c", {"model.c": "again"})
    assert names(tmp_path) == ["c/model.c", "rtl/top.sv"]
    with emission(tmp_path, other(), ("hls",)) as folder:
        folder.write("hls", {"x.cpp": "hls of two"})
    assert names(tmp_path) == ["hls/x.cpp"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    text = "another qsim writes into .*out at this moment: wait until it has ended, or give another folder"
    with held(tmp_path / "out") as folder:
        folder.write({"x": "1"}, "part", other())
        with pytest.raises(UsageError, match=text):
            emit(other(), "c", tmp_path / "out")
        script = f"import qsim.targets.files as f\nwith f.held({str(tmp_path / 'out')!r}): pass\n"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 1
        assert "UsageError: another qsim" in done.stderr
        assert names(tmp_path / "out") == ["x"]
    emit(other(), "c", tmp_path / "out")
    with emission(tmp_path / "whole", other(), ("c",)), pytest.raises(UsageError, match="another qsim"):
        emit(other(), "c", tmp_path / "whole" / "c")


@pytest.mark.parametrize(
    "record",
    [
        "{",
        "[]",
        '{"c": {}}',
        '{"c": {"graph": "x", "files": {"../victim": "%s"}}}',
        '{"c": {"graph": "x", "files": {"/victim": "%s"}}}',
        '{"c": {"graph": [], "files": {}}}',
        '{"c": {"graph": "x", "files": {"a": 1}}}',
    ],
)
def test_a_damaged_record_removes_nothing(record: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "out" / RECORD).write_text(record.replace("%s", "0" * 64))
    with pytest.raises(UsageError, match=r"\.qsim-files\.json is not a record .* delete it"):
        emit(other(), "c", tmp_path / "out")
    assert names(tmp_path) == ["victim"]


def test_a_record_says_what_was_written(tmp_path: Path) -> None:
    emit(other(), "c", tmp_path)
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["c"]["graph"] == other().hash
    assert sorted(record["c"]["files"]) == sorted(files(other(), "c"))


def test_a_full_disk_names_file_and_cause(tmp_path: Path) -> None:
    """Whatever was there stays as it was."""
    emit(other(), "c", tmp_path / "out")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names(tmp_path / "out")}
    with full(4096), pytest.raises(UsageError, match=r"cannot write .*/out/\w+\.\w+: File too large"):
        emit(small_cnn(), "c", tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names(tmp_path / "out")} == before
    with full(4096), pytest.raises(UsageError, match=r"cannot write .*/x\.npy: File too large"):
        write_arrays(tmp_path / "x.npy", np.zeros(10_000))
    with full(4096), pytest.raises(UsageError, match=r"cannot write .*/x\.npz: File too large"):
        write_arrays(tmp_path / "x.npz", {"x": np.random.default_rng(1).random(10_000)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_an_interrupted_write_is_undone_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end between two files leaves both models' files, all of them noted."""
    emit(small_cnn(), "c", tmp_path)
    real = Path.replace
    moved = []

    def replace(self: Path, target: Path) -> Path:
        if len(moved) == 3:
            raise KeyboardInterrupt
        moved.append(target)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        emit(other(), "rtl", tmp_path)
    monkeypatch.undo()
    emit(other(), "c", tmp_path)
    assert len(moved) == 3
    assert names(tmp_path) == sorted(files(other(), "c"))


def test_standard_output_that_is_full(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    with Path("/dev/full").open("wb") as out:
        command = [sys.executable, "-m", "qsim", "--help"]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "Error: standard output: No space left on device\n")
