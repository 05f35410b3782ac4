"""Build and run emitted files, and compare every tensor with the simulator."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from qsim import process
from qsim.compare.report import Mismatch, Report, TargetResult, compare, layer_of
from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.numerics import Array
from qsim.simulate import Simulator
from qsim.simulate.engine import Arrays
from qsim.targets.files import write_files
from qsim.targets.registry import TARGETS, find
from qsim.targets.target import Outcome, Planned


def verify(
    graph: Graph,
    x: Arrays,
    targets: Sequence[str] = tuple(TARGETS),
    *,
    codes: bool = False,
    directories: Mapping[str, Path] | None = None,
    options: Mapping[str, Mapping[str, object]] | None = None,
    settings: Mapping[str, Mapping[str, object]] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Emit, build and run each target on ``x`` and compare every tensor with the simulator, code by code.

    x: real values, or integer codes if ``codes``; (N, *shape), a mapping for several inputs.
    directories: target -> folder of files that ``emit`` wrote before (they are run as they are, edited or not);
    targets without one are emitted into a temporary folder. options: target -> emit options, those of the files in
    ``directories`` too. settings: target -> of its run (sanitize, seed, ...). progress is called with a sentence before
    each long step.

    Raises UsageError for an unknown target, option or setting or a wrong input, ToolMissingError where a compiler or
    simulator is not installed: a target that did not run never counts as equal.
    """
    chosen = [find(name) for name in targets]
    simulator = Simulator(graph, engine="numpy")  # the reference, not another set of compiled kernels
    inputs = simulator.check_codes(x) if codes else simulator.quantize(x)
    plans = [target.planned(graph, (options or {}).get(target.name)) for target in chosen]
    return verify_planned(simulator, inputs, plans, directories=directories, settings=settings, progress=progress)


def verify_planned(
    simulator: Simulator,
    codes: Mapping[str, Array],
    plans: Sequence[Planned],
    *,
    directories: Mapping[str, Path] | None = None,
    settings: Mapping[str, Mapping[str, object]] | None = None,
    thorough: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """``verify`` of plans of the simulator's graph on checked input codes. thorough: see ``Planned.run``."""
    graph = simulator.graph
    samples = next(iter(codes.values())).shape[0]
    if samples == 0:
        raise UsageError("verification needs at least one input sample")
    expected = simulator.trace_codes(codes)
    results = []
    for plan in plans:
        name = plan.target.name
        start = time.monotonic()
        given = (settings or {}).get(name)
        progress(f"{name}: build and run {samples} samples")
        outcome = run_planned(plan, codes, (directories or {}).get(name), given, thorough=thorough)
        counts, mismatches = compare(graph, name, expected, outcome.tensors)
        results.append(
            TargetResult(
                target=name,
                samples=samples,
                tensors=counts,
                mismatches=mismatches,
                seconds=time.monotonic() - start,
                figures=outcome.figures,
                outputs={out.tensor: outcome.tensors[out.tensor] for out in graph.outputs},
            )
        )
    return Report(graph=graph, results=tuple(results))


def run_planned(
    plan: Planned,
    codes: Mapping[str, Array],
    directory: Path | None = None,
    settings: Mapping[str, object] | None = None,
    *,
    thorough: bool = False,
) -> Outcome:
    """Run a plan's files in ``directory``, by default fresh ones in a temporary folder."""
    with process.scratch("verify") as scratch:
        if directory is None:
            directory = scratch / plan.target.name
            write_files(plan.files(), directory, plan.target.name, plan.graph)
        return plan.run(Path(directory), codes, settings, thorough=thorough)


__all__ = ["Mismatch", "Report", "TargetResult", "compare", "layer_of", "run_planned", "verify", "verify_planned"]
