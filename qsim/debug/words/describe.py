"""A layer in words: what its integers mean, its formula in real numbers and in integers, one element worked out.

Generic over graphs: it reads operations and tensors, whatever source they came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from qsim.debug.words.dissect import Step, before_rounding, dissect
from qsim.debug.words.factors import factor_of
from qsim.debug.words.formulas import integer_lines
from qsim.debug.words.reals import real_lines
from qsim.debug.words.text import ROUNDINGS, code_unit, number, short, zero_text
from qsim.debug.words.wrapper import Variable, owners, read_wrapped, wrapper_variables
from qsim.debug.words.wrapper_measure import live_source, measure
from qsim.errors import UsageError
from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.simulate import Simulator

INTRODUCTION = (
    "Hardware keeps small integers, called codes, in place of real numbers. A code q stands for the real number "
    "(q - zero point) * scale. The scale is how much one step of the code is worth; the zero point is the code that "
    "stands for exactly 0. Both are fixed when the model is made and take no part in the arithmetic below: a layer "
    "adds and multiplies codes, and brings the sum back to a small integer at its end.",
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A heading and its sentences."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Description:
    """One layer. parts: sentences with its numbers. variables: what a quantization wrapper added in the source.
    steps: one element worked out, for ``sample``; empty for a chapter that is no layer."""

    layer: str
    title: str
    parts: tuple[Part, ...]
    variables: tuple[Variable, ...] = ()
    sample: int = 0
    steps: tuple[Step, ...] = ()


def describe(
    graph: Graph,
    inputs: Mapping[str, Array],
    layers: Sequence[str] | None = None,
    source: Any = None,
    weights: Any = None,
) -> tuple[Description, ...]:
    """The introduction and every layer of ``layers`` (default all), in graph order.

    inputs: input codes, (N, *shape) by tensor name; the worked element is taken from them. source, weights: the model's
    file or the Keras model itself, for the variables that a quantization wrapper added and, where tf_keras is
    installed, for how far the Keras model lies from the graph. Raises UsageError for an unknown layer.
    """
    known = graph.layers()
    model = read_wrapped(source, weights)
    added = wrapper_variables(model) if model is not None else {}
    owner = owners(model, known) if model is not None and added else {}
    owner = {name: layer for name, layer in owner.items() if name not in graph.tensors or name in known}
    layers = [_find(known, name, owner) for name in layers or ()]
    trace = Simulator(graph).trace_codes(inputs)
    found = [_introduction(graph, added)]
    live = live_source(source, weights) if added else ""
    wanted = layers or known
    apart = measure(graph, trace, wanted, live) if added and not isinstance(live, str) else {}
    for layer in known:
        own = [name for name in added if owner.get(name) == layer]
        if layer in wanted:
            variables = {name: added[name] for name in own}
            differs = str(apart[layer]) if layer in apart else live if isinstance(live, str) else ""
            found.append(_layer(graph, trace, layer, variables, layer in added, differs))
    used = {*owner, *(entry.tensor for entry in graph.inputs)}
    rest = {name: group for name, group in added.items() if name not in used}
    if rest and not layers:
        found.append(variables_of("Wrapped layers that are no part of the integer graph", rest))
    return tuple(found)


def _find(known: Sequence[str], name: str, owner: Mapping[str, str]) -> str:
    """The layer that ``name`` means: its name, its short name, that of a wrapped layer that became part of it, or the
    only one that contains it. owner: wrapped layer -> graph layer."""
    for wrapped in (name, f"quant_{name}"):
        if name not in known and wrapped in owner:
            return owner[wrapped]
    for means in (lambda layer: layer == name, lambda layer: short(layer) == name, lambda layer: name in layer):
        found = [layer for layer in known if means(layer)]
        if len(found) == 1:
            return found[0]
    choice = ", ".join(short(layer) for layer in known)
    raise UsageError(f"{name!r} is not one layer of the model: choose from {choice}")


def variables_of(title: str, added: Mapping[str, Sequence[Variable]]) -> Description:
    """Wrapped layers of the source that are no layers of the integer graph (fused, or the graph is not at hand)."""
    return Description(layer="", title=title, parts=(), variables=_named(added))


def _less(offset: Fraction) -> str:
    """r less the input's offset."""
    return "r" if not offset else f"(r - {number(offset)})" if offset > 0 else f"(r + {number(-offset)})"


