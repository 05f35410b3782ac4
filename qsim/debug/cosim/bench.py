"""The cocotb test that ``qsim cosim`` runs inside the simulator on foreign RTL, told by the JSON that QSIM_COSIM names.

Inputs are driven with random gaps, outputs taken with random back pressure; the words of every port are recorded as
they are accepted, with their times.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

PERIOD = 10  # ns


def _handle(dut: Any, name: str) -> Any:
    found = dut
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _problem(dut: Any, settings: dict[str, Any]) -> str | None:
    """A signal that the description names and the design does not have, or that is too narrow."""
    places: list[tuple[str, str, int]] = [
        (f"the key {key}", settings[key], 1) for key in ("clock", "reset", "done") if settings[key]
    ]
    for port in settings["ports"]:
        if port["protocol"] == "stream":
            bits: dict[str, int] = {"data": port["bits"]}
            wanted = {r: s for r, s in port["signals"].items() if s and (r, port["direction"]) != ("last", "probe")}
            places += [(f"port {port['name']!r}", s, bits.get(r, 1)) for r, s in wanted.items()]
    for place, name, least in places:
        try:
            width = len(_handle(dut, name))
        except AttributeError:
            return f"{place}: the design has no signal {name!r}"
        if width < least:
            return f"{place}: {name!r} has {width} bits, its lanes and slots take {least}"
    return None


def _bus(dut: Any, signals: dict[str, str | None]) -> Any:
    """An AXI4-Stream bus on signals of any name."""
    roles = {f"t{role}": name for role, name in signals.items() if name}

    class Named(AxiStreamBus):  # type: ignore[misc]
        _signals = {"tdata": roles.pop("tdata")}  # noqa: RUF012
        _optional_signals = roles

    return Named(dut, None)


def _pauses(rng: random.Random, share: float) -> Iterator[bool]:
    while True:
        yield rng.random() < share


async def _watch(dut: Any, clock: Any, port: dict[str, Any], record: list[list[int | None]], active: Any) -> None:
    """Append [time, word, last] for each accepted word; a word with X or Z is -1; last is None where none is given."""
    data = _handle(dut, port["signals"]["data"])
    gates = [_handle(dut, port["signals"][role]) for role in ("valid", "ready") if port["signals"].get(role)]
    end = port["signals"]["last"] if port["direction"] == "out" else None
    last = _handle(dut, end) if end else None
    while True:
        await RisingEdge(clock)
        if active() and all(str(gate.value) == "1" for gate in gates):
            value = data.value
            word = int(value) if value.is_resolvable else -1
            record.append([int(get_sim_time("ns")), word, None if last is None else str(last.value) == "1"])


@cocotb.test()
async def drive_and_record(dut: Any) -> None:
    """Drive every input, take every output, until all words have come or the time is over."""
    settings = json.loads(Path(os.environ["QSIM_COSIM"]).read_text(encoding="utf-8"))
    rng = random.Random(settings["seed"])
    problem = _problem(dut, settings)
    if problem:
        Path(settings["results"]).write_text(json.dumps({"problem": problem}), encoding="utf-8")
        return
    clock = _handle(dut, settings["clock"])
    cocotb.start_soon(Clock(clock, PERIOD, "ns").start())  # type: ignore[arg-type]
    reset = _handle(dut, settings["reset"]) if settings["reset"] else None
    asserted = 1 if settings["reset_active"] == "high" else 0
    running = reset is None
    if reset is not None:
        reset.value = asserted
    sources: list[Any] = []
    sinks: list[Any] = []
    records: dict[str, list[list[int | None]]] = {}
    for port in settings["ports"]:
        if port["protocol"] == "stream" and port["direction"] == "in":
            source = AxiStreamSource(_bus(dut, port["signals"]), clock, reset, bool(asserted), byte_lanes=1)
            source.set_pause_generator(_pauses(random.Random(rng.random()), settings["idle"]))
            source.log.setLevel(logging.WARNING)
            sources.append((port, source))
        elif port["protocol"] == "stream" and port["direction"] == "out":
            sink = AxiStreamSink(_bus(dut, port["signals"]), clock, reset, bool(asserted), byte_lanes=1)
            sink.set_pause_generator(_pauses(random.Random(rng.random()), settings["backpressure"]))
            sink.log.setLevel(logging.WARNING)
            sinks.append(sink)
        if port["protocol"] == "stream":
            records[port["name"]] = []
            cocotb.start_soon(_watch(dut, clock, port, records[port["name"]], lambda: running))
    await ClockCycles(clock, 5)
    if reset is not None:
        reset.value = 1 - asserted
        await ClockCycles(clock, 1)
    running = True
    for frame in range(settings["frames"]):
        for port, source in sources:
            source.send_nowait(AxiStreamFrame(settings["words"][port["name"]][frame]))
    done = _handle(dut, settings["done"]) if settings["done"] else None
    wanted = {p["name"]: p["beats"] * settings["frames"] for p in settings["ports"] if p["protocol"] == "stream"}
    for _ in range(settings["timeout"]):
        await ClockCycles(clock, 1)
        finished = str(done.value) == "1" if done is not None else True
        if finished and all(len(records[name]) >= count for name, count in wanted.items()):
            break
    await ClockCycles(clock, 20)  # words too many show up here
    Path(settings["results"]).write_text(json.dumps({"records": records}), encoding="utf-8")
