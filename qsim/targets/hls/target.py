"""The HLS target's record."""

from __future__ import annotations

from collections.abc import Mapping

from qsim.targets.hls.design import Design, Options, files, plan
from qsim.targets.hls.run import Settings, ap_types, compiler, run
from qsim.targets.target import Figure, Run, StoredWeights, Target


def predicted(design: Design) -> tuple[Figure, ...]:
    """The weights' memory; cycles and multipliers are for Vitis to say."""
    return (Figure(name="weights", value=sum(w.bits for w in design.weights.values()), unit="bits"),)


def figures(design: Design, run: Run[None]) -> tuple[Figure, ...]:
    """C simulation measures nothing of the hardware."""
    return ()


def weights(design: Design) -> Mapping[str, StoredWeights]:
    return design.weights


HLS = Target(
    name="hls",
    title="HLS C++",
    options=Options,
    settings=Settings,
    thorough=Settings(),
    tools=(compiler, ap_types),
    plan=plan,
    files=files,
    run=run,
    predicted=predicted,
    figures=figures,
    weights=weights,
)

__all__ = ["HLS", "figures", "predicted", "weights"]
