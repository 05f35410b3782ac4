"""The emitted C as a DPI-C package: the golden model inside any SystemVerilog simulator, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qsim.ir import Graph, Tensor
from qsim.targets.c.layer import c_string
from qsim.targets.c.types import storage
from qsim.targets.text import environment, header_lines, identifier, identifiers, one_line

_PLAIN = ("Makefile", "README.md")
_NAMED = ("dpi.c", "dpi_pkg.sv", "dpi_check.sv", "dpi_example.sv")


def files(graph: Graph, view: Mapping[str, Any]) -> dict[str, str]:
    """The files of the folder ``dpi``: relative name -> text. view: the one that the model's own files are made of.

    ``<prefix>_dpi.c`` wraps the model, compiled with QSIM_TRACE, and keeps every tensor of the last frame;
    ``<prefix>_dpi_pkg.sv`` imports it; ``<prefix>_dpi_check.sv`` compares a stream of a design with it;
    ``<prefix>_dpi_example.sv`` is a test bench that drives a design and checks it so.
    """
    prefix = view["prefix"]
    names = identifiers(graph)
    numbers = {name: i for i, name in enumerate(graph.tensors)}
    tensors = []
    offset = 0
    for name, tensor in graph.tensors.items():
        tensors.append(_tensor(tensor, names[name], numbers[name], offset))
        offset += tensor.size
    by_name = dict(zip(graph.tensors, tensors))
    outputs = list(dict.fromkeys(entry.tensor for entry in graph.outputs))
    own = {
        "header": header_lines(graph, "c"),
        "prefix": prefix,
        "macro": prefix.upper(),
        "model": one_line(graph.name),
        "rtl_top": f"{identifier(graph.name)}_top",
        "tensors": tensors,
        "elements": offset,
        "rank": max(1, *(len(t.shape) for t in graph.tensors.values())),
        "inputs": _ports([e.tensor for e in graph.inputs], by_name, view["inputs"], "s_axis"),
        "outputs": _ports(outputs, by_name, view["outputs"], "m_axis"),
        "arena": view["arena"],
    }
    env = environment()
    made = {f"dpi/{prefix}_{name}": env.get_template(f"c/dpi/{name}.j2").render(own) for name in _NAMED}
    return made | {f"dpi/{name}": env.get_template(f"c/dpi/{name}.j2").render(own) for name in _PLAIN}


def _tensor(tensor: Tensor, ident: str, number: int, offset: int) -> dict[str, Any]:
    """Of every tensor: its number, where its elements begin in the wrapper's memory, and its format."""
    shape = tensor.shape or (1,)
    return {
        "name": c_string(tensor.name),
        "text": one_line(tensor.name),
        "ident": ident,
        "number": number,
        "offset": offset,
        "size": tensor.size,
        "bits": storage(tensor.format).bits,
        "width": tensor.format.width,
        "signed": int(tensor.format.signed),
        "shape": ", ".join(map(str, shape)),
        "dims": len(shape),
        "low": tensor.range[0],
        "high": tensor.range[1],
        "lowest": _literal(tensor.range[0]),
        "span": _literal(tensor.range[1] - tensor.range[0] + 1),
        "tdata": -(-tensor.format.width // 8) * 8,
    }


def _literal(value: int) -> str:
    """A number as SystemVerilog takes it whatever its size."""
    return f"{'-' * (value < 0)}64'sd{abs(value)}"


def _ports(
    names: Sequence[str], tensors: Mapping[str, Mapping[str, Any]], ports: Sequence[Mapping[str, Any]], stream: str
) -> list[dict[str, Any]]:
    """Inputs or outputs: the tensor's facts, the C argument, and the stream that qsim's own RTL names so."""
    return [
        {**tensors[name], "argument": port["name"], "type": port["type"], "limits": port["macro"],
         "stream": stream if len(names) == 1 else f"{stream}_{tensors[name]['ident']}"}
        for name, port in zip(names, ports, strict=True)
    ]  # fmt: skip


__all__ = ["files"]
