"""A foreign design built and run in Verilator under the cocotb bench: the words that came through its ports."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from qsim.debug.cosim.config import CosimConfig, Port
from qsim.debug.cosim.ports import Records, View, Word
from qsim.debug.vectors import mem_text
from qsim.errors import QsimError, UsageError
from qsim.numerics import Array
from qsim.targets.rtl import runner

MAKE_FLAGS = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0")
"""Of Verilator's makefile: a design is built once and run for some thousand cycles."""

MOST_LATENCY = 256
"""Cycles among which a latency that the description does not give is sought."""

_SCALE = ("1ns", "1ns")
_DRAIN = 20
"""Cycles that the bench goes on after the last word."""


def simulate(
    config: CosimConfig, views: Sequence[View], trace: Mapping[str, Array], scratch: Path
) -> tuple[Records, Path | None]:
    """(the words of every port, the waveform of the run). scratch: the folder for all files.

    trace: the simulator's codes of every tensor. Raises QsimError where the design does not build or run, UsageError
    where it has not the ports of its description.
    """
    files = _vector_files(views, trace, scratch)
    settings = scratch / "settings.json"
    settings.write_text(json.dumps(_settings(config, views, trace, scratch)), encoding="utf-8")
    build = scratch / "build"
    try:
        made = runner.build(
            config.top,
            [config.folder / name for name in config.sources],
            build,
            includes=[config.folder / name for name in config.includes],
            parameters=config.parameters,
            timescale=_SCALE,
            waves=True,
            make_flags=MAKE_FLAGS,
        )
        runner.run_bench(made, "qsim.debug.cosim.bench", scratch, environment={"QSIM_COSIM": str(settings)})
    except runner.RunnerError as error:
        raise QsimError(f"the RTL {config.top!r} does not build or run: {error}") from error
    if not (scratch / "results.json").exists():
        raise QsimError(f"the cosimulation of {config.top!r} ended early. {runner.last_words(scratch / 'test.log')}")
    results = json.loads((scratch / "results.json").read_text(encoding="utf-8"))
    if "problem" in results:
        raise UsageError(results["problem"])
    records: Records = {name: [Word(*beat) for beat in beats] for name, beats in results["records"].items()}
    for view in views:
        if view.port.protocol == "file" and view.port.direction != "in":
            records[view.port.name] = [Word(0, word, None) for word in _read_mem(files[view.port.name], view.port)]
    wave = next(iter(sorted(scratch.glob("*.vcd")) + sorted(build.glob("*.vcd"))), None)
    return records, wave


def _vector_files(views: Sequence[View], trace: Mapping[str, Array], scratch: Path) -> dict[str, Path]:
    """Port -> the file that a design without streams reads or writes; those that it reads are written."""
    files = {v.port.name: scratch / Path(v.port.file or "").name for v in views if v.port.protocol == "file"}
    for view in views:
        if view.port.protocol == "file" and view.port.direction == "in":
            words = np.array([w for sample in view.words(trace[view.tensor.name]) for w in sample], dtype=object)
            files[view.port.name].write_text(mem_text(words, view.slot * view.port.lanes), encoding="utf-8")
    return files


def _settings(
    config: CosimConfig, views: Sequence[View], trace: Mapping[str, Array], scratch: Path
) -> dict[str, object]:
    """What the bench reads, as JSON."""
    latency = MOST_LATENCY if config.latency is None else config.latency
    return {
        "clock": config.clock,
        "reset": config.reset,
        "reset_active": config.reset_active,
        "done": config.done,
        "seed": config.seed,
        "idle": config.idle,
        "backpressure": config.backpressure,
        "frames": config.frames,
        "timeout": config.timeout * config.frames,
        "drain": max(_DRAIN, 1 + latency) if any(v.port.timed for v in views) else _DRAIN,
        "results": str(scratch / "results.json"),
        "ports": [view.settings for view in views],
        "words": {v.port.name: v.words(trace[v.tensor.name]) for v in views if v.port.direction == "in"},
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
