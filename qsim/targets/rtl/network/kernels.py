"""A graph as a network of streaming kernels: what the RTL target wires, and what its schedule is computed from.

Every stream carries one element per beat, in row-major order, frame after frame. A kernel reads one beat at a time of
its input streams and makes one output stream; where several kernels read a stream, each beat goes to all of them at
once. In front of every reader stands a FIFO (a ``Link``). A tensor of the graph is carried by exactly one stream; a
Reshape by its input's.

Streams compare by what they say; kernels are themselves alone, so that both serve as keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.ir.ops import Linear
from qsim.numerics import IntFormat
from qsim.targets.rtl.network.folding import Folding

Shape = tuple[int, ...]
Index = np.ndarray[tuple[int], np.dtype[np.int64]]
"""Positions in a frame, or values of a constant."""

PointwiseOp = o.Add | o.Mul | o.Extremum | o.Requantize | o.Divide | o.Threshold | o.Lookup
PoolOp = o.SumPool2D | o.MaxPool2D


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Beats of one element of ``format``; ``size`` of them make a frame.

    tensor: the tensor that it carries, or that it is made for; then ``part`` says what it is (e.g. ``filled``).
    """

    tensor: str
    part: str = ""
    format: IntFormat
    size: int

    @property
    def label(self) -> str:
        """Its name in comments and messages."""
        return f"{self.tensor}?{self.part}" if self.part else self.tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Kernel:
    """Base of all kernels."""

    layer: str
    inputs: tuple[Stream, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Maker(Kernel):
    """Base of the kernels that make a stream."""

    output: Stream


@dataclass(frozen=True, kw_only=True)
class Link:
    """The FIFO in front of input ``port`` of ``kernel``."""

    stream: Stream
    kernel: Kernel
    port: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Source(Maker):
    """A graph input: the tensor that its stream carries."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ConstantSource(Maker):
    """A constant, sent over and over."""

    values: Index


@dataclass(frozen=True, kw_only=True, eq=False)
class Sink(Kernel):
    """A graph output: the ``index``-th, in the graph's order; ``tensor`` is its name there."""

    index: int
    tensor: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Drain(Kernel):
    """Takes a stream that nothing reads."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pointwise(Maker):
    """One beat from every input gives one output beat, ``stages`` registers later (0: in the same cycle)."""

    op: PointwiseOp
    stages: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Window(Maker):
    """Sliding windows (see templates/rtl/lib/qsim_window.sv for the walk).

    size: input (H, W, C); out: (OH, OW); before: padding (top, left), negative where elements are skipped.
    delay: cycles from a walk's last step to its result in the queue. depth: ring words. credits: queue places.
    """

    op: Linear | PoolOp
    size: tuple[int, int, int]
    out: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    folding: Folding
    delay: int

    @property
    def row_words(self) -> int:
        return self.size[1] * self.size[2] // self.folding.word

    @property
    def depth(self) -> int:
        extent = (self.kernel[0] - 1) * self.dilation[0] + 1
        rows = min(extent, self.size[0]) + min(self.strides[0], self.size[0])
        return 1 << (rows * self.row_words - 1).bit_length()

    @property
    def rows(self) -> int:
        """Rows that the ring holds: at least the kernel's, and a stride's to write meanwhile."""
        return self.depth // self.row_words

    @property
    def credits(self) -> int:
        lanes, walk = self.folding.lanes, self.folding.walk
        return max(2, -(-(lanes + self.delay + 3) // max(walk, lanes)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduction(Maker):
    """Sum, max or min over the middle axis of (outer, reduced, inner)."""

    kind: Literal["sum", "max", "min"]
    outer: int
    reduced: int
    inner: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMaximum(Maker):
    """The first index of the maximum over the middle axis of (outer, reduced, inner)."""

    outer: int
    reduced: int
    inner: int


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftmaxRows(Maker):
    """TFLite's integer softmax over rows of ``length`` codes: ``inversion`` cycles go into the sum's reciprocal."""

    op: o.Softmax
    length: int
    inversion: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Repeat(Maker):
    """Each run of ``inner`` elements sent ``times`` times."""

    outer: int
    times: int
    inner: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask(Maker):
    """A box of ``sizes`` elements, ``steps`` apart, from ``before`` on, inside ``bounds``.

    insert: the input is the box, the output the bounds filled with ``value``; else the input is the bounds and the
    output the box.
    """

    insert: bool
    value: int
    bounds: Shape
    before: Shape
    sizes: Shape
    steps: Shape


def mask(kernel: Mask) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """For each element of the bounds, row-major: whether it belongs to the box."""
    inside = np.zeros(kernel.bounds, dtype=bool)
    box = zip(kernel.before, kernel.sizes, kernel.steps)
    inside[tuple(slice(b, b + (n - 1) * step + 1, step) for b, n, step in box)] = True
    return inside.reshape(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Join(Maker):
    """Takes ``lengths[i]`` elements from input i in turn."""

    lengths: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Permute(Maker):
    """A frame of ``size`` elements is stored; then output element i is element ``index[i]``."""

    size: int
    index: Index
    credits: int = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Product(Maker):
    """Matrix products of (batches, rows, inner) by (batches, inner, columns), one product per cycle."""

    op: o.MatMul
    batches: int
    rows: int
    inner: int
    columns: int
    credits: int = 8


@dataclass(frozen=True, kw_only=True)
class Network:
    """streams and kernels in order of creation; tensors: tensor name -> the stream that carries it; foldings: output
    tensor of each multiplying op -> its unit."""

    streams: tuple[Stream, ...]
    kernels: tuple[Kernel, ...]
    tensors: Mapping[str, Stream]
    foldings: Mapping[str, Folding] = field(default_factory=dict)

    @cached_property
    def links(self) -> Mapping[Stream, tuple[Link, ...]]:
        """Stream -> the FIFOs that its beats go to, in order of the kernels."""
        found: dict[Stream, list[Link]] = {stream: [] for stream in self.streams}
        for kernel in self.kernels:
            for port, stream in enumerate(kernel.inputs):
                found[stream].append(Link(stream=stream, kernel=kernel, port=port))
        return {stream: tuple(links) for stream, links in found.items()}

    def inputs(self, kernel: Kernel) -> tuple[Link, ...]:
        """The FIFOs in front of ``kernel``."""
        return tuple(Link(stream=stream, kernel=kernel, port=port) for port, stream in enumerate(kernel.inputs))

    def outputs(self, kernel: Kernel) -> tuple[Link, ...]:
        """The FIFOs behind ``kernel``."""
        return self.links[kernel.output] if isinstance(kernel, Maker) else ()


class Builder:
    """Collects kernels and the streams that they make."""

    def __init__(self, graph: Graph, foldings: Mapping[str, Folding]) -> None:
        self.graph, self.foldings = graph, foldings
        self.streams: list[Stream] = []
        self.kernels: list[Kernel] = []
        self.tensors: dict[str, Stream] = {}
        self._parts: set[tuple[str, str]] = set()

    def add(self, kernel: Maker) -> Stream:
        """Add a kernel and the stream that it makes, which is returned."""
        self.streams.append(kernel.output)
        self._parts.add((kernel.output.tensor, kernel.output.part))
        self.kernels.append(kernel)
        return kernel.output

    def carrier(self, tensor: str, fmt: IntFormat | None = None) -> Stream:
        """The stream for ``tensor``, in its own format or in ``fmt``."""
        found = self.graph[tensor]
        return Stream(tensor=tensor, format=fmt or found.format, size=found.size)

    def internal(self, tensor: str, part: str, fmt: IntFormat, size: int) -> Stream:
        """A stream that carries no tensor, but a step on the way to ``tensor``."""
        name, count = part, 1
        while (tensor, name) in self._parts:
            name, count = f"{part}{count}", count + 1
        return Stream(tensor=tensor, part=name, format=fmt, size=size)

    def stream(self, op: o.Op, port: int = 0) -> Stream:
        """The stream of an input of ``op``. It may be wider than the tensor that it carries: a Reshape, or the input
        of a Slice, whose tensor has a narrower range."""
        return self.tensors[op.inputs[port]]

    def network(self) -> Network:
        return Network(
            streams=tuple(self.streams), kernels=tuple(self.kernels), tensors=self.tensors, foldings=self.foldings
        )
