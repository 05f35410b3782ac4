"""Random single-operator models of one to five dimensions: broadcasts, odd windows, negative axes, repeated inputs,
constants on either side. ``tflite_ops.py`` draws scales and zero points in common shapes; this draws shapes."""

from __future__ import annotations

import numpy as np
from tflite_moves import Make, Random
from tflite_ops import _bias, _out, _weights, _y_scale


def _shape(r: Random, rank: int, top: int = 5) -> tuple[int, ...]:
    return tuple(int(n) for n in r.rng.integers(1, top, rank))


def _axis(r: Random, rank: int) -> tuple[int, int]:
    """An axis, and as it is stored: counted from either end."""
    axis = int(r.rng.integers(rank))
    return axis, axis - rank if r.pick(True, False) else axis


def binary(name: str, options: str) -> Make:
    """Shapes of any ranks that broadcast both ways; at times one side constant, or one tensor on both sides."""

    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng)
        full = _shape(r, int(rng.integers(1, 6)))
        shapes = [tuple(1 if r.pick(0, 0, 1) else n for n in full), full[int(rng.integers(len(full) + 1)) :]]
        shapes = [full, shapes[1]] if r.pick(True, False) else shapes
        scales = [r.scale()]
        scales.append(r.near(scales[0]))
        zeros = [r.zero(), r.zero()]
        extremum = name in ("MAXIMUM", "MINIMUM")
        if extremum:
            scales[1], zeros[1] = scales[0], zeros[0]
        constant, inputs = int(r.pick(-1, 0, 1)), []
        if constant == 0 and shapes[0] == ():
            constant = 1
        for i, (s, scale, zero) in enumerate(zip(shapes, scales, zeros, strict=True)):
            if i == constant:
                inputs.append(r.maker.tensor(f"k{i}", s, "INT8", scale, zero, rng.integers(-128, 128, s)))
            else:
                inputs.append(r.maker.input(f"x{i}", s, "INT8", scale, zero))
        if constant < 0 and r.pick(False, False, True):
            inputs, shapes, scales = [inputs[0]] * 2, [shapes[0]] * 2, [scales[0]] * 2
            r.maker.graph.inputs = inputs[:1]
        scale = r.near(scales[0] * scales[1] * 64) if name == "MUL" else r.near(max(scales), 0.5, 3)
        out = np.broadcast_shapes(*shapes)
        y = r.y(out, scales[0] if extremum else scale, zeros[0] if extremum else None)
        fields = {} if extremum else {"fusedActivationFunction": r.activation()}
        r.maker.operator(name, inputs, [y], options, 2, **fields)
        return r.done()

    return make


def reduction(name: str) -> Make:
    """Any axes, the batch among them, negative or named twice, in a list or as a scalar."""

    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng)
        rank = int(rng.integers(1, 6))
        shape, count, keep = _shape(r, rank), int(rng.integers(1, rank + 1)), bool(r.pick(True, False))
        axes = sorted(int(a) for a in rng.choice(rank, count, replace=False))
        stored = [a - rank if r.pick(True, False) else a for a in axes]
        stored += stored[:1] if r.pick(False, False, True) else []
        x = r.x(shape)
        at = r.const("axes", np.array(stored[0] if len(stored) == 1 and r.pick(True, False) else stored))
        out = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
        y = r.y(out, r.near(r.x_scale, 0.3, 1.5)) if name in ("MEAN", "SUM") else r.same(out)
        r.maker.operator(name, [x, at], [y], "ReducerOptions", 2, keepDims=keep)
        return r.done()

    return make


def window(name: str) -> Make:
    """Kernels larger than the image, strides larger than the kernel, dilations, multipliers up to 8."""

    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng)
        h, w_in, c = int(rng.integers(1, 10)), int(rng.integers(1, 10)), int(rng.integers(1, 5))
        kh, kw, sh, sw = (int(n) for n in rng.integers(1, 7, 4))
        dh, dw = (int(r.pick(1, 1, 1, 2, 3)) if "CONV" in name else 1 for _ in range(2))
        same = bool(r.pick(True, True, False)) or (kh - 1) * dh >= h or (kw - 1) * dw >= w_in
        x = r.x((1, h, w_in, c))
        rows, columns = _out(h, kh, sh, dh, same), _out(w_in, kw, sw, dw, same)
        fields = {"padding": 0 if same else 1, "strideH": sh, "strideW": sw, "fusedActivationFunction": r.activation()}
        if "POOL" in name:
            fields |= {"filterHeight": kh, "filterWidth": kw}
            r.maker.operator(name, [x], [r.same((1, rows, columns, c))], "Pool2DOptions", 2, **fields)
            return r.done()
        fields |= {"dilationHFactor": dh, "dilationWFactor": dw}
        if name == "CONV_2D":
            out, options, fan = int(rng.integers(1, 7)), "Conv2DOptions", kh * kw * c
            weights, scales = _weights(r, (out, kh, kw, c), 0)
        else:
            fields["depthMultiplier"] = int(rng.integers(1, 9))
            out, options, fan = c * fields["depthMultiplier"], "DepthwiseConv2DOptions", kh * kw
            weights, scales = _weights(r, (1, kh, kw, out), 3)
        bias = _bias(r, scales)
        y = r.y((1, rows, columns, out), _y_scale(r, fan, scales))
        r.maker.operator(name, [x, weights] if bias < 0 else [x, weights, bias], [y], options, 3, **fields)
        return r.done()

    return make


