"""The cocotb test inside the simulator: random frames with gaps and back pressure, a reset in the middle of the first;
the checkers in the design are the judges, and their counts are the result. QSIM_DPI names the settings (JSON)."""

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
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

COUNTS = ("out_frames", "out_mismatches", "inner_frames", "inner_mismatches")


def _coin(rng: random.Random) -> Iterator[bool]:
    while True:
        yield rng.random() < 0.3


@cocotb.test()
async def frames(dut: Any) -> None:
    settings = json.loads(Path(os.environ["QSIM_DPI"]).read_text(encoding="utf-8"))
    rng = random.Random(settings["seed"])
    Clock(dut.aclk, 10, "ns").start()
    dut.aresetn.value = 0
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, dut.aresetn, reset_active_level=False)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, dut.aresetn, reset_active_level=False)
    for agent in (source, sink):
        agent.log.setLevel(logging.WARNING)
        agent.set_pause_generator(_coin(rng))
    data = [bytes(rng.randrange(256) for _ in range(settings["size"])) for _ in range(settings["frames"])]
    if settings["low_bits"]:  # signed codes of so many bits, extended to a byte
        half = 1 << (settings["low_bits"] - 1)
        data = [bytes((b % (2 * half) - half) & 0xFF for b in frame) for frame in data]
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    await source.send(AxiStreamFrame(data[0]))
    await ClockCycles(dut.aclk, settings["size"] // 2)
    dut.aresetn.value = 0
    source.clear()
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    results = []
    for corrupt in settings["corrupt"]:
        if hasattr(dut, "corrupt"):
            dut.corrupt.value = corrupt
        target = int(dut.out_frames.value) + settings["frames"]
        for frame in data:
            await source.send(AxiStreamFrame(frame))
        for _ in range(settings["timeout"] // 100):
            await ClockCycles(dut.aclk, 100)
            if int(dut.out_frames.value) >= target:
                break
        results.append({name: int(getattr(dut, name).value) for name in COUNTS})
    Path(settings["results"]).write_text(json.dumps(results), encoding="utf-8")
