"""Sums of products of two tensors: ``Dot``, ``keras.ops.matmul``, ``keras.ops.einsum``."""

from __future__ import annotations

import dataclasses
import math

from qsim.errors import UnsupportedError
from qsim.importers.keras.lower.context import Context
from qsim.importers.keras.lower.operands import BATCH
from qsim.importers.keras.lower.record import Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.combine import matrix_product
from qsim.importers.symbolic.shape import reshape, transpose
from qsim.importers.symbolic.value import Value

PLAIN = "use normalize=False"


def _matmul(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    if len(inputs) != 2:
        raise UnsupportedError("it multiplies by a constant", way_out="use a QDense without bias")
    return matrix_product(ctx, node, inputs)


def _dot(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    """Over one axis of each: a's others, then b's others (keras.src.layers.merging.dot); vectors give one number."""
    if node.config.get("normalize"):
        raise UnsupportedError("it divides by the tensors' lengths, whose roots have no exact integers", way_out=PLAIN)
    axes, letters = node.config["axes"], ["ijk"[: len(inputs[0].shape)], "xyz"[: len(inputs[1].shape)]]
    if max(len(v.shape) for v in inputs) > 2:
        shapes = " and ".join(str(v.shape) for v in inputs)
        raise UnsupportedError(f"it joins tensors of {shapes}", way_out="reshape them to matrices, or use ops.matmul")
    for i, axis in enumerate(axes if isinstance(axes, list | tuple) else [axes, axes]):
        own = axis + len(inputs[i].shape) if axis < 0 else axis - 1
        if not 0 <= own < len(inputs[i].shape):
            raise UnsupportedError(f"its axes are {axes}, {BATCH}")
        letters[i] = letters[i].replace(letters[i][own], "s")
    return _summed(ctx, node, inputs, letters[0], letters[1], "".join(letters).replace("s", ""))


def _einsum(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value:
    text = str(node.config["subscripts"]).replace(" ", "")
    parts = text.replace("->", ",").split(",")
    if len(inputs) != 2 or len(parts) != 3 or "->" not in text or not all(p.isalpha() for p in parts):
        raise UnsupportedError(f"its subscripts are {text!r}", way_out="use two tensors and '->', such as bij,bjk->bik")
    if len({p[0] for p in parts}) > 1 or any(parts[0][0] in p[1:] for p in parts):
        raise UnsupportedError(f"its subscripts {text!r} do not begin with the batch, {BATCH}")
    if len(parts[2]) == 1:
        raise UnsupportedError(
            f"its subscripts {text!r} leave one number a sample, which has no axis", way_out="keep an axis, or use Dot"
        )
    return _summed(ctx, node, inputs, *(p[1:] for p in parts))


def _summed(ctx: Context, node: LayerNode, inputs: list[Value], a: str, b: str, out: str) -> Value:
    """The sum over the axes that only a and b have, by one matrix product; each letter an axis, without the batch."""
    lead = [c for c in out if c in a and c in b]
    over = [c for c in a if c in b and c not in out]
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]
    distinct = all(len(set(letters)) == len(letters) for letters in (a, b, out))
    if not distinct or set(out) != {*lead, *rows, *columns}:
        raise UnsupportedError(f"it sums {a},{b}->{out}", way_out="sum over axes that both tensors have, and no other")
    sizes = {c: n for letters, v in zip((a, b), inputs, strict=True) for c, n in zip(letters, v.shape, strict=True)}

    def arranged(value: Value, letters: str, order: list[str], shape: list[int], name: str) -> Value:
        perm = tuple(letters.index(c) for c in order)
        if perm != tuple(range(len(perm))):
            value = transpose(ctx, dataclasses.replace(node, name=f"{node.name}.{name}.order"), value, perm)
        return reshape(ctx, dataclasses.replace(node, name=f"{node.name}.{name}"), value, tuple(shape))

    def size(letters: list[str]) -> int:
        return math.prod(sizes[c] for c in letters)

    outer = [sizes[c] for c in lead]
    left = arranged(inputs[0], a, [*lead, *rows, *over], [*outer, size(rows), size(over)], "a")
    right = arranged(inputs[1], b, [*lead, *over, *columns], [*outer, size(over), size(columns)], "b")
    made = [*lead, *rows, *columns]
    shape = tuple(sizes[c] for c in made) or (1,)
    moved, product_shape = made != list(out), (*outer, size(rows), size(columns))
    product = node if product_shape == shape and not moved else dataclasses.replace(node, name=f"{node.name}.product")
    result = matrix_product(ctx, product, [left.but(layer=inputs[0].layer), right.but(layer=inputs[1].layer)])
    unordered = dataclasses.replace(node, name=f"{node.name}.shaped") if moved else node
    result = reshape(ctx, unordered, result, shape).but(layer=node.name)
    return transpose(ctx, node, result, tuple(made.index(c) for c in out)) if moved else result


LAYERS: Registry = {"Dot": Record(lower=_dot, reads=("axes", "normalize"))}

OPERATIONS: Registry = {
    "Matmul": Record(lower=_matmul, takes=("x1", "x2")),
    "Einsum": Record(lower=_einsum, reads=("subscripts",)),
}
