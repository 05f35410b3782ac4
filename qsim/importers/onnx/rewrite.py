"""One form of a quantized network for each profile.

``unfused``: ONNX Runtime's and the standard's integer operators as DequantizeLinear, the operator, QuantizeLinear: what
their text says in real arithmetic. ``fused``: the pairs around an operator become the integer operator, as ONNX
Runtime's graph optimisation makes them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from qsim.importers.onnx.model import MICROSOFT, STANDARD, Attribute, Node, OnnxModel

PLAIN = {
    "QLinearAdd": "Add",
    "QLinearMul": "Mul",
    "QLinearConcat": "Concat",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearAveragePool": "AveragePool",
    "QLinearSigmoid": "Sigmoid",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSoftmax": "Softmax",
    "QLinearConv": "Conv",
    "QLinearMatMul": "MatMul",
    "QGemm": "Gemm",
}
"""Integer operator -> what it computes on reals."""

Triple = tuple[str, str, str]
"""A tensor of codes, its scale and its zero point."""


def domain_of(kind: str) -> str:
    """Where an integer operator stands."""
    return STANDARD if kind in ("QLinearConv", "QLinearMatMul") else MICROSOFT


@dataclasses.dataclass(frozen=True)
class Parts:
    """An integer operator's operands by name. bias: codes at scale x * w; '' if there is none."""

    data: tuple[Triple, ...]
    out: tuple[str, str]
    bias: str = ""


def parts_of(node: Node) -> Parts | None:
    """The operands of an integer operator; None where there are too few."""
    i = (*node.inputs, *("",) * 10)
    match node.kind:
        case "QLinearConv" | "QLinearMatMul" | "QLinearAdd" | "QLinearMul":
            found = Parts(data=((i[0], i[1], i[2]), (i[3], i[4], i[5])), out=(i[6], i[7]), bias=i[8])
        case "QGemm":
            found = Parts(data=((i[0], i[1], i[2]), (i[3], i[4], i[5])), out=(i[7], i[8]), bias=i[6])
        case "QLinearConcat":
            rest = node.inputs[2:]
            triples = tuple((rest[k], rest[k + 1], rest[k + 2]) for k in range(0, len(rest) - 2, 3))
            found = Parts(data=triples, out=(i[0], i[1]))
        case _:
            found = Parts(data=((i[0], i[1], i[2]),), out=(i[3], i[4]))
    return found if found.data and all(t[0] and t[1] for t in found.data) else None


def unfused(model: OnnxModel) -> OnnxModel:
    """Every integer operator as reals between quantizers."""
    nodes: list[Node] = []
    for node in model.nodes:
        found = parts_of(node) if node.kind in PLAIN else None
        if found is None or not found.out[0] or node.domain != domain_of(node.kind):
            nodes.append(node)
            continue
        nodes += _unfused(node, found)
    return dataclasses.replace(model, nodes=tuple(nodes))


def _unfused(node: Node, parts: Parts) -> list[Node]:
    made: list[Node] = []

    def add(kind: str, inputs: Sequence[str], suffix: str, attributes: Mapping[str, Attribute] | None = None) -> str:
        output = f"{node.name}.{suffix}"
        made.append(
            Node(name=output, kind=kind, domain=STANDARD, version=max(node.version, 13), inputs=tuple(inputs),
                 outputs=(output,), attributes=attributes or {})
        )  # fmt: skip
        return output

    weights = node.kind in ("QLinearConv", "QGemm", "QLinearMatMul")
    reals = []
    for position, triple in enumerate(parts.data):
        axis = {"axis": 0 if node.kind == "QLinearConv" or node.attributes.get("transB") else 1}
        reals.append(add("DequantizeLinear", triple, f"real{position}", axis if weights and position else None))
    if parts.bias:
        scale = add("Mul", (parts.data[0][1], parts.data[1][1]), "bias_scale")
        reals.append(add("DequantizeLinear", (parts.bias, scale), "bias", {"axis": 0}))
    attributes = {k: v for k, v in node.attributes.items() if k not in ("channels_last", "opset")}
    own = add(PLAIN[node.kind], reals, "real", attributes)
    last = Node(
        name=node.name,
        kind="QuantizeLinear",
        domain=STANDARD,
        version=max(node.version, 13),
        inputs=(own, *parts.out),
        outputs=node.outputs,
        attributes={},
    )
    return [*made, last]


FUSED = {"Add", "Mul", "Concat", "GlobalAveragePool", "AveragePool", "Sigmoid", "LeakyRelu", "Softmax", "Conv",
         "MatMul", "Gemm"}  # fmt: skip
"""Operators that ONNX Runtime fuses with the pairs around them."""

_INTEGER = {plain: kind for kind, plain in PLAIN.items()}


def fused(model: OnnxModel) -> OnnxModel:
    """DequantizeLinear, operator, QuantizeLinear as the integer operator, where ONNX Runtime fuses them: all operands
    are quantized, and every tensor of codes at the operator's ends has one reader (through its DequantizeLinear) at
    most. An operator beside a branch stays in float32 there, which is measured, not written anywhere."""
    makers = {name: node for node in model.nodes for name in node.outputs}
    readers: dict[str, list[Node]] = {}
    for node in model.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    ends = {port.name for port in model.outputs}

    def uses(name: str) -> int:
        """How often the codes of a tensor are read, through DequantizeLinear too."""
        found = 1 if name in ends else 0
        for reader in readers.get(name, []):
            dequantized = reader.kind == "DequantizeLinear" and reader.inputs[0] == name
            found += uses(reader.outputs[0]) if dequantized else 1
        return found

    replaced: dict[str, Node] = {}
    dropped: set[str] = set()
    for node in model.nodes:
        if node.kind not in FUSED or node.domain != STANDARD or uses(node.outputs[0]) != 1:
            continue
        last, before = readers[node.outputs[0]][:1], [makers.get(name) for name in node.inputs]
        pairs = [n for n in before if n is not None and n.kind == "DequantizeLinear" and len(n.inputs) == 3]
        if not last or last[0].kind != "QuantizeLinear" or len(last[0].inputs) < 3 or len(pairs) != len(node.inputs):
            continue
        codes = [pair.inputs[0] for pair in pairs if pair.inputs[0] not in model.constants]
        if any(uses(name) > 1 for name in (*codes, last[0].outputs[0])):
            continue
        replaced[last[0].name] = _fused(node, pairs, last[0])
        dropped.add(node.name)
    nodes = [replaced.get(node.name, node) for node in model.nodes if node.name not in dropped]
    return dataclasses.replace(model, nodes=tuple(nodes))


def _fused(node: Node, pairs: Sequence[Node], last: Node) -> Node:
    x = [name for pair in pairs[:2] for name in pair.inputs]
    bias = pairs[2].inputs[0] if len(pairs) > 2 else ""
    out = last.inputs[1:3]
    order: Callable[[], tuple[str, ...]] = {
        "Conv": lambda: (*x, *out, *((bias,) if bias else ())),
        "Gemm": lambda: (*x, bias, *out),
        "Concat": lambda: (*out, *(name for pair in pairs for name in pair.inputs)),
    }.get(node.kind, lambda: (*x, *out))
    kind = _INTEGER[node.kind]
    return Node(
        name=last.name,
        kind=kind,
        domain=domain_of(kind),
        version=node.version,
        inputs=order(),
        outputs=last.outputs,
        attributes=node.attributes,
    )
