"""The boundary between float32's own rounding and a real mismatch, where the other side computed in float32.

Keras evaluates in float32: a sum is exact only while the magnitudes of its terms add up to less than 2**24 units, and a
factor that is no power of two rounds again. The exact value (what a float64 evaluation gives, and what the simulator's
integers are) may then lie on the other side of a rounding step. Each tensor is judged on its own: its inputs are the
codes that the other side really had, and a code differs by float32's rounding alone if it lies within what the rounding
errors of its own sum can reach. Where float32 is exact nothing is excused: a tie broken the wrong way is a mismatch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from qsim.debug.causes.alternative import run
from qsim.debug.diff.observations import Observed
from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import FLOAT32_EXACT, Array, IntArray, scalar

Reach = tuple[Array, Array]
"""Least and greatest codes that float32's rounding can give, elementwise."""

_MONOTONE = (
    o.Requantize,
    o.Divide,
    o.Threshold,
    o.Reshape,
    o.Transpose,
    o.Pad,
    o.Slice,
    o.Gather,
    o.MaxPool2D,
    o.SumPool2D,
    o.Concat,
    o.Extremum,
    o.Reduce,
)


def settle(
    graph: Graph, inputs: Mapping[str, Array], observed: Mapping[str, Observed]
) -> tuple[dict[str, Array], dict[str, int]]:
    """(trace, excused): every tensor's expected codes, and tensor -> number of codes that only float32's rounding
    changed. Where all differences of a tensor are excused, its observed codes stand in the trace, so that the tensors
    behind it are judged on what they were really computed from."""
    trace: dict[str, Array] = dict(inputs)
    reach: dict[str, Reach] = {}
    excused: dict[str, int] = {}
    batch = next(iter(inputs.values())).shape[0]
    for op in graph.ops:
        xs = [trace[name] for name in op.inputs]
        tensors = [graph[name] for name in op.inputs]
        out = graph[op.output]
        exact = np.broadcast_to(run(op, xs, tensors, out), (batch, *out.shape))
        trace[op.output] = exact
        ends = _reach(op, xs, [reach.get(name) for name in op.inputs], tensors, out, exact)
        seen = observed.get(op.output)
        if seen is None:
            if ends is not None:
                reach[op.output] = ends
        elif seen.float32 and ends is not None:
            within = (seen.codes >= ends[0]) & (seen.codes <= ends[1])
            different = int((seen.codes != exact).sum())
            if different and bool(within.all()):
                excused[op.output] = different
                trace[op.output] = seen.codes
    return {name: trace[name] for name in graph.tensors}, excused


def _reach(
    op: o.Op, xs: list[Array], reaches: list[Reach | None], ts: list[Tensor], out: Tensor, exact: Array
) -> Reach | None:
    if isinstance(op, o.Linear):
        return _linear(op, xs[0], reaches[0], ts, out, exact)
    if isinstance(op, o.Requantize | o.Divide):
        return _rescaled(op, xs[0], reaches[0], ts, out)
    if all(r is None for r in reaches):
        return None
    low = [x if r is None else r[0] for x, r in zip(xs, reaches)]
    high = [x if r is None else r[1] for x, r in zip(xs, reaches)]
    if isinstance(op, o.Add):
        down = [a if s > 0 else b for a, b, s in zip(low, high, op.signs)]
        up = [b if s > 0 else a for a, b, s in zip(low, high, op.signs)]
        return run(op, down, ts, out), run(op, up, ts, out)
    return _ends(op, low, high, ts, out) if isinstance(op, _MONOTONE) else None


def _ends(op: o.Op, low: list[Array], high: list[Array], ts: list[Tensor], out: Tensor) -> Reach:
    a, b = run(op, low, ts, out), run(op, high, ts, out)
    return np.minimum(a, b), np.maximum(a, b)


def _linear(op: Any, x: Array, reach: Reach | None, ts: list[Tensor], out: Tensor, exact: Array) -> Reach | None:
    """Error of a float32 sum of n terms: at most (n + 1) * 2**-24 * sum |terms|, none below 2**24."""
    magnitudes = dataclasses.replace(
        op,
        weights=IntArray(np.abs(op.weights.values)),
        bias=None if op.bias is None else IntArray(np.abs(op.bias.values)),
        input_zero_point=0,
    )
    sums = run(magnitudes, [np.abs(x - op.input_zero_point)], ts, out)
    error = np.zeros(exact.shape, dtype=np.int64)
    if not _powers_of_two(ts[0], out) or int(sums.max(initial=0)) >= FLOAT32_EXACT:
        terms = int(np.prod(op.weights.shape[:-1])) + 1
        error = error + np.ceil(sums * ((terms + 1) * 2.0**-24)).astype(np.int64)
    if reach is not None:
        spread = np.maximum(reach[1] - x, x - reach[0])
        error = error + run(dataclasses.replace(magnitudes, bias=None), [spread], ts, out)
    return (exact - error, exact + error) if error.any() else None


def _powers_of_two(*tensors: Tensor) -> bool:
    return all(
        s.numerator & (s.numerator - 1) == 0 and s.denominator & (s.denominator - 1) == 0
        for t in tensors
        for s in t.quantization.scale
    )


def _rescaled(
    op: o.Requantize | o.Divide, x: Array, reach: Reach | None, ts: list[Tensor], out: Tensor
) -> Reach | None:
    """A factor that is no power of two rounds the product: the exact product is moved by 2**-22 of itself."""
    factor = op.rescale.multiplier if isinstance(op, o.Requantize) else op.numerator
    plain: o.Op
    if isinstance(op, o.Requantize):
        rounds = factor != scalar(1) and op.negative is None
        bare = dataclasses.replace(op.rescale, multiplier=scalar(1), addend=scalar(0))
        plain = dataclasses.replace(op, rescale=bare, input_zero_point=0)
        addend = op.rescale.addend.values
        zero = op.input_zero_point
    else:
        rounds = True
        plain = dataclasses.replace(op, numerator=scalar(1), addend=scalar(0))
        addend, zero = op.addend.values, 0
    if not rounds:
        return None if reach is None else _ends(op, [reach[0]], [reach[1]], ts, out)
    low, high = (x, x) if reach is None else reach
    products = [(end - zero) * factor.values + addend for end in (low, high)]
    error = np.ceil(np.maximum(*map(np.abs, products)) * 2.0**-22).astype(np.int64)
    if int(error.max(initial=0)) <= 1 and reach is None:
        # A product below 2**22 units: its rounding moves it by less than a unit, which no exact tie can need.
        return None
    return _ends(plain, [np.minimum(*products) - error], [np.maximum(*products) + error], ts, out)
