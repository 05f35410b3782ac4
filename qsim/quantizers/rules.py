"""What a quantizer does to one real value, as exact rules on rational numbers.

Importers turn a rule and the meaning of an integer tensor into integer ops; tests evaluate it as it stands.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from qsim.numerics import Array, Rounding
from qsim.numerics.nearest import HALF, round_nearest, ties_up


@dataclass(frozen=True)
class Uniform:
    """code = clip(round(x / step) + zero_point, low, high); the value of a code is (code - zero_point) * scale (one
    factor or one per channel).

    scale differs from step where a quantizer has a fixed ``alpha``.
    """

    step: Fraction
    low: int
    high: int
    scale: tuple[Fraction, ...]
    rounding: Rounding = Rounding.RND_CONV
    zero_point: int = 0

    def code(self, x: Fraction) -> int:
        return min(max(round_nearest(x / self.step, self.rounding) + self.zero_point, self.low), self.high)


@dataclass(frozen=True)
class Jump:
    """The code rises by ``rise`` > 0 at real x >= at (``inclusive``) or x > at."""

    at: Fraction
    inclusive: bool
    rise: int

    def reached(self, x: Fraction) -> bool:
        return x >= self.at if self.inclusive else x > self.at


@dataclass(frozen=True)
class Steps:
    """A rising staircase: code = base + the rises of all jumps that x has reached; value = code * scale."""

    base: int
    jumps: tuple[Jump, ...]
    scale: tuple[Fraction, ...]

    @cached_property
    def _at(self) -> list[tuple[Fraction, bool]]:
        return [(j.at, not j.inclusive) for j in self.jumps]

    @cached_property
    def _codes(self) -> list[int]:
        codes = [self.base]
        for jump in self.jumps:
            codes.append(codes[-1] + jump.rise)
        return codes

    @property
    def low(self) -> int:
        return self.base

    @property
    def high(self) -> int:
        return self._codes[-1]

    def code(self, x: Fraction) -> int:
        # Reached are all jumps at smaller x, and those at x itself that are inclusive: (x, False) sorts first there.
        return self._codes[bisect.bisect_right(self._at, (x, False))]


@dataclass(frozen=True)
class Leaky:
    """code = clip(round(x / step), 0, high) for x >= 0, clip(round(x * slope / step), low, 0) below; half-even.

    slope is a power of two. Value = code * step.
    """

    step: Fraction
    slope: Fraction
    low: int
    high: int

    @property
    def scale(self) -> tuple[Fraction, ...]:
        return (self.step,)

    def code(self, x: Fraction) -> int:
        if x >= 0:
            return min(round_nearest(x / self.step, Rounding.RND_CONV), self.high)
        return max(round_nearest(x * self.slope / self.step, Rounding.RND_CONV), self.low)

    def steps(self) -> Steps:
        """The same as a staircase."""
        positive = rounded(Fraction(1) / self.step, Fraction(0), 0, self.high)
        negative = rounded(self.slope / self.step, Fraction(0), self.low, 0)
        return staircase([positive, negative], self.scale)


@dataclass(frozen=True)
class Function:
    """Any other elementwise rule: code = of(x), within [low, high]; value = code * scale. Between neighbouring
    ``turns``, and beyond the outer ones, the code only rises or only falls. many: ``of`` for arrays of float64, where
    it is no more than a function of float64."""

    of: Callable[[Fraction], int]
    low: int
    high: int
    scale: tuple[Fraction, ...]
    turns: tuple[Fraction, ...]
    many: Callable[[Array], Array] | None = None

    def code(self, x: Fraction) -> int:
        return self.of(x)


Rule = Uniform | Leaky | Steps | Function


def rounded(
    factor: Fraction,
    offset: Fraction,
    low: int,
    high: int,
    unit: int = 1,
    rounding: Rounding = Rounding.RND_CONV,
) -> tuple[int, list[Jump]]:
    """clip(round(x * factor + offset), low, high) * unit as base and jumps; factor > 0."""
    jumps = [Jump((k - HALF - offset) / factor, ties_up(k, rounding), unit) for k in range(low + 1, high + 1)]
    return low * unit, jumps


def staircase(parts: Iterable[tuple[int, list[Jump]]], scale: tuple[Fraction, ...]) -> Steps:
    """The sum of several staircases on the same grid."""
    base, jumps = 0, []
    for part_base, part_jumps in parts:
        base += part_base
        jumps += part_jumps
    return Steps(base, tuple(sorted(jumps, key=lambda j: (j.at, not j.inclusive))), scale)


def clipped(steps: Steps, low: int, high: int) -> Steps:
    """The staircase clipped to [low, high]."""
    base, code, jumps = min(max(steps.base, low), high), steps.base, []
    for jump in steps.jumps:
        before, code = min(max(code, low), high), code + jump.rise
        after = min(max(code, low), high)
        if after > before:
            jumps.append(Jump(jump.at, jump.inclusive, after - before))
    return Steps(base, tuple(jumps), steps.scale)


def sloped(rule: Rule, slope: Fraction) -> Rule:
    """``rule`` behind x -> x where x >= 0, slope * x below."""
    if slope <= 0:

        def code(x: Fraction) -> int:
            return rule.code(x if x >= 0 else x * slope)

        turns = rule.turns if isinstance(rule, Function) else ()
        left = [t / slope for t in turns if t > 0 and slope]
        return Function(code, rule.low, rule.high, rule.scale, tuple(sorted({Fraction(0), *left, *turns})))
    if isinstance(rule, Function):
        of, many = rule.of, rule.many
        bent = tuple(t if t >= 0 else t / slope for t in rule.turns)
        below = None if many is None else (lambda x: many(np.where(x < 0, x * float(slope), x)))
        return Function(lambda x: of(x if x >= 0 else x * slope), rule.low, rule.high, rule.scale, bent, below)
    steps = rule.steps() if isinstance(rule, Leaky) else rule
    if isinstance(steps, Uniform):
        low, high = (end - steps.zero_point for end in (steps.low, steps.high))
        base, jumps = rounded(1 / steps.step, Fraction(0), low, high, rounding=steps.rounding)
        if steps.zero_point:
            raise ValueError("a slope before a quantizer with a zero point")
        steps = staircase([(base, jumps)], steps.scale)
    moved = tuple(Jump(j.at if j.at >= 0 else j.at / slope, j.inclusive, j.rise) for j in steps.jumps)
    return Steps(steps.base, moved, steps.scale)


def float_codes(rule: Rule) -> Callable[[Array], Array]:
    """``rule.code`` for arrays of float64, exactly."""
    if isinstance(rule, Function):
        return rule.many or (lambda x: np.array([rule.of(Fraction(v)) for v in x.tolist()], dtype=np.int64))
    if isinstance(rule, Uniform):
        power = rule.step.numerator == 1 and rule.step.denominator & (rule.step.denominator - 1) == 0
        if rule.rounding is Rounding.RND_CONV and power:
            factor, low, high = float(1 / rule.step), rule.low - rule.zero_point, rule.high - rule.zero_point
            return lambda x: np.rint(np.clip(x * factor, low, high)).astype(np.int64) + rule.zero_point
        return lambda x: np.array([rule.code(Fraction(v)) for v in x.tolist()], dtype=np.int64)
    steps = rule.steps() if isinstance(rule, Leaky) else rule
    at = np.array([_least_float(j) for j in steps.jumps])
    codes = np.cumsum([steps.base, *(j.rise for j in steps.jumps)])
    return lambda x: np.asarray(codes[np.searchsorted(at, x, side="right")])


def _least_float(jump: Jump) -> float:
    """The least float64 that reaches the jump."""
    found = float(jump.at)
    return found if jump.reached(Fraction(found)) else math.nextafter(found, math.inf)
