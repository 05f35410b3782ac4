"""Pools and reductions: windows or whole axes, summed or compared."""

from __future__ import annotations

import math

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.targets.rtl.lower.parts import Instance, InstanceRule, Param, StreamRule, module, numbers, streams
from qsim.targets.rtl.network.folding import Folding
from qsim.targets.rtl.network.kernels import ArgMaximum, Builder, PoolOp, Reduction, Stream, Window
from qsim.targets.rtl.network.runs import runs
from qsim.targets.rtl.text import flag, number, string

POOL_DELAY = 2
"""Cycles from the last step of a walk to its result in the queue (qsim_pool.sv)."""


def _pool(b: Builder, op: PoolOp) -> Stream:
    x, out = b.graph[op.inputs[0]], b.graph[op.output]
    h, w, c = x.shape
    if op.pool == (h, w) and op.padding == o.NO_PADDING:  # the whole frame: no window needs to be stored
        reduction = Reduction(
            output=b.carrier(op.output),
            layer=op.layer,
            inputs=(b.stream(op),),
            kind="sum" if isinstance(op, o.SumPool2D) else "max",
            outer=1,
            reduced=h * w,
            inner=c,
        )
        return b.add(reduction)
    oh, ow, _ = out.shape
    walk = op.pool[0] * op.pool[1]
    kernel = Window(
        output=b.carrier(op.output),
        layer=op.layer,
        inputs=(b.stream(op),),
        op=op,
        size=(h, w, c),
        out=(oh, ow),
        kernel=op.pool,
        strides=op.strides,
        dilation=(1, 1),
        before=(op.padding[0][0], op.padding[1][0]),
        folding=Folding(
            word=1, lanes=1, shared=True, groups=c, tiles=1, walk=walk, pixels=oh * ow, reads=x.size, writes=out.size
        ),
        delay=POOL_DELAY,
    )
    return b.add(kernel)


def _reduce(b: Builder, op: o.Reduce) -> Stream:
    shape, stream = list(b.graph[op.inputs[0]].shape), b.stream(op)
    steps = runs(sorted(op.axes)) or [(0, 0)]
    for number_, (start, stop) in enumerate(steps, 1):
        final = number_ == len(steps)
        outer, reduced, inner = math.prod(shape[:start]), math.prod(shape[start:stop]), math.prod(shape[stop:])
        shape[start:stop] = [1] * (stop - start)
        # Partial sums may wrap in the output's width; a partial extremum is a code of the input.
        fmt = b.graph[op.output].format if op.kind == "sum" else stream.format
        kernel = Reduction(
            output=b.carrier(op.output) if final else b.internal(op.output, "partial", fmt, math.prod(shape)),
            layer=op.layer,
            inputs=(stream,),
            kind=op.kind,
            outer=outer,
            reduced=reduced,
            inner=inner,
        )
        stream = b.add(kernel)
    return stream


def _argmax(b: Builder, op: o.ArgMax) -> Stream:
    x = b.graph[op.inputs[0]]
    kernel = ArgMaximum(
        output=b.carrier(op.output),
        layer=op.layer,
        inputs=(b.stream(op),),
        outer=math.prod(x.shape[: op.axis]),
        reduced=x.shape[op.axis],
        inner=math.prod(x.shape[op.axis + 1 :]),
    )
    return b.add(kernel)


def window_geometry(kernel: Window) -> list[Param]:
    """The parameters of qsim_window.sv that every unit behind it passes on."""
    h, w, c = kernel.size
    return [
        *numbers(H=h, W=w, C=c, OH=kernel.out[0], OW=kernel.out[1], KH=kernel.kernel[0], KW=kernel.kernel[1]),
        *numbers(SH=kernel.strides[0], SW=kernel.strides[1], TOP=kernel.before[0], LEFT=kernel.before[1]),
        *numbers(DEPTH=kernel.depth, CREDITS=kernel.credits),
    ]


def pool_instance(kernel: Window, op: PoolOp) -> Instance:
    """The module of a window over which is summed or compared."""
    x, y = kernel.inputs[0].format, kernel.output.format
    return Instance(
        module="qsim_pool",
        parameters=(
            ("MAXIMUM", flag(isinstance(op, o.MaxPool2D))),
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("OUT_WIDTH", number(y.width)),
            *window_geometry(kernel),
        ),
    )


def _reduction(kernel: Reduction, graph: Graph) -> Instance:
    return Instance(module="qsim_reduce", parameters=(("KIND", string(kernel.kind.upper())), *_axis(kernel)))


def _arg_maximum(kernel: ArgMaximum, graph: Graph) -> Instance:
    return Instance(module="qsim_argmax", parameters=tuple(_axis(kernel)))


def _axis(kernel: Reduction | ArgMaximum) -> list[Param]:
    x = kernel.inputs[0].format
    return [
        ("WIDTH", number(x.width)),
        ("SIGNED", flag(x.signed)),
        *numbers(REDUCED=kernel.reduced, INNER=kernel.inner, OUT_WIDTH=kernel.output.format.width),
    ]


STREAMS: tuple[StreamRule, ...] = (
    streams(o.SumPool2D, _pool),
    streams(o.MaxPool2D, _pool),
    streams(o.Reduce, _reduce),
    streams(o.ArgMax, _argmax),
)
INSTANCES: tuple[InstanceRule, ...] = (module(Reduction, _reduction), module(ArgMaximum, _arg_maximum))
