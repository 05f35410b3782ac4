"""What the C emitter collects while it lowers a graph: constant arrays, kernel instances, parts of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from qsim.ir import Graph, Tensor
from qsim.ir.ops import Op
from qsim.numerics import Array
from qsim.targets.c.types import CType
from qsim.targets.text import one_line

BLOCK = 64
"""QSIM_BLOCK of qsim_common.h: elements of an intermediate result that a fused layer holds at once."""

SHARED = 16
"""Bytes from which equal arrays are held once; a layer's few shifts and factors stay its own, to be read beside it."""

Calls = Callable[[Sequence[str], str, str, str], list[str]]
"""(input pointers, output pointer, first element, number of elements) -> C statements."""


class BlockPointer(str):
    """A C expression that points at the current block's elements, not at the start of a tensor."""


@dataclass(frozen=True)
class ConstArray:
    """One array of weights.c."""

    symbol: str
    type: CType
    values: tuple[int, ...]
    comment: str
    users: list[str] = field(default_factory=list)
    """Output tensors of further ops that read it."""

    @property
    def bytes(self) -> int:
        return self.type.bytes * len(self.values)

    @property
    def text(self) -> str:
        """The comment, fit for C."""
        return one_line(f"{self.comment}; used by {', '.join(self.users)} too" if self.users else self.comment)

    @property
    def declaration(self) -> str:
        return f"const {self.type.name} {self.symbol}[{len(self.values)}]"

    @property
    def lines(self) -> list[str]:
        """The initialiser, at most 110 columns."""
        lines: list[str] = []
        row = ""
        for value in self.values:
            text = f"{self.type.literal(value)},"
            if row and len(row) + 1 + len(text) > 106:
                lines.append(row)
                row = ""
            row = f"{row} {text}" if row else text
        return [*lines, row]


@dataclass(frozen=True)
class Kernel:
    """One instance of the kernel templates/c/lib/qsim_<family>.h.

    headers: what the kernel's text needs besides qsim_common.h. stack: bytes of its local arrays.
    """

    name: str
    family: str
    defines: tuple[tuple[str, str], ...]
    headers: tuple[str, ...]
    stack: int

    @property
    def template(self) -> str:
        return f"qsim_{self.family}.h"

    @property
    def params(self) -> str:
        return f"{self.name}_params"


@dataclass(frozen=True)
class Params:
    """One constant parameter structure of a layer: its type, local name, and fields in C's order."""

    type: str
    name: str
    fields: tuple[tuple[str, str], ...]


@dataclass(kw_only=True)
class Part:
    """One op inside a layer function.

    loops: (variable, count) around the calls, outermost first. inner: elements of the output that one round of the
    loops makes, contiguous; the output is rounds x inner in row-major order. period: 0 for a kernel that makes its own
    sense of ``first`` (its place in the row), else the period of its parameters. temporaries: name and type of the
    scratch blocks that ``calls`` uses. notes: comment lines. block: elements of the output that one call makes at most.
    """

    calls: Calls
    params: list[Params] = field(default_factory=list)
    loops: tuple[tuple[str, int], ...] = ()
    inner: int = 1
    period: int = 0
    temporaries: list[tuple[str, CType]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    block: int = BLOCK


class Lowering:
    """Shared state of one emission."""

    def __init__(self, graph: Graph, names: dict[str, str], prefix: str) -> None:
        self.graph, self.names, self.prefix = graph, names, prefix
        self.arrays: dict[str, ConstArray] = {}
        self.symbols: dict[tuple[str, str], str] = {}
        """(output tensor, role) -> the array that holds it, its own or an earlier op's of the same content."""
        self._contents: dict[tuple[str, CType, tuple[int, ...]], str] = {}
        self.kernels: dict[str, Kernel] = {}
        self._locals: dict[str, int] = {}
        self.stored: frozenset[str] = frozenset()
        """Outputs of layer functions: what is no block inside one."""

    def begin_layer(self) -> None:
        """Names of parameter structures are local to a layer function."""
        self._locals = {}

    def local(self, family: str) -> str:
        """The next free name of a parameter structure in this layer: conv2d, requantize, requantize2, ..."""
        count = self._locals[family] = self._locals.get(family, 0) + 1
        return family if count == 1 else f"{family}{count}"

    def tensors(self, op: Op) -> list[Tensor]:
        return [self.graph[name] for name in op.inputs]

    def array(self, op: Op, role: str, values: Array | Sequence[int], ctype: CType, comment: str) -> str:
        """Register a constant array of ``op`` and return its C symbol: that of an earlier array where role and content
        are the same, as in layers called twice and in the steps of a recurrent layer."""
        flat = tuple(np.asarray(values).reshape(-1).tolist()) or (0,)
        symbol = f"{self.prefix}_{self.names[op.output]}__{role}"
        if ctype.bytes * len(flat) >= SHARED:
            symbol = self._contents.setdefault((role, ctype, flat), symbol)
        self.symbols[op.output, role] = symbol
        if symbol in self.arrays:
            self.arrays[symbol].users.append(op.output)
        else:
            self.arrays[symbol] = ConstArray(symbol, ctype, flat, comment)
        return symbol

    def kernel(
        self, family: str, tags: Sequence[str], defines: Sequence[tuple[str, str]], *headers: str, stack: int = 0
    ) -> Kernel:
        """The instance of templates/c/lib/qsim_<family>.h named by ``tags``, made at its first use."""
        name = "_".join((family, *tags))
        made = Kernel(name, family, tuple(defines), headers, stack)
        known = self.kernels.setdefault(name, made)
        if known != made:
            raise AssertionError(f"two kernels are named {name}")
        return known


Lower = Callable[[Op, Lowering], Part]
"""Makes the part of one op."""
