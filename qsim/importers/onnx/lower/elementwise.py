"""Functions of one tensor: clamps and affine functions stay pending, real functions wait for their quantizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

from qsim.errors import UnsupportedError
from qsim.importers.onnx.attributes import integer, number, text
from qsim.importers.onnx.constant import INTEGERS
from qsim.importers.onnx.context import (
    Context,
    Lower,
    Made,
    Operand,
    Operator,
    affine,
    clamp,
    constant_of,
    optional,
    view_of,
)
from qsim.importers.onnx.fold import TYPES
from qsim.importers.onnx.model import STANDARD, Node
from qsim.importers.onnx.view import View, settled
from qsim.importers.symbolic.combine import add, multiply
from qsim.importers.symbolic.elementwise import leaky
from qsim.importers.symbolic.value import float32

ZERO, ONE = Fraction(0), Fraction(1)


def _named(view: View, node: Node) -> View:
    """The view, belonging to the node (a model input keeps its own name until a quantizer takes it)."""
    return view if not view.value.tensor else view.but(view.value.but(layer=node.name))


def _relu(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    return [_named(clamp(ctx, view_of(node, inputs), ZERO, None), node)]


def _clip(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = view_of(node, inputs)
    ends: list[Fraction | None] = []
    for position, name in ((1, "min"), (2, "max")):
        found = optional(node, inputs, position, f"its {name}")
        if found is not None:
            ends.append(found.number(f"its {name}"))
        elif name in node.attributes:
            ends.append(Fraction(number(node, name)))
        else:
            ends.append(None)
    return [_named(clamp(ctx, view, *ends), node)]


def _leaky(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = ctx.ready(settled(ctx, view_of(node, inputs), node.name))
    return [view.but(leaky(ctx, node, view.value, number(node, "alpha", 0.01)))]


def _prelu(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """max(x, 0) + slope * min(x, 0); one slope, or one per channel."""
    view = ctx.ready(settled(ctx, view_of(node, inputs), node.name))
    slope = constant_of(node, inputs, 1, "its slope").least()
    if slope.size == 1:
        return [view.but(leaky(ctx, node, view.value, float(slope.item())))]
    value = ctx.grid(view.value, node.name, rising=True)
    above, below = value.clamp(ZERO, None), value.clamp(None, ZERO)
    upper = ctx.grid(above.but(layer=f"{node.name}.above"), node.name)
    lower = ctx.grid(below.but(layer=f"{node.name}.below"), node.name)
    scaled = view.but(lower).placed(slope)
    return [view.but(add(ctx, node, [upper, lower.affine(scaled)], [1, 1]))]


def _abs(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = ctx.ready(settled(ctx, view_of(node, inputs), node.name))
    return [view.but(leaky(ctx, node, view.value, -1.0))]


def _neg(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    return [_named(affine(ctx, view_of(node, inputs), -ONE, ZERO, node.name), node)]


def _function(name: str) -> Lower:
    def lower(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
        view = settled(ctx, ctx.ready(view_of(node, inputs)), node.name)
        return [view.but(view.value.settled().but(boundary=name, layer=node.name))]

    return lower


def _elu(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    if number(node, "alpha", 1.0) != 1.0:
        raise UnsupportedError(f"its alpha is {number(node, 'alpha')}", way_out="use alpha=1")
    return _function("elu")(ctx, node, inputs)


def _gelu(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    if text(node, "approximate", "none") != "none":
        raise UnsupportedError("it approximates gelu by a tanh", way_out="use approximate='none'")
    return _function("gelu")(ctx, node, inputs)


def _softmax(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = ctx.ready(view_of(node, inputs))
    rank = len(view.shape) + 1
    axis = integer(node, "axis", -1 if node.version >= 13 else 1)
    flattens = node.version < 13 and axis % rank != rank - 1 and any(n != 1 for n in view.shape[axis % rank :])
    if axis % rank != rank - 1 or (flattens and rank > 2):
        raise UnsupportedError(f"its axis is {axis} of {rank}", way_out="take the softmax along the last axis")
    return _function("softmax")(ctx, node, inputs)


def _hard_sigmoid(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """min(max(alpha * x + beta, 0), 1)."""
    alpha, beta = (float32(number(node, key, d)).item() for key, d in (("alpha", 0.2), ("beta", 0.5)))
    moved = affine(ctx, ctx.ready(view_of(node, inputs)), alpha, beta, node.name)
    return [_named(clamp(ctx, moved, ZERO, ONE), node)]


def _hard_swish(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """x * min(max(x / 6 + 1/2, 0), 1)."""
    view = settled(ctx, ctx.ready(view_of(node, inputs)), node.name)
    value = ctx.grid(view.value, node.name)
    gate = value.affine(Fraction(1, 6), Fraction(1, 2)).clamp(ZERO, ONE)
    gate = ctx.grid(gate.but(layer=f"{node.name}.gate"), node.name)
    return [view.but(multiply(ctx, node, [value, gate]))]


def _identity(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = view_of(node, inputs)
    return [view for _ in node.outputs[:1]]


def _dropout(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    mode = optional(node, inputs, 2, "its training mode")
    if mode is not None and mode.number("its training mode"):
        raise UnsupportedError("it drops values at random (training_mode)", way_out="export the model in eval mode")
    return _identity(ctx, node, inputs)


def _cast(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """Between types that hold every value exactly."""
    view, kind = view_of(node, inputs), TYPES.get(integer(node, "to"))
    if kind in ("FLOAT", "DOUBLE"):
        return [dataclasses.replace(view, dtype=kind)]
    if kind in INTEGERS and kind != "BOOL" and view.value.tensor:
        value = view.value.settled()
        parts = [*value.scale.reshape(-1).tolist(), *value.offset.reshape(-1).tolist()]
        low, high = INTEGERS[kind]
        if all(p.denominator == 1 for p in parts) and not value.clamped:
            codes = ctx.b.tensor(value.tensor).range
            ends = [c * s + o for c in codes for s in value.scale.reshape(-1) for o in value.offset.reshape(-1)]
            if min(ends) >= low and max(ends) <= high:
                return [dataclasses.replace(view, dtype=kind)]
    raise UnsupportedError(f"it casts real values to {kind or integer(node, 'to')}", way_out="use a quantizer")


OPERATORS = {
    (STANDARD, "Relu"): Operator(_relu, symbolic=True),
    (STANDARD, "Clip"): Operator(_clip, reads=("min", "max"), symbolic=True),
    (STANDARD, "LeakyRelu"): Operator(_leaky, reads=("alpha",)),
    (STANDARD, "PRelu"): Operator(_prelu),
    (STANDARD, "Abs"): Operator(_abs),
    (STANDARD, "Neg"): Operator(_neg),
    (STANDARD, "Sigmoid"): Operator(_function("sigmoid")),
    (STANDARD, "Tanh"): Operator(_function("tanh")),
    (STANDARD, "Softplus"): Operator(_function("softplus")),
    (STANDARD, "Softsign"): Operator(_function("softsign")),
    (STANDARD, "Mish"): Operator(_function("mish")),
    (STANDARD, "Elu"): Operator(_elu, reads=("alpha",)),
    (STANDARD, "Gelu"): Operator(_gelu, reads=("approximate",)),
    (STANDARD, "Softmax"): Operator(_softmax, reads=("axis",)),
    (STANDARD, "HardSigmoid"): Operator(_hard_sigmoid, reads=("alpha", "beta")),
    (STANDARD, "HardSwish"): Operator(_hard_swish),
    (STANDARD, "Identity"): Operator(_identity, symbolic=True),
    (STANDARD, "Dropout"): Operator(_dropout, idle=("ratio", "seed"), symbolic=True),
    (STANDARD, "Cast"): Operator(_cast, reads=("to",), idle=("saturate", "round_mode"), symbolic=True),
}
