"""Real inputs that a model's input quantizer clips: which share, and what the likely mistake is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qsim.ir import Graph, Input
from qsim.numerics import Array
from qsim.simulate.engine import Arrays

_FAR = 1.5
"""Data beyond this multiple of the quantizer's limit were hardly made for it."""


def clipped_inputs(graph: Graph, x: Arrays) -> tuple[str, ...]:
    """A sentence for each input of which values lie more than half a step outside the quantizer's limits.

    x: real values as ``Simulator.quantize`` takes them. Rounding to the nearest limit is no clipping.
    """
    arrays = x if isinstance(x, Mapping) else {graph.inputs[0].tensor: x}
    found = [_sentence(graph, entry, np.asarray(arrays[entry.tensor])) for entry in graph.inputs]
    return tuple(text for text in found if text)


def _sentence(graph: Graph, entry: Input, values: Array) -> str:
    q = graph[entry.tensor].quantization
    step = float(q.scale[0])
    low, high = (float((code - q.zero_point) * q.scale[0]) for code in (entry.low, entry.high))
    real = values.astype(np.float64)
    outside = (real > high + step / 2) | (real < low - step / 2)
    count = int(outside.sum())
    if not count:
        return ""
    least, most = float(real.min()), float(real.max())
    cause = _cause(real, low, high, least, most)
    return (
        f"Input {entry.tensor!r}: {count:,} of {real.size:,} values ({100 * count / real.size:.3g} %) lie outside the "
        f"input quantizer's limits [{low:.6g}, {high:.6g}] and are clipped; the data reach from {least:.6g} to "
        f"{most:.6g}. {cause}"
    )


def _cause(real: Array, low: float, high: float, least: float, most: float) -> str:
    """The likeliest mistake, or what the limits come from."""
    whole = bool((real == np.rint(real)).all())
    if whole and least >= 0 and 1 < most <= 255 and most > _FAR * high:
        divisor = 256 if high < 1 else 255
        return f"Likely pixels of 0 to 255 that were not scaled: divide them by {divisor} as in training."
    if whole and least < 0 and least >= -128 and most <= 127 and max(-least, most) > _FAR * max(-low, high):
        return "Likely integer codes given as real values: add --codes (codes=True) if they are."
    if least < low and low >= 0 and most <= _FAR * high:
        return "Likely data centred around 0, where the model was trained on data from 0 up: scale them as in training."
    if max(abs(least), abs(most)) > _FAR * max(abs(low), abs(high)):
        return "Likely data that were scaled otherwise than in training: the quantizer's limits show what it expects."
    return "The limits come from the model's input quantizer, or from --input-format where it has none."
