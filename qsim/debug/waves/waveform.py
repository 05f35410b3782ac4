"""Waveforms (VCD, FST, GHW): the beats of a handshaked stream out of one, and a window cut out of one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsim.errors import ToolMissingError, UsageError

HOW = 'reading waveforms needs pywellen and pyvcd: pip install "qsim[cosim]"'


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
    """An open waveform file. Raises UsageError for a file that is none, ToolMissingError without its reader."""

    def __init__(self, path: str | Path) -> None:
        try:
            import pywellen
        except ImportError as error:
            raise ToolMissingError(HOW) from error
        self.path = Path(path)
        if not self.path.is_file():
            raise UsageError(f"{path} is not a file")
        try:
            self._file = pywellen.Waveform(str(path))
            self._vars = {var.full_name: var for var in self._file.all_vars()}
        except Exception as error:
            raise UsageError(f"{path} is not a readable waveform (VCD, FST or GHW): {error}") from error

    @property
    def names(self) -> tuple[str, ...]:
        """Every signal's hierarchical name."""
        return tuple(self._vars)

    def changes(self, name: str) -> list[tuple[int, Any]]:
        """(time, value) of every change of a signal; values are integers, or text where they hold X or Z.

        A name may leave out leading scopes as long as it stays unique. Raises UsageError for an unknown name.
        """
        return list(self._vars[self._resolve(name)].tv)

    def _resolve(self, name: str) -> str:
        if name in self._vars:
            return name
        ends = [full for full in self._vars if full.endswith(f".{name}")]
        if len(ends) > 1:  # Verilator writes the top's ports a second time, outside of it
            ends = [full for full in ends if not full.startswith("$rootio.")]
        if len(ends) != 1:
            near = ", ".join(
                ends[:5] or [full for full in self._vars if full.split(".")[-1] == name.split(".")[-1]][:5]
            )
            problem = "is not unique" if len(ends) > 1 else "does not exist"
            raise UsageError(f"signal {name!r} {problem} in {self.path.name}" + (f": {near}" if near else ""))
        return str(ends[0])

    def beats(self, clock: str, signals: StreamSignals, *, reset_n: str | None = None) -> list[Beat]:
        """The words accepted at rising edges of ``clock``: valid and ready just before the edge, out of reset."""
        edges = [time for time, value in self.changes(clock) if _bit(value)]
        data = _Track(self.changes(signals.data))
        gates = [_Track(self.changes(n)) for n in (signals.valid, signals.ready, reset_n) if n]
        found = []
        for time in edges:
            if all(_bit(gate.before(time)) for gate in gates):
                word = data.before(time)
                found.append(Beat(time=time, word=word if isinstance(word, int) else None))
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
        scale = str(self._file.timescale or "1ns")
        with (
            Path(out).open("w", encoding="utf-8") as file,
            VCDWriter(file, timescale=scale, date="", init_timestamp=start) as writer,
        ):
            handles: dict[str, Any] = {}
            for name in chosen:
                var = self._vars[name]
                # An array's elements stand in a nameless scope of Verilator's
                scope, _, leaf = name.replace("..[", "[").rpartition(".")
                width = var.bitwidth or 1
                changes = list(var.tv)
                if any(isinstance(value, float) for _, value in changes):
                    continue
                first = _Track(changes).before(start + 1)
                handles[name] = writer.register_var(
                    scope or "top", leaf, "wire", size=width, init="x" if first is None else first
                )
                events += [(time, name, value) for time, value in changes if start < time <= end]
            for time, name, value in sorted(events, key=lambda e: e[0]):
                writer.change(handles[name], time, value)
        return Path(out)


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
