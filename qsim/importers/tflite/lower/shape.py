"""Operators that only move codes: CONCATENATION, RESHAPE and its kin, TRANSPOSE, pads, slices, SPLIT, PACK, UNPACK,
GATHER, RESIZE_NEAREST_NEIGHBOR, SPACE_TO_DEPTH, DEPTH_TO_SPACE.

All but CONCATENATION and PACK read one tensor; they are worked out on an array of flat indices in the TFLite shape,
batch included, and then written as the simplest op that does the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from qsim.errors import ModelError
from qsim.importers.tflite.lower.context import Lower, Lowering, graph_shape, strips_batch
from qsim.importers.tflite.model import INTEGER_FORMATS, Operator, TfliteTensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray

CODES = ("INT8", "UINT8", "INT16", "INT32")


def _moved(low: Lowering, op: Operator, position: int) -> TfliteTensor:
    """The input at ``position`` after the checks that moving codes from it to every output needs."""
    x = low.tensor(op, position)
    outputs = [low.output(op, i) for i in range(len(op.outputs))]
    low.activations(op, [x, *outputs], CODES)
    low.same_quantization(op, [x, *outputs])
    return x


def _check(low: Lowering, op: Operator, shape: tuple[int, ...], position: int = 0) -> None:
    found = low.output(op, position).shape
    if found != tuple(shape):
        raise ModelError(f"{low.where(op)}: output {position} should have shape {tuple(shape)}, the file says {found}.")


def _reshape(low: Lowering, op: Operator) -> None:
    """y = x in the shape that the file gives the output; a shape input must say the same (-1: the rest)."""
    x, y = _moved(low, op, 0), low.output(op)
    if x.size != y.size:
        raise low.wrong_shape(op, x.shape)
    stated = low.optional(op, 1)
    if op.name == "RESHAPE" and stated is not None:
        wanted = low.constant(op, 1, "shape").reshape(-1).tolist()
        # The converter leaves the batch open as -1 or states it; either must agree with the output's own shape.
        if len(wanted) != len(y.shape) or any(w not in (-1, n) for w, n in zip(wanted, y.shape)):
            raise ModelError(f"{low.where(op)}: the shape {wanted} and the output's shape {y.shape} differ.")
    if op.name == "EXPAND_DIMS":
        axis = low.constant(op, 1, "axis").reshape(-1)
        rank = len(x.shape) + 1
        if len(axis) != 1 or not -rank <= axis[0] < rank:
            raise ModelError(f"{low.where(op)}: axis {axis.tolist()} does not fit the shape {x.shape}.")
        at = int(axis[0]) % rank
        _check(low, op, (*x.shape[:at], 1, *x.shape[at:]))
    if op.name == "SQUEEZE" and [n for n in x.shape if n > 1] != [n for n in y.shape if n > 1]:
        raise low.wrong_shape(op, [n for n in x.shape if n > 1])
    low.result(op, o.Reshape, [low.value(op, 0)])


def concatenation(low: Lowering, op: Operator) -> None:
    """y = the inputs joined along an axis; bare codes, one quantization."""
    y = low.output(op)
    inputs = [low.tensor(op, i) for i in range(len(op.inputs))]
    if not inputs:
        raise ModelError(f"{low.where(op)} has no inputs.")
    low.activations(op, [*inputs, y], CODES)
    if y.type == "UINT8" and any((t.scale, t.zero_point) != (y.scale, y.zero_point) for t in inputs):
        raise low.unsupported(
            op,
            f"brings UINT8 tensors of other scales or zero points to those of {y.name!r}, in floats, as only "
            "LiteRT does",
            "convert the model to int8, where all of them get one quantization",
        )
    low.same_quantization(op, [*inputs, y])
    bounds, fmt = low.activation_range(op, y), INTEGER_FORMATS[y.type]
    if bounds != (fmt.low, fmt.high):
        raise low.unsupported(op, "has a fused activation", "apply it as a layer of its own")
    rank = len(y.shape)
    axis = int(op.options["Axis"])
    if not -rank <= axis < rank or any(len(t.shape) != rank for t in inputs):
        raise ModelError(f"{low.where(op)}: axis {axis} does not fit {[t.shape for t in inputs]}.")
    axis %= rank
    for t in inputs:
        if any(a != b for i, (a, b) in enumerate(zip(t.shape, y.shape, strict=True)) if i != axis):
            raise low.wrong_shape(op, t.shape)
    _check(low, op, tuple(sum(t.shape[i] for t in inputs) if i == axis else n for i, n in enumerate(y.shape)))
    _join(low, op, [low.value(op, i) for i in range(len(inputs))], [t.shape for t in inputs], axis)


def _join(low: Lowering, op: Operator, names: list[str], shapes: list[tuple[int, ...]], axis: int) -> None:
    """Concat in full TFLite shapes along ``axis``, without the batch where it can stay out."""
    y = low.output(op)
    if len(names) == 1:
        low.result(op, o.Reshape, names)
    elif strips_batch(y.shape) and axis > 0:
        low.result(op, o.Concat, names, axis=axis - 1)
    else:
        full = [low.reshaped(op, n, s or (1,), f"part{i}") for i, (n, s) in enumerate(zip(names, shapes, strict=True))]
        low.result(op, o.Concat, full, axis=axis)


def pack(low: Lowering, op: Operator) -> None:
    """y = the inputs stacked along a new axis."""
    y = low.output(op)
    inputs = [low.tensor(op, i) for i in range(len(op.inputs))]
    if not inputs or len(inputs) != int(op.options["ValuesCount"]):
        raise ModelError(f"{low.where(op)} packs {op.options['ValuesCount']} values and has {len(inputs)} inputs.")
    low.activations(op, [*inputs, y], CODES)
    low.same_quantization(op, [*inputs, y])
    rank = len(inputs[0].shape) + 1
    axis = int(op.options["Axis"])
    if not -rank <= axis < rank or any(t.shape != inputs[0].shape for t in inputs):
        raise ModelError(f"{low.where(op)}: axis {axis} does not fit {[t.shape for t in inputs]}.")
    axis %= rank
    wide = (*inputs[0].shape[:axis], 1, *inputs[0].shape[axis:])
    _check(low, op, (*wide[:axis], len(inputs), *wide[axis + 1 :]))
    parts = []
    for i in range(len(inputs)):
        shape = graph_shape(wide) if strips_batch(y.shape) and axis > 0 else wide
        parts.append(low.reshaped(op, low.value(op, i), shape, f"part{i}"))
    _join(low, op, parts, [wide] * len(parts), axis)


def _index(x: TfliteTensor) -> Array:
    return np.arange(x.size, dtype=np.int64).reshape(x.shape)


def _gathered(low: Lowering, op: Operator, position: int, index: Array, output: int = 0) -> None:
    """The output whose element i is the input's flat element index[i]: as Reshape where that is the identity, else
    as Slice where it is one, else as Gather."""
    x, y = low.tensor(op, position), low.output(op, output)
    _check(low, op, index.shape, output)
    source = low.value(op, position)
    flat = index.reshape(-1)
    if len(flat) == x.size and np.array_equal(flat, np.arange(x.size)):
        low.result(op, o.Reshape, [source], output)
        return
    inner = graph_shape(x.shape)
    begin = np.unravel_index(int(flat[0]), inner)
    shape = graph_shape(y.shape)
    if len(inner) == len(shape):
        strides = []
        for axis, n in enumerate(shape):
            at = [0] * len(shape)
            at[axis] = 1 if n > 1 else 0
            second = np.unravel_index(int(index.reshape(shape)[tuple(at)]), inner)
            strides.append(int(second[axis] - begin[axis]) if n > 1 else 1)
        axes = [b + np.arange(n) * s for b, n, s in zip(begin, shape, strides, strict=True)]
        inside = all((a >= 0).all() and (a < n).all() for a, n in zip(axes, inner, strict=True)) and 0 not in strides
        if inside and np.array_equal(np.arange(x.size).reshape(inner)[np.ix_(*axes)].reshape(-1), flat):
            low.result(op, o.Slice, [source], output, begin=tuple(int(b) for b in begin), strides=tuple(strides))
            return
    low.result(op, o.Gather, [source], output, index=IntArray(index.reshape(shape)))


def transpose(low: Lowering, op: Operator) -> None:
    """y = x with axis i taken from perm[i]."""
    x = _moved(low, op, 0)
    perm = tuple(int(p) for p in low.constant(op, 1, "permutation").reshape(-1))
    if sorted(perm) != list(range(len(x.shape))):
        raise ModelError(f"{low.where(op)}: {perm} does not permute the axes of {x.shape}.")
    _check(low, op, tuple(x.shape[p] for p in perm))
    if strips_batch(x.shape) and perm[0] == 0:
        low.result(op, o.Transpose, [low.value(op, 0)], perm=tuple(p - 1 for p in perm[1:]))
    else:
        _gathered(low, op, 0, np.transpose(_index(x), perm))


def _pads(low: Lowering, op: Operator, x: TfliteTensor) -> list[tuple[int, int]]:
    pads = low.constant(op, 1, "paddings")
    if pads.shape != (len(x.shape), 2) or (pads < 0).any():
        raise ModelError(f"{low.where(op)}: paddings {pads.tolist()} do not fit the shape {x.shape}.")
    return [(int(a), int(b)) for a, b in pads]


def pad(low: Lowering, op: Operator) -> None:
    """y = x with the zero point (PADV2: a constant of the same quantization) around it."""
    x = _moved(low, op, 0)
    pads = _pads(low, op, x)
    value = x.zero_point
    if op.name == "PADV2" and low.optional(op, 2) is not None:
        fill = low.tensor(op, 2)
        low.activations(op, [x, fill], CODES)
        low.same_quantization(op, [x, fill])
        value = int(low.constant(op, 2, "fill value").reshape(-1)[0])
    _check(low, op, tuple(n + a + b for n, (a, b) in zip(x.shape, pads, strict=True)))
    source = low.value(op, 0)
    if strips_batch(x.shape) and pads[0] == (0, 0):
        low.result(op, o.Pad, [source], pads=tuple(pads[1:]), value=value)
    else:
        full = low.reshaped(op, source, x.shape, "full")
        low.result(op, o.Pad, [full], pads=tuple(pads), value=value)


def mirror_pad(low: Lowering, op: Operator) -> None:
    """y = x with its own elements mirrored around it, the border repeated (SYMMETRIC) or not (REFLECT)."""
    x = _moved(low, op, 0)
    pads, mode = _pads(low, op, x), int(op.options["Mode"])
    limit = 0 if mode == 1 else 1
    if mode not in (0, 1) or any(max(p) > n - limit for p, n in zip(pads, x.shape, strict=True)):
        raise ModelError(f"{low.where(op)}: mode {mode} with paddings {pads} does not fit the shape {x.shape}.")
    _gathered(low, op, 0, np.pad(_index(x), pads, mode="symmetric" if mode else "reflect"))


def _bounded(low: Lowering, op: Operator, position: int, what: str, length: int) -> list[int]:
    values = low.constant(op, position, what).reshape(-1).tolist()
    if len(values) != length:
        raise ModelError(f"{low.where(op)}: {what} {values} has not {length} entries.")
    return [int(v) for v in values]


def slice_(low: Lowering, op: Operator) -> None:
    """y = x[begin : begin + size] along each axis; size -1 takes the rest."""
    x = _moved(low, op, 0)
    begin = _bounded(low, op, 1, "begin", len(x.shape))
    size = _bounded(low, op, 2, "size", len(x.shape))
    ends = [b + s if s != -1 else n for b, s, n in zip(begin, size, x.shape, strict=True)]
    if any(not 0 <= b < e <= n for b, e, n in zip(begin, ends, x.shape, strict=True)):
        raise ModelError(f"{low.where(op)}: begin {begin} and size {size} do not fit the shape {x.shape}.")
    _gathered(low, op, 0, _index(x)[tuple(slice(b, e) for b, e in zip(begin, ends, strict=True))])


def strided_slice(low: Lowering, op: Operator) -> None:
    """y = x[begin:end:strides] with Python's rules; masks open an end or drop an axis."""
    x = _moved(low, op, 0)
    if op.options["EllipsisMask"] or op.options["NewAxisMask"] or op.options["Offset"]:
        raise low.unsupported(
            op,
            "uses an ellipsis, a new axis or offset ends, which not all engines read alike",
            "write the slice out",
        )
    rank = len(x.shape)
    begin, end, strides = (_bounded(low, op, i, what, rank) for i, what in ((1, "begin"), (2, "end"), (3, "strides")))
    if 0 in strides:
        raise ModelError(f"{low.where(op)} has the stride 0.")
    taken = take_strided(_index(x), begin, end, strides, op.options, low.where(op))
    _gathered(low, op, 0, taken)


