"""Several tensors together, or a tensor and a constant: sums, products, extrema, concatenation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.onnx.attributes import integer
from qsim.importers.onnx.constant import Constant
from qsim.importers.onnx.context import Context, Lower, Made, Operand, Operator, affine, clamp, view_of
from qsim.importers.onnx.fold import axis_of
from qsim.importers.onnx.lower.quantize import unbatched
from qsim.importers.onnx.model import STANDARD, Node
from qsim.importers.onnx.view import View, arranged, channels_last, last, places, settled
from qsim.importers.symbolic.combine import add, concatenated, extremum, multiply
from qsim.importers.symbolic.value import Value
from qsim.numerics import Array

ONE, ZERO = Fraction(1), Fraction(0)


def _against(view: View, constant: Constant) -> Array:
    """A constant that broadcasts against the file's tensor with its batch, as one against the tensor without it."""
    reals = constant.least()
    if reals.ndim > len(view.shape):
        reals = unbatched(reals)
    return reals


def _widened(ctx: Context, view: View, parameter: Array, node: Node) -> View:
    """The view, repeated where the constant is larger along an axis."""
    shape = np.broadcast_shapes(view.shape, parameter.shape)
    return view if shape == view.shape else view.moved(lambda at: np.broadcast_to(at, shape))


def affine_constant(ctx: Context, node: Node, view: View, factor: Array | Fraction, addend: Array | Fraction) -> View:
    """view * factor + addend with one of them an array, pending."""
    f, a = np.asarray(factor, dtype=object), np.asarray(addend, dtype=object)
    if f.size == 1 and a.size == 1:
        made = affine(ctx, view, f.reshape(-1)[0], a.reshape(-1)[0], node.name)
    else:
        view = settled(ctx, _widened(ctx, view, f if f.size > 1 else a, node), node.name)
        value = ctx.grid(view.value, node.name) if view.value.clamped else view.value
        made = view.but(value.affine(view.placed(f), view.placed(a)))
    if not made.value.tensor:
        return made
    if not any(made.value.scale.reshape(-1).tolist()):
        raise UnsupportedError("it multiplies by zero")
    return made.but(made.value.but(layer=node.name))


