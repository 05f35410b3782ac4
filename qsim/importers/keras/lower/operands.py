"""The arguments of operations: constants, tensors and axes, which count the batch, and none may touch it.

Rule of the arguments: keras.src.ops.numpy and keras.src.ops.nn; constants are float32 numbers, as in Keras' own run.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.value import Value, float32
from qsim.numerics import Array

BATCH = "which changes the batch's dimension; a graph is one input's computation"


def constant_of(number: Any) -> Array:
    """``float32``. Raises UnsupportedError for arrays of float64 that are none: Keras then computes in float64."""
    given = np.asarray(number, dtype=np.float64)
    if given.ndim and not np.array_equal(given.astype(np.float32), given, equal_nan=True):
        raise UnsupportedError("its constant holds float64 numbers", way_out="give it as a float32 array")
    return float32(given)


def operands(node: LayerNode, inputs: list[Value], *names: str) -> list[Any]:
    """The call's arguments in the order of ``names``: tensors as their values, everything else as it stands."""
    call = node.config.get("call")
    if call is None:
        return list(inputs)
    found = list(call["args"]) + [call["kwargs"].get(name) for name in names[len(call["args"]) :]]
    return [inputs[v["tensor"]] if isinstance(v, dict) and set(v) == {"tensor"} else v for v in found]


def own_axis(value: Value, axis: int, rank: int | None = None) -> int:
    """The axis without the batch, of a result of ``rank`` dimensions without it (default: the value's)."""
    rank = len(value.shape) if rank is None else rank
    inner = axis + rank if axis < 0 else axis - 1
    if not 0 <= inner < rank:
        raise UnsupportedError(f"its axis is {axis}, {BATCH}")
    return inner


def own_axes(value: Value, given: Any) -> tuple[int, ...]:
    if given is None:
        raise UnsupportedError(f"it works over all axes, {BATCH}", way_out="name the axes behind the batch")
    axes = given if isinstance(given, list | tuple) else [given]
    return tuple(sorted(own_axis(value, int(a)) for a in axes))
