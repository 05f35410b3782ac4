"""A quantizer's rule applied to a symbolic value: the ops that make the integers.

Everything here is exact on the proven range of the tensor; what cannot be is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.symbolic.grid import on_grid
from qsim.importers.symbolic.rescale import (
    MOST_MULTIPLIER_BITS,
    Rescaling,
    affine_op,
    exact_parts,
    fits,
    is_shift,
    requantize,
)
from qsim.importers.symbolic.steps import (
    MOST_TABLE_ENTRIES,
    code_limits,
    function,
    result,
    rule_quantization,
    steps,
    way_out,
)
from qsim.importers.symbolic.value import ZERO, Value, distinct, fractions
from qsim.ir import Quantization
from qsim.numerics import Rounding
from qsim.proof.builder import GraphBuilder
from qsim.proof.ranges import lane_bounds
from qsim.quantizers.real import REAL_FUNCTIONS, composed
from qsim.quantizers.rules import Function, Leaky, Rule, Steps, Uniform, rounded, sloped, staircase

MOST_PREFERRED_THRESHOLDS = 7
"""Codes of up to three bits are reached by comparing with thresholds wherever a multiplier would be needed."""


def apply_rule(
    b: GraphBuilder,
    value: Value,
    rule: Rule,
    layer: str,
    name: str,
    rescaling: Rescaling,
    meaning: Quantization | None = None,
) -> Value:
    """The value of quantizer ``rule`` on ``value``, as a new tensor ``name`` of ``layer``; of the real-valued function
    that is pending on it, where there is one. meaning: what the tensor says that its codes mean; default: the rule's
    scale."""
    if value.boundary in REAL_FUNCTIONS:
        rule, value = _composed(b, value, rule, layer), value.but(boundary="linear")
    value.settled()
    if value.slope is not None:
        rule, value = sloped(rule, value.slope), value.but(slope=None)
    match rule:
        case Uniform():
            return _uniform(b, value, rule, layer, name, rescaling, meaning)
        case Leaky():
            return _leaky(b, value, rule, layer, name, meaning)
        case Steps():
            return steps(b, value, rule, layer, name, meaning=meaning)
        case Function():
            return function(b, value, rule, layer, name, meaning)


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
    op = affine_op(b, value, factor, addend, codes, uniform[0].rounding, layer, name, rescaling)
    if op is None:
        raise UnsupportedError(
            "its rescale per channel has no exact integer form", layer=layer, way_out="use per_channel=False"
        )
    scale = tuple(rule.scale[0] for rule in uniform)
    return result(value, b.add(op, quantization=rule_quantization(value, scale, layer)), layer, scale)


def _uniform(
    b: GraphBuilder,
    value: Value,
    rule: Uniform,
    layer: str,
    name: str,
    rescaling: Rescaling,
    meaning: Quantization | None,
) -> Value:
    factor, addend = np.asarray(value.scale / rule.step), np.asarray(value.offset / rule.step)
    low, high = code_limits(value, rule)
    zero = rule.zero_point
    op = affine_op(b, value, factor, addend, (low - zero, high - zero), rule.rounding, layer, name, rescaling)
    few = rescaling.bits is None and value.channelwise and rule.high - rule.low <= MOST_PREFERRED_THRESHOLDS
    if op is None or (few and not is_shift(op)):
        low, high = _reached_codes(b, value, rule, layer)
        base, jumps = rounded(1 / rule.step, ZERO, low - zero, high - zero, rounding=rule.rounding)
        stairs = staircase([(base + zero, jumps)], rule.scale)
        found = steps(b, value, stairs, layer, name, None if zero else rule, meaning)
        return found.but(offset=-zero * found.scale) if zero else found
    if zero:
        op = dataclasses.replace(op, zero_point=zero, low=low, high=high)
    tensor = b.add(op, quantization=meaning or rule_quantization(value, rule.scale, layer))
    found = result(value, tensor, layer, rule.scale)
    return found.but(offset=-zero * found.scale) if zero else found


def _reached_codes(b: GraphBuilder, value: Value, rule: Uniform, layer: str) -> tuple[int, int]:
    """The least and greatest code that the value reaches over its proven range. Raises UnsupportedError, before any
    threshold is made, where a channel has too many between."""
    factor, addend = np.broadcast_arrays(value.scale, value.offset)
    bounds = lane_bounds(b.interval(value.tensor), factor.shape)
    lows, highs = ([rule.code(v) for v in np.asarray(x.astype(object) * factor + addend).flat] for x in bounds)
    (x_low, x_high), most = b.tensor(value.tensor).range, max(abs(y - x) for x, y in zip(lows, highs))
    if min(most, x_high - x_low + 1) * factor.size > MOST_TABLE_ENTRIES:
        raise UnsupportedError(
            f"its rescale by a number that is no power of two has no exact multiplier of {MOST_MULTIPLIER_BITS} bits, "
            f"and would take {most} thresholds in each of {factor.size} channels",
            layer=layer,
            way_out=way_out(rescale=True),
        )
    return min(*lows, *highs), max(*lows, *highs)


def _leaky(
    b: GraphBuilder, value: Value, rule: Leaky, layer: str, name: str, meaning: Quantization | None
) -> Value:
    """Both branches as exact multipliers and shifts where code zero is real zero and scales are dyadic; else steps."""
    branches = []
    if distinct(value.offset) == [ZERO] and all(s > 0 for s in distinct(value.scale)):
        for slope in (Fraction(1), rule.slope):
            factor = np.asarray(value.scale * (slope / rule.step), dtype=object)
            parts = exact_parts(factor, np.asarray(value.offset * factor))
            if parts is not None:
                branches.append(parts)
    if len(branches) < 2 or not all(fits(p, b.tensor(value.tensor).range) for p in branches):
        return steps(b, value, rule.steps(), layer, name, meaning=meaning)
    codes = code_limits(value, rule)
    op = requantize(value.tensor, name, layer, branches[0], codes, Rounding.RND_CONV, negative=branches[1])
    tensor = b.add(op, quantization=meaning or rule_quantization(value, rule.scale, layer))
    return result(value, tensor, layer, rule.scale)
