"""``qsim cosim``: any RTL with handshaked streams or vector files against the simulator, described by a YAML file."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qsim.compare.stimulus import sample_codes
from qsim.debug.cosim.config import CosimConfig, Port, read_config
from qsim.debug.diff.diff import Diff, compare_observed
from qsim.debug.diff.observations import Observed
from qsim.debug.vectors import mem_text
from qsim.debug.waves.waveform import Waveform, pack, unpack
from qsim.errors import QsimError, UsageError
from qsim.importers import load
from qsim.ir import Graph, Tensor
from qsim.numerics import Array
from qsim.simulate import Simulator
from qsim.targets.rtl import verilator
from qsim.targets.rtl.run import packages

PERIOD = 10
"""Nanoseconds of the bench's clock (``bench`` runs in the simulator's own Python and imports nothing of qsim)."""

_OPTIMISATION = "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
"""Of Verilator's makefile: a design is built once and run for some thousand cycles."""

MOST_LATENCY = 256
"""Cycles among which a latency that the description does not give is sought."""

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
    views = [_View(graph, port) for port in config.ports]
    inputs = sample_codes(graph, config.frames, config.seed)
    trace = Simulator(graph).trace_codes(inputs)
    with tempfile.TemporaryDirectory(prefix="qsim-cosim-") as scratch:
        records, wave = _simulate(config, views, trace, Path(scratch))
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


