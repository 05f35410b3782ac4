"""Every quantizer twin against qkeras-v3 itself, on inputs that hold every tie, both neighbours of it, and the
limits."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from qsim.errors import UnsupportedError
from qsim.quantizers import quantizer
from qsim.quantizers.rules import Leaky

tf = pytest.importorskip("tensorflow")
qkeras = pytest.importorskip("qkeras")


def tie_inputs(step: float, reach: int) -> np.ndarray:
    """Multiples of step / 4 out to ``reach`` steps, each with its float32 neighbours: ties, codes and what lies
    beside."""
    grid = (np.arange(-4 * reach, 4 * reach + 1) * (step / 4)).astype(np.float32)
    extra = np.array([0.0, -0.0, 1e-30, -1e-30, 0.33, -0.33, 1000.3, -1000.3, 0.3333, 0.66], dtype=np.float32)
    base = np.concatenate([grid, extra])
    below, above = np.nextafter(base, np.float32(-np.inf)), np.nextafter(base, np.float32(np.inf))
    x = np.unique(np.concatenate([base, below, above]))
    # TensorFlow flushes denormal numbers to zero; no sum of codes is one.
    return x[(x == 0) | (np.abs(x) > 1e-37)]


def assert_rule_equals(twin_source, live, x: np.ndarray, *, exact: bool = True) -> None:
    """The twin's code times its scale equals what the live quantizer returns for every x (rounded to the grid where
    the straight-through sum is inexact)."""
    twin = quantizer(twin_source)
    rule = twin.rule()
    scale = rule.scale[0]
    real = np.asarray(live(tf.constant(x)), dtype=np.float64)
    codes = np.array([rule.code(Fraction(float(v))) for v in x])
    if isinstance(rule, Leaky):
        assert [rule.steps().code(Fraction(float(v))) for v in x[:: max(1, len(x) // 300)]] == codes[
            :: max(1, len(x) // 300)
        ].tolist()
    expected = np.rint(real / float(scale))
    wrong = np.nonzero(expected != codes)[0]
    assert not len(wrong), f"{twin}: x={x[wrong[0]]!r} gives {expected[wrong[0]]}, the twin {codes[wrong[0]]}"
    # Far outside the range x + (q - x) loses the low bits of q: up to an ulp of x.
    noise = np.spacing(np.abs(x).astype(np.float32)) if exact else np.abs(x) * 1e-6
    assert (np.abs(real - codes * float(scale)) <= noise).all()


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_quantized_bits(bits):
    for integer, symmetric, keep_negative, alpha in itertools.product(
        [-1, 0, 1, 3], [0, 1], [True, False], [None, 1, 0.5, 2]
    ):
        if bits == 1 and keep_negative is False and integer < 0:
            continue
        live = qkeras.quantized_bits(bits, integer, symmetric, keep_negative=keep_negative, alpha=alpha)
        config = live.get_config()
        step = 2.0 ** (integer - bits + keep_negative)
        x = tie_inputs(step, 2 ** min(bits, 6) + 2)
        assert_rule_equals({"class_name": "quantized_bits", "config": config}, live, x)


def test_quantized_bits_with_an_odd_alpha():
    for alpha in (0.3, 1.7, -0.75):
        live = qkeras.quantized_bits(5, 1, alpha=alpha)
        assert_rule_equals(str(live), live, tie_inputs(0.125, 34), exact=False)


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("use_sigmoid", [0, 1])
def test_quantized_relu(bits, use_sigmoid):
    for integer, slope, bound in itertools.product(
        [0, 1, 3], [0.0, 0.5, 0.25, 0.0625, 1.0], ["clip", None, 0.3, 0.5, 6.0]
    ):
        if slope and bits == 1:
            continue
        live = qkeras.quantized_relu(
            bits,
            integer,
            use_sigmoid=use_sigmoid,
            negative_slope=slope,
            is_quantized_clip=bound == "clip",
            relu_upper_bound=None if bound == "clip" else bound,
        )
        config = live.get_config() | {"is_quantized_clip": bound == "clip"}
        n = bits - (slope != 0)
        # Ties of the negative branch lie 1 / slope apart.
        step = 2.0 ** (integer - n)
        x = np.unique(np.concatenate([tie_inputs(step, 2**n + 2), tie_inputs(step / (slope or 1), min(2**n, 64) + 2)]))
        # p = x / 2 + 1/2 is rounded in float32 for tiny x beside a tie; the rule is exact: keep what float32 holds.
        if use_sigmoid:
            x = x[np.abs(x * 2.0**16) == np.abs(np.rint(x * 2.0**16))]
        assert_rule_equals({"class_name": "quantized_relu", "config": config}, live, x)


def test_binary_and_ternary():
    x = tie_inputs(0.01, 200)
    for use_01, alpha in itertools.product([False, True], [None, 1, 0.5, 0.3]):
        live = qkeras.binary(use_01=use_01, alpha=alpha)
        assert_rule_equals(
            {"class_name": "binary", "config": live.get_config()}, live, x, exact=alpha in (None, 1, 0.5)
        )
    for threshold, alpha in itertools.product([None, 0.5, 0.25, 1.0, 0.1, 0.0], [None, 1, 0.5, 0.3]):
        live = qkeras.ternary(alpha=alpha, threshold=threshold)
        source = {"class_name": "ternary", "config": live.get_config()}
        assert_rule_equals(source, live, x, exact=alpha in (1, 0.5))


WEIGHT_QUANTIZERS = [
    *(lambda b=b, a=a: qkeras.quantized_bits(b, 0, 1, alpha=a) for b in (2, 3, 4, 8, 16) for a in ("auto", "auto_po2")),
    *(lambda i=i, a=a: qkeras.quantized_bits(5, i, 1, alpha=a) for i in (-1, 1, 2) for a in ("auto", "auto_po2")),
    *(lambda a=a: qkeras.binary(alpha=a) for a in ("auto", "auto_po2", 1, 0.25)),
    *(lambda a=a: qkeras.ternary(alpha=a) for a in ("auto", "auto_po2", 1, 0.5)),
    lambda: qkeras.quantized_bits(4, 0, 1, alpha="auto_po2", scale_axis=0),
    lambda: qkeras.quantized_bits(4, 0, 1, alpha="auto", scale_axis=0),
    lambda: qkeras.quantized_bits(4, 0, 1, alpha="auto_po2", scale_axis=0, elements_per_scale=2),
    lambda: qkeras.quantized_bits(4, 0, 1, alpha="auto_po2", min_po2_exponent=-2, max_po2_exponent=-1),
    lambda: qkeras.binary(alpha="auto_po2", scale_axis=1, elements_per_scale=3),
    lambda: qkeras.binary(alpha="auto", scale_axis=0),
    lambda: qkeras.quantized_bits(8, 0, 0, alpha=0.3),
]


MATRICES_ONLY = WEIGHT_QUANTIZERS[-7:-1]
SHAPES = [(7,), (8, 6), (3, 3, 4, 6)]


@pytest.mark.parametrize(
    ("make", "shape"), [(m, s) for m in WEIGHT_QUANTIZERS for s in SHAPES if m not in MATRICES_ONLY or len(s) == 2]
)
def test_weights(make, shape):
    """Codes equal Keras' on random, tied, zero and constant channels; scales equal up to the float32 sum's last
    bits."""
    from qsim.importers.keras.lower.live import _arguments

    live = make()
    rng = np.random.default_rng(len(shape))
    for trial in range(6):
        w = rng.normal(0, 0.4, shape).astype(np.float32)
        if trial == 1:
            w[..., 0] = 0
        if trial == 2:
            w = np.round(w * 8) / 8
        if trial == 3:
            w[..., -1] = 0.5
        if trial == 4:
            w = w * 20
        twin = quantizer({"class_name": type(live).__name__, "config": _arguments(live)})
        got = twin.weights(w)
        real = np.asarray(live(tf.constant(w)), dtype=np.float64)
        value = np.asarray(got.codes * got.scale).astype(np.float64)
        np.testing.assert_allclose(value, real, rtol=2e-6, atol=float(np.abs(w).max()) * 2e-7)
        # The codes themselves: Keras' values over the scale, far from any half.
        scale = np.broadcast_to(np.asarray(got.scale).astype(np.float64), w.shape)
        ratio = real / np.where(scale == 0, 1, scale)
        assert (np.abs(ratio - got.codes)[np.broadcast_to(scale != 0, w.shape)] < 0.01).all()


def test_layers_turn_alpha_none_into_auto_po2():
    layer = qkeras.QDense(3, kernel_quantizer=qkeras.quantized_bits(4, 0))
    assert layer.kernel_quantizer_internal.alpha == "auto_po2"
    twin = quantizer("quantized_bits(4,0)").as_kernel()
    assert (twin.alpha, bool(twin.symmetric)) == ("auto_po2", True)


@pytest.mark.parametrize(
    "text",
    [
        "quantized_relu(3,1)",
        "quantized_bits(4,0,1,alpha=1)",
        "binary(alpha=1)",
        "ternary()",
        "quantized_relu(4,negative_slope=0.25)",
        "quantized_bits(6, 2, keep_negative=False)",
    ],
)
def test_texts_bind_as_in_qkeras(text):
    live, twin = qkeras.get_quantizer(text), quantizer(text)
    for key, value in live.get_config().items():
        if hasattr(twin, key):
            assert getattr(twin, key) == value


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("__import__('os').system('true')", "cannot read"),
        ("quantized_bits(4, [x for x in ()])", "cannot read"),
        ("quantized_bits(4", "cannot read"),
        ("quantized_mystery(4)", "quantized_mystery is not supported"),
        ("quantized_bits(4, qnoise_factor=0.5)", "qnoise_factor"),
        ("quantized_bits(4, colour='red')", "unknown argument colour"),
        ("quantized_relu(4, negative_slope=0.3)", "power of two"),
        ("quantized_bits(0)", "1 to 32"),
        ("quantized_bits(6, integer=[3, 2])", "1 to 32 whole bits"),
        ("quantized_bits(6, integer=1e400)", "1 to 32 whole bits"),
        ("ternary(alpha='auto', threshold=0.2)", "QKeras itself"),
        ("quantized_bits(4, alpha='autos')", "autos"),
        (3, "cannot read"),
    ],
)
def test_refusals(source, words):
    with pytest.raises(UnsupportedError, match=words):
        quantizer(source)


def test_automatic_scales_are_refused_on_activations():
    for text in ("quantized_bits(4,alpha='auto')", "binary(alpha='auto_po2')", "ternary(alpha='auto')"):
        with pytest.raises(UnsupportedError, match="depends on the data"):
            quantizer(text).rule()
