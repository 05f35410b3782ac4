"""Operations on symbolic tensors: ``x + y``, ``keras.ops.relu(x)``, ``x[:, 1:]``. Keras saves each as its own node.

Most do what a layer does, and are lowered as that layer. Their axes and shapes count the batch, which none may touch.
Rule of the arguments: keras.src.ops.numpy and keras.src.ops.nn; constants are float32 numbers, as in Keras' own run.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.keras.lower import merge as lower_merge
from qsim.importers.keras.lower import pool as lower_pool
from qsim.importers.keras.lower.activation import activate, last_axis
from qsim.importers.keras.lower.context import Context
from qsim.importers.keras.lower.norm import affine
from qsim.importers.keras.lower.record import Lowering, Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.combine import multiply
from qsim.importers.symbolic.elementwise import leaky
from qsim.importers.symbolic.shape import fitting, padded, rearrange, reshape, sliced, transpose
from qsim.importers.symbolic.value import Value, float32, fractions
from qsim.ir.ops import Reduce
from qsim.numerics import Array

BATCH = "which changes the batch's dimension; a graph is one input's computation"


def _constant(number: Any) -> Array:
    """``float32``. Raises UnsupportedError for arrays of float64 that are none: Keras then computes in float64."""
    given = np.asarray(number, dtype=np.float64)
    if given.ndim and not np.array_equal(given.astype(np.float32), given, equal_nan=True):
        raise UnsupportedError("its constant holds float64 numbers", way_out="give it as a float32 array")
    return float32(given)


def _operands(node: LayerNode, inputs: list[Value], *names: str) -> list[Any]:
    """The call's arguments in the order of ``names``: tensors as their values, everything else as it stands."""
    call = node.config.get("call")
    if call is None:
        return list(inputs)
    found = list(call["args"]) + [call["kwargs"].get(name) for name in names[len(call["args"]) :]]
    return [inputs[v["tensor"]] if isinstance(v, dict) and set(v) == {"tensor"} else v for v in found]


def _affine(ctx: Context, node: LayerNode, value: Value, factor: Any, addend: Any) -> Value:
    """value * factor + addend for constants that broadcast to the value's shape, perhaps with a batch of one."""
    parts: list[Array] = []
    for part in (fractions(factor), fractions(addend)):
        if part.ndim == len(value.shape) + 1 and part.shape[0] == 1:
            part = part[0]
        if part.ndim > len(value.shape) or np.broadcast_shapes(part.shape, value.shape) != value.shape:
            raise UnsupportedError(f"its constant of shape {part.shape} is larger than its input {value.shape}")
        parts.append(part)
    return affine(ctx, node, value, parts[0], parts[1])


def _together(node: LayerNode, values: list[Value]) -> list[Value]:
    if len({len(v.shape) for v in values}) > 1:
        shapes = " and ".join(str(v.shape) for v in values)
        raise UnsupportedError(
            f"it joins tensors of {shapes}, {BATCH}", way_out="reshape them to the same number of dimensions"
        )
    return values


