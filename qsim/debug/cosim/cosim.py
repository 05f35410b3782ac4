"""``qsim cosim``: any RTL with handshaked streams or vector files against the simulator, described by a YAML file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from qsim import process
from qsim.compare.stimulus import sample_codes
from qsim.debug.cosim.config import CosimConfig, read_config
from qsim.debug.cosim.ports import Records, View, Word
from qsim.debug.cosim.simulation import MOST_LATENCY, simulate
from qsim.debug.diff.diff import Diff, compare_observed
from qsim.debug.diff.observations import Observed
from qsim.debug.waves.waveform import Waveform
from qsim.errors import UsageError
from qsim.importers import load
from qsim.ir import Graph
from qsim.numerics import Array
from qsim.simulate import Simulator

PERIOD = 10
"""Nanoseconds of the bench's clock (``bench`` runs in the simulator's own Python and imports nothing of qsim)."""

_AROUND = 200
"""Clock cycles that a cut waveform shows before and after the first bad beat."""


@dataclass(frozen=True, kw_only=True)
class CosimResult:
    """diff: of all ports' tensors. problems: what is wrong beside codes (missing or extra beats, X). waveform: a VCD
    cut around the first bad beat. notes: what was found out on the way (a latency)."""

    diff: Diff
    problems: tuple[str, ...]
    waveform: Path | None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.diff.ok and not self.problems

    def __str__(self) -> str:
        lines = [str(self.diff), *self.notes, *self.problems]
        if self.waveform:
            lines.append(f"waveform around the first bad beat: {self.waveform}")
        return "\n".join(lines)


def cosim(path: str | Path, out_dir: str | Path | None = None, *, frames: int | None = None) -> CosimResult:
    """Run the RTL that ``path`` (a cosim.yaml or its folder) describes and compare every port with the simulator.

    out_dir: where a cut waveform is left on a mismatch; default: the YAML's folder. frames: samples, in place of the
    YAML's number. Raises UsageError for a wrong
    description, QsimError where the RTL does not build, ToolMissingError without Verilator or cocotb.
    """
    config = read_config(path)
    if frames is not None:
        config = dataclasses.replace(config, frames=frames)
    graph = load(config.source)
    return run(config, graph, Path(out_dir) if out_dir else config.folder)


def run(config: CosimConfig, graph: Graph, out_dir: Path) -> CosimResult:
    """The part of ``cosim`` behind loading."""
    views = [View(graph, port) for port in config.ports]
    inputs = sample_codes(graph, config.frames, config.seed)
    trace = Simulator(graph).trace_codes(inputs)
    with process.scratch("cosim") as scratch:
        records, wave = simulate(config, views, trace, scratch)
        problems: list[str] = []
        notes: list[str] = []
        observed: dict[str, Observed] = {}
        for view in views:
            if view.port.direction != "in":
                if view.port.timed and config.clock is not None:
                    driver = next(v for v in views if v.port.direction == "in")
                    found, note = by_latency(view, driver, records, trace[view.tensor.name], config.latency)
                    records[view.port.name] = found
                    notes += [note] if note else []
                words = records[view.port.name]
                problems += view.wrong_ends(words)
                codes = view.codes([w.value for w in words], config.frames, trace[view.tensor.name], problems)
                observed[view.tensor.name] = Observed(tensor=view.tensor.name, codes=codes)
        ordered = {name: observed[name] for name in graph.tensors if name in observed}
        diff = compare_observed(graph, inputs, ordered, f"RTL {config.top!r}")
        cut = None
        if diff.first is not None and wave is not None:
            bad = next(v for v in views if v.tensor.name == diff.first.tensor and v.port.direction != "in")
            cut = _cut(bad, diff, records[bad.port.name], wave, out_dir, config)
    return CosimResult(diff=diff, problems=tuple(problems), waveform=cut, notes=tuple(notes))


def by_latency(
    view: View, driver: View, records: Records, expected: Array, latency: int | None
) -> tuple[list[Word], str]:
    """(the words of a port without handshake, a note): those that stand ``latency`` cycles after each input word was
    taken; without a latency the least one that gives every expected word, or else most of them.

    records: of such a port a word a cycle. Raises UsageError where the port has not as many words a sample as the
    input: time alone then does not tell which are which.
    """
    name = view.port.name
    if view.beats != driver.beats:
        raise UsageError(
            f"port {name!r} has no valid: its words are told by time, so a sample needs as many as at the input "
            f"{driver.port.name!r} ({driver.beats}), not {view.beats}"
        )
    wanted = len(expected) * driver.beats
    taken = [word.time for word in records[driver.port.name][:wanted]]
    by_time = {word.time: word for word in records[name]}

    def at(cycles: int) -> list[Word]:
        return [by_time[t + cycles * PERIOD] for t in taken if t + cycles * PERIOD in by_time]

    if latency is not None:
        return at(latency), ""
    sent = [word for sample in view.words(expected) for word in sample]
    code = (1 << min(view.tensor.format.width, view.slot)) - 1
    mask = sum(code << n * view.slot for n in range(view.port.lanes))
    scores = [
        sum(word.value >= 0 and word.value & mask == other & mask for word, other in zip(at(cycles), sent))
        for cycles in range(MOST_LATENCY + 1)
    ]
    best = max(range(len(scores)), key=lambda n: (scores[n], -n))
    fits = scores.count(scores[best])
    cycles = f"{best} cycle{'s' * (best != 1)}"
    note = f"port {name!r}: {scores[best]} of {wanted} words stand {cycles} behind the input's"
    if fits > 1:
        note += f", as many with {fits - 1} other latencies: give latency: N in the YAML"
    elif scores[best] == wanted:
        note += f": its latency is {best} (latency: {best} in the YAML has it checked)"
    else:
        note += ", with no latency all of them do"
    return at(best), note


def _cut(view: View, diff: Diff, beats: list[Word], wave: Path, out_dir: Path, config: CosimConfig) -> Path | None:
    """The waveform around the beat that carries the first differing element."""
    if diff.first is None or view.port.protocol != "stream" or config.clock is None:
        return None
    place = view.place(diff.first.index)
    time_ns = beats[min(place // view.port.lanes, len(beats) - 1)].time if beats else 0
    waveform = Waveform(wave)
    clock = [t for t, v in waveform.changes(f"{config.top}.{config.clock}") if str(v) == "1"]
    period = clock[1] - clock[0] if len(clock) > 1 else 1
    unit = period / PERIOD
    center = int(time_ns * unit)
    out_dir.mkdir(parents=True, exist_ok=True)
    start = max(0, center - _AROUND * period)
    return waveform.cut(out_dir / f"{config.top}_mismatch.vcd", start, center + _AROUND * period)
