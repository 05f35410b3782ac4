"""A quantizer's rule, or a common grid, applied to a symbolic value: the ops that make the integers.

Everything here is exact on the proven range of the tensor; what cannot be is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.symbolic.rescale import (
    Parts,
    Rescaling,
    affine_op,
    as_parts,
    exact_parts,
    fits,
    is_shift,
    real_rescale,
    requantize_fields,
)
from qsim.importers.symbolic.value import ZERO, Value, collapsed, distinct, fraction_gcd, fractions
from qsim.ir import Quantization
from qsim.ir.ops import Lookup, Requantize, Threshold
from qsim.numerics import Array, IntArray, Rounding
from qsim.proof.builder import GraphBuilder
from qsim.proof.exact import integer_thresholds
from qsim.proof.ranges import lane_bounds
from qsim.quantizers.real import REAL_FUNCTIONS, composed
from qsim.quantizers.rules import Function, Jump, Leaky, Rule, Steps, Uniform, rounded, staircase

MOST_PREFERRED_THRESHOLDS = 7
"""Codes of up to three bits are reached by comparing with thresholds wherever a multiplier would be needed."""

MOST_TABLE_ENTRIES = 1 << 20
"""Thresholds or table entries of one op beyond which the layer is refused."""

WAY_OUT_GRID = "insert a QActivation with a quantizer before this layer"


def quantization(scale: Array, offset: Array) -> Quantization:
    """Scale and offset arrays (at most one axis) as a tensor's Quantization."""
    return Quantization(scale=tuple(scale.reshape(-1).tolist()), offset=tuple(offset.reshape(-1).tolist()))


def apply_rule(b: GraphBuilder, value: Value, rule: Rule, layer: str, name: str, rescaling: Rescaling) -> Value:
    """The value of quantizer ``rule`` on ``value``, as a new tensor ``name`` of ``layer``; of the real-valued function
    that is pending on it, where there is one."""
    if value.boundary in REAL_FUNCTIONS:
        rule, value = _composed(b, value, rule, layer), value.but(boundary="linear")
    value.settled()
    match rule:
        case Uniform():
            return _uniform(b, value, rule, layer, name, rescaling)
        case Leaky():
            return _leaky(b, value, rule, layer, name)
        case Steps():
            return _steps(b, value, rule, layer, name)
        case Function():
            return _function(b, value, rule, layer, name)


def _composed(b: GraphBuilder, value: Value, rule: Rule, layer: str) -> Rule:
    def doubtful() -> None:
        b.note(
            f"Layer {layer!r} quantizes the {value.boundary} behind layer {value.layer!r}: for some inputs it lies so "
            "near a tie that float32 may round it either way; qsim rounds float64's value. Compare with qsim diff."
        )

    return composed(value.boundary, rule, doubtful)


def apply_channel_rules(
    b: GraphBuilder, value: Value, rules: Sequence[Rule], layer: str, name: str, rescaling: Rescaling
) -> Value:
    """One uniform rule per channel (last axis), with the same codes but different steps."""
    value.settled()
    uniform = [rule for rule in rules if isinstance(rule, Uniform)]
    if len(uniform) != len(rules) or len({(rule.low, rule.high, rule.rounding) for rule in uniform}) != 1:
        raise UnsupportedError(
            "its channels' quantizers differ in more than their integer bits, or have a slope",
            layer=layer,
            way_out="use per_channel=False",
        )
    if value.clamped:
        value = on_grid(b, value, layer)
    steps = fractions([rule.step for rule in uniform])
    codes = uniform[0].low, uniform[0].high
    factor, addend = np.asarray(value.scale / steps), np.asarray(value.offset / steps)
    made = affine_op(b, value, factor, addend, codes, uniform[0].rounding, layer, rescaling)
    if made is None:
        raise UnsupportedError(
            "its rescale per channel has no exact integer form", layer=layer, way_out="use per_channel=False"
        )
    scale = tuple(rule.scale[0] for rule in uniform)
    quantized = _rule_quantization(value, scale, layer)
    tensor = b.add(made[0], [value.tensor], name, layer=layer, quantization=quantized, **made[1])
    return _result(value, tensor, layer, scale)


