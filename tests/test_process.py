"""Programs of others end within their limit, and nothing of theirs stays: no process, no folder."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from graphs import small_cnn

from qsim import process
from qsim.cli import main
from qsim.errors import QsimError, UsageError
from qsim.ir import to_json

MARK = "QSIM_TEST_MARK"
SLOW_COMPILER = """#!/bin/sh
trap '' TERM
touch "$TMPDIR/of-the-compiler"
sleep 300 &
touch "$QSIM_TEST_MARK"
sleep 300
"""


def running(mark: str) -> list[str]:
    """The commands of all processes whose environment holds the mark."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def left(mark: str) -> list[str]:
    """Those that still run when what was killed has had the time to vanish."""
    end = time.monotonic() + 5
    while (found := running(mark)) and time.monotonic() < end:
        time.sleep(0.02)
    return found


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    """A compiler that never ends and will not be asked to, with a child of its own."""
    path = tmp_path / "slow-cc"
    path.write_text(SLOW_COMPILER)
    path.chmod(0o755)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.json"
    path.write_text(to_json(small_cnn()))
    return path


def test_a_program_runs_to_its_end() -> None:
    done = process.run(["sh", "-c", "echo out; echo err >&2; exit 3"], "the shell")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert process.run(["cat"], "cat").stdout == ""


def test_the_limit_ends_a_program_and_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = str(tmp_path / "mark")
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv(process.VARIABLE, "0.4")
    start = time.monotonic()
    with pytest.raises(process.TimeLimitError) as caught:
        process.run(["sh", "-c", "trap '' TERM; sleep 300 & sleep 300"], "the compiler 'sh'")
    assert str(caught.value) == (
        "the compiler 'sh' did not end within 0.4 seconds and was stopped; if it needs longer, set the environment "
        "variable QSIM_TIME_LIMIT to more seconds, or to 0 for no limit"
    )
    assert time.monotonic() - start < 10
    monkeypatch.delenv(MARK)
    assert left(mark) == []


def test_the_limit_is_one_for_programs_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(process.VARIABLE, "1")
    with pytest.raises(process.TimeLimitError):
        process.run_all([["true"], ["sleep", "300"]], "the compiler")


@pytest.mark.parametrize(("given", "seconds"), [("", process.LIMIT), ("0", None), ("0.5", 0.5), ("7200", 7200.0)])
def test_the_variable(given: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(process.VARIABLE, given)
    assert process.limit() == seconds


@pytest.mark.parametrize("given", ["-1", "soon", "inf", "nan"])
def test_a_variable_that_says_no_time(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(process.VARIABLE, given)
    with pytest.raises(UsageError, match=r"QSIM_TIME_LIMIT is .* must be a number of seconds"):
        process.limit()


def test_the_command_line_names_the_limit(
    model: Path, compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tmp").mkdir()
    for name, value in {"CC": str(compiler), process.VARIABLE: "0.5", MARK: str(tmp_path / "mark")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("QSIM_CACHE", str(tmp_path / "cache"))
    assert main(["compile", str(model), "-o", str(tmp_path / "out"), "--target", "c", "--verify"]) == 1
    said = " ".join(capfd.readouterr().err.split())
    assert "did not end within 0.5 seconds" in said
    assert "QSIM_TIME_LIMIT" in said
    assert [p.name for p in (tmp_path / "tmp").iterdir()] == ["of-the-compiler"]
    assert main(["--help"]) == 0
    assert "QSIM_TIME_LIMIT" in capfd.readouterr().out


def started(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """A program that takes signals, also where these tests run in the background or under nohup and ignore them."""

    def take_signals() -> None:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    return subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=take_signals,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_to_the_parent_alone_leaves_nothing(
    number: signal.Signals, model: Path, compiler: Path, tmp_path: Path
) -> None:
    """The signal comes while the C compiler runs, which has a child and takes no notice of SIGTERM."""
    (tmp_path / "tmp").mkdir()
    mark = tmp_path / "mark"
    environment = os.environ | {"CC": str(compiler), "TMPDIR": str(tmp_path / "tmp"), MARK: str(mark)}
    environment["QSIM_CACHE"] = str(tmp_path / "cache")
    command = [sys.executable, "-m", "qsim", "compile", str(model), "-o", str(tmp_path / "out"), "--target", "c"]
    with started([*command, "--verify"], environment) as parent:
        end = time.monotonic() + 60
        while not mark.exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert len(running(str(mark))) >= 3
        os.kill(parent.pid, number)
        said = parent.communicate(timeout=30)[1]
    assert parent.returncode == 128 + number
    assert ("Interrupted." if number == signal.SIGINT else f"Ended by {number.name}.") in said
    assert "Traceback" not in said
    assert left(str(mark)) == []
    assert [p.name for p in (tmp_path / "tmp").iterdir()] == ["of-the-compiler"]


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.ended_by_signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_waits_until_what_begins_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the making of a folder and the note of it, a signal would leave it behind."""
    folders = []
    real = process.tempfile.mkdtemp

    def mkdtemp(**arguments: str | None) -> str:
        folders.append(real(**arguments))
        os.kill(os.getpid(), signal.SIGTERM)
        return folders[-1]

    def enter() -> None:
        with process.ended_by_signals(), process.scratch("test"):
            pytest.fail("the signal comes first")

    monkeypatch.setattr(process.tempfile, "mkdtemp", mkdtemp)
    with pytest.raises(process.Ended) as caught:
        enter()
    assert caught.value.code == 143
    assert not Path(folders[0]).exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_is_lost_counts_at_the_next_beginning() -> None:
    """Python drops exceptions in callbacks, those of imports among them."""

    class Dropping:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    def enter() -> None:
        with process.ended_by_signals():
            Dropping()
            process.run(["sleep", "300"], "sleep")

    with pytest.raises(process.Ended):
        enter()
    with process.ended_by_signals():
        assert process.run(["true"], "true").returncode == 0


def test_a_folder_without_room_is_named() -> None:
    def fill() -> None:
        with process.scratch("test") as folder:
            (folder / "x").write_text("x")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(QsimError, match=r"qsim-test-\w+ cannot be written: No space left on device; .*TMPDIR"):
        fill()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["c", "hls", "rtl"])
def test_signals_at_any_time_leave_nothing(target: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    mark = str(tmp_path / "mark")
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), MARK: mark, "QSIM_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "qsim", "compile", str(model), "-o", str(tmp_path / "out"), "--target", target]
    for step in range(16):
        with started([*command, "--verify"], environment) as parent:
            time.sleep(0.3 + 0.35 * step)
            os.kill(parent.pid, (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)[step % 3])
            parent.communicate(timeout=60)
        assert left(mark) == [], step
        assert list((tmp_path / "tmp").iterdir()) == [], step
        assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == [], step
