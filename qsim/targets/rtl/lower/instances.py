"""Each streaming kernel as an instance of its SystemVerilog module: parameters and memory contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qsim.errors import UnsupportedError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntFormat, periodic
from qsim.proof.weights import WeightEncoding
from qsim.targets.rtl.lower.rescale import requantize
from qsim.targets.rtl.lower.softmax import MAX_ROW, exponentials
from qsim.targets.rtl.network import kernels as s
from qsim.targets.rtl.network.products import products
from qsim.targets.rtl.text import Memory, flag, number, pack, signed_width, string, wide

Param = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Instance:
    """module, parameters as (name, SystemVerilog text); memories: (parameter, contents), whose file the caller names;
    stacks: (parameter, memories), whose files differ in the two digits before the ending.

    clocked: whether it has clk and rst. operand: the format to which every input is extended before the inputs are
    packed side by side; None: its only input is wired as it is.
    """

    module: str
    parameters: tuple[Param, ...]
    memories: tuple[tuple[str, Memory], ...] = ()
    stacks: tuple[tuple[str, tuple[Memory, ...]], ...] = ()
    clocked: bool = True
    operand: IntFormat | None = None


class Context:
    """What the rules look up: the graph's tensors, and the formats of the streams."""

    def __init__(self, graph: Graph, network: s.Network) -> None:
        self.graph, self.network = graph, network

    def format(self, stream: str) -> IntFormat:
        return self.network.streams[stream].format

    def size(self, stream: str) -> int:
        return self.network.streams[stream].size


def instance(kernel: s.Kernel, ctx: Context) -> Instance:
    """The module instance of a kernel. Raises UnsupportedError where the module cannot be exact."""
    if isinstance(kernel, s.Pointwise):
        return _POINTWISE[type(kernel.op)](kernel, kernel.op, ctx)
    return _KERNELS[type(kernel)](kernel, ctx)


def _common(formats: Sequence[IntFormat]) -> IntFormat:
    """The least signed format that holds all of them."""
    return IntFormat(max(f.width + (not f.signed) for f in formats), True)


def _geometry(kernel: s.Window) -> list[Param]:
    h, w, c = kernel.size
    pairs = [
        ("H", h), ("W", w), ("C", c), ("OH", kernel.out[0]), ("OW", kernel.out[1]),
        ("KH", kernel.kernel[0]), ("KW", kernel.kernel[1]), ("SH", kernel.strides[0]), ("SW", kernel.strides[1]),
        ("TOP", kernel.before[0]), ("LEFT", kernel.before[1]), ("DEPTH", kernel.depth), ("CREDITS", kernel.credits),
    ]  # fmt: skip
    return [(name, number(value)) for name, value in pairs]


def _window(kernel: s.Window, ctx: Context) -> Instance:
    x, y = ctx.format(kernel.inputs[0]), ctx.format(kernel.name)
    io = [("WIDTH", number(x.width)), ("SIGNED", flag(x.signed)), ("OUT_WIDTH", number(y.width))]
    op = kernel.op
    if isinstance(op, o.SumPool2D | o.MaxPool2D):
        return Instance(
            module="qsim_pool",
            parameters=(("MAXIMUM", flag(isinstance(op, o.MaxPool2D))), *io, *_geometry(kernel)),
        )
    assert isinstance(op, o.Conv2D | o.ConvTranspose2D | o.Dense)
    f = kernel.folding
    if not IntFormat(x.width + 1, True).holds(op.input_zero_point, op.input_zero_point):
        raise UnsupportedError(
            f"the input zero point {op.input_zero_point} lies outside the input format {x}",
            layer=kernel.layer,
            way_out="store the input in a format that holds its zero point",
        )
    weights = op.weights.values.reshape((1, 1, *op.weights.shape)) if isinstance(op, o.Dense) else op.weights.values
    if isinstance(op, o.ConvTranspose2D):
        weights = weights[::-1, ::-1]
    made = products(ctx.graph, op, f)
    stored = made.encoding
    bias = op.bias.values if op.bias is not None else np.zeros(weights.shape[3], dtype=np.int64)
    parameters = [
        *io,
        *_geometry(kernel),
        ("DH", number(kernel.dilation[0])),
        ("DW", number(kernel.dilation[1])),
        ("WORD", number(f.word)),
        ("LANES", number(f.lanes)),
        ("SHARED", flag(f.shared)),
        ("GROUPS", number(f.groups)),
        ("TILES", number(f.tiles)),
        ("ZERO", number(op.input_zero_point)),
        ("SHIFT", number(op.product_shift)),
        ("W_WIDTH", number(stored.bits)),
    ]
    if made.arithmetic != "multiply":
        parameters += [
            ("KIND", string(made.arithmetic.upper())),
            ("X_WIDTH", number(made.x_width)),
            ("X_SIGNED", flag(made.x_signed)),
            ("SCALE", wide(64, made.scale)),
        ]
    if made.arithmetic == "xnor":
        parameters.append(("HIGH", wide(128, made.high, True)))
    if made.arithmetic == "shift":
        parameters += [("EXPONENT", number(stored.exponent)), ("ZEROS", flag(stored.zeros))]
    return Instance(
        module="qsim_mac",
        parameters=tuple(parameters),
        memories=(
            (
                "WEIGHTS",
                Memory(stored.bits * f.products, _weight_words(weights, kernel, stored)),
            ),
            ("BIAS", Memory(y.width * f.lanes, [pack(row, y.width) for row in bias.reshape(-1, f.lanes)])),
        ),
    )


