"""Waveforms (VCD, FST, GHW): the beats of a handshaked stream out of one, and a window cut out of one."""

from __future__ import annotations

import contextlib
import importlib.util
import marshal
import os
import select
import subprocess
import sys
import time
import weakref
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsim.errors import ToolMissingError, UsageError, reading
from qsim.version import install

HOW = f"reading waveforms needs pywellen and pyvcd: {install('cosim')}"

WHAT = "a waveform (VCD, FST or GHW)"

MOST_BITS = 1 << 16
"""Of a signal: a damaged file claims any number in a few bytes."""

_SECONDS, _BYTES_A_SECOND = 10.0, 1_000_000
"""Time for one answer of the reader, and more for a long file."""

_MEMORY, _MEMORY_A_BYTE = 2 << 30, 64


@dataclass(frozen=True, kw_only=True)
class StreamSignals:
    """Hierarchical names of a stream's signals (``top.s_axis_tdata``). Without ``ready`` (``valid``) every valid
    (every cycle's) word counts."""

    data: str
    valid: str | None = None
    ready: str | None = None


@dataclass(frozen=True, kw_only=True)
class Beat:
    """One accepted word of a stream. time: of the clock edge, in the file's units. word: unsigned; None if it holds X
    or Z."""

    time: int
    word: int | None


