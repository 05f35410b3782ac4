"""The cocotb test that runs inside the simulator: AXI4-Stream sources and sinks on every port of an emitted design.

Phases: ``free`` (always offering, always ready); if asked for, a frame and a half cut by a reset while the first frame
is under way, and again while it comes out; after a reset ``rough`` (random idle gaps and backpressure as asked for).
Settings come from the JSON file that QSIM_COCOTB names; results go to the one that it names.
"""

from __future__ import annotations

import json
import logging
import os
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource


async def _reset(dut: Any, cycles: int = 4) -> None:
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, cycles)
    dut.aresetn.value = 1


def _beats(codes: list[int], width: int) -> bytes:
    """Codes as the bytes of their beats, each ``width`` bytes, least significant first."""
    mask = (1 << 8 * width) - 1
    return b"".join((code & mask).to_bytes(width, "little") for code in codes)


def _codes(data: bytes, width: int) -> list[int]:
    """The other way round; codes as unsigned integers."""
    return [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]


def _coin(rng: random.Random, share: float) -> Any:
    """An endless generator that pauses with probability ``share`` in each cycle."""
    while True:
        yield rng.random() < share


async def _count(dut: Any, times: dict[str, list[int]], ports: list[dict[str, Any]]) -> None:
    """The cycle of every handshake on every port, counted from the task's start."""
    signals = [
        (p["prefix"], getattr(dut, f"{p['prefix']}_tvalid"), getattr(dut, f"{p['prefix']}_tready")) for p in ports
    ]
    cycle = 0
    while True:
        await RisingEdge(dut.aclk)
        for prefix, valid, ready in signals:
            if str(valid.value) == "1" and str(ready.value) == "1":
                times[prefix].append(cycle)
        cycle += 1


@cocotb.test()
async def stream_frames(dut: Any) -> None:
    """Send all frames in every phase and gather what comes out."""
    settings = json.loads(Path(os.environ["QSIM_COCOTB"]).read_text(encoding="utf-8"))
    rng = random.Random(settings["seed"])
    ports, frames = settings["ports"], settings["frames"]
    Clock(dut.aclk, 10, "ns").start()
    dut.aresetn.value = 0
    sources: dict[str, Any] = {}
    sinks: dict[str, Any] = {}
    widths = {p["prefix"]: p["tdata"] // 8 for p in ports}
    for p in ports:
        bus = AxiStreamBus.from_prefix(dut, p["prefix"])
        kind = AxiStreamSource if p["input"] else AxiStreamSink
        agent = kind(bus, dut.aclk, dut.aresetn, reset_active_level=False)
        agent.log.setLevel(logging.WARNING)
        (sources if p["input"] else sinks)[p["prefix"]] = agent

    async def send(count: int, cut_last: bool = False) -> None:
        for p in ports:
            if p["input"]:
                codes, size = settings["codes"][p["prefix"]], p["size"]
                for frame in range(count):
                    data = _beats(codes[frame * size : (frame + 1) * size], p["tdata"] // 8)
                    await sources[p["prefix"]].send(AxiStreamFrame(data))
                if cut_last:
                    data = _beats(codes[: max(1, size // 2)], p["tdata"] // 8)
                    await sources[p["prefix"]].send(AxiStreamFrame(data))

    async def gather() -> dict[str, list[list[int]]]:
        found: dict[str, list[list[int]]] = {}
        for prefix, sink in sinks.items():
            found[prefix] = []
            for _ in range(frames):
                frame = await with_timeout(sink.recv(), settings["timeout"] * 10 * frames, "ns")
                found[prefix].append(_codes(bytes(frame.tdata), widths[prefix]))
        return found

    async def settle() -> None:
        """What no output waits for may still be under way."""
        for source in sources.values():
            await source.wait()
        await ClockCycles(dut.aclk, settings["settle"])

    async def restart() -> None:
        """Reset, with nothing left to send or to fetch."""
        await _reset(dut)
        for agent in [*sources.values(), *sinks.values()]:
            agent.clear()
        await ClockCycles(dut.aclk, 3)

    async def beats(prefix: str, count: int) -> None:
        """Wait until ``count`` beats have left an output."""
        valid, ready = getattr(dut, f"{prefix}_tvalid"), getattr(dut, f"{prefix}_tready")
        while count:
            await RisingEdge(dut.aclk)
            count -= str(valid.value) == "1" and str(ready.value) == "1"

    results: dict[str, Any] = {"phases": []}
    await _reset(dut)
    await ClockCycles(dut.aclk, settings["warm"])  # constants fill their FIFOs
    times: dict[str, list[int]] = {p["prefix"]: [] for p in ports}
    counter = cocotb.start_soon(_count(dut, times, ports))
    await send(frames)
    results["phases"].append({"name": "free", "outputs": await gather()})
    counter.cancel()
    await settle()
    start = min(t[0] for p, t in times.items() if p in sources)
    results["completions"] = [
        max(times[p["prefix"]][(f + 1) * p["size"] - 1] for p in ports if not p["input"]) - start for f in range(frames)
    ]
    if settings["reset_mid_frame"]:
        # Once while the first frame goes in or through, once while it comes out.
        await send(1, cut_last=True)
        await ClockCycles(dut.aclk, rng.randrange(1, 1 + settings["latency"]))
        await restart()
        await send(1, cut_last=True)
        port = max((p for p in ports if not p["input"]), key=lambda p: p["size"])
        await beats(port["prefix"], rng.randrange(1, max(2, port["size"])))
    await restart()
    if settings["idle"]:
        for source in sources.values():
            source.set_pause_generator(_coin(random.Random(rng.random()), settings["idle"]))
    if settings["backpressure"]:
        for sink in sinks.values():
            sink.set_pause_generator(_coin(random.Random(rng.random()), settings["backpressure"]))
    await send(frames)
    results["phases"].append({"name": "rough", "outputs": await gather()})
    await settle()
    Path(settings["results"]).write_text(json.dumps(results), encoding="utf-8")