def _weight_words(weights: np.ndarray[Any, Any], kernel: s.Window, stored: WeightEncoding) -> list[int]:
    """One word per step of an output pixel, in the order of the walk: group, tile, kernel row and column, channel
    word; within a word lane by lane, within a lane the word's elements, the first one lowest."""
    f = kernel.folding
    kh, kw, group_in, outputs = weights.shape
    if f.shared:
        # (kh, kw, channel words, word, groups, tiles, lanes) -> (groups, tiles, kh, kw, channel words, lanes, word)
        shaped = weights.reshape(kh, kw, group_in // f.word, f.word, f.groups, f.tiles, f.lanes)
        rows = shaped.transpose(4, 5, 0, 1, 2, 6, 3).reshape(-1, f.lanes * f.word)
    else:
        rows = weights.reshape(kh, kw, outputs // f.lanes, f.lanes).transpose(2, 0, 1, 3).reshape(-1, f.lanes)
    return [pack(row, stored.bits) for row in stored.codes(rows)]


def _reduction(kernel: s.Reduction, ctx: Context) -> Instance:
    x, y = ctx.format(kernel.inputs[0]), ctx.format(kernel.name)
    return Instance(
        module="qsim_reduce",
        parameters=(
            ("KIND", string(kernel.kind.upper())),
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("REDUCED", number(kernel.reduced)),
            ("INNER", number(kernel.inner)),
            ("OUT_WIDTH", number(y.width)),
        ),
    )


def _argmaximum(kernel: s.ArgMaximum, ctx: Context) -> Instance:
    x, y = ctx.format(kernel.inputs[0]), ctx.format(kernel.name)
    return Instance(
        module="qsim_argmax",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("REDUCED", number(kernel.reduced)),
            ("INNER", number(kernel.inner)),
            ("OUT_WIDTH", number(y.width)),
        ),
    )


def _repeat(kernel: s.Repeat, ctx: Context) -> Instance:
    return Instance(
        module="qsim_repeat",
        parameters=(
            ("WIDTH", number(ctx.format(kernel.name).width)),
            ("TIMES", number(kernel.times)),
            ("INNER", number(kernel.inner)),
        ),
    )


def _constant(kernel: s.ConstantSource, ctx: Context) -> Instance:
    width = ctx.format(kernel.name).width
    return Instance(
        module="qsim_constant",
        parameters=(("WIDTH", number(width)), ("SIZE", number(len(kernel.values)))),
        memories=(("TABLE", Memory(width, [pack([v], width) for v in kernel.values])),),
    )


def _mask(kernel: s.Mask, ctx: Context) -> Instance:
    # Outer axes that are taken whole need no counter.
    rank = len(kernel.bounds)
    fields = [
        (name, wide(32 * rank, pack(list(reversed(values)), 32)))
        for name, values in (
            ("BOUNDS", kernel.bounds),
            ("BEFORE", kernel.before),
            ("SIZES", kernel.sizes),
            ("STEPS", kernel.steps),
        )
    ]
    width = ctx.format(kernel.name).width
    if not kernel.insert:
        return Instance(module="qsim_crop", parameters=(("WIDTH", number(width)), ("RANK", number(rank)), *fields))
    x = ctx.format(kernel.inputs[0])
    return Instance(
        module="qsim_pad",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("OUT_WIDTH", number(width)),
            ("VALUE", wide(width, kernel.value & ((1 << width) - 1))),
            ("RANK", number(rank)),
            *fields,
        ),
    )


