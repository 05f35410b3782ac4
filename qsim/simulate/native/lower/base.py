"""A kernel's call, and where it stands."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.simulate.native.structures import Keep

CONV2D, DEPTHWISE, DENSE, COMBINE, POOL, MOVE, JOIN, SOFTMAX = range(8)
KINDS = ("conv2d", "depthwise", "dense", "combine", "pool", "move", "join", "softmax")
"""Kernels in the order of C's table."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One kernel's call. params: the address of its structure; scratch: bytes of working memory."""

    kind: int
    params: int
    scratch: int = 0


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a call stands: the graph, each stored tensor's element type (its number), who owns what C points to, and
    whether the library has dot products of bytes."""

    graph: Graph
    types: Mapping[str, int]
    keep: Keep
    dot: bool

    def tensor(self, name: str) -> Tensor:
        """A tensor of the graph."""
        return self.graph[name]

    def constant(self, name: str) -> bool:
        """Whether a tensor is a constant, or a constant in another shape: one array for all samples."""
        op = self.graph.producers.get(name)
        while isinstance(op, o.Reshape):
            op = self.graph.producers.get(op.inputs[0])
        return isinstance(op, o.Constant)

    def call(self, kind: int, params: ctypes.Structure, scratch: int = 0) -> Call:
        """A call of the kernel with these parameters."""
        return Call(kind=kind, params=self.keep.structures([params]), scratch=scratch)
