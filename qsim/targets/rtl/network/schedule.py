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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qsim.errors import UnsupportedError
from qsim.ir.ops import Linear
from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.timing import Channel, Frames, Process, Sender, Source, Steps, Walker, Writer

FIFO_DEPTH = 2
"""Places of an ordinary FIFO: the least with which a beat can pass in every cycle."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Cycles of a design with a source that always offers and a sink that always takes.

    latency: from the cycle in which the first beat of a frame is accepted to that of its last output beat, on an idle
    design. interval: cycles between the last output beats of consecutive frames, in the long run.
    completions: the cycle of each simulated frame's last output beat, first input beat in cycle 0.
    cycles: layer -> cycles per frame that its slowest unit is busy. multipliers: layer -> multipliers of its
    multiply-accumulate units. depths: of every FIFO.
    """

    latency: int
    interval: int
    completions: tuple[int, ...]
    cycles: Mapping[str, int]
    multipliers: Mapping[str, int]
    depths: Mapping[s.Link, int]


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


Depths = Mapping[s.Link, int | None]
"""FIFO depths; None: without bounds. Those that are not named have FIFO_DEPTH places."""


def _processes(
    network: s.Network, depths: Depths, frames: int, gated: bool
) -> tuple[list[Process], dict[s.Link, Channel]]:
    """The state machines of every kernel, and the FIFOs between them. gated: the inputs' frames are in lockstep."""
    channels = {link: Channel(depths.get(link, FIFO_DEPTH)) for links in network.links.values() for link in links}
    made: list[Process] = []
    sources: list[Source] = []
    for kernel in network.kernels:
        inputs = [channels[link] for link in network.inputs(kernel)]
        outputs = [channels[link] for link in network.outputs(kernel)]
        match kernel:
            case s.Source():
                source = Source(outputs, kernel.output.size, frames, sources if gated else ())
                sources.append(source)
                made.append(source)
            case s.ConstantSource():
                # Two frames more than are needed: what its FIFOs and those behind it can hold is less or waits.
                limit = (frames + 2) * kernel.output.size + 2 * FIFO_DEPTH
                made.append(Steps([], outputs, [((), True)], limit=limit))
            case s.Sink():
                made.append(Steps(inputs, [], program(kernel), start=-1))  # takes nothing before the first input
            case _:
                made += _machines(kernel, inputs, outputs)
    if gated:
        for source in sources:
            source.neighbours += [other for other in sources if other is not source]
    return made, channels


def _machines(kernel: s.Kernel, inputs: list[Channel], outputs: list[Channel]) -> list[Process]:
    """The state machines of a kernel that is no port and no constant."""
    match kernel:
        case s.Pointwise() if kernel.stages:
            stages = [Channel(1, 0) for _ in range(kernel.stages)]
            made: list[Process] = [Steps(inputs, [stages[0]], program(kernel))]
            for before, after in zip(stages, [*stages[1:], None]):
                made.append(Steps([before], outputs if after is None else [after], [((0,), True)]))
            return made
        case s.Window():
            writer = Writer(kernel, inputs[0])
            walker = Walker(kernel, writer)
            walker.sender = Sender(kernel.folding.lanes, walker.results, outputs, walker)
            return [writer, walker, walker.sender]
        case s.Permute():
            frame = Frames([kernel.size], inputs, len(kernel.index), 1, kernel.credits, 2)
            frame.sender = Sender(1, frame.results, outputs, frame)
            return [frame, frame.sender]
        case s.Product():
            sizes = [kernel.batches * kernel.rows * kernel.inner, kernel.batches * kernel.inner * kernel.columns]
            steps = kernel.batches * kernel.rows * kernel.inner * kernel.columns
            frame = Frames(sizes, inputs, steps, kernel.inner, kernel.credits, 3)
            frame.sender = Sender(1, frame.results, outputs, frame)
            return [frame, frame.sender]
        case _:
            return [Steps(inputs, outputs, program(kernel), wait=isinstance(kernel, s.Mask))]


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


