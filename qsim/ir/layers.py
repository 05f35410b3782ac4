"""What each source layer needs, read off the graph: shapes, widths, accumulators, constants, multiplications."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Rescale


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """One source layer.

    operations: names of its integer operations, in order. output: its last tensor.
    tensors: all tensors that it makes. accumulator: its widest sum, where it accumulates.
    weights, weight_format: number of kernel weights and the least format of them; None where it has none.
    constant_bits: all its constants (kernels, biases, thresholds, tables, multipliers), each array at its least width.
    multiplications: products of one sample, padding included as the hardware would compute it.
    """

    layer: str
    operations: tuple[str, ...]
    output: Tensor
    tensors: tuple[str, ...]
    accumulator: Tensor | None
    weights: int
    weight_format: IntFormat | None
    constant_bits: int
    multiplications: int


def constants(op: o.Op) -> list[IntArray]:
    """Every constant array of an operation that varies by element or channel, in declaration order."""
    found: list[IntArray] = []
    for value in o.attributes(op).values():
        fields = (value.multiplier, value.addend, value.shift) if isinstance(value, Rescale) else (value,)
        found += [v for v in fields if isinstance(v, IntArray) and not v.is_scalar]
    return found


def multiplications(op: o.Op, inputs: list[Tensor], out: Tensor) -> int:
    """Products that one sample needs: for a convolution every output element times the size of its kernel."""
    match op:
        case o.Conv2D():
            return out.size * math.prod(op.weights.shape[:3])
        case o.ConvTranspose2D():
            return inputs[0].size * op.weights.shape[0] * op.weights.shape[1] * op.weights.shape[3]
        case o.Dense():
            return out.size * op.weights.shape[0]
        case o.MatMul():
            return out.size * inputs[0].shape[-1]
        case o.Mul():
            return out.size
        case _:
            return 0


def layer_facts(graph: Graph) -> tuple[LayerFacts, ...]:
    """One entry per source layer, in order of the layer's first operation."""
    found = []
    for layer in graph.layers():
        ops = [op for op in graph.ops if op.layer == layer]
        kernels = [op.weights for op in ops if isinstance(op, o.Linear)]
        sums = [graph[op.output] for op in ops if op.accumulates]
        found.append(
            LayerFacts(
                layer=layer,
                operations=tuple(type(op).__name__ for op in ops),
                output=graph[ops[-1].output],
                tensors=tuple(op.output for op in ops),
                accumulator=max(sums, key=lambda t: t.format.width) if sums else None,
                weights=sum(k.size for k in kernels),
                weight_format=(
                    IntFormat.for_range(min(k.low for k in kernels), max(k.high for k in kernels)) if kernels else None
                ),
                constant_bits=sum(a.size * a.format.width for op in ops for a in constants(op)),
                multiplications=sum(multiplications(op, [graph[n] for n in op.inputs], graph[op.output]) for op in ops),
            )
        )
    return tuple(found)


__all__ = ["LayerFacts", "constants", "layer_facts", "multiplications"]
