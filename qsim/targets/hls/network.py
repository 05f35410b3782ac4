"""The dataflow network of the HLS target: processes, the streams between them, configurations, in graph order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qsim.ir import Graph
from qsim.targets.hls.fifo import DEFAULT_DEPTH, Reader, fork_depths, readers
from qsim.targets.hls.lower.tables import VIEWS
from qsim.targets.hls.text import Context, Table, View, const, wrapped
from qsim.targets.text import cell, one_line


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What processes write to and read from: a FIFO between two, or a port. type: of its elements."""

    name: str
    type: str


@dataclass(frozen=True, kw_only=True)
class Fifo(Stream):
    """A stream between two processes; depth: the elements that it holds."""

    depth: int


@dataclass(frozen=True, kw_only=True)
class Port:
    """A top-level AXI-Stream port of one tensor.

    type: of its beats, ``element`` of the tensor's codes, the same but with TLAST. stream: the one inside that carries
    the codes, the port itself but with TLAST. bits: of TDATA.
    """

    name: str
    type: str
    element: str
    stream: Stream
    bits: int
    tensor: str
    shape: str
    elements: int
    width: int
    file: str


@dataclass(frozen=True, kw_only=True)
class Written:
    """A process that is written out in the top file: the few whose number of streams varies."""

    name: str
    body: str
    comment: str
    ins: tuple[tuple[str, str], ...]
    outs: tuple[tuple[str, str], ...]
    statements: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()

    @property
    def signature(self) -> str:
        """The first line of the function's definition."""
        return signature(f"static void {self.name}", (*self.ins, *self.outs), " {")


@dataclass(frozen=True, kw_only=True)
class Traced:
    """The stream that carries a tensor's elements first."""

    stream: Stream
    tensor: str
    elements: int


@dataclass(frozen=True, kw_only=True)
class Call:
    """One line of the dataflow region, and what the trace records after it."""

    comment: str
    text: str
    trace: Traced | None


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A configuration struct and its constant tables, in the header of its layer."""

    name: str
    comment: str
    members: tuple[str, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the README's table of processes. name: of the output tensor; tensor: the same fit for a table.
    kernel: of the library, "" where the process is written out."""

    name: str
    kernel: str
    tensor: str
    what: str
    shape: str
    format: str
    products: str
    memory: int
    turns: int
    lanes: int
    terms: int
    multipliers: int


def signature(head: str, streams: Iterable[tuple[str, str]], tail: str) -> str:
    """``head`` with a stream reference per (name, element type), then ``tail``."""
    return wrapped(head, [f"hls::stream<{kind}> &{name}" for name, kind in streams], tail)


