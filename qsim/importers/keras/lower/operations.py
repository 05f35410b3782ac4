"""Operations on symbolic tensors that compute: ``x + y``, ``keras.ops.relu(x)``. Keras saves each as its own node.

Most do what a layer does, and are lowered as that layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.keras.lower import merge as lower_merge
from qsim.importers.keras.lower import pool as lower_pool
from qsim.importers.keras.lower import products, rearrangements
from qsim.importers.keras.lower.activation import activate, last_axis
from qsim.importers.keras.lower.context import Context
from qsim.importers.keras.lower.norm import affine
from qsim.importers.keras.lower.operands import BATCH, constant_of, operands, own_axes, own_axis
from qsim.importers.keras.lower.record import Lowering, Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.combine import multiply
from qsim.importers.symbolic.elementwise import leaky
from qsim.importers.symbolic.grid import real_bounds
from qsim.importers.symbolic.shape import reshape
from qsim.importers.symbolic.value import Value, fractions
from qsim.ir.ops import ArgMax, Reduce
from qsim.numerics import Array
from qsim.quantizers.rules import Jump, Steps, Uniform


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
        x, y = operands(node, inputs, "x1", "x2")
        if isinstance(x, Value) and isinstance(y, Value):
            return join(ctx, node, _together(node, [x, y]))
        if isinstance(x, Value):
            return constant(ctx, node, x, constant_of(y), False)
        return constant(ctx, node, y, constant_of(x), True)

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
        bound = None if end is None else constant_of(end)
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


def _reduce(kind: Literal["sum", "max", "min"], mean: bool = False) -> Lowering:
    def lowering(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
        value, axes = inputs[0], own_axes(inputs[0], node.config.get("axis"))
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


def _by_rank(row: str, image: str) -> Lowering:
    """A pooling layer's lowering, for (W, C) or (H, W, C) inputs."""

    def lowering(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value | list[Value]:
        return lower_pool.LAYERS[row if len(inputs[0].shape) == 2 else image].lower(ctx, node, inputs)

    return lowering


def _sign(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    zero = Fraction(0)
    return ctx.quantize(inputs[0], Steps(-1, (Jump(zero, True, 1), Jump(zero, False, 1)), (Fraction(1),)), node)


def _round(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """To the nearest integer, half to even, within what the proven range reaches."""
    low, high = (round(end) for end in real_bounds(ctx.b, inputs[0].settled()))
    return ctx.quantize(inputs[0], Uniform(Fraction(1), low, high, (Fraction(1),)), node)


def _index_of(sign: int) -> Lowering:
    """The first index of the greatest (sign 1) or least (-1) element along an axis."""

    def lowering(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
        if node.config.get("axis") is None:
            raise UnsupportedError(f"it works over all axes, {BATCH}", way_out="name one axis behind the batch")
        value = inputs[0] if sign > 0 and not inputs[0].clamped else ctx.grid(inputs[0], node.name)
        value = ctx.grid(value if sign > 0 else value.affine(-1).but(layer=f"{node.name}.in"), node.name, rising=True)
        axis = own_axis(value, int(node.config["axis"]))
        kept = bool(node.config.get("keepdims"))
        name = f"{node.name}.index" if kept else node.name
        one = fractions(1)
        tensor = ctx.add(ArgMax(inputs=(value.tensor,), output=name, layer=node.name, axis=axis), one, fractions(0))
        if len(value.shape) == 1 and not kept:
            ctx.b.note(f"layer {node.name}: Keras gives one number a sample, qsim a vector of one.")
        result = Value.of(tensor, node.name, ctx.b.tensor(tensor).shape, 1)
        return reshape(ctx, node, result, (*value.shape[:axis], 1, *value.shape[axis + 1 :])) if kept else result

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
    **products.OPERATIONS,
    "Sign": Record(lower=_sign, any_order=True),
    "Round": Record(lower=_round, only={"decimals": (0,)}, any_order=True),
    "Argmax": Record(lower=_index_of(1), reads=_REDUCED),
    "Argmin": Record(lower=_index_of(-1), reads=_REDUCED),
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
    **rearrangements.OPERATIONS,
}
"""Operation -> its record."""

LAYERS: Registry = {f"ops.{name}": record for name, record in OPERATIONS.items()}
