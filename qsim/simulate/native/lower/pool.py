"""Windows and reductions over leading axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qsim.ir import ops as o
from qsim.simulate.native.chains import Unsuited, chain, fits32
from qsim.simulate.native.lower.base import POOL, Call, Site
from qsim.simulate.native.structures import LANES, PoolC


def pool(op: o.SumPool2D | o.MaxPool2D | o.Reduce, tail: Sequence[o.Elementwise], out: str, site: Site) -> Call:
    """A pooling, or a reduction over all leading axes. Raises Unsuited."""
    x, y = site.tensor(op.inputs[0]), site.tensor(op.output)
    channels = x.shape[-1]
    if site.types[x.name] == 4 or not fits32(*x.range, *y.range) or channels > LANES:
        raise Unsuited("sums wider than 32 bits")
    sizes: tuple[int, ...]
    if isinstance(op, o.Reduce):
        if op.axes != tuple(range(len(x.shape) - 1)) or len(x.shape) < 2:
            raise Unsuited("a reduction along inner dimensions")
        rows = x.size // channels
        if op.kind == "sum" and not fits32(rows * max(abs(x.range[0]), abs(x.range[1]))):
            raise Unsuited("sums wider than 32 bits")
        kind = ("sum", "max", "min").index(op.kind)
        sizes = (rows, 1, rows, 1, 1, 1, 0, 0, 1, 1)
    else:
        kind = 0 if isinstance(op, o.SumPool2D) else 1
        (top, _), (left, _) = op.padding
        if kind == 0 and not fits32(math.prod(op.pool) * max(abs(x.range[0]), abs(x.range[1]))):
            raise Unsuited("sums wider than 32 bits")
        sizes = (*x.shape[:2], *op.pool, *op.strides, top, left, *y.shape[:2])
    names = ("height", "width", "kernel_height", "kernel_width", "stride_height", "stride_width")
    fields = dict(zip((*names, "top", "left", "out_height", "out_width"), sizes, strict=True))
    params = PoolC(
        kind=kind,
        type_in=site.types[x.name],
        type_out=site.types[out],
        channels=channels,
        chain=chain(tail, site.graph, site.keep),
        **fields,
    )
    return site.call(POOL, params, max(LANES, channels) * 4 + 64)
