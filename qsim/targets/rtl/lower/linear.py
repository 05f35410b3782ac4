"""Convolutions, dense layers and matrix products: sliding windows on multiply-accumulate units."""

from __future__ import annotations

import math

import numpy as np

from qsim.errors import UnsupportedError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.ir.ops import Linear
from qsim.numerics import Array, IntFormat
from qsim.proof.weights import WeightEncoding
from qsim.targets.rtl.lower.parts import Instance, InstanceRule, Param, StreamRule, module, numbers, streams
from qsim.targets.rtl.lower.pool import pool_instance, window_geometry
from qsim.targets.rtl.network.kernels import Builder, Mask, Product, Stream, Window
from qsim.targets.rtl.network.products import Products, products
from qsim.targets.rtl.text import Memory, flag, number, pack_rows, string, wide

MAC_DELAY = 3
"""Cycles from the last step of a walk to its result in the queue (qsim_mac.sv)."""


def _conv(b: Builder, op: o.Conv2D) -> Stream:
    h, w, c = b.graph[op.inputs[0]].shape
    oh, ow, _ = b.graph[op.output].shape
    kh, kw = op.weights.shape[:2]
    if (kh, kw) == (1, 1) and op.strides == (1, 1) and op.padding == o.NO_PADDING:
        h, w, oh, ow = h * w, 1, oh * ow, 1  # pixel by pixel: the ring needs no rows
    kernel = Window(
        output=b.carrier(op.output),
        layer=op.layer,
        inputs=(b.stream(op),),
        op=op,
        size=(h, w, c),
        out=(oh, ow),
        kernel=(kh, kw),
        strides=op.strides,
        dilation=op.dilation,
        before=(op.padding[0][0], op.padding[1][0]),
        folding=b.foldings[op.output],
        delay=MAC_DELAY,
    )
    return b.add(kernel)


def _dense(b: Builder, op: o.Dense) -> Stream:
    shape = b.graph[op.inputs[0]].shape
    rows = math.prod(shape[:-1])
    kernel = Window(
        output=b.carrier(op.output),
        layer=op.layer,
        inputs=(b.stream(op),),
        op=op,
        size=(rows, 1, shape[-1]),
        out=(rows, 1),
        kernel=(1, 1),
        strides=(1, 1),
        dilation=(1, 1),
        before=(0, 0),
        folding=b.foldings[op.output],
        delay=MAC_DELAY,
    )
    return b.add(kernel)


def _conv_transpose(b: Builder, op: o.ConvTranspose2D) -> Stream:
    """The frame with the stride's gaps filled in, convolved with the kernel turned by 180 degrees."""
    x, (sh, sw), (kh, kw) = b.graph[op.inputs[0]], op.strides, op.weights.shape[:2]
    h, w, c = x.shape
    bounds = ((h - 1) * sh + 1, (w - 1) * sw + 1, c)
    stream = b.stream(op)
    if bounds != x.shape:
        if not x.format.holds(op.input_zero_point, op.input_zero_point):
            raise UnsupportedError(
                f"the zero point {op.input_zero_point} is outside the input's format {x.format}, so that the gaps of "
                "a strided transposed convolution cannot be filled",
                layer=op.layer,
                way_out="store the input in a format that holds its zero point",
            )
        filled = Mask(
            output=b.internal(op.output, "filled", stream.format, math.prod(bounds)),
            layer=op.layer,
            inputs=(stream,),
            insert=True,
            value=op.input_zero_point,
            bounds=bounds,
            before=(0, 0, 0),
            sizes=x.shape,
            steps=(sh, sw, 1),
        )
        stream = b.add(filled)
    kernel = Window(
        output=b.carrier(op.output),
        layer=op.layer,
        inputs=(stream,),
        op=op,
        size=bounds,
        out=op.output_size,
        kernel=(kh, kw),
        strides=(1, 1),
        dilation=(1, 1),
        before=(kh - 1 - op.padding[0][0], kw - 1 - op.padding[1][0]),
        folding=b.foldings[op.output],
        delay=MAC_DELAY,
    )
    return b.add(kernel)