def _joins(network: s.Network) -> dict[s.Link, bool]:
    """The FIFOs in front of kernels with several inputs, and whether constants alone feed them."""
    constant: dict[s.Stream, bool] = {}
    for kernel in network.kernels:
        if isinstance(kernel, s.Maker):
            fed = bool(kernel.inputs) and all(constant[stream] for stream in kernel.inputs)
            constant[kernel.output] = isinstance(kernel, s.ConstantSource) or fed
    return {
        link: constant[link.stream]
        for kernel in network.kernels
        if len(kernel.inputs) > 1
        for link in network.inputs(kernel)
    }


def fifo_depths(network: s.Network) -> dict[s.Link, int]:
    """The depth of every FIFO: FIFO_DEPTH, and in front of joins what a run without bounds there uses.

    A constant is sent over and over; without bounds it would run ahead for ever. So the FIFOs between constants and
    joins start at FIFO_DEPTH, and those that are full when the run stops too early are doubled until it does not.
    """
    joins = _joins(network)
    depths: dict[s.Link, int | None] = {link: FIFO_DEPTH if fixed else None for link, fixed in joins.items()}
    ends = [link for k in network.kernels if isinstance(k, s.Sink | s.Drain) for link in network.inputs(k)]
    while True:
        processes, channels = _processes(network, depths, 3, True)
        if joins:
            _run(processes)
        full = [
            link
            for link, fixed in joins.items()
            if fixed and len(channels[link].written) - len(channels[link].read) == depths[link]
        ]
        if not full or all(len(channels[link].read) >= 3 * link.stream.size for link in ends):
            break
        for link in full:
            depths[link] = 2 * (depths[link] or FIFO_DEPTH)
    return {
        link: max(FIFO_DEPTH, depths.get(link, FIFO_DEPTH) or channel.occupancy()) for link, channel in channels.items()
    }


def _completions(network: s.Network, depths: Mapping[s.Link, int], frames: int) -> list[int]:
    processes, channels = _processes(network, depths, frames, False)
    _run(processes)
    last = [0] * frames
    for kernel in network.kernels:
        if isinstance(kernel, s.Sink):
            (link,) = network.inputs(kernel)
            size, times = link.stream.size, channels[link].read
            if len(times) < frames * size:
                raise UnsupportedError(
                    f"the streaming design stops after {len(times)} of {frames * size} beats of {link.stream.label!r}",
                    way_out="report this model: the FIFO depths were not enough",
                )
            for frame in range(frames):
                last[frame] = max(last[frame], times[(frame + 1) * size - 1])
    return last


def schedule_network(network: s.Network, frames: int = 6) -> Schedule:
    """Predict latency and interval of the RTL design of ``network``.

    ``frames`` frames are followed, and more (up to four times as many) until the last two intervals agree.
    """
    depths = fifo_depths(network)
    times = _completions(network, depths, frames)
    count = frames
    while count < 4 * frames and len(times) > 2 and times[-1] - times[-2] != times[-2] - times[-3]:
        count *= 2
        times = _completions(network, depths, count)
    cycles, multipliers = _layers(network)
    return Schedule(
        latency=times[0],
        interval=times[-1] - times[-2] if len(times) > 1 else times[0] + 1,
        completions=tuple(times[:frames]),
        cycles=cycles,
        multipliers=multipliers,
        depths=depths,
    )


def _layers(network: s.Network) -> tuple[dict[str, int], dict[str, int]]:
    """Layer -> cycles per frame that its slowest unit is busy; layer -> multipliers."""
    cycles: dict[str, int] = {}
    multipliers: dict[str, int] = {}
    for kernel in network.kernels:
        if not isinstance(kernel, s.Maker) or isinstance(kernel, s.Source | s.ConstantSource):
            continue
        busy = max([kernel.output.size, *(stream.size for stream in kernel.inputs)])
        if isinstance(kernel, s.Window):
            busy = max(busy, kernel.folding.cycles)
            if isinstance(kernel.op, Linear):
                multipliers[kernel.layer] = multipliers.get(kernel.layer, 0) + kernel.folding.multipliers
        elif isinstance(kernel, s.Product):
            busy = max(busy, kernel.batches * kernel.rows * kernel.inner * kernel.columns)
            multipliers[kernel.layer] = multipliers.get(kernel.layer, 0) + 1
        cycles[kernel.layer] = max(cycles.get(kernel.layer, 0), busy)
    return cycles, multipliers
