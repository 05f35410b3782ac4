"""Operations as calls of the C kernels: what each needs is checked, and its parameters are packed."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.reference.kernels import KERNELS as REFERENCE
from qsim.simulate.native.chains import Elementwise, Unsuited, chain, fits32
from qsim.simulate.native.structures import (
    CHANNELS,
    CHUNK,
    LANES,
    MOST_POSITIONS,
    PIXELS,
    CombineC,
    JoinC,
    Keep,
    LinearC,
    MoveC,
    OperandC,
    PoolC,
)

CONV2D, DEPTHWISE, DENSE, COMBINE, POOL, MOVE, JOIN = range(7)
KINDS = ("conv2d", "depthwise", "dense", "combine", "pool", "move", "join")
"""Kernels in the order of C's table."""

INT16_MAX = (1 << 15) - 1


@dataclass(frozen=True, kw_only=True)
class Call:
    """One kernel's call. params: the address of its structure; scratch: bytes of working memory."""

    kind: int
    params: int
    scratch: int = 0


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a call stands: the graph, each stored tensor's element type (its number), who owns what C points to, and
    whether the library has dot products of bytes."""

    graph: Graph
    types: Mapping[str, int]
    keep: Keep
    dot: bool

    def tensor(self, name: str) -> Tensor:
        """A tensor of the graph."""
        return self.graph[name]

    def constant(self, name: str) -> bool:
        """Whether a tensor is a constant, or a constant in another shape: one array for all samples."""
        op = self.graph.producers.get(name)
        while isinstance(op, o.Reshape):
            op = self.graph.producers.get(op.inputs[0])
        return isinstance(op, o.Constant)

    def call(self, kind: int, params: ctypes.Structure, scratch: int = 0) -> Call:
        """A call of the kernel with these parameters."""
        return Call(kind=kind, params=self.keep.structures([params]), scratch=scratch)


# --- constant weights


def linear(op: o.Conv2D | o.Dense, tail: Sequence[Elementwise], out: str, site: Site) -> Call:
    """A convolution or dense layer, and the elementwise operations behind it. Raises Unsuited."""
    x, zero = site.tensor(op.inputs[0]), op.input_zero_point
    low, high = min(x.range[0] - zero, 0), max(x.range[1] - zero, 0)
    weights = op.weights.values << op.product_shift
    bias = np.zeros(weights.shape[-1], dtype=np.int64) if op.bias is None else op.bias.values
    if not (low >= -INT16_MAX and high <= INT16_MAX and -INT16_MAX <= zero <= INT16_MAX):
        raise Unsuited("inputs wider than 16 bits")
    if op.weights.low << op.product_shift < -INT16_MAX or op.weights.high << op.product_shift > INT16_MAX:
        raise Unsuited("weights wider than 16 bits")
    terms = np.abs(weights).reshape(-1, weights.shape[-1]).sum(axis=0)
    if not fits32(int((terms * max(-low, high) + np.abs(bias)).max(initial=0))):
        raise Unsuited("sums wider than 32 bits")
    how = _products(weights, low, high, site)
    if isinstance(op, o.Dense):
        return _dense(op, weights, bias, how, tail, out, site)
    if op.groups == 1:
        return _conv2d(op, weights, bias, how, tail, out, site)
    if op.weights.shape[2] == 1:
        return _depthwise(op, weights, bias, tail, out, site)
    raise Unsuited("a grouped convolution")


def _chunk(panels: int) -> int:
    fit = CHUNK // (panels * CHANNELS) // PIXELS * PIXELS
    return min(max(fit, PIXELS), MOST_POSITIONS // PIXELS * PIXELS)


def _panels(weights: Array, bias: Array) -> tuple[int, Array, Array]:
    """(panels, weights (..., panels*16), bias), padded with zero channels."""
    outputs = weights.shape[-1]
    panels = -(-outputs // CHANNELS)
    extra = panels * CHANNELS - outputs
    padded = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, extra)])
    return panels, padded, np.pad(bias, (0, extra))


@dataclass(frozen=True, kw_only=True)
class _Products:
    """The form of a layer's products (linear.h). form: 1 for bytes; step: elements of a step; element: bytes of one."""

    form: int
    step: int
    lift: int
    element: int

    def packed(self, rows: Array, panels: int) -> Array:
        """(runs, length, panels*16) -> [panel][run][step][16][elements of a step]."""
        runs, length, _ = rows.shape
        whole = np.pad(rows, ((0, 0), (0, -length % self.step), (0, 0)))
        return whole.reshape(runs, -1, self.step, panels, CHANNELS).transpose(3, 0, 1, 4, 2)

    def set(self, params: LinearC, packed: Array, bias: Array, keep: Keep) -> None:
        """Fill in form, weights and bias."""
        lifted = bias - self.lift * packed.sum(axis=(1, 2, 4)).reshape(-1)
        params.form, params.raise_ = self.form, self.lift
        params.weights = keep.array(packed, np.int8 if self.form else np.int16)
        # Sums of bytes wrap around 32 bits on their way; what they end in is in range.
        params.bias = keep.array(_wrapped(lifted), np.int32)


