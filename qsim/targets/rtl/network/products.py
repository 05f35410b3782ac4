"""How the streaming design forms the products of each layer with constant weights, and what its weights take in memory.

The rule, with the figures behind it, stands in docs/binary.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.ir.ops import Linear
from qsim.proof.weights import WeightEncoding, encoding, sign_magnitude
from qsim.targets.rtl.network.folding import Folding, choose, is_multiplying

Arithmetic = Literal["multiply", "add", "shift", "planes", "xnor"]

PLANES_FROM, MIN_LANES = {1: 4, 2: 4, 3: 16, 4: 16}, 2
"""Bit planes are counted where inputs have so many bits -> and a lane sums at least so many, in at least so many
lanes, which share the sum of the inputs; else adding and subtracting takes less logic."""


@dataclass(frozen=True, kw_only=True)
class Products:
    """The products of one operation.

    arithmetic: xnor (bits compared and counted), planes (bit planes of the inputs masked and counted), add (added or
    subtracted), shift (shifted, then added or subtracted) or multiply. x_width, x_signed: the least bits of every input
    code minus its zero point, and of 0 (xnor: the one bit). high: xnor: the code that the bit 1 stands for. scale: the
    factor of the sum. weights: their number. bits: of the weight memory; it has no padding, since a word is what the
    unit reads in one cycle.
    """

    layer: str
    tensor: str
    encoding: WeightEncoding
    arithmetic: Arithmetic
    x_width: int
    x_signed: bool
    high: int
    scale: int
    weights: int
    bits: int

    @property
    def text(self) -> str:
        """The arithmetic in words."""
        return _TEXT[self.arithmetic]


_TEXT: dict[Arithmetic, str] = {
    "multiply": "multiplied",
    "add": "added or subtracted",
    "shift": "shifted, added or subtracted",
    "planes": "bit planes counted",
    "xnor": "compared and counted",
}


def products(graph: Graph, op: Linear, folding: Folding) -> Products:
    """The products of ``op`` in a unit of ``folding``.

    Binary weights: xnor where every input is +a or -a about its zero point and no gaps are filled in; else planes
    where PLANES_FROM and MIN_LANES say so; else add. Ternary weights: add. Powers of two: shift.
    """
    found = encoding(op)
    low, high = (end - op.input_zero_point for end in graph[op.inputs[0]].range)
    low, high = min(low, 0), max(high, 0)
    signed = low < 0
    width = max(1, high.bit_length(), (-low - 1).bit_length() if signed else 0) + signed
    arithmetic: Arithmetic = "multiply"
    scale = found.scale
    magnitude = None
    if found.kind == "binary" and not _has_gaps(op):
        magnitude = sign_magnitude(graph, op)
    if magnitude is not None:
        arithmetic, width, signed, scale = "xnor", 1, False, scale * magnitude
    elif found.kind == "binary" and width in PLANES_FROM and _counts(folding, PLANES_FROM[width]):
        arithmetic = "planes"
    elif not found.multiplies:
        arithmetic = "shift" if found.kind == "power_of_two" else "add"
        width, signed = width + (not signed), True
    return Products(
        layer=op.layer,
        tensor=op.output,
        encoding=found,
        arithmetic=arithmetic,
        x_width=width,
        x_signed=signed,
        high=0 if magnitude is None else op.input_zero_point + magnitude,
        scale=scale,
        weights=op.weights.size,
        bits=op.weights.size * found.bits,
    )


def _counts(folding: Folding, least: int) -> bool:
    return folding.shared and folding.word >= least and folding.lanes >= MIN_LANES


def _has_gaps(op: Linear) -> bool:
    """Whether zero points stand between the inputs of a window."""
    return isinstance(op, o.ConvTranspose2D) and op.strides != (1, 1)


def layer_products(graph: Graph, foldings: Mapping[str, Folding] | None = None) -> tuple[Products, ...]:
    """The products of every operation with constant weights, in order.

    foldings: output tensor -> unit, as ``qsim.targets.rtl.network.folding.choose`` gives them (default: its default).
    """
    chosen = choose(graph) if foldings is None else foldings
    ops = [op for op in graph.ops if isinstance(op, Linear)]
    assert all(is_multiplying(op) for op in ops)
    return tuple(products(graph, op, chosen[op.output]) for op in ops)


__all__ = ["MIN_LANES", "PLANES_FROM", "Arithmetic", "Products", "layer_products", "products"]
