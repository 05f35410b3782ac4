"""BatchNormalization at inference: an exact affine function per channel, pending until a quantizer arrives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.onnx.attributes import integer, number
from qsim.importers.onnx.context import Context, Made, Operand, Operator, constant_of, view_of
from qsim.importers.onnx.lower.combine import affine_constant
from qsim.importers.onnx.model import STANDARD, Node
from qsim.importers.symbolic.value import float32, fractions


def _batch_normalization(ctx: Context, node: Node, inputs: Sequence[Operand]) -> Made:
    """y = x * inv + (bias - mean * inv), inv = scale / sqrt(var + epsilon), in float64 and exact from then on."""
    x = view_of(node, inputs)
    if integer(node, "training_mode", 0) or any(node.outputs[1:]):
        raise UnsupportedError("it normalizes by the batch (training_mode)", way_out="export the model in eval mode")
    if not x.shape:
        raise ModelError(f"node {node.name!r}: BatchNormalization of a tensor without channels.")
    parts = []
    for position, name in ((1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")):
        found = constant_of(node, inputs, position, f"its {name}").floats().reshape(-1)
        if found.size != x.shape[0]:
            raise ModelError(f"node {node.name!r}: {found.size} numbers of {name} for {x.shape[0]} channels.")
        parts.append(found)
    scale, bias, mean, variance = parts
    spread = variance + float(float32(number(node, "epsilon", 1e-5)).item())
    if not (spread > 0).all():
        raise ModelError(f"node {node.name!r}: a variance plus epsilon is not positive.")
    inverse = scale / np.sqrt(spread)
    shape = (x.shape[0], *(1,) * (len(x.shape) - 1))
    factor, addend = fractions(inverse), fractions(bias) - fractions(mean) * fractions(inverse)
    if any(f == 0 for f in factor.tolist()):
        raise UnsupportedError("a channel's scale is zero", way_out="prune the channel")
    return [affine_constant(ctx, node, x, factor.reshape(shape), np.asarray(addend).reshape(shape))]


OPERATORS = {
    (STANDARD, "BatchNormalization"): Operator(
        _batch_normalization,
        reads=("epsilon", "training_mode"),
        idle=("momentum",),
        fixed={"spatial": 1},
        symbolic=True,
    ),
}
