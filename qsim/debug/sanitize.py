"""The numeric sanitizer: how each tensor's codes use their format on given inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qsim.compare.arrays import write_arrays
from qsim.compare.report import layer_of
from qsim.debug.diff.evidence import tie_count, unclipped
from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array, IntFormat, Overflow
from qsim.proof.ranges import attaining_input, ranges
from qsim.simulate import Simulator
from qsim.simulate.engine import Arrays


@dataclass(frozen=True, kw_only=True)
class TensorHealth:
    """One tensor over all samples; counts are of elements.

    saturated_low, saturated_high: clipped by the op's limits. wrapped: changed by a wrapping overflow. ties: exactly
    half way before rounding, so that the rounding mode decides (None where the op does not round once).
    underflowed: a nonzero value became code ``zero``. observed: least and greatest code seen; proven: over all inputs.
    dead_msbs: high bits of the format that no observed code needs. dead_channels: always zero; constant_channels:
    always one other code.
    """

    tensor: str
    layer: str
    format: IntFormat
    total: int
    observed: tuple[int, int]
    proven: tuple[int, int]
    saturated_low: int
    saturated_high: int
    wrapped: int
    ties: int | None
    underflowed: int
    dead_msbs: int
    dead_channels: tuple[int, ...]
    constant_channels: tuple[int, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What deserves a look, in words."""
        found = []
        for count, what in (
            (self.saturated_low, "saturate low"),
            (self.saturated_high, "saturate high"),
            (self.wrapped, "wrap"),
            (self.underflowed, "underflow to zero"),
        ):
            if count:
                found.append(f"{100 * count / self.total:.3g} % {what}")
        if self.ties:
            found.append(f"{100 * self.ties / self.total:.3g} % are ties")
        if self.dead_msbs:
            found.append(f"{self.dead_msbs} high bits unused")
        if self.dead_channels:
            found.append(f"{len(self.dead_channels)} dead channels")
        if self.constant_channels:
            found.append(f"{len(self.constant_channels)} constant channels")
        return tuple(found)


def sanitize(graph: Graph, x: Arrays, *, codes: bool = False) -> tuple[TensorHealth, ...]:
    """The health of every tensor on ``x`` (real values, or codes), in graph order."""
    simulator = Simulator(graph)
    inputs = simulator.check_codes(x) if codes else simulator.quantize(x)
    if not all(array.shape[0] for array in inputs.values()):
        raise UsageError("there is nothing to observe: give at least one input sample")
    trace = simulator.trace_codes(inputs)
    return tuple(_health(graph, name, trace) for name in graph.tensors)


def _health(graph: Graph, name: str, trace: Mapping[str, Array]) -> TensorHealth:
    tensor, y = graph[name], trace[name]
    low, high = int(y.min()), int(y.max())
    counts = _overflows(graph, name, trace)
    by_channel = y.reshape(-1, tensor.shape[-1])
    flat = (by_channel == by_channel[:1]).all(axis=0)
    zero = tensor.quantization.zero_point
    least = IntFormat.for_range(min(low, -1) if tensor.format.signed else low, high)
    return TensorHealth(
        tensor=name,
        layer=layer_of(graph, name),
        format=tensor.format,
        total=y.size,
        observed=(low, high),
        proven=tensor.range,
        **counts,
        dead_msbs=tensor.format.width - least.width,
        dead_channels=tuple(int(c) for c in np.flatnonzero(flat & (by_channel[0] == zero))),
        constant_channels=tuple(int(c) for c in np.flatnonzero(flat & (by_channel[0] != zero))),
    )


def _overflows(graph: Graph, name: str, trace: Mapping[str, Array]) -> dict[str, Any]:
    none = {"saturated_low": 0, "saturated_high": 0, "wrapped": 0, "ties": 0, "underflowed": 0}
    op = graph.producers.get(name)
    if not isinstance(op, o.Requantize | o.Divide):
        return none
    x, y = trace[op.inputs[0]], trace[name]
    wraps = isinstance(op, o.Requantize) and op.overflow in (Overflow.WRAP, Overflow.WRAP_SM)
    zero_in = op.input_zero_point if isinstance(op, o.Requantize) else 0
    wide = unclipped(graph, op, x)
    below, above = wide < op.low, wide > op.high
    outside = int((below | above).sum())
    return {
        "saturated_low": 0 if wraps else int(below.sum()),
        "saturated_high": 0 if wraps else int(above.sum()),
        "wrapped": outside if wraps else 0,
        "ties": tie_count(graph, op, x),
        "underflowed": int(((x != zero_in) & (wide == op.zero_point) & (y == op.zero_point)).sum()),
    }


def worst_case(graph: Graph, tensor: str, *, upper: bool = True) -> tuple[tuple[int, ...], Array]:
    """(element index, input codes of the producing layer) that attain the proven bound of a convolution or dense
    accumulator. The codes have the shape of the op's input.

    Raises UsageError where ``tensor`` is not made by such a layer.
    """
    op = graph.producers.get(tensor)
    if not isinstance(op, o.Conv2D | o.Dense):
        raise UsageError(f"tensor {tensor!r} is not the accumulator of a convolution or dense layer")
    proven = ranges(graph)
    bound = proven[tensor].high if upper else proven[tensor].low
    flat = int(bound.argmax() if upper else bound.argmin())
    index = tuple(int(i) for i in np.unravel_index(flat, bound.shape))
    return index, attaining_input(op, proven[op.inputs[0]], index, upper=upper)


def export_worst_case(graph: Graph, tensor: str, path: str | Path, *, upper: bool = True) -> Path:
    """Write ``worst_case``'s input codes as ``.npy`` (int64, the op's input shape) and return the path."""
    target = Path(path)
    write_arrays(target, worst_case(graph, tensor, upper=upper)[1])
    return target
