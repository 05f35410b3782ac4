"""Build and run emitted files, and compare every tensor with the simulator."""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qsim.compare.report import Mismatch, Report, TargetResult, compare, layer_of
from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.numerics import Array
from qsim.simulate import Simulator
from qsim.simulate.engine import Arrays
from qsim.targets.files import TARGETS, emit

RUNNERS = {target: f"qsim.targets.{target}.run" for target in TARGETS}
"""Target -> the module whose ``run(graph, directory, codes, **settings)`` gives every tensor's codes."""


def verify(
    graph: Graph,
    x: Arrays,
    targets: Sequence[str] = ("c", "hls", "rtl"),
    *,
    codes: bool = False,
    directories: Mapping[str, Path] | None = None,
    options: Mapping[str, Mapping[str, object]] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Emit, build and run each target on ``x`` and compare every tensor with the simulator, code by code.

    x: real values, or integer codes if ``codes``; (N, *shape), a mapping for several inputs.
    directories: target -> folder of files that ``emit`` wrote before (they are run as they are, edited or not);
    targets without one are emitted into a temporary folder. options: target -> emit options. settings: target ->
    arguments of the runner (sanitize, seed, ...). progress is called with a sentence before each long step.

    Raises UsageError for an unknown target or a wrong input, ToolMissingError where a compiler or simulator is not
    installed: a target that did not run never counts as equal.
    """
    for target in targets:
        if target not in TARGETS:
            raise UsageError(f"unknown target {target!r}: choose from {', '.join(TARGETS)}")
    simulator = Simulator(graph, engine="numpy")  # the reference, not another set of compiled kernels
    inputs = simulator.check_codes(x) if codes else simulator.quantize(x)
    samples = next(iter(inputs.values())).shape[0]
    if samples == 0:
        raise UsageError("verification needs at least one input sample")
    expected = simulator.trace_codes(inputs)
    results = []
    for target in targets:
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="qsim-verify-") as scratch:
            directory = (directories or {}).get(target)
            if directory is None:
                directory = Path(scratch) / target
                emit(graph, target, directory, (options or {}).get(target))
            progress(f"{target}: build and run {samples} samples")
            actual, facts = run_target(graph, target, directory, inputs, (settings or {}).get(target, {}))
        counts, mismatches = compare(graph, target, expected, actual)
        results.append(
            TargetResult(
                target=target,
                samples=samples,
                tensors=counts,
                mismatches=mismatches,
                seconds=time.monotonic() - start,
                facts=facts,
                outputs={out.tensor: actual[out.tensor] for out in graph.outputs},
            )
        )
    return Report(graph=graph, results=tuple(results))


def run_target(
    graph: Graph, target: str, directory: Path, codes: Mapping[str, Array], settings: Mapping[str, Any]
) -> tuple[dict[str, Array], dict[str, object]]:
    """Run one target's files: (every tensor's codes, measured figures). Runners fill ``facts`` in place."""
    facts: dict[str, object] = {}
    runner = importlib.import_module(RUNNERS[target]).run
    traced: dict[str, Array] = runner(graph, Path(directory), dict(codes), facts=facts, **settings)
    return traced, facts


__all__ = ["Mismatch", "Report", "TargetResult", "compare", "layer_of", "run_target", "verify"]
