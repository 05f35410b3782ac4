"""The SystemVerilog target: a streaming design of hand-written kernels, wired by a generated top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.numerics import IntFormat
from qsim.targets.rtl.lower.instances import Context, Instance, instance
from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.build import build
from qsim.targets.rtl.network.folding import choose
from qsim.targets.rtl.network.products import layer_products
from qsim.targets.rtl.network.schedule import Schedule, schedule_network
from qsim.targets.rtl.text import flag, mem_lines, number
from qsim.targets.text import environment, header_lines, identifier, identifiers, library, one_line

OPTIONS = ("folding",)


@dataclass(frozen=True, kw_only=True)
class Port:
    """An AXI4-Stream port of the top: ``prefix``_tdata and so on. tdata: its bits. size: beats of a frame."""

    prefix: str
    tensor: str
    input: bool
    tdata: int
    width: int
    signed: bool
    size: int


@dataclass(frozen=True, kw_only=True)
class Design:
    """Everything about the emitted design that its users look up.

    names: stream -> identifier (of its signals and its trace file). ports: inputs first, in the graph's order.
    """

    module: str
    network: s.Network
    schedule: Schedule
    names: Mapping[str, str]
    ports: tuple[Port, ...]

    @property
    def warm(self) -> int:
        """Cycles after a reset in which constants, and what is computed from them alone, fill their FIFOs: the
        schedule is that of a design that has been idle for so long."""
        constant = any(isinstance(k, s.ConstantSource) for k in self.network.kernels)
        return 4 * self.schedule.latency + 1000 if constant else 64


def design(graph: Graph, options: Mapping[str, object] | None = None) -> Design:
    """The streaming design of ``graph``.

    options: ``folding``, as in ``qsim.targets.rtl.network.folding.choose``. Raises UsageError for other options and
    UnsupportedError for what the target cannot express.
    """
    options = options or {}
    if unknown := [name for name in options if name not in OPTIONS]:
        raise UsageError(f"target rtl has no option {unknown[0]!r}; it has: {', '.join(OPTIONS)}")
    network = build(graph, choose(graph, options.get("folding")))
    names = _names(graph, network)
    ports = [_port(graph, network, names, e.tensor, "s_axis", len(graph.inputs) == 1) for e in graph.inputs]
    outputs = [e.tensor for e in graph.outputs]
    for index, tensor in enumerate(outputs):
        port = _port(graph, network, names, tensor, "m_axis", len(outputs) == 1)
        if tensor in outputs[:index]:
            port = Port(**{**port.__dict__, "prefix": f"{port.prefix}_copy{index}"})
        ports.append(port)
    return Design(
        module=f"{identifier(graph.name)}_top",
        network=network,
        schedule=schedule_network(network),
        names=names,
        ports=tuple(ports),
    )


def _names(graph: Graph, network: s.Network) -> dict[str, str]:
    """Stream -> identifier. Identifiers of tensors are free of double underscores; so those of other streams, which
    have one, differ from all of them."""
    tensors = identifiers(graph)
    return {
        name: tensors[name]
        if name in tensors
        else f"{tensors[name.split(chr(31))[0]]}__{identifier(name.split(chr(31))[1])}"
        for name in network.streams
    }


def _port(graph: Graph, network: s.Network, names: Mapping[str, str], tensor: str, prefix: str, alone: bool) -> Port:
    stream = network.streams[network.tensors[tensor]]
    ident = identifiers(graph)[tensor]
    return Port(
        prefix=prefix if alone else f"{prefix}_{ident}",
        tensor=tensor,
        input=prefix == "s_axis",
        tdata=-(-stream.format.width // 8) * 8,
        width=stream.format.width,
        signed=stream.format.signed,
        size=stream.size,
    )


def files(graph: Graph, options: Mapping[str, object]) -> dict[str, str]:
    """Every file of the design: relative name -> text."""
    d = design(graph, options)
    ctx = Context(graph, d.network)
    memories: dict[str, str] = {}
    kernels = [_kernel_view(k, d, ctx, memories) for k in d.network.kernels]
    header = header_lines(graph, "rtl")
    env = environment()
    views: dict[str, Any] = {
        "header": header,
        "module": d.module,
        "ports": d.ports,
        "streams": [_stream_view(stream, d) for stream in d.network.streams.values()],
        "kernels": kernels,
    }
    lib = library("rtl")
    made = {f"kernels/{name}": text for name, text in lib.items()}
    made[f"{d.module}.sv"] = env.get_template("rtl/top.sv.j2").render(views)
    made |= {f"mem/{name}": text for name, text in memories.items()}
    made["sources.f"] = "".join(f"{name}\n" for name in [*(f"kernels/{n}" for n in lib), f"{d.module}.sv"])
    made["check.ys"] = env.get_template("rtl/check.ys.j2").render(views | {"sources": sorted(lib)})
    made["README.md"] = env.get_template("rtl/README.md.j2").render(views | _readme_view(graph, d))
    return made


def _reader(d: Design, stream: str, kernel: s.Kernel, port: int) -> str:
    """The identifier of the FIFO in front of a kernel's port."""
    return f"{d.names[stream]}__q{d.network.streams[stream].readers.index((kernel.name, port))}"


