"""What the HLS templates show of each op: the kernel, its configuration, its constant arrays, its expressions.

Every string here is finished C++; the templates only lay it out. One function per op, in ``VIEWS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.targets.hls.lower import elementwise as hls_elementwise
from qsim.targets.hls.lower import linear as hls_linear
from qsim.targets.hls.text import Context, View, bits, const, indices, literal, table, typedef


def _strided(x: Tensor, name: str, sizes: Sequence[int], strides: Sequence[int], start: int, equation: str) -> View:
    config = (
        const("elements", x.size),
        const("out_elements", math.prod(sizes)),
        const("rank", len(sizes)),
        const("start", start),
    )
    return View(
        equation=equation,
        kernel="rearrange",
        config=config,
        tables=(indices(f"{name}_sizes", sizes), indices(f"{name}_strides", strides)),
    )


def row_major(shape: Sequence[int]) -> list[int]:
    """Elements between neighbours along each axis."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def _broadcasts(op: o.Op, context: Context) -> dict[int, View]:
    """A repeating process for every input whose shape is not the output's."""
    out = context.graph[op.output].shape
    found = {}
    for i, x in enumerate(context.tensors(op)):
        if x.size == math.prod(out):
            continue
        shape = (1,) * (len(out) - len(x.shape)) + x.shape
        strides = [0 if n == 1 else s for n, s in zip(shape, row_major(shape))]
        name = f"{context.names[op.output]}_broadcast{i}"
        found[i] = _strided(x, name, out, strides, 0, f"input {i} repeated to {'x'.join(map(str, out))}")
    return found


def _centred_expression(i: int, zero_point: int) -> str:
    if not zero_point:
        return f"x{i}"
    return f"(x{i} {'-' if zero_point > 0 else '+'} wide({literal(abs(zero_point))}))"


def _reads(op: o.Op, context: Context) -> tuple[str, ...]:
    return tuple(f"const tensors::{context.names[n]}_t x{i} = in{i}.read();" for i, n in enumerate(op.inputs))


def _elementwise(op: o.Op, context: Context, equation: str, width: int, steps: Sequence[str]) -> View:
    return View(
        equation=equation,
        body="elementwise",
        statements=(f"typedef ap_int<{width}> wide;", *_reads(op, context), *steps),
        sizes=(context.graph[op.output].size,),
        broadcasts=_broadcasts(op, context),
    )


def _add(op: o.Add, context: Context) -> View:
    magnitude, steps = 0, []
    for i, x in enumerate(context.tensors(op)):
        zero, shift = op.zero_points[i], op.shifts[i]
        magnitude += max(abs(x.format.low - zero), abs(x.format.high - zero), abs(zero)) << shift
        term = f"wide({_centred_expression(i, zero)})" + (f" << {shift}" if shift else "")
        if i == 0:
            steps.append(f"wide y = {'-wide(' + term + ')' if op.signs[i] < 0 else term};")
        else:
            steps.append(f"y {'-' if op.signs[i] < 0 else '+'}= {term};")
    equation = "aligned sum of " + ", ".join(op.inputs)
    return _elementwise(op, context, equation, bits(magnitude, -magnitude) + 1, steps)


def _mul(op: o.Mul, context: Context) -> View:
    product = 1
    for x, zero in zip(context.tensors(op), op.zero_points):
        product *= max(abs(x.format.low - zero), abs(x.format.high - zero), abs(zero), 1)
    expression = " * ".join(f"wide({_centred_expression(i, z)})" for i, z in enumerate(op.zero_points))
    steps = [f"const wide y = {expression};"]
    return _elementwise(op, context, "elementwise product", bits(product, -product) + 1, steps)


def _extremum(op: o.Extremum, context: Context) -> View:
    width, steps = 1, []
    sign = ">" if op.kind == "max" else "<"
    for i, (x, shift) in enumerate(zip(context.tensors(op), op.shifts)):
        width = max(width, bits(x.format.low << shift, x.format.high << shift) + 1)
        term = f"wide(x{i})" + (f" << {shift}" if shift else "")
        if i == 0:
            steps.append(f"wide y = {term};")
        else:
            steps += [f"const wide y{i} = {term};", f"if (y{i} {sign} y) y = y{i};"]
    return _elementwise(op, context, f"elementwise {op.kind}", width, steps)


def _concat(op: o.Concat, context: Context) -> View:
    out = context.graph[op.output].shape
    sizes = (math.prod(out[: op.axis]), *(math.prod(x.shape[op.axis :]) for x in context.tensors(op)))
    return View(equation=f"concatenation along axis {op.axis}", body="concat", sizes=sizes)


def disjoint_windows(op: o.SumPool2D | o.MaxPool2D, x: Tensor, out: Tensor) -> bool:
    """Whether no two windows overlap and every window holds an element of x: then no window buffer is needed."""
    for axis in (0, 1):
        before = op.padding[axis][0]
        last = (out.shape[axis] - 1) * op.strides[axis] - before
        if op.strides[axis] < op.pool[axis] or before >= op.pool[axis] or last >= x.shape[axis]:
            return False
    return True


