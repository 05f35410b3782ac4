"""The engine: runs a graph on a batch, op by op, and gives back codes or real values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from qsim.errors import ToolMissingError, UsageError
from qsim.ir import Graph, Input
from qsim.ir.graph import Rounded
from qsim.numerics import Array, Rounding, exhaustive
from qsim.simulate.native.engine import NativeEngine
from qsim.simulate.numpy_engine import NumpyEngine
from qsim.simulate.plan import Row

Arrays = Array | Mapping[str, Array]
"""One array where the graph has one input (output), else a mapping from tensor name to array; always (N, *shape)."""

EngineName = Literal["auto", "native", "numpy"]
ENGINES: tuple[EngineName, ...] = ("auto", "native", "numpy")

_QUANTIZED_AT_ONCE = 1 << 22
"""Elements of real-valued input that are turned into codes at a time."""


class Simulator:
    """Runs ``graph`` bit for bit. Arrays have the batch first; a missing batch dimension is an error, not a guess.

    engine: "numpy" runs the reference kernels; "native" C kernels that the host's compiler makes once a machine (kept
    in the user's cache folder; ToolMissingError without a compiler), operations that they lack by numpy; "auto" is
    native where a compiler is found. Both give the same codes. threads: of the native engine.
    """

    def __init__(self, graph: Graph, engine: EngineName = "auto", threads: int = 1) -> None:
        if engine not in ENGINES:
            raise UsageError(f"unknown engine {engine!r}: choose from {', '.join(ENGINES)}")
        if threads < 1:
            raise UsageError(f"threads is a number from 1 on, not {threads}")
        self.graph = graph
        self._engine, self._threads = engine, threads
        self._engines: dict[tuple[str, ...], NativeEngine | NumpyEngine] = {}
        if engine == "native":
            self._for(self._outputs)

    @property
    def _outputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(out.tensor for out in self.graph.outputs))

    def _for(self, kept: tuple[str, ...]) -> NativeEngine | NumpyEngine:
        """The engine that keeps these tensors, made at its first use."""
        if kept not in self._engines:
            if self._engine != "numpy":
                try:
                    self._engines[kept] = NativeEngine(self.graph, kept, self._threads)
                except ToolMissingError:
                    if self._engine == "native":
                        raise
                    self._engine = "numpy"
            if self._engine == "numpy":
                self._engines[kept] = NumpyEngine(self.graph, kept)
        return self._engines[kept]

    def plan(self) -> tuple[Row, ...]:
        """Which kernel runs which operations in ``run``, and why numpy where it is numpy."""
        return tuple(self._for(self._outputs).rows())

    def quantize(self, x: Arrays) -> dict[str, Array]:
        """Real-valued inputs to codes, by the quantizer at each graph input (see ``qsim.ir.Input``).

        Raises UsageError for a wrong shape, NaN or infinity.
        """
        arrays = self._inputs(x, reals=True)
        return {entry.tensor: self._quantize(entry, values) for entry, values in zip(self.graph.inputs, arrays)}

    def reals(self, codes: Mapping[str, Array]) -> dict[str, Array]:
        """Input codes as the real values that they stand for, as ``run`` takes them: in the source's order."""
        found = {}
        for entry in self.graph.inputs:
            real = self.graph[entry.tensor].quantization.real(codes[entry.tensor])
            found[entry.tensor] = real.transpose(0, *(axis + 1 for axis in entry.order)) if entry.order else real
        return found

    def run(self, x: Arrays) -> Any:
        """Real values in, real values out (float64): the output codes' values, with the boundary function (a final
        softmax that is not part of the hardware) applied.

        Memory beyond inputs and outputs does not grow with the batch; ``x`` may be memory-mapped.
        """
        arrays = self._inputs(x, reals=True)
        batch = arrays[0].shape[0]
        at_once = max(1, _QUANTIZED_AT_ONCE // max(1, sum(self.graph[i.tensor].size for i in self.graph.inputs)))
        found = {
            out.tensor: np.empty((batch, *_turned(self.graph[out.tensor].shape, out.order)))
            for out in self.graph.outputs
        }
        for first in range(0, batch, at_once):
            end = min(batch, first + at_once)
            codes = {
                entry.tensor: self._quantize(entry, values[first:end])
                for entry, values in zip(self.graph.inputs, arrays)
            }
            traced = self._run(codes, self._outputs)
            for name, array in found.items():
                array[first:end] = self.real_output(name, traced[name])
        return self._single(found)

    def real_output(self, name: str, codes: Array) -> Array:
        """An output's codes (N, *shape) as ``run`` gives them: real values, in the source's order."""
        out = next(out for out in self.graph.outputs if out.tensor == name)
        real = self.graph[name].quantization.real(codes)
        if out.order:
            real = real.transpose(0, *(axis + 1 for axis in out.order))
        return _rounded(BOUNDARIES[out.boundary](real), out.rounded)

    def run_codes(self, codes: Arrays) -> Any:
        """Integer codes in, integer codes out (int64), without any boundary function.

        Raises UsageError for a wrong shape, a dtype that is not an integer, or a code outside the input's range.
        """
        return self._single(self._run(self.check_codes(codes), self._outputs))

    def trace(self, x: Arrays) -> dict[str, Array]:
        """Every tensor's codes, by name in graph order, for real-valued inputs."""
        return self._run(self.quantize(x), tuple(self.graph.tensors))

    def trace_codes(self, codes: Arrays) -> dict[str, Array]:
        """Every tensor's codes for integer inputs."""
        return self._run(self.check_codes(codes), tuple(self.graph.tensors))

    def check_codes(self, codes: Arrays) -> dict[str, Array]:
        """Input codes as int64 by tensor name, after the checks that ``run_codes`` names."""
        checked = {}
        for entry, values in zip(self.graph.inputs, self._inputs(codes)):
            if values.dtype.kind not in "iu":
                raise UsageError(f"input {entry.tensor!r}: codes are integers, not {values.dtype}; use run() for reals")
            if values.size and (int(values.min()) < entry.low or int(values.max()) > entry.high):
                bad = int(values.min()) if int(values.min()) < entry.low else int(values.max())
                raise UsageError(
                    f"input {entry.tensor!r}: code {bad} lies outside [{entry.low}, {entry.high}] "
                    f"({self.graph[entry.tensor].format})"
                )
            checked[entry.tensor] = values.astype(np.int64)
        return checked

    def _single(self, results: dict[str, Array]) -> Any:
        return next(iter(results.values())) if len(self.graph.outputs) == 1 else results

    def _inputs(self, x: Arrays, *, reals: bool = False) -> list[Array]:
        """The inputs' arrays in the tensors' order; reals: they stand in the source's."""
        names = [entry.tensor for entry in self.graph.inputs]
        if isinstance(x, Mapping):
            if sorted(x) != sorted(names):
                raise UsageError(f"inputs {', '.join(names)} are needed, {', '.join(map(str, x)) or 'none'} given")
            arrays = [np.asarray(x[name]) for name in names]
        elif len(names) == 1:
            arrays = [np.asarray(x)]
        else:
            raise UsageError(f"the model has {len(names)} inputs: give a mapping with {', '.join(names)}")
        batches, turned = [], []
        for entry, array in zip(self.graph.inputs, arrays):
            name, order = entry.tensor, entry.order if reals else ()
            shape = _turned(self.graph[name].shape, order)
            if array.shape[1:] != shape or array.ndim != len(shape) + 1:
                raise UsageError(
                    f"input {name!r}: shape (N, {', '.join(map(str, shape))}) is needed, {array.shape} given"
                )
            batches.append(array.shape[0])
            axes = (order.index(axis) + 1 for axis in range(len(order)))
            turned.append(array.transpose(0, *axes) if order else array)
        if len(set(batches)) > 1:
            raise UsageError(f"inputs differ in batch size: {batches}")
        return turned

    def _quantize(self, entry: Input, values: Array) -> Array:
        if values.dtype.kind not in "fiub":
            raise UsageError(f"input {entry.tensor!r}: numbers are needed, not {values.dtype}")
        real = values.astype(np.float64)
        if not np.isfinite(real).all():
            raise UsageError(f"input {entry.tensor!r} holds NaN or infinity")
        q = self.graph[entry.tensor].quantization
        if entry.arithmetic == "exact":
            # Multiplying first: the quotient of a float32 number is then exact at ties for scales like 2/3 too.
            if any(q.offset):
                real = real - float(q.offset[0])
            with np.errstate(over="ignore"):  # infinite is beyond every limit, and clipped
                quotient = np.clip(real * q.scale[0].denominator / q.scale[0].numerator, -(2.0**70), 2.0**70)
        else:
            scale, single = np.float32(q.scale[0]), values.astype(np.float32)
            divided = entry.arithmetic == "float32_divide"
            quotient = (single / scale if divided else single * (np.float32(1) / scale)).astype(np.float64)
        codes = _ROUND_REAL[entry.rounding](quotient) + q.zero_point
        # Limits beyond 53 bits are no float64 numbers: clip as integers.
        whole = np.clip(codes, -(2.0**63), np.nextafter(2.0**63, 0)).astype(np.int64)
        return np.where(codes >= 2.0**63, entry.high, np.clip(whole, entry.low, entry.high))

    def _run(self, codes: dict[str, Array], kept: tuple[str, ...]) -> dict[str, Array]:
        batch = next(iter(codes.values())).shape[0]
        if not batch:
            return {name: np.zeros((0, *self.graph[name].shape), dtype=np.int64) for name in kept}
        found = self._for(kept).run(codes, batch)
        return {name: array.astype(np.int64, copy=False) for name, array in found.items()}


def _rounded(y: Array, rounded: Rounded | None) -> Array:
    """An output's real values as the source rounds them."""
    if rounded is None:
        return y
    scale = float(rounded.scale)
    steps = y / scale if rounded.levels is None else y * rounded.levels
    codes = np.clip(np.rint(steps) + rounded.zero_point, rounded.low, rounded.high)
    return (codes - rounded.zero_point) * scale if rounded.dequantized else codes


def _turned(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """A tensor's shape in the source's order (``qsim.ir.Input``)."""
    return tuple(shape[axis] for axis in order) or shape


def _nearest(x: Array, ties_up: Array | bool) -> Array:
    floor = np.floor(x)
    rest = x - floor  # exact: both are float64 within one unit
    return np.asarray(floor + ((rest > 0.5) | ((rest == 0.5) & ties_up)))


_ROUND_REAL: Mapping[Rounding, Callable[[Array], Array]] = exhaustive(
    {
        Rounding.TRN: lambda x: np.asarray(np.floor(x)),
        Rounding.TRN_ZERO: lambda x: np.asarray(np.trunc(x)),
        Rounding.RND: lambda x: _nearest(x, True),
        Rounding.RND_ZERO: lambda x: _nearest(x, x < 0),
        Rounding.RND_MIN_INF: lambda x: _nearest(x, False),
        Rounding.RND_INF: lambda x: _nearest(x, x >= 0),
        Rounding.RND_CONV: lambda x: np.asarray(np.rint(x)),
    },
    Rounding,
    "simulate.engine",
)
"""Rounding of float64 values at the boundary of a graph: the only place where reals are rounded."""


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


BOUNDARIES: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "softmax": _softmax,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
}
"""Real-valued functions that a source applies after the last code; outside every hardware target."""
