"""QKeras' recurrent layers, unrolled over their static number of time steps.

Every step is a row (1, units). The input's share of all gates is one dense op over the whole sequence; each step adds
its own share of the state, applies the gates, and hands the state on, through the state quantizer if there is one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.keras.lower.activation import activate
from qsim.importers.keras.lower.context import Context, rank, weight
from qsim.importers.keras.lower.linear import linear, quantize
from qsim.importers.keras.lower.record import Record, Registry
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.combine import add, multiply
from qsim.importers.symbolic.grid import on_grid, quantization
from qsim.importers.symbolic.sums import as_dense
from qsim.importers.symbolic.value import Value, fractions
from qsim.ir import Quantization
from qsim.ir.ops import Concat, Constant, Reshape, Slice
from qsim.numerics import Array, IntArray
from qsim.quantizers import Weights, quantizer

State = list[Value]


class Cell:
    """One recurrent layer: its quantized weights and the ops of one step."""

    def __init__(self, ctx: Context, node: LayerNode, gates: int, features: int) -> None:
        self.ctx, self.node, self.gates = ctx, node, gates
        self.units = int(node.config["units"])
        wide = gates * self.units
        self.kernel = self._kernel("kernel", "kernel_quantizer", (features, wide))
        self.recurrent = self._kernel("recurrent_kernel", "recurrent_quantizer", (self.units, wide))
        self.reset_after = bool(node.config.get("reset_after")) and gates == 3
        self.bias = self._bias((2, wide) if self.reset_after else (wide,))

    def _kernel(self, name: str, key: str, shape: tuple[int, ...]) -> Weights:
        twin = self.ctx.quantizer(self.node, key)
        if twin is None:
            raise UnsupportedError(
                f"the weights {name!r} of this {self.node.class_name} have no quantizer",
                way_out=f"give it a {key}, such as quantized_bits(8,0,alpha=1)",
            )
        return quantize(self.ctx, self.node, name, twin.as_kernel(), weight(self.node, name, shape))

    def _bias(self, shape: tuple[int, ...]) -> Array | None:
        if not self.node.config.get("use_bias", True):
            return None
        array = weight(self.node, "bias", shape)
        twin = self.ctx.quantizer(self.node, "bias_quantizer")
        if twin is None:
            return fractions(array)
        weights = quantize(self.ctx, self.node, "bias", twin, array)
        return np.asarray(fractions(weights.codes) * weights.scale)

    def name(self, step: int, what: str) -> str:
        return f"{self.node.name}.t{step}.{what}"

    def inputs(self, value: Value) -> Value:
        """The input's share of every gate at every step: (T, gates * units), on one grid."""
        bias = None if self.bias is None else self.bias[0] if self.reset_after else self.bias
        shares = linear(self.ctx, self.node, value, as_dense, self.kernel, bias, name=f"{self.node.name}.inputs")
        return self.exact(shares, f"{self.node.name}.inputs.grid")

    def exact(self, value: Value, name: str) -> Value:
        """The value on a common grid without anything pending, as tensor ``name`` if that takes an op."""
        own = value.but(layer=self.node.name)
        self.ctx.reads(own)
        return on_grid(self.ctx.b, own, self.node.name, name=name)

    def part(self, value: Value, row: int, gate: int, name: str) -> Value:
        """One gate's share at one row: (1, units)."""
        shape, begin = (1, self.units), (row, gate * self.units)
        box = (slice(row, row + 1), slice(begin[1], begin[1] + self.units))
        moved = value.rearranged(value.tensor, shape, lambda a: np.asarray(a[box]))
        tensor = self.ctx.b.add(
            Slice(inputs=(value.tensor,), output=name, layer=self.node.name, begin=begin, strides=(1, 1)),
            quantization=quantization(moved.scale, moved.offset),
            shape=shape,
        )
        return moved.but(tensor=tensor)

    def recur(self, state: Value, step: int, what: str, gates: slice, *, biased: bool = False) -> Value:
        """state @ recurrent kernel of the given gates."""
        columns = slice(gates.start * self.units, gates.stop * self.units)
        codes, scale = self.recurrent.codes[:, columns], np.asarray(self.recurrent.scale, dtype=object)
        if scale.ndim and scale.shape[-1] > 1:
            scale = scale[..., columns]
        bias = self.bias[1][columns] if biased and self.bias is not None else None
        share = linear(
            self.ctx, self.node, state, as_dense, Weights(codes, scale), bias, name=self.name(step, f"{what}.state")
        )
        return self.exact(share, self.name(step, f"{what}.state.grid"))

    def sum(self, a: Value, b: Value, step: int, what: str) -> Value:
        return add(self.ctx, self.node, [a, b], [1, 1], self.name(step, what))

    def product(self, a: Value, b: Value, step: int, what: str) -> Value:
        grids = [self.exact(v, self.name(step, f"{what}.{side}")) for v, side in ((a, "left"), (b, "right"))]
        return multiply(self.ctx, self.node, grids, self.name(step, what))

    def gate(self, value: Value, step: int, what: str, key: str = "recurrent_activation") -> Value:
        """The cell's activation ``key`` on a pre-activation, on one grid."""
        result = activate(self.ctx, self.node, value, self.node.config.get(key), self.name(step, what))
        return self.exact(result, self.name(step, what))

    def quantized(self, state: Value, step: int, what: str) -> Value:
        """The state as a step reads it: through the state quantizer, if there is one."""
        twin = quantizer(self.node.config.get("state_quantizer"))
        if twin is None:
            return state
        return self.ctx.quantize(state, twin.rule(), self.node, self.name(step, what))

    def start(self, value: Value, what: str) -> Value:
        """An initial state that the model computes, (units,), as the row of a step."""
        if value.shape != (self.units,):
            raise UnsupportedError(f"its initial state has shape {value.shape}, not ({self.units},)")
        grid = self.exact(value, f"{self.node.name}.{what}.grid")
        return self._shaped(grid, f"{self.node.name}.{what}", (1, self.units))

    def end(self, state: Value, what: str) -> Value:
        """A step's state as the layer returns it: (units,)."""
        return self._shaped(state, f"{self.node.name}.{what}", (self.units,))

    def _shaped(self, value: Value, name: str, shape: tuple[int, ...]) -> Value:
        tensor = self.ctx.add(
            Reshape(inputs=(value.tensor,), output=name, layer=self.node.name), value.scale, value.offset, shape=shape
        )
        return value.but(tensor=tensor, layer=self.node.name, shape=shape)

    def zeros(self, what: str) -> Value:
        """The initial state: real zero."""
        tensor = self.ctx.b.add(
            Constant(
                inputs=(),
                output=f"{self.node.name}.{what}",
                layer=self.node.name,
                values=IntArray(np.zeros((1, self.units), dtype=np.int64)),
            ),
            quantization=Quantization.of(Fraction(1)),
        )
        return Value.of(tensor, self.node.name, (1, self.units), 1)


