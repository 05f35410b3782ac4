"""Graph -> C99: model.h, model.c, weights.h, weights.c, the kernels that the model uses, a test main, build files.

One function per layer: an op and the elementwise ops fused behind it, so that a wide accumulator lives only as a block
on the stack. Stored tensors lie in one arena that the caller supplies. Kernels of templates/c/lib are copied as they
are and instantiated by kernels.h for the element types that occur.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from qsim.errors import UnsupportedError, UsageError
from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.targets.c import dpi
from qsim.targets.c.calls import output_copies, pointers_of, statements_of
from qsim.targets.c.layer import LayerView, c_string, describe, layer_view
from qsim.targets.c.lower.tables import LOWER
from qsim.targets.c.parts import ConstArray, Kernel, Lowering, Params
from qsim.targets.c.plan import ALIGNMENT, Schedule, schedule, scratch_of
from qsim.targets.c.types import CType, storage
from qsim.targets.target import Files
from qsim.targets.text import cell, header_lines, identifier, identifiers, library, one_line, render

_MAX_ELEMENTS = (1 << 31) - 1
_TEMPLATES = (
    "model.h", "model.c", "weights.h", "weights.c", "kernels.h", "main.c", "Makefile", "CMakeLists.txt", "README.md",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the emitted C."""

    prefix: str | None = field(
        default=None, metadata={"help": "What every public name starts with; default: from the model's name."}
    )
    dpi: bool = field(
        default=False,
        metadata={"help": "Add the folder dpi: the model as a DPI-C package for SystemVerilog simulators."},
    )

    def __post_init__(self) -> None:
        if self.prefix is not None and identifier(self.prefix) != self.prefix:
            raise UsageError(f"option prefix of target c must be a C identifier, not {self.prefix!r}")


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What the emitted model takes. rom: bytes of constant arrays; arena: bytes the caller supplies; stack: bytes of
    the local arrays of the largest layer function and the largest kernel, together."""

    rom: int
    arena: int
    stack: int


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input or output of the run function. name: of the argument. macro: what its constants start with."""

    name: str
    const: str
    type: str
    bytes: int
    size: int
    tensor: str
    text: str
    defines: tuple[tuple[str, str], ...]
    macro: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """A tensor's place in the arena, or a layer's working memory: bytes, and the layers while it is alive."""

    type: str
    name: str
    offset: int
    size: int
    first: int
    last: int
    tensor: str


@dataclass(frozen=True, kw_only=True)
class InputCheck:
    """What to refuse of an input whose C type holds more than its proven range: size: elements; condition: in C."""

    size: int
    condition: str


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A tensor as the test program's trace writes it. name: a C string literal."""

    name: str
    size: int
    bits: int
    signed: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Design:
    """Everything that the files of one model are made of; the fields are what the templates read."""

    graph: Graph
    header: list[str]
    model: str
    profile: str
    notes: list[str]
    boundaries: list[str]
    prefix: str
    macro: str
    alignment: int
    arena: int
    peak: int
    footprint: Footprint
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arrays: tuple[ConstArray, ...]
    symbols: Mapping[tuple[str, str], str]
    """(output tensor, role) -> symbol of the array that holds it."""
    kernels: tuple[Kernel, ...]
    library: tuple[str, ...]
    """Kernel files that are copied."""
    layers: tuple[LayerView, ...]
    buffers: tuple[Place, ...]
    checks: tuple[InputCheck, ...]
    statements: tuple[str, ...]
    copy_params: tuple[Params, ...]
    traced: tuple[Traced, ...]
    dpi: bool

    @property
    def kernel_headers(self) -> list[str]:
        """What the kernels' text needs besides qsim_common.h, each once."""
        return list(dict.fromkeys(h for k in self.kernels for h in k.headers))

    @property
    def arguments(self) -> list[str]:
        """Of the run function, after the arena."""
        return [f"{p.const}{p.type} *{p.name}" for p in (*self.inputs, *self.outputs)]

    @property
    def weight_arrays(self) -> dict[str, tuple[ConstArray, str]]:
        """Output tensor of each op with weights -> the array of weights.c that holds them (one for all ops with the
        same weights), and the family of the kernel that reads it."""
        arrays = {a.symbol: a for a in self.arrays}
        kernels = {k.params: k.family for k in self.kernels}
        families = {
            symbol: kernels[params.type]
            for layer in self.layers
            for params in layer.params
            if (symbol := dict(params.fields).get("weights")) is not None
        }
        return {
            tensor: (arrays[symbol], families[symbol])
            for (tensor, role), symbol in self.symbols.items()
            if role == "weights"
        }


