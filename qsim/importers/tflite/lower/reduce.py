"""AVERAGE_POOL_2D, MAX_POOL_2D, MEAN, SUM, REDUCE_MAX, REDUCE_MIN, ARG_MAX."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from qsim.errors import ModelError
from qsim.importers.tflite import xnnpack
from qsim.importers.tflite.lower.context import Lower, Lowering, Place, graph_shape, strips_batch
from qsim.importers.tflite.lower.linear import image, window_padding
from qsim.importers.tflite.lower.record import Record
from qsim.importers.tflite.lower.rescales import identity_rescale, make_rescale, paired_rescale
from qsim.importers.tflite.model import INTEGER_FORMATS, Operator, TfliteTensor
from qsim.ir import Quantization
from qsim.ir import ops as o
from qsim.ir.ops import Padding2D
from qsim.numerics import Array, IntArray, IntFormat, Overflow, Rounding, Scheme, quantize_multiplier, scalar

BOTH = ("INT8", "INT16")


def _pool_window(
    low: Lowering, op: Operator
) -> tuple[TfliteTensor, TfliteTensor, tuple[int, int], tuple[int, int], Padding2D]:
    x, y = low.tensor(op, 0), low.output(op)
    low.activations(op, [x, y], BOTH)
    low.same_quantization(op, [x, y])
    image(low, op, x)
    pool = int(op.options["FilterHeight"]), int(op.options["FilterWidth"])
    strides, padding = window_padding(low, op, (x.shape[1], x.shape[2]), pool)
    return x, y, pool, strides, padding


def _counts(size: int, out: int, kernel: int, stride: int, before: int) -> Array:
    """How many of a window's positions along one axis lie inside the input, per output position."""
    starts = np.arange(out) * stride - before
    return np.asarray(np.minimum(starts + kernel, size) - np.maximum(starts, 0))


def average_pool(low: Lowering, op: Operator) -> None:
    """y = clip(round(sum of the codes inside / their count)), half away from zero; zero points cancel."""
    x, y, pool, strides, padding = _pool_window(low, op)
    total = low.step(
        o.SumPool2D(inputs=(low.value(op, 0),), **low.at(op, "acc"), pool=pool, strides=strides, padding=padding)
    )
    low.accumulator(op, total)
    out = low.builder.tensor(total).shape
    rows, columns = (_counts(x.shape[1 + i], out[i], pool[i], strides[i], padding[i][0]) for i in (0, 1))
    counts = np.outer(rows, columns)
    divisor = scalar(int(counts.flat[0])) if (counts == counts.flat[0]).all() else IntArray(counts[:, :, None])
    bounds = low.activation_range(op, y)
    low.result(
        op,
        o.Divide(
            inputs=(total,),
            **low.end(op),
            numerator=scalar(1),
            addend=scalar(0),
            divisor=divisor,
            rounding=Rounding.RND_INF,
            low=bounds[0],
            high=bounds[1],
        ),
    )


def max_pool(low: Lowering, op: Operator) -> None:
    """y = clip(maximum of the codes inside the window)."""
    _, y, pool, strides, padding = _pool_window(low, op)
    bounds, fmt = low.activation_range(op, y), INTEGER_FORMATS[y.type]
    whole = bounds == (fmt.low, fmt.high)
    place = low.end(op) if whole else low.at(op, "max")
    made = o.MaxPool2D(inputs=(low.value(op, 0),), **place, pool=pool, strides=strides, padding=padding)
    if whole:
        low.result(op, made)
    else:
        low.clipped(op, low.step(made, quantization=low.quantization(y)), bounds)


