"""The HLS C++ target: a top function with AXI-Stream ports, one DATAFLOW process per op, streams between them.

Options
-------
reuse: cycles that one output element of a layer with weights takes, each multiplier being used once per cycle: an
    integer for all layers, or a mapping from layer or tensor names to integers ("*" for the rest). 1 computes an
    element in one cycle with one multiplier per product. Default: the least that needs at most 32 multipliers.
part: the device for Vitis (default xc7a100tcsg324-1). clock_ns: its clock period in ns (default 5).
tlast: true for ports with TLAST, TKEEP and TSTRB and data of whole bytes (ap_axiu), as a DMA wants them; else (default)
    ports are the exact width of their tensor and have TDATA, TVALID and TREADY only.
control: the protocol of the block: ap_ctrl_hs (default), ap_ctrl_chain, ap_ctrl_none, or s_axilite.
vectors: tensor name -> integer codes (N, *shape) of graph inputs and outputs, written to vectors/ for the test bench.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from textwrap import wrap

import numpy as np

from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.targets.hls.design import Configuration, Design, cell, comment_text, signature
from qsim.targets.hls.fifo import DEFAULT_DEPTH
from qsim.targets.hls.text import Context, ap_type, wrapped
from qsim.targets.text import environment, header_lines, identifier, identifiers, library, one_line

DEFAULT_PART, DEFAULT_CLOCK_NS, DEFAULT_LANES = "xc7a100tcsg324-1", 5.0, 32
FILE_NAME = 80
"""Characters of a layer's or model's name that its file name keeps."""
CONTROLS = ("ap_ctrl_hs", "ap_ctrl_chain", "ap_ctrl_none", "s_axilite")
OPTIONS = ("reuse", "part", "clock_ns", "tlast", "control", "vectors")


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


def _ports(options: Mapping[str, object]) -> tuple[bool, str]:
    tlast, control = options.get("tlast", False), options.get("control", CONTROLS[0])
    if tlast not in ("true", "false") and not isinstance(tlast, bool):
        raise UsageError(f"option tlast is {tlast!r}; it must be true or false")
    if control not in CONTROLS:
        raise UsageError(f"option control is {control!r}; it must be one of {', '.join(CONTROLS)}")
    return tlast in (True, "true"), str(control)


def _note_lines(graph: Graph) -> list[str]:
    """The graph's notes as lines of // comments; no line ends in a backslash, which would join it to the next."""
    lines = []
    for note in graph.notes:
        lines += wrap(comment_text(note), 116, initial_indent="Note: ", subsequent_indent="    ")
    return [line + "." if line.endswith("\\") else line for line in lines]


def _vectors(design: Design, option: object) -> dict[str, str]:
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
    tlast, control = _ports(options)
    context = Context(
        graph=graph,
        names=identifiers(graph),
        reuse=_reuse(graph, options.get("reuse")),
        max_lanes=DEFAULT_LANES,
    )
    design = Design(graph, context, tlast=tlast)
    headers = layer_headers(graph, design.layers)
    top = top_name(graph)
    ports = [(p.name, p.type) for p in (*design.inputs, *design.outputs)]
    view = {
        "header": header_lines(graph, "hls"),
        "model": one_line(graph.name),
        "profile": one_line(graph.profile),
        "notes": [comment_text(note) for note in graph.notes],
        "note_lines": _note_lines(graph),
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
        "tlast": tlast,
        "control": control,
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


def c_string(text: str) -> str:
    """``text`` as a C string literal, without trigraphs."""
    return '"' + one_line(text).replace('"', '\\"').replace("?", "\\?") + '"'
