"""An independent oracle: every op on plain Python integers and fractions, written from the docstrings alone.

It imports no kernel and no numerics function of qsim, only the dataclasses; arrays are read element by element.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import IntArray, Rescale

Values = list[np.ndarray]
"""Of an op's inputs: Python integers."""

Index = tuple[int, ...]
"""Of an element of its output."""


def round_fraction(value: Fraction, mode: str) -> int:
    """Round by the definition of each mode (names are those of qsim.numerics.Rounding's values)."""
    floor = math.floor(value)
    rest = value - floor
    half = Fraction(1, 2)
    if rest == 0:
        return floor
    if mode == "trn":
        return floor
    if mode == "trn_zero":
        return floor if value > 0 else floor + 1
    if rest != half:
        return floor if rest < half else floor + 1
    up = {
        "rnd": True,
        "rnd_zero": value < 0,
        "rnd_min_inf": False,
        "rnd_inf": value > 0,
        "rnd_conv": floor % 2 == 1,
    }[mode]
    return floor + 1 if up else floor


def overflow_int(value: int, width: int, signed: bool, mode: str) -> int:
    """One integer into a format, by the definition of each overflow mode."""
    low, high = (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if signed else (0, 2**width - 1)
    if mode == "sat":
        return min(max(value, low), high)
    if mode == "sat_sym":
        return min(max(value, -high if signed else 0), high)
    if mode == "sat_zero":
        return value if low <= value <= high else 0
    wrapped = (value - low) % 2**width + low
    if mode == "wrap" or not signed:
        return wrapped
    kept_sign = value >> (width - 1) & 1
    lowest_dropped = value >> width & 1
    return wrapped if kept_sign == lowest_dropped else -wrapped - 1


def _trunc_div(a: int, b: int) -> int:
    return abs(a) // b * (1 if a >= 0 else -1)


def srdhm(a: int, b: int) -> int:
    product = a * b
    return min(_trunc_div(product + (2**30 if product >= 0 else 1 - 2**30), 2**31), 2**31 - 1)


def float32_of(value: Fraction) -> Fraction:
    """The nearest float32 (ties to even), by numpy's conversion of an exact decimal-free float64 pair."""
    if value == 0:
        return Fraction(0)
    exponent = math.floor(math.log2(abs(value)))
    while abs(value) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(value) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    return round_fraction(value / unit, "rnd_conv") * unit


def rescale_int(x: int, r: Rescale, index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    def at(array: IntArray) -> int:
        return int(np.broadcast_to(array.values, shape)[index])

    m, a, s = at(r.multiplier), at(r.addend), at(r.shift)
    scheme = r.scheme.value
    if scheme == "plain":
        return round_fraction((x * m + a) * Fraction(2) ** -s, r.rounding.value)
    if scheme == "tflite_single":
        return round_fraction(x * m * Fraction(2) ** -(31 + s), "rnd")
    if scheme == "float32":
        scale = m * Fraction(2) ** -s
        return round_fraction(float32_of(float32_of(Fraction(x)) * scale), "rnd_conv")
    high = srdhm(x * 2 ** max(-s, 0), m)
    second = {"tflite_double": "rnd_inf", "tflite_upward": "rnd"}[scheme]
    return round_fraction(high * Fraction(2) ** -max(s, 0), second)


class Oracle:
    """Runs one sample through a graph; values are nested numpy object arrays of Python integers."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def run(self, codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = {name: np.asarray(v).astype(object) for name, v in codes.items()}
        for op in self.graph.ops:
            out = self.graph[op.output]
            result = np.empty(out.shape, dtype=object)
            rule = getattr(self, type(op).__name__)
            inputs = [values[name] for name in op.inputs]
            for index in itertools.product(*map(range, out.shape)):
                result[index] = int(rule(op, inputs, index, out))
            values[op.output] = result
        return values

    @staticmethod
    def _take(x: np.ndarray, index: Index, out_shape: tuple[int, ...]) -> int:
        """Element of x under numpy broadcasting against out_shape."""
        offset = len(out_shape) - x.ndim
        return int(x[tuple(0 if n == 1 else index[offset + i] for i, n in enumerate(x.shape))])

    def Constant(self, op: o.Constant, xs: Values, at: Index, out: Tensor) -> int:
        return op.values.values[at]

    def Conv2D(self, op: o.Conv2D, xs: Values, at: Index, out: Tensor) -> int:
        (x,) = xs
        kh, kw, group_in, channels = op.weights.shape
        group = at[2] // (channels // op.groups)
        total = 0
        for u, v, c in itertools.product(range(kh), range(kw), range(group_in)):
            row = at[0] * op.strides[0] + u * op.dilation[0] - op.padding[0][0]
            col = at[1] * op.strides[1] + v * op.dilation[1] - op.padding[1][0]
            if 0 <= row < x.shape[0] and 0 <= col < x.shape[1]:
                total += int(op.weights.values[u, v, c, at[2]]) * (
                    x[row, col, group * group_in + c] - op.input_zero_point
                )
        return total * 2**op.product_shift + (int(op.bias.values[at[2]]) if op.bias else 0)

    def ConvTranspose2D(self, op: o.ConvTranspose2D, xs: Values, at: Index, out: Tensor) -> int:
        (x,) = xs
        kh, kw, cin, _ = op.weights.shape
        total = 0
        for i, j, u, v in itertools.product(range(x.shape[0]), range(x.shape[1]), range(kh), range(kw)):
            if i * op.strides[0] + u - op.padding[0][0] == at[0] and j * op.strides[1] + v - op.padding[1][0] == at[1]:
                for c in range(cin):
                    total += int(op.weights.values[u, v, c, at[2]]) * (x[i, j, c] - op.input_zero_point)
        return total * 2**op.product_shift + (int(op.bias.values[at[2]]) if op.bias else 0)

    def Dense(self, op: o.Dense, xs: Values, at: Index, out: Tensor) -> int:
        row = xs[0][at[:-1]]
        total = sum(int(op.weights.values[c, at[-1]]) * (row[c] - op.input_zero_point) for c in range(len(row)))
        return total * 2**op.product_shift + (int(op.bias.values[at[-1]]) if op.bias else 0)

    def MatMul(self, op: o.MatMul, xs: Values, at: Index, out: Tensor) -> int:
        a, b = xs
        lead = at[:-2]
        return sum(
            (a[(*lead, at[-2], j)] - op.zero_points[0]) * (b[(*lead, j, at[-1])] - op.zero_points[1])
            for j in range(a.shape[-1])
        )

    def Add(self, op: o.Add, xs: Values, at: Index, out: Tensor) -> int:
        return sum(
            sign * (self._take(x, at, out.shape) - zero) * 2**shift
            for x, shift, sign, zero in zip(xs, op.shifts, op.signs, op.zero_points, strict=True)
        )

    def Mul(self, op: o.Mul, xs: Values, at: Index, out: Tensor) -> int:
        a, b = (self._take(x, at, out.shape) for x in xs)
        return (a - op.zero_points[0]) * (b - op.zero_points[1])

    def Extremum(self, op: o.Extremum, xs: Values, at: Index, out: Tensor) -> int:
        terms = [self._take(x, at, out.shape) * 2**s for x, s in zip(xs, op.shifts, strict=True)]
        return max(terms) if op.kind == "max" else min(terms)

    def Concat(self, op: o.Concat, xs: Values, at: Index, out: Tensor) -> int:
        position = at[op.axis]
        for x in xs:
            if position < x.shape[op.axis]:
                return x[(*at[: op.axis], position, *at[op.axis + 1 :])]
            position -= x.shape[op.axis]
        raise AssertionError("index beyond the concatenation")

    def _window(self, op: o.SumPool2D | o.MaxPool2D, x: np.ndarray, at: Index) -> Iterator[int]:
        for u, v in itertools.product(range(op.pool[0]), range(op.pool[1])):
            row = at[0] * op.strides[0] + u - op.padding[0][0]
            col = at[1] * op.strides[1] + v - op.padding[1][0]
            if 0 <= row < x.shape[0] and 0 <= col < x.shape[1]:
                yield x[row, col, at[2]]

    def SumPool2D(self, op: o.SumPool2D, xs: Values, at: Index, out: Tensor) -> int:
        return sum(self._window(op, xs[0], at))

    def MaxPool2D(self, op: o.MaxPool2D, xs: Values, at: Index, out: Tensor) -> int:
        return max(self._window(op, xs[0], at))

    def Reduce(self, op: o.Reduce, xs: Values, at: Index, out: Tensor) -> int:
        x = xs[0]
        kept = iter(at)
        fixed: list[Sequence[int]] = []
        for axis in range(x.ndim):
            if axis in op.axes:
                if op.keepdims:
                    next(kept)
                fixed.append(range(x.shape[axis]))
            else:
                fixed.append([next(kept)])
        values = [x[i] for i in itertools.product(*fixed)]
        if op.kind == "sum":
            return sum(values)
        return max(values) if op.kind == "max" else min(values)

    def Requantize(self, op: o.Requantize, xs: Values, at: Index, out: Tensor) -> int:
        x = int(xs[0][at]) - op.input_zero_point
        r = op.negative if x < 0 and op.negative is not None else op.rescale
        value = rescale_int(x, r, at, out.shape) + op.zero_point
        mode = op.overflow.value
        if mode in ("sat", "sat_sym"):
            return min(max(value, op.low), op.high)
        if mode == "sat_zero":
            return value if op.low <= value <= op.high else 0
        return overflow_int(value, out.format.width, out.format.signed, mode)

    def Divide(self, op: o.Divide, xs: Values, at: Index, out: Tensor) -> int:
        n, a, d = (int(np.broadcast_to(p.values, out.shape)[at]) for p in (op.numerator, op.addend, op.divisor))
        quotient = round_fraction(Fraction(int(xs[0][at]) * n + a, d), op.rounding.value)
        return min(max(quotient + op.zero_point, op.low), op.high)

    def Threshold(self, op: o.Threshold, xs: Values, at: Index, out: Tensor) -> int:
        row = at[-1] if op.thresholds.shape[0] > 1 else 0
        count = sum(1 for t in op.thresholds.values[row] if xs[0][at] >= int(t))
        base, step = (int(p.values[at[-1] if p.shape[0] > 1 else 0]) for p in (op.base, op.step))
        return base + step * count

    def Lookup(self, op: o.Lookup, xs: Values, at: Index, out: Tensor) -> int:
        row = at[-1] if op.table.shape[0] > 1 else 0
        return op.table.values[row, int(xs[0][at]) - op.table_low]

    def Reshape(self, op: o.Reshape, xs: Values, at: Index, out: Tensor) -> int:
        return xs[0].reshape(-1)[int(np.ravel_multi_index(at, out.shape))]

    def Transpose(self, op: o.Transpose, xs: Values, at: Index, out: Tensor) -> int:
        source = [0] * len(at)
        for i, p in enumerate(op.perm):
            source[p] = at[i]
        return xs[0][tuple(source)]

    def Pad(self, op: o.Pad, xs: Values, at: Index, out: Tensor) -> int:
        source = tuple(i - before for i, (before, _) in zip(at, op.pads, strict=True))
        inside = all(0 <= i < n for i, n in zip(source, xs[0].shape, strict=True))
        return xs[0][source] if inside else op.value

    def Slice(self, op: o.Slice, xs: Values, at: Index, out: Tensor) -> int:
        return xs[0][tuple(b + s * i for b, s, i in zip(op.begin, op.strides, at, strict=True))]

    def Gather(self, op: o.Gather, xs: Values, at: Index, out: Tensor) -> int:
        return xs[0].reshape(-1)[int(op.index.values[at])]

    def ArgMax(self, op: o.ArgMax, xs: Values, at: Index, out: Tensor) -> int:
        x = xs[0]
        kept = list(at) if x.ndim > 1 else []
        line = [x[(*kept[: op.axis], i, *kept[op.axis :])] for i in range(x.shape[op.axis])]
        return line.index(max(line))