def files(design: Design) -> Files:
    """Relative file name -> text."""
    more = {"kernel_headers": design.kernel_headers, "arguments": design.arguments, "cell": cell}
    made = {name: render(f"c/{name}.j2", design, **more) for name in _TEMPLATES}
    lib = library("c")
    made |= {name: lib[name] for name in design.library}
    if design.dpi:
        made |= dpi.files(_package(design))
    return made


def plan(graph: Graph, options: Options | None = None) -> Design:
    """The model in C. Raises UnsupportedError for what C's int64_t cannot compute exactly."""
    options = options or Options()
    prefix = options.prefix or identifier(graph.name).lower()
    _check(graph)
    names = identifiers(graph)
    order = schedule(graph)
    c = Lowering(graph, names, prefix)
    c.stored = frozenset(group.output for group in order.groups)
    constants = {
        op.output: LOWER[o.Constant](op, c).calls((), "", "", "")[0] for op in graph.ops if isinstance(op, o.Constant)
    }
    layers = tuple(layer_view(group, c) for group in order.groups)
    copies = output_copies(c, order)
    stack = max((layer.stack for layer in layers), default=0) + max((k.stack for k in c.kernels.values()), default=0)
    rom = sum(a.bytes for a in c.arrays.values())
    pointers = pointers_of(graph, names, order, constants)
    outputs = dict.fromkeys(x.tensor for x in graph.outputs)
    boundaries = [f"{out.tensor}: {out.boundary}" for out in graph.outputs if out.boundary != "linear"]
    return Design(
        graph=graph,
        header=header_lines(graph, "c"),
        model=one_line(graph.name),
        profile=one_line(graph.profile),
        notes=[one_line(n) for n in graph.notes],
        boundaries=[one_line(b) for b in boundaries],
        prefix=prefix,
        macro=prefix.upper(),
        alignment=ALIGNMENT,
        arena=order.memory.size,
        peak=order.memory.peak,
        footprint=Footprint(rom=rom, arena=order.memory.size, stack=stack),
        inputs=tuple(_port(graph, names, prefix, i.tensor, "in") for i in graph.inputs),
        outputs=tuple(_port(graph, names, prefix, name, "out") for name in outputs),
        arrays=tuple(c.arrays.values()),
        symbols=c.symbols,
        kernels=tuple(c.kernels.values()),
        library=_library_files(c),
        layers=layers,
        buffers=tuple(_places(graph, names, order)),
        checks=tuple(_input_checks(graph, names)),
        statements=tuple(statements_of(graph, names, order, layers, pointers, copies)),
        copy_params=tuple(params for params, _ in copies.values()),
        traced=tuple(_traced(t) for t in graph.tensors.values()),
        dpi=options.dpi,
    )


def _check(graph: Graph) -> None:
    for tensor in graph.tensors.values():
        if tensor.size > _MAX_ELEMENTS or tensor.range[1] >= 1 << 63:
            raise UnsupportedError(
                f"tensor {tensor.name!r} has {tensor.size} elements in [{tensor.range[0]}, {tensor.range[1]}]; the C "
                "target indexes with int32_t and computes in int64_t",
                way_out="use a smaller layer or fewer bits",
            )


