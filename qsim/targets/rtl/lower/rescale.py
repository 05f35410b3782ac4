"""Requantize, divide, thresholds and tables: one code in, one code out."""

from __future__ import annotations

import numpy as np

from qsim.errors import UnsupportedError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import periodic
from qsim.proof.steps import affine
from qsim.targets.rtl.lower.modes import ROUNDINGS
from qsim.targets.rtl.lower.parts import (
    Instance,
    PointwiseRule,
    StreamRule,
    pointwise,
    pointwise_module,
    streams,
)
from qsim.targets.rtl.lower.requantize import requantize
from qsim.targets.rtl.network.kernels import Builder, Pointwise, Stream
from qsim.targets.rtl.text import Memory, flag, number, pack, signed_width, string, wide

REQUANTIZE_STAGES, DIVIDE_STAGES, LOOKUP_STAGES = 5, 3, 1
"""Registers of qsim_requantize.sv, qsim_divide.sv, qsim_lookup.sv."""


def _requantize(b: Builder, op: o.Requantize) -> Stream:
    return pointwise(b, op, REQUANTIZE_STAGES)


def _divide(b: Builder, op: o.Divide) -> Stream:
    return pointwise(b, op, DIVIDE_STAGES)


def _threshold(b: Builder, op: o.Threshold) -> Stream:
    return pointwise(b, op, max(1, op.thresholds.shape[1].bit_length()))


def _lookup(b: Builder, op: o.Lookup) -> Stream:
    return pointwise(b, op, LOOKUP_STAGES)


def _requantize_instance(kernel: Pointwise, op: o.Requantize, graph: Graph) -> Instance:
    tensor, out = graph[op.inputs[0]], graph[op.output]
    parameters, table = requantize(op, tensor, out, kernel.inputs[0].format)
    return Instance(module="qsim_requantize", parameters=tuple(parameters), memories=(("TABLE", table),))


