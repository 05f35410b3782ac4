"""Piecewise-linear functions of a symbolic value, exact by integers."""

from __future__ import annotations

from fractions import Fraction

from qsim.importers.symbolic.building import Building, Named
from qsim.importers.symbolic.value import Value, float32, fraction_gcd
from qsim.ir.ops import Requantize
from qsim.numerics import Overflow, Rescale, Rounding, Scheme, scalar


def leaky(ctx: Building, node: Named, value: Value, slope: float) -> Value:
    """x where x >= 0, slope * x below (slope as a float32 number), exactly: both branches as integer multipliers."""
    exact = float32(slope).item()
    value = ctx.grid(value, node.name, rising=True)
    grid = value.scale.item() * fraction_gcd([Fraction(1), exact])
    factors = [int(f / (grid / value.scale.item())) for f in (Fraction(1), exact)]
    low, high = ctx.b.tensor(value.tensor).range
    ends = [0, *(int(x) * factors[0] for x in (max(low, 0), max(high, 0)))]
    ends += [int(x) * factors[1] for x in (min(low, 0), min(high, 0))]
    positive, negative = (
        Rescale(
            multiplier=scalar(f), addend=scalar(0), shift=scalar(0), rounding=Rounding.RND_CONV, scheme=Scheme.PLAIN
        )
        for f in factors
    )
    result = Value.of("", node.name, value.shape, grid)
    op = Requantize(
        inputs=(value.tensor,),
        output=node.name,
        layer=node.name,
        rescale=positive,
        negative=negative,
        overflow=Overflow.SAT,
        low=min(ends),
        high=max(ends),
    )
    return result.but(tensor=ctx.add(op, result.scale, result.offset))
