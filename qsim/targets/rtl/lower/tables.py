"""The tables of the RTL target: op -> kernels, kernel -> module, pointwise op -> module. Each has every entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from qsim.ir import Graph
from qsim.ir.ops import check_registry
from qsim.targets.rtl.lower import combine, linear, move, pool, rescale, softmax
from qsim.targets.rtl.lower.parts import Instance, InstanceRule, module
from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.folding import Folding

STREAMS = dict(
    (
        *linear.STREAMS,
        *combine.STREAMS,
        *rescale.STREAMS,
        *pool.STREAMS,
        *move.STREAMS,
        *softmax.STREAMS,
    )
)
POINTWISE = dict((*combine.POINTWISE, *rescale.POINTWISE))


def _pointwise(kernel: s.Pointwise, graph: Graph) -> Instance:
    return POINTWISE[type(kernel.op)](kernel, graph)


_POINTWISE_RULE: InstanceRule = module(s.Pointwise, _pointwise)
INSTANCES = dict(
    (_POINTWISE_RULE, *linear.INSTANCES, *combine.INSTANCES, *pool.INSTANCES, *move.INSTANCES, *softmax.INSTANCES)
)
WIRES: tuple[type[s.Kernel], ...] = (s.Source, s.Sink, s.Drain)
"""Kernels that the top wires without a module of their own: ports, and streams that nothing reads."""


def _check() -> None:
    """Raise TypeError where a table lacks an entry or has one too many."""
    check_registry(STREAMS, "the streaming network")
    if set(POINTWISE) != set(get_args(s.PointwiseOp)):
        raise TypeError("the modules of pointwise ops: not exactly one entry for each")
    kinds = [kind for kind in _concrete(s.Kernel) if kind not in WIRES]
    if missing := [kind.__name__ for kind in kinds if kind not in INSTANCES]:
        raise TypeError(f"the modules of kernels: no entry for {missing}")


def _concrete(kind: type[s.Kernel]) -> list[type[s.Kernel]]:
    """The kernels that a network may hold: the leaves below ``kind``."""
    below = kind.__subclasses__()
    return [leaf for sub in below for leaf in _concrete(sub)] if below else [kind]


_check()


def build(graph: Graph, foldings: Mapping[str, Folding]) -> s.Network:
    """The network of ``graph`` with the given units for its multiplying ops.

    Raises UnsupportedError, naming the layer, for an op that has no streaming kernel.
    """
    b = s.Builder(graph, foldings)
    for entry in graph.inputs:
        b.tensors[entry.tensor] = b.add(s.Source(output=b.carrier(entry.tensor), layer=entry.tensor, inputs=()))
    for op in graph.ops:
        b.tensors[op.output] = STREAMS[type(op)](b, op)
    for index, out in enumerate(graph.outputs):
        b.kernels.append(s.Sink(index=index, tensor=out.tensor, layer=out.tensor, inputs=(b.tensors[out.tensor],)))
    read = {stream for kernel in b.kernels for stream in kernel.inputs}
    for stream in b.streams:
        if stream not in read:
            b.kernels.append(s.Drain(layer=stream.label, inputs=(stream,)))
    return b.network()


def instance(kernel: s.Kernel, graph: Graph) -> Instance:
    """The module instance of a kernel. Raises UnsupportedError where the module cannot be exact."""
    return INSTANCES[type(kernel)](kernel, graph)


__all__ = ["INSTANCES", "POINTWISE", "STREAMS", "build", "instance"]
