"""The HLS C++ target: a top function with AXI-Stream ports, one DATAFLOW process per op, streams between them.

Options
-------
reuse: cycles that one output element of a layer with weights takes, each multiplier being used once per cycle: an
    integer for all layers, or a mapping from layer or tensor names to integers ("*" for the rest). 1 computes an
    element in one cycle with one multiplier per product. Default: the least that needs at most 32 multipliers.
part: the device for Vitis (default xc7a100tcsg324-1). clock_ns: its clock period in ns (default 5).
vectors: tensor name -> integer codes (N, *shape) of graph inputs and outputs, written to vectors/ for the test bench.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from qsim.emit.common import environment, header_lines, identifier, identifiers, library, one_line
from qsim.emit.hls_fifo import DEFAULT_DEPTH, fork_depths, readers
from qsim.emit.hls_text import Context, Table, View, ap_type, const, wrapped
from qsim.emit.hls_views import VIEWS
from qsim.errors import UsageError
from qsim.ir import Graph

DEFAULT_PART, DEFAULT_CLOCK_NS, DEFAULT_LANES = "xc7a100tcsg324-1", 5.0, 32
FILE_NAME = 80
"""Characters of a layer's or model's name that its file name keeps."""
OPTIONS = ("reuse", "part", "clock_ns", "vectors")


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A FIFO between two processes."""

    name: str
    type: str
    depth: int


@dataclass(frozen=True, kw_only=True)
class Port:
    """A top-level AXI-Stream port of one tensor."""

    name: str
    type: str
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
class Call:
    """One line of the dataflow region, and what the trace records after it: (stream, tensor, elements)."""

    comment: str
    text: str
    trace: tuple[str, str, int] | None


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A configuration struct and its constant tables, in the header of its layer."""

    name: str
    comment: str
    members: tuple[str, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the README's table of processes."""

    tensor: str
    what: str
    shape: str
    format: str
    products: str
    lanes: int
    terms: int
    multipliers: int


def signature(head: str, streams: Iterable[tuple[str, str]], tail: str) -> str:
    """``head`` with a stream reference per (name, element type), then ``tail``."""
    return wrapped(head, [f"hls::stream<{kind}> &{name}" for name, kind in streams], tail)


