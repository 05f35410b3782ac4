"""Average pooling, the reason the project exists: sum, times the quantized inverse, then the activation quantizer."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

keras = pytest.importorskip("keras")
qkeras = pytest.importorskip("qkeras")

from keras_compare import check  # noqa: E402

from qsim.importers import load  # noqa: E402
from qsim.ir.ops import Requantize, SumPool2D  # noqa: E402
from qsim.numerics import Overflow, Rounding, divide_rounded  # noqa: E402
from qsim.simulate import Simulator  # noqa: E402


def corner_inputs(shape, bits, integer, count=60, seed=0):
    rng = np.random.default_rng(seed)
    step = 2.0 ** (integer - bits)
    x = rng.integers(0, 2**bits, (count, *shape)) * step
    x[0], x[1], x[2] = 0, 2.0**integer, -1
    x[3] = (rng.random(shape) < 0.1) * 2.0**integer
    return x.astype(np.float32)


def pooled_model(shape, layer, bits=6, integer=1):
    inputs = keras.Input(shape, name="input")
    x = qkeras.QActivation(qkeras.quantized_relu(bits, integer), name="quantize")(inputs)
    return keras.Model(inputs, layer(x))


ACTIVATIONS = [None, "quantized_relu(4,1)", "quantized_bits(7,2,1,alpha=1)", "ternary(threshold=0.5)", "binary()"]


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("pool", [(1, 1), (2, 2), (3, 3), (2, 3), (4, 1), (5, 4), (7, 7)])
def test_pooling_2d(pool, padding):
    shape = (9, 8, 3)
    cases = itertools.product([None, (1, 1), (3, 2)], [2, 5, 8, 12, 16], ACTIVATIONS[:2])
    for number, (strides, bits, act) in enumerate(cases):
        layer = qkeras.QAveragePooling2D(
            pool,
            strides,
            padding,
            average_quantizer=qkeras.quantized_bits(bits, 0, 1, alpha=1),
            activation=act,
            name="pool",
        )
        model = pooled_model(shape, layer)
        result = check(model, load(model), corner_inputs(shape, 6, 1, seed=number))
        assert "pool" in result["float64"]


@pytest.mark.parametrize("bits", range(2, 17))
def test_average_quantizers_of_every_width(bits):
    shape = (6, 7, 2)
    for integer, symmetric, keep_negative in itertools.product([0, 1], [0, 1], [True, False]):
        quantizer = qkeras.quantized_bits(bits, integer, symmetric, keep_negative=keep_negative, alpha=1)
        for make in (
            lambda q: qkeras.QAveragePooling2D(
                (3, 2), average_quantizer=q, activation="quantized_relu(5,1)", name="pool"
            ),
            lambda q: qkeras.QGlobalAveragePooling2D(
                average_quantizer=q, activation="quantized_relu(5,1)", name="pool"
            ),
        ):
            model = pooled_model(shape, make(quantizer))
            assert "pool" in check(model, load(model), corner_inputs(shape, 6, 1, 20, bits))["float64"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("average", ["quantized_bits(8,0,1,alpha=1)", None])
def test_global_pooling(activation, average):
    for shape in [(1, 1, 4), (4, 4, 2), (3, 5, 1), (7, 7, 3), (2, 8, 5)]:
        for keepdims in (False, True):
            layer = qkeras.QGlobalAveragePooling2D(
                average_quantizer=average, activation=activation, keepdims=keepdims, name="pool"
            )
            model = pooled_model(shape, layer)
            graph = load(model)
            result = check(model, graph, corner_inputs(shape, 6, 1))
            if activation is not None or average is not None:
                assert "pool" in result["float64"]


def test_it_is_a_sum_and_one_requantize():
    """Sum over the window, then the quantized inverse and the activation's rounding in a single op, bit for bit."""
    layer = qkeras.QAveragePooling2D(
        (3, 3), average_quantizer="quantized_bits(6,0,1,alpha=1)", activation="quantized_relu(5,1)", name="pool"
    )
    model = pooled_model((6, 6, 2), layer)
    graph = load(model)
    pool, scale = graph.ops
    assert isinstance(pool, SumPool2D)
    assert (pool.pool, pool.strides) == ((3, 3), (3, 3))
    assert isinstance(scale, Requantize)
    assert scale.overflow is Overflow.SAT
    # 1/9 in 6 bits with sign is round(32 / 9) / 32 = 4 / 32: a power of two, hence a shift alone.
    assert scale.rescale.is_shift
    x = corner_inputs((6, 6, 2), 6, 1)
    trace = Simulator(graph).trace(x)
    codes = trace["quantize"].reshape(-1, 2, 3, 2, 3, 2).sum(axis=(2, 4))
    assert np.array_equal(trace[pool.output], codes)
    # Sum in units of 2**-5, the factor 4 in units of 2**-5, output in units of 2**-4.
    expected = np.clip(divide_rounded(codes * 4, 1 << 6, Rounding.RND_CONV), 0, 31)
    assert np.array_equal(trace["pool"], expected)


def test_an_odd_factor_is_the_average_quantizers_own_code():
    layer = qkeras.QAveragePooling2D(
        (3, 3), average_quantizer="quantized_bits(9,0,1,alpha=1)", activation="quantized_relu(5,1)"
    )
    scale = load(pooled_model((6, 6, 2), layer)).ops[1]
    # round(256 / 9) = 28 = 7 * 4.
    assert scale.rescale.multiplier.item() in (7, 28)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_plain_averages_are_exact_quotients(padding):
    """sum / count, rounded half to even by the quantizer that follows, against fractions."""
    shape = (5, 7, 2)
    inputs = keras.Input(shape, name="input")
    x = qkeras.QActivation(qkeras.quantized_relu(5, 0), name="quantize")(inputs)
    x = keras.layers.AveragePooling2D((2, 3), (1, 2), padding, name="average")(x)
    model = keras.Model(inputs, qkeras.QActivation(qkeras.quantized_bits(6, 0), name="out")(x))
    graph = load(model)
    data = corner_inputs(shape, 5, 0, 40)
    assert "out" in check(model, graph, data)["float64"]
    trace = Simulator(graph).trace(data)
    codes = trace["quantize"]
    pads = ((0, 1), (1, 1)) if padding == "same" else ((0, 0), (0, 0))
    rows, columns = trace["out"].shape[1:3]
    for n in range(5):
        for i in range(rows):
            for j in range(columns):
                y, z = i - pads[0][0], j * 2 - pads[1][0]
                window = codes[n, max(y, 0) : y + 2, max(z, 0) : z + 3]
                for c in range(2):
                    exact = Fraction(int(window[..., c].sum()), window[..., c].size)
                    assert trace["out"][n, i, j, c] == min(max(round(exact), -32), 31)


def test_an_average_feeding_a_convolution_unquantized_is_said():
    inputs = keras.Input((6, 6, 1), name="input")
    x = qkeras.QActivation(qkeras.quantized_relu(5, 0))(inputs)
    x = keras.layers.AveragePooling2D((3, 3), name="average")(x)
    x = qkeras.QConv2D(2, 2, kernel_quantizer="quantized_bits(4,0,alpha=1)", name="conv")(x)
    graph = load(keras.Model(inputs, x))
    assert any("float32" in note and "'average'" in note for note in graph.notes)
