"""The tables of the C target: op -> part of a layer function, and which ops share one. The first has every entry."""

from __future__ import annotations

from qsim.ir import ops as o
from qsim.targets.c.lower import combine, linear, move, pool, rescale, softmax
from qsim.targets.c.parts import Lower

LOWER: dict[type[o.Op], Lower] = {
    **linear.LOWER,
    **combine.LOWER,
    **rescale.LOWER,
    **pool.LOWER,
    **move.LOWER,
    **softmax.LOWER,
}
o.check_registry(LOWER, "emit.c")

FUSABLE: dict[type[o.Op], bool] = {
    op: op
    in (
        o.Conv2D,
        o.ConvTranspose2D,
        o.Dense,
        o.MatMul,
        o.Add,
        o.Mul,
        o.Extremum,
        o.SumPool2D,
        o.MaxPool2D,
        o.Reduce,
        o.Requantize,
        o.Divide,
        o.Threshold,
        o.Lookup,
    )
    for op in o.OPS
}
"""Ops that make their output block by block, so that elementwise ops can follow in the same layer function."""

TAILS: tuple[type[o.Op], ...] = (o.Requantize, o.Divide, o.Threshold, o.Lookup)
"""Ops that can follow in a fused layer."""

MERGES: tuple[type[o.Op], ...] = (o.Add, o.Mul, o.Extremum)
"""Ops whose inputs can be blocks made by elementwise ops in the same layer function."""

__all__ = ["FUSABLE", "LOWER", "MERGES", "TAILS"]