def dense(rng: np.random.Generator) -> bytes:
    r = Random(rng)
    lead, depth, out = _shape(r, int(rng.integers(4))), int(rng.integers(1, 30)), int(rng.integers(1, 9))
    keep = bool(r.pick(True, False))
    x = r.x((*lead, depth))
    w, scales = _weights(r, (out, depth), 0)
    y = r.y((*lead, out) if keep else (int(np.prod(lead, dtype=int)), out), _y_scale(r, depth, scales))
    fields = {"fusedActivationFunction": r.activation(), "keepNumDims": keep}
    r.maker.operator("FULLY_CONNECTED", [x, w, _bias(r, scales)], [y], "FullyConnectedOptions", 4, **fields)
    return r.done()


def matrices(rng: np.random.Generator) -> bytes:
    r = Random(rng)
    n, k, m = _shape(r, 3)
    lead = _shape(r, int(rng.integers(3)))
    other = tuple(1 if r.pick(False, False, True) else d for d in lead)[
        1 if lead and r.pick(False, False, True) else 0 :
    ]
    adjoint_a, adjoint_b = bool(r.pick(True, False)), bool(r.pick(True, False))
    a = r.x((*lead, k, n) if adjoint_a else (*lead, n, k))
    scale, zero = r.scale(), r.zero()
    b = r.maker.input("b", (*other, m, k) if adjoint_b else (*other, k, m), "INT8", scale, zero)
    y = r.y((*lead, n, m), r.near(float(np.sqrt(k)) * 5000 * r.x_scale * scale / 60))
    r.maker.operator("BATCH_MATMUL", [a, b], [y], "BatchMatMulOptions", 1, adjX=adjoint_a, adjY=adjoint_b)
    return r.done()


def concatenation(rng: np.random.Generator) -> bytes:
    """Up to five inputs along any axis, constants and repetitions among them."""
    r = Random(rng)
    rank = int(rng.integers(1, 6))
    shape, (axis, stored) = _shape(r, rank), _axis(r, rank)
    r.x_scale, r.x_zero = r.scale(), r.zero()
    lengths = [int(n) for n in rng.integers(1, 4, int(rng.integers(1, 6)))]
    parts = [tuple(n if i == axis else d for i, d in enumerate(shape)) for n in lengths]
    inputs = [r.maker.input("x0", parts[0], "INT8", r.x_scale, r.x_zero)]
    for i, part in enumerate(parts[1:], 1):
        kind = r.pick("input", "constant", "again")
        if kind == "again":
            inputs.append(inputs[0])
            lengths[i] = lengths[0]
        elif kind == "constant":
            inputs.append(r.maker.tensor(f"k{i}", part, "INT8", r.x_scale, r.x_zero, rng.integers(-128, 128, part)))
        else:
            inputs.append(r.maker.input(f"x{i}", part, "INT8", r.x_scale, r.x_zero))
    y = r.same(tuple(sum(lengths) if i == axis else d for i, d in enumerate(shape)))
    r.maker.operator("CONCATENATION", inputs, [y], "ConcatenationOptions", 2, axis=stored)
    return r.done()


def strided_slice(rng: np.random.Generator) -> bytes:
    """Ends beyond the axis, negative strides, all masks, up to four dimensions (TFLM takes no more)."""
    r = Random(rng)
    shape = _shape(r, int(rng.integers(1, 5)), 7)
    begins, ends, strides, masks = [], [], [], [0, 0, 0]
    taken: list[int | slice] = []
    for axis, n in enumerate(shape):
        begin, end = int(rng.integers(-n - 2, n + 3)), int(rng.integers(-n - 2, n + 3))
        stride = int(r.pick(1, 1, 2, 3, -1, -2))
        if r.pick(False, False, False, True):
            begin, stride = int(rng.integers(-n, n)), 1
            masks[2] |= 1 << axis
            taken.append(begin)
        else:
            first, last = (None if r.pick(False, False, True) else v for v in (begin, end))
            if not len(range(n)[slice(first, last, stride)]):
                first = last = None
            masks[0] |= (first is None) << axis
            masks[1] |= (last is None) << axis
            taken.append(slice(first, last, stride))
        begins.append(begin)
        ends.append(end)
        strides.append(stride)
    x = r.x(shape)
    inputs = [x, *(r.const(k, np.array(v)) for k, v in (("begin", begins), ("end", ends), ("strides", strides)))]
    fields = dict(zip(("beginMask", "endMask", "shrinkAxisMask"), masks, strict=True))
    y = r.same(np.zeros(shape)[tuple(taken)].shape)
    r.maker.operator("STRIDED_SLICE", inputs, [y], "StridedSliceOptions", 2, **fields)
    return r.done()


def resize(rng: np.random.Generator) -> bytes:
    r = Random(rng)
    shape, size = (int(r.pick(1, 1, 2)), *_shape(r, 3)), [int(n) for n in rng.integers(1, 12, 2)]
    x = r.x(shape)
    fields = {"alignCorners": bool(r.pick(True, False)), "halfPixelCenters": bool(r.pick(True, False))}
    y = r.same((shape[0], *size, shape[3]))
    inputs = [x, r.const("size", np.array(size))]
    r.maker.operator("RESIZE_NEAREST_NEIGHBOR", inputs, [y], "ResizeNearestNeighborOptions", 2, **fields)
    return r.done()


SHAPES: dict[str, Make] = {
    **{name: binary(name, f"{name.title()}Options") for name in ("ADD", "SUB", "MUL")},
    **{name: binary(name, "MaximumMinimumOptions") for name in ("MAXIMUM", "MINIMUM")},
    **{name: reduction(name) for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")},
    **{name: window(name) for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")},
    "FULLY_CONNECTED": dense,
    "BATCH_MATMUL": matrices,
    "CONCATENATION": concatenation,
    "STRIDED_SLICE": strided_slice,
    "RESIZE_NEAREST_NEIGHBOR": resize,
}