def _simple_step(cell: Cell, shares: Value, row: int, step: int, state: State) -> State:
    """h = activation(x W + b + h U)."""
    h = cell.quantized(state[0], step, "h.in")
    total = cell.sum(
        cell.part(shares, row, 0, cell.name(step, "x")), cell.recur(h, step, "h", slice(0, 1)), step, "sum"
    )
    return [cell.gate(total, step, "h", "activation")]


def _lstm_step(cell: Cell, shares: Value, row: int, step: int, state: State) -> State:
    """i, f, o = recurrent_activation(x W + b + h U); c = f c + i activation(...); h = o activation(c)."""
    h, c = cell.quantized(state[0], step, "h.in"), cell.quantized(state[1], step, "c.in")
    recurrent = cell.recur(h, step, "gates", slice(0, 4))
    pre = {}
    for gate, what in enumerate("ifgo"):
        x = cell.part(shares, row, gate, cell.name(step, f"{what}.x"))
        pre[what] = cell.sum(x, cell.part(recurrent, 0, gate, cell.name(step, f"{what}.h")), step, f"{what}.sum")
    i, f, o = (cell.gate(pre[what], step, what) for what in "ifo")
    candidate = cell.gate(pre["g"], step, "g", "activation")
    kept, new = cell.product(f, c, step, "f.c"), cell.product(i, candidate, step, "i.g")
    c = cell.sum(kept, new, step, "c")
    return [cell.product(o, cell.gate(c, step, "c.act", "activation"), step, "h"), c]


