"""A symbolic value brought to one grid: the integers that an op reads which needs a common scale."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.symbolic.rescale import Parts, fits, requantize
from qsim.importers.symbolic.value import Value, distinct, fraction_gcd
from qsim.ir import Quantization
from qsim.numerics import Array, Rounding
from qsim.proof.builder import GraphBuilder
from qsim.proof.ranges import lane_bounds

WAY_OUT_GRID = "insert a QActivation with a quantizer before this layer"


def quantization(scale: Array, offset: Array) -> Quantization:
    """Scale and offset arrays (at most one axis) as a tensor's Quantization."""
    return Quantization(scale=tuple(scale.reshape(-1).tolist()), offset=tuple(offset.reshape(-1).tolist()))


def on_grid(b: GraphBuilder, value: Value, layer: str, *, rising: bool = False, name: str | None = None) -> Value:
    """The value with one scale, without offset and clamps, exactly, by integers.

    The grid is the greatest one that holds every scale, offset and clamp. ``layer`` is who needs it, for the error.
    rising: the scale must be positive too. name: of the tensor; default the value's own layer. Raises
    UnsupportedError where the result takes more than 62 bits, or a real-valued function is pending.
    """
    value.settled()
    if value.uniform and value.scale.item() and not (rising and value.scale.item() < 0):
        return value
    ends = [end for end in (value.floor, value.ceiling) if end is not None]
    grid = fraction_gcd([*distinct(value.scale, value.offset), *ends]) or Fraction(1)
    factor, addend = np.broadcast_arrays(value.scale / grid, value.offset / grid)
    parts: Parts = (_ints(factor), _ints(addend), _ints(np.zeros(factor.shape, dtype=np.int64)))
    if not fits(parts, b.tensor(value.tensor).range):
        raise UnsupportedError(
            f"its input from layer {value.layer!r} has scales and offsets without a common grid in 62 bits",
            layer=layer,
            way_out=WAY_OUT_GRID,
        )
    lows, highs = lane_bounds(b.interval(value.tensor), factor.shape)
    ends_of_lanes = [np.asarray(x.astype(object) * parts[0] + parts[1]) for x in (lows, highs)]
    corners = [v for end in ends_of_lanes for v in end.reshape(-1).tolist()]
    low, high = min(corners), max(corners)
    if value.floor is not None:
        low, high = max(low, int(value.floor / grid)), max(high, int(value.floor / grid))
    if value.ceiling is not None:
        low, high = min(low, int(value.ceiling / grid)), min(high, int(value.ceiling / grid))
    name = name or own_name(b, value.layer)
    op = requantize(value.tensor, name, value.layer, parts, (low, high), Rounding.RND_CONV)
    tensor = b.add(op, quantization=Quantization.of(grid))
    return Value.of(tensor, value.layer, value.shape, grid)


def scaled_to(b: GraphBuilder, value: Value, grid: Fraction, layer: str) -> Value:
    """A uniform value on ``grid``, which divides its scale, by an integer multiplier."""
    factor = value.scale.item() / grid
    if factor == 1:
        return value
    parts: Parts = (_ints(np.asarray(factor)), _ints(np.asarray(0)), _ints(np.asarray(0)))
    x_range = b.tensor(value.tensor).range
    if not fits(parts, x_range):
        raise UnsupportedError("its inputs have no common grid in 62 bits", layer=layer, way_out=WAY_OUT_GRID)
    low, high = sorted(int(factor) * x for x in x_range)
    name = own_name(b, value.layer)
    op = requantize(value.tensor, name, value.layer, parts, (low, high), Rounding.RND_CONV)
    tensor = b.add(op, quantization=Quantization.of(grid))
    return Value.of(tensor, value.layer, value.shape, grid)


def own_name(b: GraphBuilder, layer: str) -> str:
    """The layer's own name for a tensor that holds its output, or ``<layer>.grid`` where another one has it."""
    try:
        b.tensor(layer)
    except KeyError:
        return layer
    return f"{layer}.grid"


def _ints(values: Array) -> Array:
    result = np.empty(values.size, dtype=object)
    result[:] = [int(v) for v in np.asarray(values, dtype=object).reshape(-1).tolist()]
    return result.reshape(values.shape)
