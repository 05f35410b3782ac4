"""Operators that take some of a tensor's codes, or put others around them: pads, slices, SPLIT, UNPACK, GATHER."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from qsim.errors import ModelError
from qsim.importers.tflite.lower.context import Lowering, strips_batch
from qsim.importers.tflite.lower.record import Record
from qsim.importers.tflite.lower.shape import CODES, bounded, check_shape, flat_index, gathered, moved
from qsim.importers.tflite.model import Operator, TfliteTensor
from qsim.ir import ops as o
from qsim.numerics import Array


def _pads(low: Lowering, op: Operator, x: TfliteTensor) -> list[tuple[int, int]]:
    pads = low.constant(op, 1, "paddings")
    if pads.shape != (len(x.shape), 2) or (pads < 0).any():
        raise ModelError(f"{low.where(op)}: paddings {pads.tolist()} do not fit the shape {x.shape}.")
    return [(int(a), int(b)) for a, b in pads]


def pad(low: Lowering, op: Operator) -> None:
    """y = x with the zero point (PADV2: a constant of the same quantization) around it."""
    x = moved(low, op, 0)
    pads = _pads(low, op, x)
    value = x.zero_point
    if op.name == "PADV2" and low.optional(op, 2) is not None:
        fill = low.tensor(op, 2)
        low.activations(op, [x, fill], CODES)
        low.same_quantization(op, [x, fill])
        value = int(low.constant(op, 2, "fill value").reshape(-1)[0])
    check_shape(low, op, tuple(n + a + b for n, (a, b) in zip(x.shape, pads, strict=True)))
    source = low.value(op, 0)
    if strips_batch(x.shape) and pads[0] == (0, 0):
        low.result(op, o.Pad(inputs=(source,), **low.end(op), pads=tuple(pads[1:]), value=value))
    else:
        full = low.reshaped(op, source, x.shape, "full")
        low.result(op, o.Pad(inputs=(full,), **low.end(op), pads=tuple(pads), value=value))


def mirror_pad(low: Lowering, op: Operator) -> None:
    """y = x with its own elements mirrored around it, the border repeated (SYMMETRIC) or not (REFLECT)."""
    x = moved(low, op, 0)
    pads, mode = _pads(low, op, x), int(op.options["Mode"])
    limit = 0 if mode == 1 else 1
    if mode not in (0, 1) or any(max(p) > n - limit for p, n in zip(pads, x.shape, strict=True)):
        raise ModelError(f"{low.where(op)}: mode {mode} with paddings {pads} does not fit the shape {x.shape}.")
    gathered(low, op, 0, np.pad(flat_index(x), pads, mode="symmetric" if mode else "reflect"))


def slice_(low: Lowering, op: Operator) -> None:
    """y = x[begin : begin + size] along each axis; size -1 takes the rest."""
    x = moved(low, op, 0)
    begin = bounded(low, op, 1, "begin", len(x.shape))
    size = bounded(low, op, 2, "size", len(x.shape))
    ends = [b + s if s != -1 else n for b, s, n in zip(begin, size, x.shape, strict=True)]
    if any(not 0 <= b < e <= n for b, e, n in zip(begin, ends, x.shape, strict=True)):
        raise ModelError(f"{low.where(op)}: begin {begin} and size {size} do not fit the shape {x.shape}.")
    gathered(low, op, 0, flat_index(x)[tuple(slice(b, e) for b, e in zip(begin, ends, strict=True))])


def strided_slice(low: Lowering, op: Operator) -> None:
    """y = x[begin:end:strides] with Python's rules; masks open an end or drop an axis."""
    x = moved(low, op, 0)
    if op.options["EllipsisMask"] or op.options["NewAxisMask"] or op.options["Offset"]:
        raise low.unsupported(
            op,
            "uses an ellipsis, a new axis or offset ends, which not all engines read alike",
            "write the slice out",
        )
    rank = len(x.shape)
    begin, end, strides = (bounded(low, op, i, what, rank) for i, what in ((1, "begin"), (2, "end"), (3, "strides")))
    if 0 in strides:
        raise ModelError(f"{low.where(op)} has the stride 0.")
    if _drops_backwards(op, strides):
        raise low.unsupported(
            op,
            "drops an axis along which it steps backwards, where the engines take nothing",
            "give that axis the stride 1",
        )
    taken = take_strided(flat_index(x), begin, end, strides, op.options, low.where(op))
    gathered(low, op, 0, taken)


