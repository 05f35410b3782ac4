"""quantized_linear, tanh, sigmoid, mu-law, hard swish, powers of two, the stochastic pair: twins against qkeras-v3."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from qsim.errors import UnsupportedError
from qsim.quantizers import quantizer
from qsim.quantizers.functions import KERAS_FUNCTIONS, QKERAS_FUNCTIONS, Affine

tf = pytest.importorskip("tensorflow")
qkeras = pytest.importorskip("qkeras")
keras = pytest.importorskip("keras")


def grid(frac: int, reach: float) -> np.ndarray:
    """Every multiple of 2**-frac in [-reach, reach]: what accumulators hold."""
    n = int(reach * 2**frac)
    return (np.arange(-n, n + 1) / 2.0**frac).astype(np.float32)


def live_arguments(live):
    from qsim.importers.keras.lower.live import _arguments

    return {"class_name": type(live).__name__, "config": _arguments(live)}


def assert_codes(live, x, *, source=None, rtol=0.0):
    """The twin's values equal the live quantizer's: exactly, or up to ``rtol`` where its levels are float32 numbers."""
    rule = quantizer(source or live_arguments(live)).rule()
    scale = float(rule.scale[0])
    real = np.asarray(live(tf.constant(x)), dtype=np.float64)
    codes = np.array([rule.code(Fraction(float(v))) for v in x])
    assert rule.low <= codes.min() <= codes.max() <= rule.high
    close = np.abs(real - codes * scale) <= rtol + np.spacing(np.abs(x).astype(np.float32)) + 1e-7 * np.abs(real)
    assert close.all(), (
        f"{live_arguments(live)}: x={x[~close][0]!r} gives {real[~close][0]}, twin {codes[~close][0] * scale}"
    )
    if not rtol:
        assert np.array_equal(np.rint(real / scale), codes)


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_quantized_linear(bits):
    for integer, symmetric, keep_negative, alpha in itertools.product(
        [0, 1, 2], [0, 1], [True, False], [None, 0.5, 2.0]
    ):
        live = qkeras.quantized_linear(bits, integer, symmetric, keep_negative=keep_negative, alpha=alpha)
        assert_codes(live, grid(bits + 3 - integer, 2.0**integer * 2.5))


@pytest.mark.parametrize("bits", [1, 2, 4, 7, 9])
def test_tanh_and_sigmoid(bits):
    for symmetric, real in itertools.product([False, True], [False, True]):
        x, y = grid(9, 5), grid(9, 8)
        if real:
            # TensorFlow's float32 functions are an ulp or two off: beside a tie, only the true value decides.
            x, y = x[off_ties(np.tanh, x, 2 ** (bits - 1))], y[off_ties(lambda v: 1 / (1 + np.exp(-v)), y, 2**bits)]
        if bits > 1:
            assert_codes(qkeras.quantized_tanh(bits, symmetric=symmetric, use_real_tanh=real), x)
        assert_codes(qkeras.quantized_sigmoid(bits, symmetric=symmetric, use_real_sigmoid=real), y)


def off_ties(function, x, levels):
    scaled = function(x.astype(np.float64)) * levels
    return np.abs(scaled - np.floor(scaled) - 0.5) > levels * 3e-7


@pytest.mark.parametrize("text", ["quantized_tanh(9,use_real_tanh=True)", "quantized_sigmoid(9,use_real_sigmoid=True)"])
def test_real_functions_are_correctly_rounded(text):
    rule = quantizer(text).rule()
    x = grid(10, 8)
    real = np.tanh(x.astype(float)) * 256 if "tanh" in text else 512 / (1 + np.exp(-x.astype(float)))
    expected = np.clip(np.rint(real), rule.low, rule.high)
    assert [rule.code(Fraction(float(v))) for v in x] == expected.astype(int).tolist()


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_ulaw(bits):
    for integer, symmetric, u in itertools.product([0, 1], [0, 1], [255.0, 15.0]):
        live = qkeras.quantized_ulaw(bits, integer, symmetric, u)
        assert_codes(live, grid(bits + 4, 2.0**integer * 1.5), rtol=2.0 ** (integer - 22))


def test_hswish():
    for bits, integer, shift, bound in [(4, 2, 3, 6), (8, 1, 3, 6), (6, 3, 2, 4), (3, 0, 1, 3)]:
        live = qkeras.quantized_hswish(bits, integer, relu_shift=shift, relu_upper_bound=bound)
        assert_codes(live, grid(5, 9))


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("rounding", ["rnd", "floor"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_powers_of_two(bits, rounding, quadratic):
    for max_value, slope in itertools.product([None, 0.25 if quadratic else 0.5, 1, 4, 3], [None, 0, 0.25, 0.5]):
        settings = {"max_value": max_value, "log2_rounding": rounding, "quadratic_approximation": quadratic}
        if slope is None:
            live = qkeras.quantized_po2(bits, **settings)
        else:
            live = qkeras.quantized_relu_po2(bits, negative_slope=slope, **settings)
        if live._max_exp < live._min_exp or (bits == 5 and (quadratic or slope is not None)):
            continue
        powers = 2.0 ** np.arange(-20, 10)
        x = np.unique(np.concatenate([grid(7, 12), powers, -powers, np.float32([1e-8, -1e-8, 9.9e-8])])).astype(
            np.float32
        )
        # On exact ties TensorFlow's vectorized and scalar logarithms differ from each other: Keras gives both codes.
        exponents = np.log2(np.maximum(np.abs(x), 1e-9))
        odd_powers = (np.abs(x) > 0) & (exponents == np.rint(exponents)) & (exponents % 2 == 1)
        far = np.isin(np.abs(x), 2.0 ** np.array([-15.0, -14.0, -13.0, -12.0, -11.0]))
        assert_codes(live, x[~((odd_powers & quadratic) | (far & (rounding == "floor")))])


@pytest.mark.parametrize("bits", [4, 5, 8])
def test_power_of_two_weights(bits):
    rng = np.random.default_rng(bits)
    w = np.concatenate([rng.normal(0, 0.4, 4000), 2.0 ** rng.integers(-9, 3, 200), [0.0]]).astype(np.float32)
    for max_value, quadratic, rounding in itertools.product([None, 1, 2], [False, True], ["rnd", "floor"]):
        settings = {"max_value": max_value, "log2_rounding": rounding, "quadratic_approximation": quadratic}
        for live in (
            qkeras.quantized_po2(bits, **settings),
            qkeras.quantized_relu_po2(bits, negative_slope=0.5, **settings),
        ):
            if bits == 8 and w.min() == 0:
                continue
            usable = w if bits < 8 else w[np.abs(w) > 1e-3]
            got = quantizer(live_arguments(live)).weights(usable)
            real = np.asarray(live(tf.constant(usable)), dtype=np.float64)
            value = (got.codes * got.scale).astype(np.float64)
            assert np.array_equal(np.exp2(np.rint(np.log2(np.abs(real)))) * np.sign(real), value)


LINEAR_WEIGHTS = [
    *(
        (bits, {"alpha": alpha, "keep_negative": keep, "symmetric": symmetric})
        for bits in (1, 2, 4, 8)
        for alpha in ("auto", "auto_po2", None, 0.5, 0.3)
        for keep in (True, False)
        for symmetric in (0, 1)
    ),
    (4, {"alpha": "auto_po2", "scale_axis": 0}),
    (4, {"alpha": "auto", "scale_axis": 0}),
]


@pytest.mark.parametrize(("bits", "settings"), LINEAR_WEIGHTS)
def test_quantized_linear_weights(bits, settings):
    rng = np.random.default_rng(bits)
    for trial in range(5):
        w = rng.normal(0, 0.4, (9, 5)).astype(np.float32)
        if trial == 1:
            w[:, 0] = 0
        if trial == 2:
            w = np.round(w * 8) / 8
        live = qkeras.quantized_linear(bits, 0, **settings)
        got = quantizer(live_arguments(live)).weights(w)
        real = np.asarray(live(tf.constant(w)), dtype=np.float64)
        scale = np.broadcast_to(np.asarray(got.scale).astype(np.float64), w.shape)
        np.testing.assert_allclose(got.codes * scale, real, rtol=2e-6, atol=3e-7)
        assert (np.abs(real / scale - got.codes) < 0.01).all() or not (scale > 1e-5).all()


def test_stochastic_twins_are_deterministic_at_inference():
    x = grid(5, 2)
    rng = np.random.default_rng(3)
    w = rng.normal(0, 0.5, (12, 4)).astype(np.float32)
    for live in (
        qkeras.stochastic_ternary(alpha=1.0, threshold=0.3),
        qkeras.stochastic_ternary(alpha="auto"),
        qkeras.stochastic_ternary(alpha="auto_po2"),
        qkeras.stochastic_binary(alpha=1.0),
        qkeras.stochastic_binary(alpha="auto_po2"),
        qkeras.stochastic_binary(alpha="auto"),
    ):
        got = quantizer(live_arguments(live)).weights(w)
        real = np.asarray(live(tf.constant(w)), dtype=np.float64)
        np.testing.assert_allclose((got.codes * got.scale).astype(float), real, rtol=1e-6, atol=1e-7)
        if not isinstance(live.alpha, str):
            assert_codes(live, x)


def test_stochastic_rounding_is_deterministic_at_inference():
    for live in (
        qkeras.quantized_bits(4, 1, use_stochastic_rounding=True),
        qkeras.quantized_relu(4, 1, use_stochastic_rounding=True),
        qkeras.quantized_linear(4, 1),
        qkeras.quantized_tanh(4, use_stochastic_rounding=True),
        qkeras.quantized_sigmoid(4, use_stochastic_rounding=True),
        qkeras.quantized_po2(4, use_stochastic_rounding=True),
    ):
        assert_codes(live, grid(6, 3))


@pytest.mark.parametrize("name", QKERAS_FUNCTIONS)
def test_string_activations(name):
    x = grid(6, 5)
    real = np.asarray(qkeras.get_quantizer(name)(tf.constant(x)), dtype=np.float64)
    assert np.array_equal(real, [value_of(QKERAS_FUNCTIONS[name], v) for v in x])


@pytest.mark.parametrize("name", KERAS_FUNCTIONS)
def test_keras_own_functions_of_the_same_names(name):
    x = grid(6, 5)
    real = np.asarray(keras.activations.get(name)(tf.constant(x)), dtype=np.float64)
    np.testing.assert_allclose(real, [value_of(KERAS_FUNCTIONS[name], v) for v in x], rtol=1e-6)


def value_of(function, v):
    x = Fraction(float(v))
    if isinstance(function, Affine):
        return float(min(max(x * function.factor + function.addend, function.low), function.high))
    return float(function.code(x) * function.scale[0])


def test_bernoulli_is_refused():
    with pytest.raises(UnsupportedError, match="random numbers at inference"):
        quantizer("bernoulli()")


def test_too_many_exponents():
    with pytest.raises(UnsupportedError, match="spans exponents"):
        quantizer("quantized_po2(8)").rule()
