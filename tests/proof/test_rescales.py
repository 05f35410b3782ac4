"""Counting differing codes, proofs read off graphs, and multipliers of N bits: against plain integers and fractions."""

from __future__ import annotations

import dataclasses
import random
from fractions import Fraction

import numpy as np
import pytest

from qsim.errors import GraphError, UnsupportedError, UsageError
from qsim.importers.symbolic.quantize import apply_rule
from qsim.importers.symbolic.rescale import Rescaling
from qsim.importers.symbolic.value import Value
from qsim.ir import Quantization, from_json, to_json
from qsim.ir.ops import Divide, Lookup, RealRescale, Requantize, Threshold
from qsim.numerics import IntArray, IntFormat, Overflow, Rescale, Rounding, Scheme
from qsim.proof.builder import GraphBuilder
from qsim.proof.exact import integer_thresholds, nearest_affine
from qsim.proof.rescales import differing_values, rescale_facts
from qsim.quantizers.rules import Uniform
from qsim.simulate import Simulator

ROUNDINGS = [Rounding.RND_CONV, Rounding.RND, Rounding.RND_INF, Rounding.RND_ZERO, Rounding.RND_MIN_INF]


def rounded(y: Fraction, mode: Rounding) -> int:
    """Nearest integer, written out case by case."""
    floor = y.numerator // y.denominator
    rest = y - floor
    if rest != Fraction(1, 2):
        return floor + (rest > Fraction(1, 2))
    return {
        Rounding.RND_CONV: floor + floor % 2,
        Rounding.RND: floor + 1,
        Rounding.RND_MIN_INF: floor,
        Rounding.RND_INF: floor + (y > 0),
        Rounding.RND_ZERO: floor + (y < 0),
    }[mode]


def clip(code: int, low: int, high: int) -> int:
    return min(max(code, low), high)


def draw(rng: random.Random) -> tuple[Fraction, Fraction]:
    factor = rng.choice([Fraction(rng.randint(1, 60), rng.randint(1, 300)), Fraction(rng.uniform(0.001, 3))])
    addend = rng.choice([Fraction(0), Fraction(rng.uniform(-9, 9)), Fraction(rng.randint(-20, 20), 4)])
    return factor * rng.choice([1, 1, -1]), addend


def requantize(lanes: list[tuple[int, int, int]], real: RealRescale) -> Requantize:
    m, a, s = (IntArray(np.array(column).reshape(real.shape)) for column in zip(*lanes))
    return Requantize(
        inputs=("x",),
        output="y",
        layer="l",
        rescale=Rescale(multiplier=m, addend=a, shift=s, rounding=real.rounding, scheme=Scheme.PLAIN),
        overflow=Overflow.SAT,
        low=real.low,
        high=real.high,
        real=real,
    )


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_counts_equal_brute_force(rounding: Rounding) -> None:
    """Multipliers of few bits, a little and far off, rising and falling; per channel."""
    rng = random.Random(rounding.value)
    some = 0
    for trial in range(60):
        pairs = [draw(rng) for _ in range(3)]
        codes = rng.choice([(-8, 7), (0, 15), (-100, 90), (0, 3)])
        real = RealRescale(
            factor=tuple(f for f, _ in pairs),
            addend=tuple(a for _, a in pairs),
            shape=(3,),
            rounding=rounding,
            low=codes[0],
            high=codes[1],
        )
        near = [nearest_affine(f, a, rng.randint(1, 9)) for f, a in pairs]
        lanes = [(n.multiplier, n.addend + rng.choice([0, 0, 3]), n.shift) for n in near]
        low = [rng.randint(-400, 50) for _ in pairs]
        high = [x + rng.randint(0, 500) for x in low]
        wanted = []
        for (f, a), (m, b, s), x_low, x_high in zip(pairs, lanes, low, high):
            wanted.append(
                sum(
                    clip(rounded(x * f + a, rounding), *codes)
                    != clip(rounded(Fraction(x * m + b, 1 << s), rounding), *codes)
                    for x in range(x_low, x_high + 1)
                )
            )
        assert differing_values(requantize(lanes, real), low, high) == tuple(wanted), trial
        some += sum(wanted) > 0
    assert some > 20


