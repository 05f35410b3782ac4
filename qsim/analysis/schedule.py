"""Exact cycles of the streaming design, from its handshakes alone: control never depends on data.

Every register of control is modelled by the times at which it changes. A beat written into a FIFO in cycle t can be
read from t + 1 on, and a place freed in t can be filled from t + 1 on; a pipeline register can be refilled in the very
cycle in which it is emptied; a kernel takes one step per cycle at most. So each step happens at the maximum over what
it waits for, and the times of all steps follow one from another without a cycle-by-cycle simulation.

Since all kernels read and write blockingly in a fixed order, the network is determinate (Kahn): if one schedule runs to
its end, none deadlocks, whatever the source and the sink do. FIFO depths are chosen by running without bounds in front
of joins, and the run with the chosen depths must complete.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qsim.analysis import streaming as s
from qsim.analysis.folding import choose
from qsim.analysis.network import build
from qsim.errors import UnsupportedError
from qsim.ir import Graph

FIFO_DEPTH = 2
"""Places of an ordinary FIFO: the least with which a beat can pass in every cycle."""

_LONG_AGO = -(1 << 40)


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
        self.last = _LONG_AGO
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
        start: int = _LONG_AGO,
        gate: Callable[[int], int | None] | None = None,
        wait: bool = False,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.program = [(tuple(self.inputs[i] for i in takes), gives) for takes, gives in program]
        self.limit, self.count, self.last, self.gate, self.wait = limit, 0, start, gate, wait
        for channel in self.inputs:
            channel.reader = self
        for channel in self.outputs:
            channel.writer = self
        self.watch(*self.inputs, *self.outputs)

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
            if self.gate is not None:
                opened = self.gate(self.count)
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


class Writer(Process):
    """The writing side of a sliding window's ring."""

    def __init__(self, kernel: s.Window, source: Channel) -> None:
        super().__init__()
        self.kernel, self.source = kernel, source
        self.reader: Walker | None = None
        self.pixels: list[int] = []  # when each input pixel was complete
        self.channel = self.column = self.row = 0  # row counts on over frames
        self.waits, self.room = 0, _LONG_AGO
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
        self.lasts = [_LONG_AGO for _ in self.inputs]
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


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Cycles of a design with a source that always offers and a sink that always takes.

    latency: from the cycle in which the first beat of a frame is accepted to that of its last output beat, on an idle
    design. interval: cycles between the last output beats of consecutive frames, in the long run.
    completions: the cycle of each simulated frame's last output beat, first input beat in cycle 0.
    cycles: layer -> cycles per frame that its slowest unit is busy. multipliers: layer -> multipliers of its
    multiply-accumulate units. depths: (stream, reader, port) -> FIFO depth.
    """

    latency: int
    interval: int
    completions: tuple[int, ...]
    cycles: Mapping[str, int]
    multipliers: Mapping[str, int]
    depths: Mapping[tuple[str, str, int], int]


def program(kernel: s.Kernel) -> list[tuple[tuple[int, ...], bool]]:
    """One frame's steps of a kernel that is a Steps process."""
    match kernel:
        case s.Source() | s.ConstantSource():
            return [((), True)]
        case s.Sink() | s.Drain():
            return [((0,), False)]
        case s.Pointwise():
            return [(tuple(range(len(kernel.inputs))), True)]
        case s.Reduction() | s.ArgMaximum():
            early, late = ((0,), False), ((0,), True)
            return [early] * ((kernel.reduced - 1) * kernel.inner) + [late] * kernel.inner
        case s.Repeat():
            return [((0,), True)] * kernel.inner + [((), True)] * ((kernel.times - 1) * kernel.inner)
        case s.Join():
            return [((i,), True) for i, length in enumerate(kernel.lengths) for _ in range(length)]
        case s.Mask():
            chosen = s.mask(kernel)
            if kernel.insert:
                return [((0,) if hit else (), True) for hit in chosen]
            return [((0,), bool(hit)) for hit in chosen]
        case _:
            raise TypeError(f"{type(kernel).__name__} is no program")


def _processes(
    network: s.Network, depths: Mapping[tuple[str, str, int], int | None], frames: int, gated: bool
) -> tuple[list[Process], dict[tuple[str, str, int], Channel]]:
    channels = {
        (name, *reader): Channel(depths.get((name, *reader), FIFO_DEPTH))
        for name, stream in network.streams.items()
        for reader in stream.readers
    }
    made: list[Process] = []
    sources: list[Steps] = []
    for kernel in network.kernels:
        inputs = [channels[stream, kernel.name, port] for port, stream in enumerate(kernel.inputs)]
        outputs = (
            [channels[kernel.name, *reader] for reader in network.streams[kernel.name].readers]
            if kernel.name in network.streams
            else []
        )
        match kernel:
            case s.Source():
                size = network.streams[kernel.name].size
                gate = _gate(sources, network, size) if gated else None
                source = Steps([], outputs, [((), True)], limit=frames * size, start=-1, gate=gate)
                sources.append(source)
                made.append(source)
            case s.Pointwise() if kernel.stages:
                stages = [Channel(1, 0) for _ in range(kernel.stages)]
                made.append(Steps(inputs, [stages[0]], program(kernel)))
                for before, after in zip(stages, [*stages[1:], None]):
                    made.append(Steps([before], outputs if after is None else [after], [((0,), True)]))
            case s.Window():
                writer = Writer(kernel, inputs[0])
                walker = Walker(kernel, writer)
                walker.sender = Sender(kernel.folding.lanes, walker.results, outputs, walker)
                made += [writer, walker, walker.sender]
            case s.Permute():
                frame = Frames([kernel.size], inputs, len(kernel.index), 1, kernel.credits, 2)
                frame.sender = Sender(1, frame.results, outputs, frame)
                made += [frame, frame.sender]
            case s.Product():
                sizes = [kernel.batches * kernel.rows * kernel.inner, kernel.batches * kernel.inner * kernel.columns]
                steps = kernel.batches * kernel.rows * kernel.inner * kernel.columns
                frame = Frames(sizes, inputs, steps, kernel.inner, kernel.credits, 3)
                frame.sender = Sender(1, frame.results, outputs, frame)
                made += [frame, frame.sender]
            case _:
                made.append(Steps(inputs, outputs, program(kernel), wait=isinstance(kernel, s.Mask)))
    if gated:
        for source in sources:
            source.neighbours += [other for other in sources if other is not source]
    return made, channels


