"""Blueoil's quantizers in Keras layers: trained ternary weights with two factors, plain layers with a quantized kernel.

Binary and other ternary weights need nothing of their own: their codes go into the op, their factor stays pending
until a quantizer makes a rescale or thresholds of it.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.lower.context import Context
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.sums import Make, Sums
from qsim.importers.symbolic.value import Value, fraction_gcd
from qsim.ir.ops import Add, Requantize
from qsim.numerics import INT64_SAFE, Array, IntArray, Overflow, Rescale, Rounding, Scheme, scalar
from qsim.quantizers.base import Weights, fractions_of
from qsim.quantizers.blueoil_numpy import TrainedTernary

WIDE_LEVEL = 255
"""Weights of two levels are split into two sums of inputs where a level exceeds this."""

MOST_LEVEL_BITS = 48
"""Two trained factors whose ratio takes more bits than this are refused."""


def trained_ternary(node: LayerNode, name: str, twin: TrainedTernary, array: Array) -> Weights:
    """TTQ weights as integers on the common grid of the two factors: 0, positive / grid and -negative / grid.

    Raises ModelError where the weights file lacks the factors, UnsupportedError where they have no common grid.
    """
    factors = []
    for factor in ("positive", "negative"):
        keys = [k for k in (f"{name}_quantizer/{factor}", f"depthwise_quantizer/{factor}") if k in node.weights]
        if not keys:
            raise ModelError(f"layer {node.name!r}: the weights file has no {factor!r} for its {twin.name}.")
        factors.append(np.asarray(node.weights[keys[0]]))
    twin = twin.with_factors(*factors)
    codes = twin.codes(array)
    levels = fractions_of([twin.positive, -twin.negative if twin.negative is not None else 0.0])
    if not any(levels):
        return Weights(np.zeros_like(codes), fractions_of(1.0))
    grid = fraction_gcd([abs(v) for v in levels if v])
    positive, negative = (int(v / grid) for v in levels)
    if max(abs(positive), abs(negative)).bit_length() > MOST_LEVEL_BITS:
        raise UnsupportedError(
            f"its trained factors {twin.positive} and {twin.negative} have no common grid in {MOST_LEVEL_BITS} bits",
            way_out="train longer or restart: one of the factors has all but vanished",
        )
    values = np.where(codes > 0, positive, np.where(codes < 0, negative, 0)).astype(np.int64)
    return Weights(values, fractions_of(grid))


def two_levels(codes: Array) -> tuple[int, int] | None:
    """The two distinct nonzero codes of ``codes``, where there are no others and one of them is wide; else None."""
    found = np.unique(codes[codes != 0])
    if len(found) != 2 or int(np.abs(found).max()) <= WIDE_LEVEL:
        return None
    return int(found[0]), int(found[1])


def split_linear(
    ctx: Context,
    node: LayerNode,
    value: Value,
    make: Make,
    codes: Array,
    levels: tuple[int, int],
    scale: Fraction,
    bias: Array | None,
    name: str,
) -> Value:
    """A linear op whose codes are 0 or one of two wide ``levels``: two sums of inputs, one multiplication each, added.

    The sums take additions only, as ternary weights do; their tensors are ``<name>.first`` and ``<name>.second``. The
    bias stays a real offset of the result, which the next rescale adds exactly. scale: of one unit of the result.
    """
    parts = []
    for suffix, level in zip(("first", "second"), levels):
        unit = np.asarray(scale * abs(level), dtype=object)
        mask = (codes == level).astype(np.int64)
        sums = Sums(
            inputs=(value.tensor,), output=f"{name}.{suffix}", layer=node.name, weights=IntArray(mask), bias=None
        )
        total = ctx.add(make(sums), unit, fractions_of(0))
        low, high = (end * abs(level) for end in ctx.b.tensor(total).range)
        if max(-low, high) > INT64_SAFE >> 1:
            raise UnsupportedError("its sums times the trained factors leave 62 bits", layer=node.name)
        rescale = Rescale(
            multiplier=scalar(abs(level)), addend=scalar(0), shift=scalar(0),
            rounding=Rounding.RND_CONV, scheme=Scheme.PLAIN,
        )  # fmt: skip
        parts.append(
            ctx.add(
                Requantize(
                    inputs=(total,),
                    output=f"{name}.{suffix}.scaled",
                    layer=node.name,
                    rescale=rescale,
                    overflow=Overflow.SAT,
                    low=low,
                    high=high,
                ),
                np.asarray(scale, dtype=object),
                fractions_of(0),
            )
        )
    offset = fractions_of(0) if bias is None else bias
    result = Value.of(value.tensor, node.name, value.shape, scale, offset)
    signs = tuple(1 if level > 0 else -1 for level in levels)
    tensor = ctx.add(
        Add(inputs=tuple(parts), output=name, layer=node.name, signs=signs, shifts=(0, 0), zero_points=(0, 0)),
        result.scale,
        result.offset,
    )
    return result.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape)
