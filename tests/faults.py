"""Faults to inject: an op of a graph computed otherwise than its specification says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, Overflow, Rounding, overflow
from qsim.reference.kernels import KERNELS

Kernel = Callable[[o.Op, list, list, object], np.ndarray]


def faulty(graph: Graph, codes: dict, layer: str, how: Kernel) -> dict[str, np.ndarray]:
    """Every tensor's codes of a run in which the op of ``layer`` is computed by ``how``."""
    values = dict(codes)
    for op in graph.ops:
        xs = [values[n] for n in op.inputs]
        ts = [graph[n] for n in op.inputs]
        kernel = how if op.layer == layer else KERNELS[type(op)]
        values[op.output] = kernel(op, xs, ts, graph[op.output])
    return values


def changed(**fields) -> Kernel:
    def kernel(op, xs, ts, out):
        values = {k: v(op) if callable(v) else v for k, v in fields.items()}
        return KERNELS[type(op)](dataclasses.replace(op, **values), xs, ts, out)

    return kernel


def rounding(mode: Rounding) -> Kernel:
    return changed(rescale=lambda op: dataclasses.replace(op.rescale, rounding=mode))


def shifted(delta: int) -> Kernel:
    return changed(rescale=lambda op: dataclasses.replace(op.rescale, shift=IntArray(op.rescale.shift.values + delta)))


def narrow(bits: int, mode: Overflow) -> Kernel:
    def kernel(op, xs, ts, out):
        fmt = dataclasses.replace(out.format, width=out.format.width - bits)
        return overflow(KERNELS[type(op)](op, xs, ts, out), fmt, mode)

    return kernel


def flipped_weight(op):
    w = op.weights.values.copy()
    w[0, 1, 0, 2] ^= 2
    return IntArray(w)


def nchw(op, xs, ts, out):
    y = KERNELS[type(op)](op, xs, ts, out)
    return np.moveaxis(y, -1, 1).reshape(y.shape)


def wrapped(op, xs, ts, out):
    wide = KERNELS[type(op)](dataclasses.replace(op, low=-(1 << 40), high=1 << 40), xs, ts, out)
    return overflow(wide, out.format, Overflow.WRAP)
