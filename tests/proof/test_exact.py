"""The exact-multiplier search against brute force over whole ranges, on plain integers and fractions."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from qsim.numerics import Rounding
from qsim.proof.exact import integer_thresholds, reference, smallest_affine

NEAREST = [Rounding.RND_CONV, Rounding.RND, Rounding.RND_INF, Rounding.RND_ZERO, Rounding.RND_MIN_INF]


def apply(affine, x: int, low: int, high: int, rounding: Rounding) -> int:
    return reference(
        x,
        Fraction(affine.multiplier, 1 << affine.shift),
        Fraction(affine.addend, 1 << affine.shift),
        low,
        high,
        rounding,
    )


def draw(rng: random.Random):
    """A factor and addend of every kind: tame and odd fractions, floats as normalizations make them, negatives."""
    kind = rng.randrange(4)
    if kind == 0:
        factor = Fraction(rng.randint(1, 60), rng.randint(1, 400))
    elif kind == 1:
        factor = Fraction(rng.uniform(0.001, 0.7))
    elif kind == 2:
        factor = Fraction(rng.randint(1, 31), 1 << rng.randint(0, 9))
    else:
        factor = Fraction(rng.uniform(1, 9))
    addend = rng.choice(
        [Fraction(0), Fraction(rng.uniform(-20, 20)), Fraction(rng.randint(-50, 50), rng.randint(1, 12))]
    )
    return rng.choice([1, 1, -1]) * factor, addend


@pytest.mark.parametrize("rounding", NEAREST)
def test_codes_equal_the_reference_on_the_whole_range(rounding):
    rng = random.Random(rounding.value)
    found = 0
    for _ in range(120):
        factor, addend = draw(rng)
        low = rng.randint(-900, 100)
        x_range = low, low + rng.randint(0, 1200)
        codes = rng.choice([(-128, 127), (0, 15), (-1, 1), (0, 255), (-8, 7), (-100000, 100000)])
        affine = smallest_affine(factor, addend, x_range, codes, rounding)
        if affine is None:
            continue
        found += 1
        assert affine.shift >= 0
        for x in range(x_range[0], x_range[1] + 1):
            assert apply(affine, x, *codes, rounding) == reference(x, factor, addend, *codes, rounding)
    assert found > 70


def test_no_smaller_multiplier_exists():
    """Against every multiplier of fewer bits, with every shift and addend that could matter."""
    rng = random.Random(5)
    checked = 0
    for _ in range(60):
        factor, addend = (
            Fraction(rng.randint(1, 40), rng.randint(3, 90)),
            Fraction(rng.randint(-6, 6), rng.randint(1, 5)),
        )
        x_range, codes = (-rng.randint(1, 20), rng.randint(1, 25)), (-8, 7)
        affine = smallest_affine(factor, addend, x_range, codes, Rounding.RND_CONV)
        if affine is None or not 2 <= affine.multiplier.bit_length() <= 5:
            continue
        checked += 1
        wanted = [reference(x, factor, addend, *codes, Rounding.RND_CONV) for x in range(x_range[0], x_range[1] + 1)]
        for multiplier in range(1 << (affine.multiplier.bit_length() - 1)):
            for shift in range(0, 8):
                for a in range(-9 << shift, (9 << shift) + 1):
                    candidate = type(affine)(multiplier, a, shift)
                    if all(
                        apply(candidate, x, *codes, Rounding.RND_CONV) == want
                        for x, want in zip(range(x_range[0], x_range[1] + 1), wanted)
                    ):
                        # A multiplier of the same real size: the search keeps to the two nearest the factor per width.
                        near = abs(Fraction(multiplier, 1 << shift) - factor) < Fraction(1, 1 << shift)
                        assert not near, (factor, addend, x_range, affine, candidate)
        if checked == 2:
            return
    pytest.fail("too few cases were checked")


def test_ties_that_break_both_ways_have_no_multiplier():
    # x / 6 half to even: 3 -> 0, 9 -> 2, 15 -> 2: no line does that.
    assert smallest_affine(Fraction(1, 6), Fraction(0), (0, 20), (0, 100), Rounding.RND_CONV) is None
    # Half up, they all rise.
    assert smallest_affine(Fraction(1, 6), Fraction(0), (0, 20), (0, 100), Rounding.RND) is not None


def test_constants():
    for factor in (Fraction(0), Fraction(1, 1000)):
        affine = smallest_affine(factor, Fraction(7, 2), (-10, 10), (-8, 7), Rounding.RND_CONV)
        assert affine is not None
        assert {apply(affine, x, -8, 7, Rounding.RND_CONV) for x in range(-10, 11)} == (
            {4}
            if factor == 0
            else {reference(x, factor, Fraction(7, 2), -8, 7, Rounding.RND_CONV) for x in range(-10, 11)}
        )


def test_thresholds_of_staircases():
    rng = random.Random(9)
    for _ in range(400):
        factor, addend = draw(rng)
        factor = rng.choice([factor, Fraction(0)]) if rng.random() < 0.1 else factor
        jumps = sorted(
            {(Fraction(rng.randint(-40, 40), 4), rng.random() < 0.5) for _ in range(5)}, key=lambda j: (j[0], not j[1])
        )
        rises = [(at, inclusive, rng.randint(1, 3)) for at, inclusive in jumps]
        base, steps = integer_thresholds(rises, -2, factor, addend)
        assert [t for t, _ in steps] == sorted(t for t, _ in steps)
        for x in range(-60, 61):
            real = x * factor + addend
            wanted = -2 + sum(r for at, inclusive, r in rises if (real >= at if inclusive else real > at))
            assert base + sum(r for t, r in steps if x >= t) == wanted