class Network:
    """The dataflow network of one graph: filled op by op."""

    def __init__(self, graph: Graph, context: Context, *, tlast: bool = False) -> None:
        self.graph, self.context, self.names, self.tlast = graph, context, context.names, tlast
        self.fifos: list[Fifo] = []
        self.calls: list[Call] = []
        self.written: list[Written] = []
        self.layers: dict[str, list[Configuration]] = {}
        self.rows: list[Row] = []
        self.readers = readers(graph)
        self.depths = fork_depths(graph)
        self.inputs = [self._port(e.tensor, f"{self.names[e.tensor]}_in") for e in graph.inputs]
        self.outputs: list[Port] = []
        for i, out in enumerate(graph.outputs):
            repeats = [e.tensor for e in graph.outputs[:i]].count(out.tensor)
            suffix = f"_out{repeats + 1}" if repeats else "_out"
            self.outputs.append(self._port(out.tensor, self.names[out.tensor] + suffix))
        self.sources: dict[str, Stream] = {}
        """Tensor -> the stream that its producer writes; an input's port."""
        self.reads: dict[Reader, Stream] = {}
        self.branches: dict[str, list[Stream]] = {}
        """Tensor -> the streams that carry it to its readers and then to its output ports."""
        for name in graph.tensors:
            self._plan(name)
        for port in self.inputs:
            if tlast:
                self._beats(port, "from_beats", [port.name, port.stream.name])
            traced = Traced(stream=port.stream, tensor=port.tensor, elements=port.elements)
            self.calls.append(Call(comment="", text="", trace=traced))
            self._distribute(port.tensor)
        for op in graph.ops:
            self._add(op.output)
        for port in self.outputs if tlast else ():
            self._beats(port, "to_beats", [port.stream.name, port.name])

    def _type(self, tensor: str) -> str:
        return f"tensors::{self.names[tensor]}_t"

    def _port(self, tensor: str, name: str) -> Port:
        t = self.graph[tensor]
        bits = -(-t.format.width // 8) * 8
        return Port(
            name=name,
            type=f"ports::{name}_t" if self.tlast else self._type(tensor),
            element=self._type(tensor),
            stream=self._fifo(f"{name}_codes", tensor) if self.tlast else Stream(name=name, type=self._type(tensor)),
            bits=bits if self.tlast else t.format.width,
            tensor=tensor,
            shape=" x ".join(map(str, t.shape)) or "1",
            elements=t.size,
            width=t.format.width,
            file=f"{name}.txt",
        )

    def _beats(self, port: Port, kernel: str, streams: list[str]) -> None:
        """The process between a port with TLAST and the stream of its codes."""
        comment = one_line(f"{port.tensor}: {port.elements} beats of {port.bits} bits, TLAST with the last")
        config = (const("elements", port.elements), const("bits", port.bits))
        view = View(equation="", kernel=kernel, config=config)
        text = self._call(view, f"{port.name}_beats", "ports", comment, streams)
        self.calls.append(Call(comment=comment, text=text, trace=None))

    def _fifo(self, name: str, tensor: str, depth: int = DEFAULT_DEPTH) -> Fifo:
        made = Fifo(name=name, type=self._type(tensor), depth=depth)
        self.fifos.append(made)
        return made

    def _plan(self, tensor: str) -> None:
        """Make the stream that the tensor's producer writes (for an input its port) and those that its readers read, in
        the order of ``readers``."""
        base = f"{self.names[tensor]}_s"
        entry = [p.stream for p in self.inputs if p.tensor == tensor]
        ports = [p.stream for p in self.outputs if p.tensor == tensor]
        read_by = self.readers[tensor]
        if not entry and not read_by and len(ports) == 1:
            self.sources[tensor], self.branches[tensor] = ports[0], ports
            return
        self.sources[tensor] = entry[0] if entry else self._fifo(base, tensor)
        if len(read_by) == 1 and not ports:
            self.reads[read_by[0]] = self.sources[tensor]
            self.branches[tensor] = [self.sources[tensor]]
            return
        for count, reader in enumerate(read_by):
            self.reads[reader] = self._fifo(f"{base}{count}", tensor, self.depths.get(reader, DEFAULT_DEPTH))
        self.branches[tensor] = [*(self.reads[reader] for reader in read_by), *ports]

    def _distribute(self, tensor: str) -> None:
        """Copy the tensor to all its readers, where it has not exactly one."""
        t, source, branches = self.graph[tensor], self.sources[tensor], self.branches[tensor]
        if branches == [source]:
            return
        if not branches:
            name = f"{self.names[tensor]}_discard"
            comment = one_line(f"{tensor}: nothing reads it")
            view = View(equation="", kernel="discard", config=(const("elements", t.size),))
            text = self._call(view, name, tensor, comment, [source.name])
            self.calls.append(Call(comment=comment, text=text, trace=None))
            return
        name = f"{self.names[tensor]}_fork"
        many = f"{len(branches)} readers" if len(branches) > 1 else "its port"
        self.written.append(
            Written(
                name=name,
                body="fork",
                comment=one_line(f"{tensor} to {many}"),
                ins=(("in0", self._type(tensor)),),
                outs=tuple((f"out{i}", self._type(tensor)) for i in range(len(branches))),
                sizes=(t.size,),
            )
        )
        self.calls.append(
            Call(
                comment="",
                text=wrapped(f"    {name}", [stream.name for stream in (source, *branches)], ";"),
                trace=None,
            )
        )

    def _configure(self, layer: str, configuration: Configuration) -> None:
        self.layers.setdefault(layer, []).append(configuration)

    def _call(self, view: View, name: str, layer: str, comment: str, streams: list[str]) -> str:
        """Register the configuration of a library kernel and give the text of its call."""
        if view.config:
            self._configure(
                layer,
                Configuration(name=f"{name}_cfg", comment=comment, members=view.config, tables=view.tables),
            )
        arguments = [*streams, *(f"params::{t.name}" for t in view.tables)]
        return wrapped(f"    qsim::{view.kernel}<params::{name}_cfg>", arguments, ";")

    def _add(self, tensor: str) -> None:
        op, t = self.graph.producers[tensor], self.graph[tensor]
        view = VIEWS[type(op)](op, self.context)
        name, target = self.names[tensor], self.sources[tensor]
        streams = []
        for i, source in enumerate(op.inputs):
            stream = self.reads[Reader(tensor, i)]
            if i in view.broadcasts:
                repeat = view.broadcasts[i]
                repeated = f"{name}_broadcast{i}"
                comment = one_line(f"{tensor}: {repeat.equation}")
                whole = self._fifo(f"{repeated}_s", source)
                text = self._call(repeat, repeated, op.layer, comment, [stream.name, whole.name])
                self.calls.append(Call(comment=comment, text=text, trace=None))
                stream = whole
            streams.append(stream.name)
        streams.append(target.name)
        shape = "x".join(map(str, t.shape)) or "1"
        comment = one_line(f"{tensor}: {view.equation}; {shape} {t.format}")
        if view.kernel:
            text = self._call(view, name, op.layer, comment, streams)
        else:
            self.written.append(
                Written(
                    name=f"{name}_process",
                    body=view.body,
                    comment=comment,
                    ins=tuple((f"in{i}", self._type(n)) for i, n in enumerate(op.inputs)),
                    outs=(("out0", self._type(tensor)),),
                    statements=view.statements,
                    sizes=view.sizes,
                )
            )
            text = wrapped(f"    {name}_process", streams, ";")
        self.calls.append(Call(comment=comment, text=text, trace=Traced(stream=target, tensor=tensor, elements=t.size)))
        self.rows.append(
            Row(
                name=tensor,
                kernel=view.kernel,
                tensor=cell(tensor),
                what=cell(view.equation),
                shape=shape,
                format=str(t.format),
                products=view.products,
                memory=view.memory,
                turns=view.turns,
                lanes=view.lanes,
                terms=view.terms,
                multipliers=view.multipliers,
            )
        )
        self._distribute(tensor)
