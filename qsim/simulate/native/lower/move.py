"""Static rearrangements."""

from __future__ import annotations

import numpy as np

from qsim.ir import ops as o
from qsim.reference.kernels import KERNELS as REFERENCE
from qsim.simulate.native.chains import Unsuited
from qsim.simulate.native.lower.base import MOVE, Call, Site
from qsim.simulate.native.structures import MoveC

Moved = o.Transpose | o.Pad | o.Slice | o.Gather


def move(op: Moved, site: Site) -> Call:
    """A static rearrangement, as copies of contiguous runs. Raises Unsuited."""
    x, y = site.tensor(op.inputs[0]), site.tensor(op.output)
    if site.types[x.name] != site.types[y.name]:
        raise Unsuited("a padding value of another element type")
    if max(x.size, y.size) >= 1 << 31:
        raise Unsuited("a tensor of 2**31 elements")
    marked = np.arange(x.size, dtype=np.int64).reshape(1, *x.shape)
    fill = 0
    if isinstance(op, o.Pad):
        fill = op.value
        index = np.pad(marked, ((0, 0), *op.pads), constant_values=-1).reshape(-1)
    else:
        index = np.asarray(REFERENCE[type(op)](op, [marked], [x], y)).reshape(-1)
    follows = np.where(index[:-1] < 0, index[1:] < 0, np.diff(index) == 1)
    breaks = np.flatnonzero(~follows) + 1
    starts = np.concatenate([[0], breaks])
    lengths = np.diff(np.concatenate([starts, [len(index)]]))
    params = MoveC(
        type=site.types[x.name],
        count=len(starts),
        size_in=x.size,
        size_out=y.size,
        fill=fill,
        from_=site.keep.array(index[starts], np.int32),
        to=site.keep.array(starts, np.int32),
        lengths=site.keep.array(lengths, np.int32),
    )
    return site.call(MOVE, params)
