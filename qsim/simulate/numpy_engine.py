"""The reference engine: the kernels of ``qsim.reference``, operation by operation, on int64 arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsim.ir import Graph
from qsim.numerics import Array
from qsim.reference.kernels import KERNELS
from qsim.simulate.plan import Row

_CHUNK_ELEMENTS = 1 << 20
"""Batches are cut so that no tensor of a chunk has more elements than this (8 MiB of int64): more leave the caches."""


class NumpyEngine:
    """Runs ``graph`` and keeps the tensors named ``kept``."""

    def __init__(self, graph: Graph, kept: Sequence[str]) -> None:
        self.graph = graph
        self._kept = tuple(dict.fromkeys(kept))
        self._last_use = {name: op.output for op in graph.ops for name in op.inputs}

    def rows(self) -> list[Row]:
        """The plan: every operation by numpy."""
        return [
            Row(tensor=op.output, operations=(type(op).__name__,), kernel="numpy", reason="the engine numpy was chosen")
            for op in self.graph.ops
        ]

    def run(self, codes: dict[str, Array], batch: int) -> dict[str, Array]:
        """Codes (batch, *shape) of the inputs to those of the kept tensors."""
        largest = max(t.size for t in self.graph.tensors.values())
        chunk = max(1, _CHUNK_ELEMENTS // largest)
        if batch <= chunk:
            return self._run_chunk(codes, batch)
        parts = [
            self._run_chunk({k: v[i : i + chunk] for k, v in codes.items()}, min(chunk, batch - i))
            for i in range(0, batch, chunk)
        ]
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    def _run_chunk(self, codes: dict[str, Array], batch: int) -> dict[str, Array]:
        graph, wanted = self.graph, set(self._kept)
        values = {name: array.astype(np.int64, copy=False) for name, array in codes.items()}
        for op in graph.ops:
            inputs = [values[name] for name in op.inputs]
            tensors = [graph[name] for name in op.inputs]
            values[op.output] = KERNELS[type(op)](op, inputs, tensors, graph[op.output])
            for name in dict.fromkeys(op.inputs):
                if self._last_use[name] == op.output and name not in wanted:
                    del values[name]
        return {name: np.broadcast_to(values[name], (batch, *graph[name].shape)) for name in self._kept}


__all__ = ["NumpyEngine"]
