"""Building graphs: shapes, proven ranges and least formats are filled in as each op is added."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from qsim.errors import GraphError, UnsupportedError
from qsim.ir import Graph, Input, Output, Quantization, Tensor
from qsim.ir.ops import Op, output_shape
from qsim.numerics import IntFormat, Rounding
from qsim.proof.ranges import Interval, infer, input_interval

_PROVISIONAL = IntFormat(64, True)


class GraphBuilder:
    """Collects ops in execution order; the importers' and tests' way to make a Graph."""

    def __init__(self, name: str, profile: str) -> None:
        self.name, self.profile = name, profile
        self._inputs: list[Input] = []
        self._ops: list[Op] = []
        self._tensors: dict[str, Tensor] = {}
        self._intervals: dict[str, Interval] = {}
        self._notes: list[str] = []

    def input(
        self,
        name: str,
        shape: Sequence[int],
        fmt: IntFormat,
        quantization: Quantization,
        rounding: Rounding = Rounding.RND_CONV,
        low: int | None = None,
        high: int | None = None,
        arithmetic: Literal["exact", "float32_divide", "float32_multiply"] = "exact",
        order: tuple[int, ...] = (),
    ) -> str:
        """Declare a graph input whose codes lie in [low, high] (default: the whole format)."""
        name = self._unique(name)
        low, high = fmt.low if low is None else low, fmt.high if high is None else high
        if high >= 1 << 63:
            raise UnsupportedError(
                f"the input format {fmt} leaves the signed 64 bits that everything is computed in",
                layer=name,
                way_out="use an unsigned format of at most 63 bits",
            )
        tensor = Tensor(name=name, shape=tuple(shape), format=fmt, quantization=quantization, range=(low, high))
        self._tensors[name] = tensor
        self._intervals[name] = input_interval(tensor, low, high)
        entry = Input(tensor=name, rounding=rounding, low=low, high=high, arithmetic=arithmetic, order=order)
        self._inputs.append(entry)
        return name

    def add(
        self,
        op: Op,
        *,
        quantization: Quantization,
        format: IntFormat | None = None,
        shape: Sequence[int] | None = None,
    ) -> str:
        """Add ``op`` and its output tensor; returns the tensor's name: the op's, made unique by a numeric suffix.

        format: the stored format; default: the least that holds the proven range. shape: for Reshape and Slice.
        Raises GraphError for shapes that do not fit or a format that the proven range leaves, UnsupportedError where
        an intermediate result can leave 62 bits.
        """
        tensors = [self._tensors[n] for n in op.inputs]
        name = self._unique(op.output)
        op, layer = dataclasses.replace(op, output=name), op.layer
        out_shape = output_shape(op, [t.shape for t in tensors], tuple(shape) if shape is not None else None)
        provisional = format or self._bounded_format(op)
        draft = Tensor(
            name=name,
            shape=out_shape,
            format=provisional,
            quantization=quantization,
            range=(provisional.low, provisional.high),
        )
        interval = infer(op, [self._intervals[n] for n in op.inputs], tensors, draft)
        low, high = interval.bounds
        least, greatest = op.bounds or (low, high)
        fmt = format or IntFormat.for_range(min(low, least), max(high, greatest))
        if not fmt.holds(low, high):
            raise GraphError(f"layer {layer!r}: tensor {name!r} reaches [{low}, {high}], outside {fmt}")
        self._tensors[name] = Tensor(
            name=name, shape=out_shape, format=fmt, quantization=quantization, range=(low, high)
        )
        self._intervals[name] = interval
        self._ops.append(op)
        return name

    @staticmethod
    def _bounded_format(op: Op) -> IntFormat:
        return _PROVISIONAL if op.bounds is None else IntFormat.for_range(*op.bounds)

    def interval(self, name: str) -> Interval:
        """The proven elementwise range of a tensor added so far."""
        return self._intervals[name]

    def tensor(self, name: str) -> Tensor:
        """A tensor added so far."""
        return self._tensors[name]

    def note(self, text: str) -> None:
        """Add a sentence that a user must read; the same one is kept once."""
        if text not in self._notes:
            self._notes.append(text)

    def build(self, outputs: Sequence[str | Output]) -> Graph:
        """The finished graph, without ops that no output depends on (a layer that the model never uses)."""
        wanted = [o if isinstance(o, Output) else Output(tensor=o) for o in outputs]
        live = {o.tensor for o in wanted}
        kept: list[Op] = []
        for op in reversed(self._ops):
            if op.output in live:
                kept.append(op)
                live.update(op.inputs)
        live.update(i.tensor for i in self._inputs)
        if not self._inputs:
            raise UnsupportedError(f"model {self.name!r} has no inputs")
        return Graph(
            name=self.name,
            profile=self.profile,
            inputs=tuple(self._inputs),
            outputs=tuple(wanted),
            ops=tuple(reversed(kept)),
            tensors={name: t for name, t in self._tensors.items() if name in live},
            notes=tuple(self._notes),
        )

    def _unique(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self._tensors:
            candidate, count = f"{name}_{count}", count + 1
        return candidate