def _axes(low: Lowering, op: Operator, x: TfliteTensor) -> tuple[tuple[int, ...], str]:
    """The axes reduced, in the shape of the returned graph tensor, which keeps the batch only where it is reduced."""
    rank = len(x.shape)
    stored = low.constant(op, 1, "axes").reshape(-1)
    if rank == 0 or any(not -rank <= a < rank for a in stored):
        raise ModelError(f"{low.where(op)}: axes {stored.tolist()} do not fit the shape {x.shape}.")
    axes = tuple(sorted({int(a) % rank for a in stored}))
    source = low.value(op, 0)
    if strips_batch(x.shape):
        if 0 not in axes:
            return tuple(a - 1 for a in axes), source
        source = low.reshaped(op, source, x.shape, "full")
    return axes, source


def _reduced(low: Lowering, op: Operator, kind: Literal["sum", "max", "min"], suffix: str, q: Quantization) -> str:
    """The reduction as an intermediate tensor of the operator's output shape."""
    x, y = low.tensor(op, 0), low.output(op)
    axes, source = _axes(low, op, x)
    acc = low.step(
        o.Reduce(inputs=(source,), **low.at(op, suffix), kind=kind, axes=axes, keepdims=bool(op.options["KeepDims"])),
        quantization=q,
    )
    found, expected = low.builder.tensor(acc).shape, graph_shape(y.shape)
    rank_dropped = len(y.shape) != len(x.shape) - (0 if op.options["KeepDims"] else _count_axes(low, op, x))
    if math.prod(found) != math.prod(expected) or rank_dropped:
        raise low.wrong_shape(op, found)
    return low.reshaped(op, acc, expected, f"{suffix}_shape")


def _count_axes(low: Lowering, op: Operator, x: TfliteTensor) -> int:
    return len({int(a) % len(x.shape) for a in low.constant(op, 1, "axes").reshape(-1)})


def _mean_or_sum(mean: bool) -> Lower:
    def lower(low: Lowering, op: Operator) -> None:
        """y = clip(r(sum of codes - n*zx) + zy); MEAN folds 1/n into r's multiplier.

        With (m, s) = QuantizeMultiplier(scale x / scale y) and k = floor(log2 n), at most 32 and 31 + s: MEAN's
        multiplier is floor(m * 2**k / n), its shift s - k (TFLite's shifts, positive left). Engines that compute in
        floats instead: ``_float_sum``.
        """
        x, y = low.tensor(op, 0), low.output(op)
        low.activations(op, [x, y], BOTH)
        n = x.size // max(y.size, 1)
        if not mean and low.profile.sums == "bytes":
            _byte_sum(low, op, x, y, n)
            return
        q = Quantization.of(low.quantization(x).scale[0], n * x.zero_point)
        acc = low.accumulator(op, _reduced(low, op, "sum", "acc", q))
        if low.profile.xnnpack or (not mean and low.profile.sums == "float32"):
            low.stepped(op, acc, _float_sum(low, x, y, n, mean))
            return
        if mean and _vector_mean(low, op, x):
            _finish_vector_mean(low, op, x, y, acc, n)
            return
        multiplier, right = quantize_multiplier(float(x.scale) / float(y.scale))
        if mean:
            k = min(n.bit_length() - 1, 32, 31 - right)
            multiplier, right = (multiplier << k) // n, right + k
        rescale = paired_rescale(low.profile.elementwise, [(multiplier, right)])
        fmt = INTEGER_FORMATS[y.type]
        low.requantize(op, acc, rescale, (fmt.low, fmt.high), input_zero_point=n * x.zero_point)

    return lower


def _float_sum(low: Lowering, x: TfliteTensor, y: TfliteTensor, n: int, mean: bool) -> Callable[[Array], Array]:
    """Sum of codes -> code, every step in float32. f = scale x / scale y.

    LiteRT's SUM: round_half_away(sum * f + -zx * f * n) + zy. XNNPACK: round_half_even(sum * g + (zy - n*zx * g)) with
    g = f for SUM and f * (1 / n) for MEAN.
    """
    factor = np.float32(x.scale / y.scale)
    fmt = INTEGER_FORMATS[y.type]
    if low.profile.xnnpack:
        factor = factor * (np.float32(1) / np.float32(n)) if mean else factor
        offset = np.float32(y.zero_point) - np.float32(n * x.zero_point) * factor
    else:
        offset = np.float32(-x.zero_point) * factor * np.float32(n)

    def code(total: Array) -> Array:
        real = (total.astype(np.float32) * factor + offset).astype(np.float64)
        if low.profile.xnnpack:
            rounded = np.rint(real)
        else:
            rounded = np.sign(real) * np.floor(np.abs(real) + 0.5) + y.zero_point
        return np.asarray(np.clip(rounded, fmt.low, fmt.high).astype(np.int64))

    return code


