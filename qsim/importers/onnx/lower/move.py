"""Operators that move, repeat or drop elements: they change where the file's elements lie, and cost nothing until an
operator needs them in some order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.onnx.attributes import integer, integers, text
from qsim.importers.onnx.context import Context, Made, Operand, Operator, constant_of, optional, view_of
from qsim.importers.onnx.fold import (
    axis_of,
    given,
    reshaped_shape,
    shape_of,
    slices,
    split_sizes,
    squeezed_shape,
    taken,
    unsqueezed_shape,
)
from qsim.importers.onnx.model import STANDARD, Node
from qsim.importers.onnx.view import View, arranged, channels_last, last
from qsim.importers.symbolic.value import Value
from qsim.ir import ops as o
from qsim.numerics import Array

BATCH = "and the first axis is the batch"


def _kept(ctx: Context, node: Node, view: View, shape: Sequence[int]) -> View:
    """The view in another shape with the batch first, which must stay."""
    if not shape or shape[0] != ctx.batch:
        raise UnsupportedError(f"it makes the shape {list(shape)} of a batch of {ctx.batch}", way_out="keep the batch")
    return view.moved(lambda at: at.reshape(tuple(shape[1:]) or (1,)))


def _full(ctx: Context, view: View) -> tuple[int, ...]:
    """The view's shape with the batch."""
    return (ctx.batch, *view.shape)


