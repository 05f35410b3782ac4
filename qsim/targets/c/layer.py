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


def _first_argument(part: Part, head: Part, first: str, index: str) -> str:
    if part.period == 0:
        return first
    if part.period == 1 or (first == "first" and head.block % part.period == 0):
        return "0"
    return first if head.inner % part.period == 0 else index


class _Layer:
    """One layer function while it is written: the ops in front of the head, the head, the ops behind it.

    xs: tensor -> argument. fused: tensor that is no argument -> its block. split: whether the head's elements come in
    blocks; first, count: C expressions of a block's first element and of its size, step: of the greatest size; index:
    the flat output index of its first element.
    """

    def __init__(self, group: Group, c: Lowering) -> None:
        c.begin_layer()
        self.group, self.graph, self.names = group, c.graph, c.names
        self.parts = [LOWER[type(op)](op, c) for op in group.ops]
        self.head = self.parts[0]
        self.feeds = {name: [(op, LOWER[type(op)](op, c)) for op in chain] for name, chain in group.feeds.items()}
        self.everything = [*(part for chain in self.feeds.values() for _, part in chain), *self.parts]
        sources = list(group.sources)
        self.xs = {name: "x" if len(sources) == 1 else f"x{k}" for k, name in enumerate(sources)}
        self.fused = {op.output: f"block_{c.names[op.output]}" for op in group.fused}
        self.blocks = [(block, storage(c.graph[name].format)) for name, block in self.fused.items()]
        self.blocks += [pair for part in self.everything for pair in part.temporaries]
        self.split = bool(self.blocks) and self.head.inner > self.head.block
        self.step = "QSIM_BLOCK" if self.head.block == BLOCK else str(self.head.block)
        self.first, self.count = ("first", "count") if self.split else ("0", str(self.head.inner))
        self.index = self._flat_index()
        self.here = f" + {self.index}" if self.index != "0" else ""

    def _flat_index(self) -> str:
        index = ""
        for var, count in self.head.loops:
            index = f"({index} * {count} + {var})" if index else var
        if not index:
            return self.first
        scaled = f"{index} * {self.head.inner}" if self.head.inner > 1 else index
        return f"{scaled} + {self.first}" if self.first != "0" else scaled

    def _run(self, op: Op, part: Part, pointers: list[str], target: str) -> list[str]:
        first = _first_argument(part, self.head, self.first, self.index)
        lines = part.calls(pointers, target, first, self.count)
        return [*lines, trace_call(self.graph[op.output], target, self.count)] if op.output in self.fused else lines

    def _calls(self) -> list[str]:
        """What happens to one block."""
        lines: list[str] = []
        made: dict[str, str] = {}
        for name, chain in self.feeds.items():
            at = f"{self.xs[chain[0][0].inputs[0]]}{self.here}"
            for op, part in chain:
                lines += self._run(op, part, [at], self.fused[op.output])
                at = self.fused[op.output]
            made[name] = BlockPointer(at)
        # An elementwise head is given its elements; the other kernels find their place in the whole input.
        here = self.here if self.head.period else ""
        pointers = [made.get(n) or f"{self.xs[n]}{here}" for n in self.group.ops[0].inputs]
        for op, part in zip(self.group.ops, self.parts, strict=True):
            target = self.fused.get(op.output, f"y{self.here}")
            lines += self._run(op, part, pointers, target)
            pointers = [target]
        return lines

    def body(self) -> list[str]:
        """The calls inside the head's loops, block by block."""
        lines: list[str] = []
        depth = 1
        for var, limit in self.head.loops:
            lines.append("    " * depth + f"for (int32_t {var} = 0; {var} < {limit}; ++{var}) {{")
            depth += 1
        if self.split:
            inner = self.head.inner
            lines.append("    " * depth + f"for (int32_t first = 0; first < {inner}; first += {self.step}) {{")
            depth += 1
            lines += ["    " * depth + f"const int32_t count = qsim_min_i32({self.step}, {inner} - first);", ""]
        lines += ["    " * depth + line for line in self._calls()]
        return lines + ["    " * d + "}" for d in range(depth - 1, 0, -1)]

    def declared(self) -> tuple[list[str], int, bool]:
        """The declarations of the blocks, their bytes on the stack, and whether the function has working memory, in
        which they lie instead."""
        offsets, works = scratch_offsets(self.graph, self.group)
        if works:
            pointers = []
            for name, offset in offsets.items():
                t = storage(self.graph[name].format).name
                pointers.append(f"{t} *const {self.fused[name]} = ({t} *)(void *)(scratch + {offset});")
            return pointers, 0, True
        size = self.step if self.split else str(self.head.inner)
        length = self.head.block if self.split else self.head.inner
        stack = sum(t.bytes for _, t in self.blocks) * length
        return [f"{t.name} {name}[{size}];" for name, t in self.blocks], stack, False

    def comments(self) -> list[str]:
        group = self.group
        layers = list(dict.fromkeys(op.layer for op in (*group.fused, group.ops[-1])))
        texts = [f"Layer {', '.join(layers)}.", *(note for part in self.everything for note in part.notes)]
        lines = [line for text in texts for line in wrap(one_line(text), 112)]
        lines += [f"{x}: {describe(self.graph[name])}" for name, x in self.xs.items()]
        return [*lines, f"y: {describe(self.graph[group.output])}"]


def layer_view(group: Group, c: Lowering) -> LayerView:
    """The view of one layer function."""
    layer = _Layer(group, c)
    declared, stack, works = layer.declared()
    arguments = [f"const {storage(c.graph[name].format).name} *{x}" for name, x in layer.xs.items()]
    arguments.append(f"{storage(c.graph[group.output].format).name} *y")
    return LayerView(
        function=f"layer_{c.names[group.output]}",
        comments=layer.comments(),
        arguments=[*arguments, *(["uint8_t *scratch"] if works else [])],
        params=[p for part in layer.everything for p in part.params],
        blocks=declared,
        body=layer.body(),
        sources=list(group.sources),
        output=group.output,
        works=works,
        stack=stack,
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
