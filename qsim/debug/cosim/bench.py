"""The cocotb test that ``qsim cosim`` runs inside the simulator on foreign RTL, told by the JSON that QSIM_COSIM names.

Inputs with a handshake are driven with random gaps, outputs taken with random back pressure; a port without one gives
or takes a word in every cycle. The words of every port are recorded with their times as they are accepted.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.handle import ArrayObject
from cocotb.triggers import ClockCycles, RisingEdge, Timer
from cocotb.utils import get_sim_time

PERIOD = 10  # ns

Beats = list[list[int | None]]


def _handle(dut: Any, name: str) -> Any:
    """The signal of a (hierarchical) name; where there is none of that case, the only one of another (VHDL's names
    have no case). ``name(3)`` and ``name[3]`` are elements of arrays. Raises AttributeError."""
    found = dut
    for part in re.sub(r"[(\[](\d+)[)\]]", r".\1", name).split("."):
        found = found[int(part)] if part.isdigit() else _child(found, part)
    return found


def _child(scope: Any, name: str) -> Any:
    try:
        return getattr(scope, name)
    except AttributeError:
        others = [child for child in scope if str(child._name).lower() == name.lower()]
        if len(others) != 1:
            raise
        return others[0]


def _elements(handle: Any) -> list[Any]:
    """The packed signals of a port's data in the order of its lanes: lowest index first."""
    if not isinstance(handle, ArrayObject):
        return [handle]
    return [leaf for index in sorted(handle.range) for leaf in _elements(handle[index])]


class _Data:
    """A port's data: one packed signal, or one a lane (an unpacked array, or several signals)."""

    def __init__(self, dut: Any, port: dict[str, Any]) -> None:
        names = port["signals"]["data"]
        several = isinstance(names, list)
        handles = [_handle(dut, name) for name in names] if several else [_handle(dut, names)]
        self.parts = [leaf for handle in handles for leaf in _elements(handle)]
        self.by_lane = several or isinstance(handles[0], ArrayObject)
        self.slot, self.signed = port["slot"], port["signed"]

    def problem(self, port: dict[str, Any]) -> str | None:
        if self.by_lane and len(self.parts) != port["lanes"]:
            return f"its data are {len(self.parts)} signals, its lanes {port['lanes']}"
        least = port["width"] if self.by_lane else port["bits"]
        narrow = next((part for part in self.parts if len(part) < least), None)
        if narrow is not None:
            return f"{narrow._name!r} has {len(narrow)} bits, its lanes and slots take {least}"
        return None

    def write(self, word: int) -> None:
        if not self.by_lane:
            self.parts[0].value = word
            return
        for lane, part in enumerate(self.parts):
            code = word >> (lane * self.slot) & ((1 << self.slot) - 1)
            if self.signed and code >> (self.slot - 1):
                code -= 1 << self.slot
            part.value = code & ((1 << len(part)) - 1)

    def read(self) -> int:
        """The word; -1 where a bit of it is X or Z."""
        if not all(part.value.is_resolvable for part in self.parts):
            return -1
        if not self.by_lane:
            return int(self.parts[0].value.to_unsigned())
        mask = (1 << self.slot) - 1
        return sum((int(p.value.to_unsigned()) & mask) << (n * self.slot) for n, p in enumerate(self.parts))


def _problem(dut: Any, settings: dict[str, Any]) -> str | None:
    """A signal that the description names and the design does not have, or that is too narrow."""
    places = [(f"the key {key}", settings[key]) for key in ("clock", "reset", "done") if settings[key]]
    ports = [port for port in settings["ports"] if port["protocol"] == "stream"]
    for port in ports:
        roles = {r: s for r, s in port["signals"].items() if s and (r, port["direction"]) != ("last", "probe")}
        for name in roles.values():
            places += [(f"port {port['name']!r}", each) for each in (name if isinstance(name, list) else [name])]
    for place, name in places:
        try:
            _handle(dut, name)
        except (AttributeError, IndexError, TypeError):
            return f"{place}: the design has no signal {name!r}"
    for port in ports:
        found = _Data(dut, port).problem(port)
        if found:
            return f"port {port['name']!r}: {found}"
    return None


def _now() -> int:
    return int(get_sim_time("ns"))


def _optional(dut: Any, port: dict[str, Any], role: str) -> Any:
    name = port["signals"].get(role)
    return _handle(dut, name) if name else None


def _high(signal: Any) -> bool:
    return signal is None or str(signal.value) == "1"


