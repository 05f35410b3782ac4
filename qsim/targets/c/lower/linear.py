"""C parts of convolutions, dense layers and matrix products."""

from __future__ import annotations

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.ir.ops import Linear
from qsim.numerics import Array, IntArray
from qsim.targets.c.lower.few_valued import (
    binary_part,
    convolution_packing,
    depthwise_part,
    is_depthwise,
    packing,
    reach_of_packed,
)
from qsim.targets.c.lower.loops import Fields, at_positions, dilated_window, pairs, position_part, window
from qsim.targets.c.lower.tiled import Tiling, strip_weights, strips, tiled_part, tiling
from qsim.targets.c.parts import BLOCK, Lowering, Params, Part
from qsim.targets.c.types import I8, I32, CType, Reach, least, storage


def _magnitude(tensor: Tensor, zero_point: int) -> int:
    return max(abs(tensor.range[0] - zero_point), abs(tensor.range[1] - zero_point))


def _absolute_sums(weights: IntArray) -> list[int]:
    """Sum of |w| per output channel (last axis), exact."""
    flat = np.abs(weights.values.reshape(-1, weights.shape[-1]))
    largest = max(abs(weights.low), abs(weights.high))
    if largest * flat.shape[0] >= 1 << 62:
        flat = flat.astype(object)
    return [int(v) for v in flat.sum(axis=0)]


def _accumulator(op: Linear, c: Lowering) -> CType:
    """The type of the accumulator: every partial sum is bounded by max|x - z| * sum|w|, shifted, plus |bias|."""
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    reach = Reach(op.layer).add(*x.range, *(end - op.input_zero_point for end in x.range), *out.range)
    reach.add(op.input_zero_point, 1 << op.product_shift, op.weights.low, op.weights.high)
    magnitude = _magnitude(x, op.input_zero_point)
    bias = [0] * op.weights.shape[-1] if op.bias is None else [abs(int(b)) for b in op.bias.values]
    for total, b in zip(_absolute_sums(op.weights), bias, strict=True):
        bound = (total * magnitude << op.product_shift) + b
        reach.add(-bound, bound)
    reach_of_packed(op, c, reach)
    return reach.type("the accumulator")


def _linear_defines(op: Linear, c: Lowering, t: CType) -> tuple[list[str], Fields, CType]:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    xt, yt, wt = storage(x.format), storage(out.format), least(op.weights.low, op.weights.high)
    zero = op.input_zero_point != 0
    defines = [
        ("QSIM_X", xt.name),
        ("QSIM_Y", yt.name),
        ("QSIM_W", wt.name),
        ("QSIM_T", t.name),
        ("QSIM_ZERO_POINT", "p->input_zero_point" if zero else "0"),
    ]
    return [xt.short, wt.short, yt.short, "in", t.short, *(["offset"] if zero else [])], defines, wt


def _linear_fields(op: Linear, c: Lowering, t: CType, wt: CType, weights: Array, layout: str) -> Fields:
    fmt = op.weights.format
    symbol = c.array(op, "weights", weights, wt, f"{op.output}: weights {layout}, {fmt} stored as {wt.name}")
    bias = "NULL"
    if op.bias is not None:
        bias = c.array(op, "bias", op.bias.values, t, f"{op.output}: bias [{op.bias.size}]")
    return [
        ("weights", symbol),
        ("bias", bias),
        ("input_zero_point", t.literal(op.input_zero_point)),
        ("product_scale", t.literal(1 << op.product_shift)),
    ]


def _linear_note(op: o.Op, c: Lowering, t: CType, what: str) -> str:
    low, high = c.graph[op.output].range
    return f"{op.output}: {what}, accumulator in [{low}, {high}], computed in {t.bits} bits"


