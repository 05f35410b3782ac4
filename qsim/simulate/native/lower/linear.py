"""Convolutions and dense layers with constant weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.simulate.native.chains import Unsuited, chain, fits32
from qsim.simulate.native.lower.base import CONV2D, DENSE, DEPTHWISE, Call, Site
from qsim.simulate.native.structures import CHANNELS, CHUNK, MOST_POSITIONS, PIXELS, Keep, LinearC

INT16_MAX = (1 << 15) - 1

_ORDER = (0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15)
"""Channels of a panel in the order of the depthwise kernel's vectors."""


def linear(op: o.Conv2D | o.Dense, tail: Sequence[o.Elementwise], out: str, site: Site) -> Call:
    """A convolution or dense layer, and the elementwise operations behind it. Raises Unsuited."""
    x, zero = site.tensor(op.inputs[0]), op.input_zero_point
    low, high = min(x.range[0] - zero, 0), max(x.range[1] - zero, 0)
    weights = op.weights.values << op.product_shift
    bias = np.zeros(weights.shape[-1], dtype=np.int64) if op.bias is None else op.bias.values
    if not (low >= -INT16_MAX and high <= INT16_MAX and -INT16_MAX <= zero <= INT16_MAX):
        raise Unsuited("inputs wider than 16 bits")
    if op.weights.low << op.product_shift < -INT16_MAX or op.weights.high << op.product_shift > INT16_MAX:
        raise Unsuited("weights wider than 16 bits")
    terms = np.abs(weights).reshape(-1, weights.shape[-1]).sum(axis=0)
    if not fits32(int((terms * max(-low, high) + np.abs(bias)).max(initial=0))):
        raise Unsuited("sums wider than 32 bits")
    how = _products(weights, low, high, site)
    if isinstance(op, o.Dense):
        return _dense(op, weights, bias, how, tail, out, site)
    if op.groups == 1:
        return _conv2d(op, weights, bias, how, tail, out, site)
    if op.weights.shape[2] == 1:
        return _depthwise(op, weights, bias, tail, out, site)
    raise Unsuited("a grouped convolution")


def _chunk(panels: int) -> int:
    fit = CHUNK // (panels * CHANNELS) // PIXELS * PIXELS
    return min(max(fit, PIXELS), MOST_POSITIONS // PIXELS * PIXELS)


def _panels(weights: Array, bias: Array) -> tuple[int, Array, Array]:
    """(panels, weights (..., panels*16), bias), padded with zero channels."""
    outputs = weights.shape[-1]
    panels = -(-outputs // CHANNELS)
    extra = panels * CHANNELS - outputs
    padded = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, extra)])
    return panels, padded, np.pad(bias, (0, extra))


@dataclass(frozen=True, kw_only=True)
class _Products:
    """The form of a layer's products (linear.h). form: 1 for bytes; step: elements of a step; element: bytes of one."""

    form: int
    step: int
    lift: int
    element: int

    def packed(self, rows: Array, panels: int) -> Array:
        """(runs, length, panels*16) -> [panel][run][step][16][elements of a step]."""
        runs, length, _ = rows.shape
        whole = np.pad(rows, ((0, 0), (0, -length % self.step), (0, 0)))
        return whole.reshape(runs, -1, self.step, panels, CHANNELS).transpose(3, 0, 1, 4, 2)

    def set(self, params: LinearC, packed: Array, bias: Array, keep: Keep) -> None:
        """Fill in form, weights and bias."""
        lifted = bias - self.lift * packed.sum(axis=(1, 2, 4)).reshape(-1)
        params.form, params.raise_ = self.form, self.lift
        params.weights = keep.array(packed, np.int8 if self.form else np.int16)
        # Sums of bytes wrap around 32 bits on their way; what they end in is in range.
        params.bias = keep.array(_wrapped(lifted), np.int32)


