"""The emitted files of a design: a generated top that wires hand-written kernels, their memories, a README."""

from __future__ import annotations

from dataclasses import dataclass

from qsim.ir import Graph
from qsim.numerics import IntFormat
from qsim.targets.rtl.design import Design, Port
from qsim.targets.rtl.lower.parts import Instance, Param
from qsim.targets.rtl.lower.tables import instance
from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.products import layer_products
from qsim.targets.rtl.text import flag, mem_lines, number
from qsim.targets.target import Files
from qsim.targets.text import cell, environment, header_lines, library, one_line


@dataclass(frozen=True, kw_only=True)
class ReaderView:
    """A FIFO in front of a reader."""

    id: str
    depth: int


@dataclass(frozen=True, kw_only=True)
class StreamView:
    """The signals of a stream."""

    id: str
    width: int
    signed: str
    comment: str
    readers: tuple[ReaderView, ...]


@dataclass(frozen=True, kw_only=True)
class SourceView:
    """An input port wired to its stream. unused: the port's signals that nothing reads."""

    prefix: str
    slice: str
    unused: str
    out: str
    comment: str
    kind: str = "source"


@dataclass(frozen=True, kw_only=True)
class DrainView:
    """A stream that nothing reads."""

    reader: str
    id: str
    comment: str
    kind: str = "drain"


@dataclass(frozen=True, kw_only=True)
class SinkView:
    """A stream wired to its output port."""

    prefix: str
    reader: str
    id: str
    parameters: tuple[Param, ...]
    comment: str
    kind: str = "sink"


@dataclass(frozen=True, kw_only=True)
class KernelView:
    """An instance of a kernel's module."""

    module: str
    parameters: tuple[Param, ...]
    id: str
    clocked: bool
    reads: bool
    in_data: str
    in_valid: str
    in_ready: str
    out: str
    comment: str
    kind: str = "kernel"


View = SourceView | DrainView | SinkView | KernelView


@dataclass(frozen=True, kw_only=True)
class ProductsView:
    """A row of the README's table of weights."""

    layer: str
    weights: int
    encoding: str
    bits: int
    lanes: int
    text: str


def files(d: Design) -> Files:
    """Every file of a planned design: relative name -> text."""
    memories: dict[str, str] = {}
    kernels = [_view(kernel, d, memories) for kernel in d.network.kernels]
    lib = library("rtl")
    made = {f"kernels/{name}": text for name, text in lib.items()}
    made[f"{d.module}.sv"] = (
        environment()
        .get_template("rtl/top.sv.j2")
        .render(
            header=header_lines(d.graph, "rtl"),
            module=d.module,
            ports=d.ports,
            streams=[_stream_view(stream, d) for stream in d.network.streams],
            kernels=kernels,
        )
    )
    made |= {f"mem/{name}": text for name, text in memories.items()}
    made["sources.f"] = "".join(f"{name}\n" for name in [*(f"kernels/{n}" for n in lib), f"{d.module}.sv"])
    check = environment().get_template("rtl/check.ys.j2")
    made["check.ys"] = check.render(header=header_lines(d.graph, "rtl"), module=d.module, sources=sorted(lib))
    made["README.md"] = _readme(d)
    return made


def _reader(d: Design, link: s.Link) -> str:
    """The identifier of the FIFO in front of a kernel's port."""
    return f"{d.names[link.stream]}__q{d.network.links[link.stream].index(link)}"


def _stream_view(stream: s.Stream, d: Design) -> StreamView:
    return StreamView(
        id=d.names[stream],
        width=stream.format.width,
        signed=flag(stream.format.signed),
        comment=f"Stream {one_line(stream.label)}: {stream.format}, {stream.size} beats a frame",
        readers=tuple(
            ReaderView(id=_reader(d, link), depth=d.schedule.depths[link]) for link in d.network.links[stream]
        ),
    )


def _view(kernel: s.Kernel, d: Design, memories: dict[str, str]) -> View:
    match kernel:
        case s.Source():
            return _source(kernel, d)
        case s.Sink():
            return _sink(kernel, d)
        case s.Drain():
            reader = _reader(d, d.network.inputs(kernel)[0])
            return DrainView(reader=reader, id=f"{reader}_drain", comment=f"Nothing reads {one_line(kernel.layer)}")
        case s.Maker():
            return _kernel(kernel, d, memories)
        case _:
            raise TypeError(f"no view for {type(kernel).__name__}")


