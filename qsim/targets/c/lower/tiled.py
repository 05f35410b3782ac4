"""Which convolutions, dense layers and requantizers take the fast kernels, why the others do not, and their parts.

A fast kernel has conditions that hold for every input; they are proven here from the graph's ranges, before anything is
emitted. Where one does not hold, the layer takes the general kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, Overflow, Scheme, periodic
from qsim.targets.c.lower.few_valued import convolution_packing, is_depthwise, packing
from qsim.targets.c.lower.loops import dilated_window
from qsim.targets.c.parts import Lowering, Params, Part
from qsim.targets.c.types import I8, I16, I32, U8, CType, storage

_LANES = 4
_PART = 512
"""Inputs of a dense layer that stand in 16 bits at once."""
_SATURATE = {"i8": '"ssat"', "u8": '"usat"'}
_NARROW = 2
"""Output positions up to which one lane is faster than four, of which the rest would idle."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """A convolution as qsim_tiled.h makes it.

    lanes: 4 or 1. rows: weights [outputs][k], int64. bias: with the input's zero point folded in. groups: fours of k of
    a part; parts: 1, or more of a long row. packed: bytes of an input where positions are no multiple of four.
    geometry: out_width, the window and its dilation, as the kernel's parameters have them.
    """

    lanes: int
    rows: Array
    bias: Array
    zero_point: int
    groups: int
    parts: int
    packed: int
    geometry: tuple[tuple[str, str], ...]

    @property
    def channels(self) -> int:
        return int(self.rows.shape[0])

    @property
    def columns(self) -> int:
        """Bytes of the inputs of one tile, and of a window as it is in the image where it is not used in place."""
        return 4 * self.groups * (2 * self.lanes + self.packed)

    @property
    def block(self) -> int:
        """Elements of one tile's output; the sums of a row in parts are read by pairs of channels."""
        return self.lanes * self.channels


def _fits(x: Tensor, zero_point: int, rows: Array, bias: Array) -> bool:
    """Whether every partial sum of codes times weights, in any order, and the bias fit int32_t."""
    magnitude = max(abs(x.range[0]), abs(x.range[1]), abs(zero_point))
    worst = [int(s) * magnitude + abs(int(b)) for s, b in zip(np.abs(rows).sum(axis=1), bias, strict=True)]
    return max(worst) < 1 << 31


def _common(op: o.Conv2D | o.Dense, graph: Graph) -> str | None:
    x, out = graph[op.inputs[0]], graph[op.output]
    if not I16.holds(*x.range) or not I16.holds(op.input_zero_point, op.input_zero_point):
        return "its inputs take more than 16 bits"
    if storage(out.format) != I32:
        return f"its sums are stored as {storage(out.format).name}"
    if not I8.holds(op.weights.low << op.product_shift, op.weights.high << op.product_shift):
        return "its weights take more than 8 bits"
    return None


