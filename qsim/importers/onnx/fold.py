"""Constant subgraphs in exact arithmetic: shapes, permuted weights, the constants in front of quantizers.

Real numbers stay fractions through any number of operations. A root or a power without an exact value is float64's;
a Cast to a float type rounds as that type does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.onnx.attributes import integer, integers
from qsim.importers.onnx.constant import FLOATS, INTEGERS, Constant
from qsim.importers.onnx.model import Node
from qsim.importers.symbolic.value import fractions
from qsim.numerics import Array

MOST_ELEMENTS = 1 << 24
"""Of a folded constant."""

TYPES = {1: "FLOAT", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 9: "BOOL",
         10: "FLOAT16", 11: "DOUBLE", 12: "UINT32", 13: "UINT64", 21: "UINT4", 22: "INT4"}  # fmt: skip
"""TensorProto.DataType, as the attribute of a Cast has it."""

Fold = Callable[[Node, Sequence[Constant | None]], list[Constant]]


def needed(node: Node, inputs: Sequence[Constant | None], position: int) -> Constant:
    """An input that must be there."""
    found = inputs[position] if position < len(inputs) else None
    if found is None:
        raise ModelError(f"node {node.name!r}: {node.label} lacks its input {position}.")
    return found


def _limited(node: Node, shape: Sequence[int]) -> tuple[int, ...]:
    if any(n < 0 for n in shape) or math.prod(shape) > MOST_ELEMENTS:
        raise ModelError(f"node {node.name!r}: {node.label} makes a constant of shape {list(shape)}.")
    return tuple(shape)


def _constant(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    for name, value in node.attributes.items():
        if name == "value" and isinstance(value, np.ndarray):
            kind = {"f": "FLOAT", "i": "INT64", "u": "UINT64", "b": "BOOL"}.get(value.dtype.kind)
            if kind is None:
                raise UnsupportedError(f"its constant is of type {value.dtype}", way_out="store it as FLOAT")
            sized = {"float64": "DOUBLE", "float16": "FLOAT16"}.get(value.dtype.name, value.dtype.name.upper())
            return [Constant.of(value, sized if kind != "FLOAT" or sized in FLOATS else kind)]
        if name == "value_float" and isinstance(value, float):
            return [Constant.of(np.asarray(value), "FLOAT")]
        if name == "value_int" and isinstance(value, int):
            return [Constant.of(np.asarray(value), "INT64")]
        if name in ("value_floats", "value_ints") and isinstance(value, tuple):
            kind = "FLOAT" if name == "value_floats" else "INT64"
            return [Constant.of(np.asarray(value, dtype=np.float64 if kind == "FLOAT" else np.int64), kind)]
    raise UnsupportedError("its constant is no tensor of numbers")


def _constant_of_shape(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    shape = _limited(node, needed(node, inputs, 0).integers("its shape"))
    value = node.attributes.get("value", np.zeros(1, dtype=np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise ModelError(f"node {node.name!r}: its value is no tensor of one element.")
    kind = "FLOAT" if value.dtype.kind == "f" else value.dtype.name.upper()
    return [Constant.of(np.full(shape, value.reshape(())), kind)]


def shape_of(node: Node, shape: Sequence[int]) -> list[Constant]:
    """Shape, with its start and end."""
    part = list(shape)[integer(node, "start", 0) : integer(node, "end", len(shape))]
    return [Constant.of(np.array(part, dtype=np.int64), "INT64")]


def _shape(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    return shape_of(node, needed(node, inputs, 0).shape)


def _arithmetic(act: Callable[[Fraction, Fraction], Fraction]) -> Fold:
    def fold(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
        a, b = needed(node, inputs, 0), needed(node, inputs, 1)
        try:
            x, y = np.broadcast_arrays(a.reals(), b.reals())
            _limited(node, x.shape)
            values = [act(p, q) for p, q in zip(x.reshape(-1).tolist(), y.reshape(-1).tolist(), strict=True)]
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise ModelError(f"node {node.name!r}: {node.label} of its constants: {error}.") from error
        if a.dtype in INTEGERS:
            values = [Fraction(int(v)) for v in values]  # division truncates
        return [Constant.exact(fractions(values).reshape(x.shape), a.dtype)]

    return fold


def _power(x: Fraction, y: Fraction) -> Fraction:
    if y.denominator == 1 and abs(y) <= 64:
        return x ** int(y)
    return Fraction(math.pow(float(x), float(y)))


def _unary(act: Callable[[Fraction], Fraction]) -> Fold:
    def fold(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
        a = needed(node, inputs, 0)
        try:
            values = [act(v) for v in a.reals().reshape(-1).tolist()]
        except (ValueError, OverflowError, ZeroDivisionError) as error:
            raise ModelError(f"node {node.name!r}: {node.label} of its constant: {error}.") from error
        return [Constant.exact(fractions(values).reshape(a.shape), a.dtype)]

    return fold


def _cast(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a, kind = needed(node, inputs, 0), TYPES.get(integer(node, "to"))
    if kind is None:
        raise UnsupportedError(f"it casts to type {integer(node, 'to')}")
    if kind in INTEGERS:
        values = [Fraction(int(v)) for v in a.reals().reshape(-1).tolist()]
        if kind == "BOOL":
            values = [Fraction(v != 0) for v in a.reals().reshape(-1).tolist()]
        return [Constant.exact(fractions(values).reshape(a.shape), kind)]
    if kind == a.dtype or kind == "DOUBLE":
        return [Constant(codes=a.codes, scale=a.scale, dtype=kind)]
    with np.errstate(over="ignore"):
        return [Constant.of(a.floats().astype(np.float16 if kind == "FLOAT16" else np.float32), kind)]


def axis_of(node: Node, axis: int, rank: int) -> int:
    """The axis counted from the front. Raises ModelError where there is none."""
    if not -rank <= axis < rank:
        raise ModelError(f"node {node.name!r}: axis {axis} does not exist among {rank} dimensions.")
    return axis % rank


def given(node: Node, inputs: Sequence[object], position: int, attribute: str) -> list[int] | None:
    """Integers that newer operator sets take as an input and older ones as an attribute; None where neither is."""
    if len(inputs) > position and inputs[position] is not None:
        found = inputs[position]
        if not isinstance(found, Constant):
            raise UnsupportedError(f"its {attribute} depend on the data", way_out="export the model with fixed shapes")
        return found.integers(f"its {attribute}")
    return integers(node, attribute)


def squeezed_shape(node: Node, shape: Sequence[int], axes: list[int] | None) -> tuple[int, ...]:
    """Squeeze's output shape."""
    rank = len(shape)
    chosen = {axis_of(node, a, rank) for a in axes} if axes is not None else {i for i, n in enumerate(shape) if n == 1}
    if any(shape[a] != 1 for a in chosen):
        raise ModelError(f"node {node.name!r}: squeezes {list(shape)} along {sorted(chosen)}.")
    return tuple(n for i, n in enumerate(shape) if i not in chosen)


