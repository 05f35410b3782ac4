"""Sums, products, extrema and concatenations of several streams."""

from __future__ import annotations

import math

from qsim.errors import UnsupportedError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntFormat
from qsim.targets.rtl.lower.parts import (
    Instance,
    InstanceRule,
    PointwiseRule,
    StreamRule,
    common_format,
    module,
    numbers,
    pointwise,
    pointwise_module,
    streams,
)
from qsim.targets.rtl.network.kernels import Builder, Join, Pointwise, Repeat, Stream
from qsim.targets.rtl.network.runs import runs
from qsim.targets.rtl.text import flag, number, pack, wide

MUL_STAGES = 1


def _sum(b: Builder, op: o.Add | o.Extremum) -> Stream:
    return pointwise(b, op, 0, _broadcast_all(b, op))


def _mul(b: Builder, op: o.Mul) -> Stream:
    return pointwise(b, op, MUL_STAGES, _broadcast_all(b, op))


def _broadcast_all(b: Builder, op: o.Op) -> tuple[Stream, ...]:
    return tuple(_broadcast(b, op, port) for port in range(len(op.inputs)))


def _broadcast(b: Builder, op: o.Op, port: int) -> Stream:
    """The input's stream repeated until it has the shape of the output."""
    x, shape, stream = b.graph[op.inputs[port]], b.graph[op.output].shape, b.stream(op, port)
    have = (1,) * (len(shape) - len(x.shape)) + x.shape
    for start, stop in reversed(runs([i for i in range(len(shape)) if have[i] != shape[i]])):
        outer, times, inner = math.prod(have[:start]), math.prod(shape[start:stop]), math.prod(shape[stop:])
        kernel = Repeat(
            output=b.internal(op.output, f"repeat{port}.", stream.format, outer * times * inner),
            layer=op.layer,
            inputs=(stream,),
            outer=outer,
            times=times,
            inner=inner,
        )
        stream = b.add(kernel)
    return stream


def _concat(b: Builder, op: o.Concat) -> Stream:
    count = len(op.inputs)
    kernel = Join(
        output=b.carrier(op.output),
        layer=op.layer,
        inputs=tuple(b.stream(op, i) for i in range(count)),
        lengths=tuple(math.prod(b.graph[op.inputs[i]].shape[op.axis :]) for i in range(count)),
    )
    return b.add(kernel)


def _zero_formats(zero_points: tuple[int, ...]) -> list[IntFormat]:
    return [IntFormat.for_range(min(z, 0), max(z, 0)) for z in zero_points]


def _add_instance(kernel: Pointwise, op: o.Add, graph: Graph) -> Instance:
    common = common_format([*(stream.format for stream in kernel.inputs), *_zero_formats(op.zero_points)])
    count = len(kernel.inputs)
    return Instance(
        module="qsim_add",
        parameters=(
            *numbers(COUNT=count, WIDTH=common.width, OUT_WIDTH=kernel.output.format.width),
            ("NEGATE", wide(count, pack([int(sign < 0) for sign in op.signs], 1))),
            ("SHIFTS", wide(32 * count, pack(op.shifts, 32))),
            ("ZEROS", wide(common.width * count, pack(op.zero_points, common.width))),
        ),
        clocked=False,
        operand=common,
    )


def _extremum_instance(kernel: Pointwise, op: o.Extremum, graph: Graph) -> Instance:
    formats = [stream.format for stream in kernel.inputs]
    widest = max(f.width + (not f.signed) + shift for f, shift in zip(formats, op.shifts))
    if widest > 64:
        raise UnsupportedError(
            f"aligned operands take {widest} bits", layer=kernel.layer, way_out="requantize the inputs to closer scales"
        )
    common = IntFormat(max(widest, kernel.output.format.width), True)
    return Instance(
        module="qsim_extremum",
        parameters=(
            ("COUNT", number(len(formats))),
            ("MAXIMUM", flag(op.kind == "max")),
            *numbers(WIDTH=common.width, OUT_WIDTH=kernel.output.format.width),
            ("SHIFTS", wide(32 * len(formats), pack(op.shifts, 32))),
        ),
        clocked=False,
        operand=common,
    )


def _mul_instance(kernel: Pointwise, op: o.Mul, graph: Graph) -> Instance:
    common = common_format([*(stream.format for stream in kernel.inputs), *_zero_formats(op.zero_points)])
    return Instance(
        module="qsim_mul",
        parameters=(
            *numbers(WIDTH=common.width, OUT_WIDTH=kernel.output.format.width),
            ("A_ZERO", wide(128, op.zero_points[0], True)),
            ("B_ZERO", wide(128, op.zero_points[1], True)),
        ),
        operand=common,
    )


def _repeat_instance(kernel: Repeat, graph: Graph) -> Instance:
    return Instance(
        module="qsim_repeat",
        parameters=tuple(numbers(WIDTH=kernel.output.format.width, TIMES=kernel.times, INNER=kernel.inner)),
    )


def _join_instance(kernel: Join, graph: Graph) -> Instance:
    formats = [stream.format for stream in kernel.inputs]
    common = common_format([*formats, kernel.output.format])
    return Instance(
        module="qsim_concat",
        parameters=(
            *numbers(COUNT=len(formats), WIDTH=common.width, OUT_WIDTH=kernel.output.format.width),
            ("LENGTHS", wide(32 * len(formats), pack(kernel.lengths, 32))),
        ),
        operand=common,
    )


STREAMS: tuple[StreamRule, ...] = (
    streams(o.Add, _sum),
    streams(o.Extremum, _sum),
    streams(o.Mul, _mul),
    streams(o.Concat, _concat),
)
INSTANCES: tuple[InstanceRule, ...] = (module(Repeat, _repeat_instance), module(Join, _join_instance))
POINTWISE: tuple[PointwiseRule, ...] = (
    pointwise_module(o.Add, _add_instance),
    pointwise_module(o.Extremum, _extremum_instance),
    pointwise_module(o.Mul, _mul_instance),
)
