"""Dense and convolutional layers of every source: weights in least form, the bias on the accumulator's grid."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.symbolic.value import ZERO, distinct, fraction_gcd, fractions
from qsim.numerics import Array
from qsim.quantizers import Weights

MOST_BIAS_SHIFT = 24
"""A bias finer than the accumulator by more bits than this is added by the rescale that follows instead."""


def per_output(weights: Weights) -> tuple[Array, Array]:
    """(int64 codes, scales per output channel (last axis), shape (C,) or ()) in least form: one scale per channel,
    and no factor common to all codes.

    Scales that differ within an output channel come down to their common grid.
    """
    codes, scale = weights.codes, np.asarray(weights.scale, dtype=object)
    if scale.ndim and scale.size > 1 and any(n > 1 for n in scale.shape[:-1]):
        full = np.broadcast_to(scale, codes.shape).reshape(-1, codes.shape[-1])
        grids = fractions([fraction_gcd(distinct(full[:, c])) or Fraction(1) for c in range(full.shape[1])])
        ratios = np.asarray(np.broadcast_to(scale, codes.shape) / grids)
        if max(abs(r.numerator).bit_length() for r in distinct(ratios)) > 32:
            raise UnsupportedError(
                "the weight scales within one output channel have no common grid",
                way_out="use one scale per output channel (scale_axis on the last axis) or alpha='auto_po2'",
            )
        codes = (codes.astype(object) * ratios).astype(np.int64)
        scale = grids
    else:
        scale = scale.reshape(-1) if scale.size > 1 else scale.reshape(())
    if any(s == 0 for s in distinct(scale)):
        # A channel of zeros under alpha='auto' has scale zero; any scale says the same of zero codes.
        codes = np.where(np.broadcast_to(scale == 0, codes.shape), 0, codes)
        scale = fractions([s or Fraction(1) for s in scale.reshape(-1).tolist()]).reshape(scale.shape)
    common = int(np.gcd.reduce(np.abs(codes).reshape(-1))) if codes.size else 0
    if common > 1:
        codes, scale = codes // common, np.asarray(scale * common)
    return codes, scale


def place_bias(bias: Array | None, acc_scale: Array) -> tuple[Array | None, int, Array]:
    """(integer bias or None, product_shift, real offset that stays pending) for real biases and accumulator scales.

    The bias goes onto the accumulator's grid, refined by up to MOST_BIAS_SHIFT bits. Where that is no grid for it
    (a scale that is no power of two), it stays a real offset, which the next rescale adds exactly.
    """
    none = fractions(0)
    if bias is None or distinct(bias) == [ZERO]:
        return None, 0, none
    ratio = np.asarray(bias / acc_scale)
    shift = 0
    for r in distinct(ratio):
        if r.denominator & (r.denominator - 1):
            return None, 0, bias
        shift = max(shift, r.denominator.bit_length() - 1)
    if shift > MOST_BIAS_SHIFT:
        return None, 0, bias
    codes = [int(r * (1 << shift)) for r in ratio.reshape(-1).tolist()]
    if max(abs(c) for c in codes) >= 1 << 61:
        return None, 0, bias
    return np.array(codes, dtype=np.int64), shift, none