def _stream_view(stream: s.Stream, d: Design) -> dict[str, Any]:
    ident = d.names[stream.name]
    return {
        "id": ident,
        "width": stream.format.width,
        "signed": flag(stream.format.signed),
        "comment": f"{one_line(stream.name)}: {stream.format}, {stream.size} beats a frame",
        "readers": [
            {"id": f"{ident}__q{i}", "depth": d.schedule.depths[stream.name, reader, port]}
            for i, (reader, port) in enumerate(stream.readers)
        ],
    }


def _kernel_view(kernel: s.Kernel, d: Design, ctx: Context, memories: dict[str, str]) -> dict[str, Any]:
    comment = f"{type(kernel).__name__} of layer {one_line(kernel.layer)}"
    if isinstance(kernel, s.Source):
        port = next(p for p in d.ports if p.input and p.tensor == kernel.name)
        unused = f"{port.prefix}_tlast"
        if port.tdata > port.width:
            unused += f", {port.prefix}_tdata[{port.tdata - 1}:{port.width}]"
        view = {"kind": "source", "prefix": port.prefix, "slice": f"[{port.width - 1}:0]", "unused": unused}
        return view | {"out": d.names[kernel.name], "comment": f"Input {one_line(kernel.name)}"}
    if isinstance(kernel, s.Sink | s.Drain):
        reader = _reader(d, kernel.inputs[0], kernel, 0)
        view = {
            "kind": "drain",
            "reader": reader,
            "id": f"{reader}_drain",
            "comment": f"Nothing reads {one_line(kernel.layer)}",
        }
        if isinstance(kernel, s.Drain):
            return view
        port = [p for p in d.ports if not p.input][int(kernel.name.rsplit("sink", 1)[1])]
        parameters = [
            ("WIDTH", number(port.width)),
            ("SIGNED", flag(port.signed)),
            ("TDATA", number(port.tdata)),
            ("SIZE", number(port.size)),
        ]
        return view | {
            "kind": "sink",
            "prefix": port.prefix,
            "id": f"{reader}_out",
            "parameters": parameters,
            "comment": f"Output {one_line(kernel.layer)}",
        }
    made = instance(kernel, ctx)
    ident = d.names[kernel.name]
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
    readers = [_reader(d, stream, kernel, port) for port, stream in enumerate(kernel.inputs)]
    return {
        "kind": "kernel",
        "module": made.module,
        "parameters": parameters,
        "id": f"{ident}__kernel",
        "clocked": made.clocked,
        "reads": bool(readers),
        "in_data": _packed(made, [f"{r}_data" for r in readers], [ctx.format(x) for x in kernel.inputs]),
        "in_valid": _side_by_side([f"{r}_valid" for r in readers]),
        "in_ready": _side_by_side([f"{r}_ready" for r in readers]),
        "out": ident,
        "comment": comment,
    }


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


def _readme_view(graph: Graph, d: Design) -> dict[str, Any]:
    rows = []
    for layer, cycles in d.schedule.cycles.items():
        rows.append((one_line(layer), cycles, d.schedule.multipliers.get(layer, 0)))
    return {
        "model": one_line(graph.name),
        "latency": d.schedule.latency,
        "interval": d.schedule.interval,
        "layers": rows,
        "multipliers": sum(d.schedule.multipliers.values()),
        "products": [
            {
                "layer": one_line(p.layer),
                "weights": p.weights,
                "encoding": str(p.encoding),
                "bits": p.bits,
                "lanes": d.network.foldings[p.tensor].products,
                "text": p.text,
            }
            for p in layer_products(graph, d.network.foldings)
        ],
        "shapes": {p.prefix: " x ".join(map(str, graph[p.tensor].shape)) for p in d.ports},
        "tensors": [
            (one_line(name), d.names[stream], str(d.network.streams[stream].format))
            for name, stream in d.network.tensors.items()
        ],
        "notes": [one_line(note) for note in graph.notes],
    }