class _Design:
    """The dataflow network of one graph: filled op by op, then read by the templates."""

    def __init__(self, graph: Graph, context: Context) -> None:
        self.graph, self.context, self.names = graph, context, context.names
        self.streams: list[Stream] = []
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
        self.sources: dict[str, str] = {}
        self.branches: dict[str, list[str]] = {}
        for name in graph.tensors:
            self._plan(name)
        for port in self.inputs:
            self.calls.append(Call(comment="", text="", trace=(port.name, port.tensor, port.elements)))
            self._distribute(port.tensor)
        for op in graph.ops:
            self._add(op.output)

    def _type(self, tensor: str) -> str:
        return f"tensors::{self.names[tensor]}_t"

    def _port(self, tensor: str, name: str) -> Port:
        t = self.graph[tensor]
        return Port(
            name=name,
            type=self._type(tensor),
            tensor=tensor,
            shape=" x ".join(map(str, t.shape)) or "1",
            elements=t.size,
            width=t.format.width,
            file=f"{name}.txt",
        )

    def _stream(self, name: str, tensor: str, depth: int = DEFAULT_DEPTH) -> str:
        self.streams.append(Stream(name=name, type=self._type(tensor), depth=depth))
        return name

    def _plan(self, tensor: str) -> None:
        """Name the stream that the tensor's producer writes (for an input its port) and those that its readers read:
        one after the other, in the order of ``readers``, then its output ports. Declares those that are FIFOs."""
        base = f"{self.names[tensor]}_s"
        entry = [p.name for p in self.inputs if p.tensor == tensor]
        ports = [p.name for p in self.outputs if p.tensor == tensor]
        read_by = self.readers[tensor]
        if not entry and not read_by and len(ports) == 1:
            self.sources[tensor], self.branches[tensor] = ports[0], ports
            return
        self.sources[tensor] = entry[0] if entry else self._stream(base, tensor)
        if len(read_by) == 1 and not ports:
            self.branches[tensor] = [self.sources[tensor]]
            return
        self.branches[tensor] = [
            self._stream(f"{base}{count}", tensor, self.depths.get((op.output, i), DEFAULT_DEPTH))
            for count, (op, i) in enumerate(read_by)
        ] + ports

    def _distribute(self, tensor: str) -> None:
        """Copy the tensor to all its readers, where it has not exactly one."""
        t, source, branches = self.graph[tensor], self.sources[tensor], self.branches[tensor]
        if branches == [source]:
            return
        if not branches:
            name = f"{self.names[tensor]}_discard"
            comment = comment_text(f"{tensor}: nothing reads it")
            view = View(equation="", kernel="discard", config=(const("elements", t.size),))
            text = self._call(view, name, tensor, comment, [source])
            self.calls.append(Call(comment=comment, text=text, trace=None))
            return
        name = f"{self.names[tensor]}_fork"
        many = f"{len(branches)} readers" if len(branches) > 1 else "its port"
        self.written.append(
            Written(
                name=name,
                body="fork",
                comment=comment_text(f"{tensor} to {many}"),
                ins=(("in0", self._type(tensor)),),
                outs=tuple((f"out{i}", self._type(tensor)) for i in range(len(branches))),
                sizes=(t.size,),
            )
        )
        self.calls.append(Call(comment="", text=wrapped(f"    {name}", [source, *branches], ";"), trace=None))

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
            at = [(id(reader), position) for reader, position in self.readers[source]].index((id(op), i))
            stream = self.branches[source][at]
            if i in view.broadcasts:
                repeat = view.broadcasts[i]
                repeated = f"{name}_broadcast{i}"
                comment = comment_text(f"{tensor}: {repeat.equation}")
                target_stream = self._stream(f"{repeated}_s", source)
                text = self._call(repeat, repeated, op.layer, comment, [stream, target_stream])
                self.calls.append(Call(comment=comment, text=text, trace=None))
                stream = target_stream
            streams.append(stream)
        shape = "x".join(map(str, t.shape)) or "1"
        comment = comment_text(f"{tensor}: {view.equation}; {shape} {t.format}")
        if view.kernel:
            text = self._call(view, name, op.layer, comment, [*streams, target])
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
            text = wrapped(f"    {name}_process", [*streams, target], ";")
        self.calls.append(Call(comment=comment, text=text, trace=(target, tensor, t.size)))
        self.rows.append(
            Row(
                tensor=cell(tensor),
                what=cell(view.equation),
                shape=shape,
                format=str(t.format),
                products=view.products,
                lanes=view.lanes,
                terms=view.terms,
                multipliers=view.multipliers,
            )
        )
        self._distribute(tensor)