def _introduction(graph: Graph, added: Mapping[str, Sequence[Variable]]) -> Description:
    lines = [*INTRODUCTION]
    for entry in graph.inputs:
        tensor = graph[entry.tensor]
        lines.append(
            f"Input {entry.tensor!r}: a real number r becomes the code {_less(tensor.quantization.offset[0])} / "
            f"{number(tensor.quantization.scale[0])} "
            f"rounded {ROUNDINGS[entry.rounding]}"
            + zero_text(tensor.quantization.zero_point)
            + f", kept within [{entry.low}, {entry.high}]."
        )
    parts = [Part(title="How to read this", lines=tuple(lines))]
    if added:
        parts.append(Part(title="What the quantization wrapper added", lines=(summary(added),)))
    if graph.notes:
        parts.append(Part(title="To know", lines=tuple(graph.notes)))
    return Description(
        layer="",
        title=f"Model {graph.name}, numeric profile {graph.profile}",
        parts=tuple(parts),
        variables=_named({e.tensor: added[e.tensor] for e in graph.inputs if e.tensor in added}),
    )


def summary(added: Mapping[str, Sequence[Variable]]) -> str:
    """How many numbers the wrapper added, in one sentence."""
    count = sum(v.size for group in added.values() for v in group)
    variables = sum(len(group) for group in added.values())
    total = next((v.total for group in added.values() for v in group if v.total is not None), None)
    grown = f"{total - count:,} numbers became {total:,}: " if total is not None else ""
    return (
        f"{grown}{variables} variables with {count} numbers in {len(added)} wrapped layers, none of them trainable. "
        "They hold ranges that training observed, from which scales and zero points are made, and a step counter each. "
        "None of them is a constant of the hardware."
    )


def _layer(
    graph: Graph,
    trace: Mapping[str, Array],
    layer: str,
    added: Mapping[str, Sequence[Variable]],
    result: bool,
    measured: str,
) -> Description:
    """added: the wrapped layers that this one is made of, with their variables. result: whether a Keras layer gives
    this layer's output. measured: a sentence on how far the two lie apart, may be empty."""
    ops = [op for op in graph.ops if op.layer == layer]
    made = {op.output for op in ops}
    read = list(dict.fromkeys(n for op in ops for n in op.inputs if n not in made))
    output = graph[ops[-1].output]
    kinds = " + ".join(type(op).__name__ for op in ops)
    shapes = " and ".join(_shape(graph[n]) for n in read)
    title = f"Layer {short(layer)!r}: {kinds}, {f'{shapes} -> ' if shapes else ''}{_shape(output)}"
    meaning = [_meaning("Input", graph[n]) for n in read]
    meaning += [_meaning("Accumulator", graph[op.output]) for op in ops[:-1]]
    meaning.append(_meaning("Output", output))
    parts = [
        Part(title="What the codes mean", lines=tuple(meaning)),
        Part(title="In real numbers", lines=tuple(line for op in ops for line in real_lines(graph, op))),
        Part(title="In integers", lines=tuple(line for op in ops for line in integer_lines(graph, op))),
    ]
    if added or (result and measured):
        lines = _reasons(ops, added)
        lines += [measured] if measured and result else []
        if not result:
            lines.append("The Keras layer shows only what follows its activation: the next layer's figures include it.")
        parts.append(Part(title="Where the Keras graph differs", lines=tuple(lines)))
    sample, index = _example(ops[-1], trace[output.name], output)
    steps = tuple(s for s in dissect(graph, trace, output.name, sample, index) if s.layer == layer)
    parts += _conclusion(graph, trace, sample, steps)
    return Description(
        layer=layer, title=title, parts=tuple(parts), variables=_named(added), sample=sample, steps=steps
    )


def _named(added: Mapping[str, Sequence[Variable]]) -> tuple[Variable, ...]:
    """The variables of several wrapped layers, each with its layer's name."""
    return tuple(replace(v, name=f"{name}/{v.name}") for name, group in added.items() for v in group)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


_UNQUANTIZED_KERNEL = (
    "The wrapper keeps no range of this layer's kernel: the training graph computes with the kernel's real values, and "
    "only the conversion rounds it to integers. The Keras model and the integer graph therefore differ here by the "
    "rounding of the weights, which is no defect."
)
_QUANTIZED_KERNEL = (
    "The wrapper rounds this layer's kernel to the very values that the integer codes stand for. What is left: the "
    "bias and the factor that brings the sum to the output's scale are rounded to integers only here, and Keras adds "
    "in float32, so that a sum which lies near the middle between two codes may go to either side."
)


_MOVES = {o.MaxPool2D, o.Reshape, o.Transpose, o.Pad, o.Slice, o.Gather}


