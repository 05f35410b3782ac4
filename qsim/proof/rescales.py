"""Every rescale of a graph by a number that is no power of two: how it is computed, and what was proven of it.

An importer keeps beside such an op the real numbers that it stands for (``RealRescale``). Both sides, the op's integers
and the real numbers rounded, are staircases in the accumulator x; a staircase is known by the least x of each code. The
values of x whose codes differ lie between the two staircases' ends of the same code, so they are counted exactly over
any range without visiting them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from qsim.errors import UnsupportedError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array, Rounding, Scheme
from qsim.proof.exact import breakpoints, mirrored, reference
from qsim.proof.ranges import lane_bounds, ranges

MOST_CODES = 1 << 22
"""Codes of one lane beyond which a difference is not counted."""

Ends = list[int]
"""For each code k of a run of codes the least x whose code is k or more; x_high + 1 where there is none."""


@dataclass(frozen=True, kw_only=True)
class RescaleFacts:
    """One rescale op.

    form: "multiplier", "thresholds", "table", "division" (all with the real number beside them, or the fraction
    itself), "integers" (an exact integer multiplier), or the scheme's name where the source file brings the
    multiplier. lanes: channels (or elements) with parameters of their own. multiplier_bits: the widest; shifts: least
    and greatest right shift; thresholds: per lane. bounds: of the proven accumulator range over all lanes; values: of
    the accumulator within the proven ranges, summed over the lanes. differing: per lane how many of those have
    another code than the real number gives; None where nothing real stands beside the op.
    """

    layer: str
    tensor: str
    form: str
    lanes: int
    multiplier_bits: int
    shifts: tuple[int, int]
    thresholds: int
    bounds: tuple[int, int]
    values: int
    differing: tuple[int, ...] | None


def rescale_facts(graph: Graph) -> tuple[RescaleFacts, ...]:
    """Every rescale that is more than a shift, in execution order. The proofs are done again, from the graph alone."""
    reach = ranges(graph)
    found = []
    for op in graph.ops:
        if isinstance(op, o.Requantize | o.Threshold | o.Lookup | o.Divide):
            if isinstance(op, o.Threshold | o.Lookup) and op.real is None:
                continue  # an activation's own staircase
            if isinstance(op, o.Requantize) and op.rescale.is_shift and op.negative is None and op.real is None:
                continue
            shape = _lane_shape(op)
            low, high = (side.reshape(-1).tolist() for side in lane_bounds(reach[op.inputs[0]], shape))
            found.append(_facts(op, low, high))
    return tuple(found)


def _lane_shape(op: o.Requantize | o.Threshold | o.Lookup | o.Divide) -> tuple[int, ...]:
    if isinstance(op, o.Divide):
        return np.broadcast_shapes(op.numerator.shape, op.addend.shape, op.divisor.shape)
    if op.real is not None:
        return op.real.shape
    assert isinstance(op, o.Requantize)
    r = op.rescale
    return np.broadcast_shapes(r.multiplier.shape, r.addend.shape, r.shift.shape)


def _facts(
    op: o.Requantize | o.Threshold | o.Lookup | o.Divide, low: Sequence[int], high: Sequence[int]
) -> RescaleFacts:
    widths, shifts, thresholds = 0, (0, 0), 0
    differing: tuple[int, ...] | None = None
    if isinstance(op, o.Requantize):
        r = op.rescale
        form = "multiplier" if op.real is not None else "integers" if r.scheme is Scheme.PLAIN else r.scheme.value
        widths = max(abs(r.multiplier.low), abs(r.multiplier.high)).bit_length()
        shifts = r.shift.low, r.shift.high
    elif isinstance(op, o.Divide):
        form, differing = "division", (0,) * len(low)
    elif isinstance(op, o.Threshold):
        form, thresholds = "thresholds", op.thresholds.shape[-1]
    else:
        form, thresholds = "table", op.table.shape[-1]
    if not isinstance(op, o.Divide) and op.real is not None:
        differing = differing_values(op, low, high)
    return RescaleFacts(
        layer=op.layer,
        tensor=op.output,
        form=form,
        lanes=len(low),
        multiplier_bits=widths,
        shifts=shifts,
        thresholds=thresholds,
        bounds=(min(low), max(high)),
        values=sum(b - a + 1 for a, b in zip(low, high)),
        differing=differing,
    )


def differing_values(
    op: o.Requantize | o.Threshold | o.Lookup, low: Sequence[int], high: Sequence[int]
) -> tuple[int, ...]:
    """For each lane the number of x in [low, high] whose code differs from the one of ``op.real``.

    Raises UnsupportedError for a lane of more than MOST_CODES codes whose parameters are not the real ones themselves.
    """
    real = op.real
    assert real is not None
    lanes = _lane_parameters(op, len(low), real.shape)
    known: dict[tuple[object, ...], int] = {}
    counts = []
    for factor, addend, own, x_low, x_high in zip(real.factor, real.addend, lanes, low, high):
        key = (factor, addend, own, x_low, x_high)
        if key not in known:
            known[key] = _differing(op, real, factor, addend, own, (x_low, x_high))
        counts.append(known[key])
    return tuple(counts)


def _lane_parameters(op: o.Requantize | o.Threshold | o.Lookup, lanes: int, shape: tuple[int, ...]) -> list[object]:
    """What each lane's integers are: (multiplier, addend, shift), or the row of a staircase or table."""
    if isinstance(op, o.Requantize):
        parts = (op.rescale.multiplier, op.rescale.addend, op.rescale.shift)
        return list(zip(*(np.broadcast_to(p.values, shape).reshape(-1).tolist() for p in parts)))
    rows = op.thresholds.shape[0] if isinstance(op, o.Threshold) else op.table.shape[0]
    return list(range(lanes)) if rows > 1 else [0] * lanes


