"""Where each element of one of the file's tensors lies in the tensor that stands for it.

The graph is channels last; the file is not. Reshapes, transposes, slices and repetitions change only this index, so
that nothing moves until an operator needs its operand in some order, and then at most once.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from qsim.importers.symbolic.building import Building, Label
from qsim.importers.symbolic.shape import move, reshape, sliced, transpose
from qsim.importers.symbolic.value import Value, collapsed
from qsim.ir.graph import Rounded
from qsim.ir.ops import Gather
from qsim.numerics import Array, IntArray


@dataclass(frozen=True, kw_only=True)
class View:
    """A tensor of the file, without its batch.

    value: the tensor that holds its elements, and what the codes mean. at: of the file's shape; element i of the file
    is the stored tensor's element at[i], counted flat. dtype: the file's type name. rounded: how the source rounds the
    real-valued function that ends the model; nothing more can be computed then.
    """

    value: Value
    at: Array
    dtype: str
    rounded: Rounded | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The file's shape, without the batch."""
        return tuple(self.at.shape)

    @property
    def whole(self) -> bool:
        """Whether every stored element stands for exactly one of the file's."""
        size = math.prod(self.value.shape)
        return self.at.size == size and bool((np.bincount(self.at.reshape(-1), minlength=size) == 1).all())

    def reals(self, codes: Array) -> Array:
        """The file's array (batch first, float64) of a batch of the stored tensor's codes; a pending function that ends
        the model is not applied."""
        value, batch = self.value, codes.shape[0]
        parts = value.scale, value.offset
        scale, offset = (np.array([float(v) for v in p.reshape(-1)]).reshape(p.shape) for p in parts)
        real = codes.astype(np.float64) * scale + offset
        if value.floor is not None or value.ceiling is not None:
            low, high = (None if e is None else float(e) for e in (value.floor, value.ceiling))
            real = np.clip(real, low, high)
        return np.asarray(real.reshape(batch, -1)[:, self.at])

    def but(self, value: Value) -> View:
        """Another value in the same places."""
        return dataclasses.replace(self, value=value)

    def moved(self, how: Callable[[Array], Array]) -> View:
        """After a rearrangement of the file's elements."""
        return dataclasses.replace(self, at=np.asarray(how(self.at)))

    def placed(self, parameter: Array) -> Array:
        """A parameter that broadcasts against the file's shape, as one that broadcasts against the stored tensor. The
        view must be whole."""
        array = np.asarray(parameter, dtype=object)
        if array.size == 1:
            return array.reshape(())
        numbers: dict[Fraction, int] = {}
        which = np.array([numbers.setdefault(v, len(numbers)) for v in array.reshape(-1).tolist()], dtype=np.int64)
        stored = np.empty(self.at.size, dtype=np.int64)
        stored[self.at] = np.broadcast_to(which.reshape(array.shape), self.shape)
        least = collapsed(stored.reshape(self.value.shape))
        values = np.empty(len(numbers), dtype=object)
        values[:] = list(numbers)
        return np.asarray(values[least])


def places(shape: Sequence[int]) -> Array:
    """The flat position of every element of a tensor."""
    return np.arange(math.prod(shape)).reshape(tuple(shape))


def last(rank: int) -> tuple[int, ...]:
    """The permutation that puts the first axis, the channels, last."""
    return (*range(1, rank), 0) if rank > 1 else tuple(range(rank))


def channels_last(value: Value, dtype: str) -> View:
    """The view of a tensor whose last axis is the file's first."""
    rank = len(value.shape)
    order = (rank - 1, *range(rank - 1)) if rank > 1 else tuple(range(rank))
    return View(value=value, at=places(value.shape).transpose(order), dtype=dtype)


def as_stored(value: Value, dtype: str) -> View:
    """The view of a tensor in the file's own order."""
    return View(value=value, at=places(value.shape), dtype=dtype)


def arranged(ctx: Building, view: View, perm: Sequence[int], layer: str, shape: Sequence[int] | None = None) -> Value:
    """The view's elements as a tensor of their own: axis i is the file's axis perm[i]; then reshaped to ``shape``.

    Nothing is added where they lie so already; else a Reshape, a Transpose, a Slice or, last, a Gather.
    """
    wanted = view.at.transpose(tuple(perm))
    target = tuple(wanted.shape if shape is None else shape)
    value = view.value
    flat = wanted.reshape(-1)
    if flat.size == math.prod(value.shape) and np.array_equal(flat, np.arange(flat.size)):
        return _reshaped(ctx, value, target, layer)
    name = Label(f"{value.layer}.moved")
    if flat.size == math.prod(value.shape):
        for order in itertools.permutations(range(len(value.shape))):
            if np.array_equal(places(value.shape).transpose(order).reshape(-1), flat):
                made = transpose(ctx, name, value, order)
                return _reshaped(ctx, made.but(layer=value.layer), target, layer)
    box = _box(value.shape, wanted)
    if box is not None:
        begin, strides, size = box
        cut = tuple(slice(b, b + s * n, s) for b, s, n in zip(begin, strides, size, strict=True))
        made = sliced(ctx, name, value, cut)
        return _reshaped(ctx, made.but(layer=value.layer), target, layer)
    index = flat.reshape(target)
    gather = Gather(inputs=(value.tensor,), output=name.name, layer=name.name, index=IntArray(index))
    made = move(ctx, name, value, gather, target, lambda a: np.asarray(a.reshape(-1)[index]))
    return made.but(layer=value.layer)


def _reshaped(ctx: Building, value: Value, shape: tuple[int, ...], layer: str) -> Value:
    if shape == value.shape:
        return value
    return reshape(ctx, Label(f"{value.layer}.shaped"), value, shape).but(layer=value.layer)


def _box(stored: tuple[int, ...], wanted: Array) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """begin, strides and size where ``wanted`` is a box of the stored tensor with rising strides; else None."""
    if wanted.ndim != len(stored) or not wanted.size:
        return None
    begin = tuple(int(i) for i in np.unravel_index(int(wanted.reshape(-1)[0]), stored))
    strides = []
    for axis, n in enumerate(wanted.shape):
        if n == 1:
            strides.append(1)
            continue
        second = np.unravel_index(int(wanted[tuple(int(a == axis) for a in range(wanted.ndim))]), stored)
        step = int(second[axis]) - begin[axis]
        if step < 1:
            return None
        strides.append(step)
    ends = [b + s * (n - 1) for b, s, n in zip(begin, strides, wanted.shape, strict=True)]
    if any(end >= n for end, n in zip(ends, stored, strict=True)):
        return None
    cut = tuple(slice(b, end + 1, s) for b, end, s in zip(begin, ends, strides, strict=True))
    return (begin, tuple(strides), tuple(wanted.shape)) if np.array_equal(places(stored)[cut], wanted) else None


def settled(ctx: Building, view: View, layer: str) -> View:
    """The view with every stored element standing for one of the file's, so that parameters can be placed."""
    if view.whole:
        return view
    return channels_last(arranged(ctx, view, last(len(view.shape)), layer), view.dtype)


def flat_if_needed(ctx: Building, view: View, layer: str) -> View:
    """The view with a stored meaning that differs along the last axis at most: a flat one where it differs elsewhere
    and the file's tensor is flat."""
    if view.value.channelwise or len(view.shape) != 1:
        return view
    return view.but(_reshaped(ctx, view.value, (math.prod(view.value.shape),), layer))