async def _source(
    dut: Any, clock: Any, port: dict[str, Any], frames: list[list[int]], pause: Callable[[], bool], record: Beats
) -> None:
    """Drive every word; with valid after random gaps, held until ready. Without either, a word is taken at the edge
    behind it: recorded here, for nothing else tells."""
    data, valid, ready = _Data(dut, port), _optional(dut, port, "valid"), _optional(dut, port, "ready")
    last = _optional(dut, port, "last")
    for frame in frames:
        for number, word in enumerate(frame):
            while valid is not None and pause():
                valid.value = 0
                await RisingEdge(clock)
            data.write(word)
            for signal, value in ((valid, 1), (last, int(number == len(frame) - 1))):
                if signal is not None:
                    signal.value = value
            await RisingEdge(clock)
            while not _high(ready):
                await RisingEdge(clock)
            if valid is None and ready is None:
                record.append([_now(), word, None])
    for signal in (valid, last):
        if signal is not None:
            signal.value = 0


async def _sink(dut: Any, clock: Any, port: dict[str, Any], pause: Callable[[], bool]) -> None:
    ready = _optional(dut, port, "ready")
    while ready is not None:
        ready.value = int(not pause())
        await RisingEdge(clock)


async def _watch(dut: Any, clock: Any, port: dict[str, Any], record: Beats, active: Callable[[], bool]) -> None:
    """Append [time, word, last] for each accepted word, or each cycle's where the port has neither valid nor ready."""
    data = _Data(dut, port)
    gates = [_optional(dut, port, role) for role in ("valid", "ready")]
    last = _optional(dut, port, "last") if port["direction"] == "out" else None
    while True:
        await RisingEdge(clock)
        if active() and all(map(_high, gates)):
            record.append([_now(), data.read(), None if last is None else str(last.value) == "1"])


async def _without_clock(dut: Any, settings: dict[str, Any], records: dict[str, Beats]) -> None:
    """A design of gates alone: each word in, its words out a period later."""
    ports = {port["name"]: (_Data(dut, port), port["direction"]) for port in settings["ports"]}
    words = {name: [w for frame in frames for w in frame] for name, frames in settings["words"].items()}
    for number in range(len(next(iter(words.values())))):
        for name, sent in words.items():
            ports[name][0].write(sent[number])
        await Timer(PERIOD, "ns")
        for name, (data, direction) in ports.items():
            if direction != "in":
                records[name].append([_now(), data.read(), None])


@cocotb.test()
async def drive_and_record(dut: Any) -> None:
    """Drive every input, take every output, until all words have come or the time is over."""
    settings = json.loads(Path(os.environ["QSIM_COSIM"]).read_text(encoding="utf-8"))
    rng = random.Random(settings["seed"])
    results = Path(settings["results"])
    problem = _problem(dut, settings)
    if problem:
        results.write_text(json.dumps({"problem": problem}), encoding="utf-8")
        return
    records: dict[str, Beats] = {p["name"]: [] for p in settings["ports"] if p["protocol"] == "stream"}
    if settings["clock"] is None:
        await _without_clock(dut, settings, records)
    else:
        await _clocked(dut, settings, records, rng)
    results.write_text(json.dumps({"records": records}), encoding="utf-8")


async def _clocked(dut: Any, settings: dict[str, Any], records: dict[str, Beats], rng: random.Random) -> None:
    clock = _handle(dut, settings["clock"])
    reset = _handle(dut, settings["reset"]) if settings["reset"] else None
    asserted = 1 if settings["reset_active"] == "high" else 0
    ports = [port for port in settings["ports"] if port["protocol"] == "stream"]
    for port in ports:
        for role, direction in (("valid", "in"), ("last", "in"), ("ready", "out")):
            signal = _optional(dut, port, role) if port["direction"] == direction else None
            if signal is not None:
                signal.value = 0
    running = False

    def pauses(share: float) -> Callable[[], bool]:
        own = random.Random(rng.random())
        return lambda: own.random() < share

    for port in ports:
        if port["direction"] == "in" and not (port["signals"]["valid"] or port["signals"]["ready"]):
            continue
        cocotb.start_soon(_watch(dut, clock, port, records[port["name"]], lambda: running))
    cocotb.start_soon(Clock(clock, PERIOD, "ns").start())  # type: ignore[arg-type]
    if reset is not None:
        reset.value = asserted
    await ClockCycles(clock, 5)
    if reset is not None:
        reset.value = 1 - asserted
        await ClockCycles(clock, 1)
    running = True
    for port in ports:
        if port["direction"] == "in":
            words = settings["words"][port["name"]]
            record = records[port["name"]]
            cocotb.start_soon(_source(dut, clock, port, words, pauses(settings["idle"]), record))
        elif port["direction"] == "out":
            cocotb.start_soon(_sink(dut, clock, port, pauses(settings["backpressure"])))
    done = _handle(dut, settings["done"]) if settings["done"] else None
    wanted = {p["name"]: p["beats"] * settings["frames"] for p in ports}
    for _ in range(settings["timeout"]):
        await ClockCycles(clock, 1)
        finished = str(done.value) == "1" if done is not None else True
        if finished and all(len(records[name]) >= count for name, count in wanted.items()):
            break
    await ClockCycles(clock, settings["drain"])  # words too many show up here, and those of a fixed latency
