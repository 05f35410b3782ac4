"""Build and run the emitted SystemVerilog, and gather every tensor's codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qsim import process
from qsim.errors import QsimError
from qsim.numerics import Array
from qsim.targets.rtl import runner, verilator
from qsim.targets.rtl.design import Design
from qsim.targets.rtl.native import NativeBench
from qsim.targets.rtl.trace import read_traces
from qsim.targets.target import Run

COCOTB_FRAMES = 4
"""Up to so many samples go through cocotb; of more, the first so many, and all through the native bench."""


LONG = 300_000
"""Cycles from which on an optimised build pays."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of building and simulating the design: what disturbs a run, how much goes through which bench."""

    seed: int = field(default=0, metadata={"help": "Of the idle gaps, the backpressure and the reset."})
    idle: bool = field(default=True, metadata={"help": "Let the source pause at random."})
    backpressure: bool = field(default=True, metadata={"help": "Let the sink refuse beats at random."})
    reset_mid_frame: bool = field(default=True, metadata={"help": "Reset in the middle of a frame."})
    cocotb_frames: int = field(
        default=COCOTB_FRAMES, metadata={"help": "Samples that go through cocotb; all go through a C++ bench if more."}
    )
    check_cycles: bool = field(
        default=False, metadata={"help": "Compare the free-running cycles with the predicted ones too."}
    )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """completions: cycle in which each frame's last output beat of the free run left, the first input beat being in
    cycle 0; empty where nothing ran free through cocotb."""

    completions: tuple[int, ...]


def run(made: Design, directory: Path, codes: Mapping[str, Array], settings: Settings) -> Run[Measured]:
    """Every tensor as the design in ``directory`` computes it: name -> (N, *shape) int64.

    codes: input tensor -> (N, *shape). The first ``cocotb_frames`` samples are sent through cocotb's AXI4-Stream
    models, free-running and then, after a reset in the middle of a frame, with random idle gaps and backpressure; more
    samples go through a C++ bench with the same kinds of gaps. What the design sends must be what its trace says, and
    all runs must agree.

    Raises ToolMissingError without Verilator or cocotb; QsimError if the design does not build, stops, disagrees with
    itself between runs, or (check_cycles) takes other cycles than predicted.
    """
    arrays = {name: np.asarray(value, dtype=np.int64) for name, value in codes.items()}
    frames = len(next(iter(arrays.values())))
    found: dict[str, Array] = {}
    completions: tuple[int, ...] = ()
    with process.scratch("rtl") as scratch:
        some = min(frames, settings.cocotb_frames)
        if some:
            bench = CocotbBench(made, directory, scratch / "cocotb")
            found, completions = bench.run({name: value[:some] for name, value in arrays.items()}, settings)
            if settings.check_cycles:
                _compare_cycles(made, completions)
        if frames > some:
            all_frames = _native(made, directory, scratch / "native", arrays, settings)
            if found:
                _compare_runs({n: v[:some] for n, v in all_frames.items()}, found, "cocotb and the native bench")
            found = all_frames
    return Run(tensors=found, measured=Measured(completions=completions))


def _native(
    made: Design, directory: Path, build: Path, arrays: Mapping[str, Array], gaps: Settings
) -> dict[str, Array]:
    """Every tensor from the C++ bench; its ports must agree with its traces."""
    frames = len(next(iter(arrays.values())))
    bench = NativeBench(made, directory, build, optimize=frames * made.schedule.interval > LONG)
    rough = bench.run(
        arrays, seed=gaps.seed + 1, idle=0.2 if gaps.idle else 0.0, backpressure=0.2 if gaps.backpressure else 0.0
    )
    _compare_outputs(made, rough.tensors, rough.outputs, "the native bench")
    if gaps.check_cycles:
        _compare_cycles(made, bench.run(arrays, seed=gaps.seed).completions)
    return rough.tensors


def _compare_cycles(made: Design, measured: tuple[int, ...]) -> None:
    predicted = made.schedule.completions
    for frame, (expected, actual) in enumerate(zip(predicted, measured)):
        if expected != actual:
            raise QsimError(
                f"the RTL design ends frame {frame} in cycle {actual}, but {expected} was predicted "
                f"(first input beat in cycle 0)"
            )


def _compare_runs(one: Mapping[str, Array], other: Mapping[str, Array], who: str) -> None:
    for name, expected in one.items():
        if not np.array_equal(expected, other[name]):
            where = tuple(int(i) for i in np.argwhere(expected != other[name])[0])
            raise QsimError(
                f"{who} disagree in tensor {name!r} at {where}: {expected[where]} and {other[name][where]}; the "
                "design's results depend on timing, which is a defect of qsim"
            )


