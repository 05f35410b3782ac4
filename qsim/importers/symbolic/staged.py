"""Functions that an engine computes in its own arithmetic, as integer ops proven equal to it on every proven input.

A rising function of one integer is known by where each code begins: a multiplier and shift that agree everywhere, else
thresholds. Any function of few codes is a table; one of two codes is a sum of multiples where that agrees on all pairs,
else a table over both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from qsim.errors import UnsupportedError
from qsim.importers.symbolic.rescale import as_parts, fits, requantize
from qsim.importers.symbolic.value import Value
from qsim.ir import Quantization
from qsim.ir.ops import Add, Lookup, Requantize, Threshold
from qsim.numerics import Array, IntArray, Overflow, Rescale, Rounding, Scheme
from qsim.proof.builder import GraphBuilder
from qsim.proof.exact import smallest_reaching

MOST_TABLE_ENTRIES = 1 << 20
MOST_PAIR_SHIFT = 30

Function = Callable[[Array], Array]
"""int64 codes in, int64 codes out."""


def float32_requantize(
    b: GraphBuilder, acc: Value, multiplier: Array, zero: int, codes: tuple[int, int], layer: str
) -> Requantize:
    """clip(rint(f(f(acc) * multiplier)) + zero), multiplier float32, one or one per channel: a multiplier and shift
    proven equal on each channel's proven range, where there is one for all of them, else float32's own rounding carried
    out in integers."""
    lanes = [_lane(b, acc, c, multiplier, zero, codes) for c in range(multiplier.size)]
    found = [lane for lane in lanes if lane is not None]
    shape = (multiplier.size,) if multiplier.size > 1 else ()
    if len(found) == len(lanes):
        parts = as_parts(found, shape)
        if fits(parts, b.tensor(acc.tensor).range):
            op = requantize(
                acc.tensor, layer, layer, parts, (codes[0] - zero, codes[1] - zero), Rounding.RND_CONV
            )
            return dataclasses.replace(op, zero_point=zero, low=codes[0], high=codes[1])
    mantissas, shifts = [], []
    for m in multiplier.reshape(-1).tolist():
        fraction, exponent = np.frexp(np.float32(m))
        mantissas.append(int(fraction * (1 << 24)))
        shifts.append(24 - int(exponent))
    rescale = Rescale(
        multiplier=IntArray(np.array(mantissas).reshape(shape)),
        addend=IntArray(np.int64(0)),
        shift=IntArray(np.array(shifts).reshape(shape)),
        rounding=Rounding.RND_CONV,
        scheme=Scheme.FLOAT32,
    )
    return Requantize(
        inputs=(acc.tensor,),
        output=layer,
        layer=layer,
        rescale=rescale,
        zero_point=zero,
        overflow=Overflow.SAT,
        low=codes[0],
        high=codes[1],
    )


def _lane(
    b: GraphBuilder, acc: Value, channel: int, multiplier: Array, zero: int, codes: tuple[int, int]
) -> tuple[int, int, int] | None:
    low, high = b.interval(acc.tensor).per_channel()
    many = multiplier.size > 1
    x_range = (int(low[channel]), int(high[channel])) if many else (int(low.min()), int(high.max()))
    factor = np.float32(multiplier.reshape(-1)[channel])

    def of(x: Array) -> Array:
        real = (x.astype(np.float32) * factor).astype(np.float32)
        return np.clip(np.rint(real.astype(np.float64)).astype(np.int64), codes[0] - zero, codes[1] - zero)

    ends, at = breakpoints_of(of, x_range)
    limits = codes[0] - zero, codes[1] - zero
    found = smallest_reaching(Fraction(float(factor)), ends, at, x_range, limits, Rounding.RND_CONV)
    return None if found is None else (found.multiplier, found.addend, found.shift)


def breakpoints_of(of: Function, x_range: tuple[int, int]) -> tuple[tuple[int, int], list[int]]:
    """(codes at the range's ends, the least x of every code behind the first) of a rising function."""
    first, last = (int(v) for v in of(np.array(x_range, dtype=np.int64)))
    if first > last:
        raise ValueError("a falling function")
    wanted = np.arange(first + 1, last + 1)
    low = np.full(wanted.shape, x_range[0], dtype=np.int64)  # its code is below
    high = np.full(wanted.shape, x_range[1], dtype=np.int64)  # its code is not
    while (high - low > 1).any():
        middle = (low + high) // 2
        reached = of(middle) >= wanted
        high, low = np.where(reached, middle, high), np.where(reached, low, middle)
    return (first, last), high.tolist()


def stairs_of(
    b: GraphBuilder, x: Value, of: Function, slope: Fraction, codes: tuple[int, int], meaning: Quantization, layer: str
) -> Value:
    """A rising function of one integer for all elements: a multiplier and shift, or thresholds."""
    x_range = b.tensor(x.tensor).range
    ends, at = breakpoints_of(of, x_range)
    found = smallest_reaching(slope, ends, at, x_range, codes, Rounding.RND)
    op: Requantize | Threshold | None = None
    if found is not None:
        parts = as_parts([(found.multiplier, found.addend, found.shift)], ())
        if fits(parts, x_range):
            op = requantize(x.tensor, layer, layer, parts, codes, Rounding.RND)
    if op is None:
        op = Threshold(
            inputs=(x.tensor,),
            output=layer,
            layer=layer,
            thresholds=IntArray(np.array(at, dtype=np.int64).reshape(1, -1)),
            base=IntArray(np.array([ends[0]])),
            step=IntArray(np.array([1])),
        )
    return Value.of(b.add(op, quantization=meaning), layer, x.shape, 1)


def table_of(
    b: GraphBuilder, x: Value, of: Function, meaning: Quantization, layer: str, name: str | None = None
) -> Value:
    """Any function of one integer, as a table over its proven range."""
    low, high = b.tensor(x.tensor).range
    if high - low >= MOST_TABLE_ENTRIES:
        raise UnsupportedError(f"a table of {high - low + 1} entries is needed", layer=layer, way_out="use 8 bits")
    table = IntArray(of(np.arange(low, high + 1, dtype=np.int64))[None])
    op = Lookup(inputs=(x.tensor,), output=name or layer, layer=layer, table=table, table_low=low)
    return Value.of(b.add(op, quantization=meaning), layer, x.shape, 1)


def pair_op(
    b: GraphBuilder,
    values: Sequence[Value],
    of: Callable[[Array, Array], Array],
    factors: tuple[float, float],
    codes: tuple[int, int],
    meaning: Quantization,
    layer: str,
) -> Value:
    """A function of two codes, near factors[0] * a + factors[1] * b: (ma * a + mb * b + c) >> s where that agrees on
    all pairs, else a table over both codes."""
    ranges = [b.tensor(v.tensor).range for v in values]
    sizes = [high - low + 1 for low, high in ranges]
    if sizes[0] * sizes[1] > MOST_TABLE_ENTRIES:
        raise UnsupportedError(f"it takes {sizes[0]} by {sizes[1]} codes", layer=layer, way_out="use 8 bits")
    grids = np.meshgrid(*(np.arange(low, high + 1, dtype=np.int64) for low, high in ranges), indexing="ij")
    wanted = of(grids[0], grids[1])
    found = _sum_of_multiples(grids, wanted, factors, codes)
    one = Quantization.of(Fraction(1))
    if found is None:
        (low_a, _), (low_b, high_b) = ranges
        shift = (high_b - low_b).bit_length()
        both = Add(
            inputs=(values[0].tensor, values[1].tensor),
            output=f"{layer}.pair",
            layer=layer,
            shifts=(shift, 0),
            signs=(1, 1),
            zero_points=(low_a, low_b),
        )
        pair = b.add(both, quantization=one)
        table = np.zeros((sizes[0], 1 << shift), dtype=np.int64)
        table[:, : sizes[1]] = wanted
        flat = IntArray(table.reshape(1, -1)[:, : b.tensor(pair).range[1] + 1])
        op = Lookup(inputs=(pair,), output=layer, layer=layer, table=flat, table_low=0)
        return Value.of(b.add(op, quantization=meaning), layer, b.tensor(pair).shape, 1)
    (ma, mb), addend, shift = found
    scaled = []
    for position, (value, m, (low, high)) in enumerate(zip(values, (ma, mb), ranges, strict=True)):
        ends = sorted((m * low, m * high))
        parts = as_parts([(m, 0, 0)], ())
        name = f"{layer}.scaled{position + 1}"
        made = requantize(value.tensor, name, layer, parts, (ends[0], ends[1]), Rounding.RND_CONV)
        scaled.append(b.add(made, quantization=one))
    total = b.add(
        Add(inputs=tuple(scaled), output=f"{layer}.sum", layer=layer, shifts=(0, 0), signs=(1, 1), zero_points=(0, 0)),
        quantization=one,
    )
    last = requantize(total, layer, layer, as_parts([(1, addend, shift)], ()), codes, Rounding.RND)
    return Value.of(b.add(last, quantization=meaning), layer, b.tensor(total).shape, 1)


def _sum_of_multiples(
    grids: Sequence[Array], wanted: Array, factors: tuple[float, float], codes: tuple[int, int]
) -> tuple[tuple[int, int], int, int] | None:
    """(multipliers, addend, shift) with round half up of (ma * a + mb * b + addend) * 2**-shift equal to ``wanted``
    within ``codes`` for every pair; the least shift that has them."""
    for shift in range(1, MOST_PAIR_SHIFT + 1):
        base = [int(np.floor(f * (1 << shift))) for f in factors]
        for ma in (base[0], base[0] + 1):
            for mb in (base[1], base[1] + 1):
                total = grids[0] * ma + grids[1] * mb
                half = 1 << (shift - 1)
                least = np.where(wanted > codes[0], (2 * wanted - 1) * half - total, np.iinfo(np.int64).min).max()
                most = np.where(wanted < codes[1], (2 * wanted + 1) * half - total, np.iinfo(np.int64).max).min() - 1
                if least <= most:
                    return (ma, mb), int(min(max(0, least), most)), shift
    return None
