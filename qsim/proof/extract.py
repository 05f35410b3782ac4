"""Cutting layers out of a graph: each can then be emitted, simulated and debugged on its own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from qsim.errors import UsageError
from qsim.ir import Graph, Input, Output, Tensor
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Rounding
from qsim.proof.ranges import Interval, infer, input_interval


@dataclass(frozen=True, kw_only=True)
class Extract:
    """Cuts ``layers`` out of a graph as a graph of their own.

    Contract: given a graph that has every layer of ``layers``, the result has their ops, in order, under the same
    names; what they read of other layers are its inputs (constants come along), with the tensors' shapes, formats,
    quantization and proven ranges; what other layers or the graph's ends read of them are its outputs (the last op's
    tensor where nothing reads any). On codes that the whole graph computes, every tensor has the whole graph's codes.

    A cut input may hold any code of its tensor's range, element by element, where the whole graph may have proven
    narrower ranges for single elements. So ranges are proven anew; a sum whose format does not hold the new range is
    stored wider, and a table that does not cover it is extended by its end values, which the whole graph never reaches.

    name: of the cut graph; default: the graph's and the first layer's.
    Raises UsageError for an unknown layer and for layers that read nothing.
    """

    layers: tuple[str, ...]
    name: str = ""

    def __call__(self, graph: Graph) -> Graph:
        present = graph.layers()
        for layer in self.layers:
            if layer not in present:
                raise UsageError(f"model {graph.name!r} has no layer {layer!r}; it has: {', '.join(present)}")
        chosen = {op.output for op in graph.ops if op.layer in self.layers}
        read = {name for op in graph.ops if op.output in chosen for name in op.inputs}
        chosen |= {op.output for op in graph.ops if isinstance(op, o.Constant) and op.output in read}
        ops = [op for op in graph.ops if op.output in chosen]
        inputs = [self._input(graph, name) for name in graph.tensors if name in read - chosen]
        if not inputs:
            raise UsageError(f"layer {', '.join(map(repr, self.layers))} reads no tensor: there is nothing to cut out")
        tensors = {i.tensor: graph[i.tensor] for i in inputs}
        intervals = {i.tensor: input_interval(graph[i.tensor], i.low, i.high) for i in inputs}
        cut = []
        for op in ops:
            if isinstance(op, o.Lookup):
                op = _covering(op, intervals[op.inputs[0]])
            before = [tensors[name] for name in op.inputs]
            tensors[op.output], intervals[op.output] = _proven(
                op, [intervals[name] for name in op.inputs], before, graph[op.output]
            )
            cut.append(op)
        return Graph(
            name=self.name or f"{graph.name}.{self.layers[0]}",
            profile=graph.profile,
            inputs=tuple(inputs),
            outputs=_outputs(graph, ops, chosen),
            ops=tuple(cut),
            tensors=tensors,
        )

    @staticmethod
    def _input(graph: Graph, name: str) -> Input:
        for entry in graph.inputs:
            if entry.tensor == name:
                return entry
        low, high = graph[name].range
        return Input(tensor=name, rounding=Rounding.RND_CONV, low=low, high=high)


def _outputs(graph: Graph, ops: list[o.Op], chosen: set[str]) -> tuple[Output, ...]:
    """Constants that only came along are no outputs, although others may read them too."""
    ends = {out.tensor: out for out in graph.outputs}
    found = []
    for op in ops:
        outside = any(reader.output not in chosen for reader in graph.consumers[op.output])
        if (outside or op.output in ends) and not isinstance(op, o.Constant):
            found.append(ends.get(op.output, Output(tensor=op.output)))
    return tuple(found) or (Output(tensor=ops[-1].output),)


def _covering(op: o.Lookup, x: Interval) -> o.Lookup:
    """The lookup with a table that covers the interval."""
    low, high = x.bounds
    before = max(0, op.table_low - low)
    after = max(0, high - (op.table_low + op.table.shape[1] - 1))
    if not before and not after:
        return op
    table = np.pad(op.table.values, ((0, 0), (before, after)), mode="edge")
    return dataclasses.replace(op, table=IntArray(table), table_low=op.table_low - before)


def _proven(op: o.Op, inputs: list[Interval], before: list[Tensor], old: Tensor) -> tuple[Tensor, Interval]:
    """The op's output with its range proven from ``inputs``, in the old format where that holds it. Ops with bounds of
    their own, and softmax, end in their format whatever comes in."""
    bounded = op.bounds is not None or isinstance(op, o.Softmax)
    draft = old if bounded else dataclasses.replace(old, format=IntFormat(64, True))
    interval = infer(op, inputs, before, draft)
    low, high = interval.bounds
    fmt = old.format if bounded or old.format.holds(low, high) else IntFormat.for_range(low, high)
    return dataclasses.replace(old, format=fmt, range=(low, high)), interval


__all__ = ["Extract"]
