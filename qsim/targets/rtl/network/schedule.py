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

from qsim.errors import UnsupportedError
from qsim.ir import Graph
from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.build import build
from qsim.targets.rtl.network.folding import choose
from qsim.targets.rtl.network.timing import LONG_AGO, Channel, Frames, Process, Sender, Steps, Walker, Writer

FIFO_DEPTH = 2
"""Places of an ordinary FIFO: the least with which a beat can pass in every cycle."""


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


def program(kernel: s.Kernel) -> Sequence[tuple[tuple[int, ...], bool]]:
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
        case s.SoftmaxRows():
            idle = ((), False)
            summing = [idle] * (2 * kernel.length + kernel.inversion)
            return [((0,), False)] * kernel.length + summing + [idle, idle, ((), True)] * kernel.length
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
            case s.ConstantSource():
                # Two frames more than are needed: what its FIFOs and those behind it can hold is less or waits.
                limit = (frames + 2) * network.streams[kernel.name].size + 2 * FIFO_DEPTH
                made.append(Steps([], outputs, [((), True)], limit=limit))
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
            case s.Sink():
                made.append(Steps(inputs, [], program(kernel), start=-1))  # takes nothing before the first input
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
            return LONG_AGO
        latest = LONG_AGO
        for other in sources:
            other_size = network.streams[_name(network, other, sources)].size
            if other.count < frame * other_size:
                return None
            latest = max(latest, other.last if other.count == frame * other_size else LONG_AGO)
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


def _joins(network: s.Network) -> dict[tuple[str, str, int], bool]:
    """The FIFOs in front of kernels with several inputs, and whether constants alone feed them."""
    constant: dict[str, bool] = {}
    for kernel in network.kernels:
        constant[kernel.name] = isinstance(kernel, s.ConstantSource) or (
            bool(kernel.inputs) and all(constant[stream] for stream in kernel.inputs)
        )
    return {
        (stream, kernel.name, port): constant[stream]
        for kernel in network.kernels
        if len(kernel.inputs) > 1
        for port, stream in enumerate(kernel.inputs)
    }


def fifo_depths(network: s.Network) -> dict[tuple[str, str, int], int]:
    """(stream, reader, port) -> depth: FIFO_DEPTH, and in front of joins what a run without bounds there uses.

    A constant is sent over and over; without bounds it would run ahead for ever. So the FIFOs between constants and
    joins start at FIFO_DEPTH, and those that are full when the run stops too early are doubled until it does not.
    """
    joins = _joins(network)
    depths: dict[tuple[str, str, int], int | None] = {
        key: FIFO_DEPTH if fixed else None for key, fixed in joins.items()
    }
    while True:
        processes, channels = _processes(network, depths, 3, True)
        if joins:
            _run(processes)
        full = [
            key
            for key, fixed in joins.items()
            if fixed and len(channels[key].written) - len(channels[key].read) == depths[key]
        ]
        if not full or all(
            len(channels[kernel.inputs[0], kernel.name, 0].read) >= 3 * network.streams[kernel.inputs[0]].size
            for kernel in network.kernels
            if isinstance(kernel, s.Sink | s.Drain)
        ):
            break
        for key in full:
            depths[key] = 2 * (depths[key] or FIFO_DEPTH)
    return {
        key: max(FIFO_DEPTH, depths.get(key, FIFO_DEPTH) or channel.occupancy()) for key, channel in channels.items()
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
    """Predict latency and interval of the RTL design of ``graph``; ``folding`` as in ``folding.choose``.

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