def _gate(sources: list[Steps], network: s.Network, size: int) -> Callable[[int], int | None]:
    """Lets a source begin a frame only when all sources have sent the frame before: inputs in lockstep."""

    def opened(count: int) -> int | None:
        frame = count // size
        if count % size or not frame:
            return _LONG_AGO
        latest = _LONG_AGO
        for other in sources:
            other_size = network.streams[_name(network, other, sources)].size
            if other.count < frame * other_size:
                return None
            latest = max(latest, other.last if other.count == frame * other_size else _LONG_AGO)
        return latest

    return opened


def _name(network: s.Network, source: Steps, sources: list[Steps]) -> str:
    names = [k.name for k in network.kernels if isinstance(k, s.Source)]
    return names[sources.index(source)]


def _run(processes: list[Process]) -> None:
    queue = deque(processes)
    for process in processes:
        process.queued = True
    while queue:
        process = queue.popleft()
        process.queued = False
        if process.advance():
            for other in process.neighbours:
                if not other.queued:
                    other.queued = True
                    queue.append(other)


def _joins(network: s.Network) -> list[tuple[str, str, int]]:
    """The FIFOs in front of kernels with several inputs, without those that only constants feed."""
    constant: dict[str, bool] = {}
    for kernel in network.kernels:
        constant[kernel.name] = isinstance(kernel, s.ConstantSource) or (
            bool(kernel.inputs) and all(constant[stream] for stream in kernel.inputs)
        )
    return [
        (stream, kernel.name, port)
        for kernel in network.kernels
        if len(kernel.inputs) > 1
        for port, stream in enumerate(kernel.inputs)
        if not constant[stream]
    ]


def fifo_depths(network: s.Network) -> dict[tuple[str, str, int], int]:
    """(stream, reader, port) -> depth: FIFO_DEPTH, and in front of joins what a run without bounds there uses."""
    joins = _joins(network)
    depths: dict[tuple[str, str, int], int | None] = {key: None for key in joins}
    processes, channels = _processes(network, depths, 3, True)
    if joins:
        _run(processes)
    return {
        key: max(FIFO_DEPTH, channel.occupancy()) if key in depths else FIFO_DEPTH for key, channel in channels.items()
    }


def _completions(network: s.Network, depths: Mapping[tuple[str, str, int], int], frames: int) -> list[int]:
    processes, channels = _processes(network, depths, frames, False)
    _run(processes)
    last = [0] * frames
    for kernel in network.kernels:
        if isinstance(kernel, s.Sink):
            stream = network.streams[kernel.inputs[0]]
            times = channels[stream.name, kernel.name, 0].read
            if len(times) < frames * stream.size:
                raise UnsupportedError(
                    f"the streaming design stops after {len(times)} of {frames * stream.size} beats of {stream.name!r}",
                    way_out="report this model: the FIFO depths were not enough",
                )
            for frame in range(frames):
                last[frame] = max(last[frame], times[(frame + 1) * stream.size - 1])
    return last


def schedule(graph: Graph, folding: object = None, frames: int = 6) -> Schedule:
    """Predict latency and interval of the RTL design of ``graph``; ``folding`` as in ``qsim.analysis.folding.choose``.

    ``frames`` frames are followed, and more (up to four times as many) until the last two intervals agree.
    Raises UnsupportedError for ops without a streaming kernel.
    """
    network = build(graph, choose(graph, folding))
    return schedule_network(network, frames)


def schedule_network(network: s.Network, frames: int = 6) -> Schedule:
    """``schedule`` for a network that is already built."""
    depths = fifo_depths(network)
    times = _completions(network, depths, frames)
    count = frames
    while count < 4 * frames and len(times) > 2 and times[-1] - times[-2] != times[-2] - times[-3]:
        count *= 2
        times = _completions(network, depths, count)
    cycles: dict[str, int] = {}
    multipliers: dict[str, int] = {}
    for kernel in network.kernels:
        if isinstance(kernel, s.Source | s.ConstantSource | s.Sink | s.Drain):
            continue
        busy = network.streams[kernel.name].size
        if isinstance(kernel, s.Window):
            busy = max(busy, kernel.folding.cycles)
            if kernel.name in network.foldings:
                multipliers[kernel.layer] = multipliers.get(kernel.layer, 0) + kernel.folding.multipliers
        elif isinstance(kernel, s.Product):
            busy = max(busy, kernel.batches * kernel.rows * kernel.inner * kernel.columns)
            multipliers[kernel.layer] = multipliers.get(kernel.layer, 0) + 1
        busy = max([busy, *(network.streams[stream].size for stream in kernel.inputs)])
        cycles[kernel.layer] = max(cycles.get(kernel.layer, 0), busy)
    return Schedule(
        latency=times[0],
        interval=times[-1] - times[-2] if len(times) > 1 else times[0] + 1,
        completions=tuple(times[:frames]),
        cycles=cycles,
        multipliers=multipliers,
        depths=depths,
    )
