"""The state machines of the streaming kernels as times: when each beat is written and read.

A beat written into a FIFO in cycle t can be read from t + 1 on, and a place freed in t can be filled from t + 1 on; a
pipeline register can be refilled in the very cycle in which it is emptied; a kernel takes one step per cycle at most.
So each step happens at the maximum over what it waits for: a system of equations in (max, +), one unknown a step.

Times are arrays over all beats of all followed frames. A process computes its own from those around it in a few
passes over arrays; ``Traffic.settle`` repeats that where something grew. Every array starts below the solution and
only grows, and the equations are acyclic in a network that does not deadlock: what it settles at is the solution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def _raise(times: Times, least: Times, delay: int) -> None:
    """Element i + ``delay`` is at least ``least[i]``, in place."""
    if len(times) > delay:
        np.maximum(times[delay:], least[: len(times) - delay], out=times[delay:])


class Traffic:
    """The times of a network's beats under given FIFO depths (None: without bounds), and what settles them.

    written: stream -> cycle of each beat; read: FIFO -> cycle of each beat; kept: kernel -> what its process
    remembers. Arrays are replaced, never changed, so that a copy shares them.
    """

    def __init__(self, network: s.Network, depths: Mapping[s.Link, int | None], frames: int) -> None:
        self.network, self.depths, self.frames = network, dict(depths), frames
        self.processes = [_process(k, self) for k in network.kernels]
        self.place = {kernel: index for index, kernel in enumerate(network.kernels)}
        self.written = {stream: _long_ago(frames * stream.size) for stream in network.streams}
        self.read = {link: _long_ago(frames * link.stream.size) for links in network.links.values() for link in links}
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
                _raise(least, self.read[link] + 1, depth)
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


def _long_ago(count: int) -> Times:
    return np.full(count, LONG_AGO, dtype=np.int64)


class Process:
    """One state machine: ``update`` computes its times anew from those around it."""

    def __init__(self, kernel: s.Kernel, network: s.Network) -> None:
        self.kernel, self.inputs = kernel, network.inputs(kernel)

    def update(self, traffic: Traffic) -> None:
        raise TypeError("a process defines update")


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
            _raise(enter, leave, self.stages)
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
        least = _long_ago(self.steps)
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


WHOLE, BLOCK = 4, 512
"""A window is solved in up to so many sweeps over all beats; where each sweep settles little more than a line, in
blocks of lines of at least so many beats."""


class Windows(Process):
    """A sliding window: a writer fills a ring of rows, a walker takes walks against credits, a sender sends results.

    A row is written when the ring has room for it, a walk begins when its window is complete; a result reaches the
    queue ``delay`` cycles after its walk's end and leaves it lane by lane, which gives the credit back.
    """

    def __init__(self, kernel: s.Window, traffic: Traffic) -> None:
        super().__init__(kernel, traffic.network)
        self.window, self.output, self.frames = kernel, kernel.output, traffic.frames
        height, out = kernel.size[0], kernel.out[0]
        frame, line = np.divmod(np.arange(self.frames * out), out)
        first = frame * height + np.clip(line * kernel.strides[0] - kernel.before[0], 0, height)
        # Lines that are over before a row is written; the input row and pixel, counted over frames, that each line
        # and output pixel waits for.
        self.waits = np.searchsorted(first, np.arange(self.frames * height) - kernel.rows + 1)
        rows = frame * height + _last(kernel, 0)[line]
        self.needed = (rows[:, None] * kernel.size[1] + _last(kernel, 1)).reshape(-1)
        self.rows = np.array([0, *(rows[:-1] + 1), self.frames * height])
        beats = max(kernel.size[1] * kernel.size[2], kernel.output.size // out)
        self.block = -(-BLOCK // beats)
        self.walks = kernel.folding.groups * kernel.folding.tiles

    def update(self, traffic: Traffic) -> None:
        k, (link,) = self.window, self.inputs
        count, total = self.frames * k.out[0], len(self.needed) * self.walks
        lines, pops = traffic.kept.get(k) or (_long_ago(count), _long_ago(total))
        now = _Window(
            arrivals=traffic.arrivals(link),
            room=traffic.room(self.output, _long_ago(total * k.folding.lanes)),
            read=_long_ago(self.frames * link.stream.size),
            ends=_long_ago(total),
            sent=_long_ago(total * k.folding.lanes),
            lines=lines.copy(),
            pops=pops.copy(),
        )
        if not any(self._sweep(now, 0, count) for _ in range(WHOLE)):
            for first in range(0, count, self.block):
                while not self._sweep(now, first, min(first + self.block, count)):
                    pass
        traffic.kept[k] = now.lines, now.pops
        traffic.take(link, now.read)
        traffic.write(self.output, now.sent)

    def _sweep(self, now: _Window, first: int, stop: int) -> bool:
        """Compute the output lines from ``first`` to ``stop`` and what they need; whether that changed nothing more."""
        k, width, lanes = self.window, self.window.size[1] * self.window.size[2], self.window.folding.lanes
        start, end = (int(self.rows[i]) * width for i in (first, stop))
        least = now.arrivals[start:end].copy()
        waits, rows = self.waits[self.rows[first] : self.rows[stop]], least[::width]
        bounded = waits > 0
        rows[bounded] = np.maximum(rows[bounded], now.lines[waits[bounded] - 1] + 1)
        now.read[start:end] = _follow(least, now.read, start, 1)
        a, b = (i * k.out[1] * self.walks for i in (first, stop))
        starts = _long_ago(b - a)
        starts[:: self.walks] = now.read[self.needed[a // self.walks : b // self.walks] * k.size[2] + k.size[2] - 1] + 1
        skip = max(0, k.credits - a)
        starts[skip:] = np.maximum(starts[skip:], now.pops[a + skip - k.credits : max(b - k.credits, 0)] + 1)
        now.ends[a:b] = _follow(starts, now.ends, a, k.folding.walk, k.folding.walk - 1)
        sent = now.room[a * lanes : b * lanes].copy()
        firsts = sent[::lanes]
        np.maximum(firsts, now.ends[a:b] + (k.delay + 1), out=firsts)
        now.sent[a * lanes : b * lanes] = _follow(sent, now.sent, a * lanes, 1)
        lines = now.ends[a:b][self.walks * k.out[1] - 1 :: self.walks * k.out[1]]
        pops = now.sent[a * lanes : b * lanes][lanes - 1 :: lanes]
        settled = np.array_equal(lines, now.lines[first:stop]) and np.array_equal(pops, now.pops[a:b])
        now.lines[first:stop], now.pops[a:b] = lines, pops
        return settled


@dataclass(kw_only=True)
class _Window:
    """The times of one window while they are computed: when beats can be read and results sent at the earliest, when
    they are; when each walk ends, each line ends, each credit comes back."""

    arrivals: Times
    room: Times
    read: Times
    ends: Times
    sent: Times
    lines: Times
    pops: Times


def _follow(least: Times, times: Times, start: int, step: int, more: int = 0) -> Times:
    """``ascend(least, step) + more`` as the continuation of ``times[:start]``; changes ``least``."""
    if start and len(least):
        least[0] = max(least[0], times[start - 1] + step - more)
    return np.asarray(ascend(least, step) + more)


def _last(kernel: s.Window, axis: int) -> Times:
    """The last row (0) or column (1) of the frame that each output row or column reads."""
    reach = kernel.before[axis] - (kernel.kernel[axis] - 1) * kernel.dilation[axis]
    return np.clip(np.arange(kernel.out[axis]) * kernel.strides[axis] - reach, 0, kernel.size[axis] - 1)


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
        ends, sent = traffic.kept.get(self.kernel) or (_long_ago(self.frames), _long_ago(self.frames * size))
        room = traffic.room(self.output, _long_ago(self.frames * size))
        while True:
            starts = _long_ago(self.frames * size)
            firsts = starts[::size]
            read = [self._read(traffic.arrivals(link), ends) for link in self.inputs]
            for link, times in zip(self.inputs, read):
                np.maximum(firsts, times[link.stream.size - 1 :: link.stream.size] + 1, out=firsts)
            _raise(starts, sent + 1, self.credits)
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
        _raise(firsts, ends + 2, 2)
        return ascend(arrivals)


def _process(kernel: s.Kernel, traffic: Traffic) -> Process:
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