class _View:
    """A port with its tensor: codes to words and back."""

    def __init__(self, graph: Graph, port: Port) -> None:
        if port.tensor not in graph.tensors:
            raise UsageError(
                f"port {port.name!r}: the model has no tensor {port.tensor!r}: choose from {', '.join(graph.tensors)}"
            )
        self.port, self.tensor = port, graph[port.tensor]
        width = self.tensor.format.width
        self.slot = port.slot or (-(-width // 8) * 8 if port.lanes == 1 else width)
        if self.slot < width and port.direction == "in":
            raise UsageError(f"port {port.name!r}: slots of {self.slot} bits do not hold {self.tensor.format}")
        if self.tensor.size % port.lanes:
            raise UsageError(
                f"port {port.name!r}: {port.lanes} lanes do not divide the {self.tensor.size} elements of a sample"
            )
        self.beats = self.tensor.size // port.lanes
        self.bits = self.slot * (port.lanes - 1) + min(width, self.slot)

    def words(self, codes: Array) -> list[list[int]]:
        """(N, *shape) codes to words, a list a sample."""
        ordered = np.moveaxis(codes, -1, 1) if self.port.layout == "CHW" and codes.ndim > 2 else codes
        flat = ordered.reshape(len(codes), self.beats, self.port.lanes)
        return [[pack(beat, self.slot) for beat in sample] for sample in flat.tolist()]

    def wrong_ends(self, words: list[Word]) -> list[str]:
        """What is wrong with the last signal, if the port has one: it ends each sample and nothing else."""
        for beat, word in enumerate(words):
            if word.last is not None and word.last != (beat % self.beats == self.beats - 1):
                where = f"beat {beat % self.beats} of {self.beats} of sample {beat // self.beats}"
                return [f"port {self.port.name!r}: last is {'set' if word.last else 'not set'} at {where}"]
        return []

    def codes(self, words: list[int], frames: int, expected: Array, problems: list[str]) -> Array:
        """Words to (N, *shape) codes; what is missing stands as a code that no run gives, so that it is found."""
        name, wanted = self.port.name, self.beats * frames
        if len(words) != wanted:
            problems.append(f"port {name!r}: {len(words)} beats came, {wanted} were expected")
        if any(w < 0 for w in words):
            problems.append(
                f"port {name!r}: the word of beat {next(i for i, w in enumerate(words) if w < 0)} holds X or Z"
            )
        fmt = self.tensor.format
        absent = (expected.max(initial=0) + 1) if len(words) < wanted or any(w < 0 for w in words) else 0
        flat: list[int] = []
        for word in (words + [-1] * wanted)[:wanted]:
            if word < 0:
                flat += [int(absent)] * self.port.lanes
            else:
                flat += unpack(word, self.port.lanes, self.slot, min(fmt.width, self.slot), fmt.signed)
        shape = self.tensor.shape
        if self.port.layout == "CHW" and len(shape) > 1:
            turned = np.array(flat, dtype=np.int64).reshape(frames, shape[-1], *shape[:-1])
            return np.moveaxis(turned, 1, -1)
        return np.array(flat, dtype=np.int64).reshape(frames, *shape)


class Word(NamedTuple):
    """One accepted word: when, in ns; its value, -1 with X or Z in it; whether it ended a packet, if that is known."""

    time: int
    value: int
    last: bool | None


Records = dict[str, list[Word]]


def by_latency(
    view: _View, driver: _View, records: Records, expected: Array, latency: int | None
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


def _simulate(
    config: CosimConfig, views: list[_View], trace: dict[str, Array], scratch: Path
) -> tuple[Records, Path | None]:
    packages()
    from cocotb_tools.runner import get_runner

    files = {v.port.name: scratch / Path(v.port.file or "").name for v in views if v.port.protocol == "file"}
    for view in views:
        if view.port.protocol == "file" and view.port.direction == "in":
            words = np.array([w for sample in view.words(trace[view.tensor.name]) for w in sample], dtype=object)
            files[view.port.name].write_text(mem_text(words, view.slot * view.port.lanes), encoding="utf-8")
    settings = {
        "clock": config.clock,
        "reset": config.reset,
        "reset_active": config.reset_active,
        "done": config.done,
        "seed": config.seed,
        "idle": config.idle,
        "backpressure": config.backpressure,
        "frames": config.frames,
        "timeout": config.timeout * config.frames,
        "drain": max(20, 1 + (MOST_LATENCY if config.latency is None else config.latency))
        if any(v.port.timed for v in views)
        else 20,
        "results": str(scratch / "results.json"),
        "ports": [_port_settings(v) for v in views],
        "words": {v.port.name: v.words(trace[v.tensor.name]) for v in views if v.port.direction == "in"},
    }
    (scratch / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    environment = verilator.environment() | {"QSIM_COSIM": str(scratch / "settings.json")}
    environment["MAKEFLAGS"] += f" {_OPTIMISATION}"
    log = io.StringIO()
    build = scratch / "build"
    with _variables(environment), contextlib.redirect_stdout(log):
        runner = get_runner("verilator")
        try:
            runner.build(
                sources=[(config.folder / s).resolve() for s in config.sources],
                includes=[(config.folder / s).resolve() for s in config.includes],
                hdl_toplevel=config.top,
                parameters=dict(config.parameters),
                build_dir=build,
                build_args=["-Wno-fatal"],
                waves=True,
                timescale=("1ns", "1ns"),
                log_file=scratch / "build.log",
            )
            runner.test(
                hdl_toplevel=config.top,
                test_module="qsim.debug.cosim.bench",
                build_dir=build,
                test_dir=scratch,
                waves=True,
                timescale=("1ns", "1ns"),
                results_xml=str(scratch / "results.xml"),
                log_file=scratch / "test.log",
            )
        except (SystemExit, RuntimeError, ValueError) as error:
            raise QsimError(f"the RTL {config.top!r} does not build or run: {error}. {_tail(scratch)}") from error
    if not (scratch / "results.json").exists():
        raise QsimError(f"the cosimulation of {config.top!r} ended early. {_tail(scratch)}")
    results = json.loads((scratch / "results.json").read_text(encoding="utf-8"))
    if "problem" in results:
        raise UsageError(results["problem"])
    records: Records = {name: [Word(*beat) for beat in beats] for name, beats in results["records"].items()}
    for view in views:
        if view.port.protocol == "file" and view.port.direction != "in":
            records[view.port.name] = [Word(0, w, None) for w in _read_mem(files[view.port.name], view.port)]
    wave = next(iter(sorted(scratch.glob("*.vcd")) + sorted(build.glob("*.vcd"))), None)
    return records, wave


def _port_settings(view: _View) -> dict[str, Any]:
    port = view.port
    return {
        "name": port.name,
        "direction": port.direction,
        "protocol": port.protocol,
        "signals": {role: port.signal(role) for role in ("data", "valid", "ready", "last")},
        "lanes": port.lanes,
        "slot": view.slot,
        "signed": view.tensor.format.signed,
        "width": min(view.tensor.format.width, view.slot),
        "bits": view.bits,
        "beats": view.beats,
    }


def _read_mem(path: Path, port: Port) -> list[int]:
    if not path.exists():
        raise QsimError(f"port {port.name!r}: the design wrote no file {path.name}")
    words = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        for token in line.split("//")[0].split():
            if not token.startswith("@"):
                words.append(int(token, 16) if re.fullmatch("[0-9a-fA-F_]+", token) else -1)
    return words


def _tail(scratch: Path) -> str:
    for name in ("test.log", "build.log"):
        path = scratch / name
        if path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            errors = [line for line in lines if "rror" in line] or lines
            return " ".join(errors[-6:])[-1200:]
    return ""


@contextlib.contextmanager
def _variables(values: dict[str, str]) -> Any:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _cut(view: _View, diff: Diff, beats: list[Word], wave: Path, out_dir: Path, config: CosimConfig) -> Path | None:
    """The waveform around the beat that carries the first differing element."""
    if diff.first is None or view.port.protocol != "stream" or config.clock is None:
        return None
    place = _flat_index(view, view.tensor, diff.first.index)
    time_ns = beats[min(place // view.port.lanes, len(beats) - 1)].time if beats else 0
    waveform = Waveform(wave)
    clock = [t for t, v in waveform.changes(f"{config.top}.{config.clock}") if str(v) == "1"]
    period = clock[1] - clock[0] if len(clock) > 1 else 1
    unit = period / PERIOD
    center = int(time_ns * unit)
    out_dir.mkdir(parents=True, exist_ok=True)
    start = max(0, center - _AROUND * period)
    return waveform.cut(out_dir / f"{config.top}_mismatch.vcd", start, center + _AROUND * period)


def _flat_index(view: _View, tensor: Tensor, index: tuple[int, ...]) -> int:
    sample, *place = index
    shape = tensor.shape
    if view.port.layout == "CHW" and len(shape) > 1:
        place, shape = [place[-1], *place[:-1]], (shape[-1], *shape[:-1])
    return sample * tensor.size + int(np.ravel_multi_index(tuple(place), shape))
