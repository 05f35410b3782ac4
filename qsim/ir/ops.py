"""The closed set of integer operations. Each docstring is the specification that simulator and targets implement.

Notation: x, y are codes of input and output, without the batch dimension, channels last (H, W, C). Sums and products
are exact integers; an op's output format holds its proven range, so nothing overflows unless the op says so.
``parameters`` written "broadcast" follow numpy's broadcasting against the output (most often scalar or (C,)).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar, Literal

from qsim.numerics import IntArray, Overflow, Rescale, Rounding

Padding2D = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right)) in elements."""

NO_PADDING: Padding2D = ((0, 0), (0, 0))


@dataclass(frozen=True, kw_only=True)
class RealRescale:
    """What an op's codes stand for, on exact fractions: min(max(round(x * factor + addend), low), high).

    It takes no part in execution: it is what an importer proved the op's integers against, or counted the differing
    codes against (``qsim.proof.rescales``). factor, addend: flat, of ``shape``, which broadcasts against the output.
    """

    factor: tuple[Fraction, ...]
    addend: tuple[Fraction, ...]
    shape: tuple[int, ...]
    rounding: Rounding
    low: int
    high: int

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape)) or "1"
        return f"<{size} factors, {self.rounding.value}, [{self.low}, {self.high}]>"


@dataclass(frozen=True, kw_only=True)
class Op:
    """Base of all operations: one output tensor; ``layer`` is the source layer that it came from."""

    inputs: tuple[str, ...]
    output: str
    layer: str

    arity: ClassVar[int | None] = 1
    """Number of inputs; None: one or more."""


@dataclass(frozen=True, kw_only=True)
class Constant(Op):
    """y = values. No inputs."""

    arity: ClassVar[int | None] = 0
    values: IntArray


@dataclass(frozen=True, kw_only=True)
class Conv2D(Op):
    """y[i,j,o] = 2**product_shift * sum_{u,v,c} w[u,v,c,o] * (x[i*sh+u*dh-top, j*sw+v*dw-left, g*Cg+c] - z) + bias[o].

    z is input_zero_point; positions outside x contribute nothing (they hold z). weights: (KH, KW, Cin/groups, Cout),
    output channel o belongs to group g = o // (Cout/groups). A depthwise convolution has groups = Cin: output channel
    o = c * multiplier + m reads input channel c. 1-D convolutions are (1, W, C) images. bias: (Cout,) in units of y.
    """

    weights: IntArray
    bias: IntArray | None
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: Padding2D
    groups: int
    input_zero_point: int = 0
    product_shift: int = 0


@dataclass(frozen=True, kw_only=True)
class ConvTranspose2D(Op):
    """y[i*sh+u-top, j*sw+v-left, o] += 2**product_shift * w[u,v,c,o] * (x[i,j,c] - z), plus bias[o] everywhere.

    weights: (KH, KW, Cin, Cout). Contributions outside ``output_size`` (H, W) are dropped; ``padding`` is what is
    cropped at (top, bottom), (left, right) of the full (i-1)*s+K result; a negative bottom or right extends it.
    """

    weights: IntArray
    bias: IntArray | None
    strides: tuple[int, int]
    padding: Padding2D
    output_size: tuple[int, int]
    input_zero_point: int = 0
    product_shift: int = 0


@dataclass(frozen=True, kw_only=True)
class Dense(Op):
    """y[..., o] = 2**product_shift * sum_c w[c,o] * (x[..., c] - input_zero_point) + bias[o]. weights: (Cin, Cout)."""

    weights: IntArray
    bias: IntArray | None
    input_zero_point: int = 0
    product_shift: int = 0


@dataclass(frozen=True, kw_only=True)
class MatMul(Op):
    """y[..., i, k] = sum_j (a[..., i, j] - za) * (b[..., j, k] - zb), leading dimensions equal.

    zero_points: (za, zb).
    """

    arity: ClassVar[int | None] = 2
    zero_points: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Add(Op):
    """y = sum_i signs[i] * (x_i - zero_points[i]) * 2**shifts[i], shapes broadcast. shifts >= 0, signs +1 or -1."""

    arity: ClassVar[int | None] = None
    shifts: tuple[int, ...]
    signs: tuple[int, ...]
    zero_points: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Mul(Op):
    """y = (a - za) * (b - zb), shapes broadcast. zero_points: (za, zb)."""

    arity: ClassVar[int | None] = 2
    zero_points: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Extremum(Op):
    """y = max or min over the inputs of x_i * 2**shifts[i], shapes broadcast. shifts >= 0."""

    arity: ClassVar[int | None] = None
    kind: Literal["max", "min"]
    shifts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Concat(Op):
    """y = the inputs joined along ``axis`` (not counting the batch); formats may differ, the output holds them all."""

    arity: ClassVar[int | None] = None
    axis: int


@dataclass(frozen=True, kw_only=True)
class SumPool2D(Op):
    """y[i,j,c] = sum of x[i*sh+u-top, j*sw+v-left, c] over the window's positions that lie inside x."""

    pool: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding2D


