"""A rescale by any real factor as integers: shift, multiplier and shift, or an exact division.

The user's choice (``Rescaling``) is either exact codes on the whole proven range, or multipliers of so many bits, with
the values counted whose codes differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from qsim.errors import UnsupportedError, UsageError
from qsim.importers.symbolic.value import Value, collapsed, fraction_gcd, is_dyadic, is_power_of_two
from qsim.ir.ops import Divide, RealRescale, Requantize
from qsim.numerics import INT64_SAFE, Array, IntArray, Overflow, Rescale, Rounding, Scheme, scalar
from qsim.proof.builder import GraphBuilder
from qsim.proof.exact import nearest_affine, smallest_affine
from qsim.proof.ranges import lane_bounds
from qsim.proof.rescales import differing_values
from qsim.proof.steps import magnitude

PLAIN_MULTIPLIER_BITS = 18
"""Exact multipliers up to this width (one DSP operand) stay where no narrower one does; wider ones only where nothing
else does."""

MOST_MULTIPLIER_BITS = 31
NOTED_LANES = 16
"""Channels that a note names; the others are counted together."""

Parts = tuple[Array, Array, Array | None]
"""Object arrays of integers: multiplier, addend, right shift (None: no shift)."""


@dataclass
class Rescaling:
    """How one import rescales. bits: None for exact codes, else the multipliers' greatest width.

    values, differing: of all accumulators rescaled so far, over their proven ranges, how many there are and how many of
    them have another code than exact arithmetic gives.
    """

    bits: int | None = None
    values: int = 0
    differing: int = 0

    @staticmethod
    def parse(text: str | None) -> Rescaling:
        """``exact`` (the default) or ``multiplier:N``, 1 <= N <= 31. Raises UsageError for anything else."""
        name, _, number = (text or "exact").partition(":")
        if name == "exact" and not number:
            return Rescaling()
        if name == "multiplier" and number.isascii() and number.isdigit() and 1 <= int(number) <= MOST_MULTIPLIER_BITS:
            return Rescaling(int(number))
        raise UsageError(
            f"rescale {text!r} is neither 'exact' nor 'multiplier:N' with N from 1 to {MOST_MULTIPLIER_BITS} bits."
        )

    def note(self, b: GraphBuilder) -> None:
        """The total, as a note of the graph."""
        if self.bits is not None:
            b.note(
                f"Rescales by multipliers of at most {self.bits} bits (rescale multiplier:{self.bits}): in all, "
                f"{self.differing} of the {self.values} accumulator values within the proven ranges have another code "
                "than the exact rescale gives."
            )


def int_array(values: Array) -> IntArray:
    """An object array of Python integers as an IntArray, collapsed to a scalar where all are equal."""
    return IntArray(np.asarray(collapsed(values), dtype=object).astype(np.int64))


def is_shift(op: Requantize | Divide) -> bool:
    """Whether a result of ``affine_op`` takes no multiplier: a shift, perhaps with an addend."""
    return isinstance(op, Requantize) and op.rescale.multiplier == scalar(1)


def real_rescale(factor: Array, addend: Array, codes: tuple[int, int], rounding: Rounding) -> RealRescale:
    """The real numbers that an op stands for; factor and addend have one shape."""
    return RealRescale(
        factor=tuple(factor.reshape(-1).tolist()),
        addend=tuple(addend.reshape(-1).tolist()),
        shape=factor.shape,
        rounding=rounding,
        low=codes[0],
        high=codes[1],
    )


def affine_op(
    b: GraphBuilder,
    value: Value,
    factor: Array,
    addend: Array,
    codes: tuple[int, int],
    rounding: Rounding,
    layer: str,
    name: str,
    rescaling: Rescaling,
) -> Requantize | Divide | None:
    """clip(round(code * factor + addend), *codes) of the value's tensor as the op that makes ``name``, or None.

    Exact, in order: shifts; the smallest multipliers that agree on the whole proven range; exact multipliers; an exact
    division. None: only a table can do it. With ``rescaling.bits``: see ``_limited``.
    """
    factor, addend = np.broadcast_arrays(factor, addend)
    low, high = codes
    x_range = b.tensor(value.tensor).range
    bounds = lane_bounds(b.interval(value.tensor), factor.shape)
    plain = _plain(factor, addend)
    plain = None if plain is None or not fits(plain, x_range) else plain
    real = real_rescale(factor, addend, codes, rounding)
    if plain is not None and _odd_bits(factor) <= 1:
        shifted = bool((addend == 0).all())
        return requantize(value.tensor, name, layer, plain, codes, rounding, real=None if shifted else real)
    if rescaling.bits is not None:
        return _limited(b, value, factor, addend, bounds, real, layer, name, rescaling)
    searched = _searched(factor, addend, bounds, codes, rounding)
    searched = None if searched is None or not fits(searched, x_range) else searched
    chosen = searched
    if plain is not None and _odd_bits(factor) <= PLAIN_MULTIPLIER_BITS:
        chosen = plain if searched is None or _width(searched) >= _width(plain) else searched
    if chosen is None:
        chosen = plain
    if chosen is not None:
        return requantize(value.tensor, name, layer, chosen, codes, rounding, real=real)
    division = _division(factor, addend)
    if division is not None and fits((division[0], division[1], None), x_range):
        numerator, added, divisor = (int_array(part) for part in division)
        if divisor.high <= INT64_SAFE:
            return Divide(
                inputs=(value.tensor,),
                output=name,
                layer=layer,
                numerator=numerator,
                addend=added,
                divisor=divisor,
                rounding=rounding,
                low=low,
                high=high,
            )
    return None


def _limited(
    b: GraphBuilder,
    value: Value,
    factor: Array,
    addend: Array,
    bounds: tuple[Array, Array],
    real: RealRescale,
    layer: str,
    name: str,
    rescaling: Rescaling,
) -> Requantize:
    """Multipliers of at most ``rescaling.bits`` bits: per lane the smallest whose codes are exact on the lane's whole
    proven range, where there is one; else the nearest to the real factor. Differing values are counted and noted."""
    bits = rescaling.bits
    assert bits is not None
    codes = real.low, real.high
    lanes = []
    x_low, x_high = (side.reshape(-1).tolist() for side in bounds)
    for f, a, low, high in zip(factor.reshape(-1).tolist(), addend.reshape(-1).tolist(), x_low, x_high):
        found = smallest_affine(f, a, (low, high), codes, real.rounding, bits) or nearest_affine(f, a, bits)
        lanes.append((found.multiplier, found.addend, found.shift))
    parts = as_parts(lanes, factor.shape)
    if not fits(parts, b.tensor(value.tensor).range):
        raise UnsupportedError(
            f"its rescale by {bits}-bit multipliers leaves 62 bits",
            layer=layer,
            way_out="use --rescale exact, or fewer bits",
        )
    made = requantize(value.tensor, name, layer, parts, codes, real.rounding, real=real)
    low, high = (side.reshape(-1).tolist() for side in lane_bounds(b.interval(value.tensor), real.shape))
    try:
        counts = differing_values(made, low, high)
    except UnsupportedError as error:
        raise UnsupportedError(error.reason, layer=layer, way_out=error.way_out) from error
    values = sum(y - x + 1 for x, y in zip(low, high))
    rescaling.values, rescaling.differing = rescaling.values + values, rescaling.differing + sum(counts)
    if any(counts):
        b.note(
            f"Layer {layer!r}: with multipliers of at most {bits} bits {sum(counts)} of {values} accumulator values "
            f"have another code than the exact rescale gives{_by_lane(counts)}."
        )
    return made


def _by_lane(counts: tuple[int, ...]) -> str:
    """ " (channel 0: 3, channel 5: 12)", for the channels that differ."""
    if len(counts) == 1:
        return ""
    differing = [(count, lane) for lane, count in enumerate(counts) if count]
    named = ", ".join(f"{lane}: {count}" for count, lane in differing[:NOTED_LANES])
    rest = differing[NOTED_LANES:]
    more = f", {len(rest)} more: {sum(count for count, _ in rest)}" if rest else ""
    return f" (by channel {named}{more})"


def _plain(factor: Array, addend: Array) -> Parts | None:
    """Exact multiplier, addend, shift per lane where everything is dyadic; a pure power of two has multiplier 1."""
    lanes = []
    for f, a in zip(factor.reshape(-1).tolist(), addend.reshape(-1).tolist()):
        if not (is_dyadic(f) and is_dyadic(a)):
            return None
        shift = f.denominator.bit_length() - 1
        if a:
            shift = max(shift, a.denominator.bit_length() - 1)
        elif is_power_of_two(f):
            shift = shift - (f.numerator.bit_length() - 1)
        unit = Fraction(2) ** shift
        lanes.append((int(f * unit), int(a * unit), shift))
    return as_parts(lanes, factor.shape)


def exact_parts(factor: Array, addend: Array) -> Parts | None:
    """As ``_plain``, with odd parts of at most PLAIN_MULTIPLIER_BITS bits."""
    return _plain(factor, addend) if _odd_bits(factor) <= PLAIN_MULTIPLIER_BITS else None


def as_parts(lanes: list[tuple[int, int, int]], shape: tuple[int, ...]) -> Parts:
    """(multiplier, addend, shift) of every lane as three arrays of ``shape``."""
    columns = []
    for i in range(3):
        column = np.empty(len(lanes), dtype=object)
        column[:] = [lane[i] for lane in lanes]
        columns.append(column.reshape(shape))
    return columns[0], columns[1], columns[2]


def _width(parts: Parts) -> int:
    """Bits of the widest multiplier."""
    return max(abs(m).bit_length() for m in parts[0].reshape(-1).tolist())


def _odd_bits(factor: Array) -> int:
    """The widest odd part among dyadic factors: 1 for powers of two."""
    odd = (abs(f.numerator) // (f.numerator & -f.numerator) for f in factor.reshape(-1).tolist() if f)
    return max((n.bit_length() for n in odd), default=0)


def _searched(
    factor: Array, addend: Array, bounds: tuple[Array, Array], codes: tuple[int, int], rounding: Rounding
) -> Parts | None:
    found: dict[tuple[Fraction, Fraction, int, int], tuple[int, int, int]] = {}
    lanes = []
    columns = (factor, addend, bounds[0], bounds[1])
    for f, a, x_low, x_high in zip(*(column.reshape(-1).tolist() for column in columns)):
        key = (f, a, x_low, x_high)
        if key not in found:
            best = smallest_affine(f, a, (x_low, x_high), codes, rounding)
            if best is None:
                return None
            found[key] = (best.multiplier, best.addend, best.shift)
        lanes.append(found[key])
    return as_parts(lanes, factor.shape)


def _division(factor: Array, addend: Array) -> tuple[Array, Array, Array] | None:
    """numerator, addend, divisor per lane: the exact fractions over their common denominators."""
    lanes = []
    for f, a in zip(factor.reshape(-1).tolist(), addend.reshape(-1).tolist()):
        divisor = 1 / fraction_gcd([Fraction(1), f, a])
        lanes.append((int(f * divisor), int(a * divisor), int(divisor)))
    numerator, added, divisors = as_parts(lanes, factor.shape)
    assert divisors is not None
    if max(divisors.reshape(-1).tolist()) > INT64_SAFE:
        return None
    return numerator, added, divisors


def fits(parts: Parts, x_range: tuple[int, int]) -> bool:
    """Whether x * multiplier + addend, left shifts included, stays within 62 bits."""
    multiplier, addend, shift = (None if p is None else p.reshape(-1).tolist() for p in parts)
    assert multiplier is not None
    assert addend is not None
    # Emitters and range analysis take extremes of each part on its own, so that is what must fit.
    m, a = max(map(abs, multiplier)), max(map(abs, addend))
    left = max(0, -min(shift)) if shift is not None else 0
    return (magnitude(x_range) * m + a) << left <= INT64_SAFE


def as_rescale(parts: Parts, rounding: Rounding) -> Rescale:
    """The parts as a PLAIN rescale."""
    multiplier, addend, shift = parts
    assert shift is not None
    return Rescale(
        multiplier=int_array(multiplier),
        addend=int_array(addend),
        shift=int_array(shift),
        rounding=rounding,
        scheme=Scheme.PLAIN,
    )


def requantize(
    source: str,
    name: str,
    layer: str,
    parts: Parts,
    codes: tuple[int, int],
    rounding: Rounding,
    *,
    negative: Parts | None = None,
    real: RealRescale | None = None,
) -> Requantize:
    """The op that makes ``name`` of tensor ``source``: rescaled by ``parts``, saturating at ``codes`` (low, high)."""
    return Requantize(
        inputs=(source,),
        output=name,
        layer=layer,
        rescale=as_rescale(parts, rounding),
        negative=None if negative is None else as_rescale(negative, rounding),
        overflow=Overflow.SAT,
        low=codes[0],
        high=codes[1],
        real=real,
    )


__all__ = [
    "Parts",
    "Rescaling",
    "affine_op",
    "as_parts",
    "exact_parts",
    "fits",
    "is_shift",
    "real_rescale",
    "requantize",
]
