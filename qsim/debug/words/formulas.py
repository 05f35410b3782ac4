"""Each operation as a formula on codes, with its own numbers put in, that a reader (or a test) can evaluate.

The notation is that of a pocket calculator: + - * / ^, ``sum(u = 0..2, v = 0..2: ...)`` with ends included, ``round``,
``floor``, ``clamp(value, low, high)``. x is the input (x1, x2, ... where there are several), y the output; what else a
formula names it explains behind "where", separated by semicolons. Parameters that differ by channel stand with the
numbers of the first one. A line is a sentence; the lines after the formula say what its constants are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qsim.debug.words.formulas_rescale import divide, lookup, requantize, softmax, threshold
from qsim.debug.words.text import number, short
from qsim.ir import Graph
from qsim.ir import ops as o

Formula = Callable[[Graph, Any], list[str]]
LETTERS = "ijklmn"


def index(rank: int) -> list[str]:
    """Names for the indices of a tensor, channels last: i, j, k, ..."""
    return list(LETTERS[:rank]) if rank <= len(LETTERS) else [f"i{n}" for n in range(rank)]


def element(name: str, places: list[str]) -> str:
    """``x[i, j]``."""
    return f"{name}[{', '.join(places)}]" if places else name


def over(verb: str, loops: list[tuple[str, int]], body: str) -> str:
    """``sum(u = 0..2: body)``; loops of one turn are left out (their index is 0 in ``body`` already)."""
    turns = [f"{name} = 0..{size - 1}" for name, size in loops if size > 1]
    return f"{verb}({', '.join(turns)}: {body})" if turns else body


def plus(text: str, value: int) -> str:
    """``text + 3``, ``text - 3``, or ``text``."""
    return f"{text} {'+' if value > 0 else '-'} {abs(value)}" if value else text


def less(text: str, zero_point: int) -> str:
    """``(x - 3)``, or x alone."""
    return f"({plus(text, -zero_point)})" if zero_point else text


def _place(name: str, stride: int, tap: str, dilation: int, before: int) -> str:
    """The input row that output row ``name`` reads at kernel row ``tap`` ("0" where there is one only)."""
    text = name if stride == 1 else f"{stride}*{name}"
    if tap != "0":
        text += f" + {tap}" if dilation == 1 else f" + {dilation}*{tap}"
    return plus(text, -before)


def _tap(name: str, size: int) -> str:
    return name if size > 1 else "0"


def _outside(op: o.Conv2D, zero: int) -> str:
    return f", where an x outside is {zero}" if any(map(any, op.padding)) else ""


def _scaled(op: o.Linear, products: str) -> str:
    shifted = f"2^{op.product_shift} * {products}" if op.product_shift else products
    return shifted + (" + b[o]" if op.bias is not None else "")


def _conv2d(graph: Graph, op: o.Conv2D) -> list[str]:
    kh, kw, group_in, channels = op.weights.shape
    u, v, c = _tap("u", kh), _tap("v", kw), _tap("c", group_in)
    row = _place("i", op.strides[0], u, op.dilation[0], op.padding[0][0])
    column = _place("j", op.strides[1], v, op.dilation[1], op.padding[1][0])
    per_group = channels // op.groups
    group = "o" if per_group == 1 else f"floor(o / {per_group})"
    first = "" if op.groups == 1 else group if group_in == 1 else f"{group_in}*{group}"
    channel = first if c == "0" and first else f"{first} + {c}" if first else c
    x = less(f"x[{row}, {column}, {channel}]", op.input_zero_point)
    products = over("sum", [("u", kh), ("v", kw), ("c", group_in)], f"w[{u}, {v}, {c}, o] * {x}")
    return [f"y[i, j, o] = {_scaled(op, products)}{_outside(op, op.input_zero_point)}.", *_constants(graph, op)]


def _transposed(graph: Graph, op: o.ConvTranspose2D) -> list[str]:
    height, width, group_in = graph[op.inputs[0]].shape
    p, q, c = _tap("p", height), _tap("q", width), _tap("c", group_in)
    row = plus("i" if p == "0" else f"i - {'' if op.strides[0] == 1 else f'{op.strides[0]}*'}p", op.padding[0][0])
    column = plus("j" if q == "0" else f"j - {'' if op.strides[1] == 1 else f'{op.strides[1]}*'}q", op.padding[1][0])
    x = less(f"x[{p}, {q}, {c}]", op.input_zero_point)
    products = over("sum", [("p", height), ("q", width), ("c", group_in)], f"w[{row}, {column}, {c}, o] * {x}")
    return [f"y[i, j, o] = {_scaled(op, products)}, where a w outside is 0.", *_constants(graph, op)]


def _dense(graph: Graph, op: o.Dense) -> list[str]:
    lead = index(len(graph[op.output].shape) - 1)
    c = _tap("c", op.weights.shape[0])
    x = less(element("x", [*lead, c]), op.input_zero_point)
    products = over("sum", [("c", op.weights.shape[0])], f"w[{c}, o] * {x}")
    return [f"{element('y', [*lead, 'o'])} = {_scaled(op, products)}.", *_constants(graph, op)]


def _constants(graph: Graph, op: o.Linear) -> list[str]:
    """What weights, bias and sum are, and what one step of each is worth."""
    x, y = graph[op.inputs[0]], graph[op.output]
    unit = y.quantization.scale[0] * (1 << op.product_shift) / x.quantization.scale[0]
    several = len(y.quantization.scale) > 1
    lines = [
        f"The weights w are {op.weights.format} integers from {op.weights.low} to {op.weights.high}; one step of them "
        f"is worth {number(unit)}" + (" in channel 0, each channel has its own." if several else "."),
    ]
    if op.bias is not None:
        lines.append(
            f"The bias b is an integer from {op.bias.low} to {op.bias.high} in units of the sum, "
            + number(y.quantization.scale[0])
            + (" in channel 0." if several else ".")
        )
    lines.append(f"The sum fits {y.format}: it is proven to stay within [{y.range[0]}, {y.range[1]}] for every input.")
    return lines


def _matmul(graph: Graph, op: o.MatMul) -> list[str]:
    *lead, i, k = index(len(graph[op.output].shape))
    inner = graph[op.inputs[0]].shape[-1]
    c = _tap("c", inner)
    a = less(element("x1", [*lead, i, c]), op.zero_points[0])
    b = less(element("x2", [*lead, c, k]), op.zero_points[1])
    return [f"{element('y', [*lead, i, k])} = {over('sum', [('c', inner)], f'{a} * {b}')}, {_names(op)}."]


def _names(op: o.Op) -> str:
    """``where x1 is 'conv'; x2 is 'branch'``."""
    return "where " + "; ".join(f"x{n} is {short(name)!r}" for n, name in enumerate(op.inputs, 1))


def _shifted(text: str, shift: int) -> str:
    return f"{text} * 2^{shift}" if shift else text


def _add(graph: Graph, op: o.Add) -> list[str]:
    text = ""
    for n, (sign, zero, shift) in enumerate(zip(op.signs, op.zero_points, op.shifts, strict=True), 1):
        text += f" {'+' if sign > 0 else '-'} {_shifted(less(f'x{n}', zero), shift)}"
    text = f"-{text[3:]}" if text.startswith(" - ") else text[3:]
    tail = ["The powers of two bring all inputs to one scale."] if any(op.shifts) else []
    return [f"y = {text}, {_names(op)}.", *tail]


def _mul(graph: Graph, op: o.Mul) -> list[str]:
    return [f"y = {less('x1', op.zero_points[0])} * {less('x2', op.zero_points[1])}, {_names(op)}."]


def _extremum(graph: Graph, op: o.Extremum) -> list[str]:
    terms = ", ".join(_shifted(f"x{n}", shift) for n, shift in enumerate(op.shifts, 1))
    return [f"y = {op.kind}({terms}), {_names(op)}."]


def _concat(graph: Graph, op: o.Concat) -> list[str]:
    names = index(len(graph[op.output].shape))
    along = names[op.axis]
    start, text = 0, ""
    for n, name in enumerate(op.inputs, 1):
        places = [plus(p, -start) if p == along else p for p in names]
        size = graph[name].shape[op.axis]
        start += size
        text += element(f"x{n}", places) + (f" if {along} < {start} else " if n < len(op.inputs) else "")
    return [f"{element('y', names)} = {text}, {_names(op)}."]


def _pool(op: o.SumPool2D | o.MaxPool2D, verb: str) -> str:
    u, v = _tap("u", op.pool[0]), _tap("v", op.pool[1])
    row = _place("i", op.strides[0], u, 1, op.padding[0][0])
    column = _place("j", op.strides[1], v, 1, op.padding[1][0])
    return f"y[i, j, k] = {over(verb, [('u', op.pool[0]), ('v', op.pool[1])], f'x[{row}, {column}, k]')}"


def _sum_pool(graph: Graph, op: o.SumPool2D) -> list[str]:
    outside = ", where an x outside is 0" if any(map(any, op.padding)) else ""
    return [f"{_pool(op, 'sum')}{outside}."]


def _max_pool(graph: Graph, op: o.MaxPool2D) -> list[str]:
    outside = ", where an x outside takes no part" if any(map(any, op.padding)) else ""
    return [
        f"{_pool(op, 'max')}{outside}.",
        "The order of codes is the order of real numbers, so nothing is rounded.",
    ]


def _reduce(graph: Graph, op: o.Reduce) -> list[str]:
    shape = graph[op.inputs[0]].shape
    axes = [a % len(shape) for a in op.axes]
    taps = dict(zip(axes, "uvwpqr"))
    out = iter(index(len(shape)))
    places, kept = [], []
    for axis, size in enumerate(shape):
        if axis in axes:
            places.append(_tap(taps[axis], size))
            kept += ["0"] if op.keepdims else []
        else:
            places.append(next(out))
            kept.append(places[-1])
    body = over(op.kind, [(taps[a], shape[a]) for a in sorted(axes)], element("x", places))
    return [f"{element('y', kept or ['0'])} = {body}."]


def _constant(graph: Graph, op: o.Constant) -> list[str]:
    shown = ", ".join(str(v) for v in op.values.values.reshape(-1)[:8].tolist())
    more = ", ..." if op.values.size > 8 else ""
    return [f"y.flat[n] = v[n], where v is [{shown}{more}], the layer's own constants in row-major order."]


def _reshape(graph: Graph, op: o.Reshape) -> list[str]:
    return ["y.flat[n] = x.flat[n], the elements in row-major order: nothing moves in memory."]


def _transpose(graph: Graph, op: o.Transpose) -> list[str]:
    names = index(len(op.perm))
    places = [names[op.perm.index(axis)] for axis in range(len(op.perm))]
    return [f"{element('y', names)} = {element('x', places)}."]


def _pad(graph: Graph, op: o.Pad) -> list[str]:
    names = index(len(op.pads))
    places = [plus(name, -before) for name, (before, _) in zip(names, op.pads, strict=True)]
    return [f"{element('y', names)} = {element('x', places)}, where an x outside is {op.value}."]


def _slice(graph: Graph, op: o.Slice) -> list[str]:
    names = index(len(op.begin))
    places = []
    for name, begin, stride in zip(names, op.begin, op.strides, strict=True):
        step = {1: name, -1: f"-{name}"}.get(stride, f"{stride}*{name}")
        places.append(plus(step, begin))
    return [f"{element('y', names)} = {element('x', places)}."]


def _gather(graph: Graph, op: o.Gather) -> list[str]:
    shown = ", ".join(str(v) for v in op.index.values.reshape(-1)[:8].tolist())
    more = ", ..." if op.index.size > 8 else ""
    return [
        f"y.flat[n] = x.flat[g[n]], where g is [{shown}{more}], a fixed list of places; elements are counted in "
        "row-major order."
    ]


def _argmax(graph: Graph, op: o.ArgMax) -> list[str]:
    shape = graph[op.inputs[0]].shape
    axis = op.axis % len(shape)
    names = index(len(shape) - 1)
    places = [*names[:axis], "c", *names[axis:]]
    best = f"argmax(c = 0..{shape[axis] - 1}: {element('x', places)})"
    return [f"{element('y', names or ['0'])} = {best}, where argmax is the first c of the greatest value."]


FORMULAS: dict[type[o.Op], Formula] = {
    o.Constant: _constant,
    o.Conv2D: _conv2d,
    o.ConvTranspose2D: _transposed,
    o.Dense: _dense,
    o.MatMul: _matmul,
    o.Add: _add,
    o.Mul: _mul,
    o.Extremum: _extremum,
    o.Concat: _concat,
    o.SumPool2D: _sum_pool,
    o.MaxPool2D: _max_pool,
    o.Reduce: _reduce,
    o.Requantize: requantize,
    o.Divide: divide,
    o.Threshold: threshold,
    o.Lookup: lookup,
    o.Softmax: softmax,
    o.Reshape: _reshape,
    o.Transpose: _transpose,
    o.Pad: _pad,
    o.Slice: _slice,
    o.Gather: _gather,
    o.ArgMax: _argmax,
}
o.check_registry(FORMULAS, "debug.words.formulas")


def integer_lines(graph: Graph, op: o.Op) -> list[str]:
    """The operation on codes, with its constants: the formula first."""
    return FORMULAS[type(op)](graph, op)