def _byte_sum(low: Lowering, op: Operator, x: TfliteTensor, y: TfliteTensor, n: int) -> None:
    """LiteRT's reference SUM, which reads and writes int8 codes as unsigned bytes:

    y = signed(clip(r(sum of (x mod 256) - n*zx) + zy, 0, 255)).
    """
    if x.type != "INT8":
        raise low.unsupported(op, "of INT16 reads its codes as bytes in this engine", "choose profile='tflm'")
    low.builder.note(
        f"Layer {y.name!r}: LiteRT's reference SUM reads int8 codes as unsigned bytes, so negative codes add as if 256 "
        "were added to them and the result is clipped to 0 ... 255; so does this graph."
    )
    byte = INTEGER_FORMATS["UINT8"]
    axes, source = _axes(low, op, x)
    unsigned = low.step(_wrapped(source, low.at(op, "byte"), byte), format=byte)
    total = low.step(
        o.Reduce(inputs=(unsigned,), **low.at(op, "acc"), kind="sum", axes=axes, keepdims=bool(op.options["KeepDims"]))
    )
    total = low.reshaped(op, low.accumulator(op, total), graph_shape(y.shape), "acc_shape")
    clipped = low.step(
        o.Requantize(
            inputs=(total,),
            **low.at(op, "clipped"),
            rescale=make_rescale(low.profile.elementwise, [float(x.scale) / float(y.scale)]),
            input_zero_point=n * x.zero_point,
            zero_point=y.zero_point,
            overflow=Overflow.SAT,
            low=byte.low,
            high=byte.high,
        ),
        format=byte,
    )
    low.result(op, _wrapped(clipped, low.end(op), INTEGER_FORMATS[y.type]))


def _wrapped(source: str, place: Place, fmt: IntFormat) -> o.Requantize:
    """The low bits of ``source``, read as ``fmt``."""
    return o.Requantize(
        inputs=(source,),
        **place,
        rescale=identity_rescale(),
        overflow=Overflow.WRAP,
        low=fmt.low,
        high=fmt.high,
    )


def _vector_mean(low: Lowering, op: Operator, x: TfliteTensor) -> bool:
    """Whether LiteRT's optimised kernel takes its own way: a 4-D mean over height and width that keeps them."""
    axes = {int(a) % 4 for a in low.constant(op, 1, "axes").reshape(-1)}
    return op.name in low.profile.lanes and len(x.shape) == 4 and bool(op.options["KeepDims"]) and axes == {1, 2}


def _finish_vector_mean(low: Lowering, op: Operator, x: TfliteTensor, y: TfliteTensor, acc: str, n: int) -> None:
    """y = clip(r(sum of codes) + bias) with r by scale x / (n * scale y) and bias = zy - round(zx * scale x / scale y),
    all in float32."""
    shift = np.float32(np.float32(np.float32(x.zero_point) * x.scale) / y.scale)
    bias = y.zero_point - int(np.float32(shift + np.float32(0.5 if shift > 0 else -0.5)))
    factor = float(np.float32(x.scale / np.float32(np.float32(n) * y.scale)))
    fmt = INTEGER_FORMATS[y.type]
    low.requantize_lanes(op, acc, Scheme.TFLITE_UPWARD, [factor], (fmt.low, fmt.high), zero_point=bias)


