"""HLS views of the elementwise ops with constant parameters (requantize, divide, threshold, lookup)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, IntFormat, Overflow, Rescale, Scheme, periodic
from qsim.proof.steps import centred as centred_bounds
from qsim.proof.steps import corners, rescale_bounds
from qsim.targets.hls.lower.needs import elementwise
from qsim.targets.hls.text import Context, Table, View, bits, centred, const, table, typedef


def _broadcast_table(values: Sequence[IntArray], shape: tuple[int, ...]) -> list[Array]:
    """Every array as one period of the stream, all of the same length (periods are products of trailing dimensions,
    so each divides the longest)."""
    periods = [periodic(v, shape) for v in values]
    longest = max(p.size for p in periods)
    return [np.tile(p, longest // p.size) for p in periods]


def rescale_width(r: Rescale, low: int, high: int) -> int:
    """The width of every intermediate of ``r`` over x - zero_point in [low, high], rounding bits included."""
    worst = rescale_bounds(r, min(low, 0), max(high, 0))
    width = bits(*worst, low, high) + 2
    return max(width, 36) if r.scheme in (Scheme.TFLITE_DOUBLE, Scheme.TFLITE_UPWARD) else width


def _bounds_config(op: o.Requantize | o.Divide, overflow: Overflow) -> tuple[str, ...]:
    return (
        const("zero_point", op.zero_point),
        f"static const qsim::Overflow overflow = qsim::{overflow.name};",
        const("low", op.low),
        const("high", op.high),
    )


def _rescale_config(r: Rescale, prefix: str = "") -> tuple[str, ...]:
    return (
        f"static const qsim::Scheme {prefix}scheme = qsim::{r.scheme.name};",
        f"static const qsim::Rounding {prefix}rounding = qsim::{r.rounding.name};",
        typedef(f"{prefix}multiplier_t", r.multiplier.format),
        typedef(f"{prefix}addend_t", r.addend.format),
    )


def _rescale_tables(name: str, r: Rescale, parts: Sequence[Array], prefix: str = "") -> tuple[Table, ...]:
    kinds = ("multiplier", "addend", "shift")
    formats = (r.multiplier.format, r.addend.format, None)
    return tuple(table(f"{name}_{prefix}{k}", p, f) for k, p, f in zip(kinds, parts, formats))


def requantize(op: o.Requantize, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    name = context.names[op.output]
    low, high = centred_bounds(x.range, op.input_zero_point)
    rescales = [op.rescale] if op.negative is None else [op.rescale, op.negative]
    fmt = centred(x, op.input_zero_point)
    width = max(rescale_width(r, low, high) for r in rescales)
    # one more bit for each of: adding the zero point, the dropped bit that WRAP_SM looks at, x - z over x's format
    width = max(width, bits(op.zero_point, op.low, op.high), bits(fmt.low, fmt.high), out.format.width) + 2
    shared = (
        const("elements", out.size),
        const("width", width),
        const("input_zero_point", op.input_zero_point),
        *_bounds_config(op, op.overflow),
    )
    text = f"{op.rescale.scheme.value}, round {op.rescale.rounding.value}, overflow {op.overflow.value}"
    if len(rescales) == 1 and op.rescale.is_shift and op.rescale.shift.is_scalar:
        shift = op.rescale.shift.item()
        rounding = f"static const qsim::Rounding rounding = qsim::{op.rescale.rounding.name};"
        config = (*shared, const("shift", shift), rounding)
        equation = f"requantize by 2**{-shift}, round {op.rescale.rounding.value}, overflow {op.overflow.value}"
        return View(equation=equation, kernel="requantize_shift", config=config)
    arrays = [v for r in rescales for v in (r.multiplier, r.addend, r.shift)]
    parts = _broadcast_table(arrays, out.shape)
    config = (*shared, const("period", parts[0].size), typedef("centred_t", fmt), *_rescale_config(op.rescale))
    tables = _rescale_tables(name, op.rescale, parts[:3])
    if op.negative is not None:
        config += _rescale_config(op.negative, "negative_")
        tables += _rescale_tables(name, op.negative, parts[3:], "negative_")
    return View(
        equation=f"requantize ({text})",
        kernel="requantize" if op.negative is None else "requantize_two_sided",
        config=config,
        tables=tables,
    )


def divide(op: o.Divide, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    name = context.names[op.output]
    arrays = (op.numerator, op.addend, op.divisor)
    numerator, addend, divisor = _broadcast_table(arrays, out.shape)
    width = max(bits(*corners(x.range, op.numerator, op.addend)), bits(2 * op.divisor.high)) + 1
    width = max(width, bits(op.zero_point, op.low, op.high) + 1, out.format.width + 1) + 1
    config = (
        const("elements", out.size),
        const("width", width),
        const("period", numerator.size),
        f"static const qsim::Rounding rounding = qsim::{op.rounding.name};",
        typedef("numerator_t", op.numerator.format),
        typedef("addend_t", op.addend.format),
        *_bounds_config(op, Overflow.SAT),
    )
    tables = (
        table(f"{name}_numerator", numerator, op.numerator.format),
        table(f"{name}_addend", addend, op.addend.format),
        table(f"{name}_divisor", divisor, op.divisor.format),
    )
    return View(equation=f"exact division, round {op.rounding.value}", kernel="divide", config=config, tables=tables)


def threshold(op: o.Threshold, context: Context) -> View:
    out = context.graph[op.output]
    rows, steps = op.thresholds.shape
    limits = op.thresholds
    if steps == 0:  # a constant: one threshold that no code reaches, for C++ has no empty arrays
        limits, steps = IntArray(np.full((rows, 1), context.graph[op.inputs[0]].format.high + 1)), 1
    channels = max(rows, op.base.size, op.step.size)
    thresholds = np.broadcast_to(limits.values, (channels, steps))
    base, step = (np.broadcast_to(v.values.reshape(-1), (channels,)) for v in (op.base, op.step))
    name = context.names[op.output]
    config = (
        const("elements", out.size),
        const("channels", channels),
        const("steps", steps),
        typedef("threshold_t", limits.format),
        typedef("base_t", op.base.format),
        typedef("step_t", op.step.format),
        typedef("count_t", IntFormat.for_range(0, steps)),
    )
    tables = (
        table(f"{name}_thresholds", thresholds, limits.format),
        table(f"{name}_base", base, op.base.format),
        table(f"{name}_step", step, op.step.format),
    )
    return View(equation=f"{steps} thresholds", kernel="threshold", config=config, tables=tables)


def lookup(op: o.Lookup, context: Context) -> View:
    out = context.graph[op.output]
    channels, entries = op.table.shape
    index = IntFormat.for_range(0, max(1, entries - 1))
    padded = np.pad(op.table.values, ((0, 0), (0, (1 << index.width) - entries)), mode="edge")
    config = (
        const("elements", out.size),
        const("channels", channels),
        const("entries", padded.shape[1]),
        const("table_low", op.table_low),
        typedef("low_t", IntFormat.for_range(op.table_low, op.table_low)),
        typedef("index_t", index),
    )
    tables = (table(f"{context.names[op.output]}_table", padded, op.table.format),)
    return View(equation=f"table of {entries} codes", kernel="lookup", config=config, tables=tables)


VIEWS = dict(
    (
        o.entry(o.Requantize, requantize),
        o.entry(o.Divide, divide),
        o.entry(o.Threshold, threshold),
        o.entry(o.Lookup, lookup),
    )
)

NEEDS = dict(
    (
        o.entry(o.Requantize, elementwise),
        o.entry(o.Divide, elementwise),
        o.entry(o.Threshold, elementwise),
        o.entry(o.Lookup, elementwise),
    )
)

__all__ = ["NEEDS", "VIEWS"]
