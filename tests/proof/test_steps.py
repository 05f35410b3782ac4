"""Bounds of intermediate results against every value that they bound."""

from __future__ import annotations

from itertools import product as every

import numpy as np
import pytest

from qsim.numerics import IntArray, Rescale, Rounding, Scheme, divide_rounded
from qsim.proof import steps


def test_rescale_bounds_hold_every_intermediate() -> None:
    r = Rescale(
        multiplier=IntArray([3, -7]),
        addend=IntArray([-4, 9]),
        shift=IntArray([2, -3]),
        rounding=Rounding.RND,
        scheme=Scheme.PLAIN,
    )
    low, high = steps.rescale_bounds(r, -10, 20)
    for x in range(-10, 21):
        for m, a, s in ((3, -4, 2), (-7, 9, -3)):
            assert low <= (x * m + a) << max(0, -s) <= high


@pytest.mark.parametrize("seed", range(40))
def test_affine_holds_every_step_and_attains_its_ends(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = int(rng.integers(-40, 20))
    x = (low, low + int(rng.integers(0, 40)))
    count = int(rng.integers(1, 4))
    m, a = ([int(v) for v in rng.integers(-9, 10, count)] for _ in range(2))
    d = [int(v) for v in rng.integers(1, 9, count)]
    made = steps.affine(x, m, a, d)
    seen: dict[str, list[int]] = {"products": [], "sums": [], "results": []}
    for value, position in every(range(x[0], x[1] + 1), range(count)):
        term = value * m[position]
        seen["products"].append(term)
        seen["sums"].append(term + a[position])
        for mode in Rounding:
            seen["results"].append(int(divide_rounded(np.array([term + a[position]]), d[position], mode)[0]))
    assert made.products == steps.hull(*seen["products"])
    assert made.sums == steps.hull(*seen["sums"])
    low, high = made.results
    assert min(seen["results"]) - 1 <= low <= min(seen["results"])
    assert max(seen["results"]) <= high <= max(seen["results"]) + 1
    assert made.parameters == steps.hull(*m, *a)
    least, greatest = steps.corners(x, IntArray(m), IntArray(a))
    assert least <= made.sums[0] <= made.sums[1] <= greatest


def test_terms_hold_every_partial_sum() -> None:
    ranges, zeros, factors = ((-3, 4), (0, 5), (-2, -1)), (2, 0, -4), (2, -1, 4)
    made = steps.aligned_terms(ranges, zeros, factors)
    for values in every(*(range(low, high + 1) for low, high in ranges)):
        total = 0
        for value, factor, zero, bounds in zip(values, factors, zeros, made.terms, strict=True):
            term = factor * (value - zero)
            assert bounds[0] <= term <= bounds[1]
            total += term
            assert made.partial[0] <= total <= made.partial[1]


def test_products_and_magnitudes() -> None:
    for a, b in every(((-3, 4), (0, 5), (-7, -2)), repeat=2):
        values = [x * y for x in range(a[0], a[1] + 1) for y in range(b[0], b[1] + 1)]
        assert steps.product(a, b) == steps.hull(*values)
    assert steps.magnitude((-3, 4), 2) == 5
    assert steps.centred((-3, 4), 2) == (-5, 2)
    assert steps.joined([(0, 3), (-2, 1)]) == (-2, 3)
