"""The graph: inputs, operations in execution order, outputs, and the checks that hold for every graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from qsim.errors import GraphError
from qsim.ir.encode import document
from qsim.ir.ops import OPS, Op, Requantize
from qsim.ir.tensor import Tensor
from qsim.ir.text import input_text, op_text
from qsim.numerics import Overflow, Rounding


@dataclass(frozen=True, kw_only=True)
class Input:
    """One graph input and the quantizer at its boundary, which turns a user's real values into codes:
    code = clip(round(real / scale) + zero_point, low, high). Codes given as such must lie in [low, high].

    arithmetic: how real / scale is taken: exactly, or as TensorFlow Lite's QUANTIZE does on float32 numbers
    ("float32_divide"), or as LiteRT's optimised kernels do, real * (1 / scale) in float32 ("float32_multiply").
    An offset of the tensor's quantization is subtracted from the real value first.
    order: axis i of the source's array is the tensor's axis order[i], without the batch; (): they are the same. Real
    values stand in the source's order, codes in the tensor's.
    """

    tensor: str
    rounding: Rounding
    low: int
    high: int
    arithmetic: Literal["exact", "float32_divide", "float32_multiply"] = field(
        default="exact", metadata={"omit_default": True}
    )
    order: tuple[int, ...] = field(default=(), metadata={"omit_default": True})


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """What the source rounds the real values of an output to: code = clip(round_half_even(y * levels) + zero_point,
    low, high), given as (code - zero_point) * scale, or as the code itself where it is not ``dequantized``. levels:
    1 / scale where it is None."""

    scale: Fraction
    zero_point: int
    low: int
    high: int
    dequantized: bool
    levels: int | None = field(default=None, metadata={"omit_default": True})


@dataclass(frozen=True, kw_only=True)
class Output:
    """One graph output. ``boundary`` names the real function that the source applies after the hardware's last code
    ("linear", "softmax", "sigmoid", "tanh"): the simulator applies it to real-valued results, targets do not.
    order: as an Input's. rounded: what becomes of the boundary function's result; None: nothing."""

    tensor: str
    boundary: str = "linear"
    order: tuple[int, ...] = field(default=(), metadata={"omit_default": True})
    rounded: Rounded | None = field(default=None, metadata={"omit_default": True})


@dataclass(frozen=True, kw_only=True)
class Graph:
    """An immutable network of integer operations.

    name: of the model, as in its file. profile: the named numeric profile that import used.
    tensors: every tensor, in order of creation. ops: in execution order.
    notes: sentences that a user must read (a softmax left outside the hardware, ...).
    """

    name: str
    profile: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    ops: tuple[Op, ...]
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        check(self)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @cached_property
    def producers(self) -> Mapping[str, Op]:
        """Tensor name -> the op that makes it; inputs have none."""
        return MappingProxyType({op.output: op for op in self.ops})

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Op, ...]]:
        """Tensor name -> the ops that read it, in order (an op that reads it twice stands once)."""
        found: dict[str, list[Op]] = {name: [] for name in self.tensors}
        for op in self.ops:
            for name in dict.fromkeys(op.inputs):
                found[name].append(op)
        return MappingProxyType({name: tuple(ops) for name, ops in found.items()})

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the graph's canonical JSON: the same on any machine."""
        return hashlib.sha256(self.json.encode()).hexdigest()

    @property
    def json(self) -> str:
        """The canonical JSON text, weights included (``qsim.ir.from_json`` reads it)."""
        return document(
            name=self.name,
            profile=self.profile,
            inputs=self.inputs,
            outputs=self.outputs,
            ops=self.ops,
            tensors=self.tensors.values(),
            notes=self.notes,
        )

    def layers(self) -> tuple[str, ...]:
        """Source layers in order of their first op."""
        return tuple(dict.fromkeys(op.layer for op in self.ops))

    def __str__(self) -> str:
        inputs = [(self[i.tensor], i.rounding, i.low, i.high, i.arithmetic) for i in self.inputs]
        lines = [f"graph {self.name!r} profile {self.profile}"]
        lines += [input_text(*entry) for entry in inputs]
        lines += [op_text(op, self[op.output]) for op in self.ops]
        lines += [
            f"  output {o.tensor}" + (f" -> {o.boundary}" if o.boundary != "linear" else "") for o in self.outputs
        ]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __reduce__(self) -> tuple[Callable[..., Graph], tuple[object, ...]]:
        """Graphs go to other processes as their fields, and are checked there again."""
        values = (dict(v) if isinstance(v := getattr(self, f.name), Mapping) else v for f in fields(self))
        return _made, tuple(values)


