"""Constants, and ops that move elements: pads, slices, transpositions, gathers."""

from __future__ import annotations

import numpy as np

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array, IntFormat
from qsim.targets.rtl.lower.parts import Instance, InstanceRule, StreamRule, module, numbers, streams
from qsim.targets.rtl.network.kernels import Builder, ConstantSource, Mask, Permute, Stream
from qsim.targets.rtl.text import Memory, flag, number, pack, wide


def _constant(b: Builder, op: o.Constant) -> Stream:
    return b.add(
        ConstantSource(
            output=b.carrier(op.output), layer=op.layer, inputs=(), values=op.values.values.reshape(-1).astype(np.int64)
        )
    )


def _reshape(b: Builder, op: o.Reshape) -> Stream:
    return b.stream(op)


def _pad(b: Builder, op: o.Pad) -> Stream:
    x, out, stream = b.graph[op.inputs[0]], b.graph[op.output], b.stream(op)
    if not any(n for pair in op.pads for n in pair):
        return stream
    formats = (stream.format, out.format)
    fmt = IntFormat.for_range(min(f.low for f in formats), max(f.high for f in formats))
    kernel = Mask(
        output=b.carrier(op.output, fmt),
        layer=op.layer,
        inputs=(stream,),
        insert=True,
        value=op.value,
        bounds=out.shape,
        before=tuple(p[0] for p in op.pads),
        sizes=x.shape,
        steps=(1,) * len(x.shape),
    )
    return b.add(kernel)


def _slice(b: Builder, op: o.Slice) -> Stream:
    x, out, stream = b.graph[op.inputs[0]], b.graph[op.output], b.stream(op)
    if any(step < 1 and n > 1 for step, n in zip(op.strides, out.shape)):
        positions = np.arange(x.size).reshape(x.shape)
        axes = [begin + step * np.arange(n) for begin, step, n in zip(op.begin, op.strides, out.shape)]
        return _permute(b, op, positions[np.ix_(*axes)])
    kernel = Mask(
        output=b.carrier(op.output, stream.format),
        layer=op.layer,
        inputs=(stream,),
        insert=False,
        value=0,
        bounds=x.shape,
        before=op.begin,
        sizes=out.shape,
        steps=tuple(max(1, step) for step in op.strides),
    )
    return b.add(kernel)


def _transpose(b: Builder, op: o.Transpose) -> Stream:
    x = b.graph[op.inputs[0]]
    return _permute(b, op, np.arange(x.size).reshape(x.shape).transpose(op.perm))


def _gather(b: Builder, op: o.Gather) -> Stream:
    return _permute(b, op, op.index.values)


def _permute(b: Builder, op: o.Op, index: Array) -> Stream:
    size, stream = b.graph[op.inputs[0]].size, b.stream(op)
    flat = np.ascontiguousarray(index, dtype=np.int64).reshape(-1)
    if len(flat) == size and bool((flat == np.arange(size)).all()):
        return stream
    output = b.carrier(op.output, stream.format)
    return b.add(Permute(output=output, layer=op.layer, inputs=(stream,), size=size, index=flat))


def _constant_instance(kernel: ConstantSource, graph: Graph) -> Instance:
    width = kernel.output.format.width
    return Instance(
        module="qsim_constant",
        parameters=tuple(numbers(WIDTH=width, SIZE=len(kernel.values))),
        memories=(("TABLE", Memory(width, [pack([v], width) for v in kernel.values])),),
    )


def _mask_instance(kernel: Mask, graph: Graph) -> Instance:
    rank = len(kernel.bounds)
    fields = [
        (name, wide(32 * rank, pack(list(reversed(values)), 32)))
        for name, values in (
            ("BOUNDS", kernel.bounds),
            ("BEFORE", kernel.before),
            ("SIZES", kernel.sizes),
            ("STEPS", kernel.steps),
        )
    ]
    width = kernel.output.format.width
    if not kernel.insert:
        return Instance(module="qsim_crop", parameters=(*numbers(WIDTH=width, RANK=rank), *fields))
    x = kernel.inputs[0].format
    return Instance(
        module="qsim_pad",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("OUT_WIDTH", number(width)),
            ("VALUE", wide(width, kernel.value & ((1 << width) - 1))),
            ("RANK", number(rank)),
            *fields,
        ),
    )


def _permute_instance(kernel: Permute, graph: Graph) -> Instance:
    address = max(1, (kernel.size - 1).bit_length())
    return Instance(
        module="qsim_permute",
        parameters=tuple(
            numbers(
                WIDTH=kernel.output.format.width,
                SIZE=kernel.size,
                OUT_SIZE=len(kernel.index),
                CREDITS=kernel.credits,
            )
        ),
        memories=(("INDEX", Memory(address, [int(i) for i in kernel.index])),),
    )


STREAMS: tuple[StreamRule, ...] = (
    streams(o.Constant, _constant),
    streams(o.Reshape, _reshape),
    streams(o.Transpose, _transpose),
    streams(o.Pad, _pad),
    streams(o.Slice, _slice),
    streams(o.Gather, _gather),
)
INSTANCES: tuple[InstanceRule, ...] = (
    module(ConstantSource, _constant_instance),
    module(Mask, _mask_instance),
    module(Permute, _permute_instance),
)