def _compare_outputs(made: Design, tensors: Mapping[str, Array], outputs: Mapping[str, Array], who: str) -> None:
    for port in made.ports:
        if not port.input:
            flat = tensors[port.tensor].reshape(-1, port.size)
            _compare_runs(
                {port.tensor: flat}, {port.tensor: outputs[port.prefix]}, f"trace and port {port.prefix} of {who}"
            )


class CocotbBench:
    """The design in ``directory`` built by cocotb's runner; ``run`` may be called many times."""

    def __init__(self, made: Design, directory: Path, build: Path) -> None:
        self.made = made
        directory = directory.resolve()
        build.mkdir(parents=True, exist_ok=True)
        control = build / "public.vlt"
        # Only the ports are visible to cocotb: all else can be optimised, which halves the build.
        control.write_text(f'`verilator_config\npublic_flat_rw -module "{made.module}" -var "a*"\n'
                           f'public_flat_rw -module "{made.module}" -var "?_axis*"\n', encoding="utf-8")  # fmt: skip
        names = (directory / "sources.f").read_text(encoding="utf-8").split()
        verilator.reuse_objects("cocotb", build)
        try:
            self.built = runner.build(
                made.module,
                [control, *(directory / name for name in names)],
                build,
                arguments=["--no-public-flat-rw"],
                defines={"QSIM_TRACE": 1},
                parameters={"MEM_DIR": f'"{directory / "mem"}"'},
                make_flags=verilator.make_flags(False),
            )
        except runner.RunnerError as error:
            raise QsimError(f"the RTL design does not build: {error}") from error
        verilator.keep_objects("cocotb", build)

    def run(self, codes: Mapping[str, Array], gaps: Settings) -> tuple[dict[str, Array], tuple[int, ...]]:
        """Every tensor's codes and the free-running completion cycles. Raises QsimError where phases disagree."""
        frames = len(next(iter(codes.values())))
        with process.scratch("cocotb") as folder:
            settings = self._settings(codes, gaps) | {"results": str(folder / "results.json")}
            (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
            self._simulate(folder)
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            # A stream that a phase cut short before its first beat has no section of that phase: count from the ends.
            free = read_traces(self.made, folder, frames, 0)
            rough = read_traces(self.made, folder, frames, -1)
        _compare_runs(free, rough, "the free-running and the interrupted cosimulation")
        for phase in results["phases"]:
            self._check_phase(str(phase["name"]), phase["outputs"], rough)
        return rough, tuple(results["completions"])

    def _settings(self, codes: Mapping[str, Array], gaps: Settings) -> dict[str, object]:
        """What cocotb_bench.py reads, as JSON."""
        ports, latency = self.made.ports, self.made.schedule.latency
        return {
            "seed": gaps.seed,
            "frames": len(next(iter(codes.values()))),
            "idle": 0.3 if gaps.idle else 0.0,
            "backpressure": 0.3 if gaps.backpressure else 0.0,
            "reset_mid_frame": gaps.reset_mid_frame,
            "warm": self.made.warm,
            "latency": latency,
            "settle": 2 * latency + 200,
            "timeout": 20 * latency + 1000,
            "ports": [{"prefix": p.prefix, "input": p.input, "size": p.size, "tdata": p.tdata} for p in ports],
            "codes": {p.prefix: codes[p.tensor].reshape(-1).tolist() for p in ports if p.input},
        }

    def _simulate(self, folder: Path) -> None:
        environment = {"QSIM_COCOTB": str(folder / "settings.json")}
        try:
            runner.run_bench(
                self.built,
                "qsim.targets.rtl.cocotb_bench",
                folder,
                environment=environment,
                plusargs=[f"+qsim_trace={folder}"],
            )
        except runner.RunnerError as error:
            raise QsimError(f"cosimulation failed: {error}") from error
        if not (folder / "results.json").exists():
            raise QsimError(f"cosimulation failed: {runner.last_words(folder / 'test.log')}")

    def _check_phase(self, name: str, sent: Mapping[str, list[list[int]]], traced: Mapping[str, Array]) -> None:
        """What left the ports in a phase is whole frames, and what the trace says."""
        outputs = {}
        for port in self.made.ports:
            if port.input:
                continue
            for beats in map(len, sent[port.prefix]):
                if beats != port.size:
                    raise QsimError(
                        f"the {name} phase of the cosimulation: port {port.prefix} sends TLAST after {beats} beats, "
                        f"not {port.size}"
                    )
            outputs[port.prefix] = _signed(np.array(sent[port.prefix]), port.tdata, port.signed)
        _compare_outputs(self.made, traced, outputs, f"the {name} phase")


def _signed(raw: Array, width: int, signed: bool) -> Array:
    values = raw.astype(object)
    if signed:
        values = np.where(values >= 1 << (width - 1), values - (1 << width), values)
    return values.astype(np.int64)


__all__ = ["COCOTB_FRAMES", "CocotbBench", "Measured", "Settings", "run"]
