"""The state machines of the streaming kernels as times: when each beat is written and read.

A beat written into a FIFO in cycle t can be read from t + 1 on, and a place freed in t can be filled from t + 1 on; a
pipeline register can be refilled in the very cycle in which it is emptied; a kernel takes one step per cycle at most.
So each step happens at the maximum over what it waits for.
"""

from __future__ import annotations

from collections.abc import Sequence

from qsim.targets.rtl.network import kernels as s

LONG_AGO = -(1 << 40)
"""The cycle of what happened before the first input beat: a design that has been idle for long."""


class Channel:
    """A FIFO (slack 1) or a pipeline register (depth 1, slack 0): the cycles in which beats were written and read."""

    __slots__ = ("depth", "read", "reader", "slack", "writer", "written")

    def __init__(self, depth: int | None, slack: int = 1) -> None:
        self.depth, self.slack = depth, slack
        self.written: list[int] = []
        self.read: list[int] = []
        self.writer: Process | None = None
        self.reader: Process | None = None

    def occupancy(self) -> int:
        """The most beats that were held at once."""
        most = taken = 0
        for count, time in enumerate(self.written, 1):
            while taken < len(self.read) and self.read[taken] < time:
                taken += 1
            most = max(most, count - taken)
        return most


class Process:
    """One state machine: ``advance`` takes all steps whose causes are known and says which channels it touched."""

    def __init__(self) -> None:
        self.last = LONG_AGO
        self.neighbours: list[Process] = []
        self.queued = False

    def advance(self) -> bool:
        raise TypeError("a process defines advance")

    def watch(self, *channels: Channel) -> None:
        """Link this process with those at the other ends, in either order of creation."""
        for channel in channels:
            other = channel.reader if channel.writer is self else channel.writer
            if other is not None and other is not self:
                self.neighbours.append(other)
                other.neighbours.append(self)


