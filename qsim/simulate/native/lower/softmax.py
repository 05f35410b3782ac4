"""Integer softmax."""

from __future__ import annotations

import numpy as np

from qsim.ir import ops as o
from qsim.numerics import saturating_rounding_doubling_high_mul
from qsim.reference.softmax import exp_on_negative_values
from qsim.simulate.native.chains import Unsuited
from qsim.simulate.native.lower.base import SOFTMAX, Call, Site
from qsim.simulate.native.structures import SoftmaxC

_MOST_EXPONENTIALS = 1 << 16


def softmax(op: o.Softmax, out: str, site: Site) -> Call:
    """An integer softmax over the last axis: the exponentials of all differences are a table. Raises Unsuited."""
    x, y = site.tensor(op.inputs[0]), site.tensor(out)
    low, high = x.range
    count = min(high - low, -op.diff_min) + 1
    if count > _MOST_EXPONENTIALS or x.shape[-1] > 4096:
        raise Unsuited("a softmax over too many values")
    scaled = saturating_rounding_doubling_high_mul(
        -np.arange(count, dtype=np.int64) << op.input_left_shift, np.asarray(op.input_multiplier)
    )
    params = SoftmaxC(
        type_in=site.types[x.name],
        type_out=site.types[out],
        columns=x.shape[-1],
        width=y.format.width,
        rows=x.size // x.shape[-1],
        low=y.format.low,
        high=y.format.high,
        count=count,
        table=site.keep.array(exp_on_negative_values(scaled), np.int32),
    )
    return site.call(SOFTMAX, params, x.shape[-1] * 8 + 64)
