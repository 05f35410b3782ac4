"""Sums and products of two tensors, and the vector code that LiteRT's optimised kernels have for them.

Sources: runs of the interpreter over all pairs of codes, and over every length from 7 to 33
(tests/importers/tflite/test_tflite_vector.py repeats them), read together with its kernels.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from qsim.importers.tflite.lower.context import INT32, Lowering
from qsim.importers.tflite.lower.rescales import identity_rescale
from qsim.importers.tflite.model import Operator
from qsim.ir import ops as o
from qsim.numerics import Array, IntFormat, Overflow, Rescale, Scheme, rescale, wrap

INT16 = IntFormat(16, True)


class Lanes(NamedTuple):
    """Elements that the vector code takes at once: of two operands, and of one against an element that stays."""

    elements: int
    repeated: int


LANES: Mapping[str, Lanes] = {"ADD": Lanes(16, 8), "MUL": Lanes(16, 16)}
"""The operators whose optimised int8 kernels have vector code with an arithmetic of its own."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The innermost loop: ``length`` elements along the last axis of both operands in the shapes ``a`` and ``b``.

    repeated: one operand has a single element there. whole: how many of them, from the first on, the vector code takes.
    """

    a: tuple[int, ...]
    b: tuple[int, ...]
    length: int
    repeated: bool
    whole: int


def runs(name: str, a: Sequence[int], b: Sequence[int]) -> Runs | None:
    """The loop over operands of TFLite shapes ``a`` and ``b``; None where every element is worked out alone.

    Equal shapes are one run. Else the axes, from the last, fall into at most five groups: equal, broadcast in the
    operand that is broadcast first, equal, broadcast in the other, equal; more alternations have no vector code. The
    run is the last group of equal axes, or, where that is a single element, the group before it.
    """
    rank = max(len(a), len(b))
    full = [(1,) * (rank - len(s)) + tuple(s) for s in (a, b)]
    if full[0] == full[1]:
        return _counted(name, (math.prod(a),), (math.prod(a),), False)
    last = max(k for k in range(rank) if full[0][k] != full[1][k])
    first = 0 if full[0][last] == 1 else 1
    short, long = full[first], full[1 - first]
    equal, alone, other = (
        [n == m for n, m in zip(short, long, strict=True)],
        [n == 1 for n in short],
        [n == 1 for n in long],
    )
    at, groups = rank, []
    for belongs in (equal, alone, equal, other, equal):
        start = at
        while at and belongs[at - 1]:
            at -= 1
        groups.append((math.prod(short[at:start]), math.prod(long[at:start])))
    if at:
        return None
    repeated = groups[0] == (1, 1)
    kept = list(reversed(groups[1:] if repeated else groups))
    shapes = tuple(g[0] for g in kept), tuple(g[1] for g in kept)
    return _counted(name, shapes[first], shapes[1 - first], repeated)


def _counted(name: str, a: tuple[int, ...], b: tuple[int, ...], repeated: bool) -> Runs:
    length = max(a[-1], b[-1])
    lanes = LANES[name].repeated if repeated else LANES[name].elements
    return Runs(a=a, b=b, length=length, repeated=repeated, whole=length // lanes * lanes)


Narrow = Literal["no", "wrap", "saturate"]
Chain = tuple[Rescale, ...]


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """y = clip(narrow(r(a' o b')) + zy): a', b' the operands less their zero points, each through its chain.

    sign: 1 and -1 make o a sum and a difference; 0 a product. narrow: how the result becomes 16 bits wide before the
    clip: "wrap" keeps the low bits after the zero point is added, "saturate" also clips to 16 bits before that.
    """

    zeros: tuple[int, int]
    chains: tuple[Chain, Chain]
    sign: int
    out: Rescale
    narrow: Narrow
    zero_point: int
    bounds: tuple[int, int]

    def codes(self, a: Array, b: Array) -> Array:
        """The codes for int64 arrays of codes that broadcast."""
        x, y = (
            functools.reduce(rescale, chain, v - zero)
            for v, zero, chain in zip((a, b), self.zeros, self.chains, strict=True)
        )
        total = rescale(x + self.sign * y if self.sign else x * y, self.out)
        if self.narrow == "saturate":
            total = np.clip(total, INT16.low, INT16.high)
        total = total + self.zero_point
        return np.clip(total if self.narrow == "no" else wrap(total, INT16), *self.bounds)


def _build(low: Lowering, op: Operator, kernel: Kernel, sources: Sequence[str], tag: str = "") -> str:
    """The kernel on two graph tensors; the operator's output, or (``tag``) an intermediate tensor."""
    names, shifts, zeros = [], [], []
    for i, (source, chain, zero) in enumerate(zip(sources, kernel.chains, kernel.zeros, strict=True), 1):
        name, shift, left_over = source, 0, zero
        if len(chain) == 1 and chain[0].is_shift:
            shift = -chain[0].shift.low
        elif chain:
            for step, suffix in zip(chain, ("shifted", "scaled")[-len(chain) :], strict=True):
                name, left_over = _widened(low, op, name, left_over, step, f"{suffix}{i}{tag}"), 0
        names.append(name)
        shifts.append(shift)
        zeros.append(left_over)
    if kernel.sign:
        acc = low.step(
            o.Add(
                inputs=tuple(names),
                **low.at(op, f"acc{tag}"),
                shifts=tuple(shifts),
                signs=(1, kernel.sign),
                zero_points=tuple(zeros),
            )
        )
    else:
        acc = low.step(o.Mul(inputs=tuple(names), **low.at(op, f"acc{tag}"), zero_points=(zeros[0], zeros[1])))
    low.accumulator(op, acc)
    return _finished(low, op, kernel, acc, tag)