def unsqueezed_shape(node: Node, shape: Sequence[int], axes: list[int] | None) -> tuple[int, ...]:
    """Unsqueeze's output shape."""
    if axes is None:
        raise ModelError(f"node {node.name!r}: Unsqueeze lacks its axes.")
    rank = len(shape) + len(axes)
    chosen = {axis_of(node, a, rank) for a in axes}
    if len(chosen) != len(axes):
        raise ModelError(f"node {node.name!r}: its axes {axes} repeat.")
    rest = iter(shape)
    return tuple(1 if i in chosen else next(rest) for i in range(rank))


def reshaped_shape(node: Node, shape: Sequence[int], target: Sequence[int]) -> tuple[int, ...]:
    """Reshape's output shape: 0 copies (unless allowzero), -1 is what is left."""
    result = []
    for i, n in enumerate(target):
        if n == 0 and not integer(node, "allowzero", 0):
            if i >= len(shape):
                raise ModelError(f"node {node.name!r}: the 0 in {list(target)} stands behind all of {list(shape)}.")
            n = shape[i]
        result.append(n)
    size, known = math.prod(shape), math.prod(n for n in result if n != -1)
    if result.count(-1) == 1 and known > 0 and size % known == 0:
        result[result.index(-1)] = size // known
    if -1 in result or math.prod(result) != size:
        raise ModelError(f"node {node.name!r}: shape {list(shape)} cannot become {list(target)}.")
    return tuple(result)


