"""What happens inside an operation: the bounds of every intermediate result, proven once and read by all.

Ranges (``proof.ranges``) say what a tensor's codes can be; steps say what the computation of a code passes through. The
importers ask whether a step fits 62 bits, the range rules refuse what does not, and each target takes its widths from
here. Targets write their kernels independently; only these bounds are shared. Bounds are inclusive, in Python integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qsim.numerics import IntArray, Rescale

Bounds = tuple[int, int]
"""(least, greatest)."""


def hull(*values: int) -> Bounds:
    """The bounds of some values."""
    return min(values), max(values)


def joined(bounds: Iterable[Bounds]) -> Bounds:
    """The bounds that hold all of them."""
    parts = list(bounds)
    return min(low for low, _ in parts), max(high for _, high in parts)


def centred(bounds: Bounds, zero_point: int) -> Bounds:
    """Of x - zero_point."""
    return bounds[0] - zero_point, bounds[1] - zero_point


def magnitude(bounds: Bounds, zero_point: int = 0) -> int:
    """The greatest |x - zero_point|."""
    return max(abs(end) for end in centred(bounds, zero_point))


# --- requantize and divide


@dataclass(frozen=True, kw_only=True)
class Affine:
    """round((x * m + a) / d) for parameters that change together along a tensor.

    products: of x * m; sums: of x * m + a; parameters: of m and a themselves; results: of floor and ceiling of the
    quotient, which hold what any rounding gives.
    """

    products: Bounds
    sums: Bounds
    parameters: Bounds
    results: Bounds


def affine(x: Bounds, multiplier: Sequence[int], addend: Sequence[int], divisor: Sequence[int]) -> Affine:
    """The steps over x in the given bounds. multiplier, addend, divisor: of one length, position by position."""
    products: list[int] = []
    sums: list[int] = []
    parameters: list[int] = []
    results: list[int] = []
    for m, a, d in zip(multiplier, addend, divisor, strict=True):
        ends = (x[0] * m, x[1] * m)
        products += ends
        parameters += (m, a)
        for value in (ends[0] + a, ends[1] + a):
            sums.append(value)
            results += (value // d, -(-value // d))
    return Affine(products=hull(*products), sums=hull(*sums), parameters=hull(*parameters), results=hull(*results))


def corners(x: Bounds, multiplier: IntArray, addend: IntArray) -> Bounds:
    """x * m + a for any of the multipliers with any of the addends: never narrower than ``affine``'s sums."""
    ends = ((m, a) for m in (multiplier.low, multiplier.high) for a in (addend.low, addend.high))
    return joined(hull(x[0] * m + a, x[1] * m + a) for m, a in ends)


def rescale_bounds(r: Rescale, low: int, high: int) -> Bounds:
    """The least and greatest intermediate x*m + a (left shifts included) for x in [low, high], zero among them.

    The proof behind every int64: callers compare it with 63 bits.
    """
    least, greatest = corners((low, high), r.multiplier, r.addend)
    lefts = (max(0, -r.shift.low), max(0, -r.shift.high))
    return hull(0, *(value << left for value in (least, greatest) for left in lefts))


# --- sums and products of tensors


@dataclass(frozen=True, kw_only=True)
class Terms:
    """A sum of terms factor * (x - zero_point), from the left. terms: of each; partial: of every partial sum."""

    terms: tuple[Bounds, ...]
    partial: Bounds


def aligned_terms(inputs: Sequence[Bounds], zero_points: Sequence[int], factors: Sequence[int]) -> Terms:
    """The steps of an addition: inputs by their ranges; factors: signed powers of two."""
    terms = tuple(
        hull(*(f * end for end in centred(x, z))) for x, z, f in zip(inputs, zero_points, factors, strict=True)
    )
    low = sum(min(0, term[0]) for term in terms)
    high = sum(max(0, term[1]) for term in terms)
    return Terms(terms=terms, partial=(low, high))


def product(a: Bounds, b: Bounds) -> Bounds:
    """Of x * y."""
    return hull(*(x * y for x in a for y in b))


__all__ = [
    "Affine",
    "Bounds",
    "Terms",
    "affine",
    "aligned_terms",
    "centred",
    "corners",
    "hull",
    "joined",
    "magnitude",
    "product",
    "rescale_bounds",
]
