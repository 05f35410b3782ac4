"""The pieces of C++ that HLS views are made of: types, literals, constant tables, and the view of one op itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, IntFormat
from qsim.targets.text import one_line

TEXT_WIDTH = 112
"""Columns that an array initialiser may fill."""


def ap_type(fmt: IntFormat) -> str:
    """The ap type of a format."""
    return f"{'ap_int' if fmt.signed else 'ap_uint'}<{fmt.width}>"


def literal(value: int) -> str:
    """An integer as a C++ constant expression of its own value."""
    if -(1 << 31) < value < 1 << 31:
        return str(value)
    if value == -(1 << 63):
        return "(-9223372036854775807LL - 1)"
    return f"{value}{'LL' if value < 1 << 63 else 'ULL'}"


def const(name: str, value: int) -> str:
    """A member constant of a configuration."""
    kind = "int" if -(1 << 31) < value < 1 << 31 else "long long"
    return f"static const {kind} {name} = {literal(value)};"


def typedef(name: str, fmt: IntFormat) -> str:
    """A member type of a configuration."""
    return f"typedef {ap_type(fmt)} {name};"


def bits(*values: int) -> int:
    """The width of a signed integer that holds every one of ``values``."""
    return max(IntFormat.for_range(min(-1, v), max(0, v)).width for v in values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A constant array: ``static const type name[dims] = {text};``, below its comment. write: makes the text's lines,
    when a file is written and not while the design is planned."""

    name: str
    type: str
    dims: str
    write: Callable[[], list[str]]
    comment: str = ""

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The text."""
        return tuple(self.write())


def table(
    name: str, values: Array, fmt: IntFormat | None = None, *, hexadecimal: bool = False, comment: str = ""
) -> Table:
    """``values`` (any rank) as an array of the least width (or ``fmt``). hexadecimal: as words of bits."""
    fmt = fmt or IntArray(values).format
    digits = -(-fmt.width // 4)

    def rows(part: Array, indent: str) -> list[str]:
        if part.ndim > 1:
            found = []
            for sub in part:
                inner = rows(sub, indent + "    ")
                if len(inner) == 1 and len(inner[0]) + 3 <= TEXT_WIDTH:
                    found.append(f"{indent}{{{inner[0].strip()}}},")
                else:
                    found += [f"{indent}{{", *inner, f"{indent}}},"]
            return found
        whole = map(int, part.tolist())
        if hexadecimal:
            numbers = [f"0x{v:0{digits}x}" for v in whole]
        else:
            numbers = list(map(str if fmt.width < 32 else literal, whole))
        lines: list[str] = []
        first, width = 0, len(indent)
        for i, number in enumerate(numbers):
            width += len(number) + 2  # a comma, but behind the last one, and a space
            if width - (i + 1 == len(numbers)) > TEXT_WIDTH and i > first:
                lines.append(indent + ", ".join(numbers[first:i]) + ",")
                first, width = i, len(indent) + len(number) + 2
        return [*lines, indent + ", ".join(numbers[first:])]

    return Table(
        name=name,
        type=f"qsim::rom<{fmt.width}, {'true' if fmt.signed else 'false'}>::type",
        dims="".join(f"[{n}]" for n in values.shape),
        write=lambda: rows(values, "    "),
        comment=one_line(comment),
    )


def indices(name: str, values: Sequence[int]) -> Table:
    """Sizes and strides, as plain ints."""
    line = "    " + ", ".join(map(str, values))
    return Table(name=name, type="int", dims=f"[{len(values)}]", write=lambda: [line])


def wrapped(head: str, arguments: Sequence[str], tail: str) -> str:
    """``head(arguments)tail`` on one line, or with the arguments aligned behind the parenthesis, or, where that is
    too narrow, on lines of their own."""
    line = f"{head}({', '.join(arguments)}){tail}"
    if len(line) <= 120:
        return line
    indent = len(head) + 1
    if indent + max(map(len, arguments)) + len(tail) + 2 > 120:
        indent = len(head) - len(head.lstrip()) + 4
        lines, current = [f"{head}("], " " * indent
    else:
        lines, current = [], f"{head}("
    for i, argument in enumerate(arguments):
        piece = argument + ("," if i + 1 < len(arguments) else f"){tail}")
        start = not current.strip() or current.endswith("(")
        if not start and len(current) + 1 + len(piece) > 120:
            lines.append(current)
            current, start = " " * indent, True
        current += piece if start else f" {piece}"
    return "\n".join([*lines, current])


@dataclass(frozen=True, kw_only=True)
class View:
    """One op for the templates.

    kernel: function of templates/hls/lib, or "" where the process is written out in the top file (``body``).
    config: members of its configuration struct. tables: constant arrays, passed in order after the streams.
    statements, sizes: for bodies that are written out. broadcasts: input position -> view of the process that
    repeats that input to the output's shape. lanes, terms: products per cycle and products per output element.
    multipliers: how many of the lanes multiply. products: how products are formed, in a few words. memory: bits of
    the stored weights. turns: of the pipelined loops of a layer with products, per sample.
    """

    equation: str
    kernel: str = ""
    config: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    body: str = ""
    statements: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    broadcasts: Mapping[int, View] = field(default_factory=dict)
    lanes: int = 0
    terms: int = 0
    multipliers: int = 0
    products: str = ""
    memory: int = 0
    turns: int = 0


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a view function needs besides its op: the graph, identifiers, and how many cycles each product may take.

    reuse: tensor or layer name -> cycles per output element; "" is the default for all.
    """

    graph: Graph
    names: Mapping[str, str]
    reuse: Mapping[str, int]
    max_lanes: int

    def tensors(self, op: o.Op) -> list[Tensor]:
        return [self.graph[name] for name in op.inputs]

    def lanes(self, op: o.Op, terms: int, most: int = 0) -> int:
        """Products per cycle for ``terms`` products: ceil(terms / reuse), by default at most ``most`` or max_lanes."""
        wanted = self.reuse.get(op.output, self.reuse.get(op.layer, self.reuse.get("", 0)))
        if not wanted:
            wanted = -(-terms // (most or self.max_lanes))
        return -(-terms // min(wanted, terms))


ViewOf = Callable[[o.Op, Context], View]
"""Makes the view of one op."""


def centred(tensor: Tensor, zero_point: int) -> IntFormat:
    """The format of x - zero_point over x's format, zero included (what positions outside an image hold)."""
    fmt = tensor.format
    low, high = fmt.low - zero_point, fmt.high - zero_point
    return IntFormat.for_range(min(low, 0), max(high, 0))
