"""What a numeric profile changes: the same model under several of them, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.numerics import Array
from qsim.reference.kernels import KERNELS
from qsim.simulate import Simulator


@dataclass(frozen=True, kw_only=True)
class Change:
    """One layer's output under another profile. total: codes. own: differing where the layer is given the first
    profile's input codes, None where its inputs have no counterpart; along: where the whole network runs under the
    other profile; largest: greatest difference along the network, in codes."""

    total: int
    own: int | None
    along: int
    largest: int


@dataclass(frozen=True, kw_only=True)
class ProfileChanges:
    """A layer and, for every profile but the first, what changes; None where that profile's graph lacks the tensor."""

    layer: str
    tensor: str
    changes: tuple[Change | None, ...]


def compare_profiles(graphs: Sequence[Graph], inputs: Mapping[str, Array]) -> tuple[ProfileChanges, ...]:
    """Every layer of the first graph against the others, on the same input codes.

    Raises UsageError for fewer than two graphs or graphs whose inputs differ.
    """
    if len(graphs) < 2:
        raise UsageError("at least two profiles are needed: --profiles tflm,litert-ref")
    first, *others = graphs
    trace = Simulator(first).trace_codes(inputs)
    columns = []
    for other in others:
        if [e.tensor for e in other.inputs] != [e.tensor for e in first.inputs]:
            raise UsageError("the graphs have different inputs: profiles of one model are compared, not two models")
        columns.append((other, Simulator(other).trace_codes(inputs), _alone(other, trace)))
    rows = []
    for layer in first.layers():
        tensor = [op.output for op in first.ops if op.layer == layer][-1]
        changes = tuple(_change(trace[tensor], along.get(tensor), own.get(tensor)) for _, along, own in columns)
        rows.append(ProfileChanges(layer=layer, tensor=tensor, changes=changes))
    return tuple(rows)


def _change(expected: Array, along: Array | None, own: Array | None) -> Change | None:
    if along is None or along.shape != expected.shape:
        return None
    return Change(
        total=expected.size,
        own=None if own is None or own.shape != expected.shape else int((own != expected).sum()),
        along=int((along != expected).sum()),
        largest=int(np.abs(along - expected).max(initial=0)),
    )


def _alone(other: Graph, trace: Mapping[str, Array]) -> dict[str, Array]:
    """The other graph's tensors with every layer fed the reference's codes."""
    found: dict[str, Array] = {}
    for layer in other.layers():
        ops = [op for op in other.ops if op.layer == layer]
        made: dict[str, Array] = {}
        for op in ops:
            known = {n: made[n] if n in made else trace[n] for n in op.inputs if n in made or n in trace}
            if any(n not in known or known[n].shape[1:] != other[n].shape for n in op.inputs):
                break
            xs = [known[n] for n in op.inputs]
            made[op.output] = KERNELS[type(op)](op, xs, [other[n] for n in op.inputs], other[op.output])
        found |= made
    return found