def test_wide_ranges_are_counted_without_visiting_them() -> None:
    """A whole int32 accumulator; the count of a scaled-down copy of the problem is the oracle."""
    factor = Fraction(1, 3 << 20)
    real = RealRescale(factor=(factor,), addend=(Fraction(0),), shape=(), rounding=Rounding.RND, low=-128, high=127)
    near = nearest_affine(factor, Fraction(0), 8)
    found = differing_values(
        requantize([(near.multiplier, near.addend, near.shift)], real), [-(1 << 31)], [(1 << 31) - 1]
    )
    # x = 2**20 * t + r: both codes change on a line in x only; sample every change exactly with fractions.
    total = 0
    for k in range(-127, 128):
        edges = []
        for f in (factor, Fraction(near.multiplier, 1 << near.shift)):
            at = (k - Fraction(1, 2)) / f
            x = -((-at.numerator) // at.denominator)
            edges.append(min(max(x, -(1 << 31)), 1 << 31))
        total += abs(edges[0] - edges[1])
    assert found == (total,)
    assert total > 1000


@pytest.mark.parametrize("rounding", [Rounding.RND_CONV, Rounding.RND])
def test_thresholds_and_tables_are_proven_and_faults_counted(rounding: Rounding) -> None:
    rng = random.Random(5)
    for _ in range(40):
        factor, addend = draw(rng)
        real = RealRescale(factor=(factor,), addend=(addend,), shape=(1,), rounding=rounding, low=-4, high=5)
        x = range(-150, 151)
        wanted = [clip(rounded(v * factor + addend, rounding), -4, 5) for v in x]
        table = Lookup(inputs=("x",), output="y", layer="l", table=IntArray([wanted]), table_low=-150, real=real)
        assert differing_values(table, [-150], [150]) == (0,)
        jumps = []
        for k in range(-3, 6):
            jumps.append((k - Fraction(1, 2), rounded(k - Fraction(1, 2), rounding) == k, 1))
        base, steps = integer_thresholds(jumps, -4, factor, addend)
        row = [t for t, _ in steps]
        sign = -1 if factor < 0 else 1
        op = Threshold(
            inputs=("x",), output="y", layer="l", thresholds=IntArray([row]), base=IntArray([base]),
            step=IntArray([sign]), real=real,
        )  # fmt: skip
        assert differing_values(op, [-150], [150]) == (0,)
        row[4] += 7  # the values between the old and the new place, and what passes it
        row.sort()
        made = [base + sign * sum(v >= t for t in row) for v in x]
        moved = dataclasses.replace(op, thresholds=IntArray([row]))
        assert differing_values(moved, [-150], [150]) == (sum(a != b for a, b in zip(made, wanted)),)


def test_nearest_multipliers() -> None:
    rng = random.Random(8)
    for _ in range(300):
        factor, addend = draw(rng)
        bits = rng.randint(1, 12)
        found = nearest_affine(factor, addend, bits)
        assert abs(found.multiplier).bit_length() <= bits or found.multiplier % (1 << -(-bits // 99)) == 0
        own = Fraction(found.multiplier, 1 << found.shift)
        # No other number of so many significant bits is nearer.
        for shift in range(-4, 24):
            unit = Fraction(1, 1 << shift) if shift >= 0 else Fraction(1 << -shift)
            for m in (abs(factor) / unit, abs(factor) / unit + 1):
                other = int(m)
                if other.bit_length() <= bits:
                    assert abs(own - factor) <= abs(other * unit - abs(factor))
    assert nearest_affine(Fraction(0), Fraction(5, 2), 4).multiplier == 0
    assert nearest_affine(Fraction(100), Fraction(1, 3), 3).multiplier == 96


def lowered(
    scale: list[Fraction], offset: list[Fraction], rule: Uniform, rescale: str, width: int = 10
) -> tuple[GraphBuilder, Rescaling, str]:
    b = GraphBuilder("model", "qkeras")
    x = b.input("x", (len(scale),), IntFormat(width, True), Quantization.of(Fraction(1)))
    rescaling = Rescaling.parse(rescale)
    value = Value.of(x, "x", (len(scale),), np.array(scale, dtype=object), np.array(offset, dtype=object))
    result = apply_rule(b, value, rule, "layer", "y", rescaling)
    rescaling.note(b)
    return b, rescaling, result.tensor


@pytest.mark.parametrize("seed", range(12))
def test_lowered_rescales_over_their_whole_range(seed: int) -> None:
    """Exact: no code differs, in whatever form. multiplier:N: as many as the simulator shows; no wide multiplier."""
    rng = random.Random(seed)
    pairs = [draw(rng) for _ in range(4)]
    scale, offset = [f for f, _ in pairs], [a for _, a in pairs]
    top = rng.choice([3, 7, 15, 127])
    rule = Uniform(Fraction(1), -top - 1, top, (Fraction(1),), rng.choice([Rounding.RND_CONV, Rounding.RND]))
    x = np.arange(-512, 512)
    wanted = np.array(
        [[clip(rounded(int(v) * f + a, rule.rounding), -top - 1, top) for f, a in pairs] for v in x], dtype=np.int64
    )
    codes = np.repeat(x[:, None], 4, axis=1)
    b, _, name = lowered(scale, offset, rule, "exact")
    graph = b.build([name])
    assert np.array_equal(Simulator(graph).run_codes(codes), wanted)
    (fact,) = rescale_facts(graph)
    assert (fact.differing, fact.values, fact.bounds) == ((0,) * 4, 4096, (-512, 511))
    exact_bits = fact.multiplier_bits
    for bits in (2, 5, 9):
        b, rescaling, name = lowered(scale, offset, rule, f"multiplier:{bits}")
        graph = b.build([name])
        (fact,) = rescale_facts(graph)
        differing = (Simulator(graph).run_codes(codes) != wanted).sum(axis=0)
        assert fact.form == "multiplier"
        assert fact.differing == tuple(differing.tolist())
        assert (rescaling.values, rescaling.differing) == (4096, int(differing.sum()))
        assert f"in all, {differing.sum()} of the 4096 accumulator values" in graph.notes[-1]
        for lane, count in enumerate(differing):
            assert not count or f"{lane}: {count}" in graph.notes[0]
        if max(map(abs, scale)) < 2:
            assert fact.multiplier_bits <= bits
        if exact_bits and exact_bits <= bits:
            assert not differing.any()
        assert from_json(to_json(graph)) == graph
    # The proof reads the op: a multiplier off by one is counted.
    op = graph.ops[-1]
    assert isinstance(op, Requantize)
    wrong = dataclasses.replace(
        op, rescale=dataclasses.replace(op.rescale, addend=IntArray(op.rescale.addend.values + (1 << 6)))
    )
    made = Simulator(dataclasses.replace(graph, ops=(*graph.ops[:-1], wrong))).run_codes(codes)
    assert differing_values(wrong, [-512] * 4, [511] * 4) == tuple((made != wanted).sum(axis=0).tolist())


def test_no_multiplier_gives_a_tie_that_breaks_both_ways() -> None:
    """x / 6 half to even: thresholds for few codes, an exact division for many; by multipliers some codes differ."""
    for top, form, kind in ((3, "thresholds", Threshold), (60, "division", Divide)):
        rule = Uniform(Fraction(1), -top - 1, top, (Fraction(1),))
        b, _, name = lowered([Fraction(1, 6)], [Fraction(0)], rule, "exact")
        graph = b.build([name])
        assert isinstance(graph.ops[-1], kind)
        (fact,) = rescale_facts(graph)
        assert (fact.form, fact.differing) == (form, (0,))
    b, rescaling, _ = lowered([Fraction(1, 6)], [Fraction(0)], rule, "multiplier:12")
    assert 0 < rescaling.differing < 100


def test_shifts_stay_shifts_whatever_the_multiplier() -> None:
    rule = Uniform(Fraction(1), -8, 7, (Fraction(1),))
    b, rescaling, name = lowered([Fraction(1, 4)], [Fraction(0)], rule, "multiplier:3")
    graph = b.build([name])
    assert isinstance(graph.ops[-1], Requantize)
    assert graph.ops[-1].rescale.is_shift
    assert rescale_facts(graph) == ()
    assert rescaling.values == 0


@pytest.mark.parametrize(
    "text", ["multiplier", "multiplier:", "multiplier:0", "multiplier:32", "exact:3", "near", "multiplier:-4"]
)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="neither 'exact' nor 'multiplier:N'"):
        Rescaling.parse(text)


def test_what_is_too_wide_to_count_is_refused() -> None:
    rule = Uniform(Fraction(1), -(1 << 25), (1 << 25) - 1, (Fraction(1),))
    with pytest.raises(UnsupportedError, match=r"layer 'layer': .*too many to count"):
        lowered([Fraction(1, 3)], [Fraction(0)], rule, "multiplier:8", width=28)


def test_damaged_real_numbers_in_a_file_are_named() -> None:
    b, _, name = lowered(
        [Fraction(1, 6), Fraction(1, 7)], [Fraction(0)] * 2, Uniform(Fraction(1), 0, 3, (Fraction(1),)), "exact"
    )
    text = to_json(b.build([name]))
    assert '"factor":["1/6","1/7"]' in text
    with pytest.raises(GraphError, match="not a qsim graph"):
        from_json(text.replace('"factor":["1/6","1/7"]', '"factor":["1/6","x"]'))
