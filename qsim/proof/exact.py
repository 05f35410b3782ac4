"""Exact integer forms of real rescales: the smallest multiplier and shift that give the same codes over a whole range.

The reference is code = clip(round(x * factor + addend), low, high) on exact fractions, x over every integer of a
proven range. It rises (or falls) in x, so it is known by its breakpoints: the least x of each code. A multiplier,
addend and shift give the same codes for every x exactly when they do so on both sides of every breakpoint; for a
fixed multiplier and shift that is an interval for the addend, and the search is over multipliers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from qsim.numerics import Array, Rounding, exhaustive
from qsim.numerics.nearest import round_nearest, ties_up

SAMPLE = 64
MOST_BREAKPOINTS = 1 << 16
"""Ranges with more distinct codes than this are not searched."""


@dataclass(frozen=True)
class Affine:
    """code = round((x * multiplier + addend) * 2**-shift) before clipping; shift >= 0."""

    multiplier: int
    addend: int
    shift: int


def reference(x: int, factor: Fraction, addend: Fraction, low: int, high: int, rounding: Rounding) -> int:
    """clip(round(x * factor + addend), low, high)."""
    return min(max(round_nearest(x * factor + addend, rounding), low), high)


def first_reaching(at: Fraction, inclusive: bool, factor: Fraction, addend: Fraction) -> int:
    """The least integer x with x * factor + addend >= at (or > at where not ``inclusive``); factor > 0."""
    x = (at - addend) / factor
    floor = x.__floor__()
    return floor if x == floor and inclusive else floor + 1


def breakpoints(factor: Fraction, addend: Fraction, codes: Sequence[int], rounding: Rounding) -> list[int]:
    """For each code k the least x whose unclipped code is k or more; factor > 0."""
    # x * factor + addend >= k - 1/2 over one common denominator, in plain integers for speed.
    numerator = 2 * factor.numerator * addend.denominator
    constant, unit = -2 * addend.numerator * factor.denominator, factor.denominator * addend.denominator
    found = []
    for k in codes:
        x, rest = divmod((2 * k - 1) * unit + constant, numerator)
        found.append(x if rest == 0 and ties_up(k, rounding) else x + 1)
    return found


def smallest_affine(
    factor: Fraction,
    addend: Fraction,
    x_range: tuple[int, int],
    codes: tuple[int, int],
    rounding: Rounding,
    max_bits: int = 31,
) -> Affine | None:
    """The multiplier of least width, with addend and shift, whose codes equal the reference for every x of the range.

    factor, addend: of the reference. codes: its clipping limits. The addend is the one nearest to zero. None where no
    multiplier up to ``max_bits`` bits does it (a tie that different codes break in different directions, say), or
    where the range holds too many codes to search.
    """
    (x_low, x_high), (code_low, code_high) = x_range, codes
    if factor < 0:
        found = smallest_affine(-factor, -addend, x_range, (-code_high, -code_low), mirrored(rounding), max_bits)
        return None if found is None else Affine(-found.multiplier, -found.addend, found.shift)
    first = reference(x_low, factor, addend, code_low, code_high, rounding)
    last = reference(x_high, factor, addend, code_low, code_high, rounding)
    if last - first > MOST_BREAKPOINTS:
        return None
    if first == last:
        return Affine(0, first, 0)
    at = breakpoints(factor, addend, range(first + 1, last + 1), rounding)
    return smallest_reaching(factor, (first, last), at, x_range, codes, rounding, max_bits)


def smallest_reaching(
    factor: Fraction,
    ends: tuple[int, int],
    at: Sequence[int],
    x_range: tuple[int, int],
    codes: tuple[int, int],
    rounding: Rounding,
    max_bits: int = 31,
) -> Affine | None:
    """As ``smallest_affine``, of any rising staircase: ends are its codes at the range's ends, at the least x of every
    code behind the first. factor > 0: about the staircase's slope, which the multipliers stay near."""
    (first, last), (x_low, x_high), (code_low, code_high) = ends, x_range, codes
    if first == last:
        return Affine(0, first, 0)
    inner = range(first + 1, last + 1)
    # Lower ends: code k is reached at at[k]. Upper ends: it is not reached one before. At the ends of the range the
    # codes must not fall below the first nor rise above the last, unless clipping hides it.
    lower_k, lower_x = list(inner), list(at)
    upper_k, upper_x = list(inner), [x - 1 for x in at]
    if first > code_low:
        lower_k.insert(0, first)
        lower_x.insert(0, x_low)
    if last < code_high:
        upper_k.append(last + 1)
        upper_x.append(x_high)
    lower, upper = _Side(lower_k, lower_x, rounding), _Side(upper_k, upper_x, rounding)
    # A sample of the conditions rules most candidates out at a fraction of the cost.
    few = lower.sample(), upper.sample()
    size = _bit_length(factor)
    for bits in range(1, max_bits + 1):
        shift = bits - size
        if shift < 0:
            continue
        exact = factor * (1 << shift)
        base = exact.__floor__()
        for multiplier in (base,) if exact == base else (base, base + 1):
            if multiplier.bit_length() != bits:
                continue
            if few[0].least_addend(multiplier, shift) > few[1].most_addend(multiplier, shift):
                continue
            least, most = lower.least_addend(multiplier, shift), upper.most_addend(multiplier, shift)
            if least <= most:
                return Affine(multiplier, min(max(0, least), most), shift)
    return None


