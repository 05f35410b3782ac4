"""TFLite's integer softmax over rows."""

from __future__ import annotations

from qsim.errors import UnsupportedError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.targets.rtl.lower.exponentials import MAX_ROW, exponentials
from qsim.targets.rtl.lower.parts import Instance, InstanceRule, StreamRule, module, streams
from qsim.targets.rtl.network.kernels import Builder, SoftmaxRows, Stream
from qsim.targets.rtl.text import Memory, flag, number, wide

SOFTMAX_INVERSION = 9
"""Cycles of the reciprocal in qsim_softmax.sv."""


def _softmax(b: Builder, op: o.Softmax) -> Stream:
    kernel = SoftmaxRows(
        output=b.carrier(op.output),
        layer=op.layer,
        inputs=(b.stream(op),),
        op=op,
        length=b.graph[op.output].shape[-1],
        inversion=SOFTMAX_INVERSION,
    )
    return b.add(kernel)


def _softmax_instance(kernel: SoftmaxRows, graph: Graph) -> Instance:
    x, y = kernel.inputs[0].format, kernel.output.format
    low, high = graph[kernel.op.inputs[0]].range
    table = exponentials(kernel.op, high - low, kernel.layer)
    if kernel.length > MAX_ROW:
        raise UnsupportedError(
            f"a softmax over {kernel.length} classes overflows TFLite's sum, which holds {MAX_ROW}", layer=kernel.layer
        )
    return Instance(
        module="qsim_softmax",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("LENGTH", number(kernel.length)),
            ("ENTRIES", number(len(table))),
            ("OUT_WIDTH", number(y.width)),
            ("LOW", wide(128, y.low, True)),
            ("HIGH", wide(128, y.high, True)),
        ),
        memories=(("TABLE", Memory(31, table)),),
    )


STREAMS: tuple[StreamRule, ...] = (streams(o.Softmax, _softmax),)
INSTANCES: tuple[InstanceRule, ...] = (module(SoftmaxRows, _softmax_instance),)
