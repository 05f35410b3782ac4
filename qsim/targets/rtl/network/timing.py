"""The state machines of the streaming kernels as times: when each beat is written and read.

A beat written into a FIFO in cycle t can be read from t + 1 on, and a place freed in t can be filled from t + 1 on; a
pipeline register can be refilled in the very cycle in which it is emptied; a kernel takes one step per cycle at most.
So each step happens at the maximum over what it waits for: a system of equations in (max, +), one unknown a step.

Times are arrays over all beats of all followed frames. A process computes its own from those around it in a few
passes over arrays; ``Traffic.settle`` repeats that where something grew. Every array starts below the solution and
only grows, and the equations are acyclic in a network that does not deadlock: what it settles at is the solution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from qsim.targets.rtl.network import kernels as s

Times = np.ndarray[tuple[int], np.dtype[np.int64]]
"""Cycles of the beats, rows or frames of one sequence, in order."""

LONG_AGO = -(1 << 40)
"""The cycle of what happened before the first input beat: a design that has been idle for long."""


def ascend(least: Times, step: int = 1) -> Times:
    """The earliest sequence that is nowhere below ``least`` and rises by at least ``step``."""
    ramp = _ramp(len(least), step)
    found = least - ramp
    np.maximum.accumulate(found, out=found)
    found += ramp
    return found


@lru_cache(maxsize=64)
def _ramp(count: int, step: int) -> Times:
    return np.arange(0, step * count, step, dtype=np.int64)


def raise_by(times: Times, least: Times, delay: int) -> None:
    """Element i + ``delay`` is at least ``least[i]``, in place."""
    if len(times) > delay:
        np.maximum(times[delay:], least[: len(times) - delay], out=times[delay:])


class Traffic:
    """The times of a network's beats under given FIFO depths (None: without bounds), and what settles them.

    written: stream -> cycle of each beat; read: FIFO -> cycle of each beat; kept: kernel -> what its process
    remembers. Arrays are replaced, never changed, so that a copy shares them.
    """

    def __init__(
        self, network: s.Network, depths: Mapping[s.Link, int | None], frames: int, process: MakeProcess
    ) -> None:
        self.network, self.depths, self.frames = network, dict(depths), frames
        self.processes = [process(k, self) for k in network.kernels]
        self.place = {kernel: index for index, kernel in enumerate(network.kernels)}
        self.written = {stream: long_ago(frames * stream.size) for stream in network.streams}
        self.read = {link: long_ago(frames * link.stream.size) for links in network.links.values() for link in links}
        self.kept: dict[s.Kernel, tuple[Times, Times]] = {}
        self.dirty = [True] * len(self.processes)
        self.sinks = [link for k in network.kernels if isinstance(k, s.Sink) for link in network.inputs(k)]
        self.makers = {k.output: self.place[k] for k in network.kernels if isinstance(k, s.Maker)}

    def copy(self) -> Traffic:
        """A copy whose depths and times can be changed apart."""
        made = object.__new__(Traffic)
        made.__dict__.update(self.__dict__)
        made.depths, made.written, made.read = dict(self.depths), dict(self.written), dict(self.read)
        made.kept, made.dirty = dict(self.kept), list(self.dirty)
        return made

    def bound(self, link: s.Link, depth: int) -> None:
        """Give a FIFO fewer places than it had."""
        self.depths[link] = depth
        self.dirty[self.makers[link.stream]] = True

    def arrivals(self, link: s.Link) -> Times:
        """The first cycle in which each beat can be read."""
        return np.asarray(self.written[link.stream] + 1)

    def room(self, stream: s.Stream, least: Times) -> Times:
        """``least``, and not before every FIFO behind the stream has a place."""
        for link in self.network.links[stream]:
            depth = self.depths[link]
            if depth is not None:
                raise_by(least, self.read[link] + 1, depth)
        return least

    def write(self, stream: s.Stream, times: Times) -> None:
        """Note when a stream's beats are written; whoever reads them must look again if that is new."""
        if not np.array_equal(times, self.written[stream]):
            self.written[stream] = times
            for link in self.network.links[stream]:
                self.dirty[self.place[link.kernel]] = True

    def take(self, link: s.Link, times: Times) -> None:
        """Note when a FIFO's beats are read; whoever writes it must look again if that is new."""
        if not np.array_equal(times, self.read[link]):
            self.read[link] = times
            if self.depths[link] is not None:
                self.dirty[self.makers[link.stream]] = True

    def completions(self) -> Times:
        """The cycle of the last output beat of each frame."""
        return np.max([self.read[link][link.stream.size - 1 :: link.stream.size] for link in self.sinks], axis=0)

    def settle(self, latest: Times | None = None, passes: int | None = None) -> bool:
        """Advance every time to its solution. False as soon as a frame ends later than ``latest`` says, or if more
        than ``passes`` passes through the network are needed: it may deadlock."""
        order = list(range(len(self.processes)))
        count = 0
        while any(self.dirty):
            for index in order:
                if self.dirty[index]:
                    self.dirty[index] = False
                    self.processes[index].update(self)
            order.reverse()
            count += 1
            if latest is not None and (self.completions() > latest).any():
                return False
            if passes is not None and count > passes:
                return False
        return True


def long_ago(count: int) -> Times:
    return np.full(count, LONG_AGO, dtype=np.int64)


class Process(ABC):
    """One state machine: ``update`` computes its times anew from those around it. ``machines`` has one a kernel."""

    def __init__(self, kernel: s.Kernel, network: s.Network) -> None:
        self.kernel, self.inputs = kernel, network.inputs(kernel)

    @abstractmethod
    def update(self, traffic: Traffic) -> None:
        """Advance its times."""


MakeProcess = Callable[[s.Kernel, Traffic], Process]
"""The state machine of a kernel."""

__all__ = ["LONG_AGO", "MakeProcess", "Process", "Times", "Traffic", "ascend", "long_ago", "raise_by"]