def take_strided(
    x: Array,
    begin: Sequence[int],
    end: Sequence[int],
    strides: Sequence[int],
    options: Mapping[str, int | float | bool],
    where: str,
) -> Array:
    """x[begin:end:strides] with the masks of STRIDED_SLICE (no ellipsis, no new axis)."""
    parts, dropped = [], []
    for axis, n in enumerate(x.shape):
        bit = 1 << axis
        if int(options["ShrinkAxisMask"]) & bit:
            at = begin[axis] + n if begin[axis] < 0 else begin[axis]
            at = 0 if int(options["BeginMask"]) & bit else at
            if not 0 <= at < n:
                raise ModelError(f"{where}: index {begin[axis]} lies outside axis {axis} of {x.shape}.")
            parts.append(slice(at, at + 1))
            dropped.append(axis)
            continue
        first = None if int(options["BeginMask"]) & bit else begin[axis]
        last = None if int(options["EndMask"]) & bit else end[axis]
        parts.append(slice(first, last, strides[axis]))
    taken = x[tuple(parts)]
    if not taken.size:
        raise ModelError(f"{where}: the slice of {x.shape} is empty.")
    return np.asarray(taken.reshape([n for i, n in enumerate(taken.shape) if i not in dropped]))


def _axis(low: Lowering, op: Operator, position: int, rank: int) -> int:
    axis = _bounded(low, op, position, "axis", 1)[0]
    if not -rank <= axis < rank:
        raise ModelError(f"{low.where(op)}: axis {axis} of {rank}.")
    return axis % rank