def _made(*values: Any) -> Graph:
    return Graph(**{entry.name: value for entry, value in zip(fields(Graph), values, strict=True)})


def check(graph: Graph) -> None:
    """Raise GraphError unless: names are unique and defined before use, arities fit, every op is of the closed set,
    every non-constant tensor is reached from the inputs, outputs exist, and every name is text that can be written."""
    known: dict[str, None] = {}

    def define(name: str, where: str) -> None:
        if name in known:
            raise GraphError(f"{where}: tensor {name!r} is made twice")
        if name not in graph.tensors:
            raise GraphError(f"{where}: tensor {name!r} is not declared")
        known[name] = None

    for name in (graph.name, graph.profile, *graph.tensors, *(op.layer for op in graph.ops), *graph.notes):
        if not name.isprintable() and any("\ud800" <= c <= "\udfff" for c in name):
            raise GraphError(f"the name {name!r} is no text (half a surrogate pair is no character); rename it")
    if not graph.inputs or not graph.outputs:
        raise GraphError(f"graph {graph.name!r} has no {'outputs' if graph.inputs else 'inputs'}")
    for entry in graph.inputs:
        define(entry.tensor, "input")
        fmt = graph.tensors[entry.tensor].format
        if entry.low > entry.high or not fmt.holds(entry.low, entry.high):
            raise GraphError(f"input {entry.tensor!r}: [{entry.low}, {entry.high}] does not lie within {fmt}")
    ends: tuple[Input | Output, ...] = (*graph.inputs, *graph.outputs)
    for end in ends:
        rank = len(graph.tensors[end.tensor].shape) if end.tensor in graph.tensors else 0
        if end.order and sorted(end.order) != list(range(rank)):
            raise GraphError(f"{end.tensor!r}: order {end.order} is no order of {rank} axes")
    for op in graph.ops:
        where = f"op {type(op).__name__} of layer {op.layer!r}"
        if type(op) not in OPS:
            raise GraphError(f"{where} is not of the closed set")
        if (len(op.inputs) != op.arity) if op.arity is not None else not op.inputs:
            raise GraphError(f"{where} has {len(op.inputs)} inputs, not {op.arity or 'one or more'}")
        for name in op.inputs:
            if name not in known:
                raise GraphError(f"{where} reads {name!r} before it is made")
        define(op.output, where)
        _check_overflow(op, graph.tensors[op.output], where)
    for out in graph.outputs:
        if out.tensor not in known:
            raise GraphError(f"output {out.tensor!r} is never made")
    if unused := [name for name in graph.tensors if name not in known]:
        raise GraphError(f"tensors are declared but never made: {', '.join(unused)}")


def _check_overflow(op: Op, out: Tensor, where: str) -> None:
    if op.bounds is None:
        return
    low, high = op.bounds
    if low > high or not out.format.holds(low, high):
        raise GraphError(f"{where}: bounds [{low}, {high}] do not lie within {out.format}")
    mode = op.overflow if isinstance(op, Requantize) else None
    if mode in (Overflow.WRAP, Overflow.WRAP_SM) and (low, high) != (out.format.low, out.format.high):
        raise GraphError(f"{where}: wrapping uses the format's own limits")
    if mode is Overflow.SAT_SYM and low != -high:
        raise GraphError(f"{where}: symmetric saturation needs low = -high")


def replace(graph: Graph, *, ops: Iterable[Op], tensors: Mapping[str, Tensor]) -> Graph:
    """The graph with other ops and tensors: what a pass returns."""
    return Graph(
        name=graph.name,
        profile=graph.profile,
        inputs=graph.inputs,
        outputs=graph.outputs,
        ops=tuple(ops),
        tensors=tensors,
        notes=graph.notes,
    )
