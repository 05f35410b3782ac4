"""Faults to inject: an op of a graph computed otherwise than its specification says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.ir.ops import Linear
from qsim.numerics import Array, IntArray, Overflow, Rounding, overflow
from qsim.reference.base import Kernel
from qsim.reference.kernels import KERNELS


def faulty(graph: Graph, codes: dict[str, np.ndarray], layer: str, how: Kernel) -> dict[str, np.ndarray]:
    """Every tensor's codes of a run in which the op of ``layer`` is computed by ``how``."""
    values = dict(codes)
    for op in graph.ops:
        xs = [values[n] for n in op.inputs]
        ts = [graph[n] for n in op.inputs]
        kernel = how if op.layer == layer else KERNELS[type(op)]
        values[op.output] = kernel(op, xs, ts, graph[op.output])
    return values


def changed(**fields: Any) -> Kernel:
    """The op with other fields; a function of the op gives a field's value."""

    def kernel(op: o.Op, xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        values = {k: v(op) if callable(v) else v for k, v in fields.items()}
        return KERNELS[type(op)](dataclasses.replace(op, **values), xs, ts, out)

    return kernel


def rounding(mode: Rounding) -> Kernel:
    return changed(rescale=lambda op: dataclasses.replace(op.rescale, rounding=mode))


def shifted(delta: int) -> Kernel:
    return changed(rescale=lambda op: dataclasses.replace(op.rescale, shift=IntArray(op.rescale.shift.values + delta)))


def narrow(bits: int, mode: Overflow) -> Kernel:
    def kernel(op: o.Op, xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        fmt = dataclasses.replace(out.format, width=out.format.width - bits)
        return overflow(KERNELS[type(op)](op, xs, ts, out), fmt, mode)

    return kernel


def flipped_weight(op: Linear) -> IntArray:
    w = op.weights.values.copy()
    w[0, 1, 0, 2] ^= 2
    return IntArray(w)


def nchw(op: o.Op, xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
    y = KERNELS[type(op)](op, xs, ts, out)
    return np.moveaxis(y, -1, 1).reshape(y.shape)


def wrapped(op: o.Op, xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
    assert isinstance(op, o.Requantize)
    wide = KERNELS[type(op)](dataclasses.replace(op, low=-(1 << 40), high=1 << 40), xs, ts, out)
    return overflow(wide, out.format, Overflow.WRAP)


def weights(change: Callable[[np.ndarray], np.ndarray | None]) -> Kernel:
    """The kernel changed in place, or replaced by what ``change`` gives."""

    def new(op: Linear) -> IntArray:
        w = op.weights.values.copy()
        given = change(w)
        return IntArray(w if given is None else given)

    return changed(weights=new)


def one_bit(w: np.ndarray) -> None:
    w.reshape(-1)[w.size // 2] ^= 1


def bias(change: Callable[[np.ndarray], np.ndarray | None]) -> Kernel:
    def new(op: Linear) -> IntArray:
        assert op.bias is not None
        b = op.bias.values.copy()
        given = change(b)
        return IntArray(b if given is None else given)

    return changed(bias=new)


def arriving(change: Callable[[np.ndarray], np.ndarray]) -> Kernel:
    """The op is right; its codes (N, *shape) arrive changed."""
    return lambda op, xs, ts, out: change(KERNELS[type(op)](op, xs, ts, out).copy())


def reading(change: Callable[[np.ndarray], np.ndarray]) -> Kernel:
    """The op is right; its input arrives changed."""
    return lambda op, xs, ts, out: KERNELS[type(op)](op, [change(xs[0].copy()), *xs[1:]], ts, out)


def stream(beats: int, fill: int | None = 0) -> Callable[[np.ndarray], np.ndarray]:
    """The stream of all samples ``beats`` elements late (early if negative); ``fill`` None: around."""

    def act(y: np.ndarray) -> np.ndarray:
        flat = np.roll(y.reshape(-1), beats)
        if fill is not None:
            flat[: max(beats, 0)] = fill
            if beats < 0:
                flat[beats:] = fill
        return flat.reshape(y.shape)

    return act


def put(y: np.ndarray, place: Any, value: object) -> np.ndarray:
    y[place] = value
    return y


def swapped(axis: int, a: int, b: int) -> Callable[[np.ndarray], np.ndarray]:
    def act(y: np.ndarray) -> np.ndarray:
        order = np.arange(y.shape[axis])
        order[[a, b]] = order[[b, a]]
        return y.take(order, axis)

    return act


def lanes(count: int, order: list[int]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda y: y.reshape(-1, count)[:, order].reshape(y.shape)


def bytes_swapped(y: np.ndarray) -> np.ndarray:
    return y.astype("<i2").byteswap().astype(np.int64)


def bits_reversed(width: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda y: sum(((y >> b & 1) << (width - 1 - b) for b in range(width)), np.zeros_like(y))
