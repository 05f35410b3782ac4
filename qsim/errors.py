"""The errors that qsim raises: each is one readable paragraph that names the place, the reason and the way out.

The command line prints ``str(error)`` and exits with ``error.exit_code``; nothing else of an error reaches a user.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class QsimError(Exception):
    """Base of every error that a user can cause. ``exit_code`` is the command line's exit code for it."""

    exit_code = 1


class UsageError(QsimError):
    """The call itself is wrong: an unknown target, an unreadable format string, an input of the wrong shape."""

    exit_code = 2


class ModelError(QsimError):
    """The source is not a loadable model: not a model file, truncated, weights missing, NaN among the weights."""


class UnsupportedError(QsimError):
    """The model is well formed but holds something that cannot be reproduced exactly.

    Parameters
    ----------
    reason: what is not supported and why, without a final full stop.
    layer: the source layer's name, if one is to blame.
    way_out: what the user can change, without a final full stop.
    """

    def __init__(self, reason: str, *, layer: str | None = None, way_out: str | None = None) -> None:
        self.reason, self.layer, self.way_out = reason, layer, way_out
        text = (f"layer {layer!r}: " if layer else "") + reason + "."
        super().__init__(text + (f" {way_out[0].upper()}{way_out[1:]}." if way_out else ""))


class GraphError(QsimError):
    """A graph breaks a structural rule of ``qsim.ir``: a defect of an importer or a pass, or a bad JSON file."""


class ToolMissingError(QsimError):
    """A compiler, a simulator or an optional Python package that the call needs is not installed."""


class Place:
    """Where in a foreign file its reader stands, in words ("layer 'conv1'", "signal 'clk'"); the reader keeps it."""

    def __init__(self) -> None:
        self.at = ""


@contextmanager
def reading(
    path: str | os.PathLike[str], what: str, *, error: type[QsimError] = ModelError, most: int | None = None
) -> Iterator[Place]:
    """The one guard around every reader of a foreign file: whatever goes wrong inside becomes one sentence.

    path: the file. what: what it should be, with its article ("a VCD file"). error: the kind that is raised; it takes
    the sentence alone. most: greatest size in bytes, checked before anything is read. The reader may set ``at`` of the
    Place that it gets. The sentence names file, place and reason. QsimErrors of the reader itself, a missing Python
    package and an interruption pass; anything else does not, also what is no ``Exception`` (a panic of a Rust library).
    """
    place = Place()
    try:
        if most is not None:
            _fits(path, most)
        yield place
    except (QsimError, ImportError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as cause:
        where = f" (at {place.at})" if place.at else ""
        raise error(f"{os.fspath(path)} is not {what} that can be read{where}: {_reason(cause)}") from cause


@contextmanager
def writing(path: str | os.PathLike[str], failed: str = "cannot write") -> Iterator[None]:
    """The guard around the writing of a file: what the system refuses becomes a UsageError that names file and cause.

    failed: what could not be done, before the path.
    """
    try:
        yield
    except OSError as cause:
        raise UsageError(f"{failed} {os.fspath(path)}: {_reason(cause)}") from cause


def _fits(path: str | os.PathLike[str], most: int) -> None:
    """Raise ValueError for what is no ordinary file (a device has no end) or is longer than ``most`` bytes."""
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no ordinary file")
    if found.st_size > most:
        raise ValueError(f"it has {found.st_size:,} bytes, more than the {most:,} that such a file may have")


def _reason(cause: BaseException) -> str:
    """An exception in words, one line of at most 240 characters, without a final full stop."""
    match cause:
        case RecursionError():
            return "it is nested too deeply"
        case MemoryError():
            return "it asks for more memory than there is"
        case UnicodeDecodeError():
            return f"it is not text in {cause.encoding} (byte {cause.start})"
        case ZeroDivisionError():
            return "it divides by zero"
        case KeyError():
            return f"it lacks {cause.args[0]!r}" if cause.args else "an entry is missing"
        case OSError() if cause.strerror:
            text = cause.strerror
        case _:
            text = str(cause)
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split()).rstrip(".")
    return (line if len(line) <= 240 else f"{line[:237]}...") or type(cause).__name__