def code_limits(value: Value, rule: Uniform | Leaky | Steps) -> tuple[int, int]:
    """The rule's limits, narrowed by the value's pending clamps: a rising rule sends the clamped ends to its ends."""
    low = rule.low if value.floor is None else rule.code(value.floor)
    high = rule.high if value.ceiling is None else rule.code(value.ceiling)
    return low, high


def _result(value: Value, tensor: str, layer: str, scale: tuple[Fraction, ...]) -> Value:
    array = fractions(np.array(scale, dtype=object))
    return Value.of(tensor, layer, value.shape, array)


def _rule_quantization(value: Value, scale: tuple[Fraction, ...], layer: str) -> Quantization:
    if len(scale) not in (1, value.shape[-1]):
        raise UnsupportedError(
            f"the quantizer's alpha has {len(scale)} entries, the tensor {value.shape[-1]} channels", layer=layer
        )
    return Quantization(scale=tuple(collapsed(fractions(np.array(scale, dtype=object))).reshape(-1).tolist()))


def _uniform(b: GraphBuilder, value: Value, rule: Uniform, layer: str, name: str, rescaling: Rescaling) -> Value:
    factor, addend = np.asarray(value.scale / rule.step), np.asarray(value.offset / rule.step)
    low, high = code_limits(value, rule)
    made = affine_op(b, value, factor, addend, (low, high), rule.rounding, layer, rescaling)
    few = rescaling.bits is None and value.channelwise and rule.high - rule.low <= MOST_PREFERRED_THRESHOLDS
    if made is None or (few and not is_shift(*made)):
        steps = staircase([rounded(1 / rule.step, ZERO, rule.low, rule.high, rounding=rule.rounding)], rule.scale)
        return _steps(b, value, steps, layer, name, rule)
    op, fields = made
    tensor = b.add(
        op, [value.tensor], name, layer=layer, quantization=_rule_quantization(value, rule.scale, layer), **fields
    )
    return _result(value, tensor, layer, rule.scale)


def _leaky(b: GraphBuilder, value: Value, rule: Leaky, layer: str, name: str) -> Value:
    """Both branches as exact multipliers and shifts where code zero is real zero and scales are dyadic; else steps."""
    branches = []
    if distinct(value.offset) == [ZERO] and all(s > 0 for s in distinct(value.scale)):
        for slope in (Fraction(1), rule.slope):
            factor = np.asarray(value.scale * (slope / rule.step), dtype=object)
            parts = exact_parts(factor, np.asarray(value.offset * factor))
            if parts is not None:
                branches.append(parts)
    if len(branches) < 2 or not all(fits(p, b.tensor(value.tensor).range) for p in branches):
        return _steps(b, value, rule.steps(), layer, name)
    low, high = code_limits(value, rule)
    fields = requantize_fields(branches[0], low, high, Rounding.RND_CONV)
    fields["negative"] = requantize_fields(branches[1], low, high, Rounding.RND_CONV)["rescale"]
    quantized = _rule_quantization(value, rule.scale, layer)
    tensor = b.add(Requantize, [value.tensor], name, layer=layer, quantization=quantized, **fields)
    return _result(value, tensor, layer, rule.scale)


