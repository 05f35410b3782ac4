"""The run function of model.c: which bytes every tensor is, the calls of the layer functions, the copies at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.targets.c.layer import LayerView, trace_call
from qsim.targets.c.parts import Lowering, Params
from qsim.targets.c.plan import Schedule
from qsim.targets.c.types import storage


def pointers_of(graph: Graph, names: Mapping[str, str], plan: Schedule, constants: Mapping[str, str]) -> dict[str, str]:
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


def output_copies(c: Lowering, plan: Schedule) -> dict[str, tuple[Params, str]]:
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


def statements_of(
    graph: Graph,
    names: Mapping[str, str],
    plan: Schedule,
    layers: Sequence[LayerView],
    pointers: Mapping[str, str],
    copies: Mapping[str, tuple[Params, str]],
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
            lines += [_call(layer, pointers, names), *traces(layer.output)]
        elif isinstance(op, o.Constant):
            lines += traces(op.output)
    for name, (params, kernel) in copies.items():
        lines.append(f"{kernel}({pointers[name]}, out_{names[name]}, &{params.name});")
    return lines


def _call(layer: LayerView, pointers: Mapping[str, str], names: Mapping[str, str]) -> str:
    arguments = [pointers[name] for name in (*layer.sources, layer.output)]
    if layer.works:
        arguments.append(f"w_{names[layer.output]}")
    return f"{layer.function}({', '.join(arguments)});"


__all__ = ["output_copies", "pointers_of", "statements_of"]