def _pool(op: o.SumPool2D | o.MaxPool2D, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    (top, bottom), (left, right) = op.padding
    kind = "SUM" if isinstance(op, o.SumPool2D) else "MAX"
    disjoint = disjoint_windows(op, x, out)
    config = [
        *(const(n, v) for n, v in zip(("height", "width", "channels"), x.shape)),
        *(const(n, v) for n, v in (("pool_height", op.pool[0]), ("pool_width", op.pool[1]))),
        *(const(n, v) for n, v in (("stride_height", op.strides[0]), ("stride_width", op.strides[1]))),
        *(const(n, v) for n, v in (("pad_top", top), ("pad_left", left))),
        f"static const qsim::Reduction kind = qsim::{kind};",
        typedef("partial_t", out.format if kind == "SUM" else x.format),
    ]
    if disjoint:
        config += [const("out_height", out.shape[0]), const("out_width", out.shape[1])]
    else:
        config += [
            const("pad_bottom", bottom),
            const("pad_right", right),
            const("outside", 0 if kind == "SUM" else x.format.low),
        ]
    return View(
        equation=f"{op.pool[0]}x{op.pool[1]} {'sum' if kind == 'SUM' else 'maximum'} pool",
        kernel="pool_disjoint" if disjoint else "pool_window",
        config=tuple(config),
    )


def _reduce(op: o.Reduce, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    kept = [1 if a in op.axes else n for a, n in enumerate(x.shape)]
    strides = [0 if a in op.axes else s for a, s in enumerate(row_major(kept))]
    name = context.names[op.output]
    config = (
        const("elements", x.size),
        const("out_elements", out.size),
        const("rank", len(x.shape)),
        f"static const qsim::Reduction kind = qsim::{op.kind.upper()};",
        typedef("partial_t", out.format if op.kind == "sum" else x.format),
    )
    return View(
        equation=f"{op.kind} over axes {', '.join(map(str, op.axes))}",
        kernel="reduce",
        config=config,
        tables=(indices(f"{name}_sizes", x.shape), indices(f"{name}_strides", strides)),
    )


def _softmax(op: o.Softmax, context: Context) -> View:
    out = context.graph[op.output]
    config = (
        const("rows", out.size // out.shape[-1]),
        const("size", out.shape[-1]),
        const("input_multiplier", op.input_multiplier),
        const("input_left_shift", op.input_left_shift),
        const("diff_min", op.diff_min),
        const("low", out.format.low),
        const("high", out.format.high),
    )
    return View(equation="TensorFlow Lite's integer softmax over the last axis", kernel="softmax", config=config)


def _constant(op: o.Constant, context: Context) -> View:
    out = context.graph[op.output]
    values = op.values.values.reshape(-1)
    tables = (table(f"{context.names[op.output]}_values", values),)
    return View(equation="constant", kernel="constant", config=(const("elements", out.size),), tables=tables)


def _reshape(op: o.Reshape, context: Context) -> View:
    out = context.graph[op.output]
    shape = "x".join(map(str, out.shape))
    return View(equation=f"reshape to {shape}", kernel="forward", config=(const("elements", out.size),))


def _transpose(op: o.Transpose, context: Context) -> View:
    x = context.graph[op.inputs[0]]
    strides = row_major(x.shape)
    sizes = [x.shape[p] for p in op.perm]
    name = context.names[op.output]
    return _strided(x, name, sizes, [strides[p] for p in op.perm], 0, f"axes {', '.join(map(str, op.perm))}")


def _slice(op: o.Slice, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    strides = row_major(x.shape)
    start = sum(b * s for b, s in zip(op.begin, strides))
    steps = [s * t for s, t in zip(op.strides, strides)]
    return _strided(x, context.names[op.output], out.shape, steps, start, "slice")


def _pad(op: o.Pad, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    name = context.names[op.output]
    config = (const("out_elements", out.size), const("rank", len(out.shape)), const("value", op.value))
    before = [b for b, _ in op.pads]
    tables = (
        indices(f"{name}_sizes", out.shape),
        indices(f"{name}_before", before),
        indices(f"{name}_after", [b + n for b, n in zip(before, x.shape)]),
    )
    return View(equation=f"padding with {op.value}", kernel="pad", config=config, tables=tables)


def _gather(op: o.Gather, context: Context) -> View:
    x, out = context.graph[op.inputs[0]], context.graph[op.output]
    config = (const("elements", x.size), const("out_elements", out.size))
    tables = (table(f"{context.names[op.output]}_index", op.index.values.reshape(-1)),)
    return View(equation="static rearrangement by index", kernel="gather", config=config, tables=tables)


def _argmax(op: o.ArgMax, context: Context) -> View:
    x = context.graph[op.inputs[0]]
    config = (
        const("outer", math.prod(x.shape[: op.axis])),
        const("size", x.shape[op.axis]),
        const("inner", math.prod(x.shape[op.axis + 1 :])),
    )
    return View(equation=f"index of the maximum along axis {op.axis}", kernel="argmax", config=config)


VIEWS: dict[type[o.Op], Callable[[Any, Context], View]] = {
    o.Constant: _constant,
    o.Conv2D: hls_linear.conv2d,
    o.ConvTranspose2D: hls_linear.conv_transpose,
    o.Dense: hls_linear.dense,
    o.MatMul: hls_linear.matmul,
    o.Add: _add,
    o.Mul: _mul,
    o.Extremum: _extremum,
    o.Concat: _concat,
    o.SumPool2D: _pool,
    o.MaxPool2D: _pool,
    o.Reduce: _reduce,
    o.Requantize: hls_elementwise.requantize,
    o.Divide: hls_elementwise.divide,
    o.Threshold: hls_elementwise.threshold,
    o.Lookup: hls_elementwise.lookup,
    o.Softmax: _softmax,
    o.Reshape: _reshape,
    o.Transpose: _transpose,
    o.Pad: _pad,
    o.Slice: _slice,
    o.Gather: _gather,
    o.ArgMax: _argmax,
}
o.check_registry(VIEWS, "HLS views")
