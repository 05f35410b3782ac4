"""The HLS C++ target: a top function with AXI-Stream ports, one DATAFLOW process per op, streams between them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Literal

import numpy as np

from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.numerics import Array
from qsim.targets.hls.fifo import DEFAULT_DEPTH
from qsim.targets.hls.network import (
    Call,
    Configuration,
    Fifo,
    Network,
    Port,
    Row,
    Written,
    signature,
)
from qsim.targets.hls.text import Context, ap_type, wrapped
from qsim.targets.target import Files, StoredWeights
from qsim.targets.text import cell, header_lines, identifier, identifiers, library, one_line, render
from qsim.version import install

DEFAULT_PART, DEFAULT_CLOCK_NS, DEFAULT_LANES = "xc7a100tcsg324-1", 5.0, 32
FILE_NAME = 80
"""Characters of a layer's or model's name that its file name keeps."""
REST = "*"
"""In the option reuse: every layer that is not named."""

Control = Literal["ap_ctrl_hs", "ap_ctrl_chain", "ap_ctrl_none", "s_axilite"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the emitted HLS C++."""

    reuse: int | Mapping[str, int] | None = field(
        default=None,
        metadata={
            "help": "Cycles that one output element of a layer with weights takes, each multiplier being used once "
            f"per cycle; for all layers, or by layer or tensor name ('{REST}' for the rest). 1: one multiplier per "
            f"product. Default: the least that needs at most {DEFAULT_LANES} multipliers."
        },
    )
    part: str = field(default=DEFAULT_PART, metadata={"help": "The device for Vitis."})
    clock_ns: float = field(default=DEFAULT_CLOCK_NS, metadata={"help": "Its clock period in ns."})
    tlast: bool = field(
        default=False,
        metadata={
            "help": "Ports with TLAST, TKEEP and TSTRB and data of whole bytes (ap_axiu), as a DMA wants them; else "
            "ports are the exact width of their tensor and have TDATA, TVALID and TREADY only."
        },
    )
    control: Control = field(default="ap_ctrl_hs", metadata={"help": "The protocol of the block."})
    vectors: Mapping[str, Array] | None = field(
        default=None,
        metadata={
            "help": "Integer codes (N, *shape) of graph inputs and outputs by tensor name, written to vectors/ for the "
            "test bench."
        },
    )

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.part):
            raise UsageError(f"option part is {self.part!r}; it must be a device name such as {DEFAULT_PART}")
        if not 0 < self.clock_ns < 1e6:
            raise UsageError(f"option clock_ns is {self.clock_ns!r}; it must be a clock period in nanoseconds")
        for name, value in self.reuses.items():
            if value < 1:
                raise UsageError(f"option reuse of {name!r} is {value!r}; it must be an integer of at least 1")

    @property
    def reuses(self) -> Mapping[str, int]:
        """reuse by name, REST for what is not named."""
        if self.reuse is None:
            return {}
        return self.reuse if isinstance(self.reuse, Mapping) else {REST: self.reuse}


