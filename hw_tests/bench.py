"""Runs inside the simulator: drives one kernel's valid/ready streams and gathers its output.

Settings come from the JSON file that QSIM_BENCH names: ``inputs`` (a list of streams: bits of an element and codes),
``expected`` (how many output beats), ``out_width``, ``rounds`` (pairs of idle and backpressure shares) and ``seed``.
Before every round after the first a reset comes while a part of the data is under way.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge


class Streams:
    """The kernel's ports, one or several input streams side by side, sampled and driven once per cycle."""

    def __init__(self, dut: Any, settings: dict[str, Any]) -> None:
        self.dut, self.settings = dut, settings
        self.widths = [stream["width"] for stream in settings["inputs"]]
        self.has_inputs = bool(self.widths)

    async def reset(self) -> None:
        if self.settings["clocked"]:
            self.dut.rst.value = 1
        self.drive([None] * len(self.widths), False)
        for _ in range(3):
            await RisingEdge(self.clock)
        await FallingEdge(self.clock)
        if self.settings["clocked"]:
            self.dut.rst.value = 0

    @property
    def clock(self) -> Any:
        return self.dut.clk if self.settings["clocked"] else self.dut.in_valid

    def drive(self, heads: list[int | None], ready: bool) -> None:
        """Offer these codes (None: nothing) and this ready."""
        if self.has_inputs:
            data = position = valid = 0
            for i, (width, code) in enumerate(zip(self.widths, heads)):
                if code is not None:
                    data |= (code & ((1 << width) - 1)) << position
                    valid |= 1 << i
                position += width
            self.dut.in_data.value = data
            self.dut.in_valid.value = valid
        self.dut.out_ready.value = int(ready)

    def taken(self) -> int:
        """Bit i: input i takes its beat in this cycle."""
        return int(self.dut.in_ready.value) if self.has_inputs else 0


async def one_round(
    streams: Streams, idle: float, busy: float, rng: random.Random, stop_after: int | None
) -> list[int]:
    """Send everything (or, for a round that is cut, run ``stop_after`` cycles) and return the output's raw codes."""
    queues = [list(reversed(s["codes"])) for s in streams.settings["inputs"]]
    heads: list[int | None] = [None] * len(queues)
    wanted, got, quiet, cycle = streams.settings["expected"], [], 0, 0
    while True:
        for i, queue in enumerate(queues):
            if heads[i] is None and queue and rng.random() >= idle:
                heads[i] = queue.pop()
        ready = rng.random() >= busy
        streams.drive(heads, ready)
        await RisingEdge(streams.clock)
        # Values just before the edge: cocotb reads in the active region, before registers change.
        accepted = streams.taken()
        fired = bool(int(streams.dut.out_valid.value)) and ready
        if fired:
            got.append(int(streams.dut.out_data.value))
        moved = fired
        for i, head in enumerate(heads):
            if head is not None and accepted >> i & 1:
                heads[i] = None
                moved = True
        await FallingEdge(streams.clock)
        cycle += 1
        quiet = 0 if moved else quiet + 1
        done = not any(queues) and all(h is None for h in heads) and len(got) >= wanted
        if stop_after is not None and cycle >= stop_after:
            return got
        if stop_after is None and done and quiet > 50:
            return got
        assert quiet < streams.settings["patience"], f"stuck with {len(got)} of {wanted} output beats"
        if not streams.has_inputs and stop_after is None and len(got) >= wanted:
            return got


@cocotb.test()
async def kernel(dut: Any) -> None:
    """All rounds; each must give the same raw codes, which are written for the comparison with the oracle."""
    settings = json.loads(Path(os.environ["QSIM_BENCH"]).read_text(encoding="utf-8"))
    rng = random.Random(settings["seed"])
    streams = Streams(dut, settings)
    Clock(dut.clk, 10, "ns").start()
    rounds = []
    for number, (idle, busy) in enumerate(settings["rounds"]):
        await streams.reset()
        if number:
            await one_round(streams, 0.1, 0.1, rng, stop_after=rng.randrange(5, settings["cut"]))
            await streams.reset()
        rounds.append(await one_round(streams, idle, busy, rng, None))
    Path(settings["results"]).write_text(json.dumps(rounds), encoding="utf-8")
