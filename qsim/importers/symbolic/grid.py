"""A symbolic value brought to one grid: the integers that an op reads which needs a common scale."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.symbolic.rescale import Parts, as_parts, fits, requantize
from qsim.importers.symbolic.value import Value, distinct, fraction_gcd, fractions
from qsim.ir import Quantization
from qsim.numerics import Array, Rounding
from qsim.numerics.nearest import round_nearest
from qsim.proof.builder import GraphBuilder
from qsim.proof.exact import nearest_affine
from qsim.proof.ranges import lane_bounds

WAY_OUT_GRID = "insert a QActivation with a quantizer before this layer"

FINE_BITS = 27
"""Magnitude bits of a fine grid: float32 holds 24, so that it rounds the greatest values more coarsely."""

FINE_MULTIPLIER_BITS = 31


def quantization(scale: Array, offset: Array) -> Quantization:
    """Scale and offset arrays (at most one axis) as a tensor's Quantization."""
    return Quantization(scale=tuple(scale.reshape(-1).tolist()), offset=tuple(offset.reshape(-1).tolist()))


def gridded(b: GraphBuilder, value: Value) -> bool:
    """Whether ``on_grid`` has an exact grid for the value."""
    return fits(_exact_parts(value)[1], b.tensor(value.tensor).range)


def _exact_parts(value: Value) -> tuple[Fraction, Parts]:
    """The greatest grid that holds every scale, offset and clamp, and the integers that bring codes onto it."""
    ends = [end for end in (value.floor, value.ceiling) if end is not None]
    grid = fraction_gcd([*distinct(value.scale, value.offset), *ends]) or Fraction(1)
    factor, addend = np.broadcast_arrays(value.scale / grid, value.offset / grid)
    return grid, (_ints(factor), _ints(addend), _ints(np.zeros(factor.shape, dtype=np.int64)))


def on_grid(b: GraphBuilder, value: Value, layer: str, *, rising: bool = False, name: str | None = None) -> Value:
    """The value with one scale, without offset, slope and clamps, exactly, by integers.

    The grid is the greatest one that holds every scale, offset and clamp. ``layer`` is who needs it, for the error.
    rising: the scale must be positive too. name: of the tensor; default the value's own layer. Raises
    UnsupportedError where the result takes more than 62 bits, or a real-valued function is pending.
    """
    value.settled()
    if value.slope is not None:
        plain = value.but(slope=None, floor=None, ceiling=None)
        found = on_grid(b, plain, layer, rising=True, name=f"{value.layer}.linear")
        return _sloped(b, found, value, layer, name)
    if value.uniform and value.scale.item() and not (rising and value.scale.item() < 0):
        return value
    grid, parts = _exact_parts(value)
    if not fits(parts, b.tensor(value.tensor).range):
        raise UnsupportedError(
            f"its input from layer {value.layer!r} has scales and offsets without a common grid in 62 bits",
            layer=layer,
            way_out=WAY_OUT_GRID,
        )
    low, high = _reach(b, value, parts[0], parts[1])
    low, high = _clamped_ends(value.floor, value.ceiling, grid, low, high)
    name = name or own_name(b, value.layer)
    op = requantize(value.tensor, name, value.layer, parts, (int(low), int(high)), Rounding.RND_CONV)
    tensor = b.add(op, quantization=Quantization.of(grid))
    return Value.of(tensor, value.layer, value.shape, grid)


def _sloped(b: GraphBuilder, plain: Value, value: Value, layer: str, name: str | None) -> Value:
    """``plain``, the value without slope and clamps on a rising grid, behind the value's slope and clamps."""
    assert value.slope is not None
    if (value.floor, value.ceiling) == (None, None):
        return leaky_codes(b, plain, value.slope, value.layer, name or own_name(b, value.layer))
    bent = leaky_codes(b, plain, value.slope, value.layer, f"{value.layer}.leaky")
    return on_grid(b, bent.clamp(value.floor, value.ceiling), layer, name=name)


def leaky_codes(b: GraphBuilder, value: Value, slope: Fraction, layer: str, name: str) -> Value:
    """x where x >= 0, slope * x below, of a value on a rising grid: both branches as integer multipliers."""
    unit = fraction_gcd([Fraction(1), slope])
    factors = int(1 / unit), int(slope / unit)
    low, high = b.tensor(value.tensor).range
    ends = [0, *(x * factors[0] for x in (max(low, 0), max(high, 0))), *(x * factors[1] for x in (min(low, 0), 0))]
    if high < 0:
        ends.append(high * factors[1])
    positive, negative = (as_parts([(f, 0, 0)], ()) for f in factors)
    codes = min(ends), max(ends)
    op = requantize(value.tensor, name, layer, positive, codes, Rounding.RND_CONV, negative=negative)
    grid = value.scale.item() * unit
    return Value.of(b.add(op, quantization=Quantization.of(grid)), layer, value.shape, grid)


