"""Writes model.json: the graph that edge_pair.v is meant to compute."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from qsim.ir import Graph, Quantization
from qsim.ir import ops as o
from qsim.ir.serialize import to_json
from qsim.numerics import IntArray, IntFormat, Overflow, Rounding, shift_only
from qsim.proof.builder import GraphBuilder

UPPER = [[-7, -11, -5], [2, 3, -1], [6, 12, 4]]
LOWER = [[-3, 1, 9], [-8, 5, 10], [-2, -6, 7]]
BIAS = [37, -90]


def graph() -> Graph:
    """A 10 x 12 grey picture, two 3x3 filters, each sum divided by 32 (half to even) and clipped to int8."""
    builder = GraphBuilder("edge_pair", "qkeras")
    unit = Quantization.of(Fraction(1, 256))
    x = builder.input("picture", (10, 12, 1), IntFormat(8, False), unit)
    kernel = np.stack([UPPER, LOWER], axis=-1)[:, :, None, :]
    sums = builder.add(
        o.Conv2D(
            inputs=(x,),
            output="sums",
            layer="filters",
            weights=IntArray(kernel),
            bias=IntArray(np.array(BIAS)),
            strides=(1, 1),
            dilation=(1, 1),
            padding=((0, 0), (0, 0)),
            groups=1,
        ),
        quantization=Quantization.of(Fraction(1, 1 << 12)),
    )
    edges = builder.add(
        o.Requantize(
            inputs=(sums,),
            output="edges",
            layer="filters",
            rescale=shift_only(5, Rounding.RND_CONV),
            overflow=Overflow.SAT,
            low=-128,
            high=127,
        ),
        quantization=Quantization.of(Fraction(1, 1 << 7)),
        format=IntFormat(8, True),
    )
    return builder.build([edges])


if __name__ == "__main__":
    Path(__file__).with_name("model.json").write_text(to_json(graph()), encoding="utf-8")
