"""Alternatives of convolutions and dense layers: padding, bias, zero points, orders, accumulation, single weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from qsim.debug.causes.alternative import Alternative, replaced, run
from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, IntFormat, Overflow, overflow
from qsim.reference.windows import pad2d, windows


def _bias(op: o.Linear) -> Iterator[Alternative]:
    if op.bias is None:
        return
    b = op.bias.values
    yield replaced(op, "bias missing", "the bias left out", 16, bias=None)
    yield replaced(op, "bias sign", "the bias subtracted", 24, bias=IntArray(-b))
    yield replaced(op, "bias twice", "the bias added twice", 25, bias=IntArray(2 * b))
    for k in range(1, 9):
        text = f"the bias at the wrong scale, {1 << k} times too large"
        yield replaced(op, "bias scale", text, 20 + k, bias=IntArray(b << k))
        text = f"the bias at the wrong scale, {1 << k} times too small"
        yield replaced(op, "bias scale", text, 20 + k, bias=IntArray(b >> k))
    if b.size > 1:
        yield replaced(
            op, "bias order", "each channel using the channel before's bias", 27, bias=IntArray(np.roll(b, 1))
        )


def _zero_points(op: o.Linear) -> Iterator[Alternative]:
    if op.product_shift:
        yield replaced(op, "bias scale", "the products not aligned with the bias", 19, product_shift=0)
    if not op.input_zero_point:
        return
    yield replaced(op, "zero point missing", "the input zero point left out", 17, input_zero_point=0)
    yield replaced(op, "zero point sign", "the input zero point negated", 23, input_zero_point=-op.input_zero_point)
    text = "the input zero point subtracted twice"
    yield replaced(op, "zero point twice", text, 24, input_zero_point=2 * op.input_zero_point)
    if isinstance(op, o.Conv2D) and any(map(any, op.padding)):

        def zero_code(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
            padded = np.pad(xs[0], ((0, 0), *op.padding, (0, 0)))
            return run(dataclasses.replace(op, padding=o.NO_PADDING), [padded], ts, out)

        text = "the padding filled with code 0 in place of the zero point"
        yield Alternative(name="padding value", text=text, weight=18, compute=zero_code)


def _orders(op: o.Linear) -> Iterator[Alternative]:
    w = op.weights.values
    if isinstance(op, o.Dense):
        if w.shape[0] == w.shape[1]:
            yield replaced(
                op, "kernel order", "the kernel transposed (rows and columns swapped)", 20, weights=IntArray(w.T)
            )
        text = "the kernel's memory read in (out, in) order in place of (in, out)"
        yield replaced(op, "kernel order", text, 21, weights=IntArray(w.T.reshape(w.shape)))
        yield replaced(op, "kernel order", text, 22, weights=IntArray(w.reshape(w.shape[::-1]).T))
        return
    if w.shape[0] == w.shape[1] and w.shape[0] > 1:
        text = "the kernel's rows and columns swapped"
        yield replaced(op, "kernel order", text, 20, weights=IntArray(w.swapaxes(0, 1)))
    if w.shape[0] * w.shape[1] > 1:
        text = "the kernel rotated by 180 degrees (convolution in place of correlation)"
        yield replaced(op, "kernel flipped", text, 21, weights=IntArray(w[::-1, ::-1]))
    readings = {
        "OIHW": w.transpose(3, 2, 0, 1),
        "OHWI": w.transpose(3, 0, 1, 2),
        "HWOI": w.transpose(0, 1, 3, 2),
    }
    for name, moved in readings.items():
        text = f"the kernel's memory in {name} order read as HWIO"
        yield replaced(op, "kernel order", text, 22, weights=IntArray(moved.reshape(w.shape)))
        order = {"OIHW": (2, 3, 1, 0), "OHWI": (1, 2, 3, 0), "HWOI": (0, 1, 3, 2)}[name]
        text = f"the kernel's HWIO memory read as {name}"
        yield replaced(op, "kernel order", text, 23, weights=IntArray(w.reshape(moved.shape).transpose(order)))


def _taps(op: o.Linear) -> Iterator[Alternative]:
    """One position of the kernel left out, as by a counter that ends too early."""
    if isinstance(op, o.Dense):
        return
    kh, kw, group_in, _ = op.weights.shape
    if kh * kw > 1:
        for u, v in np.ndindex(kh, kw):
            w = op.weights.values.copy()
            w[u, v] = 0
            text = f"kernel tap ({u}, {v}) left out of the sum"
            yield replaced(op, "kernel tap missing", text, 28, weights=IntArray(w))
    for c in range(group_in if 1 < group_in <= 64 else 0):
        w = op.weights.values.copy()
        w[:, :, c] = 0
        text = f"input channel {c} left out of the sum"
        yield replaced(op, "input channel missing", text, 29, weights=IntArray(w))


def _input_layout(op: o.Linear) -> Iterator[Alternative]:
    def channels_first(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        x = xs[0]
        return run(op, [np.moveaxis(x, -1, 1).reshape(x.shape)] if x.ndim > 2 else [x], ts, out)

    yield Alternative(
        name="NCHW order",
        text="its input read channels first (NCHW) in place of channels last",
        weight=18,
        compute=channels_first,
    )

    def rows_columns(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        x = xs[0]
        return run(op, [x.swapaxes(1, 2).reshape(x.shape)] if x.ndim > 2 else [x], ts, out)

    text = "its input with rows and columns swapped"
    yield Alternative(name="rows and columns swapped", text=text, weight=19, compute=rows_columns)


def _geometry(op: o.Linear) -> Iterator[Alternative]:
    if isinstance(op, o.Dense):
        return
    (top, bottom), (left, right) = op.padding
    if (top, left) != (bottom, right):
        swapped = ((bottom, top), (right, left))
        text = "the odd padding row or column on the other side"
        yield replaced(op, "padding side", text, 15, padding=swapped)
    elif isinstance(op, o.Conv2D):
        for dy, dx in ((1, 0), (0, 1), (1, 1)):
            for sign in (1, -1):
                a, b = sign * dy, sign * dx
                moved = ((top - a, bottom + a), (left - b, right + b))
                if min(map(min, moved)) >= 0:
                    text = f"the window displaced by ({a}, {b}): padding on the wrong side"
                    yield replaced(op, "padding side", text, 16, padding=moved)
    if isinstance(op, o.Conv2D) and any(map(any, op.padding)):

        def edges(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
            padded = np.pad(xs[0], ((0, 0), *op.padding, (0, 0)), mode="edge")
            return run(dataclasses.replace(op, padding=o.NO_PADDING), [padded], ts, out)

        text = "the border repeated in place of zero padding"
        yield Alternative(name="padding value", text=text, weight=22, compute=edges)


def _accumulation(op: o.Linear) -> Iterator[Alternative]:
    def float32(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        x = (xs[0] - op.input_zero_point).astype(np.float32)
        bias = np.float32(0) if op.bias is None else op.bias.values.astype(np.float32)
        if isinstance(op, o.Dense):
            acc = x @ op.weights.values.astype(np.float32)
        elif isinstance(op, o.Conv2D) and op.groups == 1:
            view = windows(pad2d(x, op.padding), (op.weights.shape[0], op.weights.shape[1]), op.strides, op.dilation)
            flat = view.reshape(-1, int(np.prod(op.weights.shape[:3])))
            acc = flat @ op.weights.values.astype(np.float32).reshape(flat.shape[1], -1)
        else:
            return run(op, xs, ts, out)
        exact = acc.reshape(-1, *out.shape) * np.float32(1 << op.product_shift) + bias
        return np.rint(exact.astype(np.float64)).astype(np.int64)

    text = "accumulation in float32, which rounds sums beyond 24 bits"
    yield Alternative(name="float32 accumulation", text=text, weight=45, compute=float32)
    for k in range(1, 9):
        for mode, verb, weight in ((Overflow.WRAP, "wrapping", 40), (Overflow.SAT, "saturating", 50)):

            def narrow(xs: list[Array], ts: list[Tensor], out: Tensor, k: int = k, mode: Overflow = mode) -> Array:
                width = IntFormat.for_range(min(out.range[0], -1), out.range[1]).width - k
                exact = run(op, xs, ts, out)
                return exact if width < 2 else overflow(exact, IntFormat(width, True), mode)

            text = f"an accumulator too narrow by {k} bit{'s' * (k > 1)}, {verb}"
            yield Alternative(name=f"accumulator {verb}", text=text, weight=weight + k, compute=narrow)


def linear(op: o.Linear) -> Iterator[Alternative]:
    """Every alternative of a Conv2D, ConvTranspose2D or Dense but single-weight faults (see ``weight_faults``)."""
    yield from _bias(op)
    yield from _zero_points(op)
    yield from _geometry(op)
    yield from _orders(op)
    yield from _taps(op)
    yield from _input_layout(op)
    yield from _accumulation(op)
