"""C part of TensorFlow Lite's integer softmax."""

from __future__ import annotations

from qsim.errors import UnsupportedError
from qsim.ir import ops as o
from qsim.targets.c.lower.loops import (
    whole,
)
from qsim.targets.c.parts import Lowering, Params, Part
from qsim.targets.c.types import I64, storage


def softmax(op: o.Softmax, c: Lowering) -> Part:
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    depth = x.shape[-1]
    way_out = "leave the softmax outside the hardware"
    if depth >= 4096:
        raise UnsupportedError(
            f"a softmax over {depth} elements overflows its 12-bit sum", layer=op.layer, way_out=way_out
        )
    if out.format.width > 16:
        raise UnsupportedError(f"a softmax into {out.format}", layer=op.layer, way_out=way_out)
    span = x.range[1] - x.range[0]
    if not 0 <= op.input_left_shift <= 31 or span << op.input_left_shift >= 1 << 62 or not I64.holds(*x.range):
        raise UnsupportedError(
            f"a softmax whose differences up to {span} are shifted left by {op.input_left_shift}",
            layer=op.layer,
            way_out=way_out,
        )
    xt, yt = storage(x.format), storage(out.format)
    bits = out.format.width
    kernel = c.kernel(
        "softmax",
        [xt.short, yt.short, str(bits)],
        [("QSIM_X", xt.name), ("QSIM_Y", yt.name), ("QSIM_BITS", str(bits))],
        "qsim_fixed_point.h",
    )
    values = {
        "multiplier": op.input_multiplier,
        "left_shift": op.input_left_shift,
        "diff_min": max(op.diff_min, -(1 << 31)),
        "low": out.format.low,
        "high": out.format.high,
        "depth": depth,
    }
    fields = tuple((name, "INT32_MIN" if v == -(1 << 31) else str(v)) for name, v in values.items())
    params = Params(kernel.params, c.local("softmax"), fields)
    return whole(
        op,
        c,
        [params],
        lambda xs, y: [f"{kernel.name}({xs[0]}, {y}, {x.size // depth}, &{params.name});"],
        f"TensorFlow Lite's integer softmax over {depth} elements",
    )


LOWER = dict((o.entry(o.Softmax, softmax),))


__all__ = ["LOWER"]