def _source(kernel: s.Source, d: Design) -> SourceView:
    port = d.port(kernel)
    spare = f", {port.prefix}_tdata[{port.tdata - 1}:{port.width}]" if port.tdata > port.width else ""
    return SourceView(
        prefix=port.prefix,
        slice=f"[{port.width - 1}:0]",
        unused=f"{port.prefix}_tlast{spare}",
        out=d.names[kernel.output],
        comment=f"Input {one_line(kernel.layer)}",
    )


def _sink(kernel: s.Sink, d: Design) -> SinkView:
    port, reader = d.port(kernel), _reader(d, d.network.inputs(kernel)[0])
    return SinkView(
        prefix=port.prefix,
        reader=reader,
        id=f"{reader}_out",
        parameters=(
            ("WIDTH", number(port.width)),
            ("SIGNED", flag(port.signed)),
            ("TDATA", number(port.tdata)),
            ("SIZE", number(port.size)),
        ),
        comment=f"Output {one_line(kernel.layer)}",
    )


def _kernel(kernel: s.Maker, d: Design, memories: dict[str, str]) -> KernelView:
    """The instance of a kernel; the text of its memory files goes into ``memories``."""
    made = instance(kernel, d.graph)
    ident = d.names[kernel.output]
    parameters = list(made.parameters)
    for parameter, memory in made.memories:
        name = f"{ident}__{parameter.lower()}.mem"
        memories[name] = mem_lines(memory)
        parameters.append((parameter, f'{{MEM_DIR, "/{name}"}}'))
    for parameter, stack in made.stacks:
        stem = f"{ident}__{parameter.lower()}"
        for level, memory in enumerate(stack):
            memories[f"{stem}{level:02d}.mem"] = mem_lines(memory)
        parameters.append((parameter, f'{{MEM_DIR, "/{stem}"}}'))
    readers = [_reader(d, link) for link in d.network.inputs(kernel)]
    return KernelView(
        module=made.module,
        parameters=tuple(parameters),
        id=f"{ident}__kernel",
        clocked=made.clocked,
        reads=bool(readers),
        in_data=_packed(made, [f"{r}_data" for r in readers], [stream.format for stream in kernel.inputs]),
        in_valid=_side_by_side([f"{r}_valid" for r in readers]),
        in_ready=_side_by_side([f"{r}_ready" for r in readers]),
        out=ident,
        comment=f"{type(kernel).__name__} of layer {one_line(kernel.layer)}",
    )


def _side_by_side(signals: list[str]) -> str:
    """Signals as one vector, the first one lowest."""
    return signals[0] if len(signals) == 1 else "{" + ", ".join(reversed(signals)) + "}"


def _packed(made: Instance, signals: list[str], formats: list[IntFormat]) -> str:
    if not signals:
        return ""
    if made.operand is None:
        return _side_by_side(signals)
    extended = []
    for signal, fmt in zip(signals, formats):
        missing = made.operand.width - fmt.width
        sign = f"{signal}[{fmt.width - 1}]" if fmt.signed else "1'b0"
        extended.append(signal if not missing else f"{{{{{missing}{{{sign}}}}}, {signal}}}")
    return _side_by_side(extended)


def _readme(d: Design) -> str:
    plan = d.schedule
    products = [
        ProductsView(
            layer=cell(p.layer),
            weights=p.weights,
            encoding=str(p.encoding),
            bits=p.bits,
            lanes=d.network.foldings[p.tensor].products,
            text=p.text,
        )
        for p in layer_products(d.graph, d.network.foldings)
    ]
    return (
        environment()
        .get_template("rtl/README.md.j2")
        .render(
            header=header_lines(d.graph, "rtl"),
            module=d.module,
            ports=d.ports,
            model=one_line(d.graph.name),
            latency=plan.latency,
            interval=plan.interval,
            layers=[(cell(layer), n, plan.multipliers.get(layer, 0)) for layer, n in plan.cycles.items()],
            multipliers=sum(plan.multipliers.values()),
            products=products,
            carried={port.prefix: (cell(port.tensor), _shape(port, d.graph)) for port in d.ports},
            tensors=[
                (cell(name), d.names[stream], str(stream.format)) for name, stream in d.network.tensors.items()
            ],
            notes=[one_line(note) for note in d.graph.notes],
        )
    )


def _shape(port: Port, graph: Graph) -> str:
    return " x ".join(map(str, graph[port.tensor].shape))
