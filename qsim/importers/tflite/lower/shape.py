"""Operators that put all codes in other places: CONCATENATION, PACK, RESHAPE and its kin, TRANSPOSE,
RESIZE_NEAREST_NEIGHBOR, SPACE_TO_DEPTH, DEPTH_TO_SPACE; and what moving codes takes (``slices.py`` too).

All but CONCATENATION and PACK read one tensor; they are worked out on an array of flat indices in the TFLite shape,
batch included, and then written as the simplest op that does the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsim.errors import ModelError
from qsim.importers.tflite.lower.context import Lowering, graph_shape, strips_batch
from qsim.importers.tflite.lower.record import Record
from qsim.importers.tflite.model import INTEGER_FORMATS, Operator, TfliteTensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray

CODES = ("INT8", "UINT8", "INT16", "INT32")


def moved(low: Lowering, op: Operator, position: int) -> TfliteTensor:
    """The input at ``position`` after the checks that moving codes from it to every output needs."""
    x = low.tensor(op, position)
    outputs = [low.output(op, i) for i in range(len(op.outputs))]
    low.activations(op, [x, *outputs], CODES)
    low.same_quantization(op, [x, *outputs])
    return x


def check_shape(low: Lowering, op: Operator, shape: tuple[int, ...], position: int = 0) -> None:
    found = low.output(op, position).shape
    if found != tuple(shape):
        raise ModelError(f"{low.where(op)}: output {position} should have shape {tuple(shape)}, the file says {found}.")


def bounded(low: Lowering, op: Operator, position: int, what: str, length: int) -> list[int]:
    values = low.constant(op, position, what).reshape(-1).tolist()
    if len(values) != length:
        raise ModelError(f"{low.where(op)}: {what} {values} has not {length} entries.")
    return [int(v) for v in values]


def flat_index(x: TfliteTensor) -> Array:
    return np.arange(x.size, dtype=np.int64).reshape(x.shape)


def gathered(low: Lowering, op: Operator, position: int, index: Array, output: int = 0) -> None:
    """The output whose element i is the input's flat element index[i]: as Reshape where that is the identity, else
    as Slice where it is one, else as Gather."""
    x, y = low.tensor(op, position), low.output(op, output)
    check_shape(low, op, index.shape, output)
    source = low.value(op, position)
    flat = index.reshape(-1)
    if len(flat) == x.size and np.array_equal(flat, np.arange(x.size)):
        low.result(op, o.Reshape(inputs=(source,), **low.end(op, output)), output)
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
            low.result(
                op,
                o.Slice(
                    inputs=(source,), **low.end(op, output), begin=tuple(int(b) for b in begin), strides=tuple(strides)
                ),
                output,
            )
            return
    low.result(op, o.Gather(inputs=(source,), **low.end(op, output), index=IntArray(index.reshape(shape))), output)


def _reshape(low: Lowering, op: Operator) -> None:
    """y = x in the shape that the file gives the output; a shape input must say the same (-1: the rest)."""
    x, y = moved(low, op, 0), low.output(op)
    if x.size != y.size:
        raise low.wrong_shape(op, x.shape)
    stated = low.optional(op, 1)
    if op.name == "RESHAPE" and stated is not None:
        _check_sizes(low, op, low.constant(op, 1, "shape").reshape(-1).tolist())
    if op.name == "EXPAND_DIMS":
        axis = low.constant(op, 1, "axis").reshape(-1)
        rank = len(x.shape) + 1
        if len(axis) != 1 or not -rank <= axis[0] < rank:
            raise ModelError(f"{low.where(op)}: axis {axis.tolist()} does not fit the shape {x.shape}.")
        at = int(axis[0]) % rank
        check_shape(low, op, (*x.shape[:at], 1, *x.shape[at:]))
    if op.name == "RESHAPE" and stated is None:
        _check_sizes(low, op, op.lists.get("NewShape", ()))
    if op.name == "SQUEEZE" and (dims := op.lists.get("SqueezeDims", ())):
        rank = len(x.shape)
        if any(not -rank <= d < rank or x.shape[d] != 1 for d in dims):
            raise ModelError(f"{low.where(op)}: {list(dims)} cannot be squeezed out of the shape {x.shape}.")
        check_shape(low, op, tuple(n for i, n in enumerate(x.shape) if i not in {d % rank for d in dims}))
    if op.name == "SQUEEZE" and [n for n in x.shape if n > 1] != [n for n in y.shape if n > 1]:
        raise low.wrong_shape(op, [n for n in x.shape if n > 1])
    low.result(op, o.Reshape(inputs=(low.value(op, 0),), **low.end(op)))


def _check_sizes(low: Lowering, op: Operator, wanted: Sequence[int]) -> None:
    """The shape that RESHAPE states, if it does, must agree with the output's own; the converter leaves the batch open
    as -1 or states it."""
    shape = low.output(op).shape
    if wanted and (len(wanted) != len(shape) or any(w not in (-1, n) for w, n in zip(wanted, shape, strict=True))):
        raise ModelError(f"{low.where(op)}: the shape {list(wanted)} and the output's shape {shape} differ.")


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
    check_shape(low, op, tuple(sum(t.shape[i] for t in inputs) if i == axis else n for i, n in enumerate(y.shape)))
    _join(low, op, [low.value(op, i) for i in range(len(inputs))], [t.shape for t in inputs], axis)


def _join(low: Lowering, op: Operator, names: list[str], shapes: list[tuple[int, ...]], axis: int) -> None:
    """Concat in full TFLite shapes along ``axis``, without the batch where it can stay out."""
    y = low.output(op)
    if len(names) == 1:
        low.result(op, o.Reshape(inputs=tuple(names), **low.end(op)))
    elif strips_batch(y.shape) and axis > 0:
        low.result(op, o.Concat(inputs=tuple(names), **low.end(op), axis=axis - 1))
    else:
        full = [low.reshaped(op, n, s or (1,), f"part{i}") for i, (n, s) in enumerate(zip(names, shapes, strict=True))]
        low.result(op, o.Concat(inputs=tuple(full), **low.end(op), axis=axis))


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
    check_shape(low, op, (*wide[:axis], len(inputs), *wide[axis + 1 :]))
    parts = []
    for i in range(len(inputs)):
        shape = graph_shape(wide) if strips_batch(y.shape) and axis > 0 else wide
        parts.append(low.reshaped(op, low.value(op, i), shape, f"part{i}"))
    _join(low, op, parts, [wide] * len(parts), axis)


def transpose(low: Lowering, op: Operator) -> None:
    """y = x with axis i taken from perm[i]."""
    x = moved(low, op, 0)
    perm = tuple(int(p) for p in low.constant(op, 1, "permutation").reshape(-1))
    if sorted(perm) != list(range(len(x.shape))):
        raise ModelError(f"{low.where(op)}: {perm} does not permute the axes of {x.shape}.")
    check_shape(low, op, tuple(x.shape[p] for p in perm))
    if strips_batch(x.shape) and perm[0] == 0:
        low.result(op, o.Transpose(inputs=(low.value(op, 0),), **low.end(op), perm=tuple(p - 1 for p in perm[1:])))
    else:
        gathered(low, op, 0, np.transpose(flat_index(x), perm))


def _image(low: Lowering, op: Operator) -> TfliteTensor:
    x = moved(low, op, 0)
    if len(x.shape) != 4:
        raise ModelError(f"{low.where(op)}: {x.name!r} of shape {x.shape} is not (batch, H, W, C).")
    return x


def resize_nearest(low: Lowering, op: Operator) -> None:
    """y[i] = x[min(floor((i + offset) * scale), n - 1)] per axis, in float32; rounded where corners are aligned."""
    x = _image(low, op)
    size = bounded(low, op, 1, "size", 2)
    align, half = bool(op.options["AlignCorners"]), bool(op.options["HalfPixelCenters"])
    if min(size) < 1:
        raise ModelError(f"{low.where(op)}: size {size}.")
    check_shape(low, op, (x.shape[0], *size, x.shape[3]))
    picks = []
    for n, out in zip(x.shape[1:3], size, strict=True):
        aligned = align and out > 1
        scale = np.float32(n - 1) / np.float32(out - 1) if aligned else np.float32(n) / np.float32(out)
        place = (np.arange(out).astype(np.float32) + np.float32(0.5 if half else 0.0)) * scale
        nearest = np.floor(place.astype(np.float64) + 0.5) if align else np.floor(place)
        picks.append(np.clip(nearest.astype(np.int64), 0, n - 1))
    gathered(low, op, 0, flat_index(x)[:, picks[0]][:, :, picks[1]])


def _blocks(low: Lowering, op: Operator) -> None:
    """SPACE_TO_DEPTH: block rows, block columns and channels become the depth; DEPTH_TO_SPACE: the reverse."""
    x = _image(low, op)
    b, (n, h, w, c) = int(op.options["BlockSize"]), x.shape
    to_depth = op.name == "SPACE_TO_DEPTH"
    if b < 1 or (h % b or w % b if to_depth else c % (b * b)):
        raise ModelError(f"{low.where(op)}: block size {b} does not fit the shape {x.shape}.")
    if to_depth:
        index = flat_index(x).reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
        gathered(low, op, 0, index.reshape(n, h // b, w // b, b * b * c))
    else:
        index = flat_index(x).reshape(n, h, w, b, b, c // (b * b)).transpose(0, 1, 3, 2, 4, 5)
        gathered(low, op, 0, index.reshape(n, h * b, w * b, c // (b * b)))


RECORDS: dict[str, Record] = {
    "CONCATENATION": Record(
        lower=concatenation,
        options="ConcatenationOptions",
        reads=("Axis", "FusedActivationFunction"),
        fold=lambda op, x: np.concatenate(x, axis=int(op.options["Axis"])),
    ),
    "RESHAPE": Record(
        lower=_reshape,
        options="ReshapeOptions",
        required=False,
        reads=("NewShape",),
        fold=lambda op, x: x[0].reshape([int(n) for n in x[1]]) if len(x) == 2 else None,
    ),
    "SQUEEZE": Record(lower=_reshape, options="SqueezeOptions", required=False, reads=("SqueezeDims",)),
    "EXPAND_DIMS": Record(lower=_reshape, options="ExpandDimsOptions"),
    "TRANSPOSE": Record(lower=transpose, options="TransposeOptions"),
    "PACK": Record(
        lower=pack,
        options="PackOptions",
        reads=("ValuesCount", "Axis"),
        fold=lambda op, x: np.stack(x, axis=int(op.options["Axis"])),
    ),
    "RESIZE_NEAREST_NEIGHBOR": Record(
        lower=resize_nearest, options="ResizeNearestNeighborOptions", reads=("AlignCorners", "HalfPixelCenters")
    ),
    "SPACE_TO_DEPTH": Record(
        lower=_blocks, options="SpaceToDepthOptions", reads=("BlockSize",), micro_lacks=("INT16",)
    ),
    "DEPTH_TO_SPACE": Record(
        lower=_blocks, options="DepthToSpaceOptions", reads=("BlockSize",), micro_lacks=("INT16",)
    ),
}
