"""Where the code of an elementwise rule changes over a tensor's proven range, in all lanes at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from qsim.importers.symbolic.value import Value
from qsim.numerics import Array
from qsim.quantizers.rules import Function

Lane = tuple[Fraction, Fraction, int, int]
"""Factor and addend of a channel's codes, and the least and greatest of them."""


def changes(value: Value, rule: Function, lanes: list[Lane], most: int) -> list[list[tuple[int, int]]] | None:
    """Per lane (first input code, the rule's code from there on) of every constant stretch, in rising order; None as
    soon as a lane is known to have more than ``most`` changes.

    Between turns the rule rises or falls, so that equal ends prove a stretch constant and the rest is halved.
    """
    codes = _codes(value, rule, lanes)
    pieces = [(i, *piece) for i, lane in enumerate(lanes) for piece in _pieces(rule, lane)]
    lane, first, last = (np.array(column, dtype=np.int64) for column in zip(*pieces))
    below, above = codes(lane, first), codes(lane, last)
    found: list[list[tuple[int, int]]] = [[] for _ in lanes]
    for i, x, code, before in zip(lane.tolist(), first.tolist(), below.tolist(), [None, *above.tolist()]):
        if not found[i] or code != before:
            found[i].append((x, code))
    counts = np.array([len(changed) - 1 for changed in found])
    while True:
        differ = below != above
        lane, first, last, below, above = (part[differ] for part in (lane, first, last, below, above))
        if (counts + np.bincount(lane, minlength=len(lanes))).max(initial=0) > most:
            return None
        ends = last - first == 1
        for i, x, code in zip(lane[ends].tolist(), last[ends].tolist(), above[ends].tolist()):
            found[i].append((x, code))
        counts += np.bincount(lane[ends], minlength=len(lanes))
        lane, first, last, below, above = (part[~ends] for part in (lane, first, last, below, above))
        if not lane.size:
            return [sorted(changed) for changed in found]
        middle = first + (last - first) // 2
        between = codes(lane, middle)
        lane = np.concatenate([lane, lane])
        first, last = np.concatenate([first, middle]), np.concatenate([middle, last])
        below, above = np.concatenate([below, between]), np.concatenate([between, above])


def _pieces(rule: Function, lane: Lane) -> list[tuple[int, int]]:
    """[low, high] cut at the rule's turns."""
    factor, addend, low, high = lane
    turns = {math.floor((turn - addend) / factor) for turn in rule.turns} if factor else set()
    cuts = [low, *sorted({t + d for t in turns for d in (0, 1) if low < t + d <= high}), high + 1]
    return [(start, end - 1) for start, end in itertools.pairwise(cuts)]


def _codes(value: Value, rule: Function, lanes: list[Lane]) -> Callable[[Array, Array], Array]:
    """The rule's codes of input codes x in lanes i, both arrays."""
    many = rule.many
    if many is None:
        exact = [(factor, addend) for factor, addend, _, _ in lanes]
        known: dict[tuple[int, int], int] = {}

        def one(i: int, x: int) -> int:
            if (i, x) not in known:
                known[i, x] = rule.code(value.clamps(x * exact[i][0] + exact[i][1]))
            return known[i, x]

        return lambda i, x: np.array([one(*at) for at in zip(i.tolist(), x.tolist())], dtype=np.int64)
    factors, addends = (np.array([float(lane[n]) for lane in lanes]) for n in (0, 1))
    floor, ceiling = (None if end is None else float(end) for end in (value.floor, value.ceiling))

    def all_at_once(i: Array, x: Array) -> Array:
        real = x * factors[i] + addends[i]
        if floor is not None:
            real = np.maximum(real, floor)
        return many(real if ceiling is None else np.minimum(real, ceiling))

    return all_at_once
