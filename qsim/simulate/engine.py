"""The engine: runs a graph on a batch, op by op, and gives back codes or real values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from qsim.errors import UsageError
from qsim.ir import Graph, Input
from qsim.numerics import Array, Rounding
from qsim.reference.kernels import KERNELS

Arrays = Array | Mapping[str, Array]
"""One array where the graph has one input (output), else a mapping from tensor name to array; always (N, *shape)."""

_CHUNK_ELEMENTS = 1 << 20
"""Batches are cut so that no tensor of a chunk has more elements than this (8 MiB of int64): more leave the caches."""


class Simulator:
    """Runs ``graph`` bit for bit. Arrays have the batch first; a missing batch dimension is an error, not a guess."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def quantize(self, x: Arrays) -> dict[str, Array]:
        """Real-valued inputs to codes, by the quantizer at each graph input (see ``qsim.ir.Input``).

        Raises UsageError for a wrong shape, NaN or infinity.
        """
        return {
            entry.tensor: self._quantize(entry, values) for entry, values in zip(self.graph.inputs, self._inputs(x))
        }

    def run(self, x: Arrays) -> Any:
        """Real values in, real values out (float64): the output codes' values, with the boundary function (a final
        softmax that is not part of the hardware) applied."""
        traced = self._run(self.quantize(x), keep_all=False)
        results = {}
        for out in self.graph.outputs:
            real = self.graph[out.tensor].quantization.real(traced[out.tensor])
            results[out.tensor] = BOUNDARIES[out.boundary](real)
        return self._single(results)

    def run_codes(self, codes: Arrays) -> Any:
        """Integer codes in, integer codes out (int64), without any boundary function.

        Raises UsageError for a wrong shape, a dtype that is not an integer, or a code outside the input's range.
        """
        traced = self._run(self.check_codes(codes), keep_all=False)
        return self._single({out.tensor: traced[out.tensor] for out in self.graph.outputs})

    def trace(self, x: Arrays) -> dict[str, Array]:
        """Every tensor's codes, by name in graph order, for real-valued inputs."""
        return self._run(self.quantize(x), keep_all=True)

    def trace_codes(self, codes: Arrays) -> dict[str, Array]:
        """Every tensor's codes for integer inputs."""
        return self._run(self.check_codes(codes), keep_all=True)

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

    def _inputs(self, x: Arrays) -> list[Array]:
        names = [entry.tensor for entry in self.graph.inputs]
        if isinstance(x, Mapping):
            if sorted(x) != sorted(names):
                raise UsageError(f"inputs {', '.join(names)} are needed, {', '.join(map(str, x)) or 'none'} given")
            arrays = [np.asarray(x[name]) for name in names]
        elif len(names) == 1:
            arrays = [np.asarray(x)]
        else:
            raise UsageError(f"the model has {len(names)} inputs: give a mapping with {', '.join(names)}")
        batches = []
        for name, array in zip(names, arrays):
            shape = self.graph[name].shape
            if array.shape[1:] != shape or array.ndim != len(shape) + 1:
                raise UsageError(
                    f"input {name!r}: shape (N, {', '.join(map(str, shape))}) is needed, {array.shape} given"
                )
            batches.append(array.shape[0])
        if len(set(batches)) > 1:
            raise UsageError(f"inputs differ in batch size: {batches}")
        return arrays

    def _quantize(self, entry: Input, values: Array) -> Array:
        if values.dtype.kind not in "fiub":
            raise UsageError(f"input {entry.tensor!r}: numbers are needed, not {values.dtype}")
        real = values.astype(np.float64)
        if not np.isfinite(real).all():
            raise UsageError(f"input {entry.tensor!r} holds NaN or infinity")
        q = self.graph[entry.tensor].quantization
        if entry.arithmetic == "exact":
            # Multiplying first: the quotient of a float32 number is then exact at ties for scales like 2/3 too.
            with np.errstate(over="ignore"):  # infinite is beyond every limit, and clipped
                quotient = np.clip(real * q.scale[0].denominator / q.scale[0].numerator, -(2.0**70), 2.0**70)
        else:
            scale, single = np.float32(q.scale[0]), values.astype(np.float32)
            divided = entry.arithmetic == "float32_divide"
            quotient = (single / scale if divided else single * (np.float32(1) / scale)).astype(np.float64)
        codes = _round_real(quotient, entry.rounding) + q.zero_point
        # Limits beyond 53 bits are no float64 numbers: clip as integers.
        whole = np.clip(codes, -(2.0**63), np.nextafter(2.0**63, 0)).astype(np.int64)
        return np.where(codes >= 2.0**63, entry.high, np.clip(whole, entry.low, entry.high))

    def _run(self, codes: dict[str, Array], *, keep_all: bool) -> dict[str, Array]:
        batch = next(iter(codes.values())).shape[0]
        if not batch:
            names = self.graph.tensors if keep_all else dict.fromkeys(out.tensor for out in self.graph.outputs)
            return {name: np.zeros((0, *self.graph[name].shape), dtype=np.int64) for name in names}
        largest = max(t.size for t in self.graph.tensors.values())
        chunk = max(1, _CHUNK_ELEMENTS // largest)
        if batch <= chunk:
            return self._run_chunk(codes, batch, keep_all=keep_all)
        parts = [
            self._run_chunk({k: v[i : i + chunk] for k, v in codes.items()}, min(chunk, batch - i), keep_all=keep_all)
            for i in range(0, batch, chunk)
        ]
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    def _run_chunk(self, codes: dict[str, Array], batch: int, *, keep_all: bool) -> dict[str, Array]:
        graph = self.graph
        values = dict(codes)
        wanted = {out.tensor for out in graph.outputs}
        last_use = {name: op.output for op in graph.ops for name in op.inputs}
        for op in graph.ops:
            inputs = [values[name] for name in op.inputs]
            tensors = [graph[name] for name in op.inputs]
            values[op.output] = KERNELS[type(op)](op, inputs, tensors, graph[op.output])
            if not keep_all:
                for name in dict.fromkeys(op.inputs):
                    if last_use[name] == op.output and name not in wanted:
                        del values[name]
        names = list(graph.tensors) if keep_all else [out.tensor for out in graph.outputs]
        return {name: np.broadcast_to(values[name], (batch, *graph[name].shape)) for name in dict.fromkeys(names)}


def _round_real(x: Array, mode: Rounding) -> Array:
    """Round float64 values at the boundary of a graph: the only place where reals are rounded."""
    match mode:
        case Rounding.RND_CONV:
            return np.asarray(np.rint(x))
        case Rounding.TRN:
            return np.asarray(np.floor(x))
        case Rounding.TRN_ZERO:
            return np.asarray(np.trunc(x))
        case _:
            floor = np.floor(x)
            rest = x - floor  # exact: both are float64 within one unit
            tie_up = {Rounding.RND: x == x, Rounding.RND_MIN_INF: x != x, Rounding.RND_ZERO: x < 0}.get(mode, x >= 0)
            return np.asarray(floor + ((rest > 0.5) | ((rest == 0.5) & tie_up)))


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