def _differing(
    op: o.Requantize | o.Threshold | o.Lookup,
    real: o.RealRescale,
    factor: Fraction,
    addend: Fraction,
    own: object,
    x_range: tuple[int, int],
) -> int:
    if isinstance(op, o.Lookup):
        assert isinstance(own, int)
        row = op.table.values[own]
        return sum(
            int(row[x - op.table_low]) != reference(x, factor, addend, real.low, real.high, real.rounding)
            for x in range(x_range[0], x_range[1] + 1)
        )
    falling = factor < 0
    wanted = (abs(factor), -addend if falling else addend)
    limits = (-real.high, -real.low) if falling else (real.low, real.high)
    rounding = mirrored(real.rounding) if falling else real.rounding
    if isinstance(op, o.Threshold):
        assert isinstance(own, int)
        return _against(_Staircase.of(op, own, falling, x_range[1]), wanted, limits, rounding, x_range)
    assert isinstance(own, tuple)
    multiplier, added, shift = own
    unit = Fraction(2) ** shift
    made = Fraction(abs(multiplier)) / unit, Fraction(-added if falling else added) / unit
    if multiplier and (multiplier < 0) != falling:
        raise AssertionError("a multiplier of the other sign than its real factor")
    made_limits = op.low - op.zero_point, op.high - op.zero_point
    if (made, *made_limits) == (wanted, real.low, real.high):
        return 0
    clip = (-made_limits[1], -made_limits[0]) if falling else made_limits
    return _against(_Line(made, clip, rounding), wanted, limits, rounding, x_range)


class _Line:
    """clip(round(x * factor + addend), *limits), factor >= 0."""

    def __init__(self, parts: tuple[Fraction, Fraction], limits: tuple[int, int], rounding: Rounding) -> None:
        self.parts, self.limits, self.rounding = parts, limits, rounding

    def code(self, x: int) -> int:
        return reference(x, *self.parts, *self.limits, self.rounding)

    def ends(self, codes: range, x_range: tuple[int, int]) -> Ends:
        low, high = self.code(x_range[0]), self.code(x_range[1])
        inner = range(max(codes.start, low + 1), min(codes.stop, high + 1))
        found = breakpoints(*self.parts, inner, self.rounding) if inner else []
        before = [x_range[0]] * max(0, min(codes.stop, low + 1) - codes.start)
        return before + found + [x_range[1] + 1] * (len(codes) - len(before) - len(found))


class _Staircase:
    """base + step * #{t <= x}, step > 0."""

    def __init__(self, thresholds: Array, base: int, step: int) -> None:
        self.thresholds, self.base, self.step = thresholds, base, step

    @staticmethod
    def of(op: o.Threshold, row: int, falling: bool, x_high: int) -> _Staircase:
        """A lane of the op up to ``x_high``, its codes negated where it falls."""
        base, step = (int(v.values[min(row, v.size - 1)]) for v in (op.base, op.step))
        thresholds = op.thresholds.values[min(row, op.thresholds.shape[0] - 1)]
        thresholds = thresholds[thresholds <= x_high]
        sign = -1 if falling else 1
        if sign * step < 0 and thresholds.size:
            raise AssertionError("thresholds that fall where their real factor rises")
        return _Staircase(thresholds, sign * base, abs(step))

    def code(self, x: int) -> int:
        return self.base + self.step * int(np.searchsorted(self.thresholds, x, side="right"))

    def ends(self, codes: range, x_range: tuple[int, int]) -> Ends:
        found = []
        for k in codes:
            needed = -(-(k - self.base) // self.step)
            if needed <= 0:
                found.append(x_range[0])
            elif needed > len(self.thresholds):
                found.append(x_range[1] + 1)
            else:
                found.append(min(max(int(self.thresholds[needed - 1]), x_range[0]), x_range[1] + 1))
        return found


def _against(
    made: _Line | _Staircase,
    wanted: tuple[Fraction, Fraction],
    limits: tuple[int, int],
    rounding: Rounding,
    x_range: tuple[int, int],
) -> int:
    """How many x of the range have another code under ``made`` than under the real line ``wanted``."""
    line = _Line(wanted, limits, rounding)
    x_low, x_high = x_range
    first, last = min(made.code(x_low), line.code(x_low)), max(made.code(x_high), line.code(x_high))
    if min(last - first, x_high - x_low) > MOST_CODES:
        raise UnsupportedError(
            f"its rescale gives {last - first + 1} codes: too many to count the differing ones",
            way_out="use --rescale exact, or a quantizer with fewer bits",
        )
    if x_high - x_low <= last - first:
        return sum(made.code(x) != line.code(x) for x in range(x_low, x_high + 1))
    codes = range(first + 1, last + 1)
    total, reached = 0, x_low
    for a, b in zip(made.ends(codes, x_range), line.ends(codes, x_range)):
        begin, end = max(min(a, b), reached), max(a, b)
        if end > begin:
            total, reached = total + end - begin, end
    return total
