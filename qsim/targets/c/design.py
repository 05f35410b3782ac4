"""Graph -> C99: model.h, model.c, weights.h, weights.c, the kernels that the model uses, a test main, build files.

One function per layer: an op and the elementwise ops fused behind it, so that a wide accumulator lives only as a block
on the stack. Stored tensors lie in one arena that the caller supplies. Kernels of templates/c/lib are copied as they
are and instantiated by kernels.h for the element types that occur.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from qsim.errors import UnsupportedError, UsageError
from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.targets.c import dpi as c_dpi
from qsim.targets.c.layer import LayerView, c_string, describe, layer_view, trace_call
from qsim.targets.c.lower.data import LOWER
from qsim.targets.c.parts import ConstArray, Lowering, Params
from qsim.targets.c.plan import ALIGNMENT, Schedule, schedule
from qsim.targets.c.types import CType, storage
from qsim.targets.text import environment, header_lines, identifier, identifiers, library, one_line

_MAX_ELEMENTS = (1 << 31) - 1
_TEMPLATES = ("model.h", "model.c", "weights.h", "weights.c", "kernels.h", "main.c", "Makefile", "CMakeLists.txt")


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What the emitted model takes. rom: bytes of constant arrays; arena: bytes the caller supplies; stack: bytes of
    the local arrays of the largest layer function and the largest kernel, together."""

    rom: int
    arena: int
    stack: int


def files(graph: Graph, options: Mapping[str, object]) -> dict[str, str]:
    """Relative file name -> text.

    options: ``prefix`` (an identifier, default from the model's name): what every public name starts with; ``dpi``:
    whether to add the folder dpi, the model as a DPI-C package for SystemVerilog simulators.
    Raises UsageError for other options, UnsupportedError for what C's int64_t cannot compute exactly.
    """
    view, used = _view(graph, options)
    made = {name: environment().get_template(f"c/{name}.j2").render(view) for name in (*_TEMPLATES, "README.md")}
    lib = library("c")
    made |= {name: lib[name] for name in used}
    return made | c_dpi.files(graph, view) if _flag(options, "dpi") else made


def footprint(graph: Graph) -> Footprint:
    """Bytes of the model as ``files`` emits it."""
    found = _view(graph, {})[0]["footprint"]
    assert isinstance(found, Footprint)
    return found


def weight_arrays(graph: Graph) -> dict[str, tuple[ConstArray, str]]:
    """Output tensor of each op with weights -> the array of weights.c that holds them (one for all ops with the same
    weights), and the family of the kernel that reads it."""
    view = _view(graph, {})[0]
    arrays = {a.symbol: a for a in view["arrays"]}  # type: ignore[attr-defined]
    kernels = {k.params: k.family for k in view["kernels"]}  # type: ignore[attr-defined]
    families = {
        symbol: kernels[params.type]
        for layer in view["layers"]  # type: ignore[attr-defined]
        for params in layer.params
        if (symbol := dict(params.fields).get("weights")) is not None
    }
    symbols: dict[tuple[str, str], str] = view["symbols"]  # type: ignore[assignment]
    return {
        tensor: (arrays[symbol], families[symbol]) for (tensor, role), symbol in symbols.items() if role == "weights"
    }


def _prefix(graph: Graph, options: Mapping[str, object]) -> str:
    for name in options:
        if name not in ("prefix", "dpi"):
            raise UsageError(f"unknown option {name!r} of target c: it has prefix and dpi")
    given = options.get("prefix")
    if given is None:
        return identifier(graph.name).lower()
    if not isinstance(given, str) or identifier(given) != given:
        raise UsageError(f"option prefix of target c must be a C identifier, not {given!r}")
    return given


def _flag(options: Mapping[str, object], name: str) -> bool:
    given = options.get(name, False)
    if given not in (False, True):  # 0 and 1 among them: what the command line can say
        raise UsageError(f"option {name} of target c is True or False (1 or 0), not {given!r}")
    return bool(given)


def _check(graph: Graph) -> None:
    for tensor in graph.tensors.values():
        if tensor.size > _MAX_ELEMENTS or tensor.range[1] >= 1 << 63:
            raise UnsupportedError(
                f"tensor {tensor.name!r} has {tensor.size} elements in [{tensor.range[0]}, {tensor.range[1]}]; the C "
                "target indexes with int32_t and computes in int64_t",
                way_out="use a smaller layer or fewer bits",
            )