def _gru_step(cell: Cell, shares: Value, row: int, step: int, state: State) -> State:
    """z, r = recurrent_activation(...); hh = activation(x W + (r h) U), or x W + r (h U + b) with reset_after;
    h = z h + (1 - z) hh."""
    h = cell.quantized(state[0], step, "h.in")
    x = [cell.part(shares, row, gate, cell.name(step, f"{what}.x")) for gate, what in enumerate("zrh")]
    last = 3 if cell.reset_after else 2
    recurrent = cell.recur(h, step, "gates", slice(0, last), biased=cell.reset_after)
    own = [cell.part(recurrent, 0, gate, cell.name(step, f"{what}.h")) for gate, what in enumerate("zrh"[:last])]
    z, r = (cell.gate(cell.sum(x[g], own[g], step, f"{what}.sum"), step, what) for g, what in enumerate("zr"))
    if cell.reset_after:
        share = cell.product(r, own[2], step, "r.h")
    else:
        share = cell.recur(cell.product(r, h, step, "r.h"), step, "candidate", slice(2, 3))
    candidate = cell.gate(cell.sum(x[2], share, step, "h.sum"), step, "h.candidate", "activation")
    other = cell.exact(z.affine(-1, 1), cell.name(step, "1-z"))
    kept, new = cell.product(z, h, step, "z.h"), cell.product(other, candidate, step, "1-z.h")
    return [cell.sum(kept, new, step, "h")]


Step = Callable[[Cell, Value, int, int, State], State]
STEPS: dict[str, tuple[int, int, Step]] = {
    "QSimpleRNN": (1, 1, _simple_step),
    "QLSTM": (4, 2, _lstm_step),
    "QGRU": (3, 1, _gru_step),
}
"""Class -> (gates, states, one step)."""


def _run(ctx: Context, node: LayerNode, value: Value, initial: list[Value]) -> tuple[list[Value], list[Value]]:
    """The cell's output rows in the order of its steps, and with return_state the states behind the last of them.

    initial: one value per state, or none for zeros.
    """
    if node.class_name not in STEPS:
        raise UnsupportedError(
            f"recurrent layers of class {node.class_name} are not supported", way_out=f"use one of {', '.join(STEPS)}"
        )
    if node.config.get("stateful"):
        raise UnsupportedError(
            "a stateful recurrent layer's result depends on earlier calls", way_out="set stateful=False"
        )
    _CELL.check(node)
    gates, states, step = STEPS[node.class_name]
    if initial and len(initial) != states:
        raise UnsupportedError(f"it is called with {len(initial)} initial states, and has {states}")
    rank(node, value, 2)
    cell = Cell(ctx, node, gates, value.shape[1])
    shares = cell.inputs(value)
    state = [cell.start(v, f"initial{i}") for i, v in enumerate(initial)]
    state = state or [cell.zeros(f"zero{i}") for i in range(states)]
    rows: list[Value] = []
    order = range(value.shape[0])
    for t, row in enumerate(reversed(order) if node.config.get("go_backwards") else order):
        state = step(cell, shares, row, t, state)
        rows.append(state[0])
    ends = [cell.end(s, f"state{i}") for i, s in enumerate(state)] if node.config.get("return_state") else []
    return rows, ends


def _gathered(ctx: Context, node: LayerNode, rows: list[Value], name: str) -> Value:
    """The last row as (units,), or all of them as (T, units) with return_sequences."""
    if not node.config.get("return_sequences"):
        last = rows[-1]
        tensor = ctx.add(
            Reshape(inputs=(last.tensor,), output=name, layer=node.name), last.scale, last.offset, shape=last.shape[1:]
        )
        return last.but(tensor=tensor, layer=node.name, shape=last.shape[1:])
    grid = max(rows, key=lambda v: v.scale.item().denominator).scale.item()
    if any(v.scale.item() != grid for v in rows):
        raise UnsupportedError(
            "its state's grid changes from step to step, which return_sequences would mix",
            way_out="give the layer a state_quantizer",
        )
    tensor = ctx.add(
        Concat(inputs=tuple(v.tensor for v in rows), output=name, layer=node.name, axis=0),
        rows[0].scale,
        rows[0].offset,
    )
    return rows[0].but(tensor=tensor, layer=node.name, shape=ctx.b.tensor(tensor).shape)