def _reuse(graph: Graph, option: object) -> dict[str, int]:
    """The reuse option by tensor and layer name; "" stands for the rest. Raises UsageError for anything else."""
    if option is None:
        return {}
    known = {op.layer for op in graph.ops} | {op.output for op in graph.ops}
    entries = dict(option) if isinstance(option, Mapping) else {"*": option}
    found = {}
    for name, value in entries.items():
        if name != "*" and name not in known:
            raise UsageError(f"option reuse names {name!r}, which is no layer or tensor of model {graph.name!r}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"option reuse of {name!r} is {value!r}; it must be an integer of at least 1")
        found["" if name == "*" else str(name)] = value
    return found


def _settings(options: Mapping[str, object]) -> tuple[str, float]:
    part, clock = options.get("part", DEFAULT_PART), options.get("clock_ns", DEFAULT_CLOCK_NS)
    if not isinstance(part, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", part):
        raise UsageError(f"option part is {part!r}; it must be a device name such as {DEFAULT_PART}")
    if isinstance(clock, bool) or not isinstance(clock, int | float) or not 0 < clock < 1e6:
        raise UsageError(f"option clock_ns is {clock!r}; it must be a clock period in nanoseconds")
    return part, float(clock)


def _vectors(design: _Design, option: object) -> dict[str, str]:
    """The vector files of the test bench: one sample per line, codes in row-major order."""
    if option is None:
        return {}
    if not isinstance(option, Mapping):
        raise UsageError("option vectors must map tensor names to integer arrays (N, *shape)")
    ports = {port.tensor: port for port in (*design.inputs, *design.outputs)}
    found = {}
    for tensor, codes in option.items():
        if tensor not in ports:
            raise UsageError(f"option vectors names {tensor!r}, which is no input or output of the model")
        array = np.asarray(codes)
        if array.dtype.kind not in "iu" or array.shape[1:] != design.graph[tensor].shape:
            raise UsageError(f"option vectors: {tensor!r} must be integers of shape (N, *{design.graph[tensor].shape})")
        rows = array.reshape(array.shape[0], -1).tolist()
        found[f"vectors/{ports[tensor].file}"] = "".join(" ".join(map(str, row)) + "\n" for row in rows)
    return found


def layer_headers(graph: Graph, layers: Mapping[str, list[Configuration]]) -> dict[str, str]:
    """Layer -> its header's file name, unique without regard to case; long names are cut as file systems demand."""
    found: dict[str, str] = {}
    taken: dict[str, None] = {}
    for layer in layers:
        base = candidate = identifier(layer)[:FILE_NAME].rstrip("_")
        count = 1
        while candidate.lower() in taken:
            count += 1
            candidate = f"{base}_v{count}"
        taken[candidate.lower()] = None
        found[layer] = f"{candidate}_params.h"
    return found


def top_name(graph: Graph) -> str:
    """The name of the top function and of its two files."""
    return f"{identifier(graph.name)[:FILE_NAME].rstrip('_')}_top"


def files(graph: Graph, options: Mapping[str, object]) -> dict[str, str]:
    """Every file of the target: relative name -> text. See the module's docstring for the options.

    Raises UsageError for an unknown or malformed option, UnsupportedError for an op with no exact streaming form.
    """
    if unknown := [name for name in options if name not in OPTIONS]:
        raise UsageError(f"target hls has no option {', '.join(unknown)}; it has {', '.join(OPTIONS)}")
    part, clock = _settings(options)
    context = Context(
        graph=graph,
        names=identifiers(graph),
        reuse=_reuse(graph, options.get("reuse")),
        max_lanes=DEFAULT_LANES,
    )
    design = _Design(graph, context)
    headers = layer_headers(graph, design.layers)
    top = top_name(graph)
    ports = [(p.name, p.type) for p in (*design.inputs, *design.outputs)]
    view = {
        "header": header_lines(graph, "hls"),
        "model": one_line(graph.name),
        "profile": one_line(graph.profile),
        "notes": [comment_text(note) for note in graph.notes],
        "top": top,
        "guard": top.upper() + "_H",
        "tensors": [
            (f"{context.names[t.name]}_t", ap_type(t.format), one_line(t.name), t.range) for t in graph.tensors.values()
        ],
        "streams": design.streams,
        "calls": design.calls,
        "written": design.written,
        "inputs": design.inputs,
        "outputs": design.outputs,
        "rows": design.rows,
        "forks": [s for s in design.streams if s.depth > DEFAULT_DEPTH],
        "multipliers": sum(row.multipliers for row in design.rows),
        "layer_headers": list(headers.values()),
        "part": part,
        "clock_ns": f"{clock:g}",
        "definition": signature(f"void {top}", ports, " {"),
        "declaration": signature(f"void {top}", ports, ";"),
        "top_call": wrapped(f"        {top}", [name for name, _ in ports], ";"),
        "c_string": c_string,
        "cell": cell,
    }
    env = environment()
    found = {
        f"src/{top}.h": env.get_template("hls/top.h.j2").render(view),
        f"src/{top}.cpp": env.get_template("hls/top.cpp.j2").render(view),
        "tb/testbench.cpp": env.get_template("hls/testbench.cpp.j2").render(view),
        "vitis.tcl": env.get_template("hls/vitis.tcl.j2").render(view),
        "Makefile": env.get_template("hls/Makefile.j2").render(view),
        "README.md": env.get_template("hls/README.md.j2").render(view),
    }
    layer_template = env.get_template("hls/params.h.j2")
    for layer, configurations in design.layers.items():
        name = headers[layer]
        guard = re.sub(r"[^A-Za-z0-9]", "_", name).upper()
        found[f"src/{name}"] = layer_template.render(
            view, layer=one_line(layer), layer_guard=guard, configurations=configurations
        )
    found.update({f"lib/{name}": text for name, text in library("hls").items()})
    found.update(_vectors(design, options.get("vectors")))
    return found


def comment_text(text: str) -> str:
    """``text`` for a // comment: one line that does not end in a trigraph for a backslash."""
    return one_line(text).replace("??/", "?? /")


def cell(text: str) -> str:
    """``text`` for a cell of a Markdown table."""
    return one_line(text).replace("|", "\\|")


def c_string(text: str) -> str:
    """``text`` as a C string literal, without trigraphs."""
    return '"' + one_line(text).replace('"', '\\"').replace("?", "\\?") + '"'
