"""Staircases and real-valued functions on a symbolic value: thresholds on the integers, or tables where those are
smaller."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from fractions import Fraction

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.symbolic.changes import Lane, changes
from qsim.importers.symbolic.grid import on_grid
from qsim.importers.symbolic.rescale import as_parts, real_rescale, requantize
from qsim.importers.symbolic.value import Value, collapsed, fractions
from qsim.ir import Quantization
from qsim.ir.ops import Lookup, Requantize, Threshold
from qsim.numerics import Array, IntArray, Rounding
from qsim.proof.builder import GraphBuilder
from qsim.proof.exact import integer_thresholds
from qsim.proof.ranges import lane_bounds
from qsim.quantizers.rules import Function, Jump, Leaky, Steps, Uniform

MOST_TABLE_ENTRIES = 1 << 20
"""Thresholds or table entries of one op beyond which the layer is refused."""



def way_out(*, rescale: bool) -> str:
    """Of too many thresholds. rescale: of a rescale, which a multiplier can do with other codes for some values."""
    fewer = "use an activation quantizer with fewer bits"
    return f"{fewer}, or --rescale multiplier:18, which counts the values whose codes differ" if rescale else fewer


Lanes = list[tuple[int, list[tuple[int, int]]]]
"""Per channel the code below all jumps, and (first input code, rise) of each."""


def code_limits(value: Value, rule: Uniform | Leaky | Steps) -> tuple[int, int]:
    """The rule's limits, narrowed by the value's pending clamps: a rising rule sends the clamped ends to its ends."""
    low = rule.low if value.floor is None else rule.code(value.floor)
    high = rule.high if value.ceiling is None else rule.code(value.ceiling)
    return low, high


def result(value: Value, tensor: str, layer: str, scale: tuple[Fraction, ...]) -> Value:
    array = fractions(np.array(scale, dtype=object))
    return Value.of(tensor, layer, value.shape, array)


def rule_quantization(value: Value, scale: tuple[Fraction, ...], layer: str) -> Quantization:
    if len(scale) not in (1, value.shape[-1]):
        raise UnsupportedError(
            f"the quantizer's alpha has {len(scale)} entries, the tensor {value.shape[-1]} channels", layer=layer
        )
    return Quantization(scale=tuple(collapsed(fractions(np.array(scale, dtype=object))).reshape(-1).tolist()))


def steps(
    b: GraphBuilder,
    value: Value,
    rule: Steps,
    layer: str,
    name: str,
    uniform: Uniform | None = None,
    meaning: Quantization | None = None,
) -> Value:
    """A staircase as thresholds on the integers, or as a table where that is smaller. uniform: the rule whose staircase
    it is, which is kept beside the op. meaning: as in ``apply_rule``."""
    if not value.channelwise:
        value = on_grid(b, value, layer, name=f"{value.layer}.grid")
    quantized = meaning or rule_quantization(value, rule.scale, layer)
    least, greatest = code_limits(value, rule)
    factor, addend = np.broadcast_arrays(value.scale, value.offset)
    real = None
    if uniform is not None:
        unit_factor, unit_addend = np.asarray(factor / uniform.step), np.asarray(addend / uniform.step)
        real = real_rescale(unit_factor, unit_addend, (least, greatest), uniform.rounding)
    lows, highs = lane_bounds(b.interval(value.tensor), factor.shape)
    columns = [part.reshape(-1).tolist() for part in (factor, addend, lows, highs)]
    reached = _reached(_clipped_jumps(rule, least, greatest), least, list(zip(*columns)))
    x_low, x_high = b.tensor(value.tensor).range
    jumping = max(len(jumps) for _, jumps in reached)
    _bounded(jumping, min(jumping, x_high - x_low + 1) * len(reached), len(reached), layer, uniform)
    lanes: Lanes = []
    for (below, jumps), f, a, low, high in zip(reached, *columns):
        base, steps = integer_thresholds(jumps, below, f, a)
        # Jumps at or below the least code of the proven range have always happened, those above it never do.
        base += sum(rise for t, rise in steps if t <= low)
        lanes.append((base, [(t, rise) for t, rise in steps if low < t <= high]))
    unit = int(np.gcd.reduce([abs(rise) for _, steps in lanes for _, rise in steps] or [1]))
    count = max(sum(abs(rise) for _, rise in steps) // unit for _, steps in lanes)
    entries = min(count, x_high - x_low + 1) * len(lanes)
    jumping = max(len(steps) for _, steps in lanes)
    if 2 * (jumping * len(lanes) + len(rule.jumps) + 1) < entries:
        return _numbered_steps(b, value, rule, layer, name, (least, greatest), quantized)
    _bounded(count, entries, len(lanes), layer, uniform)
    op: Requantize | Threshold | Lookup
    if count == 0:
        # One code for the whole proven range of each channel.
        parts = as_parts([(0, base, 0) for base, _ in lanes], factor.shape)
        ends = [base for base, _ in lanes]
        op = requantize(value.tensor, name, layer, parts, (min(ends), max(ends)), Rounding.RND_CONV, real=real)
    elif count <= x_high - x_low + 1:
        op = dataclasses.replace(_threshold(value.tensor, name, layer, lanes, unit, count, x_high), real=real)
    else:
        table = IntArray(_table(lanes, x_low, x_high))
        op = Lookup(inputs=(value.tensor,), output=name, layer=layer, table=table, table_low=x_low, real=real)
    return result(value, b.add(op, quantization=quantized), layer, rule.scale)


Jumps = list[tuple[Fraction, bool, int]]


def _reached(jumps: Jumps, least: int, lanes: list[Lane]) -> list[tuple[int, Jumps]]:
    """Per lane the code below its range, and the jumps that lie within it: those before have happened, those behind
    never do."""
    at, codes = [jump[0] for jump in jumps], list(itertools.accumulate((j[2] for j in jumps), initial=least))
    found = []
    for factor, addend, low, high in lanes:
        ends = sorted((low * factor + addend, high * factor + addend))
        first, last = bisect.bisect_left(at, ends[0]), bisect.bisect_right(at, ends[1])
        found.append((codes[first], jumps[first:last]))
    return found


def _bounded(count: int, entries: int, lanes: int, layer: str, uniform: Uniform | None) -> None:
    """Raise UnsupportedError for more than MOST_TABLE_ENTRIES entries."""
    if entries > MOST_TABLE_ENTRIES:
        raise UnsupportedError(
            f"it takes {count} thresholds in each of {lanes} channels",
            layer=layer,
            way_out=way_out(rescale=uniform is not None),
        )


def _numbered_steps(
    b: GraphBuilder,
    value: Value,
    rule: Steps,
    layer: str,
    name: str,
    limits: tuple[int, int],
    quantized: Quantization,
) -> Value:
    """A staircase of unequal rises: the number of jumps reached, by thresholds, then a table of the codes. Otherwise a
    rise of many codes would take as many thresholds."""
    number = Steps(0, tuple(Jump(j.at, j.inclusive, 1) for j in rule.jumps), (Fraction(1),))
    reached = steps(b, value, number, layer, f"{name}.level")
    low, high = b.tensor(reached.tensor).range
    codes = np.cumsum([rule.base, *(j.rise for j in rule.jumps)]).clip(*limits)
    tensor = b.add(
        Lookup(
            inputs=(reached.tensor,),
            output=name,
            layer=layer,
            table=IntArray(codes[None, low : high + 1]),
            table_low=low,
        ),
        quantization=quantized,
    )
    return result(value, tensor, layer, rule.scale)


def _clipped_jumps(rule: Steps, least: int, greatest: int) -> list[tuple[Fraction, bool, int]]:
    found, code = [], rule.base
    for jump in rule.jumps:
        before, code = min(max(code, least), greatest), code + jump.rise
        after = min(max(code, least), greatest)
        if after > before:
            found.append((jump.at, jump.inclusive, after - before))
    return found


def _threshold(source: str, name: str, layer: str, lanes: Lanes, unit: int, count: int, x_high: int) -> Threshold:
    rows, bases, steps = [], [], []
    for base, jumps in lanes:
        row = [t for t, rise in jumps for _ in range(abs(rise) // unit)]
        rows.append(row + [x_high + 1] * (count - len(row)))
        bases.append(base)
        steps.append(-unit if any(rise < 0 for _, rise in jumps) else unit)
    if len(set(map(tuple, rows))) == 1 and len(set(bases)) == 1 and len(set(steps)) == 1:
        rows, bases, steps = rows[:1], bases[:1], steps[:1]
    return Threshold(
        inputs=(source,),
        output=name,
        layer=layer,
        thresholds=IntArray(np.array(rows, dtype=np.int64).reshape(len(rows), count)),
        base=IntArray(np.array(bases)),
        step=IntArray(np.array(steps)),
    )


def _table(lanes: Lanes, x_low: int, x_high: int) -> Array:
    table = np.zeros((len(lanes), x_high - x_low + 1), dtype=np.int64)
    for row, (base, jumps) in zip(table, lanes):
        row += base
        for t, rise in jumps:
            row[max(0, t - x_low) :] += rise
    return table


def function(
    b: GraphBuilder, value: Value, rule: Function, layer: str, name: str, meaning: Quantization | None = None
) -> Value:
    """Any elementwise rule: a table over the proven range or, where that is smaller, the number of code changes passed,
    by thresholds, and a table of the codes."""
    if not value.channelwise:
        value = on_grid(b, value, layer, name=f"{value.layer}.grid")
    quantized = meaning or rule_quantization(value, rule.scale, layer)
    factor, addend = np.broadcast_arrays(value.scale, value.offset)
    lows, highs = lane_bounds(b.interval(value.tensor), factor.shape)
    x_low, x_high = b.tensor(value.tensor).range
    columns = [part.reshape(-1).tolist() for part in (factor, addend, lows, highs)]
    most = MOST_TABLE_ENTRIES // factor.size
    lanes = changes(value, rule, list(zip(*columns)), most)
    if lanes is None:
        raise UnsupportedError(
            f"its code changes more than {most} times in each of {factor.size} channels, which takes a table of more "
            f"than {MOST_TABLE_ENTRIES} entries",
            layer=layer,
            way_out="use an activation quantizer with fewer bits, or quantize before the activation",
        )
    count = max(1, *(len(lane) - 1 for lane in lanes))
    if 2 * (2 * count + 1) * len(lanes) < (x_high - x_low + 1) * len(lanes):
        # The first change of a lane is its code from the lowest input on; the others count.
        rows = [[(t, 1) for t, _ in lane[1:]] for lane in lanes]
        passed = _threshold(value.tensor, f"{name}.level", layer, [(0, row) for row in rows], 1, count, x_high)
        level = b.add(passed, quantization=Quantization.of(Fraction(1)))
        codes = [[code for _, code in lane] for lane in lanes]
        table, low = np.array([row + row[-1:] * (count + 1 - len(row)) for row in codes], dtype=np.int64), 0
    else:
        level, low = value.tensor, x_low
        table = np.zeros((len(lanes), x_high - x_low + 1), dtype=np.int64)
        for entries, lane in zip(table, lanes):
            entries[:] = lane[0][1]
            for t, code in lane:
                entries[t - x_low :] = code
    tensor = b.add(
        Lookup(inputs=(level,), output=name, layer=layer, table=IntArray(table), table_low=low), quantization=quantized
    )
    return result(value, tensor, layer, rule.scale)


def row_thresholds(b: GraphBuilder, value: Value, rows: Array, layer: str) -> Value:
    """The number of a row's thresholds that each element's real value reaches (x >= t), as tensor ``layer``. rows:
    Fractions of shape (C or 1, K), for the channels of the last axis; value: meant per channel, without clamps."""
    count, (x_low, x_high) = rows.shape[1], b.tensor(value.tensor).range
    scale, offset = value.scale.reshape(-1), value.offset.reshape(-1)
    channels = max(rows.shape[0], scale.size, offset.size)
    if count * channels > MOST_TABLE_ENTRIES:
        raise UnsupportedError(f"it has {count} thresholds in each of {channels} channels", layer=layer)
    lanes: Lanes = []
    for c in range(channels):
        jumps = [(Fraction(t), True, 1) for t in sorted(rows[c % rows.shape[0]].tolist())]
        base, found = integer_thresholds(jumps, 0, scale[c % scale.size], offset[c % offset.size])
        base += sum(rise for t, rise in found if t <= x_low)
        lanes.append((base, [(t, rise) for t, rise in found if x_low < t <= x_high]))
    reached = max(1, *(len(found) for _, found in lanes))
    op = _threshold(value.tensor, layer, layer, lanes, 1, reached, x_high)
    return Value.of(b.add(op, quantization=Quantization.of(Fraction(1))), layer, value.shape, 1)
