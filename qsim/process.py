"""Programs of others (compilers, simulators) and the folders that they work in: a time limit, and nothing left behind.

A program runs in a session of its own, so that ending it ends what it has started too (a make's compilers). Whatever
ends a run early (the limit, an exception, a signal) ends them all and removes the folder.
"""

from __future__ import annotations

import atexit
import errno
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from qsim.errors import QsimError, UsageError

VARIABLE = "QSIM_TIME_LIMIT"
"""Of the environment: seconds that a program may take, 0 for any number."""

LIMIT = 3600.0
"""Seconds without the variable."""

_GRACE = 2.0
"""Seconds for a program that is asked to end: compilers then remove their own files."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where no more can be written."""


class TimeLimitError(QsimError):
    """A compiler, simulator or emulator, named as a noun, did not end within the time limit."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(
            f"{what} did not end within {seconds:g} seconds and was stopped; if it needs longer, set the environment "
            f"variable {VARIABLE} to more seconds, or to 0 for no limit"
        )


class Ended(SystemExit):
    """A signal ended the process; everything that was begun is undone on the way out. number: of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def cache() -> Path:
    """Where what was compiled once for this machine is kept: $QSIM_CACHE, else ``qsim`` in the user's cache folder."""
    given = os.environ.get("QSIM_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "qsim"


def limit() -> float | None:
    """Seconds that a program may take; None without limit. Raises UsageError for a variable that is no such number."""
    given = os.environ.get(VARIABLE)
    if not given:
        return LIMIT
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise UsageError(f"{VARIABLE} is {given!r}; it must be a number of seconds, or 0 for no limit")
    return seconds or None


def run(
    command: Sequence[str], what: str, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one program to its end, its output as text; see ``run_all``."""
    return run_all([command], what, cwd=cwd, env=env)[0]


def run_all(
    commands: Sequence[Sequence[str]], what: str, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> list[subprocess.CompletedProcess[str]]:
    """Run programs side by side to their ends. what: a noun for messages ("the C compiler").

    Raises TimeLimitError where they take longer than the limit, together. What they return is the caller's affair.
    """
    seconds = limit()
    end = None if seconds is None else time.monotonic() + seconds
    done = []
    with ExitStack() as ending:
        running = []
        for command in commands:
            with _signals_wait():
                process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
                ending.callback(_end, process)
            running.append(process)
        for process in running:
            try:
                out, err = process.communicate(timeout=None if end is None else max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise TimeLimitError(what, seconds or 0.0) from None
            done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return done


def _end(process: subprocess.Popen[str]) -> None:
    """End a program that still runs and what it has started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


@contextmanager
def scratch(purpose: str, within: Path | None = None) -> Iterator[Path]:
    """A temporary folder ``qsim-<purpose>-...``, gone afterwards however the process ends, but by a kill. within: the
    folder that it is made in, which is then named ``.<purpose>...``; default: the system's for temporary files.

    Raises QsimError that names the folder where there is no room for its files.
    """
    with ExitStack() as undo:
        with _signals_wait():
            prefix = f".{purpose}." if within is not None else f"qsim-{purpose}-"
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
            remove = functools.partial(shutil.rmtree, folder, ignore_errors=True)
            atexit.register(remove)
            undo.callback(atexit.unregister, remove)
            undo.callback(remove)
        try:
            yield folder
        except OSError as error:
            if error.errno not in FULL or within is not None:
                raise
            raise QsimError(
                f"{error.filename or folder} cannot be written: {error.strerror}; make room, or set TMPDIR to a "
                "folder with room for temporary files"
            ) from error


_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@dataclass
class _Signals:
    """holding: how many beginnings a signal waits for. left, at: the signal that ends the process, and when it came."""

    holding: int = 0
    left: int | None = None
    at: float = 0.0

    def receive(self, number: int, _: FrameType | None) -> None:
        """A further signal would interrupt what undoes; but where the first one's exception was lost (in a callback,
        Python can only drop it), it counts."""
        if self.left is None or time.monotonic() - self.at > 2 * _GRACE:
            self.left, self.at = number, time.monotonic()
            if not self.holding:
                self.leave()

    def leave(self) -> None:
        """Raise for a signal that has come."""
        if self.left is not None:
            raise KeyboardInterrupt if self.left == signal.SIGINT else Ended(self.left)


_signals = _Signals()


@contextmanager
def _signals_wait() -> Iterator[None]:
    """What is begun inside is also noted down for its end: a signal comes before or after, not between."""
    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread alone
        yield
        return
    _signals.leave()
    _signals.holding += 1
    try:
        yield
    finally:
        _signals.holding -= 1
        _signals.leave()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP leave the process as SIGINT does, by an exception, so that all is undone that was begun.

    Signals that the process was started with ignored (nohup) stay so. Elsewhere than in the main thread nothing
    changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, _signals.receive)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _signals.left = None


__all__ = [
    "FULL", "LIMIT", "VARIABLE", "Ended", "TimeLimitError", "ended_by_signals", "limit", "run", "run_all", "scratch"
]  # fmt: skip
