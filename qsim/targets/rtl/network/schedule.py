"""Exact cycles of the streaming design, from its handshakes alone, and FIFOs as small as they allow.

Control never depends on data, so the times of all steps follow from each other (``timing``, ``machines``).
Since all kernels read and write blockingly in a fixed order, the network is determinate (Kahn): if one schedule runs to
its end, none deadlocks, whatever the source and the sink do.

Most FIFOs have the two places with which a beat can pass in every cycle. Where branches meet again, the one that
arrives first must wait: there the depth is the least with which every frame still ends in the very cycle in which it
would end if the FIFO had no bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qsim.ir.ops import Linear
from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.machines import process
from qsim.targets.rtl.network.timing import Times, Traffic

FIFO_DEPTH = 2
"""Places of an ordinary FIFO: the least with which a beat can pass in every cycle."""


SEARCHED = 3
"""Frames that the search for FIFO depths follows."""

PASSES = 400
"""Passes through the network after which a depth counts as too small."""


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


def waiting_links(network: s.Network) -> tuple[s.Link, ...]:
    """The FIFOs in which a branch waits for another: for every input of a join one, the narrowest of those that lead
    straight to it (a requantize that widens its codes is better waited for behind than before)."""
    makers = {k.output: k for k in network.kernels if isinstance(k, s.Maker)}
    found = []
    for kernel in network.kernels:
        for link in network.inputs(kernel) if len(kernel.inputs) > 1 else ():
            best = link
            while True:
                maker = makers[link.stream]
                if not isinstance(maker, s.Pointwise) or len(maker.inputs) > 1 or len(network.links[link.stream]) > 1:
                    break
                (link,) = network.inputs(maker)
                if link.stream.format.width < best.stream.format.width:
                    best = link
            found.append(best)
    return tuple(dict.fromkeys(found))


def fifo_depths(network: s.Network, frames: int) -> dict[s.Link, int]:
    """The depth of every FIFO: FIFO_DEPTH, but for the ``waiting_links``.

    Those are bounded one after the other, each as tightly as no frame's end moves: found by halving, each depth tried
    by settling the whole network. The search follows few frames; that the ends of all ``frames`` stay where they are
    is checked, and if they do not, the search follows them all.
    """
    waiting = waiting_links(network)
    free: dict[s.Link, int | None] = {link: FIFO_DEPTH for links in network.links.values() for link in links}
    free |= dict.fromkeys(waiting)
    few = min(frames, SEARCHED)
    depths = _search(network, free, waiting, few)
    if waiting and few < frames and completions(network, depths, frames) != completions(network, free, frames):
        depths = _search(network, free, waiting, frames)
    return depths


def _search(
    network: s.Network, free: Mapping[s.Link, int | None], waiting: tuple[s.Link, ...], frames: int
) -> dict[s.Link, int]:
    best = Traffic(network, free, frames, process)
    best.settle()
    latest = best.completions()
    for link in waiting:
        low, high = FIFO_DEPTH, max(FIFO_DEPTH, occupancy(best.written[link.stream], best.read[link]))
        enough = best.copy()
        enough.bound(link, high)  # as many places as are ever taken: no time changes
        first = True  # most FIFOs need no more than the least depth
        while low < high:
            middle, first = (low if first else (low + high) // 2), False
            trial = best.copy()
            trial.bound(link, middle)
            if trial.settle(latest, PASSES):
                high, enough = middle, trial
            else:
                low = middle + 1
        best = enough
    return {link: depth for link, depth in best.depths.items() if depth is not None}


def occupancy(written: Times, read: Times) -> int:
    """The most beats that were held at once; a beat that is read in the cycle in which another is written counts."""
    return int((np.arange(1, len(written) + 1) - np.searchsorted(read, written)).max())


def completions(network: s.Network, depths: Mapping[s.Link, int | None], frames: int) -> list[int]:
    """The cycle of the last output beat of each frame, with sources that always offer."""
    traffic = Traffic(network, depths, frames, process)
    traffic.settle()
    return [int(end) for end in traffic.completions()]


def schedule_network(network: s.Network, frames: int = 6) -> Schedule:
    """Predict latency and interval of the RTL design of ``network``.

    ``frames`` frames are followed, and more (up to four times as many) until the last two intervals agree.
    """
    depths = fifo_depths(network, frames)
    times = completions(network, depths, frames)
    count = frames
    while count < 4 * frames and len(times) > 2 and times[-1] - times[-2] != times[-2] - times[-3]:
        count *= 2
        times = completions(network, depths, count)
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