def conv2d(op: o.Conv2D, c: Lowering) -> Part:
    inputs = c.graph[op.inputs[0]].shape[2]
    kh, kw, group_in, outputs = op.weights.shape
    t = _accumulator(op, c)
    tags, defines, wt = _linear_defines(op, c, t)
    geometry = dilated_window(c.graph[op.inputs[0]].shape, (kh, kw), op.strides, op.padding, op.dilation)
    size = f"{kh}x{kw}, {inputs} to {outputs} channels, strides {op.strides[0]}x{op.strides[1]}"
    pack = convolution_packing(op, inputs)
    if is_depthwise(op, inputs) and pack is not None:
        kernel, params, how = depthwise_part(op, c, t, pack, geometry)
        part = at_positions(c, op, kernel, params)
        part.notes.append(_linear_note(op, c, t, f"depthwise convolution {size}, {how}"))
        return part
    if is_depthwise(op, inputs) and strips(op, c.graph) is None:
        part = _strip_part(op, c, geometry)
        part.notes.append(_linear_note(op, c, t, f"depthwise convolution {size}, four channels at a time"))
        return part
    if is_depthwise(op, inputs):
        multiplier = outputs // inputs
        defines.append(("QSIM_INPUT(o)", "(o)" if multiplier == 1 else "((o) / p->multiplier)"))
        tags += ["multiplier"] if multiplier > 1 else []
        kernel = c.kernel("depthwise2d", tags, defines, "qsim_window.h", stack=BLOCK * t.bytes)
        fields = _linear_fields(op, c, t, wt, op.weights.values, f"[{kh}][{kw}][{outputs}]")
        fields += pairs(multiplier=multiplier)
        part = position_part(c, op, kernel, fields + geometry)
        part.notes.append(_linear_note(op, c, t, f"depthwise convolution {size}"))
        return part
    ordered = op.weights.values.transpose(3, 0, 1, 2)
    groups = f", {op.groups} groups" if op.groups > 1 else ""
    if pack is not None:
        rows = ordered.reshape(outputs, -1)
        kernel, params, how = binary_part(op, c, t, rows, pack, op.groups, geometry)
        part = at_positions(c, op, kernel, params)
        part.notes.append(_linear_note(op, c, t, f"convolution {size}{groups}, {how}"))
        return part
    tiles = tiling(op, c.graph) if op.output not in c.stored else "its sums are an output of the layer"
    if isinstance(tiles, Tiling):
        part = tiled_part(op, c, tiles)
        part.notes.append(_linear_note(op, c, t, f"convolution {size}, in tiles of {tiles.lanes} positions"))
        return part
    kernel = c.kernel("conv2d", tags, defines, "qsim_window.h")
    fields = _linear_fields(op, c, t, wt, ordered, f"[{outputs}][{kh}][{kw}][{group_in}]")
    fields += pairs(group_inputs=group_in, group_outputs=outputs // op.groups)
    part = position_part(c, op, kernel, fields + geometry)
    part.notes.append(_linear_note(op, c, t, f"convolution {size}{groups}"))
    return part


def _strip_part(op: o.Conv2D, c: Lowering, geometry: Fields) -> Part:
    x = c.graph[op.inputs[0]]
    inputs = x.shape[2]
    xt = storage(x.format)
    kernel = c.kernel(
        "strip2d",
        [xt.short],
        [("QSIM_X", xt.name), ("QSIM_WIDEN", '"s"' if xt.signed else '"u"')],
        "qsim_window.h",
        "qsim_form.h",
        stack=56,
    )
    kh, kw = op.weights.shape[:2]
    bias = np.zeros(inputs, np.int64) if op.bias is None else op.bias.values
    fields = [
        (
            "weights",
            c.array(op, "weights", strip_weights(op), I8, f"{op.output}: weights [{inputs // 4}][{kh}][{kw}][4]"),
        ),
        ("bias", c.array(op, "bias", bias, I32, f"{op.output}: bias [{inputs}]")),
        ("zero_point", str(op.input_zero_point)),
    ]
    return position_part(c, op, kernel, fields + geometry)


def conv_transpose2d(op: o.ConvTranspose2D, c: Lowering) -> Part:
    shape = c.graph[op.inputs[0]].shape
    inputs = shape[2]
    kh, kw, _, outputs = op.weights.shape
    t = _accumulator(op, c)
    tags, defines, wt = _linear_defines(op, c, t)
    kernel = c.kernel("conv_transpose2d", tags, defines, "qsim_window.h")
    ordered = op.weights.values.transpose(3, 0, 1, 2)
    fields = _linear_fields(op, c, t, wt, ordered, f"[{outputs}][{kh}][{kw}][{inputs}]")
    part = position_part(c, op, kernel, fields + window(shape, (kh, kw), op.strides, op.padding))
    size = f"{kh}x{kw}, {inputs} to {outputs} channels, strides {op.strides[0]}x{op.strides[1]}"
    part.notes.append(_linear_note(op, c, t, f"transposed convolution {size}"))
    return part


def dense(op: o.Dense, c: Lowering) -> Part:
    inputs, outputs = op.weights.shape
    rows = c.graph[op.output].size // outputs
    t = _accumulator(op, c)
    note = f"dense, {inputs} to {outputs}"
    pack = packing(op.weights, inputs)
    tiles = tiling(op, c.graph) if op.output not in c.stored else "its sums are an output of the layer"
    if isinstance(tiles, Tiling):
        part = tiled_part(op, c, tiles)
        part.notes.append(_linear_note(op, c, t, note))
        return part
    if pack is not None:
        geometry = dilated_window((1, rows, inputs), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
        kernel, params, how = binary_part(op, c, t, op.weights.values.T, pack, 1, geometry)
        call = f"{kernel.name}({{}}, {{}}, 0, {'row' if rows > 1 else '0'}, {{}}, {{}}, &{params.name});"
        note += f", {how}"
    else:
        tags, defines, wt = _linear_defines(op, c, t)
        kernel = c.kernel("dense", tags, defines)
        fields = _linear_fields(op, c, t, wt, op.weights.values.T, f"[{outputs}][{inputs}]")
        params = Params(kernel.params, c.local("dense"), (*fields, *pairs(inputs=inputs)))
        offset = f" + row * {inputs}" if rows > 1 else ""
        call = f"{kernel.name}({{}}{offset}, {{}}, {{}}, {{}}, &{params.name});"
    part = Part(
        calls=lambda xs, y, first, count: [call.format(xs[0], y, first, count)],
        params=[params],
        loops=(("row", rows),) if rows > 1 else (),
        inner=outputs,
    )
    part.notes.append(_linear_note(op, c, t, note))
    return part


def matmul(op: o.MatMul, c: Lowering) -> Part:
    a, b = c.tensors(op)
    out = c.graph[op.output]
    inner, columns = b.shape[-2:]
    rows = a.shape[-2] if len(a.shape) > 1 else 1
    matrices = out.size // (rows * columns)
    bound = _magnitude(a, op.zero_points[0]) * _magnitude(b, op.zero_points[1]) * inner
    reach = Reach(op.layer).add(-bound, bound, *op.zero_points, *out.range)
    for tensor, zero in zip((a, b), op.zero_points):
        reach.add(*tensor.range, *(end - zero for end in tensor.range))
    t = reach.type("the accumulator")
    at, bt, yt = (storage(x.format) for x in (a, b, out))
    kernel = c.kernel(
        "matmul",
        [at.short, bt.short, yt.short, "in", t.short],
        [("QSIM_A", at.name), ("QSIM_B", bt.name), ("QSIM_Y", yt.name), ("QSIM_T", t.name)],
        stack=BLOCK * t.bytes,
    )
    fields = [("a_zero_point", t.literal(op.zero_points[0])), ("b_zero_point", t.literal(op.zero_points[1]))]
    fields += pairs(inner=inner, columns=columns)
    part = Part(
        calls=lambda xs, y, first, count: [
            f"{kernel.name}({xs[0]} + (matrix * {rows} + row) * {inner}, {xs[1]} + matrix * {inner * columns}, "
            f"{y}, {first}, {count}, &matmul);"
        ],
        params=[Params(kernel.params, "matmul", tuple(fields))],
        loops=(("matrix", matrices), ("row", rows)),
        inner=columns,
    )
    part.notes.append(_linear_note(op, c, t, f"matrix product, {rows}x{inner} by {inner}x{columns}"))
    return part


LOWER = dict(
    (
        o.entry(o.Conv2D, conv2d),
        o.entry(o.ConvTranspose2D, conv_transpose2d),
        o.entry(o.Dense, dense),
        o.entry(o.MatMul, matmul),
    )
)


__all__ = ["LOWER"]
