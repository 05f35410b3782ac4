"""The state machine of a sliding window as times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.timing import Process, Times, Traffic, ascend, long_ago

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
        lines, pops = traffic.kept.get(k) or (long_ago(count), long_ago(total))
        now = _Window(
            arrivals=traffic.arrivals(link),
            room=traffic.room(self.output, long_ago(total * k.folding.lanes)),
            read=long_ago(self.frames * link.stream.size),
            ends=long_ago(total),
            sent=long_ago(total * k.folding.lanes),
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
        starts = long_ago(b - a)
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


__all__ = ["Windows"]