def tiling(op: o.Conv2D | o.Dense, graph: Graph) -> Tiling | str:
    """The tiles of ``op``, or why it has none."""
    x = graph[op.inputs[0]]
    reason = _common(op, graph)
    if reason is not None:
        return reason
    if isinstance(op, o.Dense):
        inputs, outputs = op.weights.shape
        if packing(op.weights, inputs) is not None:
            return "its weights are packed in bits"
        ordered = op.weights.values.T
        positions = graph[op.output].size // outputs
        parts = -(-inputs // _PART) if positions == 1 else 1
        inputs = -(-inputs // (4 * parts)) * 4 if parts > 1 else inputs
        out_width = positions
        geometry = dilated_window((1, positions, inputs), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    else:
        inputs, outputs = x.shape[2], op.weights.shape[3]
        if op.groups > 1:
            return "it has groups"
        if convolution_packing(op, inputs) is not None:
            return "its weights are packed in bits"
        ordered = op.weights.values.transpose(3, 0, 1, 2).reshape(outputs, -1)
        out = graph[op.output].shape
        positions = out[0] * out[1]
        parts = 1
        out_width = out[1]
        geometry = dilated_window(x.shape, op.weights.shape[:2], op.strides, op.padding, op.dilation)
    rows = np.asarray(ordered, dtype=np.int64) << op.product_shift
    bias = np.zeros(outputs, np.int64) if op.bias is None else np.asarray(op.bias.values, dtype=np.int64).reshape(-1)
    folded = bias - op.input_zero_point * rows.sum(axis=1)
    if not _fits(x, op.input_zero_point, rows, folded):
        return "a partial sum could leave 32 bits"
    return Tiling(
        lanes=1 if positions <= _NARROW else _LANES,
        rows=rows,
        bias=folded,
        zero_point=op.input_zero_point,
        groups=-(-rows.shape[1] // (4 * parts)),
        parts=parts,
        packed=storage(x.format).bytes if inputs % 4 else 0,
        geometry=(("out_width", str(out_width)), *geometry),
    )


def _pairs_in_order(rows: Array, groups: int) -> Array:
    """[even number of channels][4 * groups] -> [pair][group][k & 1][k >> 1 & 1][channel]."""
    return rows.reshape(-1, 2, groups, 2, 2).transpose(0, 2, 4, 3, 1).reshape(-1)


def _eights_in_order(rows: Array, groups: int) -> Array:
    """[multiple of 8 channels][4 * groups] -> [eight][group][k & 1][pair][k >> 1 & 1][channel]."""
    return rows.reshape(-1, 4, 2, groups, 2, 2).transpose(0, 3, 5, 1, 4, 2).reshape(-1)


def ordered_weights(tiles: Tiling) -> Array:
    """The weights in the order in which qsim_tile.h reads them."""
    channels, k = tiles.rows.shape
    padded = np.zeros((channels + channels % 2, 4 * tiles.groups * tiles.parts), np.int64)
    padded[:channels, :k] = tiles.rows
    eights = channels // 8 * 8 if tiles.lanes == 1 else 0
    ordered = []
    for part in np.split(padded, tiles.parts, axis=1):
        ordered += [_eights_in_order(part[:eights], tiles.groups), _pairs_in_order(part[eights:], tiles.groups)]
    return np.concatenate(ordered)


def _widen(t: CType) -> list[tuple[str, str]]:
    return [("QSIM_BYTES", str(int(t.bits == 8))), ("QSIM_WIDEN", '"s"' if t.signed else '"u"')]


def tiled_part(op: o.Conv2D | o.Dense, c: Lowering, tiles: Tiling) -> Part:
    """The part of a convolution or dense layer in tiles."""
    xt = storage(c.graph[op.inputs[0]].format)
    lanes = "four" if tiles.lanes == _LANES else "one"
    kernel = c.kernel(
        "tiled",
        [lanes, xt.short],
        [("QSIM_X", xt.name), ("QSIM_LANES", str(tiles.lanes)), ("QSIM_TILE", f"qsim_tile_{lanes}"), *_widen(xt)],
        "qsim_window.h",
        f"qsim_tile_{lanes}.h",
    )
    order = "pairs of channels" if tiles.lanes == _LANES else "eights of channels"
    bias = np.concatenate([tiles.bias, np.zeros(tiles.channels % 2, np.int64)])
    zero = " less the zero point's part" if tiles.zero_point else ""
    fields = (
        ("weights", c.array(op, "weights", ordered_weights(tiles), I8, f"{op.output}: weights, {order} interleaved")),
        ("bias", c.array(op, "bias", bias, I32, f"{op.output}: bias{zero}")),
        ("zero_point", str(tiles.zero_point)),
        ("groups", str(tiles.groups)),
        ("parts", str(tiles.parts)),
        ("row_inputs", str(tiles.rows.shape[1])),
        ("channels", str(tiles.channels)),
        *tiles.geometry,
    )
    params = Params(kernel.params, c.local("tiled"), fields)
    return Part(
        calls=lambda xs, y, first, count: [
            f"{kernel.name}({xs[0]}, {y}, {first}, {count}, (void *)scratch, &{params.name});"
        ],
        params=[params],
        inner=c.graph[op.output].size,
        block=tiles.block,
    )


# --- depthwise ----------------------------------------------------------------------------------------------------


def strips(op: o.Conv2D, graph: Graph) -> str | None:
    """Why a depthwise convolution does not go four channels at a time; None if it does."""
    x = graph[op.inputs[0]]
    reason = _common(op, graph)
    if reason is not None:
        return reason
    inputs = x.shape[2]
    if storage(x.format).bits != 8:
        return "its inputs take more than 8 bits"
    if inputs % 4 or op.weights.shape[3] != inputs:
        return "its channels are no multiple of four, or multiplied"
    return None


def strip_weights(op: o.Conv2D) -> Array:
    """[inputs / 4][kernel_height][kernel_width][4]."""
    kh, kw, _, outputs = op.weights.shape
    values = np.asarray(op.weights.values, dtype=np.int64).reshape(kh, kw, outputs // 4, 4) << op.product_shift
    return values.transpose(2, 0, 1, 3)


# --- requantize ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class High:
    """A TFLite requantizer in 32 bits: arrays of one period."""

    multiplier: Array
    addend: Array
    shift: Array
    away: bool
    clip: str

    @property
    def period(self) -> int:
        return int(self.multiplier.size)


def _clip(op: o.Requantize, low: int, high: int) -> str:
    """The clipping function for values in [low, high]."""
    if op.low <= low and high <= op.high:
        return "none"
    limits = {(-128, 127): "i8", (0, 255): "u8"}
    return limits.get((op.low, op.high), "i32")


def high_requantize(op: o.Requantize, graph: Graph) -> High | str:
    """The 32-bit form of ``op``, or why it has none."""
    x, out = graph[op.inputs[0]], graph[op.output]
    r = op.rescale
    if r.scheme not in (Scheme.TFLITE_DOUBLE, Scheme.TFLITE_UPWARD) or op.negative is not None:
        return f"its rescale is {r.scheme.value}"
    if op.overflow not in (Overflow.SAT, Overflow.SAT_SYM) or op.input_zero_point:
        return "it wraps, or subtracts a zero point"
    if max(-x.range[0], x.range[1]) >= 1 << 30:
        return "its input reaches 2^30"
    flats = [periodic(a, out.shape) for a in (r.multiplier, r.shift)]
    period = max(f.size for f in flats)
    multiplier, shift = (np.tile(np.asarray(f, dtype=np.int64), period // f.size) for f in flats)
    if shift.min() < 1:
        return "a channel shifts by less than one"
    addend = [(1 << (int(s) - 1)) + (op.zero_point << int(s)) for s in shift]
    low = high = 0
    for m, a, s in zip(map(int, multiplier), addend, map(int, shift), strict=True):
        ends = sorted((end * m + (1 << 30)) >> 31 for end in x.range)
        if not I32.holds(a, a) or not I32.holds(ends[0] - 1, ends[1]) or not I32.holds(ends[0] - 1 + a, ends[1] + a):
            return f"a rescaled value and its zero point leave 32 bits (shift {s})"
        low, high = min(low, (ends[0] - 1 + a) >> s), max(high, (ends[1] + a) >> s)
    away = r.scheme is Scheme.TFLITE_DOUBLE
    clip = _clip(op, low, high)
    return High(multiplier=multiplier, addend=np.array(addend), shift=shift, away=away, clip=clip)


def high_part(op: o.Requantize, c: Lowering, form: High, make: Callable[..., Part]) -> Part:
    """The part of a requantizer in 32 bits."""
    x, out = c.graph[op.inputs[0]], c.graph[op.output]
    xt, yt = storage(x.format), storage(out.format)
    each = form.period > 1
    kernel = c.kernel(
        "high",
        [xt.short, yt.short, "away" if form.away else "up", form.clip, *(["channels"] if each else [])],
        [
            ("QSIM_X", xt.name),
            ("QSIM_Y", yt.name),
            ("QSIM_AWAY", str(int(form.away))),
            ("QSIM_CLIP", f"qsim_clip_{form.clip}"),
            ("QSIM_PER_CHANNEL", str(int(each))),
            *([("QSIM_SATURATE", _SATURATE[form.clip])] if xt == I32 and form.clip in _SATURATE else []),
        ],
        "qsim_form.h",
    )
    said = f"of the rescale, {form.period} in all"
    fields = [
        ("multiplier", c.array(op, "multiplier", form.multiplier, I32, f"{op.output}: multiplier {said}")),
        ("addend", c.array(op, "addend", form.addend, I32, f"{op.output}: half and zero point {said}")),
        ("shift", c.array(op, "shift", form.shift, U8, f"{op.output}: shift {said}")),
        ("low", I32.literal(op.low)),
        ("high", I32.literal(op.high)),
        ("period", str(form.period)),
    ]
    return make(op, c, kernel, "high", fields, form.period)


__all__ = [
    "High",
    "Tiling",
    "high_part",
    "high_requantize",
    "is_depthwise",
    "ordered_weights",
    "strip_weights",
    "strips",
    "tiled_part",
    "tiling",
]