def _join(kernel: s.Join, ctx: Context) -> Instance:
    formats = [ctx.format(stream) for stream in kernel.inputs]
    common = _common([*formats, ctx.format(kernel.name)])
    return Instance(
        module="qsim_concat",
        parameters=(
            ("COUNT", number(len(formats))),
            ("WIDTH", number(common.width)),
            ("OUT_WIDTH", number(ctx.format(kernel.name).width)),
            ("LENGTHS", wide(32 * len(formats), pack(kernel.lengths, 32))),
        ),
        operand=common,
    )


def _permute(kernel: s.Permute, ctx: Context) -> Instance:
    address = max(1, (kernel.size - 1).bit_length())
    return Instance(
        module="qsim_permute",
        parameters=(
            ("WIDTH", number(ctx.format(kernel.name).width)),
            ("SIZE", number(kernel.size)),
            ("OUT_SIZE", number(len(kernel.index))),
            ("CREDITS", number(kernel.credits)),
        ),
        memories=(("INDEX", Memory(address, [int(i) for i in kernel.index])),),
    )


def _product(kernel: s.Product, ctx: Context) -> Instance:
    a, b = (ctx.format(stream) for stream in kernel.inputs)
    return Instance(
        module="qsim_matmul",
        parameters=(
            ("A_WIDTH", number(a.width)),
            ("A_SIGNED", flag(a.signed)),
            ("A_ZERO", wide(128, kernel.op.zero_points[0], True)),
            ("B_WIDTH", number(b.width)),
            ("B_SIGNED", flag(b.signed)),
            ("B_ZERO", wide(128, kernel.op.zero_points[1], True)),
            ("OUT_WIDTH", number(ctx.format(kernel.name).width)),
            ("BATCHES", number(kernel.batches)),
            ("ROWS", number(kernel.rows)),
            ("INNER", number(kernel.inner)),
            ("COLUMNS", number(kernel.columns)),
            ("CREDITS", number(kernel.credits)),
        ),
    )


def _add(kernel: s.Pointwise, op: o.Add, ctx: Context) -> Instance:
    formats = [ctx.format(stream) for stream in kernel.inputs]
    common = _common([*formats, *(IntFormat.for_range(min(z, 0), max(z, 0)) for z in op.zero_points)])
    count = len(formats)
    return Instance(
        module="qsim_add",
        parameters=(
            ("COUNT", number(count)),
            ("WIDTH", number(common.width)),
            ("OUT_WIDTH", number(ctx.format(kernel.name).width)),
            ("NEGATE", wide(count, pack([int(sign < 0) for sign in op.signs], 1))),
            ("SHIFTS", wide(32 * count, pack(op.shifts, 32))),
            ("ZEROS", wide(common.width * count, pack(op.zero_points, common.width))),
        ),
        clocked=False,
        operand=common,
    )


def _extremum(kernel: s.Pointwise, op: o.Extremum, ctx: Context) -> Instance:
    formats = [ctx.format(stream) for stream in kernel.inputs]
    widest = max(f.width + (not f.signed) + shift for f, shift in zip(formats, op.shifts))
    common = IntFormat(min(widest, 64), True) if widest <= 64 else None
    if common is None:
        raise UnsupportedError(
            f"aligned operands take {widest} bits", layer=kernel.layer, way_out="requantize the inputs to closer scales"
        )
    common = IntFormat(max(common.width, ctx.format(kernel.name).width), True)
    return Instance(
        module="qsim_extremum",
        parameters=(
            ("COUNT", number(len(formats))),
            ("MAXIMUM", flag(op.kind == "max")),
            ("WIDTH", number(common.width)),
            ("OUT_WIDTH", number(ctx.format(kernel.name).width)),
            ("SHIFTS", wide(32 * len(formats), pack(op.shifts, 32))),
        ),
        clocked=False,
        operand=common,
    )


