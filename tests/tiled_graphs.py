"""Graphs whose layers take the fast C kernels: every shape of tile, lane and border, every input type; seeded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from net import Net, tflite, weights

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Overflow, Scheme

I8, U8, I16 = IntFormat(8, True), IntFormat(8, False), IntFormat(16, True)


def rescaled(net: Net, x: str, rng: np.random.Generator, *, shift: int, zero_point: int = 0, **changes: object) -> str:
    """A requantizer by channel into int8, of multipliers near both ends, and two further shifts."""
    channels = net.shape(x)[-1]
    multiplier = rng.integers(1 << 30, 1 << 31, channels)
    multiplier[0] = (1 << 31) - 1
    scheme = changes.pop("scheme", Scheme.TFLITE_DOUBLE)
    assert isinstance(scheme, Scheme)
    fields: dict[str, Any] = {
        "rescale": tflite(multiplier, shift + rng.integers(0, 2, channels), scheme),
        "negative": None,
        "input_zero_point": 0,
        "zero_point": zero_point,
        "low": -128,
        "high": 127,
        "format": I8,
        "overflow": Overflow.SAT,
    }
    return net.add(o.Requantize, x, **(fields | changes))


def bias(rng: np.random.Generator, channels: int) -> IntArray:
    return IntArray(rng.integers(-2000, 2000, channels))


def convolution(
    net: Net, x: str, rng: np.random.Generator, channels: int, kernel: tuple[int, int], **changes: object
) -> str:
    fields: dict[str, Any] = {
        "weights": weights(rng, (*kernel, net.shape(x)[-1], channels), 8),
        "bias": bias(rng, channels),
        "strides": (1, 1),
        "dilation": (1, 1),
        "padding": o.NO_PADDING,
        "groups": 1,
    }
    return net.add(o.Conv2D, x, **(fields | changes))


def depthwise(net: Net, x: str, rng: np.random.Generator, kernel: tuple[int, int], **changes: object) -> str:
    channels = net.shape(x)[-1]
    one = weights(rng, (*kernel, 1, channels), 8)
    return convolution(net, x, rng, channels, kernel, weights=one, groups=channels, **changes)


def tiled_convolutions(fmt: IntFormat, zero_point: int) -> Graph:
    """Channels of every remainder modulo four and two, borders on each side, strides, dilation, images of less than one
    tile, one position alone."""
    rng = np.random.default_rng(1)
    net = Net("tiled_convolutions")
    shift = 9 if fmt.width == 8 else 17
    same = ((1, 1), (1, 1))
    outputs = []
    for channels in (1, 3, 4):
        x = net.input((5, 6, channels), fmt, name=f"x{channels}")
        for made in (
            convolution(net, x, rng, 5, (3, 3), padding=same, input_zero_point=zero_point),
            convolution(net, x, rng, 2, (3, 2), padding=((2, 0), (0, 1)), strides=(2, 1), input_zero_point=zero_point),
            convolution(net, x, rng, 4, (2, 2), dilation=(2, 3), padding=same, input_zero_point=zero_point),
            convolution(net, x, rng, 3, (1, 1), strides=(2, 2), input_zero_point=zero_point),
            convolution(net, x, rng, 3, (2, 4), padding=same, input_zero_point=zero_point),
            convolution(net, x, rng, 11, (5, 6), input_zero_point=zero_point),
            convolution(net, x, rng, 2, (3, 6), input_zero_point=zero_point),
        ):
            outputs.append(rescaled(net, made, rng, shift=shift, zero_point=3))
    return net.build(*outputs)


def strips() -> Graph:
    """Depthwise convolutions, four channels at a time."""
    rng = np.random.default_rng(2)
    net = Net("strips")
    outputs = []
    for fmt, zero_point, channels in ((I8, -128, 8), (U8, 3, 4), (I8, 0, 72)):
        x = net.input((5, 4, channels), fmt, name=f"x{channels}")
        same = ((1, 1), (1, 1))
        for made in (
            depthwise(net, x, rng, (3, 3), padding=same, input_zero_point=zero_point),
            depthwise(net, x, rng, (3, 3), padding=((0, 1), (0, 1)), strides=(2, 2), input_zero_point=zero_point),
            depthwise(net, x, rng, (2, 4), padding=((1, 0), (2, 1)), input_zero_point=zero_point),
            depthwise(net, x, rng, (3, 3), dilation=(2, 2), padding=((2, 2), (2, 2)), input_zero_point=zero_point),
        ):
            outputs.append(rescaled(net, made, rng, shift=7, zero_point=-7))
    return net.build(*outputs)


def dense_tiles() -> Graph:
    """Dense layers with eights of outputs, pairs, one left over, inputs of every remainder, and several rows."""
    rng = np.random.default_rng(3)
    net = Net("dense_tiles")
    outputs = []
    for inputs, channels in ((32, 16), (33, 11), (7, 1), (6, 10), (1030, 11)):
        x = net.input((inputs,), I8, name=f"x{inputs}")
        made = net.add(
            o.Dense, x, weights=weights(rng, (inputs, channels), 8), bias=bias(rng, channels), input_zero_point=-128
        )
        outputs.append(rescaled(net, made, rng, shift=8, zero_point=-128))
    rows = net.input((5, 12), U8, name="rows")
    made = net.add(o.Dense, rows, weights=weights(rng, (12, 3), 8), bias=None)
    outputs.append(rescaled(net, made, rng, shift=8, low=-100, high=90))
    return net.build(*outputs)


def high_requantizers() -> Graph:
    """Both rounding schemes, every clip, one parameter for all and one by channel, the least shift and large ones."""
    rng = np.random.default_rng(4)
    net = Net("high_requantizers")
    x = net.input((3, 3, 5), IntFormat(24, True))
    outputs = []
    for scheme in (Scheme.TFLITE_DOUBLE, Scheme.TFLITE_UPWARD):
        for shift, low, high in ((1, -128, 127), (12, -128, 127), (15, -100, 99), (20, -128, 127)):
            outputs.append(rescaled(net, x, rng, shift=shift, low=low, high=high, zero_point=5, scheme=scheme))
        whole = tflite(1518500250, 14, scheme)
        outputs.append(rescaled(net, x, rng, shift=0, rescale=whole, zero_point=9))
        outputs.append(rescaled(net, x, rng, shift=0, rescale=whole, format=U8, low=0, high=255))
        wide: dict[str, Any] = {"format": IntFormat(32, True), "low": -(1 << 31), "high": (1 << 31) - 1}
        outputs.append(rescaled(net, x, rng, shift=0, rescale=tflite(1518500250, 1, scheme), **wide))
    return net.build(*outputs)


TILED_GRAPHS: dict[str, Callable[[], Graph]] = {
    "tiled_int8": lambda: tiled_convolutions(I8, -128),
    "tiled_uint8": lambda: tiled_convolutions(U8, 131),
    "tiled_int16": lambda: tiled_convolutions(I16, -5),
    "strips": strips,
    "dense_tiles": dense_tiles,
    "high_requantizers": high_requantizers,
}