def _binary(join: Lowering, constant: Callable[[Context, LayerNode, Value, Array, bool], Value]) -> Lowering:
    """``join`` for two tensors; ``constant(ctx, node, x, c, first)`` for one and c, which stands first or second."""

    def lowering(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value | list[Value]:
        x, y = _operands(node, inputs, "x1", "x2")
        if isinstance(x, Value) and isinstance(y, Value):
            return join(ctx, node, _together(node, [x, y]))
        if isinstance(x, Value):
            return constant(ctx, node, x, _constant(y), False)
        return constant(ctx, node, y, _constant(x), True)

    return lowering


def _add_constant(ctx: Context, node: LayerNode, x: Value, c: Array, first: bool) -> Value:
    return _affine(ctx, node, x, 1, c)


def _subtract_constant(ctx: Context, node: LayerNode, x: Value, c: Array, first: bool) -> Value:
    return _affine(ctx, node, x, -1, c) if first else _affine(ctx, node, x, 1, -c)


def _multiply_constant(ctx: Context, node: LayerNode, x: Value, c: Array, first: bool) -> Value:
    return _affine(ctx, node, x, c, 0)


def _divide_constant(ctx: Context, node: LayerNode, x: Value, c: Array, first: bool) -> Value:
    if first:
        return _no_division(ctx, node, [x])
    if any(v == 0 for v in c.reshape(-1)):
        raise UnsupportedError("it divides by zero")
    return _affine(ctx, node, x, 1 / c, 0)


def _no_division(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    raise UnsupportedError("it divides by a tensor", way_out="quantize the inverse, and multiply by it")


def _bound(ctx: Context, node: LayerNode, value: Value, low: Any, high: Any) -> Value:
    ends = []
    for end in (low, high):
        bound = None if end is None else _constant(end)
        if bound is not None and bound.size != 1:
            raise UnsupportedError("its bounds differ by element", way_out="use one number")
        ends.append(None if bound is None else bound.item())
    return value.clamp(*ends).but(layer=node.name)


def _max_constant(ctx: Context, node: LayerNode, x: Value, c: Array, first: bool) -> Value:
    return _bound(ctx, node, x, c, None)


def _min_constant(ctx: Context, node: LayerNode, x: Value, c: Array, first: bool) -> Value:
    return _bound(ctx, node, x, None, c)


def _clip(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return _bound(ctx, node, inputs[0], node.config.get("x_min"), node.config.get("x_max"))


def _negative(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return _affine(ctx, node, inputs[0], -1, 0)


def _absolute(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return leaky(ctx, node, inputs[0], -1.0)


def _square(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return multiply(ctx, node, [inputs[0], inputs[0]])


def _activation(name: str) -> Lowering:
    def lowering(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
        last_axis(inputs[0], node.config.get("axis", -1))
        return activate(ctx, node, inputs[0], name)

    return lowering


def _leaky_relu(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    return leaky(ctx, node, inputs[0], float(node.config.get("negative_slope", 0.2)))


def _axis(value: Value, axis: int, rank: int | None = None) -> int:
    """The axis without the batch, of a result of ``rank`` dimensions without it (default: the value's)."""
    rank = len(value.shape) if rank is None else rank
    inner = axis + rank if axis < 0 else axis - 1
    if not 0 <= inner < rank:
        raise UnsupportedError(f"its axis is {axis}, {BATCH}")
    return inner


def _axes(value: Value, given: Any) -> tuple[int, ...]:
    if given is None:
        raise UnsupportedError(f"it works over all axes, {BATCH}", way_out="name the axes behind the batch")
    axes = given if isinstance(given, list | tuple) else [given]
    return tuple(sorted(_axis(value, int(a)) for a in axes))


def _reduce(kind: Literal["sum", "max", "min"], mean: bool = False) -> Lowering:
    def lowering(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
        value, axes = inputs[0], _axes(inputs[0], node.config.get("axis"))
        # A maximum is that of the codes where no axis joins channels of different meaning.
        apart = kind != "sum" and len(value.shape) - 1 not in axes
        value = ctx.rising(value, node.name) if apart else ctx.grid(value, node.name, rising=True)
        tensor = ctx.add(
            Reduce(
                inputs=(value.tensor,),
                output=f"{node.name}.sum" if mean else f"{node.name}.codes" if value.clamped else node.name,
                layer=node.name,
                kind=kind,
                axes=axes,
                keepdims=bool(node.config.get("keepdims")),
            ),
            value.scale,
            value.offset,
        )
        result = value.but(tensor=tensor, layer=node.name, shape=ctx.b.tensor(tensor).shape)
        if node.config.get("initial") is not None:
            start = node.config["initial"]
            return _bound(ctx, node, result, start, None) if kind == "max" else _bound(ctx, node, result, None, start)
        return result.affine(Fraction(1, math.prod(value.shape[a] for a in axes))) if mean else result

    return lowering


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
    axes = sorted(_axis(value, int(axis), len(value.shape) + len(listed)) for axis in listed)
    shape = list(value.shape)
    for axis in axes:
        shape.insert(axis, 1)
    return reshape(ctx, node, value, tuple(shape))


def _squeeze(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    axes = _axes(inputs[0], node.config.get("axis"))
    return reshape(ctx, node, inputs[0], tuple(n for i, n in enumerate(inputs[0].shape) if i not in axes))


def _pad(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    filling = [*_operands(node, inputs, "x", "constant_values"), None][1]
    batch, *pads = ([int(n) for n in pad] for pad in node.config["pad_width"])
    if node.config.get("mode", "constant") != "constant" or filling:
        raise UnsupportedError("it pads with other than zeros", way_out="use mode='constant' with zeros")
    if any(batch):
        raise UnsupportedError(f"it pads the first axis, {BATCH}")
    return padded(ctx, node, inputs[0], tuple((before, after) for before, after in pads))


def _split(ctx: Context, node: LayerNode, inputs: list[Value]) -> list[Value]:
    value = inputs[0]
    axis = _axis(value, int(node.config.get("axis", 0)))
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
    axis = _axis(inputs[0], int(node.config.get("axis", 0)), len(inputs[0].shape) + 1)
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
    axis, n = _axes(inputs[0], node.config.get("axis"))[0], node.config["repeats"]
    return rearrange(ctx, node, inputs[0], lambda a: np.repeat(a, n, axis=axis))


def _flip(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    axes = _axes(inputs[0], node.config.get("axis"))
    return rearrange(ctx, node, inputs[0], lambda a: np.flip(a, axes))


def _get_item(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """x[key] for slices, integers, Ellipsis and None behind a first slice that keeps the whole batch."""
    value, key = _operands(node, inputs, "x", "key")
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


def _by_rank(row: str, image: str) -> Lowering:
    """A pooling layer's lowering, for (W, C) or (H, W, C) inputs."""

    def lowering(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value | list[Value]:
        return lower_pool.LAYERS[row if len(inputs[0].shape) == 2 else image].lower(ctx, node, inputs)

    return lowering


def _one(name: str) -> Record:
    return Record(lower=_activation(name), any_order=True)


def _two(layer: str, constant: Callable[[Context, LayerNode, Value, Array, bool], Value]) -> Record:
    return Record(lower=_binary(lower_merge.LAYERS[layer].lower, constant), takes=("x1", "x2"))


_DIVIDE = Record(lower=_binary(_no_division, _divide_constant), takes=("x1", "x2"))
_ABSOLUTE = Record(lower=_absolute, any_order=True)
_REDUCED = ("axis", "keepdims")
_POOLED = ("pool_size", "strides", "padding")

OPERATIONS: Registry = {
    "Add": _two("Add", _add_constant),
    "Subtract": _two("Subtract", _subtract_constant),
    "Multiply": _two("Multiply", _multiply_constant),
    "Divide": _DIVIDE,
    "TrueDivide": _DIVIDE,
    "Maximum": _two("Maximum", _max_constant),
    "Minimum": _two("Minimum", _min_constant),
    "Clip": Record(lower=_clip, reads=("x_min", "x_max"), any_order=True),
    "Negative": Record(lower=_negative, any_order=True),
    "Absolute": _ABSOLUTE,
    "Abs": _ABSOLUTE,
    "Square": Record(lower=_square, any_order=True),
    "Relu": _one("relu"),
    "Relu6": _one("relu6"),
    "LeakyRelu": Record(lower=_leaky_relu, reads=("negative_slope",), any_order=True),
    "HardSigmoid": _one("hard_sigmoid"),
    "Softmax": Record(lower=_activation("softmax"), reads=("axis",)),
    "Sigmoid": _one("sigmoid"),
    "Tanh": _one("tanh"),
    "Silu": _one("silu"),
    "Softplus": _one("softplus"),
    "Softsign": _one("softsign"),
    "Selu": _one("selu"),
    "Mish": _one("mish"),
    "HardSilu": _one("hard_silu"),
    "Sum": Record(lower=_reduce("sum"), reads=_REDUCED),
    "Mean": Record(lower=_reduce("sum", mean=True), reads=_REDUCED),
    "Max": Record(lower=_reduce("max"), reads=(*_REDUCED, "initial")),
    "Min": Record(lower=_reduce("min"), reads=(*_REDUCED, "initial")),
    "MaxPool": Record(lower=_by_rank("MaxPooling1D", "MaxPooling2D"), reads=_POOLED),
    "AveragePool": Record(lower=_by_rank("AveragePooling1D", "AveragePooling2D"), reads=_POOLED),
    "Concatenate": lower_merge.LAYERS["Concatenate"],
    "Stack": Record(lower=_stack, reads=("axis",)),
    "Split": Record(lower=_split, reads=("indices_or_sections", "sizes", "axis")),
    "GetItem": Record(lower=_get_item, takes=("x", "key")),
    "Reshape": Record(lower=_reshape, reads=("newshape",)),
    "Transpose": Record(lower=_transpose, reads=("axes",)),
    "ExpandDims": Record(lower=_expand_dims, reads=("axis",)),
    "Squeeze": Record(lower=_squeeze, reads=("axis",)),
    "Pad": Record(lower=_pad, reads=("pad_width", "mode"), takes=("x", "constant_values")),
    "Repeat": Record(lower=_repeat, reads=("repeats", "axis")),
    "Flip": Record(lower=_flip, reads=("axis",)),
}
"""Operation -> its record."""

LAYERS: Registry = {f"ops.{name}": record for name, record in OPERATIONS.items()}