def _wrapped(x: Array) -> Array:
    return np.asarray((x + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def _products(weights: Array, low: int, high: int, site: Site) -> _Products:
    """Bytes where the library has their dot products, the inputs (minus the zero point) in [low, high] take 256 values,
    and weights are int8; else words."""
    if site.dot and high - low <= 255 and weights.min(initial=0) >= -128 and weights.max(initial=0) <= 127:
        return _Products(form=1, step=4, lift=-low, element=1)
    return _Products(form=0, step=2, lift=0, element=2)


def _dense(
    op: o.Dense, weights: Array, bias: Array, how: _Products, tail: Sequence[Elementwise], out: str, site: Site
) -> Call:
    x = site.tensor(op.inputs[0])
    panels, padded, biases = _panels(weights, bias)
    inputs = x.shape[-1]
    packed = how.packed(padded[None], panels)
    params = LinearC(
        type_in=site.types[x.name],
        type_out=site.types[out],
        input_zero=op.input_zero_point,
        height=x.size // inputs,
        channels=inputs,
        spread=1,
        outputs=weights.shape[-1],
        panels=panels,
        runs=1,
        steps=packed.shape[2],
        offset=site.keep.array([0], np.int32),
        chain=chain(tail, site.graph, site.keep),
    )
    how.set(params, packed, biases, site.keep)
    chunk = _chunk(panels)
    return site.call(DENSE, params, chunk * panels * CHANNELS * 4 + chunk * packed.shape[2] * 4 + 128)


def _image(op: o.Conv2D, x: Tensor, y: Tensor) -> tuple[int, int]:
    """Height and width of the padded image: all that the windows touch."""
    kh, kw = op.weights.shape[:2]
    height = (y.shape[0] - 1) * op.strides[0] + (kh - 1) * op.dilation[0] + 1
    width = (y.shape[1] - 1) * op.strides[1] + (kw - 1) * op.dilation[1] + 1
    (top, _), (left, _) = op.padding
    return max(height, top + x.shape[0]), max(width, left + x.shape[1])


def _conv2d(
    op: o.Conv2D, weights: Array, bias: Array, how: _Products, tail: Sequence[Elementwise], out: str, site: Site
) -> Call:
    x, y = site.tensor(op.inputs[0]), site.tensor(op.output)
    kh, kw, inputs, outputs = weights.shape
    panels, padded, biases = _panels(weights, bias)
    height, width = _image(op, x, y)
    row = width * inputs
    if op.dilation[1] == 1:  # a row of taps is one run
        rows = padded.reshape(kh, kw * inputs, -1)
        offsets = [u * op.dilation[0] * row for u in range(kh)]
    else:
        rows = padded.reshape(kh * kw, inputs, -1)
        offsets = [u * op.dilation[0] * row + v * op.dilation[1] * inputs for u in range(kh) for v in range(kw)]
    packed = how.packed(rows, panels)
    params = _window(op, x, y, out, site, tail)
    params.padded_height, params.padded_width, params.spread = height, width, 1
    params.outputs, params.panels = outputs, panels
    params.runs, params.steps = packed.shape[1], packed.shape[2]
    params.offset = site.keep.array(offsets, np.int32)
    how.set(params, packed, biases, site.keep)
    return site.call(CONV2D, params, _chunk(panels) * panels * CHANNELS * 4 + (row * height + 64) * 2 + 128)


def _window(op: o.Conv2D, x: Tensor, y: Tensor, out: str, site: Site, tail: Sequence[Elementwise]) -> LinearC:
    return LinearC(
        type_in=site.types[x.name],
        type_out=site.types[out],
        input_zero=op.input_zero_point,
        height=x.shape[0],
        width=x.shape[1],
        channels=x.shape[2],
        top=op.padding[0][0],
        left=op.padding[1][0],
        out_height=y.shape[0],
        out_width=y.shape[1],
        stride_height=op.strides[0],
        stride_width=op.strides[1],
        chain=chain(tail, site.graph, site.keep),
    )


_ORDER = (0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15)
"""Channels of a panel in the order of the depthwise kernel's vectors."""


def _depthwise(op: o.Conv2D, weights: Array, bias: Array, tail: Sequence[Elementwise], out: str, site: Site) -> Call:
    x, y = site.tensor(op.inputs[0]), site.tensor(op.output)
    kh, kw, _, outputs = weights.shape
    panels, padded, biases = _panels(weights, bias)
    height, width = _image(op, x, y)
    row = width * outputs  # channels are repeated, so that output channel o reads channel o
    offsets = [u * op.dilation[0] * row + v * op.dilation[1] * outputs for u in range(kh) for v in range(kw)]
    taps = padded.reshape(kh * kw, -1)
    if len(taps) % 2:
        taps, offsets = np.pad(taps, ((0, 1), (0, 0))), [*offsets, 0]
    pairs = len(taps) // 2
    packed = taps.reshape(pairs, 2, panels, CHANNELS)[..., _ORDER].transpose(2, 0, 3, 1)
    params = _window(op, x, y, out, site, tail)
    params.padded_height, params.padded_width = height, width
    params.spread = outputs // x.shape[2]
    params.outputs, params.panels, params.runs, params.steps = outputs, panels, 1, pairs
    params.offset = site.keep.array(offsets, np.int32)
    params.weights = site.keep.array(packed, np.int16)
    params.bias = site.keep.array(biases, np.int32)
    return site.call(DEPTHWISE, params, _chunk(panels) * panels * CHANNELS * 4 + (row * height + 64) * 2 + 128)


# --- combinations


@dataclass(frozen=True, kw_only=True)
class Operand:
    """One input of a combination: a stored tensor, what it passes through, and the tensor that this gives."""

    stored: str
    feed: tuple[Elementwise, ...]
    tensor: str


Combined = o.Add | o.Mul | o.Extremum
_ADD, _MUL, _MAX, _MIN = range(4)


def combine(
    op: Combined | None, operands: Sequence[Operand], tail: Sequence[Elementwise], out: str, site: Site
) -> Call:
    """Elementwise operations of several tensors, or (op None) of one, with what stands before and behind.

    Raises Unsuited.
    """
    graph, keep = site.graph, site.keep
    target = graph[op.output if op is not None else operands[0].tensor]
    rows = []
    wide = op is not None and not _narrow_combination(op, [graph[x.tensor] for x in operands], target)
    for number, operand in enumerate(operands):
        tensor, constant = graph[operand.tensor], site.constant(operand.stored)
        if not _repeats(tensor.shape, target.shape):
            raise Unsuited("a broadcast along inner dimensions")
        zero, shift, sign = _terms(op, number)
        row = OperandC(
            type=site.types[operand.stored],
            constant=int(constant),
            size=tensor.size,
            zero=zero,
            shift=shift,
            sign=sign,
            feed=chain(operand.feed, graph, keep),
        )
        rows.append(row)
    if op is None:
        only = graph[operands[0].tensor]
        wide = not fits32(*only.range)
    repeating = [row.size for row in rows if row.size < target.size]
    run = _run(repeating)
    if run < 8 and repeating:
        raise Unsuited("a broadcast of few elements")
    kind = {None: _ADD}.get(op, 0) if op is None else _kind(op)
    params = CombineC(
        kind=kind,
        inputs=len(rows),
        wide=int(wide),
        type_out=site.types[out],
        flat=int(not repeating and not any(row.constant for row in rows)),
        size=target.size,
        run=run,
        operands=keep.structures(rows),
        chain=chain(tail, graph, keep),
    )
    return site.call(COMBINE, params)


def _kind(op: Combined) -> int:
    match op:
        case o.Add():
            return _ADD
        case o.Mul():
            return _MUL
        case o.Extremum():
            return _MAX if op.kind == "max" else _MIN


def _terms(op: Combined | None, number: int) -> tuple[int, int, int]:
    """(zero point, left shift, sign) of an input."""
    match op:
        case o.Add():
            return op.zero_points[number], op.shifts[number], op.signs[number]
        case o.Mul():
            return op.zero_points[number], 0, 1
        case o.Extremum():
            return 0, op.shifts[number], 1
        case None:
            return 0, 0, 1


def _narrow_combination(op: Combined, inputs: Sequence[Tensor], out: Tensor) -> bool:
    """Whether 32-bit lanes hold inputs, terms, and every partial result."""
    reach = []
    for number, tensor in enumerate(inputs):
        zero, shift, _ = _terms(op, number)
        ends = [abs(end - zero) << shift for end in tensor.range]
        if not fits32(*tensor.range, zero, *ends):
            return False
        reach.append(max(ends))
    match op:
        case o.Add():
            return fits32(sum(reach))
        case o.Mul():
            return fits32(math.prod(reach))
        case o.Extremum():
            return fits32(*out.range)


def _repeats(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Whether a tensor of ``shape`` repeats along one of ``full``: it has the trailing dimensions alone."""
    trimmed = list(shape)
    while trimmed and trimmed[0] == 1:
        trimmed.pop(0)
    return tuple(trimmed) == full[len(full) - len(trimmed) :]


def _run(repeating: Sequence[int]) -> int:
    """The greatest number of lanes at a time that divides every repeating operand's size."""
    if not repeating:
        return LANES
    common = math.gcd(*repeating)
    return max(d for d in range(1, min(common, LANES) + 1) if common % d == 0)


# --- windows and moves


def pool(op: o.SumPool2D | o.MaxPool2D | o.Reduce, tail: Sequence[Elementwise], out: str, site: Site) -> Call:
    """A pooling, or a reduction over all leading axes. Raises Unsuited."""
    x, y = site.tensor(op.inputs[0]), site.tensor(op.output)
    channels = x.shape[-1]
    if site.types[x.name] == 4 or not fits32(*x.range, *y.range) or channels > LANES:
        raise Unsuited("sums wider than 32 bits")
    sizes: tuple[int, ...]
    if isinstance(op, o.Reduce):
        if op.axes != tuple(range(len(x.shape) - 1)) or len(x.shape) < 2:
            raise Unsuited("a reduction along inner dimensions")
        rows = x.size // channels
        if op.kind == "sum" and not fits32(rows * max(abs(x.range[0]), abs(x.range[1]))):
            raise Unsuited("sums wider than 32 bits")
        kind = ("sum", "max", "min").index(op.kind)
        sizes = (rows, 1, rows, 1, 1, 1, 0, 0, 1, 1)
    else:
        kind = 0 if isinstance(op, o.SumPool2D) else 1
        (top, _), (left, _) = op.padding
        if kind == 0 and not fits32(math.prod(op.pool) * max(abs(x.range[0]), abs(x.range[1]))):
            raise Unsuited("sums wider than 32 bits")
        sizes = (*x.shape[:2], *op.pool, *op.strides, top, left, *y.shape[:2])
    names = ("height", "width", "kernel_height", "kernel_width", "stride_height", "stride_width")
    fields = dict(zip((*names, "top", "left", "out_height", "out_width"), sizes, strict=True))
    params = PoolC(
        kind=kind,
        type_in=site.types[x.name],
        type_out=site.types[out],
        channels=channels,
        chain=chain(tail, site.graph, site.keep),
        **fields,
    )
    return site.call(POOL, params, max(LANES, channels) * 4 + 64)


Moved = o.Transpose | o.Pad | o.Slice | o.Gather


def move(op: Moved, site: Site) -> Call:
    """A static rearrangement, as copies of contiguous runs. Raises Unsuited."""
    x, y = site.tensor(op.inputs[0]), site.tensor(op.output)
    if site.types[x.name] != site.types[y.name]:
        raise Unsuited("a padding value of another element type")
    if max(x.size, y.size) >= 1 << 31:
        raise Unsuited("a tensor of 2**31 elements")
    marked = np.arange(x.size, dtype=np.int64).reshape(1, *x.shape)
    fill = 0
    if isinstance(op, o.Pad):
        fill = op.value
        index = np.pad(marked, ((0, 0), *op.pads), constant_values=-1).reshape(-1)
    else:
        index = np.asarray(REFERENCE[type(op)](op, [marked], [x], y)).reshape(-1)
    follows = np.where(index[:-1] < 0, index[1:] < 0, np.diff(index) == 1)
    breaks = np.flatnonzero(~follows) + 1
    starts = np.concatenate([[0], breaks])
    lengths = np.diff(np.concatenate([starts, [len(index)]]))
    params = MoveC(
        type=site.types[x.name],
        count=len(starts),
        size_in=x.size,
        size_out=y.size,
        fill=fill,
        from_=site.keep.array(index[starts], np.int32),
        to=site.keep.array(starts, np.int32),
        lengths=site.keep.array(lengths, np.int32),
    )
    return site.call(MOVE, params)


def join(op: o.Concat, site: Site) -> Call:
    """A concatenation."""
    y = site.tensor(op.output)
    inputs = [site.tensor(name) for name in op.inputs]
    if len(inputs) > 60:
        raise Unsuited("more than 60 inputs")
    constant = [int(site.constant(name)) for name in op.inputs]
    params = JoinC(
        inputs=len(inputs),
        type_out=site.types[y.name],
        outer=math.prod(y.shape[: op.axis]),
        inner=site.keep.array([math.prod(t.shape[op.axis :]) for t in inputs], np.int64),
        types=site.keep.array([site.types[t.name] for t in inputs], np.int32),
        constant=site.keep.array(constant, np.int32),
    )
    return site.call(JOIN, params)


__all__ = ["KINDS", "Call", "Combined", "Moved", "Operand", "Site", "combine", "join", "linear", "move", "pool"]
