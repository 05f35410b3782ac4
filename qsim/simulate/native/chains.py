"""Elementwise operations as transforms of lanes, with the proof that 32 bits hold every intermediate result, or 64.

Which lanes a chain takes follows from the tensors' proven ranges alone. An operation that neither serves is left to
numpy, with the reason (``Unsuited``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, Overflow, Rescale, Scheme, periodic
from qsim.proof.steps import rescale_bounds
from qsim.simulate.native.structures import OVERFLOW, ROUNDING, SCHEME, ChainC, Keep, RescaleC, TransformC

INT32_MAX = (1 << 31) - 1
_REQUANTIZE, _DIVIDE, _THRESHOLD, _LOOKUP = range(4)
_VECTOR = 256
"""Parameters are repeated to vectors of at least this many lanes, so that loops are long."""
_MOST_PARAMETERS = 1 << 20
_FEW = 24
"""Up to this many thresholds are counted one by one, all lanes at once; more are searched."""


class Unsuited(Exception):
    """An operation that the native kernels do not take; the text says why."""


def fits32(*values: int) -> bool:
    """Whether all values are int32 numbers (and their negatives)."""
    return all(-INT32_MAX <= v <= INT32_MAX for v in values)


# --- which lanes


def narrow(op: o.Elementwise, low: int, high: int, out: tuple[int, int]) -> bool:
    """Whether 32-bit lanes hold every intermediate result of ``op`` on inputs in [low, high]."""
    if not fits32(low, high, *out):
        return False
    match op:
        case o.Requantize():
            if not fits32(op.input_zero_point, low - op.input_zero_point, high - op.input_zero_point):
                return False
            if op.low < -(1 << 31) or op.high > INT32_MAX:
                return False
            rescales = [op.rescale] if op.negative is None else [op.rescale, op.negative]
            return all(_narrow_rescale(op, r, low, high) for r in rescales)
        case o.Divide():
            return False
        case o.Threshold():
            return fits32(op.base.low, op.base.high) and all(
                fits32(v) for v in (op.base.low, op.base.high, op.step.low, op.step.high)
            )
        case o.Lookup():
            return fits32(op.table.low, op.table.high, op.table_low)


def _narrow_rescale(op: o.Requantize, r: Rescale, low: int, high: int) -> bool:
    low, high = low - op.input_zero_point, high - op.input_zero_point
    zero, s = op.zero_point, (r.shift.low, r.shift.high)
    reach = max(abs(low), abs(high))
    multiplier = max(abs(r.multiplier.low), abs(r.multiplier.high))
    match r.scheme:
        case Scheme.PLAIN:
            least, greatest = rescale_bounds(r, low, high)
            steps = (least, greatest, least - abs(zero) - 1, greatest + abs(zero) + 1)
            return (
                fits32(*steps, r.multiplier.low, r.multiplier.high, r.addend.low, r.addend.high)
                and s[0] >= -30
                and s[1] <= 30
            )
        case Scheme.TFLITE_DOUBLE | Scheme.TFLITE_UPWARD:
            left = max(0, -s[0])
            result = ((reach << left) * multiplier >> 31) + 2 + abs(zero)
            return left <= 31 and s[1] <= 31 and fits32(result)
        case Scheme.TFLITE_SINGLE:
            result = (reach * multiplier >> max(0, 31 + s[0])) + 2 + abs(zero)
            return s[0] >= -30 and s[1] <= 31 and fits32(result)
        case Scheme.FLOAT32:
            clipped = op.overflow in (Overflow.SAT, Overflow.SAT_SYM)
            return clipped and max(abs(op.low), abs(op.high), abs(zero)) < 1 << 29 and _factors(r) is not None


def check_wide(op: o.Elementwise) -> None:
    """Raise Unsuited where 64-bit lanes cannot follow ``op`` either."""
    if not isinstance(op, o.Requantize):
        return
    for r in (op.rescale, op.negative):
        if r is None:
            continue
        low, high = r.shift.low, r.shift.high
        if r.scheme is Scheme.PLAIN and not (low >= -61 and high <= 61):
            raise Unsuited("a shift beyond 61 bits")
        if r.scheme is Scheme.TFLITE_SINGLE and not (low >= -30 and high <= 31):
            raise Unsuited("a shift beyond 62 bits")
        if r.scheme in (Scheme.TFLITE_DOUBLE, Scheme.TFLITE_UPWARD) and not (low >= -63 and high <= 31):
            raise Unsuited("a shift beyond 31 bits")
        if r.scheme is Scheme.FLOAT32:
            if op.overflow not in (Overflow.SAT, Overflow.SAT_SYM):
                raise Unsuited("a float32 rescale that wraps")
            if not (_factors(r) is not None and max(abs(op.low), abs(op.high)) < 1 << 60):
                raise Unsuited("a float32 factor that is no normal number")


def _factors(r: Rescale) -> Array | None:
    """multiplier * 2**-shift as float32, where every one is a normal number (or zero) and exact."""
    m, s = np.broadcast_arrays(r.multiplier.values, r.shift.values)
    exact = np.ldexp(m.astype(np.float64), -s)
    single = exact.astype(np.float32)
    normal = (exact == 0) | ((np.abs(exact) >= 2.0**-126) & (np.abs(exact) < 2.0**127))
    return single if bool((normal & (single.astype(np.float64) == exact)).all()) else None


# --- C structures


def chain(ops: Sequence[o.Elementwise], graph: Graph, keep: Keep) -> ChainC:
    """``ops`` as one chain: 32-bit lanes where all of them allow it, else 64. Raises Unsuited."""
    wide = False
    for op in ops:
        if not narrow(op, *graph[op.inputs[0]].range, graph[op.output].range):
            check_wide(op)
            wide = True
    made = [_transform(op, graph, keep) for op in ops]
    return ChainC(count=len(made), wide=int(wide), transforms=keep.structures(made))


def _transform(op: o.Elementwise, graph: Graph, keep: Keep) -> TransformC:
    shape = graph[op.output].shape
    match op:
        case o.Requantize():
            return _requantize(op, graph, keep)
        case o.Divide():
            vectors = _Vectors(shape, op.numerator, op.addend, op.divisor)
            return TransformC(
                kind=_DIVIDE,
                length=vectors.length,
                output_zero=op.zero_point,
                low=op.low,
                high=op.high,
                numerator=keep.array(vectors(op.numerator), np.int64),
                addend=keep.array(vectors(op.addend), np.int64),
                divisor=keep.array(vectors(op.divisor), np.int64),
                rounding=ROUNDING[op.rounding],
            )
        case o.Threshold():
            return _threshold(op, keep)
        case o.Lookup():
            rows, entries = op.table.shape
            return TransformC(
                kind=_LOOKUP,
                length=_length(rows),
                input_zero=op.table_low,
                count=entries,
                rows=rows,
                table=keep.array(op.table.values, np.int64),
            )


def _length(period: int) -> int:
    return period * max(1, -(-_VECTOR // period))


class _Vectors:
    """Broadcast parameters along the flattened tensor: vectors of one common length."""

    def __init__(self, shape: tuple[int, ...], *parameters: IntArray) -> None:
        self._shape = shape
        self.length = _length(max(len(periodic(p, shape)) for p in parameters))
        if self.length > _MOST_PARAMETERS:
            raise Unsuited("parameters that differ from element to element")

    def __call__(self, parameter: IntArray) -> Array:
        return np.resize(periodic(parameter, self._shape), self.length)


def _threshold(op: o.Threshold, keep: Keep) -> TransformC:
    count = op.thresholds.shape[1]
    rows = max(op.thresholds.shape[0], op.base.size, op.step.size)
    table = np.broadcast_to(op.thresholds.values, (rows, count))
    base, step = (np.resize(p.values.reshape(-1), rows) for p in (op.base, op.step))
    length = _length(rows)
    # A vector compares int32 numbers: a threshold below them is always reached, one above them never.
    few = (
        count <= _FEW
        and fits32(op.base.low, op.base.high, op.step.low, op.step.high)
        and op.thresholds.high <= INT32_MAX
    )
    along = np.resize(np.arange(rows), length)
    return TransformC(
        kind=_THRESHOLD,
        length=length,
        count=count,
        rows=rows,
        few=int(few),
        table=keep.array(table, np.int64),
        base=keep.array(base, np.int64),
        step=keep.array(step, np.int64),
        along=keep.array(np.maximum(table, -(1 << 31))[along].T, np.int32) if few else 0,
        base_along=keep.array(base[along], np.int32) if few else 0,
        step_along=keep.array(step[along], np.int32) if few else 0,
    )


def _requantize(op: o.Requantize, graph: Graph, keep: Keep) -> TransformC:
    out = graph[op.output]
    rescales = [op.rescale] if op.negative is None else [op.rescale, op.negative]
    vectors = _Vectors(out.shape, *(p for r in rescales for p in (r.multiplier, r.addend, r.shift)))
    made = [_rescale(r, vectors, keep) for r in rescales]
    return TransformC(
        kind=_REQUANTIZE,
        length=vectors.length,
        input_zero=op.input_zero_point,
        output_zero=op.zero_point,
        low=op.low,
        high=op.high,
        overflow=OVERFLOW[op.overflow],
        width=out.format.width,
        is_signed=int(out.format.signed),
        has_negative=len(made) - 1,
        positive=made[0],
        negative=made[-1],
    )


def _rescale(r: Rescale, vectors: _Vectors, keep: Keep) -> RescaleC:
    m, a, s = (vectors(p) for p in (r.multiplier, r.addend, r.shift))
    factors = 0
    if r.scheme is Scheme.FLOAT32:
        single = np.ldexp(m.astype(np.float64), -s).astype(np.float32)
        factors = keep.array(single, np.float32)
    return RescaleC(
        scheme=SCHEME[r.scheme],
        rounding=ROUNDING[r.rounding],
        left=int(r.shift.low < 0),
        unit=int(r.is_shift),
        m=keep.array(m, np.int64),
        a=keep.array(a, np.int64),
        m32=keep.array(m.astype(np.int32).astype(np.int64), np.int32),
        a32=keep.array(a.astype(np.int32).astype(np.int64), np.int32),
        s=keep.array(s, np.int32),
        f=factors,
    )


__all__ = ["Unsuited", "chain", "fits32", "narrow"]
