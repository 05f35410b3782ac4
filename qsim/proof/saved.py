"""Graphs that a file holds: read behind the guard, and believed only where shapes and ranges can be shown again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from qsim.errors import GraphError, Place, QsimError, reading
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.ir.ops import output_shape
from qsim.ir.serialize import from_json
from qsim.proof.ranges import Interval, infer, input_interval
from qsim.reference.kernels import KERNELS

MOST_BYTES = 4 << 30
"""Of the file."""

MOST_ELEMENTS = 1 << 27
"""Of one tensor: its proven bounds take 16 bytes an element."""

_MOST_EXTENT = 1 << 20
"""Of a padding, stride, dilation or window."""


def read_graph(path: Path) -> Graph | None:
    """The graph that ``qsim.ir.serialize.to_json`` wrote into ``path``; None for a file that holds none.

    Raises GraphError, with the file's name, for a damaged one, and for one whose declared shapes or ranges are not
    those that its operations give: everything that runs the graph trusts them.
    """
    with reading(path, "a saved qsim graph", error=GraphError, most=MOST_BYTES) as place:
        data = path.read_bytes()
        if b'"qsim_graph"' not in data:
            return None
        try:
            top = json.loads(data)
        except (ValueError, RecursionError):
            return None  # for the reader of architectures to name
        if not isinstance(top, dict) or "qsim_graph" not in top:
            return None
        try:
            graph = from_json(data.decode("utf-8"))
            prove(graph, place)
        except QsimError as error:
            raise GraphError(f"{path}: {error}") from error
        return graph


def prove(graph: Graph, place: Place | None = None) -> None:
    """Raise GraphError unless every tensor has the shape and a range that holds what its op gives. place: told where
    the proof stands."""
    found: dict[str, Interval] = {}
    place = place or Place()
    for entry in graph.inputs:
        place.at = f"input {entry.tensor!r}"
        _size(graph, entry.tensor)
        if entry.low < graph[entry.tensor].range[0] or entry.high > graph[entry.tensor].range[1]:
            raise GraphError(f"input {entry.tensor!r}: its codes leave the declared range {graph[entry.tensor].range}")
        found[entry.tensor] = input_interval(graph[entry.tensor], entry.low, entry.high)
    for op in graph.ops:
        place.at = where = f"op {type(op).__name__} of layer {op.layer!r}"
        _size(graph, op.output)
        _extents(op, where)
        out = graph[op.output]
        shape = output_shape(op, [graph[name].shape for name in op.inputs], out.shape)
        if shape != out.shape:
            raise GraphError(f"{where}: tensor {out.name!r} is declared as {out.shape}, the op gives {shape}")
        tensors = [graph[name] for name in op.inputs]
        interval = infer(op, [found[name] for name in op.inputs], tensors, out)
        once = KERNELS[type(op)](op, [found[name].low[None] for name in op.inputs], tensors, out)
        if np.broadcast_shapes(once.shape[1:], shape) != shape:
            raise GraphError(f"{where}: its parameters give {once.shape[1:]} in place of {shape}")
        low, high = interval.bounds
        if low < out.range[0] or high > out.range[1]:
            raise GraphError(f"{where}: codes of {out.name!r} reach [{low}, {high}], beyond the declared {out.range}")
        found[op.output] = interval


def _size(graph: Graph, name: str) -> None:
    if graph[name].size > MOST_ELEMENTS:
        raise GraphError(f"tensor {name!r} has {graph[name].size:,} elements, more than {MOST_ELEMENTS:,}")


def _extents(op: o.Op, where: str) -> None:
    for key, value in o.attributes(op).items():
        if key in ("padding", "pads", "strides", "dilation", "pool", "output_size"):
            flat = str(value)
            if any(abs(int(number)) > _MOST_EXTENT for number in flat.translate(str.maketrans("(),", "   ")).split()):
                raise GraphError(f"{where}: {key} {flat[:60]} is out of all proportion")
