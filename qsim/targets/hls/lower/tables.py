"""The tables of the HLS target: op -> its view, what the templates show of it, and what it reads before it writes.
They have every entry.

Every string in a view is finished C++; the templates only lay it out.
"""

from __future__ import annotations

from qsim.ir import ops as o
from qsim.targets.hls.lower import combine, linear, move, pool, rescale, softmax
from qsim.targets.hls.lower.needs import NeedOf
from qsim.targets.hls.text import ViewOf

VIEWS: dict[type[o.Op], ViewOf] = {
    **linear.VIEWS,
    **combine.VIEWS,
    **rescale.VIEWS,
    **pool.VIEWS,
    **move.VIEWS,
    **softmax.VIEWS,
}
o.check_registry(VIEWS, "HLS views")

NEEDS: dict[type[o.Op], NeedOf] = {
    **linear.NEEDS,
    **combine.NEEDS,
    **rescale.NEEDS,
    **pool.NEEDS,
    **move.NEEDS,
    **softmax.NEEDS,
}
o.check_registry(NEEDS, "HLS FIFO depths")

__all__ = ["NEEDS", "VIEWS"]
