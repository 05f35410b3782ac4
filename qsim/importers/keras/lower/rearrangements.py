"""Operations on symbolic tensors that move elements: reshapes, transposes, slices, padding, ``x[:, 1:]``."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.keras.lower import merge as lower_merge
from qsim.importers.keras.lower.context import Context
from qsim.importers.keras.lower.operands import BATCH, operands, own_axes, own_axis
from qsim.importers.keras.lower.record import Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.shape import fitting, padded, rearrange, reshape, sliced, transpose
from qsim.importers.symbolic.value import Value
from qsim.numerics import Array


def _reshape(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    batch, *target = node.config["newshape"]
    shape = None if None in target else fitting(inputs[0].shape, target)
    if batch not in (-1, None) or shape is None:
        raise UnsupportedError(
            f"it makes {node.config['newshape']} of {inputs[0].shape}, {BATCH}",
            way_out="put -1 first and the input's dimensions behind it, or use a Reshape layer",
        )
    return reshape(ctx, node, inputs[0], shape)


def _transpose(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    axes = node.config.get("axes")
    if axes is None or axes[0] != 0:
        raise UnsupportedError(f"its axes are {axes}, {BATCH}", way_out="begin them with 0")
    return transpose(ctx, node, inputs[0], tuple((a + len(axes) if a < 0 else a) - 1 for a in axes[1:]))


def _expand_dims(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    value, given = inputs[0], node.config.get("axis")
    if given is None:
        raise UnsupportedError("it names no axis", way_out="give it the axes behind the batch")
    listed = given if isinstance(given, list | tuple) else [given]
    # Keras counts negative axes from the end of the result, and inserts in rising order.
    axes = sorted(own_axis(value, int(axis), len(value.shape) + len(listed)) for axis in listed)
    shape = list(value.shape)
    for axis in axes:
        shape.insert(axis, 1)
    return reshape(ctx, node, value, tuple(shape))


def _squeeze(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    axes = own_axes(inputs[0], node.config.get("axis"))
    return reshape(ctx, node, inputs[0], tuple(n for i, n in enumerate(inputs[0].shape) if i not in axes))


def _pad(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    filling = [*operands(node, inputs, "x", "constant_values"), None][1]
    batch, *pads = ([int(n) for n in pad] for pad in node.config["pad_width"])
    if node.config.get("mode", "constant") != "constant" or filling:
        raise UnsupportedError("it pads with other than zeros", way_out="use mode='constant' with zeros")
    if any(batch):
        raise UnsupportedError(f"it pads the first axis, {BATCH}")
    return padded(ctx, node, inputs[0], tuple((before, after) for before, after in pads))


def _split(ctx: Context, node: LayerNode, inputs: list[Value]) -> list[Value]:
    value = inputs[0]
    axis = own_axis(value, int(node.config.get("axis", 0)))
    marks, size = _marks(node, value.shape[axis]), value.shape[axis]
    parts = []
    for i, (first, last) in enumerate(zip([0, *marks], [*marks, size])):
        box = tuple(slice(first, last) if a == axis else slice(None) for a in range(len(value.shape)))
        parts.append(sliced(ctx, node, value, box, f"{node.name}.{i}"))
    return parts


def _marks(node: LayerNode, size: int) -> list[int]:
    """Where the parts but the first begin along an axis of ``size``: by Keras' positions or number of parts, or by
    TensorFlow's sizes, of which one may be -1, the rest."""
    sizes, sections = node.config.get("sizes"), node.config.get("indices_or_sections")
    if sizes is not None:
        rest = size - sum(n for n in sizes if n != -1)
        found = [rest if n == -1 else int(n) for n in sizes]
        if sizes.count(-1) > 1 or sum(found) != size or min(found) < 0:
            raise UnsupportedError(f"its sizes {sizes} do not make up {size}")
        return list(itertools.accumulate(found))[:-1]
    if isinstance(sections, int):
        if sections < 1 or size % sections:
            raise UnsupportedError(f"it splits {size} into {sections} parts")
        return [size // sections * i for i in range(1, sections)]
    return [int(mark) for mark in sections or ()]


def _stack(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    axis = own_axis(inputs[0], int(node.config.get("axis", 0)), len(inputs[0].shape) + 1)
    shape = (*inputs[0].shape[:axis], 1, *inputs[0].shape[axis:])
    return stacked(ctx, node, inputs, axis, shape)


def stacked(ctx: Context, node: LayerNode, values: list[Value], axis: int, shape: tuple[int, ...]) -> Value:
    """The values, each in ``shape``, joined along ``axis`` (not counting the batch) as the node's output."""
    rows = [
        reshape(ctx, dataclasses.replace(node, name=f"{node.name}.row{i}"), value, shape).but(layer=node.name)
        for i, value in enumerate(values)
    ]
    joined = dataclasses.replace(node, config={"axis": axis + 1})
    return lower_merge.concatenate(ctx, joined, rows)


def _repeat(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    axis, n = own_axes(inputs[0], node.config.get("axis"))[0], node.config["repeats"]
    return rearrange(ctx, node, inputs[0], lambda a: np.repeat(a, n, axis=axis))


def _flip(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    axes = own_axes(inputs[0], node.config.get("axis"))
    return rearrange(ctx, node, inputs[0], lambda a: np.flip(a, axes))


def _get_item(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """x[key] for slices, integers, Ellipsis and None behind a first slice that keeps the whole batch."""
    value, key = operands(node, inputs, "x", "key")
    items = [_item(part) for part in (key if isinstance(key, list) else [key])]
    given = sum(part is not None and part is not Ellipsis for part in items)
    if Ellipsis not in items:
        items.append(Ellipsis)
    at = items.index(Ellipsis)
    items[at : at + 1] = [slice(None)] * (len(value.shape) + 1 - given)
    if items[0] != slice(None):
        raise UnsupportedError(f"its index begins with {items[0]}, {BATCH}", way_out="begin it with ':'")
    box: list[slice] = []
    shape: list[int] = []
    for part in items[1:]:
        if part is None:
            shape.append(1)
            continue
        size = value.shape[len(box)]
        if isinstance(part, int):
            part = part + size if part < 0 else part
            box.append(slice(part, part + 1))
        else:
            shape.append(len(range(*part.indices(size))))
            box.append(part)
    whole = tuple(shape)
    if any(part.step is not None and part.step < 0 for part in box):
        return rearrange(ctx, node, value, lambda a: a[tuple(box)].reshape(whole))
    kept = tuple(len(range(*s.indices(n))) for s, n in zip(box, value.shape, strict=True))
    if kept == value.shape:
        return reshape(ctx, node, value, whole)
    if kept == whole:
        return sliced(ctx, node, value, tuple(box))
    return reshape(ctx, node, sliced(ctx, node, value, tuple(box), f"{node.name}.part"), whole)


def _item(part: Any) -> Any:
    if part is None or (isinstance(part, int) and not isinstance(part, bool)):
        return part
    if isinstance(part, dict) and part.get("class_name") == "__slice__":
        return slice(*(part["config"].get(key) for key in ("start", "stop", "step")))
    if isinstance(part, dict) and part.get("class_name") == "__ellipsis__":
        return Ellipsis
    raise UnsupportedError("its index is no number and no slice", way_out="use numbers and slices")


def _tile(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    repeats = node.config["repeats"]
    given = [int(n) for n in (repeats if isinstance(repeats, list | tuple) else [repeats])]
    rank = len(inputs[0].shape) + 1
    times = [1] * (rank - len(given)) + given
    if len(times) > rank or times[0] != 1:
        raise UnsupportedError(f"its repeats are {repeats}, {BATCH}", way_out="begin them with 1, one an axis")
    if min(times) < 1:
        raise UnsupportedError(f"its repeats {repeats} leave nothing")
    return rearrange(ctx, node, inputs[0], lambda a: np.tile(a, times[1:]))


def _roll(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    given, shift = node.config.get("axis"), node.config["shift"]
    if given is None:
        raise UnsupportedError(f"it rolls over all axes, {BATCH}", way_out="name the axes behind the batch")
    axes = given if isinstance(given, list | tuple) else [given]
    shifts = shift if isinstance(shift, list | tuple) else [shift] * len(axes)
    own = tuple(own_axis(inputs[0], int(a)) for a in axes)
    return rearrange(ctx, node, inputs[0], lambda a: np.roll(a, tuple(int(s) for s in shifts), own))


def _swapaxes(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    value = inputs[0]
    perm = list(range(len(value.shape)))
    a, b = (own_axis(value, int(node.config[key])) for key in ("axis1", "axis2"))
    perm[a], perm[b] = perm[b], perm[a]
    return transpose(ctx, node, value, tuple(perm))


def _take(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """x.take(indices, axis) for constant indices; negative ones count from the end."""
    value, indices = operands(node, inputs, "x", "indices")
    if not isinstance(value, Value) or isinstance(indices, Value):
        raise UnsupportedError("its indices are a tensor", way_out="use constant indices")
    if node.config.get("axis") is None:
        raise UnsupportedError(f"it takes from all axes, {BATCH}", way_out="name one axis behind the batch")
    axis = own_axis(value, int(node.config["axis"]))
    places, size = np.asarray(indices), value.shape[axis]
    if places.dtype.kind not in "iu" or not places.size or not (-size <= places.min() <= places.max() < size):
        raise UnsupportedError(f"its indices are not within the {size} elements of the axis")
    return rearrange(ctx, node, value, lambda a: np.take(a, places, axis=axis))


def _depth_to_space(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """(H, W, n * n * C) to (H * n, W * n, C): the channels of a pixel become a block, row by row."""
    value, n = inputs[0], int(node.config["block_size"])
    if len(value.shape) != 3 or n < 1 or value.shape[2] % (n * n):
        raise UnsupportedError(f"it makes blocks of {n} x {n} of {value.shape}")
    h, w, c = value.shape[0], value.shape[1], value.shape[2] // (n * n)

    def spread(a: Array) -> Array:
        return np.asarray(a.reshape(h, w, n, n, c).transpose(0, 2, 1, 3, 4).reshape(h * n, w * n, c))

    return rearrange(ctx, node, value, spread)


def _space_to_depth(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """(H * n, W * n, C) to (H, W, n * n * C)."""
    value, n = inputs[0], int(node.config["block_size"])
    if len(value.shape) != 3 or n < 1 or value.shape[0] % n or value.shape[1] % n:
        raise UnsupportedError(f"it gathers blocks of {n} x {n} of {value.shape}")
    h, w, c = value.shape[0] // n, value.shape[1] // n, value.shape[2]

    def gathered(a: Array) -> Array:
        return np.asarray(a.reshape(h, n, w, n, c).transpose(0, 2, 1, 3, 4).reshape(h, w, n * n * c))

    return rearrange(ctx, node, value, gathered)


_LAST = {"data_format": ("channels_last",)}

OPERATIONS: Registry = {
    "Concatenate": lower_merge.LAYERS["Concatenate"],
    "Stack": Record(lower=_stack, reads=("axis",)),
    "Split": Record(lower=_split, reads=("indices_or_sections", "sizes", "axis")),
    "GetItem": Record(lower=_get_item, takes=("x", "key")),
    "Reshape": Record(lower=_reshape, reads=("newshape",)),
    "Transpose": Record(lower=_transpose, reads=("axes",)),
    "Swapaxes": Record(lower=_swapaxes, reads=("axis1", "axis2")),
    "ExpandDims": Record(lower=_expand_dims, reads=("axis",)),
    "Squeeze": Record(lower=_squeeze, reads=("axis",)),
    "Pad": Record(lower=_pad, reads=("pad_width", "mode"), takes=("x", "constant_values")),
    "Repeat": Record(lower=_repeat, reads=("repeats", "axis")),
    "Tile": Record(lower=_tile, reads=("repeats",)),
    "Flip": Record(lower=_flip, reads=("axis",)),
    "Roll": Record(lower=_roll, reads=("shift", "axis")),
    "Take": Record(lower=_take, reads=("axis",), takes=("x", "indices")),
    "DepthToSpace": Record(lower=_depth_to_space, reads=("block_size",), only=_LAST),
    "SpaceToDepth": Record(lower=_space_to_depth, reads=("block_size",), only=_LAST),
}
"""Operation -> its record."""