class Waveform:
    """An open waveform file, read by a process of its own with bounded time and memory.

    Raises UsageError for a file that is none or is damaged, ToolMissingError without its reader.
    """

    def __init__(self, path: str | Path) -> None:
        if importlib.util.find_spec("pywellen") is None:
            raise ToolMissingError(HOW)
        self.path = Path(path)
        if not self.path.is_file():
            raise UsageError(f"{path} is not a file")
        with reading(path, WHAT, error=UsageError) as place:
            size = self.path.stat().st_size
            self._seconds = _SECONDS + size / _BYTES_A_SECOND
            child = str(Path(__file__).with_name("child.py"))
            self._process = subprocess.Popen(
                [sys.executable, "-S", child, str(path), str(_MEMORY + _MEMORY_A_BYTE * size)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            weakref.finalize(self, _end, self._process)
            place.at = "its header"
            found, self.timescale = self._answer()
        self._vars: dict[str, tuple[int, int]] = {name: (n, width) for n, (name, width) in enumerate(found)}

    def _answer(self) -> Any:
        """The process' next answer. Raises ValueError for its error, its end, and where it takes too long."""
        assert self._process.stdout is not None
        pipe, end = self._process.stdout.fileno(), time.monotonic() + self._seconds

        def take(count: int) -> bytes:
            data = bytearray()
            while len(data) < count:
                if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                    _end(self._process)
                    raise ValueError(f"reading it takes more than {self._seconds:.0f} seconds")
                part = os.read(pipe, min(count - len(data), 1 << 20))
                if not part:
                    raise ValueError("its reader gave up: it is damaged, or asks for more memory than such a file may")
                data += part
            return bytes(data)

        state, value = marshal.loads(take(int.from_bytes(take(8), "little")))  # noqa: S302  qsim's own child wrote it
        if state != "ok":
            raise ValueError(value or "its reader failed")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """Every signal's hierarchical name."""
        return tuple(self._vars)

    def changes(self, name: str) -> list[tuple[int, Any]]:
        """(time, value) of every change of a signal; values are integers, or text where they hold X or Z.

        A name may leave out leading scopes as long as it stays unique. Raises UsageError for an unknown name and for a
        signal that cannot be read.
        """
        full = self._resolve(name)
        number, width = self._vars[full]
        with reading(self.path, WHAT, error=UsageError) as place:
            place.at = f"signal {full!r}"
            if width > MOST_BITS:
                raise ValueError(f"it has {width:,} bits, more than {MOST_BITS:,}")
            assert self._process.stdin is not None
            self._process.stdin.write(f"{number}\n".encode())
            self._process.stdin.flush()
            found: list[tuple[int, Any]] = self._answer()
        return found

    def _resolve(self, name: str) -> str:
        if name in self._vars:
            return name
        ends = [full for full in self._vars if full.endswith(f".{name}")]
        if len(ends) > 1:  # Verilator writes the top's ports a second time, outside of it
            ends = [full for full in ends if not full.startswith("$rootio.")]
        if not ends:  # VHDL's names have no case
            ends = [full for full in self._vars if f".{full}".lower().endswith(f".{name}".lower())]
        if len(ends) != 1:
            near = ", ".join(
                ends[:5] or [full for full in self._vars if full.split(".")[-1] == name.split(".")[-1]][:5]
            )
            problem = "is not unique" if len(ends) > 1 else "does not exist"
            raise UsageError(f"signal {name!r} {problem} in {self.path.name}" + (f": {near}" if near else ""))
        return str(ends[0])

    def beats(self, clock: str, signals: StreamSignals, *, reset_n: str | None = None) -> list[Beat]:
        """The words accepted at rising edges of ``clock``: valid and ready just before the edge, out of reset."""
        edges = [when for when, value in self.changes(clock) if _bit(value)]
        data = _Track(self.changes(signals.data))
        gates = [_Track(self.changes(n)) for n in (signals.valid, signals.ready, reset_n) if n]
        found = []
        for when in edges:
            if all(_bit(gate.before(when)) for gate in gates):
                word = data.before(when)
                found.append(Beat(time=when, word=word if isinstance(word, int) else None))
        return found

    def cut(self, out: str | Path, start: int, end: int, names: Sequence[str] | None = None) -> Path:
        """Write the signals ``names`` (default all) between two times as a VCD file, times as they are, and return
        its path."""
        try:
            from vcd import VCDWriter
        except ImportError as error:
            raise ToolMissingError(HOW) from error
        chosen = [self._resolve(n) for n in names] if names else list(self._vars)
        events: list[tuple[int, str, Any]] = []
        with (
            Path(out).open("w", encoding="utf-8") as file,
            VCDWriter(file, timescale=self.timescale, date="", init_timestamp=start) as writer,
        ):
            handles: dict[str, Any] = {}
            for name in chosen:
                width = self._vars[name][1]
                # An array's elements stand in a nameless scope of Verilator's
                scope, _, leaf = name.replace("..[", "[").rpartition(".")
                changes = self.changes(name) if width <= MOST_BITS else []
                if width > MOST_BITS or any(isinstance(value, float) for _, value in changes):
                    continue
                first = _Track(changes).before(start + 1)
                handles[name] = writer.register_var(
                    scope or "top", leaf, "wire", size=width, init="x" if first is None else first
                )
                events += [(when, name, value) for when, value in changes if start < when <= end]
            for when, name, value in sorted(events, key=lambda e: e[0]):
                writer.change(handles[name], when, value)
        return Path(out)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a reader and collect it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _bit(value: Any) -> bool:
    return str(value) == "1"


class _Track:
    """A signal's changes, searchable by time."""

    def __init__(self, changes: list[tuple[int, Any]]) -> None:
        self.times = [time for time, _ in changes]
        self.values = [value for _, value in changes]

    def before(self, time: int) -> Any:
        """The value just before ``time``; None before the first change."""
        i = bisect_left(self.times, time)
        return self.values[i - 1] if i else None


def unpack(word: int, lanes: int, slot: int, width: int, signed: bool) -> list[int]:
    """The codes of a word: ``lanes`` slots of ``slot`` bits, lane 0 lowest, a code in a slot's low ``width`` bits."""
    codes = []
    for lane in range(lanes):
        code = word >> (lane * slot) & ((1 << width) - 1)
        codes.append(code - (1 << width) if signed and code >> (width - 1) else code)
    return codes


def pack(codes: Sequence[int], slot: int) -> int:
    """The other way round; negative codes in two's complement over the whole slot."""
    return sum((code & ((1 << slot) - 1)) << (lane * slot) for lane, code in enumerate(codes))


def streams(waveform: Waveform, clock: str, ports: Mapping[str, StreamSignals]) -> dict[str, list[Beat]]:
    """The beats of several streams."""
    return {name: waveform.beats(clock, signals) for name, signals in ports.items()}
