"""Graph -> network of streaming kernels, op by op."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from qsim.errors import UnsupportedError
from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.ir.ops import check_registry
from qsim.numerics import IntFormat
from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.folding import Folding

MAC_DELAY, POOL_DELAY = 3, 2
"""Cycles from the last step of a walk to its result in the queue (qsim_mac.sv, qsim_pool.sv)."""

SOFTMAX_INVERSION = 9
"""Cycles of the reciprocal in qsim_softmax.sv."""

REQUANTIZE_STAGES, DIVIDE_STAGES, LOOKUP_STAGES, MUL_STAGES = 2, 3, 1, 1


def build(graph: Graph, foldings: Mapping[str, Folding]) -> s.Network:
    """The network of ``graph`` with the given units for its multiplying ops.

    Raises UnsupportedError, naming the layer, for an op that has no streaming kernel.
    """
    b = s.Builder(graph, foldings)
    for entry in graph.inputs:
        tensor = graph[entry.tensor]
        source = s.Source(name=tensor.name, layer=tensor.name, inputs=())
        b.tensors[tensor.name] = b.add(source, tensor.format, tensor.size)
    for op in graph.ops:
        b.tensors[op.output] = _RULES[type(op)](b, op)
    for index, out in enumerate(graph.outputs):
        stream = b.tensors[out.tensor]
        b.kernels.append(s.Sink(name=f"{stream}\x1fsink{index}", layer=out.tensor, inputs=(stream,)))
    read = {stream for kernel in b.kernels for stream in kernel.inputs}
    for name in list(b.streams):
        if name not in read:
            b.kernels.append(s.Drain(name=f"{name}\x1fdrain", layer=name, inputs=(name,)))
    return b.network()


def _stream(b: s.Builder, op: o.Op, port: int = 0) -> str:
    return b.tensors[op.inputs[port]]


def _in(b: s.Builder, op: o.Op, port: int = 0) -> Tensor:
    return b.graph[op.inputs[port]]


def _stored(b: s.Builder, stream: str) -> IntFormat:
    """The format of a stream. It may be wider than that of a tensor that it carries: a Reshape, or the input of a
    Slice, whose tensor has a narrower range."""
    return b.streams[stream].format


def _pointwise(b: s.Builder, op: o.Op, stages: int, inputs: tuple[str, ...] | None = None) -> str:
    out = b.graph[op.output]
    kernel = s.Pointwise(
        name=out.name,
        layer=op.layer,
        inputs=inputs if inputs is not None else (_stream(b, op),),
        op=op,
        stages=stages,
    )
    return b.add(kernel, out.format, out.size)


def _constant(b: s.Builder, op: o.Constant) -> str:
    out = b.graph[op.output]
    kernel = s.ConstantSource(name=out.name, layer=op.layer, inputs=(), values=op.values.values.reshape(-1))
    return b.add(kernel, out.format, out.size)


def _conv(b: s.Builder, op: o.Conv2D) -> str:
    x, out = _in(b, op), b.graph[op.output]
    h, w, c = x.shape
    oh, ow, _ = out.shape
    kh, kw = op.weights.shape[:2]
    if (kh, kw) == (1, 1) and op.strides == (1, 1) and op.padding == o.NO_PADDING:
        h, w, oh, ow = h * w, 1, oh * ow, 1  # pixel by pixel: the ring needs no rows
    kernel = s.Window(
        name=out.name,
        layer=op.layer,
        inputs=(_stream(b, op),),
        op=op,
        size=(h, w, c),
        out=(oh, ow),
        kernel=(kh, kw),
        strides=op.strides,
        dilation=op.dilation,
        before=(op.padding[0][0], op.padding[1][0]),
        folding=b.foldings[op.output],
        delay=MAC_DELAY,
    )
    return b.add(kernel, out.format, out.size)


def _dense(b: s.Builder, op: o.Dense) -> str:
    x, out = _in(b, op), b.graph[op.output]
    rows = math.prod(x.shape[:-1])
    kernel = s.Window(
        name=out.name,
        layer=op.layer,
        inputs=(_stream(b, op),),
        op=op,
        size=(rows, 1, x.shape[-1]),
        out=(rows, 1),
        kernel=(1, 1),
        strides=(1, 1),
        dilation=(1, 1),
        before=(0, 0),
        folding=b.foldings[op.output],
        delay=MAC_DELAY,
    )
    return b.add(kernel, out.format, out.size)


def _conv_transpose(b: s.Builder, op: o.ConvTranspose2D) -> str:
    """The frame with the stride's gaps filled in, convolved with the kernel turned by 180 degrees."""
    x, out = _in(b, op), b.graph[op.output]
    (h, w, c), (sh, sw), (kh, kw) = x.shape, op.strides, op.weights.shape[:2]
    bounds = ((h - 1) * sh + 1, (w - 1) * sw + 1, c)
    stream = _stream(b, op)
    if bounds != x.shape:
        if not x.format.holds(op.input_zero_point, op.input_zero_point):
            raise UnsupportedError(
                f"the zero point {op.input_zero_point} is outside the input's format {x.format}, so that the gaps of "
                "a strided transposed convolution cannot be filled",
                layer=op.layer,
                way_out="store the input in a format that holds its zero point",
            )
        filled = s.Mask(
            name=b.internal(out.name, "filled"),
            layer=op.layer,
            inputs=(stream,),
            insert=True,
            value=op.input_zero_point,
            bounds=bounds,
            before=(0, 0, 0),
            sizes=x.shape,
            steps=(sh, sw, 1),
        )
        stream = b.add(filled, _stored(b, stream), math.prod(bounds))
    kernel = s.Window(
        name=out.name,
        layer=op.layer,
        inputs=(stream,),
        op=op,
        size=bounds,
        out=op.output_size,
        kernel=(kh, kw),
        strides=(1, 1),
        dilation=(1, 1),
        before=(kh - 1 - op.padding[0][0], kw - 1 - op.padding[1][0]),
        folding=b.foldings[op.output],
        delay=MAC_DELAY,
    )
    return b.add(kernel, out.format, out.size)