def _view(graph: Graph, options: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    prefix = _prefix(graph, options)
    _check(graph)
    names = identifiers(graph)
    plan = schedule(graph)
    c = Lowering(graph, names, prefix)
    constants = {
        op.output: LOWER[o.Constant](op, c).calls((), "", "", "")[0] for op in graph.ops if isinstance(op, o.Constant)
    }
    layers = [layer_view(group, c) for group in plan.groups]
    copies = _output_copies(c, plan)
    used = _library_files(c)
    stack = max((layer.stack for layer in layers), default=0) + max((k.stack for k in c.kernels.values()), default=0)
    rom = sum(a.bytes for a in c.arrays.values())
    pointers = _pointers(graph, names, plan, constants)
    inputs = [_port(graph, names, prefix, i.tensor, "in") for i in graph.inputs]
    outputs = [_port(graph, names, prefix, name, "out") for name in dict.fromkeys(x.tensor for x in graph.outputs)]
    boundaries = [f"{out.tensor}: {out.boundary}" for out in graph.outputs if out.boundary != "linear"]
    return {
        "header": header_lines(graph, "c"),
        "model": one_line(graph.name),
        "profile": one_line(graph.profile),
        "notes": [one_line(n) for n in graph.notes],
        "boundaries": [one_line(b) for b in boundaries],
        "prefix": prefix,
        "macro": prefix.upper(),
        "alignment": ALIGNMENT,
        "arena": plan.memory.size,
        "peak": plan.memory.peak,
        "footprint": Footprint(rom=rom, arena=plan.memory.size, stack=stack),
        "inputs": inputs,
        "outputs": outputs,
        "arrays": list(c.arrays.values()),
        "symbols": c.symbols,
        "kernels": list(c.kernels.values()),
        "kernel_headers": list(dict.fromkeys(h for k in c.kernels.values() for h in k.headers)),
        "library": used,
        "layers": layers,
        "buffers": _buffers(graph, names, plan),
        "checks": _input_checks(graph, names),
        "statements": _statements(graph, names, plan, layers, pointers, copies),
        "copy_params": [params for params, _ in copies.values()],
        "traced": [_traced(t) for t in graph.tensors.values()],
        "arguments": [f"{p['const']}{p['type']} *{p['name']}" for p in (*inputs, *outputs)],
    }, used


def _library_files(c: Lowering) -> list[str]:
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
    return sorted(found)


# --- the run function ---------------------------------------------------------------------------------------------


def _pointers(graph: Graph, names: dict[str, str], plan: Schedule, constants: dict[str, str]) -> dict[str, str]:
    """Tensor -> the C expression that points at its elements inside the run function; fused tensors have none."""
    inputs = {i.tensor: f"in_{names[i.tensor]}" for i in graph.inputs}
    stored = {group.output for group in plan.groups}
    found: dict[str, str] = {}
    for name in graph.tensors:
        root = plan.roots[name]
        if root in inputs:
            found[name] = inputs[root]
        elif root in constants:
            found[name] = constants[root]
        elif root in plan.written:
            found[name] = f"out_{names[plan.written[root]]}"
        elif root in stored:
            found[name] = f"t_{names[root]}"
    return found


def _output_copies(c: Lowering, plan: Schedule) -> dict[str, tuple[Params, str]]:
    """Graph outputs that are an input, a constant, or share the bytes of another output: a plain copy at the end."""
    c.begin_layer()
    copies: dict[str, tuple[Params, str]] = {}
    for name in plan.copied:
        t = storage(c.graph[name].format)
        kernel = c.kernel("copy", [t.short, t.short], [("QSIM_X", t.name), ("QSIM_Y", t.name)])
        size = f"{{{c.graph[name].size}}}"
        fields = (("rank", "1"), ("size", size), ("x_stride", "{1}"), ("y_stride", "{1}"))
        copies[name] = Params(kernel.params, c.local("copy"), fields), kernel.name
    return copies


def _buffers(graph: Graph, names: dict[str, str], plan: Schedule) -> list[dict[str, object]]:
    rows = []
    for b in plan.memory.buffers:
        t = storage(graph[b.name].format)
        rows.append(
            {
                "type": t.name,
                "name": f"t_{names[b.name]}",
                "offset": plan.memory.offsets[b.name],
                "size": b.size,
                "first": b.first,
                "last": b.last,
                "tensor": one_line(b.name),
            }
        )
    return rows


def _input_checks(graph: Graph, names: dict[str, str]) -> list[dict[str, object]]:
    """For each input whose C type holds more than its proven range: what to refuse."""
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
            rows.append({"size": tensor.size, "condition": " || ".join(bounds)})
    return rows


def _statements(
    graph: Graph,
    names: dict[str, str],
    plan: Schedule,
    layers: list[LayerView],
    pointers: dict[str, str],
    copies: dict[str, tuple[Params, str]],
) -> list[str]:
    """The calls of the run function, each followed by the trace of what it stored."""

    def trace(name: str) -> str:
        return trace_call(graph[name], pointers[name], str(graph[name].size))

    def traces(root: str) -> list[str]:
        """Of a stored tensor and of its views, while its bytes are alive."""
        return [trace(name) for name in graph.tensors if plan.roots[name] == root]

    calls = {group.ops[0].output: layer for group, layer in zip(plan.groups, layers, strict=True)}
    lines = [line for i in graph.inputs for line in traces(i.tensor)]
    for op in graph.ops:
        if op.output in calls:
            layer = calls[op.output]
            lines += [_call(layer, pointers), *traces(layer.output)]
        elif isinstance(op, o.Constant):
            lines += traces(op.output)
    for name, (params, kernel) in copies.items():
        lines.append(f"{kernel}({pointers[name]}, out_{names[name]}, &{params.name});")
    return lines


def _call(layer: LayerView, pointers: dict[str, str]) -> str:
    arguments = [pointers[name] for name in (*layer.sources, layer.output)]
    return f"{layer.function}({', '.join(arguments)});"


def _port(graph: Graph, names: dict[str, str], prefix: str, name: str, direction: str) -> dict[str, object]:
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
    return {
        "name": f"{direction}_{names[name]}",
        "const": "const " if direction == "in" else "",
        "type": t.name,
        "bytes": t.bytes * tensor.size,
        "size": tensor.size,
        "tensor": one_line(name),
        "text": describe(tensor),
        "defines": [(f"{macro}_{key}", value) for key, value in defines],
        "macro": macro,
    }


def _traced(tensor: Tensor) -> dict[str, object]:
    t = storage(tensor.format)
    return {
        "name": c_string(tensor.name),
        "size": tensor.size,
        "bits": t.bits,
        "signed": int(t.signed),
        "bytes": tensor.size * t.bytes,
    }


__all__ = ["Footprint", "files", "footprint", "weight_arrays"]
