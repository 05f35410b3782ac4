"""The SystemVerilog target's record."""

from __future__ import annotations

from collections.abc import Mapping

from qsim.ir.ops import Linear
from qsim.targets.rtl import verilator
from qsim.targets.rtl.design import Design, Options, plan
from qsim.targets.rtl.emit import files
from qsim.targets.rtl.lower.tables import instance
from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.run import Measured, Settings, run
from qsim.targets.rtl.runner import packages
from qsim.targets.target import Figure, Run, StoredWeights, Target


def predicted(design: Design) -> tuple[Figure, ...]:
    """Multipliers and cycles of the schedule, and the weights' memories."""
    plan = design.schedule
    return (
        Figure(name="multipliers", value=sum(plan.multipliers.values())),
        Figure(name="latency", value=plan.latency, unit="cycles"),
        Figure(name="cycles between frames", value=plan.interval, unit="cycles"),
        Figure(name="weights", value=sum(w.bits for w in weights(design).values()), unit="bits"),
    )


def figures(design: Design, run: Run[Measured]) -> tuple[Figure, ...]:
    """Multipliers, and the cycles of a free run beside the predicted ones, where something ran free: latency is the
    first frame's, the interval that between the last two."""
    plan, measured = design.schedule, run.measured.completions
    found = [
        ("multipliers", "", sum(plan.multipliers.values())),
        ("latency, predicted", "cycles", plan.latency),
        *(("latency, simulated", "cycles", cycle) for cycle in measured[:1]),
        ("cycles between frames, predicted", "cycles", plan.interval),
    ]
    if len(measured) > 1:
        found.append(("cycles between frames, simulated", "cycles", measured[-1] - measured[-2]))
    return tuple(Figure(name=name, value=value, unit=unit) for name, unit, value in found)


def weights(design: Design) -> Mapping[str, StoredWeights]:
    """Of each operation with weights its memory, padding included, and the arithmetic of its products."""
    found = {}
    for kernel in design.network.kernels:
        if isinstance(kernel, s.Window) and isinstance(kernel.op, Linear):
            made = instance(kernel, design.graph)
            memory = dict(made.memories)["WEIGHTS"]
            arithmetic = dict(made.parameters).get("KIND", "multiply").strip('"').lower()
            found[kernel.op.output] = StoredWeights(bits=memory.width * len(memory.words), kernel=arithmetic)
    return found


RTL = Target(
    name="rtl",
    title="SystemVerilog",
    options=Options,
    settings=Settings,
    thorough=Settings(check_cycles=True),
    tools=(verilator.environment, packages),
    plan=plan,
    files=files,
    run=run,
    predicted=predicted,
    figures=figures,
    weights=weights,
)

__all__ = ["RTL", "figures", "predicted", "weights"]
