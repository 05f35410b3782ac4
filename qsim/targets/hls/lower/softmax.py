"""HLS view of TensorFlow Lite's integer softmax."""

from __future__ import annotations

from qsim.ir import ops as o
from qsim.targets.hls.lower.needs import last_axis
from qsim.targets.hls.text import Context, View, const


def _softmax(op: o.Softmax, context: Context) -> View:
    out = context.graph[op.output]
    config = (
        const("rows", out.size // out.shape[-1]),
        const("size", out.shape[-1]),
        const("input_multiplier", op.input_multiplier),
        const("input_left_shift", op.input_left_shift),
        const("diff_min", op.diff_min),
        const("low", out.format.low),
        const("high", out.format.high),
    )
    return View(equation="TensorFlow Lite's integer softmax over the last axis", kernel="softmax", config=config)


VIEWS = dict((o.entry(o.Softmax, _softmax),))

NEEDS = dict((o.entry(o.Softmax, last_axis),))


__all__ = ["NEEDS", "VIEWS"]