def split(low: Lowering, op: Operator) -> None:
    """Each output a stretch of x along the axis: equal ones (SPLIT), or of the given sizes (SPLIT_V)."""
    position = 1 if op.name == "SPLIT" else 0
    x = _moved(low, op, position)
    axis = _axis(low, op, 0 if op.name == "SPLIT" else 2, len(x.shape))
    n, count = x.shape[axis], len(op.outputs)
    if int(op.options["NumSplits"]) != count or (op.name == "SPLIT" and n % count):
        raise ModelError(f"{low.where(op)}: {op.options['NumSplits']} splits of {n} into {count} outputs.")
    sizes = [n // count] * count if op.name == "SPLIT" else _bounded(low, op, 1, "sizes", count)
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = n - sum(s for s in sizes if s != -1)
    if min(sizes) < 1 or sum(sizes) != n:
        raise ModelError(f"{low.where(op)}: sizes {sizes} do not make up {n}.")
    at = 0
    for i, size in enumerate(sizes):
        _gathered(low, op, position, np.take(_index(x), np.arange(at, at + size), axis=axis), i)
        at += size


def unpack(low: Lowering, op: Operator) -> None:
    """Each output one index of x along the axis, which is dropped."""
    x = _moved(low, op, 0)
    rank, axis = len(x.shape), int(op.options["Axis"])
    if not -rank <= axis < rank or x.shape[axis] != len(op.outputs) or int(op.options["Num"]) != len(op.outputs):
        raise ModelError(f"{low.where(op)}: axis {axis} of {x.shape} into {len(op.outputs)} outputs.")
    for i in range(len(op.outputs)):
        _gathered(low, op, 0, np.take(_index(x), i, axis=axis), i)


def gather(low: Lowering, op: Operator) -> None:
    """y = x taken at constant indices along an axis."""
    x = _moved(low, op, 0)
    rank, axis = len(x.shape), int(op.options["Axis"])
    if op.options["BatchDims"]:
        raise low.unsupported(op, "gathers per batch", "use batch_dims=0")
    if not -rank <= axis < rank:
        raise ModelError(f"{low.where(op)}: axis {axis} of {x.shape}.")
    indices = low.constant(op, 1, "indices")
    if not indices.size or indices.min() < 0 or indices.max() >= x.shape[axis]:
        raise ModelError(f"{low.where(op)}: indices outside axis {axis} of {x.shape}.")
    if math.prod(low.output(op).shape) != x.size // x.shape[axis] * indices.size:
        raise low.wrong_shape(op, x.shape)
    _gathered(low, op, 0, np.take(_index(x), indices, axis=axis))


def _image(low: Lowering, op: Operator) -> TfliteTensor:
    x = _moved(low, op, 0)
    if len(x.shape) != 4:
        raise ModelError(f"{low.where(op)}: {x.name!r} of shape {x.shape} is not (batch, H, W, C).")
    return x


def resize_nearest(low: Lowering, op: Operator) -> None:
    """y[i] = x[min(floor((i + offset) * scale), n - 1)] per axis, in float32; rounded where corners are aligned."""
    x = _image(low, op)
    size = _bounded(low, op, 1, "size", 2)
    align, half = bool(op.options["AlignCorners"]), bool(op.options["HalfPixelCenters"])
    if min(size) < 1:
        raise ModelError(f"{low.where(op)}: size {size}.")
    _check(low, op, (x.shape[0], *size, x.shape[3]))
    picks = []
    for n, out in zip(x.shape[1:3], size, strict=True):
        aligned = align and out > 1
        scale = np.float32(n - 1) / np.float32(out - 1) if aligned else np.float32(n) / np.float32(out)
        place = (np.arange(out).astype(np.float32) + np.float32(0.5 if half else 0.0)) * scale
        nearest = np.floor(place.astype(np.float64) + 0.5) if align else np.floor(place)
        picks.append(np.clip(nearest.astype(np.int64), 0, n - 1))
    _gathered(low, op, 0, _index(x)[:, picks[0]][:, :, picks[1]])


def _blocks(low: Lowering, op: Operator) -> None:
    """SPACE_TO_DEPTH: block rows, block columns and channels become the depth; DEPTH_TO_SPACE: the reverse."""
    x = _image(low, op)
    b, (n, h, w, c) = int(op.options["BlockSize"]), x.shape
    to_depth = op.name == "SPACE_TO_DEPTH"
    if b < 1 or (h % b or w % b if to_depth else c % (b * b)):
        raise ModelError(f"{low.where(op)}: block size {b} does not fit the shape {x.shape}.")
    if to_depth:
        index = _index(x).reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
        _gathered(low, op, 0, index.reshape(n, h // b, w // b, b * b * c))
    else:
        index = _index(x).reshape(n, h, w, b, b, c // (b * b)).transpose(0, 1, 3, 2, 4, 5)
        _gathered(low, op, 0, index.reshape(n, h * b, w * b, c // (b * b)))


LOWERINGS: dict[str, Lower] = {
    "CONCATENATION": concatenation,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": transpose,
    "PAD": pad,
    "PADV2": pad,
    "MIRROR_PAD": mirror_pad,
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "SPLIT": split,
    "SPLIT_V": split,
    "PACK": pack,
    "UNPACK": unpack,
    "GATHER": gather,
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest,
    "SPACE_TO_DEPTH": _blocks,
    "DEPTH_TO_SPACE": _blocks,
}