class Steps(Process):
    """Repeats a fixed program; each step takes from some inputs and gives, or not, to all outputs, in one cycle.

    ``wait``: the first step of the program waits for a beat of input 0 even if it does not take it.
    """

    def __init__(
        self,
        inputs: Sequence[Channel],
        outputs: Sequence[Channel],
        program: Sequence[tuple[tuple[int, ...], bool]],
        limit: int | None = None,
        start: int = LONG_AGO,
        wait: bool = False,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.program = [(tuple(self.inputs[i] for i in takes), gives) for takes, gives in program]
        self.limit, self.count, self.last, self.wait = limit, 0, start, wait
        for channel in self.inputs:
            channel.reader = self
        for channel in self.outputs:
            channel.writer = self
        self.watch(*self.inputs, *self.outputs)

    def gate(self) -> int | None:
        """The earliest cycle of the next step; None: not known yet."""
        return LONG_AGO

    def advance(self) -> bool:
        moved = False
        length = len(self.program)
        while self.limit is None or self.count < self.limit:
            takes, gives = self.program[self.count % length]
            time = self.last + 1
            for channel in self.inputs[:1] if self.wait and self.count % length == 0 else takes:
                n = len(channel.read)
                if n >= len(channel.written):
                    return moved
                if channel.written[n] >= time:
                    time = channel.written[n] + 1
            if gives:
                for channel in self.outputs:
                    if channel.depth is not None:
                        n = len(channel.written) - channel.depth
                        if n >= 0:
                            if n >= len(channel.read):
                                return moved
                            time = max(time, channel.read[n] + channel.slack)
            opened = self.gate()
            if opened is None:
                return moved
            time = max(time, opened)
            for channel in takes:
                channel.read.append(time)
            if gives:
                for channel in self.outputs:
                    channel.written.append(time)
            self.last = time
            self.count += 1
            moved = True
        return moved


class Source(Steps):
    """A source that always offers, ``frames`` frames of ``size`` beats. peers: all sources, if the inputs
    are in lockstep: a frame begins when every input has sent the frame before."""

    def __init__(self, outputs: Sequence[Channel], size: int, frames: int, peers: Sequence[Source]) -> None:
        self.size, self.peers = size, peers
        super().__init__([], outputs, [((), True)], limit=frames * size, start=-1)

    def gate(self) -> int | None:
        """The earliest cycle of the next beat; None: not known yet."""
        frame = self.count // self.size
        if self.count % self.size or not frame:
            return LONG_AGO
        latest = LONG_AGO
        for other in self.peers:
            if other.count < frame * other.size:
                return None
            latest = max(latest, other.last if other.count == frame * other.size else LONG_AGO)
        return latest


class Writer(Process):
    """The writing side of a sliding window's ring."""

    def __init__(self, kernel: s.Window, source: Channel) -> None:
        super().__init__()
        self.kernel, self.source = kernel, source
        self.reader: Walker | None = None
        self.pixels: list[int] = []  # when each input pixel was complete
        self.channel = self.column = self.row = 0  # row counts on over frames
        self.waits, self.room = 0, LONG_AGO
        source.reader = self
        self.watch(source)

    def _base(self, line: int) -> int:
        """The first row, counted over frames, that the reader still needs at its output row ``line``."""
        frame, i = divmod(line, self.kernel.out[0])
        height = self.kernel.size[0]
        return frame * height + min(max(i * self.kernel.strides[0] - self.kernel.before[0], 0), height)

    def advance(self) -> bool:
        moved = False
        _, width, channels = self.kernel.size
        lines = self.reader.lines if self.reader else []
        written, read = self.source.written, self.source.read
        while True:
            if self.channel == 0 and self.column == 0:
                while self._base(self.waits) < self.row - self.kernel.rows + 1:
                    self.waits += 1
                if self.waits:
                    if self.waits > len(lines):
                        return moved
                    self.room = lines[self.waits - 1] + 1
            n = len(read)
            if n >= len(written):
                return moved
            self.last = time = max(self.last + 1, written[n] + 1, self.room)
            read.append(time)
            moved = True
            self.channel += 1
            if self.channel == channels:
                self.channel = 0
                self.pixels.append(time)
                self.column += 1
                if self.column == width:
                    self.column = 0
                    self.row += 1


class Walker(Process):
    """The reading side: walks, each against a credit; results reach the queue ``delay`` cycles after a walk's end."""

    def __init__(self, kernel: s.Window, writer: Writer) -> None:
        super().__init__()
        self.kernel, self.writer = kernel, writer
        self.sender: Sender | None = None
        self.lines: list[int] = []  # when each output row's last step was taken
        self.results: list[int] = []
        self.pixel = self.walk = 0
        writer.reader = self
        self.neighbours.append(writer)
        writer.neighbours.append(self)

    def _needed(self, pixel: int) -> int:
        """The input pixel, counted over frames, that output pixel ``pixel`` waits for."""
        k = self.kernel
        frame, inner = divmod(pixel, k.out[0] * k.out[1])
        i, j = divmod(inner, k.out[1])
        row = min(max(i * k.strides[0] - k.before[0] + (k.kernel[0] - 1) * k.dilation[0], 0), k.size[0] - 1)
        col = min(max(j * k.strides[1] - k.before[1] + (k.kernel[1] - 1) * k.dilation[1], 0), k.size[1] - 1)
        return (frame * k.size[0] + row) * k.size[1] + col

    def advance(self) -> bool:
        moved = False
        k = self.kernel
        walks = k.folding.groups * k.folding.tiles
        length, credits, per_line = k.folding.walk, k.credits, k.out[1]
        pops = self.sender.pops if self.sender else []
        while True:
            time = self.last + 1
            if self.walk == 0:
                needed = self._needed(self.pixel)
                if needed >= len(self.writer.pixels):
                    return moved
                time = max(time, self.writer.pixels[needed] + 1)
            n = len(self.results) - credits
            if n >= 0:
                if n >= len(pops):
                    return moved
                time = max(time, pops[n] + 1)
            self.last = time + length - 1
            self.results.append(self.last + k.delay)
            moved = True
            self.walk += 1
            if self.walk == walks:
                self.walk = 0
                self.pixel += 1
                if self.pixel % per_line == 0:
                    self.lines.append(self.last)


class Sender(Process):
    """Sends queued vectors, one element per beat; ``pops``: when each vector's last element left."""

    def __init__(self, lanes: int, results: list[int], outputs: Sequence[Channel], feeder: Process) -> None:
        super().__init__()
        self.lanes, self.results, self.outputs = lanes, results, tuple(outputs)
        self.pops: list[int] = []
        self.lane = 0
        for channel in self.outputs:
            channel.writer = self
        self.watch(*self.outputs)
        self.neighbours.append(feeder)
        feeder.neighbours.append(self)

    def advance(self) -> bool:
        moved = False
        while len(self.pops) < len(self.results):
            time = max(self.last + 1, self.results[len(self.pops)] + 1)
            for channel in self.outputs:
                if channel.depth is not None:
                    n = len(channel.written) - channel.depth
                    if n >= 0:
                        if n >= len(channel.read):
                            return moved
                        time = max(time, channel.read[n] + channel.slack)
            for channel in self.outputs:
                channel.written.append(time)
            self.last = time
            moved = True
            self.lane += 1
            if self.lane == self.lanes:
                self.lane = 0
                self.pops.append(time)
        return moved


class Frames(Process):
    """Reads whole frames of each input into two banks, then takes ``steps`` steps with a result every ``every`` steps.

    ``delay``: cycles from such a step to its result in the queue; ``release``: from a frame's last step to the cycle
    in which its bank can be written again.
    """

    def __init__(
        self, sizes: Sequence[int], inputs: Sequence[Channel], steps: int, every: int, credits: int, delay: int
    ) -> None:
        super().__init__()
        self.sizes, self.inputs = tuple(sizes), tuple(inputs)
        self.steps, self.every, self.credits, self.delay = steps, every, credits, delay
        self.sender: Sender | None = None
        self.results: list[int] = []
        self.ends: list[int] = []  # when each frame's last step was taken
        self.done = 0
        self.arrivals: list[list[int]] = [[] for _ in self.inputs]  # per input: when each frame was complete
        self.lasts = [LONG_AGO for _ in self.inputs]
        for channel in self.inputs:
            channel.reader = self
        self.watch(*self.inputs)

    def _receive(self) -> bool:
        moved = False
        for i, channel in enumerate(self.inputs):
            size = self.sizes[i]
            while len(channel.read) < len(channel.written):
                frame = len(channel.read) // size
                time = max(self.lasts[i] + 1, channel.written[len(channel.read)] + 1)
                if frame >= 2:
                    if frame - 2 >= len(self.ends):
                        break
                    time = max(time, self.ends[frame - 2] + 2)
                channel.read.append(time)
                self.lasts[i] = time
                moved = True
                if len(channel.read) % size == 0:
                    self.arrivals[i].append(time)
        return moved

    def advance(self) -> bool:
        moved = self._receive()
        pops = self.sender.pops if self.sender else []
        while True:
            frame = len(self.ends)
            if any(frame >= len(a) for a in self.arrivals):
                return moved
            time = max(self.last + 1, *(a[frame] + 1 for a in self.arrivals))
            n = len(self.results) - self.credits
            if n >= 0:
                if n >= len(pops):
                    return moved
                time = max(time, pops[n] + 1)
            self.last = time + self.every - 1
            self.results.append(self.last + self.delay)
            self.done += 1
            moved = True
            if self.done == self.steps // self.every:
                self.done = 0
                self.ends.append(self.last)
                self._receive()