def _binary(
    tensors: Callable[[Context, Node, View, View], View],
    constant: Callable[[Context, Node, View, Array, bool], View],
) -> Lower:
    """``constant`` gets the view, the constant, and whether the constant stands first."""

    def lower(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
        if len(inputs) != 2:
            raise ModelError(f"node {node.name!r}: {node.label} has {len(inputs)} inputs.")
        a, b = inputs
        if isinstance(a, View) and isinstance(b, Constant):
            return [constant(ctx, node, a, _against(a, b), False)]
        if isinstance(a, Constant) and isinstance(b, View):
            return [constant(ctx, node, b, _against(b, a), True)]
        return [tensors(ctx, node, ctx.ready(view_of(node, inputs, 0)), ctx.ready(view_of(node, inputs, 1)))]

    return lower


def together(ctx: Context, node: Node, views: Sequence[View]) -> tuple[list[Value], Callable[[Value], View]]:
    """The views' values in one order, and what makes a view of a result in that order."""
    first = views[0]
    if all(v.value.shape == first.value.shape and np.array_equal(v.at, first.at) for v in views) and first.whole:
        at = first.at
        return [v.value for v in views], lambda value: View(value=value, at=at, dtype="FLOAT")
    rank = max(len(v.shape) for v in views)
    values = []
    for v in views:
        wide = v.moved(lambda at: at.reshape((1,) * (rank - at.ndim) + at.shape))
        values.append(arranged(ctx, wide, last(rank), node.name))
    return values, lambda value: channels_last(value, "FLOAT")


def _sum(signs: tuple[int, int]) -> Callable[[Context, Node, View, View], View]:
    def made(ctx: Context, node: Node, a: View, b: View) -> View:
        values, back = together(ctx, node, [a, b])
        return back(add(ctx, node, values, list(signs)))

    return made


def _product(ctx: Context, node: Node, a: View, b: View) -> View:
    values, back = together(ctx, node, [a, b])
    return back(multiply(ctx, node, values))


def _quotient(ctx: Context, node: Node, a: View, b: View) -> View:
    raise UnsupportedError("it divides by a tensor", way_out="quantize the inverse, and multiply by it")


def _add_constant(ctx: Context, node: Node, x: View, c: Array, first: bool) -> View:
    if node.name in ctx.taken:
        return x.but(x.value.but(layer=node.name))
    return affine_constant(ctx, node, x, ONE, c)


def _sub_constant(ctx: Context, node: Node, x: View, c: Array, first: bool) -> View:
    return affine_constant(ctx, node, x, -ONE, c) if first else affine_constant(ctx, node, x, ONE, -c)


def _mul_constant(ctx: Context, node: Node, x: View, c: Array, first: bool) -> View:
    return affine_constant(ctx, node, x, c, ZERO)


def _div_constant(ctx: Context, node: Node, x: View, c: Array, first: bool) -> View:
    if first:
        return _quotient(ctx, node, x, x)
    if any(v == 0 for v in c.reshape(-1).tolist()):
        raise UnsupportedError("it divides by zero")
    return affine_constant(ctx, node, x, 1 / c, ZERO)


def _sum_of(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    views = [ctx.ready(view_of(node, inputs, i)) for i in range(len(inputs))]
    values, back = together(ctx, node, views)
    return [back(add(ctx, node, values, [1] * len(values)))]


def _extremum(kind: Literal["max", "min"]) -> Lower:
    def lower(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
        views = [v for v in inputs if isinstance(v, View)]
        for constant in (c for c in inputs if isinstance(c, Constant)):
            if len(views) != 1:
                raise UnsupportedError("it mixes tensors and constants", way_out="take one extremum after the other")
            bound = constant.number("its bound")
            views = [clamp(ctx, views[0], *((bound, None) if kind == "max" else (None, bound)))]
        if len(views) == 1:
            return [views[0]]
        values, back = together(ctx, node, [ctx.ready(v) for v in views])
        return [back(extremum(ctx, node, values, kind))]

    return lower


def _concat(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    views = [ctx.ready(view_of(node, inputs, i)) for i in range(len(inputs))]
    return [concat(ctx, node, views, integer(node, "axis"))]


def concat(ctx: Context, node: Node, views: Sequence[View], axis: int) -> View:
    """The views joined along the file's ``axis``, counted with the batch."""
    rank = len(views[0].shape)
    if any(len(v.shape) != rank for v in views):
        raise ModelError(f"node {node.name!r}: its inputs' ranks differ.")
    along = axis_of(node, axis, rank + 1) - 1
    if along < 0:
        raise UnsupportedError("it joins along the batch")
    if len(views) == 1:
        return views[0]
    if rank == 1 and all(v.whole for v in views):
        # Flat tensors are joined as they are stored.
        values = [arranged(ctx, View(value=v.value, at=places(v.shape), dtype=v.dtype), (0,), node.name) for v in views]
        starts = np.cumsum([0, *(v.shape[0] for v in views)])
        at = np.concatenate([v.at + start for v, start in zip(views, starts, strict=False)])
        return View(value=concatenated(ctx, node, values, 0), at=at, dtype=views[0].dtype)
    order = last(rank)
    values = [arranged(ctx, v, order, node.name) for v in views]
    made = concatenated(ctx, node, values, order.index(along))
    return channels_last(made, views[0].dtype)


OPERATORS = {
    (STANDARD, "Add"): Operator(_binary(_sum((1, 1)), _add_constant), symbolic=True),
    (STANDARD, "Sub"): Operator(_binary(_sum((1, -1)), _sub_constant), symbolic=True),
    (STANDARD, "Mul"): Operator(_binary(_product, _mul_constant), symbolic=True),
    (STANDARD, "Div"): Operator(_binary(_quotient, _div_constant), symbolic=True),
    (STANDARD, "Sum"): Operator(_sum_of),
    (STANDARD, "Max"): Operator(_extremum("max"), symbolic=True),
    (STANDARD, "Min"): Operator(_extremum("min"), symbolic=True),
    (STANDARD, "Concat"): Operator(_concat, reads=("axis",)),
}
