"""Each operation as a sentence on real numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qsim.debug.words.factors import factor_of
from qsim.debug.words.text import code_unit, number, short
from qsim.ir import Graph
from qsim.ir import ops as o

_EXTREMA = {"max": "greatest", "min": "least"}
Sentence = Callable[[Graph, Any], str]


def _conv2d(graph: Graph, op: o.Conv2D) -> str:
    kh, kw, group_in, _ = op.weights.shape
    bias = " + bias[o]" if op.bias is not None else ""
    what = "its own input channel" if op.groups > 1 and group_in == 1 else f"{group_in} input channels"
    pads = f", padding {op.padding} counts as 0" if any(map(any, op.padding)) else ""
    return (
        f"sum[i, j, o] = sum over a {kh} x {kw} window and {what} of weight * x{bias}; the window moves by "
        f"{op.strides[0]} x {op.strides[1]}{pads}."
    )


def _dense(graph: Graph, op: o.Dense) -> str:
    bias = " + bias[o]" if op.bias is not None else ""
    return f"sum[o] = sum over {op.weights.shape[0]} inputs of weight[c, o] * x[c]{bias}."


def _rescaled(graph: Graph, op: o.Requantize | o.Divide) -> str:
    out = graph[op.output]
    f = factor_of(graph, op)
    low, high = (code_unit(out, (0,), c) for c in (op.low, op.high))
    relu = " (nothing negative passes, as after a ReLU)" if low == 0 else ""
    source = "sum"
    if f.count > 1:
        source = f"sum / {f.count}" if f.inverse * f.count == 1 else f"sum * {number(f.inverse)} (near 1/{f.count})"
    return (
        f"y = {source} rounded to a multiple of {number(out.quantization.scale[0])} and kept within "
        f"[{number(low)}, {number(high)}]{relu}."
    )


def _add(graph: Graph, op: o.Add) -> str:
    signs = " ".join(f"{'+' if s > 0 else '-'} {short(n)}" for n, s in zip(op.inputs, op.signs, strict=True))
    return f"sum = {signs.removeprefix('+ ')}."


def _window(op: o.SumPool2D | o.MaxPool2D) -> str:
    return f"a {op.pool[0]} x {op.pool[1]} window of each channel"


def _reduce(graph: Graph, op: o.Reduce) -> str:
    shape = graph[op.inputs[0]].shape
    what = "sum" if op.kind == "sum" else _EXTREMA[op.kind]
    axes = " and ".join(str(a) for a in op.axes)
    sizes = " x ".join(str(shape[a]) for a in op.axes)
    return f"y = the {what} of {sizes} numbers, over axis {axes} of x."


def _always(text: str) -> Sentence:
    return lambda graph, op: text


REAL: dict[type[o.Op], Sentence] = {
    o.Constant: _always("y = constants of the layer."),
    o.Conv2D: _conv2d,
    o.ConvTranspose2D: _always("sum = every input spread over a window with its weights, overlaps added, plus bias."),
    o.Dense: _dense,
    o.MatMul: lambda graph, op: f"y = the matrix product of {short(op.inputs[0])} and {short(op.inputs[1])}.",
    o.Add: _add,
    o.Mul: lambda graph, op: f"y = {short(op.inputs[0])} * {short(op.inputs[1])}, element by element.",
    o.Extremum: lambda graph, op: f"y = the {_EXTREMA[op.kind]} of the inputs, element by element.",
    o.Concat: lambda graph, op: f"y = the inputs one behind the other along axis {op.axis}.",
    o.SumPool2D: lambda graph, op: f"sum = the sum over {_window(op)}.",
    o.MaxPool2D: lambda graph, op: f"y = the greatest of {_window(op)}.",
    o.Reduce: _reduce,
    o.Requantize: _rescaled,
    o.Divide: _rescaled,
    o.Threshold: _always("y = f(x), an elementwise function, rounded once to the output's codes."),
    o.Lookup: _always("y = f(x), an elementwise function, rounded once to the output's codes."),
    o.Softmax: _always("y = exp(x) / sum of exp(x) over the last axis."),
    o.Reshape: _always("y = x in another shape; the order of the elements stays."),
    o.Transpose: _always("y = x with its axes in another order."),
    o.Pad: lambda graph, op: f"y = x with a border of {number(code_unit(graph[op.output], (0,), op.value))}.",
    o.Slice: _always("y = a part of x."),
    o.Gather: _always("y = elements of x, moved or repeated by a fixed list of places."),
    o.ArgMax: lambda graph, op: f"y = the place of the greatest x along axis {op.axis}, the first of equal ones.",
}
o.check_registry(REAL, "debug.words.reals")


def real_lines(graph: Graph, op: o.Op) -> list[str]:
    """What the operation means for real numbers."""
    return [REAL[type(op)](graph, op)]
