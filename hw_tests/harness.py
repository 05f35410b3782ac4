"""Builds one kernel of templates/rtl/lib with cocotb's runner on Verilator, runs bench.py, and returns its output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from qsim.targets.rtl import runner, verilator

HERE = Path(__file__).parent
LIBRARY = HERE.parent / "templates" / "rtl" / "lib"

ROUNDS = ((0.0, 0.0), (0.4, 0.0), (0.0, 0.5), (0.3, 0.4))
"""(idle, backpressure): free-running, idle gaps, backpressure, both; a reset comes mid-stream before the last three."""


def memory(folder: Path, name: str, width: int, words: Sequence[int]) -> str:
    """Write a $readmemh file and return the parameter's text."""
    digits = -(-width // 4)
    mask = (1 << width) - 1
    (folder / name).write_text("".join(f"{word & mask:0{digits}x}\n" for word in words), encoding="utf-8")
    return f'"{folder / name}"'


def signed(raw: int, width: int) -> int:
    """Raw bits as a two's-complement number."""
    return raw - (1 << width) if raw >> (width - 1) & 1 else raw


def run_kernel(
    module: str,
    parameters: Mapping[str, object],
    inputs: Sequence[tuple[int, Sequence[int]]],
    expected: Sequence[int],
    folder: Path,
    *,
    seed: int = 1,
    rounds: Sequence[tuple[float, float]] = ROUNDS,
    patience: int = 3000,
) -> None:
    """Send ``inputs`` ((bits of an element, codes) for each stream) through ``module`` and compare with ``expected``
    (codes; only their low bits count, as many as the output has). Raises AssertionError with the first difference."""
    width = int(str(parameters.get("OUT_WIDTH", parameters.get("WIDTH"))))
    settings = {
        "inputs": [{"width": bits, "codes": [int(c) for c in codes]} for bits, codes in inputs],
        "expected": len(expected),
        "rounds": list(rounds),
        "seed": seed,
        "patience": patience,
        "cut": max(20, len(expected) * 2),
        "clocked": True,
        "results": str(folder / "results.json"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    _simulate(module, parameters, folder)
    mask = (1 << width) - 1
    want = [int(code) & mask for code in expected]
    for number, got in enumerate(json.loads((folder / "results.json").read_text(encoding="utf-8"))):
        got = got[: len(want)] if not inputs else got
        assert len(got) == len(want), f"round {number}: {len(got)} beats, not {len(want)}"
        for i, (a, b) in enumerate(zip(got, want)):
            assert a == b, f"round {number}: beat {i} is {signed(a, width)}, not {signed(b, width)} (bits {a:x}, {b:x})"


def _simulate(module: str, parameters: Mapping[str, object], folder: Path) -> None:
    """Build the module and run bench.py as the folder's settings.json says, which leaves results.json there."""
    build = folder / "build"
    build.mkdir(exist_ok=True)
    verilator.reuse_objects("cocotb", build)
    try:
        made = runner.build(
            module,
            sorted(LIBRARY.glob("*.sv")),
            build,
            parameters=parameters,
            make_flags=verilator.make_flags(False),
        )
        verilator.keep_objects("cocotb", build)
        environment = {"QSIM_BENCH": str(folder / "settings.json"), "PYTHONPATH": _python_path()}
        runner.run_bench(made, "bench", folder, environment=environment)
    except runner.RunnerError as error:
        raise AssertionError(f"{module}: {error}") from error
    assert (folder / "results.json").exists(), (folder / "test.log").read_text()[-2000:]


def _python_path() -> str:
    return os.pathsep.join([str(HERE), *sys.path])