def _widened(low: Lowering, op: Operator, source: str, zero: int, step: Rescale, suffix: str) -> str:
    """One step of a chain, on the source less ``zero``."""
    bounds = INT32.low, INT32.high
    if step.scheme is Scheme.PLAIN:
        fmt = low.builder.tensor(source).format
        lowest, highest = rescale(np.array([fmt.low - zero, fmt.high - zero], dtype=np.int64), step)
        bounds = int(lowest), int(highest)
    return low.step(
        o.Requantize(
            inputs=(source,),
            **low.at(op, suffix),
            rescale=step,
            input_zero_point=zero,
            overflow=Overflow.SAT,
            low=bounds[0],
            high=bounds[1],
        )
    )


def _finished(low: Lowering, op: Operator, kernel: Kernel, acc: str, tag: str) -> str:
    """Output rescale, zero point, narrowing and clip."""
    y = low.output(op)
    last, zero_point = kernel.out, kernel.zero_point
    if kernel.narrow == "saturate":
        acc = low.step(
            o.Requantize(
                inputs=(acc,),
                **low.at(op, f"saturated{tag}"),
                rescale=last,
                overflow=Overflow.SAT,
                low=INT16.low,
                high=INT16.high,
            )
        )
        last = identity_rescale()
    if kernel.narrow != "no":
        acc = low.step(
            o.Requantize(
                inputs=(acc,),
                **low.at(op, f"narrow{tag}"),
                rescale=last,
                zero_point=zero_point,
                overflow=Overflow.WRAP,
                low=INT16.low,
                high=INT16.high,
            ),
            quantization=low.quantization(y),
            format=INT16,
        )
        last, zero_point = identity_rescale(), 0
    if not tag:
        return low.requantize(op, acc, last, kernel.bounds, zero_point=zero_point)
    return low.step(
        o.Requantize(
            inputs=(acc,),
            **low.at(op, f"part{tag}"),
            rescale=last,
            zero_point=zero_point,
            overflow=Overflow.SAT,
            low=kernel.bounds[0],
            high=kernel.bounds[1],
        ),
        quantization=low.quantization(y),
    )


def lower_pair(low: Lowering, op: Operator, scalar_code: Kernel, vector_code: Callable[[bool], Kernel]) -> None:
    """The operator by the scalar code of its kernel, or, where LiteRT's optimised kernels have vector code whose codes
    differ on the operands' proven ranges, by that code; elements behind the last full vector stay scalar.

    vector_code: (one operand stays over the run) -> the vector code's kernel.
    """
    sources = [low.value(op, 0), low.value(op, 1)]
    walk = None
    if low.profile.vectors and op.name in LANES:
        walk = runs(op.name, low.tensor(op, 0).shape, low.tensor(op, 1).shape)
    if walk is None or not walk.whole:
        _build(low, op, scalar_code, sources)
        return
    vector = vector_code(walk.repeated)
    (a_low, a_high), (b_low, b_high) = (low.builder.tensor(s).range for s in sources)
    pairs = np.arange(a_low, a_high + 1)[:, None], np.arange(b_low, b_high + 1)[None]
    wanted = vector.codes(*pairs)
    simplest = (scalar_code, dataclasses.replace(vector, narrow="no"), vector)
    chosen = next(k for k in simplest if np.array_equal(k.codes(*pairs), wanted))
    if chosen is scalar_code or walk.whole == walk.length:
        _build(low, op, chosen, sources)
        return
    _joined(low, op, walk, sources, (chosen, scalar_code))


def _joined(low: Lowering, op: Operator, walk: Runs, sources: Sequence[str], kernels: tuple[Kernel, Kernel]) -> None:
    """The first ``walk.whole`` elements of every run by the one kernel, the others by the other."""
    y = low.output(op)
    flat = [
        low.reshaped(op, source, shape, f"runs{i}")
        for i, (source, shape) in enumerate(zip(sources, (walk.a, walk.b), strict=True), 1)
    ]
    parts = []
    for first, last, kernel, name in (
        (0, walk.whole, kernels[0], "lanes"),
        (walk.whole, walk.length, kernels[1], "rest"),
    ):
        stretch = [_stretch(low, op, source, first, last, f"{name}{i}") for i, source in enumerate(flat, 1)]
        parts.append(_build(low, op, kernel, stretch, f"_{name}"))
    axis = len(walk.a) - 1
    joined = low.step(
        o.Concat(inputs=tuple(parts), **low.at(op, "joined"), axis=axis), quantization=low.quantization(y)
    )
    low.result(op, o.Reshape(inputs=(joined,), **low.end(op)))


def _stretch(low: Lowering, op: Operator, source: str, first: int, last: int, suffix: str) -> str:
    """Elements [first, last) of the last axis; the tensor itself where its only element there stays."""
    tensor = low.builder.tensor(source)
    if tensor.shape[-1] == 1:
        return source
    begin, shape = (*(0 for _ in tensor.shape[1:]), first), (*tensor.shape[:-1], last - first)
    return low.step(
        o.Slice(inputs=(source,), **low.at(op, suffix), begin=begin, strides=(1,) * len(begin)),
        shape=shape,
        quantization=tensor.quantization,
        format=tensor.format,
    )
