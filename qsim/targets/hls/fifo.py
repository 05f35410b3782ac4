"""FIFO depths of the HLS design: how many elements each branch of a fork must hold so that nothing deadlocks.

Every process reads and writes its streams in a fixed order, so the design is a Kahn process network: whether it
deadlocks depends on the depths alone, and it does not if a single schedule exists that never overfills a FIFO. The
schedule used here asks for the elements of each join one at a time. Let J be the tensor in which all branches of a
forked tensor T meet again (its immediate post-dominator), and k count J's elements:

    made(k)    elements of T that exist once k elements of J do: the greatest demand of any branch
    read(k)    elements of T that one branch has taken by then
    depth      max over k of made(k) - read(k-1), the last step being the drain of the whole frame

A branch that is always the most demanding one, and whose reader has no other input to wait for, takes each element as
soon as it is made: it needs no depth of its own, and neither do streams with one reader. Branches that never meet again
get a whole frame, which is always enough: no process needs an element of the next frame to finish this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.targets.hls.lower.pool import disjoint_windows

DEFAULT_DEPTH = 2
"""The depth of a stream with one reader: the two places of a ping-pong register."""

Need = list[Array]
"""Per input: need[k] = elements read before output element k is written, k = 1 .. size; need[0] = 0."""


def _whole(inputs: Sequence[Tensor], out: Tensor) -> Need:
    """A frame buffer: everything is read before anything is written."""
    found = []
    for x in inputs:
        need = np.full(out.size + 1, x.size, dtype=np.int64)
        need[0] = 0
        found.append(need)
    return found


def _in_step(inputs: Sequence[Tensor], out: Tensor) -> Need:
    return [np.arange(out.size + 1, dtype=np.int64) for _ in inputs]


def _elementwise(op: o.Op, inputs: Sequence[Tensor], out: Tensor) -> Need:
    """In step, but a repeated input passes through a frame buffer first."""
    whole, step = _whole(inputs, out), _in_step(inputs, out)
    return [step[i] if x.size == out.size else whole[i] for i, x in enumerate(inputs)]


def _rows(inputs: Sequence[Tensor], out: Tensor, row_in: int, row_out: int) -> Need:
    """One input row is read before one output row is written."""
    k = np.arange(1, out.size + 1, dtype=np.int64)
    return [np.concatenate([[0], ((k - 1) // row_out + 1) * row_in])]


def _positions_read(x: Tensor, ends: tuple[Array, Array], channels_out: int) -> Array:
    """Elements read before the windows that end at image row ends[0][i] and column ends[1][j] (may lie outside) write
    their outputs, all channels of a pixel being read first."""
    height, width, channels = x.shape
    r, c = ends
    above = np.clip(r, 0, height)[:, None] * width
    within = np.where((r >= 0) & (r < height), 1, 0)[:, None] * np.clip(c + 1, 0, width)[None, :]
    pixels = (above + within).reshape(-1)
    return np.concatenate([[0], np.repeat(pixels * channels, channels_out)])


def _conv(op: o.Conv2D, inputs: Sequence[Tensor], out: Tensor) -> Need:
    ends = []
    for axis in (0, 1):
        extent = (op.weights.shape[axis] - 1) * op.dilation[axis] + 1
        ends.append(np.arange(out.shape[axis]) * op.strides[axis] - op.padding[axis][0] + extent - 1)
    return [_positions_read(inputs[0], (ends[0], ends[1]), out.shape[2])]


def _pool(op: o.SumPool2D | o.MaxPool2D, inputs: Sequence[Tensor], out: Tensor) -> Need:
    x = inputs[0]
    ends = []
    for axis in (0, 1):
        end = np.arange(out.shape[axis]) * op.strides[axis] - op.padding[axis][0] + op.pool[axis] - 1
        # without a window buffer a pool is complete at its last position inside the image
        ends.append(np.minimum(end, x.shape[axis] - 1) if disjoint_windows(op, x, out) else end)
    need = _positions_read(x, (ends[0], ends[1]), out.shape[2])
    # channels come one by one: the pixel's later channels are not yet read, unless the window ends outside the image
    channel = np.arange(out.size) % out.shape[2]
    rows, columns = np.broadcast_arrays(ends[0][:, None], ends[1][None, :])
    inside = (rows >= 0) & (rows < x.shape[0]) & (columns >= 0) & (columns < x.shape[1])
    early = np.repeat(inside.reshape(-1), out.shape[2]) * (out.shape[2] - 1 - channel)
    need[1:] -= early
    return [need]


def _concat(op: o.Concat, inputs: Sequence[Tensor], out: Tensor) -> Need:
    sizes = [math.prod(x.shape[op.axis :]) for x in inputs]
    k = np.arange(out.size + 1, dtype=np.int64)
    outer, inner = k // sum(sizes), k % sum(sizes)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [outer * n + np.clip(inner - start, 0, n) for n, start in zip(sizes, starts)]


def _pad(op: o.Pad, inputs: Sequence[Tensor], out: Tensor) -> Need:
    inside = np.zeros(out.shape, dtype=np.int64)
    inside[tuple(slice(b, b + n) for (b, _), n in zip(op.pads, inputs[0].shape))] = 1
    return [np.concatenate([[0], np.cumsum(inside.reshape(-1))])]


def _matmul(op: o.MatMul, inputs: Sequence[Tensor], out: Tensor) -> Need:
    a, b = inputs
    k = np.arange(out.size, dtype=np.int64)
    rows, matrices = k // out.shape[-1] + 1, k // math.prod(out.shape[-2:]) + 1
    return [
        np.concatenate([[0], rows * a.shape[-1]]),
        np.concatenate([[0], matrices * math.prod(b.shape[-2:])]),
    ]


def _argmax(op: o.ArgMax, inputs: Sequence[Tensor], out: Tensor) -> Need:
    inner = math.prod(inputs[0].shape[op.axis + 1 :])
    return _rows(inputs, out, inputs[0].shape[op.axis] * inner, inner)


def _last_axis(op: o.Op, inputs: Sequence[Tensor], out: Tensor) -> Need:
    return _rows(inputs, out, inputs[0].shape[-1], out.shape[-1])


NEEDS: dict[type[o.Op], Callable[[Any, Sequence[Tensor], Tensor], Need]] = {
    o.Constant: lambda op, inputs, out: [],
    o.Conv2D: _conv,
    o.ConvTranspose2D: lambda op, inputs, out: _whole(inputs, out),
    o.Dense: _last_axis,
    o.MatMul: _matmul,
    o.Add: _elementwise,
    o.Mul: _elementwise,
    o.Extremum: _elementwise,
    o.Concat: _concat,
    o.SumPool2D: _pool,
    o.MaxPool2D: _pool,
    o.Reduce: lambda op, inputs, out: _whole(inputs, out),
    o.Requantize: _elementwise,
    o.Divide: _elementwise,
    o.Threshold: _elementwise,
    o.Lookup: _elementwise,
    o.Softmax: _last_axis,
    o.Reshape: _elementwise,
    o.Transpose: lambda op, inputs, out: _whole(inputs, out),
    o.Pad: _pad,
    o.Slice: lambda op, inputs, out: _whole(inputs, out),
    o.Gather: lambda op, inputs, out: _whole(inputs, out),
    o.ArgMax: _argmax,
}
o.check_registry(NEEDS, "HLS FIFO depths")


def needs(graph: Graph, op: o.Op) -> Need:
    """How many elements of each input ``op`` has read before it writes each output element."""
    return NEEDS[type(op)](op, [graph[name] for name in op.inputs], graph[op.output])


def readers(graph: Graph) -> dict[str, list[tuple[o.Op, int]]]:
    """Tensor -> (op, input position) of everything that reads it; an op that reads it twice stands twice."""
    found: dict[str, list[tuple[o.Op, int]]] = {name: [] for name in graph.tensors}
    for op in graph.ops:
        for i, name in enumerate(op.inputs):
            found[name].append((op, i))
    return found


def meeting_points(graph: Graph) -> dict[str, str | None]:
    """Tensor -> the first tensor that everything made from it passes through (immediate post-dominator), or None."""
    order = [entry.tensor for entry in graph.inputs] + [op.output for op in graph.ops]
    place = {name: i for i, name in enumerate(order)}
    found: dict[str, str | None] = {}
    read_by = readers(graph)
    for name in reversed(order):
        meet: str | None = None
        for count, (op, _) in enumerate(read_by[name]):
            other: str | None = op.output
            if count == 0:
                meet = other
            while meet != other and meet is not None and other is not None:
                if place[meet] < place[other]:
                    meet = found[meet]
                else:
                    other = found[other]
            if meet is None or other is None:
                meet = None
                break
        found[name] = meet
    return found


def fork_depths(graph: Graph) -> dict[tuple[str, int], int]:
    """(output tensor of the reading op, input position) -> FIFO depth, for every branch of every forked tensor."""
    read_by, meets = readers(graph), meeting_points(graph)
    cache: dict[str, Need] = {}

    def need(op: o.Op) -> Need:
        if op.output not in cache:
            cache[op.output] = needs(graph, op)
        return cache[op.output]

    depths: dict[tuple[str, int], int] = {}
    for name, branches in read_by.items():
        if len(branches) < 2:
            continue
        size, meet = graph[name].size, meets[name]
        if meet is None:
            depths.update({(op.output, i): max(DEFAULT_DEPTH, size) for op, i in branches})
            continue
        made: dict[str, Array] = {meet: np.arange(graph[meet].size + 1, dtype=np.int64)}

        def demand(tensor: str, made: dict[str, Array] = made) -> Array:
            if tensor not in made:
                wanted = [need(op)[i][demand(op.output, made)] for op, i in read_by[tensor]]
                made[tensor] = np.maximum.reduce(wanted)
            return made[tensor]

        supply = np.append(demand(name), size)
        for op, i in branches:
            taken = need(op)[i][made[op.output]]
            if len(op.inputs) == 1 and np.array_equal(taken, demand(name)):
                depths[op.output, i] = DEFAULT_DEPTH
                continue
            behind = int((supply[1:] - taken).max())
            depths[op.output, i] = max(DEFAULT_DEPTH, behind)
    return depths
