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


class _Bench:
    """The design with a source on each input and a sink on each output, and what is sent."""

    def __init__(self, dut: Any, settings: dict[str, Any]) -> None:
        self.dut, self.settings = dut, settings
        self.rng = random.Random(settings["seed"])
        self.ports, self.frames = settings["ports"], settings["frames"]
        self.sources: dict[str, Any] = {}
        self.sinks: dict[str, Any] = {}
        for p in self.ports:
            bus = AxiStreamBus.from_prefix(dut, p["prefix"])
            kind = AxiStreamSource if p["input"] else AxiStreamSink
            agent = kind(bus, dut.aclk, dut.aresetn, reset_active_level=False)
            agent.log.setLevel(logging.WARNING)
            (self.sources if p["input"] else self.sinks)[p["prefix"]] = agent

    async def send(self, count: int, cut_last: bool = False) -> None:
        """Queue the first ``count`` frames; cut_last: and half of a frame."""
        for p in self.ports:
            if p["input"]:
                codes, size = self.settings["codes"][p["prefix"]], p["size"]
                pieces = [codes[frame * size : (frame + 1) * size] for frame in range(count)]
                for piece in [*pieces, *([codes[: max(1, size // 2)]] if cut_last else [])]:
                    await self.sources[p["prefix"]].send(AxiStreamFrame(_beats(piece, p["tdata"] // 8)))

    async def gather(self) -> dict[str, list[list[int]]]:
        """All frames of every output."""
        found: dict[str, list[list[int]]] = {}
        widths = {p["prefix"]: p["tdata"] // 8 for p in self.ports}
        for prefix, sink in self.sinks.items():
            found[prefix] = []
            for _ in range(self.frames):
                frame = await with_timeout(sink.recv(), self.settings["timeout"] * 10 * self.frames, "ns")
                found[prefix].append(_codes(bytes(frame.tdata), widths[prefix]))
        return found

    async def settle(self) -> None:
        """What no output waits for may still be under way."""
        for source in self.sources.values():
            await source.wait()
        await ClockCycles(self.dut.aclk, self.settings["settle"])

    async def restart(self) -> None:
        """Reset, with nothing left to send or to fetch."""
        await _reset(self.dut)
        for agent in [*self.sources.values(), *self.sinks.values()]:
            agent.clear()
        await ClockCycles(self.dut.aclk, 3)

    async def beats(self, prefix: str, count: int) -> None:
        """Wait until ``count`` beats have left an output."""
        valid, ready = getattr(self.dut, f"{prefix}_tvalid"), getattr(self.dut, f"{prefix}_tready")
        while count:
            await RisingEdge(self.dut.aclk)
            count -= str(valid.value) == "1" and str(ready.value) == "1"

    async def free(self) -> tuple[dict[str, list[list[int]]], list[int]]:
        """All frames, always offered and always taken; and the cycle in which each was complete."""
        times: dict[str, list[int]] = {p["prefix"]: [] for p in self.ports}
        counter = cocotb.start_soon(_count(self.dut, times, self.ports))
        await self.send(self.frames)
        outputs = await self.gather()
        counter.cancel()
        start = min(t[0] for p, t in times.items() if p in self.sources)
        ends = [(times[p["prefix"]], p["size"]) for p in self.ports if not p["input"]]
        return outputs, [max(t[(f + 1) * size - 1] for t, size in ends) - start for f in range(self.frames)]

    async def cut(self) -> None:
        """A reset while the first frame goes in or through, and one while it comes out."""
        await self.send(1, cut_last=True)
        await ClockCycles(self.dut.aclk, self.rng.randrange(1, 1 + self.settings["latency"]))
        await self.restart()
        await self.send(1, cut_last=True)
        port = max((p for p in self.ports if not p["input"]), key=lambda p: p["size"])
        await self.beats(port["prefix"], self.rng.randrange(1, max(2, port["size"])))

    async def rough(self) -> dict[str, list[list[int]]]:
        """All frames, with idle gaps and backpressure as asked for."""
        for agents, share in ((self.sources, self.settings["idle"]), (self.sinks, self.settings["backpressure"])):
            for agent in agents.values() if share else ():
                agent.set_pause_generator(_coin(random.Random(self.rng.random()), share))
        await self.send(self.frames)
        return await self.gather()


@cocotb.test()
async def stream_frames(dut: Any) -> None:
    """Send all frames in every phase and gather what comes out."""
    settings = json.loads(Path(os.environ["QSIM_COCOTB"]).read_text(encoding="utf-8"))
    Clock(dut.aclk, 10, "ns").start()
    dut.aresetn.value = 0
    bench = _Bench(dut, settings)
    await _reset(dut)
    await ClockCycles(dut.aclk, settings["warm"])  # constants fill their FIFOs
    free, completions = await bench.free()
    await bench.settle()
    if settings["reset_mid_frame"]:
        await bench.cut()
    await bench.restart()
    rough = await bench.rough()
    await bench.settle()
    phases = [{"name": "free", "outputs": free}, {"name": "rough", "outputs": rough}]
    results = {"phases": phases, "completions": completions}
    Path(settings["results"]).write_text(json.dumps(results), encoding="utf-8")