def _reduce_extremum(kind: Literal["max", "min"]) -> Lower:
    def lower(low: Lowering, op: Operator) -> None:
        """y = the greatest or least code over the axes."""
        x, y = low.tensor(op, 0), low.output(op)
        low.activations(op, [x, y], BOTH)
        low.same_quantization(op, [x, y])
        axes, source = _axes(low, op, x)
        keep = bool(op.options["KeepDims"])
        shape = tuple(
            1 if i in axes else n for i, n in enumerate(low.builder.tensor(source).shape) if keep or i not in axes
        )
        if (shape or (1,)) == graph_shape(y.shape):
            low.result(op, o.Reduce(inputs=(source,), **low.end(op), kind=kind, axes=axes, keepdims=keep))
        else:
            low.result(op, o.Reshape(inputs=(_reduced(low, op, kind, "reduced", low.quantization(x)),), **low.end(op)))

    return lower


def arg_max(low: Lowering, op: Operator) -> None:
    """y = the first index of the greatest code along a constant axis."""
    x, y = low.tensor(op, 0), low.output(op)
    low.activations(op, [x], BOTH)
    if y.type not in ("INT32", "INT64"):
        raise low.unsupported(op, f"gives indices of type {y.type}", "use int32 indices")
    stated = int(op.options["OutputType"])
    if stated and stated != {"INT32": 2, "INT64": 4}[y.type]:
        raise ModelError(f"{low.where(op)}: its output is {y.type}, its options say type {stated}.")
    stored = low.constant(op, 1, "axis").reshape(-1)
    rank = len(x.shape)
    if len(stored) != 1 or not -rank <= stored[0] < rank:
        raise ModelError(f"{low.where(op)}: axis {stored.tolist()} does not fit the shape {x.shape}.")
    axis = int(stored[0]) % rank
    if math.prod(y.shape) * x.shape[axis] != x.size or len(y.shape) != rank - 1:
        raise low.wrong_shape(op, [n for i, n in enumerate(x.shape) if i != axis])
    source = low.value(op, 0)
    if strips_batch(x.shape) and axis == 0:
        source = low.reshaped(op, source, x.shape, "full")
    elif strips_batch(x.shape):
        axis -= 1
    shape = tuple(n for i, n in enumerate(low.builder.tensor(source).shape) if i != axis) or (1,)
    if shape == graph_shape(y.shape):
        low.result(op, o.ArgMax(inputs=(source,), **low.end(op), axis=axis))
    else:
        low.result(
            op,
            o.Reshape(inputs=(low.step(o.ArgMax(inputs=(source,), **low.at(op, "index"), axis=axis)),), **low.end(op)),
        )


_POOL = ("Padding", "StrideW", "StrideH", "FilterWidth", "FilterHeight", "FusedActivationFunction")

RECORDS: dict[str, Record] = {
    "AVERAGE_POOL_2D": Record(lower=average_pool, options="Pool2DOptions", reads=_POOL),
    "MAX_POOL_2D": Record(lower=max_pool, options="Pool2DOptions", reads=_POOL),
    "MEAN": Record(lower=_mean_or_sum(True), options="ReducerOptions", reads=("KeepDims",), xnnpack=xnnpack.always),
    "SUM": Record(lower=_mean_or_sum(False), options="ReducerOptions", reads=("KeepDims",), xnnpack=xnnpack.always),
    "REDUCE_MAX": Record(
        lower=_reduce_extremum("max"),
        options="ReducerOptions",
        reads=("KeepDims",),
        micro_lacks=("INT16",),
        xnnpack=xnnpack.always,
    ),
    "REDUCE_MIN": Record(
        lower=_reduce_extremum("min"),
        options="ReducerOptions",
        reads=("KeepDims",),
        micro_lacks=("INT16",),
        xnnpack=xnnpack.always,
    ),
    "ARG_MAX": Record(
        lower=arg_max, options="ArgMaxOptions", required=False, reads=("OutputType",), micro_lacks=("INT16",)
    ),
}