@dataclass(frozen=True, kw_only=True)
class MaxPool2D(Op):
    """As SumPool2D with the maximum over the positions inside x (every window has one)."""

    pool: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding2D


@dataclass(frozen=True, kw_only=True)
class Reduce(Op):
    """y = sum, max or min of x over ``axes`` (not counting the batch), which stay as size 1 if ``keepdims``."""

    kind: Literal["sum", "max", "min"]
    axes: tuple[int, ...]
    keepdims: bool


@dataclass(frozen=True, kw_only=True)
class Requantize(Op):
    """y = overflow(r(x - input_zero_point) + zero_point), r = ``negative`` where x < input_zero_point and it is given,
    else ``rescale``.

    overflow: SAT clips to [low, high]; SAT_ZERO gives 0 outside them; SAT_SYM is SAT with low = -high; WRAP and
    WRAP_SM use the output tensor's format, and low, high are its limits.
    """

    rescale: Rescale
    negative: Rescale | None = None
    input_zero_point: int = 0
    zero_point: int = 0
    overflow: Overflow
    low: int
    high: int
    real: RealRescale | None = field(default=None, metadata={"omit_default": True})


@dataclass(frozen=True, kw_only=True)
class Divide(Op):
    """y = min(max(round((x * numerator + addend) / divisor) + zero_point, low), high).

    numerator, addend, divisor: broadcast; divisor > 0; the fraction is taken exactly, ``rounding`` acts once. The
    exact form of every rescale by a number that is not a power of two.
    """

    numerator: IntArray
    addend: IntArray
    divisor: IntArray
    rounding: Rounding
    zero_point: int = 0
    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class Threshold(Op):
    """y = base[c] + step[c] * #{k : x >= thresholds[c, k]}.

    thresholds: (C or 1, K), ascending along K (equal values allowed: the code between is never taken; values above
    the input format's range are never reached). base, step: (C or 1,). step may be negative (decreasing functions).
    """

    thresholds: IntArray
    base: IntArray
    step: IntArray
    real: RealRescale | None = field(default=None, metadata={"omit_default": True})


@dataclass(frozen=True, kw_only=True)
class Lookup(Op):
    """y = table[c, x - table_low]. table: (C or 1, N) covers the input's proven range."""

    table: IntArray
    table_low: int
    real: RealRescale | None = field(default=None, metadata={"omit_default": True})


@dataclass(frozen=True, kw_only=True)
class Softmax(Op):
    """TFLite's integer softmax over the last axis, bit for bit (kernels/internal/reference/softmax.h).

    For d = x - max(x) >= diff_min: e = exp_on_negative_values(SRDHM(d << input_left_shift, input_multiplier)) with 5
    integer bits; sum in 12 integer bits; y = clamp(RDBPOT(e * reciprocal(sum)) + low). Others give ``low``.
    """

    input_multiplier: int
    input_left_shift: int
    diff_min: int


@dataclass(frozen=True, kw_only=True)
class Reshape(Op):
    """y = x in the output's shape, row-major order kept. Flatten, squeeze and expand too."""


@dataclass(frozen=True, kw_only=True)
class Transpose(Op):
    """y = x with axis i taken from perm[i] (not counting the batch)."""

    perm: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Pad(Op):
    """y = x with pads[a] = (before, after) elements of ``value`` along each axis."""

    pads: tuple[tuple[int, int], ...]
    value: int


@dataclass(frozen=True, kw_only=True)
class Slice(Op):
    """y = x[begin[a] : begin[a] + strides[a]*size : strides[a]] along each axis; sizes are the output's shape.
    strides may be negative."""

    begin: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Gather(Op):
    """y.flat[i] = x.flat[index.flat[i]]: any static rearrangement or repetition (nearest upsampling, mirror padding,
    space to depth). index has the output's shape."""

    index: IntArray


@dataclass(frozen=True, kw_only=True)
class ArgMax(Op):
    """y = the first index of the maximum along ``axis`` (not counting the batch), which is dropped."""

    axis: int


OPS: tuple[type[Op], ...] = (
    Constant,
    Conv2D,
    ConvTranspose2D,
    Dense,
    MatMul,
    Add,
    Mul,
    Extremum,
    Concat,
    SumPool2D,
    MaxPool2D,
    Reduce,
    Requantize,
    Divide,
    Threshold,
    Lookup,
    Softmax,
    Reshape,
    Transpose,
    Pad,
    Slice,
    Gather,
    ArgMax,
)
"""Every operation there is. A registry that lacks one of them fails when it is imported (``check_registry``)."""


def check_registry(registry: dict[type[Op], object], consumer: str) -> None:
    """Raise TypeError unless ``registry`` has exactly one entry for every op: called at import of each consumer."""
    missing = [op.__name__ for op in OPS if op not in registry]
    unknown = [op.__name__ for op in registry if op not in OPS]
    if missing or unknown:
        raise TypeError(f"{consumer}: no entry for {missing}, unknown entries {unknown}")


def attributes(op: Op) -> dict[str, object]:
    """The op's own fields, without inputs, output and layer, in declaration order."""
    return {f.name: getattr(op, f.name) for f in dataclasses.fields(op) if f.name not in ("inputs", "output", "layer")}