def _recurrent(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value | list[Value]:
    """inputs: the sequence, then initial states if there are any. With return_state the states follow the output."""
    rows, ends = _run(ctx, node, inputs[0], inputs[1:])
    made = _gathered(ctx, node, rows, node.name)
    return [made, *ends] if ends else made


def _bidirectional(ctx: Context, node: LayerNode, inputs: list[Value]) -> Value | list[Value]:
    """A forward and a backward layer; with return_sequences the backward rows are put back in order. The first half of
    the initial states is the forward layer's, and its final states come first."""
    config = node.config
    results: list[Value] = []
    ends: list[Value] = []
    half = (len(inputs) - 1) // 2
    initial = {"forward": inputs[1 : 1 + half], "backward": inputs[1 + half :]}
    for role, wrapped in (("forward", config["layer"]), ("backward", config.get("backward_layer") or config["layer"])):
        own: dict[str, Any] = dict(wrapped["config"])
        if role == "backward" and not config.get("backward_layer"):
            own["go_backwards"] = not own.get("go_backwards", False)
        inner = dataclasses.replace(
            node,
            name=f"{node.name}.{role}",
            class_name=str(wrapped["class_name"]).rsplit(">", 1)[-1],
            config=own,
            weights={k.removeprefix(f"{role}/"): w for k, w in node.weights.items() if k.startswith(f"{role}/")},
        )
        rows, states = _run(ctx, inner, inputs[0], initial[role])
        ends += [state.but(layer=node.name) for state in states]
        if own.get("return_sequences") and role == "backward":
            rows = rows[::-1]
        results.append(_gathered(ctx, inner, rows, inner.name).but(layer=node.name))
    outputs = results if config.get("merge_mode", "concat") is None else [_merged(ctx, node, results)]
    return [*outputs, *ends] if len(outputs) + len(ends) > 1 else outputs[0]


def _merged(ctx: Context, node: LayerNode, results: list[Value]) -> Value:
    """The two directions' outputs as merge_mode says."""
    merge = node.config.get("merge_mode", "concat")
    if merge == "concat":
        forward, backward = results
        scale = np.concatenate([np.broadcast_to(v.scale, v.shape[-1:]) for v in results])
        made = Value.of("", node.name, (), scale)
        tensor = ctx.add(
            Concat(
                inputs=(forward.tensor, backward.tensor), output=node.name, layer=node.name, axis=len(forward.shape) - 1
            ),
            made.scale,
            made.offset,
        )
        return made.but(tensor=tensor, shape=ctx.b.tensor(tensor).shape)
    if merge == "sum":
        return add(ctx, node, results, [1, 1])
    if merge == "ave":
        return add(ctx, node, results, [1, 1], f"{node.name}.sum").affine(Fraction(1, 2))
    if merge == "mul":
        return multiply(ctx, node, results)
    raise UnsupportedError(f"merge_mode {merge!r} is not supported", way_out="use concat, sum, ave, mul or None")


_READS = (
    *("units", "activation", "recurrent_activation", "use_bias", "reset_after", "stateful"),
    *("kernel_quantizer", "recurrent_quantizer", "bias_quantizer", "state_quantizer"),
    *("return_sequences", "return_state", "go_backwards"),
)
_CELL = Record(lower=_recurrent, reads=_READS, only={"time_major": (False,)})
_BOTH_WAYS = Record(lower=_bidirectional, reads=("layer", "backward_layer", "merge_mode"))

LAYERS: Registry = {
    **dict.fromkeys(STEPS, _CELL),
    "QBidirectional": _BOTH_WAYS,
    "Bidirectional": _BOTH_WAYS,
}