def _steps(b: GraphBuilder, value: Value, rule: Steps, layer: str, name: str, uniform: Uniform | None = None) -> Value:
    """A staircase as thresholds on the integers, or as a table where that is smaller. uniform: the rule whose staircase
    it is, which is kept beside the op."""
    if not value.channelwise:
        value = on_grid(b, value, layer, name=f"{value.layer}.grid")
    quantized = _rule_quantization(value, rule.scale, layer)
    least, greatest = code_limits(value, rule)
    factor, addend = np.broadcast_arrays(value.scale, value.offset)
    real: dict[str, Any] = {}
    if uniform is not None:
        unit_factor, unit_addend = np.asarray(factor / uniform.step), np.asarray(addend / uniform.step)
        real = {"real": real_rescale(unit_factor, unit_addend, (least, greatest), uniform.rounding)}
    lows, highs = lane_bounds(b.interval(value.tensor), factor.shape)
    jumps = _clipped_jumps(rule, least, greatest)
    lanes: list[tuple[int, list[tuple[int, int]]]] = []
    for f, a, low, high in zip(*(part.reshape(-1).tolist() for part in (factor, addend, lows, highs))):
        base, steps = integer_thresholds(jumps, least, f, a)
        # Jumps at or below the least code of the proven range have always happened, those above it never do.
        base += sum(rise for t, rise in steps if t <= low)
        lanes.append((base, [(t, rise) for t, rise in steps if low < t <= high]))
    x_low, x_high = b.tensor(value.tensor).range
    unit = int(np.gcd.reduce([abs(rise) for _, steps in lanes for _, rise in steps] or [1]))
    count = max(sum(abs(rise) for _, rise in steps) // unit for _, steps in lanes)
    entries = min(count, x_high - x_low + 1) * len(lanes)
    jumping = max(len(steps) for _, steps in lanes)
    if 2 * (jumping * len(lanes) + len(rule.jumps) + 1) < entries:
        return _numbered_steps(b, value, rule, layer, name, (least, greatest))
    if entries > MOST_TABLE_ENTRIES:
        raise UnsupportedError(
            f"the activation needs {count} thresholds per channel",
            layer=layer,
            way_out="use an activation quantizer with fewer bits",
        )
    if count == 0:
        # One code for the whole proven range of each channel.
        parts = as_parts([(0, base, 0) for base, _ in lanes], factor.shape)
        ends = [base for base, _ in lanes]
        fields = requantize_fields(parts, min(ends), max(ends), Rounding.RND_CONV)
        tensor = b.add(Requantize, [value.tensor], name, layer=layer, quantization=quantized, **fields, **real)
        return _result(value, tensor, layer, rule.scale)
    if count <= x_high - x_low + 1:
        op: type[Threshold] | type[Lookup] = Threshold
        fields = _threshold_fields(lanes, unit, count, x_high)
    else:
        op, fields = Lookup, {"table": IntArray(_table(lanes, x_low, x_high)), "table_low": x_low}
    tensor = b.add(op, [value.tensor], name, layer=layer, quantization=quantized, **fields, **real)
    return _result(value, tensor, layer, rule.scale)


def _numbered_steps(
    b: GraphBuilder, value: Value, rule: Steps, layer: str, name: str, limits: tuple[int, int]
) -> Value:
    """A staircase of unequal rises: the number of jumps reached, by thresholds, then a table of the codes. Otherwise a
    rise of many codes would take as many thresholds."""
    number = Steps(0, tuple(Jump(j.at, j.inclusive, 1) for j in rule.jumps), (Fraction(1),))
    reached = _steps(b, value, number, layer, f"{name}.level")
    low, high = b.tensor(reached.tensor).range
    codes = np.cumsum([rule.base, *(j.rise for j in rule.jumps)]).clip(*limits)
    tensor = b.add(
        Lookup,
        [reached.tensor],
        name,
        layer=layer,
        quantization=_rule_quantization(value, rule.scale, layer),
        table=IntArray(codes[None, low : high + 1]),
        table_low=low,
    )
    return _result(value, tensor, layer, rule.scale)


def _clipped_jumps(rule: Steps, least: int, greatest: int) -> list[tuple[Fraction, bool, int]]:
    result, code = [], rule.base
    for jump in rule.jumps:
        before, code = min(max(code, least), greatest), code + jump.rise
        after = min(max(code, least), greatest)
        if after > before:
            result.append((jump.at, jump.inclusive, after - before))
    return result


def _threshold_fields(
    lanes: list[tuple[int, list[tuple[int, int]]]], unit: int, count: int, x_high: int
) -> dict[str, Any]:
    rows, bases, steps = [], [], []
    for base, jumps in lanes:
        row = [t for t, rise in jumps for _ in range(abs(rise) // unit)]
        rows.append(row + [x_high + 1] * (count - len(row)))
        bases.append(base)
        steps.append(-unit if any(rise < 0 for _, rise in jumps) else unit)
    if len(set(map(tuple, rows))) == 1 and len(set(bases)) == 1 and len(set(steps)) == 1:
        rows, bases, steps = rows[:1], bases[:1], steps[:1]
    return {
        "thresholds": IntArray(np.array(rows, dtype=np.int64).reshape(len(rows), count)),
        "base": IntArray(np.array(bases)),
        "step": IntArray(np.array(steps)),
    }


def _table(lanes: list[tuple[int, list[tuple[int, int]]]], x_low: int, x_high: int) -> Array:
    table = np.zeros((len(lanes), x_high - x_low + 1), dtype=np.int64)
    for row, (base, jumps) in zip(table, lanes):
        row += base
        for t, rise in jumps:
            row[max(0, t - x_low) :] += rise
    return table


def _function(b: GraphBuilder, value: Value, rule: Function, layer: str, name: str) -> Value:
    """Any elementwise rule: a table over the proven range or, where that is smaller, the number of code changes passed,
    by thresholds, and a table of the codes."""
    if not value.channelwise:
        value = on_grid(b, value, layer, name=f"{value.layer}.grid")
    quantized = _rule_quantization(value, rule.scale, layer)
    factor, addend = np.broadcast_arrays(value.scale, value.offset)
    lows, highs = lane_bounds(b.interval(value.tensor), factor.shape)
    lanes = [
        _changes(value, rule, f, a, int(low), int(high))
        for f, a, low, high in zip(*(part.reshape(-1).tolist() for part in (factor, addend, lows, highs)))
    ]
    x_low, x_high = b.tensor(value.tensor).range
    count = max(1, *(len(lane) - 1 for lane in lanes))
    if count * len(lanes) > MOST_TABLE_ENTRIES:
        raise UnsupportedError(
            f"the activation's code changes {count} times in each of {len(lanes)} channels",
            layer=layer,
            way_out="use an activation quantizer with fewer bits",
        )
    if 2 * (2 * count + 1) * len(lanes) < (x_high - x_low + 1) * len(lanes):
        # The first change of a lane is its code from the lowest input on; the others count.
        rows = [[(t, 1) for t, _ in lane[1:]] for lane in lanes]
        fields = _threshold_fields([(0, row) for row in rows], 1, count, x_high)
        level = b.add(
            Threshold, [value.tensor], f"{name}.level", layer=layer, quantization=Quantization.of(Fraction(1)), **fields
        )
        codes = [[code for _, code in lane] for lane in lanes]
        table, low = np.array([row + row[-1:] * (count + 1 - len(row)) for row in codes], dtype=np.int64), 0
    else:
        level, low = value.tensor, x_low
        table = np.zeros((len(lanes), x_high - x_low + 1), dtype=np.int64)
        for entries, lane in zip(table, lanes):
            entries[:] = lane[0][1]
            for t, code in lane:
                entries[t - x_low :] = code
    tensor = b.add(Lookup, [level], name, layer=layer, quantization=quantized, table=IntArray(table), table_low=low)
    return _result(value, tensor, layer, rule.scale)


def _changes(
    value: Value, rule: Function, factor: Fraction, addend: Fraction, low: int, high: int
) -> list[tuple[int, int]]:
    """(first input code, the rule's code from there on) of every constant stretch of [low, high], in rising order.

    Between turns the rule rises or falls, so that equal ends prove a stretch constant and the rest is halved.
    """

    def code(x: int) -> int:
        real = x * factor + addend
        if value.floor is not None:
            real = max(real, value.floor)
        if value.ceiling is not None:
            real = min(real, value.ceiling)
        return rule.code(real)

    turns = {math.floor((turn - addend) / factor) for turn in rule.turns} if factor else set()
    cuts = [low, *sorted({t + d for t in turns for d in (0, 1) if low < t + d <= high}), high + 1]
    found = [(low, code(low))]

    def search(first: int, last: int) -> None:
        """The changes in (first, last], where the rule is monotone."""
        if code(first) == code(last):
            return
        if last == first + 1:
            found.append((last, code(last)))
            return
        middle = (first + last) // 2
        search(first, middle)
        search(middle, last)

    for start, end in itertools.pairwise(cuts):
        if code(start) != found[-1][1]:
            found.append((start, code(start)))
        search(start, end - 1)
    return found


def on_grid(b: GraphBuilder, value: Value, layer: str, *, rising: bool = False, name: str | None = None) -> Value:
    """The value with one scale, without offset and clamps, exactly, by integers.

    The grid is the greatest one that holds every scale, offset and clamp. ``layer`` is who needs it, for the error.
    rising: the scale must be positive too. name: of the tensor; default the value's own layer. Raises
    UnsupportedError where the result takes more than 62 bits, or a real-valued function is pending.
    """
    value.settled()
    if value.uniform and value.scale.item() and not (rising and value.scale.item() < 0):
        return value
    ends = [end for end in (value.floor, value.ceiling) if end is not None]
    grid = fraction_gcd([*distinct(value.scale, value.offset), *ends]) or Fraction(1)
    factor, addend = np.broadcast_arrays(value.scale / grid, value.offset / grid)
    parts: Parts = (_ints(factor), _ints(addend), _ints(np.zeros(factor.shape, dtype=np.int64)))
    if not fits(parts, b.tensor(value.tensor).range):
        raise UnsupportedError(
            f"its input from layer {value.layer!r} has scales and offsets without a common grid in 62 bits",
            layer=layer,
            way_out=WAY_OUT_GRID,
        )
    lows, highs = lane_bounds(b.interval(value.tensor), factor.shape)
    ends_of_lanes = [np.asarray(x.astype(object) * parts[0] + parts[1]) for x in (lows, highs)]
    corners = [v for end in ends_of_lanes for v in end.reshape(-1).tolist()]
    low, high = min(corners), max(corners)
    if value.floor is not None:
        low, high = max(low, int(value.floor / grid)), max(high, int(value.floor / grid))
    if value.ceiling is not None:
        low, high = min(low, int(value.ceiling / grid)), min(high, int(value.ceiling / grid))
    tensor = b.add(
        Requantize,
        [value.tensor],
        name or own_name(b, value.layer),
        layer=value.layer,
        quantization=Quantization.of(grid),
        **requantize_fields(parts, low, high, Rounding.RND_CONV),
    )
    return Value.of(tensor, value.layer, value.shape, grid)


def scaled_to(b: GraphBuilder, value: Value, grid: Fraction, layer: str) -> Value:
    """A uniform value on ``grid``, which divides its scale, by an integer multiplier."""
    factor = value.scale.item() / grid
    if factor == 1:
        return value
    parts: Parts = (_ints(np.asarray(factor)), _ints(np.asarray(0)), _ints(np.asarray(0)))
    x_range = b.tensor(value.tensor).range
    if not fits(parts, x_range):
        raise UnsupportedError("its inputs have no common grid in 62 bits", layer=layer, way_out=WAY_OUT_GRID)
    ends = sorted(int(factor) * x for x in x_range)
    tensor = b.add(
        Requantize,
        [value.tensor],
        own_name(b, value.layer),
        layer=value.layer,
        quantization=Quantization.of(grid),
        **requantize_fields(parts, ends[0], ends[1], Rounding.RND_CONV),
    )
    return Value.of(tensor, value.layer, value.shape, grid)


def own_name(b: GraphBuilder, layer: str) -> str:
    """The layer's own name for a tensor that holds its output, or ``<layer>.grid`` where another one has it."""
    try:
        b.tensor(layer)
    except KeyError:
        return layer
    return f"{layer}.grid"


def _ints(values: Array) -> Array:
    result = np.empty(values.size, dtype=object)
    result[:] = [int(v) for v in np.asarray(values, dtype=object).reshape(-1).tolist()]
    return result.reshape(values.shape)