def _library_files(c: Lowering) -> tuple[str, ...]:
    """The kernel files that the instances need, and what those include, sorted."""
    lib = library("c")
    wanted = ["qsim_common.h"]
    wanted += [name for kernel in c.kernels.values() for name in (kernel.template, *kernel.headers)]
    found: dict[str, None] = {}
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = None
            wanted += re.findall(r'#include "(\w+\.h)"', lib[name])
    return tuple(sorted(found))


def _places(graph: Graph, names: Mapping[str, str], order: Schedule) -> list[Place]:
    working = {scratch_of(group): group.output for group in order.groups}
    return [
        Place(
            type="uint8_t" if b.name in working else storage(graph[b.name].format).name,
            name=f"w_{names[working[b.name]]}" if b.name in working else f"t_{names[b.name]}",
            offset=order.memory.offsets[b.name],
            size=b.size,
            first=b.first,
            last=b.last,
            tensor=one_line(b.name),
        )
        for b in order.memory.buffers
    ]


def _input_checks(graph: Graph, names: Mapping[str, str]) -> list[InputCheck]:
    rows = []
    for entry in graph.inputs:
        tensor = graph[entry.tensor]
        t = storage(tensor.format)
        low, high = tensor.range
        full_low, full_high = (-(1 << (t.bits - 1)), (1 << (t.bits - 1)) - 1) if t.signed else (0, (1 << t.bits) - 1)
        x = f"in_{names[entry.tensor]}"
        bounds = [f"{x}[i] < {t.literal(low)}"] if low > full_low else []
        bounds += [f"{x}[i] > {t.literal(high)}"] if high < full_high else []
        if bounds:
            rows.append(InputCheck(size=tensor.size, condition=" || ".join(bounds)))
    return rows


def _port(graph: Graph, names: Mapping[str, str], prefix: str, name: str, direction: str) -> Port:
    tensor = graph[name]
    t: CType = storage(tensor.format)
    q = tensor.quantization
    macro = f"{prefix}_{direction}_{names[name]}".upper()
    low, high = tensor.range
    defines = [("SIZE", str(tensor.size)), ("LOW", t.literal(low)), ("HIGH", t.literal(high))]
    defines.append(("ZERO_POINT", str(q.zero_point)))
    defines = [(key, f"({value})" if value.startswith("-") else value) for key, value in defines]
    n, d = q.scale[0].numerator, q.scale[0].denominator
    if q.per_tensor and not q.offset[0] and n < 1 << 63 and d < 1 << 63:
        as_int64 = CType(64, True).literal
        defines += [("SCALE_NUMERATOR", as_int64(n)), ("SCALE_DENOMINATOR", as_int64(d))]
    return Port(
        name=f"{direction}_{names[name]}",
        const="const " if direction == "in" else "",
        type=t.name,
        bytes=t.bytes * tensor.size,
        size=tensor.size,
        tensor=one_line(name),
        text=describe(tensor),
        defines=tuple((f"{macro}_{key}", value) for key, value in defines),
        macro=macro,
    )


def _traced(tensor: Tensor) -> Traced:
    t = storage(tensor.format)
    return Traced(
        name=c_string(tensor.name),
        size=tensor.size,
        bits=t.bits,
        signed=int(t.signed),
        bytes=tensor.size * t.bytes,
    )


def _package(design: Design) -> dpi.Package:
    """What the DPI-C package wraps."""
    return dpi.Package(
        graph=design.graph,
        header=design.header,
        prefix=design.prefix,
        inputs=[dpi.Argument(p.name, p.type, p.macro) for p in design.inputs],
        outputs=[dpi.Argument(p.name, p.type, p.macro) for p in design.outputs],
    )


__all__ = ["Design", "Footprint", "InputCheck", "Options", "Place", "Port", "Traced", "files", "plan"]
