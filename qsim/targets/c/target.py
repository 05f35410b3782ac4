"""The C target's record."""

from __future__ import annotations

from collections.abc import Mapping

from qsim.targets.c.design import Design, Options, files, plan
from qsim.targets.c.run import Measured, Settings, compiler, run
from qsim.targets.target import Figure, Run, StoredWeights, Target


def predicted(design: Design) -> tuple[Figure, ...]:
    """The bytes that the model takes."""
    taken = design.footprint
    return (
        Figure(name="ROM: weights and tables", value=taken.rom, unit="bytes"),
        Figure(name="RAM: arena and stack", value=taken.arena + taken.stack, unit="bytes"),
    )


def figures(design: Design, run: Run[Measured]) -> tuple[Figure, ...]:
    """What compiled it, and the bytes that the model takes."""
    return (Figure(name="compiler", value=run.measured.compiler), *predicted(design))


def weights(design: Design) -> Mapping[str, StoredWeights]:
    """Of each operation with weights the array of weights.c, counted where it is first used, and its kernel."""
    return {
        tensor: StoredWeights(bits=0 if tensor in array.users else 8 * array.bytes, kernel=family)
        for tensor, (array, family) in design.weight_arrays.items()
    }


C = Target(
    name="c",
    title="C",
    options=Options,
    settings=Settings,
    thorough=Settings(),
    tools=(compiler,),
    plan=plan,
    files=files,
    run=run,
    predicted=predicted,
    figures=figures,
    weights=weights,
)

__all__ = ["C", "figures", "predicted", "weights"]
