"""Networks of layers with weights of few values on inputs of every kind, for the RTL target's products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from net import Net

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat
from qsim.targets.rtl.network.folding import foldings

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    found = rng.choice([-1, 1], shape)
    found.reshape(-1)[:2] = -1, 1
    return found


def _ternary(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    found = rng.integers(-1, 2, shape)
    found.reshape(-1)[:3] = -1, 0, 1
    return found


def _powers(rng: np.random.Generator, shape: tuple[int, ...], exponent: int = 5) -> np.ndarray:
    powers = 1 << rng.integers(0, exponent + 1, shape)
    powers.reshape(-1)[:2] = 1, 1 << exponent
    return _signs(rng, shape) * powers


def _powers_and_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    found = _powers(rng, shape, 3) * rng.integers(0, 2, shape)
    found.reshape(-1)[:3] = -8, 0, 1
    return found


def _any(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    found = rng.integers(-4, 4, shape)
    found.reshape(-1)[:2] = -4, 3
    return found


WEIGHTS: dict[str, tuple[str, Draw]] = {
    "signs": ("binary", _signs),
    "signs times 22": ("binary", lambda rng, shape: 22 * _signs(rng, shape)),
    "ternary": ("ternary", _ternary),
    "ternary times 5": ("ternary", lambda rng, shape: 5 * _ternary(rng, shape)),
    "powers": ("power_of_two", _powers),
    "powers and zero": ("power_of_two", _powers_and_zero),
    "powers times 3": ("power_of_two", lambda rng, shape: 3 * _powers_and_zero(rng, shape)),
    "any": ("multiplier", _any),
}
"""Name -> (kind of the encoding, weights with each of their values at the corners)."""


def _threshold(net: Net, x: str, base: int, step: int, count: int = 1) -> str:
    channels = net.shape(x)[-1]
    limits = np.sort(np.linspace(-9, 9, channels * count).astype(int).reshape(channels, count) % 13 - 6, axis=1)
    return net.add(
        o.Threshold, x, thresholds=IntArray(limits), base=IntArray([base] * channels), step=IntArray([step] * channels)
    )


def _pad_point(net: Net, x: str) -> str:
    """A wall of +1 at one side: still two codes."""
    return net.add(o.Pad, x, pads=((0, 0), (0, 1), (0, 0)), value=1)


INPUTS: dict[str, tuple[Callable[[Net, str], str], int]] = {
    "signed": (lambda net, x: x, 0),
    "zero point": (lambda net, x: x, -11),
    "two bits": (lambda net, x: _threshold(net, x, 0, 1, 3), 0),
    "two bits, signed": (lambda net, x: _threshold(net, x, 1, -1, 3), 0),
    "two bits, zero point": (lambda net, x: _threshold(net, x, 9, 1, 2), 11),
    "0 and 1": (lambda net, x: _threshold(net, x, 1, -1), 0),
    "signs": (lambda net, x: _threshold(net, x, -1, 2), 0),
    "signs, padded": (lambda net, x: _pad_point(net, _threshold(net, x, -1, 2)), 0),
    "two codes about a zero point": (lambda net, x: _threshold(net, x, 10, -6), 7),
}
"""Name -> (the layers' input made from 5-bit codes, zero point of the layers)."""


def _conv(shape: tuple[int, int], **how: Any) -> Callable[..., str]:
    fields: dict[str, Any] = {"strides": (1, 1), "dilation": (1, 1), "padding": o.NO_PADDING, "groups": 1} | how

    def add(net: Net, x: str, draw: Draw, rng: np.random.Generator, **common: Any) -> str:
        channels, groups = net.shape(x)[-1], fields["groups"]
        groups = channels if groups == "depthwise" else groups
        outputs = 8 if groups == channels else 6
        weights = IntArray(draw(rng, (*shape, channels // groups, outputs)))
        bias = IntArray(rng.integers(-40, 41, outputs)) if rng.integers(2) else None
        return net.add(o.Conv2D, x, weights=weights, bias=bias, **(fields | {"groups": groups} | common))

    return add


def _transposed(net: Net, x: str, draw: Draw, rng: np.random.Generator, **common: Any) -> str:
    h, w, channels = net.shape(x)
    strides = (2, 1) if rng.integers(2) else (1, 1)
    size = ((h - 1) * strides[0] + 2, (w - 1) * strides[1] + 1)
    return net.add(
        o.ConvTranspose2D, x, weights=IntArray(draw(rng, (3, 2, channels, 3))), bias=None, strides=strides,
        padding=((1, 0), (0, 1)), output_size=size, **common,
    )  # fmt: skip


def _dense(net: Net, x: str, draw: Draw, rng: np.random.Generator, **common: Any) -> str:
    weights = IntArray(draw(rng, (net.shape(x)[-1], 6)))
    return net.add(o.Dense, x, weights=weights, bias=IntArray(rng.integers(-40, 41, 6)), **common)


LAYERS: dict[str, Callable[..., str]] = {
    "dense": _dense,
    "conv, padded": _conv((3, 3), padding=((1, 1), (1, 1))),
    "conv, strided and dilated": _conv((2, 2), strides=(2, 1), dilation=(1, 2), padding=((0, 1), (2, 0))),
    "conv 1d": _conv((1, 3), padding=((0, 0), (2, 0))),
    "groups": _conv((2, 1), groups=2, padding=((1, 0), (0, 0))),
    "depthwise": _conv((3, 3), groups="depthwise", padding=((1, 1), (1, 1))),
    "transposed": _transposed,
}


def network(
    inputs: str, cells: Sequence[tuple[str, str]], seed: int, folding: str = "mixed"
) -> tuple[Graph, dict[str, int]]:
    """One layer per cell (name of LAYERS, name of WEIGHTS), all on the same input; and a folding request.

    folding: "one", "all" or "mixed" (any of the units that are possible, drawn).
    """
    rng = np.random.default_rng(seed)
    net = Net(f"products {inputs}")
    make, zero = INPUTS[inputs]
    x = make(net, net.input((4, 3, 4), IntFormat(5, True)))
    outputs = []
    for layer, weights in cells:
        shift = int(rng.integers(3)) if rng.integers(2) else 0
        common = {"input_zero_point": zero, "product_shift": shift}
        outputs.append(LAYERS[layer](net, x, WEIGHTS[weights][1], rng, **common))
    graph = net.build(*outputs)
    request = {}
    for op in graph.ops:
        if op.output in outputs:
            units = foldings(op, graph[op.inputs[0]].shape, graph[op.output].shape)
            chosen = {"one": units[0], "all": units[-1], "mixed": units[rng.integers(len(units))]}[folding]
            request[op.layer] = chosen.products
    return graph, request
