"""Writes model.json: the graph that plane_means.v is meant to compute."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from qsim.ir import Graph, Quantization
from qsim.ir import ops as o
from qsim.ir.serialize import to_json
from qsim.numerics import IntFormat, Overflow, Rounding, shift_only
from qsim.proof.builder import GraphBuilder


def graph() -> Graph:
    """The mean of each of two 4 x 4 planes, rounded down."""
    builder = GraphBuilder("plane_means", "qkeras")
    unit = Quantization.of(Fraction(1, 128))
    x = builder.input("picture", (4, 4, 2), IntFormat(8, True), unit)
    total = builder.add(
        o.Reduce(inputs=(x,), output="sums", layer="pool", kind="sum", axes=(0, 1), keepdims=False), quantization=unit
    )
    means = builder.add(
        o.Requantize(
            inputs=(total,),
            output="means",
            layer="pool",
            rescale=shift_only(4, Rounding.TRN),
            overflow=Overflow.SAT,
            low=-128,
            high=127,
        ),
        quantization=unit,
    )
    return builder.build([means])


if __name__ == "__main__":
    Path(__file__).with_name("model.json").write_text(to_json(graph()), encoding="utf-8")
