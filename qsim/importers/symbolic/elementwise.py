"""Piecewise-linear functions of a symbolic value, exact by integers."""

from __future__ import annotations

from fractions import Fraction

from qsim.errors import UnsupportedError
from qsim.importers.symbolic.building import Building, Named
from qsim.importers.symbolic.grid import gridded, leaky_codes
from qsim.importers.symbolic.rescale import as_parts, fits, requantize
from qsim.importers.symbolic.value import Value, float32, fraction_gcd
from qsim.numerics import Array, Rounding


def leaky(ctx: Building, node: Named, value: Value, slope: float) -> Value:
    """x where x >= 0, slope * x below (slope as a float32 number), exactly: by integers where the value has a common
    grid, else pending until a quantizer arrives."""
    exact = float32(slope).item()
    value.settled()
    if not value.clamped and not gridded(ctx.b, value):
        return value.but(slope=exact, layer=node.name)
    value = ctx.grid(value, node.name, rising=True)
    return leaky_codes(ctx.b, value, exact, node.name, node.name)


def leaky_by_channel(ctx: Building, node: Named, value: Value, slopes: Array) -> Value:
    """x where x >= 0, slopes[c] * x below, in channel c of the last axis, exactly. slopes: Fractions."""
    value = ctx.grid(value, node.name, rising=True)
    unit = fraction_gcd([Fraction(1), *slopes.tolist()])
    factors = [int(s / unit) for s in slopes.tolist()]
    one, (low, high) = int(1 / unit), ctx.b.tensor(value.tensor).range
    positive, negative = as_parts([(one, 0, 0)], ()), as_parts([(f, 0, 0) for f in factors], (len(factors),))
    if not (fits(positive, (low, high)) and fits(negative, (low, high))):
        raise UnsupportedError("its slopes have no common grid in 62 bits", way_out="quantize them to fewer bits")
    ends = [0, max(high, 0) * one, *(min(low, 0) * f for f in factors)]
    codes = min(ends), max(ends)
    op = requantize(value.tensor, node.name, node.name, positive, codes, Rounding.RND_CONV, negative=negative)
    result = Value.of("", node.name, value.shape, value.scale.item() * unit)
    return result.but(tensor=ctx.add(op, result.scale, result.offset))