def _reshape(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = view_of(node, inputs)
    target = constant_of(node, inputs, 1, "its shape").integers("its shape")
    if target and target[0] == -1 and math.prod(target[1:]) == math.prod(view.shape) > 0:
        return [view.moved(lambda at: at.reshape(tuple(target[1:])))]
    return [_kept(ctx, node, view, reshaped_shape(node, _full(ctx, view), target))]


def _flatten(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = view_of(node, inputs)
    if axis_of(node, integer(node, "axis", 1), len(view.shape) + 1) != 1:
        raise UnsupportedError(f"it flattens at axis {integer(node, 'axis', 1)}, {BATCH}", way_out="use axis=1")
    return [view.moved(lambda at: at.reshape(-1))]


def _squeeze(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = view_of(node, inputs)
    axes = given(node, [None, *inputs[1:]], 1, "axes")
    if axes is None:
        raise UnsupportedError("it squeezes whatever has one element, the batch too", way_out="name its axes")
    return [_kept(ctx, node, view, squeezed_shape(node, _full(ctx, view), axes))]


def _unsqueeze(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = view_of(node, inputs)
    axes = given(node, [None, *inputs[1:]], 1, "axes")
    shape = unsqueezed_shape(node, _full(ctx, view), axes)
    if any(axis_of(node, a, len(shape)) == 0 for a in axes or ()):
        raise UnsupportedError(f"it adds an axis in front, {BATCH}")
    return [_kept(ctx, node, view, shape)]


def _transpose(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = view_of(node, inputs)
    perm = integers(node, "perm") or list(range(len(view.shape) + 1))[::-1]
    if sorted(perm) != list(range(len(view.shape) + 1)):
        raise ModelError(f"node {node.name!r}: its perm {perm} does not fit {len(view.shape) + 1} dimensions.")
    if perm[0] != 0:
        raise UnsupportedError(f"its perm {perm} moves the first axis, {BATCH}")
    return [view.moved(lambda at: at.transpose([p - 1 for p in perm[1:]]))]


def _slice(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = view_of(node, inputs)
    box = slices(node, [None, *inputs[1:]], _full(ctx, view))
    if len(range(*box[0].indices(ctx.batch))) != ctx.batch or (box[0].step or 1) < 0:
        raise UnsupportedError(f"it slices the first axis, {BATCH}")
    made = view.moved(lambda at: at[box[1:]])
    if not made.at.size:
        raise ModelError(f"node {node.name!r}: nothing is left of {list(view.shape)}.")
    return [made]


def _split(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = view_of(node, inputs)
    axis = axis_of(node, integer(node, "axis", 0), len(view.shape) + 1)
    if axis == 0:
        raise UnsupportedError(f"it splits the first axis, {BATCH}")
    sizes = split_sizes(node, [None, *inputs[1:]], view.shape[axis - 1])
    ends = np.cumsum(sizes).tolist()
    return [view.moved(taken(range(a, b), axis - 1)) for a, b in zip([0, *ends], ends)]


def _gather(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """Elements at constant positions of one axis."""
    view, index = view_of(node, inputs), constant_of(node, inputs, 1, "its index")
    axis = axis_of(node, integer(node, "axis", 0), len(view.shape) + 1)
    if axis == 0:
        raise UnsupportedError(f"it gathers along the first axis, {BATCH}")
    where = np.array(index.integers("its index"), dtype=np.int64).reshape(index.shape)
    size = view.shape[axis - 1]
    if where.size == 0 or where.min() < -size or where.max() >= size:
        raise ModelError(f"node {node.name!r}: an index lies outside {size} elements.")
    made = view.moved(lambda at: np.take(at, where % size, axis=axis - 1))
    return [made if made.shape else made.moved(lambda at: at.reshape(1))]


def _expand(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view = view_of(node, inputs)
    target = constant_of(node, inputs, 1, "its shape").integers("its shape")
    try:
        shape = np.broadcast_shapes(_full(ctx, view), tuple(target))
    except ValueError as error:
        raise ModelError(f"node {node.name!r}: {list(view.shape)} does not expand to {target}.") from error
    if shape[0] != ctx.batch or len(shape) != len(view.shape) + 1:
        raise UnsupportedError(f"it repeats along the first axis, {BATCH}")
    return [view.moved(lambda at: np.broadcast_to(at, shape[1:]))]


def _shape(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    return list(shape_of(node, _full(ctx, view_of(node, inputs))))


def _pad(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """Constants, the edge or mirrored elements around the tensor."""
    view, mode = view_of(node, inputs), text(node, "mode", "constant")
    pads = given(node, [None, *inputs[1:]], 1, "pads")
    axes = optional(node, inputs, 3, "its axes")
    rank = len(view.shape) + 1
    if pads is None:
        raise ModelError(f"node {node.name!r}: Pad lacks its pads.")
    chosen = list(range(rank)) if axes is None else [axis_of(node, a, rank) for a in axes.integers("its axes")]
    if len(pads) != 2 * len(chosen):
        raise ModelError(f"node {node.name!r}: pads {pads} for {len(chosen)} axes.")
    pairs = [(0, 0)] * rank
    for i, a in enumerate(chosen):
        pairs[a] = pads[i], pads[i + len(chosen)]
    if pairs[0] != (0, 0):
        raise UnsupportedError(f"it pads the first axis, {BATCH}")
    if any(p < 0 for pair in pairs for p in pair):
        cut = tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pairs[1:], view.shape, strict=True))
        view = view.moved(lambda at: at[cut])
        pairs = [(max(a, 0), max(b, 0)) for a, b in pairs]
    if mode in ("edge", "reflect", "wrap"):
        return [view.moved(lambda at: np.pad(at, pairs[1:], mode=mode))]  # type: ignore[call-overload]
    if mode != "constant":
        raise UnsupportedError(f"its mode is {mode!r}", way_out="use constant, edge, reflect or wrap")
    filling = Fraction(0)
    found = optional(node, inputs, 2, "its value")
    if found is not None and found.codes.size:
        filling = found.number("its value")
    elif isinstance(node.attributes.get("value"), float):
        filling = Fraction(float(str(node.attributes["value"])))
    return [_filled(ctx, node, ctx.ready(view), pairs[1:], filling)]


def _filled(ctx: Context, node: Node, view: View, pairs: Sequence[tuple[int, int]], filling: Fraction) -> View:
    order = last(len(view.shape))
    value = arranged(ctx, view, order, node.name)
    code = _code(value, filling)
    if code is None:
        value = ctx.grid(value, node.name)
        code = _code(value, filling)
    if code is None:
        raise UnsupportedError(f"it pads with {float(filling):g}, which is no code of its input", way_out="pad with 0")
    pads = tuple(pairs[a] for a in order)
    shape = tuple(n + a + b for n, (a, b) in zip(value.shape, pads, strict=True))
    name = f"{node.name}.codes" if value.clamped else node.name
    made = o.Pad(inputs=(value.tensor,), output=name, layer=node.name, pads=pads, value=code)
    tensor = ctx.add(made, value.scale, value.offset)
    return channels_last(value.but(tensor=tensor, layer=node.name, shape=shape), view.dtype)


def _code(value: Value, real: Fraction) -> int | None:
    """The one code of a real number, unclamped."""
    value.settled()
    if value.scale.size > 1 or value.offset.size > 1 or (value.clamped and not _inside(value, real)):
        return None
    code = (real - value.offset.item()) / value.scale.item()
    return int(code) if code.denominator == 1 else None


def _inside(value: Value, real: Fraction) -> bool:
    return (value.floor is None or value.floor <= real) and (value.ceiling is None or value.ceiling >= real)


def _resize(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """Nearest neighbours: output i takes the input at round(f(i)), f by the coordinate transformation."""
    view = view_of(node, inputs)
    if node.version < 11:
        scales = optional(node, inputs, 1, "its scales")
        sizes, transformation, nearest = None, "asymmetric", "floor"
    else:
        scales, sizes = optional(node, inputs, 2, "its scales"), optional(node, inputs, 3, "its sizes")
        transformation = text(node, "coordinate_transformation_mode", "half_pixel")
        nearest = text(node, "nearest_mode", "round_prefer_floor")
    if text(node, "mode", "nearest") != "nearest":
        raise UnsupportedError(
            f"its mode {text(node, 'mode', 'nearest')!r} makes values between the codes", way_out="use nearest"
        )
    full = _full(ctx, view)
    if text(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedError("it keeps an aspect ratio", way_out="use stretch")
    axes = integers(node, "axes") or list(range(len(full)))
    factors: list[Fraction] = [Fraction(1)] * len(full)
    target = list(full)
    if sizes is not None and sizes.codes.size:
        for a, n in zip(axes, sizes.integers("its sizes"), strict=True):
            target[a], factors[a] = n, Fraction(n, full[a])
    elif scales is not None and scales.codes.size == len(axes):
        for a, s in zip(axes, scales.reals().reshape(-1).tolist(), strict=True):
            target[a], factors[a] = int(full[a] * s), s
    else:
        raise ModelError(f"node {node.name!r}: Resize has neither scales nor sizes.")
    if target[0] != full[0] or any(n < 1 for n in target):
        raise UnsupportedError(f"it resizes {list(full)} to {target}, {BATCH}")
    made = view
    for a in range(1, len(full)):
        source = [_nearest(node, i, full[a], target[a], factors[a], transformation, nearest) for i in range(target[a])]
        made = made.moved(taken(source, a - 1))
    return [made]


def _nearest(node: Node, i: int, size: int, target: int, factor: Fraction, transformation: str, nearest: str) -> int:
    """The input position that output position i repeats."""
    half = Fraction(1, 2)
    match transformation:
        case "half_pixel":
            x = (i + half) / factor - half
        case "pytorch_half_pixel":
            x = (i + half) / factor - half if target > 1 else Fraction(0)
        case "asymmetric":
            x = i / factor
        case "align_corners":
            x = Fraction(i * (size - 1), target - 1) if target > 1 else Fraction(0)
        case other:
            raise UnsupportedError(f"its coordinate_transformation_mode is {other!r}", way_out="use asymmetric")
    match nearest:
        case "floor":
            found = x.__floor__()
        case "ceil":
            found = x.__ceil__()
        case "round_prefer_floor":
            found = (x - half).__ceil__()
        case "round_prefer_ceil":
            found = (x + half).__floor__()
        case other:
            raise ModelError(f"node {node.name!r}: its nearest_mode is {other!r}.")
    return min(max(found, 0), size - 1)


def _depth_to_space(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view, b = view_of(node, inputs), integer(node, "blocksize")
    if len(view.shape) != 3 or b < 1 or view.shape[0] % (b * b):
        raise ModelError(f"node {node.name!r}: DepthToSpace by {b} of {list(view.shape)}.")
    mode = text(node, "mode", "DCR")

    def how(at: Array) -> Array:
        c, h, w = at.shape
        if mode == "DCR":
            return at.reshape(b, b, c // b // b, h, w).transpose(2, 3, 0, 4, 1).reshape(c // b // b, h * b, w * b)
        return at.reshape(c // b // b, b, b, h, w).transpose(0, 3, 1, 4, 2).reshape(c // b // b, h * b, w * b)

    if mode not in ("DCR", "CRD"):
        raise ModelError(f"node {node.name!r}: its mode is {mode!r}.")
    return [view.moved(how)]


def _space_to_depth(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    view, b = view_of(node, inputs), integer(node, "blocksize")
    if len(view.shape) != 3 or b < 1 or view.shape[1] % b or view.shape[2] % b:
        raise ModelError(f"node {node.name!r}: SpaceToDepth by {b} of {list(view.shape)}.")

    def how(at: Array) -> Array:
        c, h, w = at.shape
        return at.reshape(c, h // b, b, w // b, b).transpose(2, 4, 0, 1, 3).reshape(c * b * b, h // b, w // b)

    return [view.moved(how)]


OPERATORS = {
    (STANDARD, "Reshape"): Operator(_reshape, reads=("allowzero",), symbolic=True),
    (STANDARD, "Flatten"): Operator(_flatten, reads=("axis",), symbolic=True),
    (STANDARD, "Squeeze"): Operator(_squeeze, reads=("axes",), symbolic=True),
    (STANDARD, "Unsqueeze"): Operator(_unsqueeze, reads=("axes",), symbolic=True),
    (STANDARD, "Transpose"): Operator(_transpose, reads=("perm",), symbolic=True),
    (STANDARD, "Slice"): Operator(_slice, reads=("starts", "ends", "axes"), symbolic=True),
    (STANDARD, "Split"): Operator(_split, reads=("axis", "split", "num_outputs"), symbolic=True),
    (STANDARD, "Gather"): Operator(_gather, reads=("axis",), symbolic=True),
    (STANDARD, "Expand"): Operator(_expand, symbolic=True),
    (STANDARD, "Shape"): Operator(_shape, reads=("start", "end"), symbolic=True),
    (STANDARD, "Pad"): Operator(_pad, reads=("mode", "pads", "value")),
    (STANDARD, "Resize"): Operator(
        _resize,
        reads=("mode", "coordinate_transformation_mode", "nearest_mode", "axes", "keep_aspect_ratio_policy"),
        idle=("cubic_coeff_a", "exclude_outside", "extrapolation_value", "antialias"),
        symbolic=True,
    ),
    (STANDARD, "DepthToSpace"): Operator(_depth_to_space, reads=("blocksize", "mode"), symbolic=True),
    (STANDARD, "SpaceToDepth"): Operator(_space_to_depth, reads=("blocksize",), symbolic=True),
}