def finely(b: GraphBuilder, value: Value, layer: str) -> Value:
    """The value rounded (half to even) to the finest power of two of which FINE_BITS bits hold it, and a note of it.

    Where scales have no common grid (batch normalizations, which float32 rounds), that is finer than what the source
    computes. Raises UnsupportedError where multipliers of that precision take more than 62 bits.
    """
    value.settled()
    if value.slope is None:
        return _rounded(b, value, layer, own_name(b, value.layer))
    plain = _rounded(b, value.but(slope=None, floor=None, ceiling=None), layer, f"{value.layer}.linear")
    grid, (low, high) = plain.scale.item(), b.tensor(plain.tensor).range
    below = nearest_affine(value.slope, Fraction(0), FINE_MULTIPLIER_BITS)
    ends = [_nearest(value.clamps(x * grid) / grid) for x in (low, high, min(max(low, 0), high))]
    op = requantize(
        plain.tensor, own_name(b, value.layer), value.layer, as_parts([(1, 0, 0)], ()), (min(ends), max(ends)),
        Rounding.RND_CONV, negative=as_parts([(below.multiplier, 0, below.shift)], ()),
    )  # fmt: skip
    return Value.of(b.add(op, quantization=Quantization.of(grid)), value.layer, value.shape, grid)


def _nearest(real: Fraction) -> int:
    return round_nearest(real, Rounding.RND_CONV)


def _rounded(b: GraphBuilder, value: Value, layer: str, name: str) -> Value:
    low, high = _reach(b, value, *np.broadcast_arrays(value.scale, value.offset))
    low, high = _clamped_ends(value.floor, value.ceiling, Fraction(1), low, high)
    grid = Fraction(2) ** (_exponent(max(abs(low), abs(high))) - FINE_BITS)
    factor, addend = np.broadcast_arrays(value.scale / grid, value.offset / grid)
    pairs = zip(factor.reshape(-1).tolist(), addend.reshape(-1).tolist())
    found = [nearest_affine(f, a, FINE_MULTIPLIER_BITS) for f, a in pairs]
    parts = as_parts([(a.multiplier, a.addend, a.shift) for a in found], factor.shape)
    if not fits(parts, b.tensor(value.tensor).range):
        raise UnsupportedError(
            f"its input from layer {value.layer!r} has scales and offsets without a common grid in 62 bits",
            layer=layer,
            way_out=WAY_OUT_GRID,
        )
    codes = _nearest(low / grid), _nearest(high / grid)
    op = requantize(value.tensor, name, value.layer, parts, codes, Rounding.RND_CONV)
    b.note(
        f"Layer {layer!r} reads real values of layer {value.layer!r} that have no common grid: qsim holds them in "
        f"{FINE_BITS + 1} bits, multiples of {float(grid)!r}, float32 in 24. A code of the quantizer behind can differ "
        "by one on a tie: compare with qsim diff, or put a quantizer between the two layers."
    )
    return Value.of(b.add(op, quantization=Quantization.of(grid)), value.layer, value.shape, grid)


def risen(b: GraphBuilder, value: Value) -> Value:
    """A channelwise value with every negative scale, and its codes, negated; offset, slope and clamps stay pending."""
    signs = fractions([-1 if s < 0 else 1 for s in value.scale.reshape(-1).tolist()]).reshape(value.scale.shape)
    parts = as_parts([(int(s), 0, 0) for s in signs.reshape(-1).tolist()], signs.shape)
    low, high = _reach(b, value.but(offset=0), signs, np.asarray(signs * 0))
    scale = np.asarray(value.scale * signs)
    name = f"{value.layer}.codes" if value.clamped else own_name(b, value.layer)
    op = requantize(value.tensor, name, value.layer, parts, (int(low), int(high)), Rounding.RND_CONV)
    return value.but(tensor=b.add(op, quantization=quantization(scale, value.offset)), scale=scale)


def real_bounds(b: GraphBuilder, value: Value) -> tuple[Fraction, Fraction]:
    """The least and greatest real value over the proven range, behind slope and clamps that rise."""
    low, high = _reach(b, value, *np.broadcast_arrays(value.scale, value.offset))
    ends = [value.clamps(v) for v in (low, high, min(max(low, Fraction(0)), high))]
    return min(ends), max(ends)


def _reach(b: GraphBuilder, value: Value, factor: Array, addend: Array) -> tuple[Fraction, Fraction]:
    """The least and greatest code * factor + addend over the value's proven range, lane by lane."""
    bounds = lane_bounds(b.interval(value.tensor), factor.shape)
    ends = [np.asarray(x.astype(object) * factor + addend) for x in bounds]
    corners = [v for end in ends for v in end.reshape(-1).tolist()]
    return min(corners), max(corners)


def _clamped_ends(
    floor: Fraction | None, ceiling: Fraction | None, grid: Fraction, low: Fraction, high: Fraction
) -> tuple[Fraction, Fraction]:
    """[low, high], in units of the grid, clamped."""
    if floor is not None:
        low, high = max(low, floor / grid), max(high, floor / grid)
    if ceiling is not None:
        low, high = min(low, ceiling / grid), min(high, ceiling / grid)
    return low, high


def _exponent(real: Fraction) -> int:
    """The least e with real < 2**e; 0 for zero."""
    if not real:
        return 0
    e = real.numerator.bit_length() - real.denominator.bit_length()
    return e + 1 if real >= Fraction(2) ** e else e


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
