"""Proven ranges: sound on samples (see simulate/test_kernels.py), attained by every dense and conv layer, least."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from graphs import convolutions, dense_layers, small_cnn

import qsim
from qsim.errors import GraphError, UnsupportedError
from qsim.ir import Graph, Quantization
from qsim.ir import ops as o
from qsim.numerics import IntArray, IntFormat, Overflow, Rounding, shift_only
from qsim.proof.builder import GraphBuilder
from qsim.proof.ranges import attaining_input, ranges
from qsim.reference.kernels import KERNELS


def digits(models: Path) -> Graph:
    return qsim.load(Path(qsim.__file__).parent / "demo" / "digits.keras")


def jet_tagger(models: Path) -> Graph:
    return qsim.load(models / "qkeras" / "qkeras-v3_3layer.keras", input_format="fixed<16,6>")


def keyword_spotting(models: Path) -> Graph:
    return qsim.load(models / "tflite" / "kws_ref_model.tflite")


@pytest.mark.parametrize("make", [digits, jet_tagger, keyword_spotting], ids=lambda f: f.__name__)
def test_an_input_attains_the_bound_of_every_layer_of_real_models(make, models: Path) -> None:
    check_attained(make(models), upper=True)
    check_attained(make(models), upper=False)


@pytest.mark.parametrize("make", [convolutions, dense_layers, small_cnn], ids=lambda f: f.__name__)
@pytest.mark.parametrize("upper", [True, False])
def test_an_input_attains_the_bound_of_every_linear_layer(make, upper: bool) -> None:
    check_attained(make(), upper=upper)


def check_attained(graph: Graph, *, upper: bool) -> None:
    proven = ranges(graph)
    checked = 0
    for op in graph.ops:
        if not isinstance(op, (o.Conv2D, o.Dense)):
            continue
        out = graph[op.output]
        bound = proven[op.output].high if upper else proven[op.output].low
        extreme = int(bound.max() if upper else bound.min())
        for channel in range(out.shape[-1]):
            of_channel = bound[..., channel]
            index = np.unravel_index(int(of_channel.argmax() if upper else of_channel.argmin()), of_channel.shape)
            at = (*(int(i) for i in index), channel)
            x = attaining_input(op, proven[op.inputs[0]], at, upper=upper)
            y = KERNELS[type(op)](op, [x[None]], [graph[op.inputs[0]]], out)[0]
            assert y[at] == bound[at]
            checked += 1
        assert extreme == (out.range[1] if upper else out.range[0])
    assert checked >= 10


def test_accumulators_have_the_least_width() -> None:
    graph = convolutions()
    for op in graph.ops:
        out = graph[op.output]
        assert out.format == IntFormat.for_range(*out.range)


def test_padding_borders_have_their_own_bounds() -> None:
    b = GraphBuilder("borders", "qkeras")
    q = Quantization.of(1)
    x = b.input("x", (3, 3, 1), IntFormat(4, False), q)
    y = b.add(
        o.Conv2D(
            inputs=(x,),
            output="y",
            layer="y",
            weights=IntArray(np.ones((3, 3, 1, 1), dtype=int)),
            bias=None,
            strides=(1, 1),
            dilation=(1, 1),
            padding=((1, 1), (1, 1)),
            groups=1,
        ),
        quantization=q,
    )
    assert b.interval(y).high[..., 0].tolist() == [[60, 90, 60], [90, 135, 90], [60, 90, 60]]


def test_beyond_62_bits_is_refused_with_the_layer() -> None:
    b = GraphBuilder("wide", "qkeras")
    q = Quantization.of(1)
    x = b.input("x", (4,), IntFormat(33, True), q)
    huge = IntArray(np.full((4, 1), 1 << 30))
    with pytest.raises(UnsupportedError, match="layer 'fc': the accumulator can reach") as caught:
        b.add(o.Dense(inputs=(x,), output="fc", layer="fc", weights=huge, bias=None), quantization=q)
    assert "QActivation" in str(caught.value)


@pytest.mark.parametrize(("shift", "fits"), [(57, True), (58, False)])
def test_the_shift_of_the_products_counts(shift: int, fits: bool) -> None:
    """4 * 2**2 * 2**58 is 2**62, one more than 62 bits hold."""
    b = GraphBuilder("shifted", "qkeras")
    x = b.input("x", (4,), IntFormat(3, True), Quantization.of(1))
    ones = IntArray(np.ones((4, 1), dtype=int))
    dense = o.Dense(inputs=(x,), output="fc", layer="fc", weights=ones, bias=None, product_shift=shift)
    if fits:
        b.add(dense, quantization=Quantization.of(1))
        assert b.tensor("fc").range == (-(1 << 61), 3 << 59)
    else:
        with pytest.raises(UnsupportedError, match="layer 'fc': the accumulator can reach"):
            b.add(dense, quantization=Quantization.of(1))


def test_a_format_too_small_for_the_proven_range_is_refused() -> None:
    b = GraphBuilder("narrow", "qkeras")
    q = Quantization.of(1)
    x = b.input("x", (4,), IntFormat(4, True), q)
    ones = IntArray(np.ones((4, 1), dtype=int))
    with pytest.raises(GraphError, match="reaches \\[-32, 28\\], outside int5"):
        b.add(
            o.Dense(inputs=(x,), output="fc", layer="fc", weights=ones, bias=None),
            quantization=q,
            format=IntFormat(5, True),
        )


def test_ops_that_no_output_needs_are_dropped() -> None:
    b = GraphBuilder("dead", "qkeras")
    q = Quantization.of(1)
    x = b.input("x", (4,), IntFormat(4, True), q)
    b.add(o.Reshape(inputs=(x,), output="dead", layer="dead"), quantization=q, shape=(2, 2))
    y = b.add(o.Reshape(inputs=(x,), output="live", layer="live"), quantization=q, shape=(4, 1))
    assert [op.output for op in b.build([y]).ops] == ["live"]


def test_zero_in_place_of_what_does_not_fit_is_in_the_range() -> None:
    """SAT_ZERO gives 0 even where 0 lies outside [low, high]."""
    for low, high in ((-9, -2), (3, 7), (-4, 5)):
        b = GraphBuilder("zero", "qkeras")
        unit = Quantization.of(Fraction(1))
        x = b.input("x", (1,), IntFormat(6, True), unit)
        y = b.add(
            o.Requantize(
                inputs=(x,),
                output="y",
                layer="y",
                rescale=shift_only(0, Rounding.TRN),
                overflow=Overflow.SAT_ZERO,
                low=low,
                high=high,
            ),
            quantization=unit,
        )
        graph = b.build([y])
        codes = qsim.Simulator(graph).run_codes(np.arange(-32, 32)[:, None])
        assert graph[y].range == (int(codes.min()), int(codes.max())) == (min(low, 0), max(high, 0))
