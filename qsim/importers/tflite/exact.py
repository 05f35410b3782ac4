"""Integer forms of floating-point kernels, equal to them on the whole accumulator range.

LiteRT's reference FULLY_CONNECTED rounds float64(acc * factor) half away from zero. A float64 factor has up to 53
bits, too many for hardware; but only the accumulator values where the output code changes matter, so the least
multiplier is searched whose codes change at the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qsim.errors import UnsupportedError
from qsim.numerics import INT64_SAFE, Array, IntArray, Rescale, Rounding, Scheme, scalar

_LEAST_BITS = 16


def _round_away(x: Array) -> Array:
    return np.asarray(np.sign(x) * np.floor(np.abs(x) + 0.5))


def _changes(factor: float, low: int, high: int, codes: Array) -> tuple[Array, Array]:
    """For each code r in ``codes`` the least accumulator t in [low, high] with round(t * factor) >= r, where there is
    one above low: (codes, accumulators). round(t * factor) does not fall with t."""
    t = np.clip(np.ceil((codes - 0.5) / factor), low - 2, high + 2).astype(np.int64) - 2
    for _ in range(4):  # from two below the real solution upwards: float64 is off by far less than one
        t += _round_away(t * factor) < codes
    inside = (t > low) & (t <= high)
    return codes[inside], t[inside]


def _search(factor: float, low: int, high: int, codes: Array) -> tuple[int, int] | None:
    if low == high == 0:
        return 0, 1
    wanted, t = _changes(factor, low, high, codes)
    mantissa, exponent = np.frexp(factor)
    reach = max(abs(low), abs(high), 1)
    for bits in range(_LEAST_BITS, 54):
        m, shift = round(float(mantissa) * (1 << bits)), bits - int(exponent)
        if m * reach > INT64_SAFE or shift < 1:
            return None

        def rounded(x: Array, m: int = m, shift: int = shift) -> Array:
            product = np.abs(x * m) + (1 << (shift - 1))
            return np.asarray(np.where(x < 0, -(product >> shift), product >> shift))

        if shift <= 62 and (rounded(t) >= wanted).all() and (rounded(t - 1) < wanted).all():
            return m, shift
    return None


def float64_rescale(
    factors: Sequence[float], ranges: Sequence[tuple[int, int]], bounds: tuple[int, int]
) -> Rescale | None:
    """A PLAIN rescale equal to round_half_away(float64(acc * factor)) clipped to ``bounds``; None where no multiplier
    with products of up to 62 bits gives the same codes.

    Parameters
    ----------
    factors: one per channel (positive). ranges: the proven accumulator range per channel.
    bounds: least and greatest code, before the zero point is added.
    """
    codes = np.arange(bounds[0] + 1, bounds[1] + 1, dtype=np.int64)
    pairs = []
    for factor, (low, high) in zip(factors, ranges, strict=True):
        pair = _search(factor, low, high, codes)
        if pair is None:
            return None
        pairs.append(pair)
    one = all(p == pairs[0] for p in pairs)
    return Rescale(
        multiplier=scalar(pairs[0][0]) if one else IntArray([m for m, _ in pairs]),
        addend=scalar(0),
        shift=scalar(pairs[0][1]) if one else IntArray([s for _, s in pairs]),
        rounding=Rounding.RND_INF,
        scheme=Scheme.PLAIN,
    )


FINE_BITS = 28
"""Bits of the lower of the two multipliers of ``float64_split``."""


def float64_split(
    factors: Sequence[float], ranges: Sequence[tuple[int, int]], bounds: tuple[int, int], layer: str
) -> tuple[IntArray, IntArray, IntArray]:
    """(coarse, fine, shift) per channel: the factor's own 53 bits m = coarse * 2**28 + fine, so that

    round_half_away(float64(acc * factor)) = round_half_up((acc * coarse + floor(acc * fine / 2**28)) * 2**-shift)

    on the whole range, clipped to ``bounds``: checked where the codes change. Parameters as in ``float64_rescale``.
    Raises UnsupportedError where the two differ or a product leaves 62 bits.
    """
    codes = np.arange(bounds[0] + 1, bounds[1] + 1, dtype=np.int64)
    found = []
    for factor, (low, high) in zip(factors, ranges, strict=True):
        mantissa, exponent = np.frexp(factor)
        m, shift = int(mantissa * (1 << 53)), 53 - int(exponent)
        coarse, fine = m >> FINE_BITS, m & ((1 << FINE_BITS) - 1)
        wanted, t = (a.astype(object) for a in _changes(factor, low, high, codes))
        half = 1 << (shift - 1)
        same = all((a * m + half >> shift) >= c > ((a - 1) * m + half >> shift) for c, a in zip(wanted, t, strict=True))
        if not same or max(abs(low), abs(high)) * max(coarse, fine) > INT64_SAFE or not 0 < shift - FINE_BITS <= 62:
            raise UnsupportedError(
                f"no integer multiplier gives LiteRT's float64 rescale by {factor!r} on [{low}, {high}]",
                layer=layer,
                way_out="choose profile='tflm'",
            )
        found.append((coarse, fine, shift - FINE_BITS))
    coarse_all, fine_all, shifts = (IntArray(list(column)) for column in zip(*found, strict=True))
    return coarse_all, fine_all, shifts


def step_function(function: Callable[[Array], Array], low: int, high: int) -> tuple[IntArray, int]:
    """(thresholds of shape (1, K), base) with function(x) = base + #{k : x >= thresholds[0, k]} on [low, high].

    function: int64 array -> int64 array; it must not fall on [low, high]. Bisection, so a wide range costs little.
    """
    base, last = (int(function(np.array([x], dtype=np.int64))[0]) for x in (low, high))
    codes = np.arange(base + 1, last + 1, dtype=np.int64)
    below, reached = np.full_like(codes, low), np.full_like(codes, high)
    while (reached - below > 1).any():
        middle = (below + reached) // 2
        above = function(middle) >= codes
        below, reached = np.where(above, below, middle), np.where(above, middle, reached)
    return IntArray([reached if len(reached) else [high + 1]]), base
