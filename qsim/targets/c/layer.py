"""One layer function of model.c: loops, blocks of intermediate results, calls, trace points, comments."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from textwrap import wrap

from qsim.ir import Quantization, Tensor
from qsim.ir.ops import Op
from qsim.targets.c.lower.tables import LOWER
from qsim.targets.c.parts import BLOCK, BlockPointer, Lowering, Params, Part
from qsim.targets.c.plan import Group, scratch_offsets
from qsim.targets.c.types import storage
from qsim.targets.text import one_line


@dataclass(frozen=True, kw_only=True)
class LayerView:
    """What the template of model.c needs. sources, output: tensor names of the function's arguments, in order.
    stack: bytes of its blocks on the stack. works: whether a pointer to its working memory is the last argument."""

    function: str
    comments: list[str]
    arguments: list[str]
    params: list[Params]
    blocks: list[str]
    body: list[str]
    sources: list[str]
    output: str
    stack: int
    works: bool


def _flat_index(part: Part, first: str) -> str:
    """C expression of the flat output index of element ``first`` of the current round of the loops."""
    index = ""
    for var, count in part.loops:
        index = f"({index} * {count} + {var})" if index else var
    if not index:
        return first
    scaled = f"{index} * {part.inner}" if part.inner > 1 else index
    return f"{scaled} + {first}" if first != "0" else scaled


def _first_argument(part: Part, head: Part, first: str, index: str) -> str:
    if part.period == 0:
        return first
    if part.period == 1 or (first == "first" and head.block % part.period == 0):
        return "0"
    return first if head.inner % part.period == 0 else index


def layer_view(group: Group, c: Lowering) -> LayerView:
    """The view of one layer function: the ops in front of the head, the head, the ops behind it, block by block."""
    c.begin_layer()
    parts = [LOWER[type(op)](op, c) for op in group.ops]
    head = parts[0]
    graph = c.graph
    sources = list(group.sources)
    xs = {name: "x" if len(sources) == 1 else f"x{k}" for k, name in enumerate(sources)}
    out = graph[group.output]
    fused = {op.output: f"block_{c.names[op.output]}" for op in group.fused}
    blocks = [(block, storage(graph[name].format)) for name, block in fused.items()]
    feeds = {name: [(op, LOWER[type(op)](op, c)) for op in chain] for name, chain in group.feeds.items()}
    everything = [*(part for chain in feeds.values() for _, part in chain), *parts]
    blocks += [pair for part in everything for pair in part.temporaries]
    split = bool(blocks) and head.inner > head.block
    step = "QSIM_BLOCK" if head.block == BLOCK else str(head.block)
    first, count = ("first", "count") if split else ("0", str(head.inner))
    index = _flat_index(head, first)
    here = f" + {index}" if index != "0" else ""
    body: list[str] = []

    def run(op: Op, part: Part, pointers: list[str], target: str) -> None:
        body.extend(part.calls(pointers, target, _first_argument(part, head, first, index), count))
        if op.output in fused:
            body.append(trace_call(graph[op.output], target, count))

    made: dict[str, str] = {}
    for name, chain in feeds.items():
        at = f"{xs[chain[0][0].inputs[0]]}{here}"
        for op, part in chain:
            run(op, part, [at], fused[op.output])
            at = fused[op.output]
        made[name] = BlockPointer(at)
    # An elementwise head is given its elements; the other kernels find their place in the whole input.
    pointers = [made.get(n) or (f"{xs[n]}{here}" if head.period else xs[n]) for n in group.ops[0].inputs]
    for op, part in zip(group.ops, parts, strict=True):
        target = fused.get(op.output, f"y{here}")
        run(op, part, pointers, target)
        pointers = [target]
    lines, depth = [], 1
    for var, limit in head.loops:
        lines.append("    " * depth + f"for (int32_t {var} = 0; {var} < {limit}; ++{var}) {{")
        depth += 1
    if split:
        lines.append("    " * depth + f"for (int32_t first = 0; first < {head.inner}; first += {step}) {{")
        depth += 1
        lines += ["    " * depth + f"const int32_t count = qsim_min_i32({step}, {head.inner} - first);", ""]
    lines += ["    " * depth + line for line in body]
    lines += ["    " * d + "}" for d in range(depth - 1, 0, -1)]
    length = head.block if split else head.inner
    size = step if split else str(head.inner)
    declared = [f"{t.name} {name}[{size}];" for name, t in blocks]
    offsets, works = scratch_offsets(graph, group)
    if works:
        types = {name: storage(graph[name].format).name for name in offsets}
        declared = [f"{t} *const {fused[n]} = ({t} *)(void *)(scratch + {offsets[n]});" for n, t in types.items()]
        blocks = []
    layers = list(dict.fromkeys(op.layer for op in (*group.fused, group.ops[-1])))
    comments = [f"Layer {', '.join(layers)}.", *(note for part in everything for note in part.notes)]
    arguments = [f"const {storage(graph[name].format).name} *{x}" for name, x in xs.items()]
    return LayerView(
        function=f"layer_{c.names[group.output]}",
        comments=[
            *(line for text in comments for line in wrap(one_line(text), 112)),
            *(f"{xs[n]}: {describe(graph[n])}" for n in sources),
            f"y: {describe(out)}",
        ],
        arguments=[*arguments, f"{storage(out.format).name} *y", *(["uint8_t *scratch"] if works else [])],
        params=[p for part in everything for p in part.params],
        blocks=declared,
        body=lines,
        sources=sources,
        output=group.output,
        works=works > 0,
        stack=sum(t.bytes for _, t in blocks) * length,
    )


def c_string(text: str) -> str:
    """``text`` (UTF-8) as a C string literal."""
    parts = []
    for byte in text.encode():
        plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
        parts.append(chr(byte) if plain else f"\\{byte:03o}")
    return '"' + "".join(parts) + '"'


def trace_call(tensor: Tensor, data: str, count: str) -> str:
    t = storage(tensor.format)
    return f"QSIM_TRACE_TENSOR({c_string(tensor.name)}, {data}, {count}, {t.bits}, {int(t.signed)});"


def _fraction(value: Fraction) -> str:
    n, d = value.numerator, value.denominator
    if n == 1 and d & (d - 1) == 0:
        return f"2^{1 - d.bit_length()}"
    return str(n) if d == 1 else f"{n}/{d}"


def _scale(q: Quantization) -> str:
    text = _fraction(q.scale[0]) if len(q.scale) == 1 else f"{len(q.scale)} scales from {_fraction(q.scale[0])}"
    text = f"scale {text}"
    if q.zero_point:
        text += f", zero point {q.zero_point}"
    if any(q.offset):
        text += f", offset {_fraction(q.offset[0])}{'' if len(q.offset) == 1 else ' ...'}"
    return text


def describe(tensor: Tensor) -> str:
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    low, high = tensor.range
    return one_line(f"{tensor.name}, {shape} {tensor.format} in [{low}, {high}], {_scale(tensor.quantization)}")
