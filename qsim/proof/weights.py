"""What few values weights and inputs take, read off their real codes: which layers need no multiplier, and how their
weights are stored. The emitters choose their kernels by this, ``qsim inspect`` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray, Overflow, divide_rounded, overflow, rescale

Kind = Literal["binary", "ternary", "power_of_two", "multiplier"]


@dataclass(frozen=True, kw_only=True)
class WeightEncoding:
    """How the weights of one operation can be stored: w = ``scale`` * u, u of few values.

    binary: u is +1 or -1; one bit, 1 for +1. ternary: u is +1, 0 or -1; two bits of two's complement.
    power_of_two: u is 0 or +-2**k, 0 <= k <= ``exponent``; the field e takes the low bits, the sign (1: negative)
    stands above. With ``zeros``, e = 0 is zero and e = k + 1 else; without, e = k. multiplier: scale is 1, u = w in
    two's complement.

    scale: the greatest common divisor of the weights, at least 1. bits: of one stored weight.
    """

    kind: Kind
    scale: int
    bits: int
    exponent: int = 0
    zeros: bool = False

    @property
    def multiplies(self) -> bool:
        """Whether products by these weights need multipliers."""
        return self.kind == "multiplier"

    def codes(self, weights: Array) -> Array:
        """The weights as unsigned codes of ``bits`` bits, same shape."""
        u = weights // self.scale
        match self.kind:
            case "binary":
                return (u > 0).astype(np.int64)
            case "power_of_two":
                # k = bit_length(|u|) - 1; a float64 holds a power of two exactly
                size = np.frexp(np.abs(u).astype(np.float64))[1].astype(np.int64)
                field = np.where(u == 0, 0, size if self.zeros else size - 1)
                return np.asarray(field | ((u < 0).astype(np.int64) << (self.bits - 1)))
            case _:
                return np.asarray(u & ((1 << self.bits) - 1))

    def weights(self, codes: Array) -> Array:
        """The inverse of ``codes``."""
        top = np.int64(1) << (self.bits - 1)
        match self.kind:
            case "binary":
                u = 2 * codes - 1
            case "power_of_two":
                field = codes & (top - 1)
                power = np.int64(1) << np.maximum(field - int(self.zeros), 0)
                u = np.where((field == 0) & self.zeros, 0, np.where((codes & top) != 0, -power, power))
            case _:
                u = np.asarray((codes ^ top) - top)
        return np.asarray(u * self.scale)

    def __str__(self) -> str:
        bits = "1 bit" if self.bits == 1 else f"{self.bits} bits"
        name = self.kind.replace("_", " ")
        return f"{name}, {bits}" + (f", times {self.scale}" if self.scale > 1 else "")


def encoding(source: o.Linear | IntArray | Array) -> WeightEncoding:
    """The encoding of an operation's weights, or of these weights; the first that fits of binary, ternary,
    power_of_two, multiplier. Raises ValueError for no weights at all."""
    values = source if isinstance(source, IntArray | np.ndarray) else source.weights
    w = IntArray(values.values if isinstance(values, IntArray) else values)
    if not w.size:
        raise ValueError("no weights, no encoding")
    scale = max(1, int(np.gcd.reduce(np.abs(w.values), axis=None)))
    low, high = w.low // scale, w.high // scale
    zeros = bool((w.values == 0).any())
    if max(-low, high) <= 1:
        return WeightEncoding(kind="ternary" if zeros else "binary", scale=scale, bits=2 if zeros else 1, zeros=zeros)
    u = np.abs(w.values) // scale
    if not (u & (u - 1)).any():
        exponent = max(-low, high).bit_length() - 1
        bits = 1 + (exponent + zeros).bit_length()
        return WeightEncoding(kind="power_of_two", scale=scale, bits=bits, exponent=exponent, zeros=zeros)
    bits = 1 + max((-w.low - 1).bit_length() if w.low < 0 else 0, w.high.bit_length() if w.high > 0 else 0)
    return WeightEncoding(kind="multiplier", scale=1, bits=bits, zeros=zeros)


def two_codes(graph: Graph, name: str) -> tuple[int, int] | None:
    """(low, high) where every code that the tensor can take is provably one of these two; else None.

    Proven by the range where it holds two codes only, by the op that makes the tensor, or, for ops that only move or
    choose codes, by their inputs.
    """
    found = _few_codes(graph, name)
    return (found[0], found[1]) if found is not None and len(found) == 2 else None


def _few_codes(graph: Graph, name: str) -> tuple[int, ...] | None:
    """One or two codes, ascending, that are all the tensor can take; None where they may be more."""
    low, high = graph[name].range
    if high - low <= 1:
        return tuple(dict.fromkeys((low, high)))
    op = graph.producers.get(name)
    match op:
        case o.Threshold():
            levels = np.arange(op.thresholds.shape[1] + 1)
            return _distinct(op.base.values.reshape(-1, 1) + op.step.values.reshape(-1, 1) * levels)
        case o.Lookup():
            return _distinct(op.table.values)
        case o.Constant():
            return _distinct(op.values.values)
        case o.Requantize() | o.Divide():
            codes = _few_codes(graph, op.inputs[0])
            return None if codes is None else _distinct(_rescaled(op, np.array(codes), graph[name]))
        case _ if op is not None and op.keeps_codes:
            found = [_few_codes(graph, source) for source in op.inputs]
            added = [op.value] if isinstance(op, o.Pad) and any(n for pair in op.pads for n in pair) else []
            taken = [code for part in found if part is not None for code in part]
            return None if None in found else _distinct(np.array(taken + added, dtype=np.int64))
        case _:
            return None


def _rescaled(op: o.Requantize | o.Divide, codes: Array, out: Tensor) -> Array:
    """What ``op`` makes of a few codes, in every channel: (codes, ...)."""
    x = codes.reshape(-1, *(1 for _ in out.shape))
    if isinstance(op, o.Divide):
        quotient = divide_rounded(x * op.numerator.values + op.addend.values, op.divisor.values, op.rounding)
        return np.asarray(np.clip(quotient + op.zero_point, op.low, op.high))
    x = x - op.input_zero_point
    y = rescale(x, op.rescale)
    if op.negative is not None:
        y = np.where(x < 0, rescale(x, op.negative), y)
    y = y + op.zero_point
    match op.overflow:
        case Overflow.SAT | Overflow.SAT_SYM:
            return np.asarray(np.clip(y, op.low, op.high))
        case Overflow.SAT_ZERO:
            return np.where((y < op.low) | (y > op.high), 0, y)
        case Overflow.WRAP | Overflow.WRAP_SM:
            return overflow(y, out.format, op.overflow)


def _distinct(values: Array) -> tuple[int, ...] | None:
    unique = np.unique(values)
    return tuple(int(v) for v in unique) if len(unique) <= 2 else None


def sign_magnitude(graph: Graph, op: o.Linear) -> int | None:
    """a > 0 where every input code minus the zero point is provably +a or -a; else None.

    Positions outside the image, and the gaps of a strided transposed convolution, hold the zero point: neither.
    """
    pair = two_codes(graph, op.inputs[0])
    if pair is None or pair[0] + pair[1] != 2 * op.input_zero_point:
        return None
    return pair[1] - op.input_zero_point


__all__ = ["Kind", "WeightEncoding", "encoding", "sign_magnitude", "two_codes"]
