"""What each layer's weights take: their encoding, and the memory that the emitted C and RTL hold them in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qsim.errors import UnsupportedError
from qsim.ir import Graph
from qsim.ir.ops import Linear
from qsim.proof.weights import encoding
from qsim.targets.c.design import weight_arrays
from qsim.targets.rtl.lower.tables import build, instance
from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.folding import choose


@dataclass(frozen=True, kw_only=True)
class WeightMemory:
    """The weights of one operation, at the targets' default options.

    tensor: its output. count: weights; distinct: different values among them. encoding: in words, with bits of a
    stored weight. c_bytes: of the array in weights.c, padding included, 0 where it is an earlier operation's array;
    rtl_bits: of the memory (.mem file), padding included. c_kernel, rtl_kernel: what computes the sums. None where the
    target cannot be emitted.
    """

    layer: str
    tensor: str
    count: int
    distinct: int
    encoding: str
    c_bytes: int | None
    c_kernel: str | None
    rtl_bits: int | None
    rtl_kernel: str | None


def weight_memory(graph: Graph) -> tuple[WeightMemory, ...]:
    """One entry per operation with weights, in the graph's order."""
    c, rtl = _c(graph), _rtl(graph)
    found = []
    for op in graph.ops:
        if not isinstance(op, Linear):
            continue
        c_bytes, c_kernel = c.get(op.output, (None, None))
        rtl_bits, rtl_kernel = rtl.get(op.output, (None, None))
        found.append(
            WeightMemory(
                layer=op.layer,
                tensor=op.output,
                count=op.weights.size,
                distinct=len(np.unique(op.weights.values)),
                encoding=str(encoding(op)),
                c_bytes=c_bytes,
                c_kernel=c_kernel,
                rtl_bits=rtl_bits,
                rtl_kernel=rtl_kernel,
            )
        )
    return tuple(found)


def _c(graph: Graph) -> dict[str, tuple[int, str]]:
    try:
        return {
            name: (0 if name in array.users else array.bytes, kernel)
            for name, (array, kernel) in weight_arrays(graph).items()
        }
    except UnsupportedError:
        return {}


def _rtl(graph: Graph) -> dict[str, tuple[int, str]]:
    """Output tensor -> bits of the weight memory, and the arithmetic of its products."""
    found = {}
    try:
        network = build(graph, choose(graph))
        for kernel in network.kernels:
            if isinstance(kernel, s.Window) and isinstance(kernel.op, Linear):
                made = instance(kernel, graph)
                memory = dict(made.memories)["WEIGHTS"]
                arithmetic = dict(made.parameters).get("KIND", "multiply").strip('"').lower()
                found[kernel.op.output] = memory.width * len(memory.words), arithmetic
    except UnsupportedError:
        return {}
    return found


__all__ = ["WeightMemory", "weight_memory"]
