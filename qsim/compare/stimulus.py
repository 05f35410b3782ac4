"""Input codes for a verification without data: corners first, then seeded random samples."""

from __future__ import annotations

import numpy as np

from qsim.ir import Graph
from qsim.numerics import Array


def sample_codes(graph: Graph, count: int, seed: int) -> dict[str, Array]:
    """``count`` samples of input codes per graph input: int64 (count, *shape), every code within the input's limits.

    The first samples are corners: all at the lower limit, all at the upper, all at the zero point, alternating limits,
    and limits drawn per element. The rest are uniform. The same seed gives the same codes on every machine.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for entry in graph.inputs:
        tensor = graph[entry.tensor]
        low, high = entry.low, entry.high
        zero = min(max(tensor.quantization.zero_point, low), high)
        alternating = np.where(np.arange(tensor.size) % 2, high, low).reshape(tensor.shape)
        corners = [
            np.full(tensor.shape, low),
            np.full(tensor.shape, high),
            np.full(tensor.shape, zero),
            alternating,
            low + high - alternating,
            np.where(rng.integers(0, 2, tensor.shape), high, low),
        ][:count]
        random = rng.integers(low, high, (count - len(corners), *tensor.shape), endpoint=True)
        found[entry.tensor] = np.concatenate([np.array(corners, dtype=np.int64).reshape(-1, *tensor.shape), random])
    return found