def nearest_affine(factor: Fraction, addend: Fraction, bits: int) -> Affine:
    """The multiplier of ``bits`` significant bits that is nearest to the factor (ties to the larger magnitude), and
    the nearest addend on its grid. A factor of 2**bits or more keeps zeros behind its significant bits."""
    if factor == 0:
        return Affine(0, round_nearest(addend, Rounding.RND_CONV), 0)
    shift = bits - _bit_length(abs(factor))
    multiplier = round_nearest(factor * Fraction(2) ** shift, Rounding.RND_INF)
    if abs(multiplier) == 1 << bits:  # the next power of two, by one bit less
        multiplier, shift = multiplier // 2, shift - 1
    if shift < 0:
        multiplier, shift = multiplier << -shift, 0
    return Affine(multiplier, round_nearest(addend * (1 << shift), Rounding.RND_CONV), shift)


_MIRRORED: Mapping[Rounding, Rounding | None] = exhaustive(
    {
        Rounding.TRN: None,
        Rounding.TRN_ZERO: Rounding.TRN_ZERO,
        Rounding.RND: Rounding.RND_MIN_INF,
        Rounding.RND_ZERO: Rounding.RND_ZERO,
        Rounding.RND_MIN_INF: Rounding.RND,
        Rounding.RND_INF: Rounding.RND_INF,
        Rounding.RND_CONV: Rounding.RND_CONV,
    },
    Rounding,
    "proof.exact",
)


def mirrored(rounding: Rounding) -> Rounding:
    """The mode m' with round_m(-x) = -round_m'(x). Raises ValueError where there is none."""
    found = _MIRRORED[rounding]
    if found is None:
        raise ValueError(f"{rounding} has no mirrored mode")
    return found


def _bit_length(factor: Fraction) -> int:
    """floor(log2(factor)) + 1 for factor > 0."""
    size = factor.numerator.bit_length() - factor.denominator.bit_length()
    return size + 1 if factor >= Fraction(2) ** size else size


class _Side:
    """Conditions "code k is (not) reached at x" for arrays of k and x."""

    def __init__(self, k: list[int], x: list[int], rounding: Rounding) -> None:
        wide = max((abs(v) for v in [*k, *x]), default=0).bit_length() > 60
        dtype = object if wide else np.int64
        self.k, self.x = np.array(k, dtype=dtype), np.array(x, dtype=dtype)
        self.rounding = rounding
        self.up = np.array([ties_up(v, rounding) for v in k], dtype=bool)
        self.reach = max((abs(v) for v in x), default=0), max((abs(v) for v in k), default=0)

    def sample(self) -> _Side:
        """At most SAMPLE of the conditions, evenly spread."""
        chosen = np.unique(np.linspace(0, len(self.k) - 1, min(SAMPLE, len(self.k))).astype(int))
        return _Side(self.k[chosen].tolist(), self.x[chosen].tolist(), self.rounding)

    def _terms(self, multiplier: int, shift: int) -> tuple[Array, Array]:
        x, k = self.x, self.k
        if self.reach[0] * multiplier >= 1 << 61 or (2 * self.reach[1] + 1) << shift >= 1 << 61:
            x, k = x.astype(object), k.astype(object)
        return (2 * k - 1) * (1 << shift), x * multiplier

    def least_addend(self, multiplier: int, shift: int) -> int:
        """The least a with round((x * multiplier + a) * 2**-shift) >= k for all."""
        twice, product = self._terms(multiplier, shift)
        if shift == 0:
            return int(((twice + 1) // 2 - product).max())
        return int((twice // 2 - product + ~self.up).max()) if len(self.k) else 0

    def most_addend(self, multiplier: int, shift: int) -> int:
        """The greatest a with round((x * multiplier + a) * 2**-shift) < k for all."""
        twice, product = self._terms(multiplier, shift)
        if shift == 0:
            return int(((twice - 1) // 2 - product).min())
        return int((twice // 2 - product - self.up).min()) if len(self.k) else 0


def integer_thresholds(
    jumps: Sequence[tuple[Fraction, bool, int]], base: int, factor: Fraction, addend: Fraction
) -> tuple[int, list[tuple[int, int]]]:
    """A rising staircase of the real value x * factor + addend as one of the integer x.

    jumps: (at, inclusive, rise) in rising order. Returns (base', [(t, rise'), ...]) with t ascending and
    code = base' + sum of rise' over t <= x; rises are negative where factor is.
    """
    if factor == 0:
        return base + sum(rise for at, inclusive, rise in jumps if addend > at or (inclusive and addend == at)), []
    if factor > 0:
        return base, [(first_reaching(at, inclusive, factor, addend), rise) for at, inclusive, rise in jumps]
    # x * factor + addend >= at holds for x up to some T, and so falls away at T + 1.
    falling = []
    for at, inclusive, rise in jumps:
        beyond = first_reaching(-at, not inclusive, -factor, -addend)
        falling.append((beyond, -rise))
    return base + sum(rise for _, _, rise in jumps), falling[::-1]
