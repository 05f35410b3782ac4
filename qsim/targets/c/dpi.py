"""The emitted C as a DPI-C package: the golden model inside any SystemVerilog simulator, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from qsim.ir import Graph, Tensor
from qsim.targets.c.layer import c_string
from qsim.targets.c.types import storage
from qsim.targets.text import identifier, identifiers, one_line, render

_PLAIN = ("Makefile", "README.md")
_NAMED = ("dpi.c", "dpi_pkg.sv", "dpi_check.sv", "dpi_example.sv")


@dataclass(frozen=True)
class Argument:
    """An argument of the run function: its name, its element type, what its limits' constants start with."""

    argument: str
    type: str
    limits: str


@dataclass(frozen=True, kw_only=True)
class Package:
    """The model that the package wraps. inputs, outputs: in the graph's order, each tensor once."""

    graph: Graph
    header: Sequence[str]
    prefix: str
    inputs: Sequence[Argument]
    outputs: Sequence[Argument]


@dataclass(frozen=True, kw_only=True)
class Traced:
    """Of a tensor: its number, where its elements begin in the wrapper's memory, and its format. name: a C string
    literal; lowest, span: its range as SystemVerilog literals; tdata: bits of its beats."""

    name: str
    text: str
    ident: str
    number: int
    offset: int
    size: int
    bits: int
    width: int
    signed: int
    shape: str
    dims: int
    low: int
    high: int
    lowest: str
    span: str
    tdata: int


@dataclass(frozen=True, kw_only=True)
class Port(Traced):
    """An input or output: also the C argument, and the stream that qsim's own RTL names so."""

    argument: str
    type: str
    limits: str
    stream: str


@dataclass(frozen=True, kw_only=True)
class View:
    """What the templates read."""

    header: Sequence[str]
    prefix: str
    macro: str
    model: str
    rtl_top: str
    tensors: list[Traced]
    elements: int
    rank: int
    inputs: list[Port]
    outputs: list[Port]


def files(package: Package) -> dict[str, str]:
    """The files of the folder ``dpi``: relative name -> text.

    ``<prefix>_dpi.c`` wraps the model, compiled with QSIM_TRACE, and keeps every tensor of the last frame;
    ``<prefix>_dpi_pkg.sv`` imports it; ``<prefix>_dpi_check.sv`` compares a stream of a design with it;
    ``<prefix>_dpi_example.sv`` is a test bench that drives a design and checks it so.
    """
    graph, prefix = package.graph, package.prefix
    names = identifiers(graph)
    tensors: dict[str, Traced] = {}
    offset = 0
    for number, (name, tensor) in enumerate(graph.tensors.items()):
        tensors[name] = _traced(tensor, names[name], number, offset)
        offset += tensor.size
    inputs = [tensors[e.tensor] for e in graph.inputs]
    outputs = [tensors[name] for name in dict.fromkeys(entry.tensor for entry in graph.outputs)]
    view = View(
        header=package.header,
        prefix=prefix,
        macro=prefix.upper(),
        model=one_line(graph.name),
        rtl_top=f"{identifier(graph.name)}_top",
        tensors=list(tensors.values()),
        elements=offset,
        rank=max(1, *(len(t.shape) for t in graph.tensors.values())),
        inputs=_ports(inputs, package.inputs, "s_axis"),
        outputs=_ports(outputs, package.outputs, "m_axis"),
    )
    made = {f"dpi/{prefix}_{name}": render(f"c/dpi/{name}.j2", view) for name in _NAMED}
    return made | {f"dpi/{name}": render(f"c/dpi/{name}.j2", view) for name in _PLAIN}


def _traced(tensor: Tensor, ident: str, number: int, offset: int) -> Traced:
    shape = tensor.shape or (1,)
    return Traced(
        name=c_string(tensor.name),
        text=one_line(tensor.name),
        ident=ident,
        number=number,
        offset=offset,
        size=tensor.size,
        bits=storage(tensor.format).bits,
        width=tensor.format.width,
        signed=int(tensor.format.signed),
        shape=", ".join(map(str, shape)),
        dims=len(shape),
        low=tensor.range[0],
        high=tensor.range[1],
        lowest=_literal(tensor.range[0]),
        span=_literal(tensor.range[1] - tensor.range[0] + 1),
        tdata=-(-tensor.format.width // 8) * 8,
    )


def _literal(value: int) -> str:
    """A number as SystemVerilog takes it whatever its size."""
    return f"{'-' * (value < 0)}64'sd{abs(value)}"


def _ports(tensors: Sequence[Traced], arguments: Sequence[Argument], stream: str) -> list[Port]:
    return [
        Port(
            **{entry.name: getattr(tensor, entry.name) for entry in fields(tensor)},
            argument=argument.argument,
            type=argument.type,
            limits=argument.limits,
            stream=stream if len(tensors) == 1 else f"{stream}_{tensor.ident}",
        )
        for tensor, argument in zip(tensors, arguments, strict=True)
    ]


__all__ = ["Argument", "Package", "files"]
