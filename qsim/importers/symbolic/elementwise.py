"""Piecewise-linear functions of a symbolic value, exact by integers."""

from __future__ import annotations

from qsim.importers.symbolic.building import Building, Named
from qsim.importers.symbolic.grid import gridded, leaky_codes
from qsim.importers.symbolic.value import Value, float32


def leaky(ctx: Building, node: Named, value: Value, slope: float) -> Value:
    """x where x >= 0, slope * x below (slope as a float32 number), exactly: by integers where the value has a common
    grid, else pending until a quantizer arrives."""
    exact = float32(slope).item()
    value.settled()
    if not value.clamped and not gridded(ctx.b, value):
        return value.but(slope=exact, layer=node.name)
    value = ctx.grid(value, node.name, rising=True)
    return leaky_codes(ctx.b, value, exact, node.name, node.name)