def slices(node: Node, inputs: Sequence[object], shape: Sequence[int]) -> tuple[slice, ...]:
    """The box of a Slice."""
    starts, ends = given(node, inputs, 1, "starts"), given(node, inputs, 2, "ends")
    if starts is None or ends is None or len(starts) != len(ends):
        raise ModelError(f"node {node.name!r}: its starts and ends do not fit.")
    axes = given(node, inputs, 3, "axes") or list(range(len(starts)))
    steps = given(node, inputs, 4, "steps") or [1] * len(starts)
    if len(axes) != len(starts) or len(steps) != len(starts) or 0 in steps:
        raise ModelError(f"node {node.name!r}: its axes and steps do not fit.")
    box = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        a = axis_of(node, axis, len(shape))
        size = shape[a]
        first = start + size if start < 0 else start
        last = end + size if end < 0 else end
        if step > 0:
            box[a] = slice(min(max(first, 0), size), min(max(last, 0), size), step)
        else:
            first = min(max(first, 0), size - 1)
            last = min(max(last, -1), size - 1)
            box[a] = slice(first, None if last < 0 else last, step)
    return tuple(box)


def split_sizes(node: Node, inputs: Sequence[object], size: int) -> list[int]:
    """The parts of a Split along an axis of ``size``."""
    sizes = given(node, inputs, 1, "split")
    if sizes is None:
        parts = integer(node, "num_outputs", len(node.outputs))
        whole = -(-size // parts) if parts > 0 else 0
        sizes = [min(whole, size - whole * i) for i in range(parts)]
    if sum(sizes) != size or any(n < 1 for n in sizes) or len(sizes) != len(node.outputs):
        raise ModelError(f"node {node.name!r}: parts {sizes} of {size}.")
    return sizes


def _transpose(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a = needed(node, inputs, 0)
    perm = integers(node, "perm") or list(range(len(a.shape)))[::-1]
    if sorted(perm) != list(range(len(a.shape))):
        raise ModelError(f"node {node.name!r}: its perm {perm} does not fit {list(a.shape)}.")
    return [a.moved(lambda x: x.transpose(perm))]


def _gather(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a, index = needed(node, inputs, 0), needed(node, inputs, 1)
    axis = axis_of(node, integer(node, "axis", 0), len(a.shape))
    where = np.array(index.integers("its index"), dtype=np.int64).reshape(index.shape)
    if where.size and (where.min() < -a.shape[axis] or where.max() >= a.shape[axis]):
        raise ModelError(f"node {node.name!r}: an index lies outside {a.shape[axis]} elements.")
    return [a.moved(lambda x: np.take(x, where, axis=axis))]


def _concat(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    parts = [needed(node, inputs, i) for i in range(len(inputs))]
    axis = axis_of(node, integer(node, "axis"), len(parts[0].shape))
    try:
        if parts[0].dtype in INTEGERS:
            return [Constant.of(np.concatenate([p.codes for p in parts], axis=axis), parts[0].dtype)]
        return [Constant.exact(np.concatenate([p.reals() for p in parts], axis=axis), parts[0].dtype)]
    except ValueError as error:
        raise ModelError(f"node {node.name!r}: its constants do not fit together: {error}.") from error


def _reshape(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a = needed(node, inputs, 0)
    shape = reshaped_shape(node, a.shape, needed(node, inputs, 1).integers("its shape"))
    return [a.moved(lambda x: x.reshape(shape))]


def _squeeze(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a = needed(node, inputs, 0)
    shape = squeezed_shape(node, a.shape, given(node, inputs, 1, "axes"))
    return [a.moved(lambda x: x.reshape(shape))]


def _unsqueeze(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a = needed(node, inputs, 0)
    shape = unsqueezed_shape(node, a.shape, given(node, inputs, 1, "axes"))
    return [a.moved(lambda x: x.reshape(shape))]


def _flatten(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a, axis = needed(node, inputs, 0), integer(node, "axis", 1)
    at = axis + len(a.shape) if axis < 0 else axis
    shape = math.prod(a.shape[:at]), math.prod(a.shape[at:])
    return [a.moved(lambda x: x.reshape(shape))]


def _slice(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a = needed(node, inputs, 0)
    box = slices(node, inputs, a.shape)
    return [a.moved(lambda x: x[box])]


def taken(where: Sequence[int] | range, axis: int) -> Callable[[Array], Array]:
    """The elements at some positions of an axis, as a rearrangement."""
    return lambda array: np.take(array, where, axis=axis)


def _split(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a = needed(node, inputs, 0)
    axis = axis_of(node, integer(node, "axis", 0), len(a.shape))
    ends = np.cumsum(split_sizes(node, inputs, a.shape[axis])).tolist()
    return [a.moved(taken(range(i, n), axis)) for i, n in zip([0, *ends], ends)]


def _expand(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a = needed(node, inputs, 0)
    target = _limited(node, needed(node, inputs, 1).integers("its shape"))
    try:
        shape = _limited(node, np.broadcast_shapes(a.shape, target))
    except ValueError as error:
        raise ModelError(f"node {node.name!r}: {list(a.shape)} does not expand to {list(target)}.") from error
    return [a.moved(lambda x: np.broadcast_to(x, shape))]


def _tile(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a, repeats = needed(node, inputs, 0), needed(node, inputs, 1).integers("its repeats")
    _limited(node, [n * max(r, 0) for n, r in zip(a.shape, repeats, strict=False)])
    return [a.moved(lambda x: np.tile(x, repeats))]


def _range(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    start, limit, delta = (needed(node, inputs, i).number("an end of the range") for i in range(3))
    count = max(math.ceil((limit - start) / delta), 0) if delta else -1
    _limited(node, [count])
    return [Constant.exact(fractions([start + i * delta for i in range(count)]), needed(node, inputs, 0).dtype)]


def _where(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    test, a, b = (needed(node, inputs, i) for i in range(3))
    return [Constant.exact(np.where(test.codes != 0, a.reals(), b.reals()), a.dtype)]


def _equal(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    same = np.asarray(needed(node, inputs, 0).reals() == needed(node, inputs, 1).reals())
    return [Constant.of(same.astype(np.int64), "BOOL")]


def _identity(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    return [needed(node, inputs, 0)]


def _size(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    return [Constant.of(np.asarray(math.prod(needed(node, inputs, 0).shape)), "INT64")]


def _product(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    a, axes = needed(node, inputs, 0), given(node, inputs, 1, "axes")
    chosen = tuple(axis_of(node, i, len(a.shape)) for i in axes) if axes else tuple(range(len(a.shape)))
    product = np.prod(a.reals(), axis=chosen, keepdims=bool(integer(node, "keepdims", 1)))
    return [Constant.exact(np.asarray(product, dtype=object), a.dtype)]


def _clip(node: Node, inputs: Sequence[Constant | None]) -> list[Constant]:
    """Of a quantized constant, as Brevitas' QCDQ has it, and of any other."""
    a = needed(node, inputs, 0)
    ends = [inputs[i] if len(inputs) > i else None for i in (1, 2)]
    low, high = (None if end is None else end.number("its bound") for end in ends)
    if low is None and isinstance(found := node.attributes.get("min"), float):
        low = Fraction(found)
    if high is None and isinstance(found := node.attributes.get("max"), float):
        high = Fraction(found)
    values = a.reals()
    if low is not None:
        values = np.asarray(np.maximum(values, np.asarray(low, dtype=object)))
    if high is not None:
        values = np.asarray(np.minimum(values, np.asarray(high, dtype=object)))
    return [Constant.exact(values, a.dtype)]


FOLDS: dict[str, Fold] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Shape": _shape,
    "Size": _size,
    "Add": _arithmetic(lambda x, y: x + y),
    "Sub": _arithmetic(lambda x, y: x - y),
    "Mul": _arithmetic(lambda x, y: x * y),
    "Div": _arithmetic(lambda x, y: x / y),
    "Pow": _arithmetic(_power),
    "Neg": _unary(lambda x: -x),
    "Abs": _unary(abs),
    "Sqrt": _unary(lambda x: Fraction(math.sqrt(float(x)))),
    "Reciprocal": _unary(lambda x: 1 / x),
    "Floor": _unary(lambda x: Fraction(math.floor(x))),
    "Ceil": _unary(lambda x: Fraction(math.ceil(x))),
    "Relu": _unary(lambda x: max(x, Fraction(0))),
    "Cast": _cast,
    "Transpose": _transpose,
    "Gather": _gather,
    "Concat": _concat,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Slice": _slice,
    "Split": _split,
    "Expand": _expand,
    "Tile": _tile,
    "Range": _range,
    "Where": _where,
    "Equal": _equal,
    "ReduceProd": _product,
    "Clip": _clip,
    "Identity": _identity,
    "Dropout": _identity,
}
"""Operator of the standard -> its value on constants. Quantizers of constants stand in ``quantizers``."""