def _wrapped(x: Array) -> Array:
    return np.asarray((x + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def _products(weights: Array, low: int, high: int, site: Site) -> _Products:
    """Bytes where the library has their dot products, the inputs (minus the zero point) in [low, high] take 256 values,
    and weights are int8; else words."""
    if site.dot and high - low <= 255 and weights.min(initial=0) >= -128 and weights.max(initial=0) <= 127:
        return _Products(form=1, step=4, lift=-low, element=1)
    return _Products(form=0, step=2, lift=0, element=2)


def _dense(
    op: o.Dense, weights: Array, bias: Array, how: _Products, tail: Sequence[o.Elementwise], out: str, site: Site
) -> Call:
    x = site.tensor(op.inputs[0])
    panels, padded, biases = _panels(weights, bias)
    inputs = x.shape[-1]
    packed = how.packed(padded[None], panels)
    params = LinearC(
        type_in=site.types[x.name],
        type_out=site.types[out],
        input_zero=op.input_zero_point,
        height=x.size // inputs,
        channels=inputs,
        spread=1,
        outputs=weights.shape[-1],
        panels=panels,
        runs=1,
        steps=packed.shape[2],
        offset=site.keep.array([0], np.int32),
        chain=chain(tail, site.graph, site.keep),
    )
    how.set(params, packed, biases, site.keep)
    chunk = _chunk(panels)
    return site.call(DENSE, params, chunk * panels * CHANNELS * 4 + chunk * packed.shape[2] * 4 + 128)


def _image(op: o.Conv2D, x: Tensor, y: Tensor) -> tuple[int, int]:
    """Height and width of the padded image: all that the windows touch."""
    kh, kw = op.weights.shape[:2]
    height = (y.shape[0] - 1) * op.strides[0] + (kh - 1) * op.dilation[0] + 1
    width = (y.shape[1] - 1) * op.strides[1] + (kw - 1) * op.dilation[1] + 1
    (top, _), (left, _) = op.padding
    return max(height, top + x.shape[0]), max(width, left + x.shape[1])


def _conv2d(
    op: o.Conv2D, weights: Array, bias: Array, how: _Products, tail: Sequence[o.Elementwise], out: str, site: Site
) -> Call:
    x, y = site.tensor(op.inputs[0]), site.tensor(op.output)
    kh, kw, inputs, outputs = weights.shape
    panels, padded, biases = _panels(weights, bias)
    height, width = _image(op, x, y)
    row = width * inputs
    if op.dilation[1] == 1:  # a row of taps is one run
        rows = padded.reshape(kh, kw * inputs, -1)
        offsets = [u * op.dilation[0] * row for u in range(kh)]
    else:
        rows = padded.reshape(kh * kw, inputs, -1)
        offsets = [u * op.dilation[0] * row + v * op.dilation[1] * inputs for u in range(kh) for v in range(kw)]
    packed = how.packed(rows, panels)
    params = _window(op, x, y, out, site, tail)
    params.padded_height, params.padded_width, params.spread = height, width, 1
    params.outputs, params.panels = outputs, panels
    params.runs, params.steps = packed.shape[1], packed.shape[2]
    params.offset = site.keep.array(offsets, np.int32)
    how.set(params, packed, biases, site.keep)
    return site.call(CONV2D, params, _chunk(panels) * panels * CHANNELS * 4 + (row * height + 64) * 2 + 128)


def _window(op: o.Conv2D, x: Tensor, y: Tensor, out: str, site: Site, tail: Sequence[o.Elementwise]) -> LinearC:
    return LinearC(
        type_in=site.types[x.name],
        type_out=site.types[out],
        input_zero=op.input_zero_point,
        height=x.shape[0],
        width=x.shape[1],
        channels=x.shape[2],
        top=op.padding[0][0],
        left=op.padding[1][0],
        out_height=y.shape[0],
        out_width=y.shape[1],
        stride_height=op.strides[0],
        stride_width=op.strides[1],
        chain=chain(tail, site.graph, site.keep),
    )


def _depthwise(op: o.Conv2D, weights: Array, bias: Array, tail: Sequence[o.Elementwise], out: str, site: Site) -> Call:
    x, y = site.tensor(op.inputs[0]), site.tensor(op.output)
    kh, kw, _, outputs = weights.shape
    panels, padded, biases = _panels(weights, bias)
    height, width = _image(op, x, y)
    row = width * outputs  # channels are repeated, so that output channel o reads channel o
    offsets = [u * op.dilation[0] * row + v * op.dilation[1] * outputs for u in range(kh) for v in range(kw)]
    taps = padded.reshape(kh * kw, -1)
    if len(taps) % 2:
        taps, offsets = np.pad(taps, ((0, 1), (0, 0))), [*offsets, 0]
    pairs = len(taps) // 2
    packed = taps.reshape(pairs, 2, panels, CHANNELS)[..., _ORDER].transpose(2, 0, 3, 1)
    params = _window(op, x, y, out, site, tail)
    params.padded_height, params.padded_width = height, width
    params.spread = outputs // x.shape[2]
    params.outputs, params.panels, params.runs, params.steps = outputs, panels, 1, pairs
    params.offset = site.keep.array(offsets, np.int32)
    params.weights = site.keep.array(packed, np.int16)
    params.bias = site.keep.array(biases, np.int32)
    return site.call(DEPTHWISE, params, _chunk(panels) * panels * CHANNELS * 4 + (row * height + 64) * 2 + 128)
