"""C parts of convolutions and dense layers whose weights are all +1 or -1: one bit per weight, no multiplication.

Where every code of the input is provably +1 or -1 as well (from the op that makes it), whole words are compared; where
the codes are 0 to 15 at most, their bit planes are masked with the weights and counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qsim.emit.c_parts import Kernel, Lowering, Params
from qsim.emit.c_types import CType, storage
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray

_MAX_WINDOW_WORDS = 256
"""Words of a window that a kernel packs on the stack (twice: signs and positions inside the image)."""

_MAX_PLANES = 4
"""Bits of input codes that are taken apart into planes; from five on, adding and subtracting is as short."""

_U32 = CType(32, False)


def has_sign_weights(weights: IntArray) -> bool:
    """Whether every weight is +1 or -1, and enough of them that words of 32 take less memory than bytes."""
    per_output = weights.size // weights.shape[-1]
    return bool((np.abs(weights.values) == 1).all()) and -(-per_output // 32) * 4 < per_output


def has_sign_codes(graph: Graph, name: str) -> bool:
    """Whether every code that the tensor can take is +1 or -1, seen through the ops that only move or select codes."""
    op = graph.producers.get(name)
    match op:
        case o.Threshold():
            ends = op.base.values, op.base.values + op.step.values
            return op.thresholds.shape[1] == 1 and all(bool((np.abs(e) == 1).all()) for e in ends)
        case o.Lookup():
            return bool((np.abs(op.table.values) == 1).all())
        case o.Constant():
            return bool((np.abs(op.values.values) == 1).all())
        case o.Pad():
            return abs(op.value) == 1 and has_sign_codes(graph, op.inputs[0])
        case o.MaxPool2D() | o.Reshape() | o.Transpose() | o.Slice() | o.Gather() | o.Concat():
            return all(has_sign_codes(graph, source) for source in op.inputs)
        case _:
            return False


def _packed(weights: Array) -> Array:
    """(outputs, taps) of +1 and -1 -> (outputs, words): bit k of a row, from the lowest, is 1 for +1."""
    outputs, taps = weights.shape
    words = -(-taps // 32)
    bits = np.zeros((outputs, words * 32), dtype=np.int64)
    bits[:, :taps] = weights > 0
    return np.asarray((bits.reshape(outputs, words, 32) << np.arange(32)).sum(axis=-1))


def binary_part(
    op: Any, c: Lowering, t: CType, weights: Array, groups: int, geometry: list[tuple[str, str]], image: dict[str, int]
) -> tuple[Kernel, Params, str]:
    """Kernel, parameters and a note for weights (outputs, taps); geometry: the fields of the window; image: its size.

    The call is that of a convolution at (row, column); a dense layer is a 1x1 convolution over a row of positions.
    """
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    xt, yt = storage(x.format), storage(out.format)
    packed = _packed(weights)
    words = packed.shape[1]
    defines = [("QSIM_X", xt.name), ("QSIM_Y", yt.name), ("QSIM_T", t.name)]
    layout = f"{op.output}: weights [{weights.shape[0]}][{words}], one bit per weight, 1 for +1 and 0 for -1"
    fields = [("weights", c.array(op, "weights", packed, _U32, layout))]
    bias = "NULL" if op.bias is None else c.array(op, "bias", op.bias.values, t, f"{op.output}: bias [{op.bias.size}]")
    fields += [("bias", bias), ("product_scale", t.literal(1 << op.product_shift))]
    words_fit = groups == 1 and op.input_zero_point == 0 and words <= _MAX_WINDOW_WORDS
    planes = x.range[1].bit_length() if x.range[0] >= 0 else 0
    if words_fit and has_sign_codes(c.graph, op.inputs[0]):
        kernel = c.kernel(
            "conv2d_xnor",
            [xt.short, yt.short, "in", t.short, str(words)],
            [*defines, ("QSIM_WORDS", str(words))],
            "qsim_bits.h",
            stack=2 * words * _U32.bytes,
        )
        note = "inputs and weights of one bit, compared word by word"
        fields += [(name, str(value)) for name, value in image.items()]
    elif words_fit and 1 <= planes <= _MAX_PLANES:
        kernel = c.kernel(
            "conv2d_planes",
            [xt.short, yt.short, "in", t.short, str(words), f"b{planes}"],
            [*defines, ("QSIM_WORDS", str(words)), ("QSIM_PLANES", str(planes))],
            "qsim_bits.h",
            stack=planes * words * _U32.bytes,
        )
        note = f"inputs in {planes} bit planes, masked with weights of one bit and counted"
        fields += [(name, str(value)) for name, value in image.items()]
    else:
        zero = op.input_zero_point != 0
        kernel = c.kernel(
            "conv2d_binary",
            [xt.short, yt.short, "in", t.short, *(["offset"] if zero else [])],
            [*defines, ("QSIM_ZERO_POINT", "p->input_zero_point" if zero else "0")],
        )
        note = "weights of one bit, added or subtracted"
        inputs, outputs = image["inputs"] // groups, weights.shape[0] // groups
        sizes = {"words": words, **image, "group_inputs": inputs, "group_outputs": outputs}
        fields += [("input_zero_point", t.literal(op.input_zero_point))]
        fields += [(name, str(value)) for name, value in sizes.items()]
    return kernel, Params(kernel.params, c.local(kernel.family), tuple(fields + geometry)), note


__all__ = ["binary_part", "has_sign_codes", "has_sign_weights"]