def _drops_backwards(op: Operator, strides: Sequence[int]) -> bool:
    return any(stride < 0 and int(op.options["ShrinkAxisMask"]) >> axis & 1 for axis, stride in enumerate(strides))


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
    axis = bounded(low, op, position, "axis", 1)[0]
    if not -rank <= axis < rank:
        raise ModelError(f"{low.where(op)}: axis {axis} of {rank}.")
    return axis % rank


def split(low: Lowering, op: Operator) -> None:
    """Each output a stretch of x along the axis: equal ones (SPLIT), or of the given sizes (SPLIT_V)."""
    position = 1 if op.name == "SPLIT" else 0
    x = moved(low, op, position)
    axis = _axis(low, op, 0 if op.name == "SPLIT" else 2, len(x.shape))
    n, count = x.shape[axis], len(op.outputs)
    if int(op.options["NumSplits"]) != count or (op.name == "SPLIT" and n % count):
        raise ModelError(f"{low.where(op)}: {op.options['NumSplits']} splits of {n} into {count} outputs.")
    sizes = [n // count] * count if op.name == "SPLIT" else bounded(low, op, 1, "sizes", count)
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = n - sum(s for s in sizes if s != -1)
    if min(sizes) < 1 or sum(sizes) != n:
        raise ModelError(f"{low.where(op)}: sizes {sizes} do not make up {n}.")
    at = 0
    for i, size in enumerate(sizes):
        gathered(low, op, position, np.take(flat_index(x), np.arange(at, at + size), axis=axis), i)
        at += size


def unpack(low: Lowering, op: Operator) -> None:
    """Each output one index of x along the axis, which is dropped."""
    x = moved(low, op, 0)
    rank, axis = len(x.shape), int(op.options["Axis"])
    if not -rank <= axis < rank or x.shape[axis] != len(op.outputs) or int(op.options["Num"]) != len(op.outputs):
        raise ModelError(f"{low.where(op)}: axis {axis} of {x.shape} into {len(op.outputs)} outputs.")
    for i in range(len(op.outputs)):
        gathered(low, op, 0, np.take(flat_index(x), i, axis=axis), i)


def gather(low: Lowering, op: Operator) -> None:
    """y = x taken at constant indices along an axis."""
    x = moved(low, op, 0)
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
    gathered(low, op, 0, np.take(flat_index(x), indices, axis=axis))


def _fold_slice(op: Operator, x: list[Array]) -> Array | None:
    if op.options["EllipsisMask"] or op.options["NewAxisMask"] or op.options["Offset"]:
        return None
    begin, end, strides = ([int(v) for v in a.reshape(-1)] for a in x[1:4])
    if 0 in strides:
        raise ValueError("stride 0")
    if _drops_backwards(op, strides):
        return None
    return take_strided(x[0], begin, end, strides, op.options, f"operator {op.index} ({op.name})")


def _fold_gather(op: Operator, x: list[Array]) -> Array | None:
    return np.take(x[0], x[1], axis=int(op.options["Axis"])) if not op.options["BatchDims"] else None


RECORDS: dict[str, Record] = {
    "PAD": Record(lower=pad, options="PadOptions"),
    "PADV2": Record(lower=pad, options="PadV2Options"),
    "MIRROR_PAD": Record(lower=mirror_pad, options="MirrorPadOptions", reads=("Mode",), micro_lacks=("INT16",)),
    "SLICE": Record(lower=slice_, options="SliceOptions"),
    "STRIDED_SLICE": Record(
        lower=strided_slice,
        options="StridedSliceOptions",
        reads=("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask", "Offset"),
        fold=_fold_slice,
    ),
    "SPLIT": Record(lower=split, options="SplitOptions", reads=("NumSplits",)),
    "SPLIT_V": Record(lower=split, options="SplitVOptions", reads=("NumSplits",)),
    "UNPACK": Record(lower=unpack, options="UnpackOptions", reads=("Num", "Axis")),
    "GATHER": Record(
        lower=gather, options="GatherOptions", reads=("Axis", "BatchDims"), micro_lacks=("INT16",), fold=_fold_gather
    ),
}
