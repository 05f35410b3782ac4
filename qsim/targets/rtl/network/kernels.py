"""A graph as a network of streaming kernels: what the RTL target wires, and what its schedule is computed from.

Every stream carries one element per beat, in row-major order, frame after frame. A kernel reads one beat at a time of
its input streams and makes one output stream; where several kernels read a stream, each beat goes to all of them at
once. In front of every reader stands a FIFO (a ``Channel``). A tensor of the graph is carried by exactly one stream;
a Reshape by its input's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntFormat
from qsim.targets.rtl.network.folding import Folding

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Beats of one element of ``format``; ``size`` of them make a frame. ``readers``: (kernel, port) of each reader."""

    name: str
    format: IntFormat
    size: int
    readers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """Base of all kernels. ``name`` is also the name of the stream that it makes."""

    name: str
    layer: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Source(Kernel):
    """A graph input."""


@dataclass(frozen=True, kw_only=True)
class ConstantSource(Kernel):
    """A constant, sent over and over."""

    values: np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Sink(Kernel):
    """A graph output."""


@dataclass(frozen=True, kw_only=True)
class Drain(Kernel):
    """Takes a stream that nothing reads."""


@dataclass(frozen=True, kw_only=True)
class Pointwise(Kernel):
    """One beat from every input gives one output beat, ``stages`` registers later (0: in the same cycle)."""

    op: o.Op
    stages: int


@dataclass(frozen=True, kw_only=True)
class Window(Kernel):
    """Sliding windows (see templates/rtl/lib/qsim_window.sv for the walk).

    size: input (H, W, C); out: (OH, OW); before: padding (top, left), negative where elements are skipped.
    delay: cycles from a walk's last step to its result in the queue. depth: ring words. credits: queue places.
    """

    op: o.Op
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


@dataclass(frozen=True, kw_only=True)
class Reduction(Kernel):
    """Sum, max or min over the middle axis of (outer, reduced, inner)."""

    kind: str
    outer: int
    reduced: int
    inner: int


@dataclass(frozen=True, kw_only=True)
class ArgMaximum(Kernel):
    """The first index of the maximum over the middle axis of (outer, reduced, inner)."""

    outer: int
    reduced: int
    inner: int


@dataclass(frozen=True, kw_only=True)
class SoftmaxRows(Kernel):
    """TFLite's integer softmax over rows of ``length`` codes: ``inversion`` cycles go into the sum's reciprocal."""

    op: o.Softmax
    length: int
    inversion: int


@dataclass(frozen=True, kw_only=True)
class Repeat(Kernel):
    """Each run of ``inner`` elements sent ``times`` times."""

    outer: int
    times: int
    inner: int


@dataclass(frozen=True, kw_only=True)
class Mask(Kernel):
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


def mask(kernel: Mask) -> list[bool]:
    """For each element of the bounds, row-major: whether it belongs to the box."""
    inside = np.zeros(kernel.bounds, dtype=bool)
    box = zip(kernel.before, kernel.sizes, kernel.steps)
    inside[tuple(slice(b, b + (n - 1) * step + 1, step) for b, n, step in box)] = True
    return [bool(hit) for hit in inside.reshape(-1)]


@dataclass(frozen=True, kw_only=True)
class Join(Kernel):
    """Takes ``lengths[i]`` elements from input i in turn."""

    lengths: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Permute(Kernel):
    """A frame of ``size`` elements is stored; then output element i is element ``index[i]``."""

    size: int
    index: np.ndarray[tuple[int], np.dtype[np.int64]]
    credits: int = 4


@dataclass(frozen=True, kw_only=True)
class Product(Kernel):
    """Matrix products of (batches, rows, inner) by (batches, inner, columns), one product per cycle."""

    op: o.MatMul
    batches: int
    rows: int
    inner: int
    columns: int
    credits: int = 8


@dataclass(frozen=True)
class Network:
    """streams and kernels in order of creation; tensors: tensor name -> stream name; outputs: the Sinks' tensors."""

    streams: Mapping[str, Stream]
    kernels: tuple[Kernel, ...]
    tensors: Mapping[str, str]
    foldings: Mapping[str, Folding] = field(default_factory=dict)

    def kernel(self, name: str) -> Kernel:
        return next(k for k in self.kernels if k.name == name)


class Builder:
    """Collects kernels; the streams' readers are found at the end."""

    def __init__(self, graph: Graph, foldings: Mapping[str, Folding]) -> None:
        self.graph, self.foldings = graph, foldings
        self.streams: dict[str, Stream] = {}
        self.kernels: list[Kernel] = []
        self.tensors: dict[str, str] = {}

    def add(self, kernel: Kernel, fmt: IntFormat, size: int) -> str:
        """Add a kernel and the stream that it makes."""
        self.streams[kernel.name] = Stream(name=kernel.name, format=fmt, size=size)
        self.kernels.append(kernel)
        return kernel.name

    def internal(self, tensor: str, what: str) -> str:
        """A name for a stream that carries no tensor: no tensor can have it, since the separator is a control
        character, which identifiers drop."""
        base = f"{tensor}\x1f{what}"
        name, count = base, 1
        while name in self.streams:
            name, count = f"{base}{count}", count + 1
        return name

    def network(self) -> Network:
        readers: dict[str, list[tuple[str, int]]] = {name: [] for name in self.streams}
        for kernel in self.kernels:
            for port, stream in enumerate(kernel.inputs):
                readers[stream].append((kernel.name, port))
        streams = {name: replace(s, readers=tuple(readers[name])) for name, s in self.streams.items()}
        return Network(streams, tuple(self.kernels), self.tensors, self.foldings)