def _mul(kernel: s.Pointwise, op: o.Mul, ctx: Context) -> Instance:
    common = _common(
        [
            *(ctx.format(stream) for stream in kernel.inputs),
            *(IntFormat.for_range(min(z, 0), max(z, 0)) for z in op.zero_points),
        ]
    )
    return Instance(
        module="qsim_mul",
        parameters=(
            ("WIDTH", number(common.width)),
            ("OUT_WIDTH", number(ctx.format(kernel.name).width)),
            ("A_ZERO", wide(128, op.zero_points[0], True)),
            ("B_ZERO", wide(128, op.zero_points[1], True)),
        ),
        operand=common,
    )


def _requantize(kernel: s.Pointwise, op: o.Requantize, ctx: Context) -> Instance:
    tensor, out = ctx.graph[op.inputs[0]], ctx.graph[op.output]
    parameters, table = requantize(op, tensor, out, ctx.format(kernel.inputs[0]))
    return Instance(module="qsim_requantize", parameters=tuple(parameters), memories=(("TABLE", table),))


def _divide(kernel: s.Pointwise, op: o.Divide, ctx: Context) -> Instance:
    """Division by a constant is exact as floor(n * ceil(2**S / d) / 2**S) for 0 <= n <= N where N * e < 2**S with
    e = ceil(2**S / d) * d - 2**S < d (Granlund and Montgomery): S = bits(N) + bits(d) is always enough. The remainder
    then decides the rounding. Negative n go by floor(n / d) = ~floor(~n / d)."""
    x, tensor, out = ctx.format(kernel.inputs[0]), ctx.graph[op.inputs[0]], ctx.graph[op.output]
    low, high = tensor.range
    columns = [periodic(a, out.shape) for a in (op.numerator, op.addend, op.divisor)]
    period = max(len(c) for c in columns)
    numerator, addend, divisor = ([int(v) for v in c] * (period // len(c)) for c in columns)
    ends = [v * n + a for v in (low, high) for n, a in zip(numerator, addend)]
    biggest = max(max(ends), -1 - min(ends), 0)
    shift = biggest.bit_length() + max(divisor).bit_length()
    reciprocal = [-(-(1 << shift) // d) for d in divisor]
    widths = {
        "N_WIDTH": signed_width(min(numerator), max(numerator)),
        "A_WIDTH": signed_width(min(addend), max(addend)),
        "D_WIDTH": max(divisor).bit_length() + 1,
        "M_WIDTH": max(reciprocal).bit_length(),
    }
    p_width = max(signed_width(min(ends), max(ends)) + 1, x.width + 2)
    v_width = max(p_width, out.format.width, signed_width(op.zero_point, op.zero_point)) + 2
    words = [
        pack([n], widths["N_WIDTH"])
        | pack([a], widths["A_WIDTH"]) << widths["N_WIDTH"]
        | d << (widths["N_WIDTH"] + widths["A_WIDTH"])
        | m << (widths["N_WIDTH"] + widths["A_WIDTH"] + widths["D_WIDTH"])
        for n, a, d, m in zip(numerator, addend, divisor, reciprocal)
    ]
    return Instance(
        module="qsim_divide",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("MODE", string(op.rounding.value.upper())),
            *((name, number(value)) for name, value in widths.items()),
            ("P_WIDTH", number(p_width)),
            ("V_WIDTH", number(v_width)),
            ("SHIFT", number(shift)),
            ("Y_ZERO", wide(128, op.zero_point, True)),
            ("LOW", wide(128, op.low, True)),
            ("HIGH", wide(128, op.high, True)),
            ("OUT_WIDTH", number(out.format.width)),
            ("PERIOD", number(period)),
        ),
        memories=(("TABLE", Memory(sum(widths.values()), words)),),
    )


def _threshold(kernel: s.Pointwise, op: o.Threshold, ctx: Context) -> Instance:
    """Binary search, one level per stage. Level l of L decides bit L - 1 - l of the count; its memory holds, for each
    channel and each value p of the bits above, threshold p * 2**(L - l) + 2**(L - 1 - l) - 1. Thresholds beyond the
    last one, and beyond the input's format, are the first value that the input never reaches."""
    x, y, out = ctx.format(kernel.inputs[0]), ctx.format(kernel.name), ctx.graph[op.output]
    channels = out.shape[-1]
    columns = max(op.thresholds.shape[0], op.base.shape[0], op.step.shape[0])
    if columns not in (1, channels):
        raise UnsupportedError(
            f"thresholds for {columns} channels on {channels}",
            layer=kernel.layer,
            way_out="give one row or one per channel",
        )
    never, width = x.high + 1, x.width + 2
    count, levels = op.thresholds.shape[1], kernel.stages
    table = np.full((columns, 1 << levels), never, dtype=object)
    table[:, :count] = np.broadcast_to(op.thresholds.values, (columns, count))
    clipped = [[max(min(int(v), never), x.low) for v in row] for row in table]
    memories = []
    for level in range(levels):
        step = 1 << (levels - level)
        words = [pack([row[p * step + step // 2 - 1]], width) for row in clipped for p in range(1 << level)]
        memories.append(Memory(width, words))
    base = [int(v) for v in np.broadcast_to(op.base.values.reshape(-1), (columns,))]
    step_values = [int(v) for v in np.broadcast_to(op.step.values.reshape(-1), (columns,))]
    words = [pack([b, d], y.width) for b, d in zip(base, step_values)]
    return Instance(
        module="qsim_threshold",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("OUT_WIDTH", number(y.width)),
            ("LEVELS", number(levels)),
            ("PERIOD", number(columns)),
        ),
        memories=(("CODES", Memory(2 * y.width, words)),),
        stacks=(("MEMORIES", tuple(memories)),),
    )


def _lookup(kernel: s.Pointwise, op: o.Lookup, ctx: Context) -> Instance:
    x, y = ctx.format(kernel.inputs[0]), ctx.format(kernel.name)
    rows, entries = op.table.shape
    address = max(1, (entries - 1).bit_length())
    padded = np.zeros((rows, 1 << address), dtype=np.int64)
    padded[:, :entries] = op.table.values
    return Instance(
        module="qsim_lookup",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("OUT_WIDTH", number(y.width)),
            ("ENTRY", number(address)),
            ("TABLE_LOW", wide(128, op.table_low, True)),
            ("PERIOD", number(rows)),
        ),
        memories=(("TABLE", Memory(y.width, [pack([v], y.width) for v in padded.reshape(-1)])),),
    )


def _softmax(kernel: s.SoftmaxRows, ctx: Context) -> Instance:
    x, y = ctx.format(kernel.inputs[0]), ctx.format(kernel.name)
    low, high = ctx.graph[kernel.op.inputs[0]].range
    table = exponentials(kernel.op, high - low, kernel.layer)
    if kernel.length > MAX_ROW:
        raise UnsupportedError(
            f"a softmax over {kernel.length} classes overflows TFLite's sum, which holds {MAX_ROW}", layer=kernel.layer
        )
    return Instance(
        module="qsim_softmax",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("LENGTH", number(kernel.length)),
            ("ENTRIES", number(len(table))),
            ("OUT_WIDTH", number(y.width)),
            ("LOW", wide(128, y.low, True)),
            ("HIGH", wide(128, y.high, True)),
        ),
        memories=(("TABLE", Memory(31, table)),),
    )


_KERNELS: dict[type[s.Kernel], Callable[[Any, Context], Instance]] = {
    s.Window: _window,
    s.Reduction: _reduction,
    s.ArgMaximum: _argmaximum,
    s.SoftmaxRows: _softmax,
    s.Repeat: _repeat,
    s.ConstantSource: _constant,
    s.Mask: _mask,
    s.Join: _join,
    s.Permute: _permute,
    s.Product: _product,
}

_POINTWISE: dict[type[o.Op], Callable[[Any, Any, Context], Instance]] = {
    o.Add: _add,
    o.Extremum: _extremum,
    o.Mul: _mul,
    o.Requantize: _requantize,
    o.Divide: _divide,
    o.Threshold: _threshold,
    o.Lookup: _lookup,
}
