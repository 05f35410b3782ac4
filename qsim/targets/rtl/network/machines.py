"""The state machines of the kernels as times, beside the window's: what each step waits for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.timing import LONG_AGO, Process, Times, Traffic, ascend, long_ago, raise_by
from qsim.targets.rtl.network.windows import Windows


class Offer(Process):
    """A source that always offers, from cycle ``start`` on."""

    def __init__(self, kernel: s.Maker, traffic: Traffic, start: int) -> None:
        super().__init__(kernel, traffic.network)
        self.output, self.start = kernel.output, start

    def update(self, traffic: Traffic) -> None:
        least = np.full(traffic.frames * self.output.size, self.start, dtype=np.int64)
        traffic.write(self.output, ascend(traffic.room(self.output, least)))


class Accept(Process):
    """Takes every beat at once, from cycle ``start`` on."""

    def __init__(self, kernel: s.Kernel, traffic: Traffic, start: int) -> None:
        super().__init__(kernel, traffic.network)
        self.start = start

    def update(self, traffic: Traffic) -> None:
        (link,) = self.inputs
        traffic.take(link, ascend(np.maximum(traffic.arrivals(link), self.start)))


class Pipe(Process):
    """A beat of every input gives a beat of the output, ``stages`` registers later.

    Stage after stage can be refilled in the cycle in which it is emptied; so a beat goes in when the one ``stages``
    before it goes out, at the earliest.
    """

    def __init__(self, kernel: s.Pointwise, traffic: Traffic) -> None:
        super().__init__(kernel, traffic.network)
        self.output, self.stages = kernel.output, kernel.stages

    def update(self, traffic: Traffic) -> None:
        least = traffic.arrivals(self.inputs[0])
        for link in self.inputs[1:]:
            np.maximum(least, traffic.arrivals(link), out=least)
        enter = least  # rises as its inputs do
        leave = ascend(traffic.room(self.output, enter + self.stages))
        if self.stages:
            raise_by(enter, leave, self.stages)
        else:
            enter = leave
        for link in self.inputs:
            traffic.take(link, enter)
        traffic.write(self.output, leave)


class Steps(Process):
    """Repeats a fixed program of steps, each of which takes from some inputs and gives, or not, to the output.

    takes: one array an input, the positions of the steps that take from it; gives: of those that give. wait: the
    first step of the program waits for a beat of input 0 even if it does not take it.
    """

    def __init__(
        self, kernel: s.Maker, traffic: Traffic, length: int, takes: Sequence[Times], gives: Times, wait: bool = False
    ) -> None:
        super().__init__(kernel, traffic.network)
        self.output, self.wait, self.length, self.first = kernel.output, wait, length, len(takes[0])
        times = traffic.frames * kernel.output.size // len(gives)
        offsets = np.arange(times, dtype=np.int64)[:, None] * length
        self.steps = times * length
        self.takes = [(positions + offsets).reshape(-1) for positions in takes]
        self.gives = (gives + offsets).reshape(-1)

    def update(self, traffic: Traffic) -> None:
        least = long_ago(self.steps)
        for link, positions in zip(self.inputs, self.takes):
            least[positions] = np.maximum(least[positions], traffic.arrivals(link))
        if self.wait:
            starts = least[:: self.length]
            np.maximum(starts, traffic.arrivals(self.inputs[0])[:: self.first], out=starts)
        least[self.gives] = traffic.room(self.output, least[self.gives])
        times = ascend(least)
        for link, positions in zip(self.inputs, self.takes):
            traffic.take(link, times[positions])
        traffic.write(self.output, times[self.gives])


class Frames(Process):
    """Reads whole frames of each input into two banks, then takes steps, ``every`` of which give a result.

    delay: cycles from a result's last step to its place in the queue. A bank can be written again two cycles after
    its frame's last step.
    """

    def __init__(self, kernel: s.Permute | s.Product, traffic: Traffic, every: int, delay: int) -> None:
        super().__init__(kernel, traffic.network)
        self.output, self.frames, self.every, self.delay = kernel.output, traffic.frames, every, delay
        self.credits = kernel.credits

    def update(self, traffic: Traffic) -> None:
        size = self.output.size
        ends, sent = traffic.kept.get(self.kernel) or (long_ago(self.frames), long_ago(self.frames * size))
        room = traffic.room(self.output, long_ago(self.frames * size))
        while True:
            starts = long_ago(self.frames * size)
            firsts = starts[::size]
            read = [self._read(traffic.arrivals(link), ends) for link in self.inputs]
            for link, times in zip(self.inputs, read):
                np.maximum(firsts, times[link.stream.size - 1 :: link.stream.size] + 1, out=firsts)
            raise_by(starts, sent + 1, self.credits)
            done = ascend(starts, self.every) + (self.every - 1)
            before = ends, sent
            ends, sent = done[size - 1 :: size], ascend(np.maximum(room, done + (self.delay + 1)))
            if np.array_equal(ends, before[0]) and np.array_equal(sent, before[1]):
                break
        traffic.kept[self.kernel] = ends, sent
        for link, times in zip(self.inputs, read):
            traffic.take(link, times)
        traffic.write(self.output, sent)

    def _read(self, arrivals: Times, ends: Times) -> Times:
        firsts = arrivals[:: len(arrivals) // self.frames]
        raise_by(firsts, ends + 2, 2)
        return ascend(arrivals)


def process(kernel: s.Kernel, traffic: Traffic) -> Process:
    """The state machine of a kernel."""
    match kernel:
        case s.Source():
            return Offer(kernel, traffic, 0)
        case s.ConstantSource():
            return Offer(kernel, traffic, LONG_AGO)
        case s.Sink():
            return Accept(kernel, traffic, 0)  # takes nothing before the first input
        case s.Drain():
            return Accept(kernel, traffic, LONG_AGO)
        case s.Pointwise():
            return Pipe(kernel, traffic)
        case s.Window():
            return Windows(kernel, traffic)
        case s.Permute():
            return Frames(kernel, traffic, 1, 2)
        case s.Product():
            return Frames(kernel, traffic, kernel.inner, 3)
        case s.Mask():
            inside = s.mask(kernel)
            every, some = np.arange(len(inside)), np.flatnonzero(inside)
            takes, gives = (some, every) if kernel.insert else (every, some)
            return Steps(kernel, traffic, len(inside), [takes], gives, wait=True)
        case s.Maker():
            return _program(kernel, traffic)
        case _:
            raise TypeError(f"{type(kernel).__name__} has no state machine")


def _program(kernel: s.Maker, traffic: Traffic) -> Steps:
    """The state machine of a kernel that repeats a short program."""
    match kernel:
        case s.Reduction() | s.ArgMaximum():
            length = kernel.reduced * kernel.inner
            return Steps(kernel, traffic, length, [np.arange(length)], np.arange(length - kernel.inner, length))
        case s.SoftmaxRows():
            n = kernel.length
            start = 3 * n + kernel.inversion
            return Steps(kernel, traffic, start + 3 * n, [np.arange(n)], start + 2 + 3 * np.arange(n))
        case s.Repeat():
            length = kernel.times * kernel.inner
            return Steps(kernel, traffic, length, [np.arange(kernel.inner)], np.arange(length))
        case s.Join():
            ends = np.cumsum(kernel.lengths)
            takes = [np.arange(end - length, end) for end, length in zip(ends, kernel.lengths)]
            return Steps(kernel, traffic, int(ends[-1]), takes, np.arange(int(ends[-1])))
        case _:
            raise TypeError(f"{type(kernel).__name__} has no state machine")


__all__ = ["process"]