@dataclass(frozen=True, kw_only=True)
class Design:
    """Everything that the files of one design are made of; the fields are what the templates read."""

    graph: Graph
    header: list[str]
    model: str
    notes: list[str]
    note_lines: list[str]
    top: str
    guard: str
    tensors: list[tuple[str, str, str, tuple[int, int]]]
    """Type name, its definition, tensor, proven range."""
    fifos: tuple[Fifo, ...]
    calls: tuple[Call, ...]
    written: tuple[Written, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    rows: tuple[Row, ...]
    layers: Mapping[str, Sequence[Configuration]]
    headers: Mapping[str, str]
    """Layer -> file name of its header."""
    tlast: bool
    control: Control
    part: str
    clock_ns: str
    definition: str
    declaration: str
    top_call: str
    vectors: Mapping[str, str]
    """File name -> text."""

    @property
    def multipliers(self) -> int:
        return sum(row.multipliers for row in self.rows)

    @property
    def weights(self) -> dict[str, StoredWeights]:
        """Output tensor of each operation with weights -> the memory that holds them."""
        return {r.name: StoredWeights(bits=r.memory, kernel=r.kernel) for r in self.rows if r.memory}


def _reuse(graph: Graph, options: Options) -> dict[str, int]:
    """The reuse option by tensor and layer name; "" stands for the rest. Raises UsageError for a name of neither."""
    known = {op.layer for op in graph.ops} | {op.output for op in graph.ops}
    for name in options.reuses:
        if name != REST and name not in known:
            raise UsageError(f"option reuse names {name!r}, which is no layer or tensor of model {graph.name!r}")
    return {"" if name == REST else name: value for name, value in options.reuses.items()}


def plan(graph: Graph, options: Options | None = None) -> Design:
    """The dataflow design. Raises UsageError for options that name what the graph does not have, UnsupportedError for
    an op with no exact streaming form."""
    options = options or Options()
    names = identifiers(graph)
    context = Context(graph=graph, names=names, reuse=_reuse(graph, options), max_lanes=DEFAULT_LANES)
    network = Network(graph, context, tlast=options.tlast)
    top = top_name(graph)
    ports = [(p.name, p.type) for p in (*network.inputs, *network.outputs)]
    return Design(
        graph=graph,
        header=header_lines(graph, "hls"),
        model=one_line(graph.name),
        notes=[one_line(note) for note in graph.notes],
        note_lines=_note_lines(graph),
        top=top,
        guard=top.upper() + "_H",
        tensors=[(f"{names[t.name]}_t", ap_type(t.format), one_line(t.name), t.range) for t in graph.tensors.values()],
        fifos=tuple(network.fifos),
        calls=tuple(network.calls),
        written=tuple(network.written),
        inputs=tuple(network.inputs),
        outputs=tuple(network.outputs),
        rows=tuple(network.rows),
        layers=network.layers,
        headers=layer_headers(network.layers),
        tlast=options.tlast,
        control=options.control,
        part=options.part,
        clock_ns=f"{options.clock_ns:g}",
        definition=signature(f"void {top}", ports, " {"),
        declaration=signature(f"void {top}", ports, ";"),
        top_call=wrapped(f"        {top}", [name for name, _ in ports], ";"),
        vectors=_vectors(network, options.vectors),
    )


def files(design: Design) -> Files:
    """Every file of the target: relative name -> text."""
    top = design.top
    templates = {
        f"src/{top}.h": "top.h",
        f"src/{top}.cpp": "top.cpp",
        "tb/testbench.cpp": "testbench.cpp",
        "vitis.tcl": "vitis.tcl",
        "Makefile": "Makefile",
        "README.md": "README.md",
    }
    more = {
        "c_string": c_string,
        "cell": cell,
        "forks": [s for s in design.fifos if s.depth > DEFAULT_DEPTH],
        "install": install("hls"),
        "layer_headers": list(design.headers.values()),
        "multipliers": design.multipliers,
    }
    found = {name: render(f"hls/{template}.j2", design, **more) for name, template in templates.items()}
    for layer, configurations in design.layers.items():
        name = design.headers[layer]
        guard = re.sub(r"[^A-Za-z0-9]", "_", name).upper()
        found[f"src/{name}"] = render(
            "hls/params.h.j2", design, layer=one_line(layer), layer_guard=guard, configurations=configurations
        )
    found |= {f"lib/{name}": text for name, text in library("hls").items()}
    return found | dict(design.vectors)


def _note_lines(graph: Graph) -> list[str]:
    """The graph's notes as lines of // comments; no line ends in a backslash, which would join it to the next."""
    lines = []
    for note in graph.notes:
        lines += wrap(one_line(note), 116, initial_indent="Note: ", subsequent_indent="    ")
    return [line + "." if line.endswith("\\") else line for line in lines]


def _vectors(network: Network, vectors: Mapping[str, Array] | None) -> dict[str, str]:
    """The vector files of the test bench: one sample per line, codes in row-major order."""
    ports = {port.tensor: port for port in (*network.inputs, *network.outputs)}
    found = {}
    for tensor, codes in (vectors or {}).items():
        if tensor not in ports:
            raise UsageError(f"option vectors names {tensor!r}, which is no input or output of the model")
        array = np.asarray(codes)
        if array.dtype.kind not in "iu" or array.shape[1:] != network.graph[tensor].shape:
            raise UsageError(
                f"option vectors: {tensor!r} must be integers of shape (N, *{network.graph[tensor].shape})"
            )
        rows = array.reshape(array.shape[0], -1).tolist()
        found[f"vectors/{ports[tensor].file}"] = "".join(" ".join(map(str, row)) + "\n" for row in rows)
    return found


def layer_headers(layers: Mapping[str, Sequence[Configuration]]) -> dict[str, str]:
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


def c_string(text: str) -> str:
    """``text`` as a C string literal, without trigraphs."""
    return '"' + one_line(text).replace('"', '\\"').replace("?", "\\?") + '"'


__all__ = ["Design", "Options", "c_string", "files", "layer_headers", "plan", "top_name"]