def _reasons(ops: Sequence[o.Op], added: Mapping[str, Sequence[Variable]]) -> list[str]:
    """Why the fake-quantized Keras layer and the integer one may legitimately give other codes."""
    names = [v.name for group in added.values() for v in group]
    kinds = {type(op) for op in ops}
    if any(issubclass(kind, o.Linear) for kind in kinds):
        return [_QUANTIZED_KERNEL if any("kernel_min" in name for name in names) else _UNQUANTIZED_KERNEL]
    if kinds <= _MOVES:
        return ["This layer only picks or moves codes; it adds no difference of its own."]
    if kinds & {o.Lookup, o.Softmax}:
        return [
            "Keras computes this function in float32 and leaves its result unrounded; here it is a code. The figures "
            "compare with the code nearest to Keras' number."
        ]
    return [
        "Keras computes this in float32 and rounds once, to the range that the wrapper trained; here it is integer "
        "arithmetic with roundings of its own."
    ]


def _meaning(role: str, tensor: Tensor) -> str:
    low, high = tensor.range
    q = tensor.quantization
    several = len(q.scale) > 1
    scale = number(q.scale[0]) + (f" (channel 0; {len(q.scale)} channels have their own)" if several else "")
    zero = f"(code - {q.zero_point})" if q.zero_point > 0 else f"(code + {-q.zero_point})" if q.zero_point else "code"
    reals = [(v - q.zero_point) * q.scale[0] + q.offset[0] for v in (low, high)]
    span = f"real {float(reals[0]):.6g} to {float(reals[1]):.6g}{' in channel 0' if several else ''}"
    offset = f" + {number(q.offset[0])}" if any(q.offset) else ""
    return (
        f"{role} {short(tensor.name)!r}: {tensor.format}, real = {zero} * {scale}{offset}. Over every possible input "
        f"the codes stay within [{low}, {high}], that is {span}."
    )


def _example(op: o.Op, codes: Array, tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    """A telling element: not clipped and not zero where there is one, from the last sample (the first ones are
    corners), as near to the middle of the tensor as its order gives."""
    low, high = op.bounds or (tensor.format.low, tensor.format.high)
    inside = (codes > low) & (codes < high) & (codes != tensor.quantization.zero_point)
    places = np.argwhere(inside)
    if not len(places):
        sample = len(codes) - 1
        return sample, tuple(int(n) // 2 for n in tensor.shape)
    sample = int(places[:, 0].max())
    own = places[places[:, 0] == sample]
    place = own[len(own) // 2]
    return sample, tuple(int(i) for i in place[1:])


def _conclusion(graph: Graph, trace: Mapping[str, Array], sample: int, steps: Sequence[Step]) -> list[Part]:
    """The worked element's codes as real numbers, and what rounding, clipping and a mean's inverse cost."""
    if not steps:
        return []
    last = steps[-1]
    tensor = graph[last.tensor]
    value = code_unit(tensor, last.index, last.value)
    name = short(last.tensor)
    lines = [f"The worked element below ends in code {last.value} of {name!r}, which means {number(value)}."]
    op = graph.producers[last.tensor]
    if isinstance(op, o.Requantize | o.Divide):
        x = int(trace[op.inputs[0]][sample][last.index])
        exact = before_rounding(op, x, last.index, tensor.shape) + op.zero_point
        off = abs(last.value - exact)
        if exact <= op.low - 1 or exact >= op.high + 1:
            cost = "the limit is nearest to it"
        else:
            cost = f"rounding moves it by {float(off):.3g} of a step" if off else "nothing is rounded"
        lines.append(f"Before rounding it is {number(exact)}: {cost}.")
        lines += _mean_line(graph, op, x, last.index)
    return [Part(title="What the example shows", lines=tuple(lines))]


def _mean_line(graph: Graph, op: o.Requantize | o.Divide, x: int, index: tuple[int, ...]) -> list[str]:
    """What the quantized inverse of a mean costs, where it costs something."""
    f = factor_of(graph, op)
    if f.count == 1 or f.inverse * f.count == 1:
        return []
    source = graph[op.inputs[0]]
    total = code_unit(source, index, x) if len(index) == len(source.shape) else code_unit(source, (0,), x)
    return [
        f"Its sum {x} means {number(total)}: the exact mean is {number(total / f.count)}, with the layer's inverse it "
        f"is {number(total * f.inverse)}."
    ]


__all__ = ["Description", "Part", "describe", "summary", "variables_of"]