def _divide_instance(kernel: Pointwise, op: o.Divide, graph: Graph) -> Instance:
    """Division by a constant is exact as floor(n * ceil(2**S / d) / 2**S) for 0 <= n <= N where N * e < 2**S with
    e = ceil(2**S / d) * d - 2**S < d (Granlund and Montgomery): S = bits(N) + bits(d) is always enough. The remainder
    then decides the rounding. Negative n go by floor(n / d) = ~floor(~n / d)."""
    x, tensor, out = kernel.inputs[0].format, graph[op.inputs[0]], graph[op.output]
    columns = [periodic(a, out.shape) for a in (op.numerator, op.addend, op.divisor)]
    period = max(len(c) for c in columns)
    numerator, addend, divisor = ([int(v) for v in c] * (period // len(c)) for c in columns)
    sums = affine(tensor.range, numerator, addend, divisor).sums
    biggest = max(sums[1], -1 - sums[0], 0)
    shift = biggest.bit_length() + max(divisor).bit_length()
    reciprocal = [-(-(1 << shift) // d) for d in divisor]
    widths = {
        "N_WIDTH": signed_width(min(numerator), max(numerator)),
        "A_WIDTH": signed_width(min(addend), max(addend)),
        "D_WIDTH": max(divisor).bit_length() + 1,
        "M_WIDTH": max(reciprocal).bit_length(),
    }
    p_width = max(signed_width(*sums) + 1, x.width + 2)
    v_width = max(p_width, out.format.width, signed_width(op.zero_point, op.zero_point)) + 2
    words = [
        pack([n], widths["N_WIDTH"])
        | pack([a], widths["A_WIDTH"]) << widths["N_WIDTH"]
        | d << (widths["N_WIDTH"] + widths["A_WIDTH"])
        | m << (widths["N_WIDTH"] + widths["A_WIDTH"] + widths["D_WIDTH"])
        for n, a, d, m in zip(numerator, addend, divisor, reciprocal)
    ]
    return Instance(
        module="qsim_divide",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("MODE", string(ROUNDINGS[op.rounding])),
            *((name, number(value)) for name, value in widths.items()),
            ("P_WIDTH", number(p_width)),
            ("V_WIDTH", number(v_width)),
            ("SHIFT", number(shift)),
            ("Y_ZERO", wide(128, op.zero_point, True)),
            ("LOW", wide(128, op.low, True)),
            ("HIGH", wide(128, op.high, True)),
            ("OUT_WIDTH", number(out.format.width)),
            ("PERIOD", number(period)),
        ),
        memories=(("TABLE", Memory(sum(widths.values()), words)),),
    )


def _threshold_instance(kernel: Pointwise, op: o.Threshold, graph: Graph) -> Instance:
    """Binary search, one level per stage. Level l of L decides bit L - 1 - l of the count; its memory holds, for each
    channel and each value p of the bits above, threshold p * 2**(L - l) + 2**(L - 1 - l) - 1. Thresholds beyond the
    last one, and beyond the input's format, are the first value that the input never reaches."""
    x, y, out = kernel.inputs[0].format, kernel.output.format, graph[op.output]
    channels = out.shape[-1]
    columns = max(op.thresholds.shape[0], op.base.shape[0], op.step.shape[0])
    if columns not in (1, channels):
        raise UnsupportedError(
            f"thresholds for {columns} channels on {channels}",
            layer=kernel.layer,
            way_out="give one row or one per channel",
        )
    never, width = x.high + 1, x.width + 2
    count, levels = op.thresholds.shape[1], kernel.stages
    table = np.full((columns, 1 << levels), never, dtype=object)
    table[:, :count] = np.broadcast_to(op.thresholds.values, (columns, count))
    clipped = [[max(min(int(v), never), x.low) for v in row] for row in table]
    memories = []
    for level in range(levels):
        step = 1 << (levels - level)
        words = [pack([row[p * step + step // 2 - 1]], width) for row in clipped for p in range(1 << level)]
        memories.append(Memory(width, words))
    base = [int(v) for v in np.broadcast_to(op.base.values.reshape(-1), (columns,))]
    step_values = [int(v) for v in np.broadcast_to(op.step.values.reshape(-1), (columns,))]
    words = [pack([b, d], y.width) for b, d in zip(base, step_values)]
    return Instance(
        module="qsim_threshold",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("OUT_WIDTH", number(y.width)),
            ("LEVELS", number(levels)),
            ("PERIOD", number(columns)),
        ),
        memories=(("CODES", Memory(2 * y.width, words)),),
        stacks=(("MEMORIES", tuple(memories)),),
    )


def _lookup_instance(kernel: Pointwise, op: o.Lookup, graph: Graph) -> Instance:
    x, y = kernel.inputs[0].format, kernel.output.format
    rows, entries = op.table.shape
    address = max(1, (entries - 1).bit_length())
    padded = np.zeros((rows, 1 << address), dtype=np.int64)
    padded[:, :entries] = op.table.values
    return Instance(
        module="qsim_lookup",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("OUT_WIDTH", number(y.width)),
            ("ENTRY", number(address)),
            ("TABLE_LOW", wide(128, op.table_low, True)),
            ("PERIOD", number(rows)),
        ),
        memories=(("TABLE", Memory(y.width, [pack([v], y.width) for v in padded.reshape(-1)])),),
    )


STREAMS: tuple[StreamRule, ...] = (
    streams(o.Requantize, _requantize),
    streams(o.Divide, _divide),
    streams(o.Threshold, _threshold),
    streams(o.Lookup, _lookup),
)
POINTWISE: tuple[PointwiseRule, ...] = (
    pointwise_module(o.Requantize, _requantize_instance),
    pointwise_module(o.Divide, _divide_instance),
    pointwise_module(o.Threshold, _threshold_instance),
    pointwise_module(o.Lookup, _lookup_instance),
)