def _pool(b: s.Builder, op: o.SumPool2D | o.MaxPool2D) -> str:
    x, out = _in(b, op), b.graph[op.output]
    h, w, c = x.shape
    if op.pool == (h, w) and op.padding == o.NO_PADDING:  # the whole frame: no window needs to be stored
        kernel: s.Kernel = s.Reduction(
            name=out.name,
            layer=op.layer,
            inputs=(_stream(b, op),),
            kind="sum" if isinstance(op, o.SumPool2D) else "max",
            outer=1,
            reduced=h * w,
            inner=c,
        )
        return b.add(kernel, out.format, out.size)
    oh, ow, _ = out.shape
    walk = op.pool[0] * op.pool[1]
    kernel = s.Window(
        name=out.name,
        layer=op.layer,
        inputs=(_stream(b, op),),
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
    return b.add(kernel, out.format, out.size)


def _matmul(b: s.Builder, op: o.MatMul) -> str:
    left, right, out = _in(b, op, 0), _in(b, op, 1), b.graph[op.output]
    kernel = s.Product(
        name=out.name,
        layer=op.layer,
        inputs=(_stream(b, op, 0), _stream(b, op, 1)),
        op=op,
        batches=math.prod(left.shape[:-2]),
        rows=left.shape[-2],
        inner=left.shape[-1],
        columns=right.shape[-1],
    )
    return b.add(kernel, out.format, out.size)


def _elementwise(b: s.Builder, op: o.Op) -> str:
    out = b.graph[op.output]
    inputs = tuple(_broadcast(b, op, port, out.shape) for port in range(len(op.inputs)))
    return _pointwise(b, op, MUL_STAGES if isinstance(op, o.Mul) else 0, inputs)


def _broadcast(b: s.Builder, op: o.Op, port: int, shape: tuple[int, ...]) -> str:
    """The input's stream repeated until it has the shape of the output."""
    x, stream = _in(b, op, port), _stream(b, op, port)
    have = (1,) * (len(shape) - len(x.shape)) + x.shape
    for start, stop in reversed(_runs([i for i in range(len(shape)) if have[i] != shape[i]])):
        kernel = s.Repeat(
            name=b.internal(op.output, f"repeat{port}."),
            layer=op.layer,
            inputs=(stream,),
            outer=math.prod(have[:start]),
            times=math.prod(shape[start:stop]),
            inner=math.prod(shape[stop:]),
        )
        stream = b.add(kernel, _stored(b, stream), kernel.outer * kernel.times * kernel.inner)
    return stream


def _runs(axes: list[int]) -> list[tuple[int, int]]:
    """Ascending axes as runs [start, stop) of consecutive ones."""
    if not axes:
        return []
    cuts = [0, *(i + 1 for i, (a, c) in enumerate(pairwise(axes)) if c != a + 1), len(axes)]
    return [(axes[i], axes[j - 1] + 1) for i, j in pairwise(cuts)]


def _concat(b: s.Builder, op: o.Concat) -> str:
    out = b.graph[op.output]
    kernel = s.Join(
        name=out.name,
        layer=op.layer,
        inputs=tuple(_stream(b, op, i) for i in range(len(op.inputs))),
        lengths=tuple(math.prod(_in(b, op, i).shape[op.axis :]) for i in range(len(op.inputs))),
    )
    return b.add(kernel, out.format, out.size)


def _reduce(b: s.Builder, op: o.Reduce) -> str:
    x, out = _in(b, op), b.graph[op.output]
    shape, stream = list(x.shape), _stream(b, op)
    runs = _runs(sorted(op.axes)) or [(0, 0)]
    for number, (start, stop) in enumerate(runs, 1):
        final = number == len(runs)
        kernel = s.Reduction(
            name=out.name if final else b.internal(out.name, "partial"),
            layer=op.layer,
            inputs=(stream,),
            kind=op.kind,
            outer=math.prod(shape[:start]),
            reduced=math.prod(shape[start:stop]),
            inner=math.prod(shape[stop:]),
        )
        shape[start:stop] = [1] * (stop - start)
        # Partial sums may wrap in the output's width; a partial extremum is a code of the input.
        fmt = out.format if final or op.kind == "sum" else _stored(b, stream)
        stream = b.add(kernel, fmt, math.prod(shape))
    return stream


def _argmax(b: s.Builder, op: o.ArgMax) -> str:
    x, out = _in(b, op), b.graph[op.output]
    kernel = s.ArgMaximum(
        name=out.name,
        layer=op.layer,
        inputs=(_stream(b, op),),
        outer=math.prod(x.shape[: op.axis]),
        reduced=x.shape[op.axis],
        inner=math.prod(x.shape[op.axis + 1 :]),
    )
    return b.add(kernel, out.format, out.size)


def _threshold(b: s.Builder, op: o.Threshold) -> str:
    return _pointwise(b, op, max(1, op.thresholds.shape[1].bit_length()))


def _softmax(b: s.Builder, op: o.Softmax) -> str:
    out = b.graph[op.output]
    kernel = s.SoftmaxRows(
        name=out.name,
        layer=op.layer,
        inputs=(_stream(b, op),),
        op=op,
        length=out.shape[-1],
        inversion=SOFTMAX_INVERSION,
    )
    return b.add(kernel, out.format, out.size)


def _pad(b: s.Builder, op: o.Pad) -> str:
    x, out = _in(b, op), b.graph[op.output]
    if not any(n for pair in op.pads for n in pair):
        return _stream(b, op)
    kernel = s.Mask(
        name=out.name,
        layer=op.layer,
        inputs=(_stream(b, op),),
        insert=True,
        value=op.value,
        bounds=out.shape,
        before=tuple(p[0] for p in op.pads),
        sizes=x.shape,
        steps=(1,) * len(x.shape),
    )
    low, high = (f(_stored(b, _stream(b, op)), out.format) for f in (_lowest, _highest))
    return b.add(kernel, IntFormat.for_range(low, high), out.size)


def _lowest(*formats: IntFormat) -> int:
    return min(f.low for f in formats)


def _highest(*formats: IntFormat) -> int:
    return max(f.high for f in formats)


def _slice(b: s.Builder, op: o.Slice) -> str:
    x, out = _in(b, op), b.graph[op.output]
    if any(step < 1 and n > 1 for step, n in zip(op.strides, out.shape)):
        positions = np.arange(x.size).reshape(x.shape)
        axes = [begin + step * np.arange(n) for begin, step, n in zip(op.begin, op.strides, out.shape)]
        return _permute(b, op, positions[np.ix_(*axes)])
    kernel = s.Mask(
        name=out.name,
        layer=op.layer,
        inputs=(_stream(b, op),),
        insert=False,
        value=0,
        bounds=x.shape,
        before=op.begin,
        sizes=out.shape,
        steps=tuple(max(1, step) for step in op.strides),
    )
    return b.add(kernel, _stored(b, kernel.inputs[0]), out.size)


def _transpose(b: s.Builder, op: o.Transpose) -> str:
    x = _in(b, op)
    return _permute(b, op, np.arange(x.size).reshape(x.shape).transpose(op.perm))


def _gather(b: s.Builder, op: o.Gather) -> str:
    return _permute(b, op, op.index.values)


def _permute(b: s.Builder, op: o.Op, index: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
    x, out = _in(b, op), b.graph[op.output]
    flat = np.ascontiguousarray(index, dtype=np.int64).reshape(-1)
    if len(flat) == x.size and bool((flat == np.arange(x.size)).all()):
        return _stream(b, op)
    kernel = s.Permute(name=out.name, layer=op.layer, inputs=(_stream(b, op),), size=x.size, index=flat)
    return b.add(kernel, _stored(b, kernel.inputs[0]), out.size)


_RULES: dict[type[o.Op], Callable[[s.Builder, Any], str]] = {
    o.Constant: _constant,
    o.Conv2D: _conv,
    o.ConvTranspose2D: _conv_transpose,
    o.Dense: _dense,
    o.MatMul: _matmul,
    o.Add: _elementwise,
    o.Mul: _elementwise,
    o.Extremum: _elementwise,
    o.Concat: _concat,
    o.SumPool2D: _pool,
    o.MaxPool2D: _pool,
    o.Reduce: _reduce,
    o.Requantize: lambda b, op: _pointwise(b, op, REQUANTIZE_STAGES),
    o.Divide: lambda b, op: _pointwise(b, op, DIVIDE_STAGES),
    o.Threshold: _threshold,
    o.Lookup: lambda b, op: _pointwise(b, op, LOOKUP_STAGES),
    o.Softmax: _softmax,
    o.Reshape: lambda b, op: _stream(b, op),
    o.Transpose: _transpose,
    o.Pad: _pad,
    o.Slice: _slice,
    o.Gather: _gather,
    o.ArgMax: _argmax,
}
check_registry(dict(_RULES), "the streaming network")