def _matmul(b: Builder, op: o.MatMul) -> Stream:
    left, right = b.graph[op.inputs[0]], b.graph[op.inputs[1]]
    kernel = Product(
        output=b.carrier(op.output),
        layer=op.layer,
        inputs=(b.stream(op, 0), b.stream(op, 1)),
        op=op,
        batches=math.prod(left.shape[:-2]),
        rows=left.shape[-2],
        inner=left.shape[-1],
        columns=right.shape[-1],
    )
    return b.add(kernel)


def _window(kernel: Window, graph: Graph) -> Instance:
    op = kernel.op
    if isinstance(op, o.SumPool2D | o.MaxPool2D):
        return pool_instance(kernel, op)
    x, y = kernel.inputs[0].format, kernel.output.format
    if not IntFormat(x.width + 1, True).holds(op.input_zero_point, op.input_zero_point):
        raise UnsupportedError(
            f"the input zero point {op.input_zero_point} lies outside the input format {x}",
            layer=kernel.layer,
            way_out="store the input in a format that holds its zero point",
        )
    weights = op.weights.values.reshape((1, 1, *op.weights.shape)) if isinstance(op, o.Dense) else op.weights.values
    if isinstance(op, o.ConvTranspose2D):
        weights = weights[::-1, ::-1]
    made = products(graph, op, kernel.folding)
    bias = op.bias.values if op.bias is not None else np.zeros(weights.shape[3], dtype=np.int64)
    lanes = kernel.folding.lanes
    words = Memory(made.encoding.bits * kernel.folding.products, _weight_words(weights, kernel, made.encoding))
    biases = Memory(y.width * lanes, pack_rows(bias.reshape(-1, lanes), y.width))
    return Instance(
        module="qsim_mac",
        parameters=(
            ("WIDTH", number(x.width)),
            ("SIGNED", flag(x.signed)),
            ("OUT_WIDTH", number(y.width)),
            *window_geometry(kernel),
            *_unit(kernel, op, made),
        ),
        memories=(("WEIGHTS", words), ("BIAS", biases)),
    )


def _unit(kernel: Window, op: Linear, made: Products) -> list[Param]:
    """The parameters of the multiply-accumulate unit."""
    f, stored = kernel.folding, made.encoding
    parameters = [
        *numbers(DH=kernel.dilation[0], DW=kernel.dilation[1], WORD=f.word, LANES=f.lanes),
        ("SHARED", flag(f.shared)),
        *numbers(GROUPS=f.groups, TILES=f.tiles, ZERO=op.input_zero_point, SHIFT=op.product_shift),
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
    return parameters


def _weight_words(weights: Array, kernel: Window, stored: WeightEncoding) -> list[int]:
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
    return pack_rows(stored.codes(rows), stored.bits)


def _product(kernel: Product, graph: Graph) -> Instance:
    a, b = (stream.format for stream in kernel.inputs)
    return Instance(
        module="qsim_matmul",
        parameters=(
            ("A_WIDTH", number(a.width)),
            ("A_SIGNED", flag(a.signed)),
            ("A_ZERO", wide(128, kernel.op.zero_points[0], True)),
            ("B_WIDTH", number(b.width)),
            ("B_SIGNED", flag(b.signed)),
            ("B_ZERO", wide(128, kernel.op.zero_points[1], True)),
            ("OUT_WIDTH", number(kernel.output.format.width)),
            *numbers(BATCHES=kernel.batches, ROWS=kernel.rows, INNER=kernel.inner, COLUMNS=kernel.columns),
            ("CREDITS", number(kernel.credits)),
        ),
    )


STREAMS: tuple[StreamRule, ...] = (
    streams(o.Conv2D, _conv),
    streams(o.ConvTranspose2D, _conv_transpose),
    streams(o.Dense, _dense),
    streams(o.MatMul, _matmul),
)
INSTANCES: tuple[InstanceRule, ...] = (module(Window, _window), module(Product, _product))
