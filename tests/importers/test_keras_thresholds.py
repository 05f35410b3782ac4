"""Thresholds and tables of staircases and real-valued functions: the same as bisection one value at a time finds, found
in bounded time, and refused early where there would be too many."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction
from typing import Any

import keras
import numpy as np
import pytest
import qkeras

import qsim
from qsim.errors import UnsupportedError
from qsim.importers.symbolic.changes import changes
from qsim.importers.symbolic.value import Value
from qsim.ir.ops import Lookup, Requantize
from qsim.quantizers import quantizer
from qsim.quantizers.real import REAL_FUNCTIONS, composed
from qsim.quantizers.rules import Rule
from qsim.simulate import Simulator

L = keras.layers


def rule_of(text: str) -> Rule:
    twin = quantizer(text)
    assert twin is not None
    return twin.rule()


def code(name: str, rule: Rule, x: Fraction) -> int:
    """The rule on the function's float64 value."""
    return rule.code(Fraction(REAL_FUNCTIONS[name].of(float(x))))


@pytest.mark.parametrize("name", REAL_FUNCTIONS)
@pytest.mark.parametrize("text", ["quantized_bits(5,1,1,alpha=1)", "quantized_po2(4)", "quantized_relu(4,1)", "binary"])
def test_every_change_is_found(name: str, text: str) -> None:
    """Against the code of every input, in lanes of rising, falling, fine, coarse and zero factors."""
    rule = rule_of(text)
    lanes = [
        (Fraction(1, 16), Fraction(0), -90, 90),
        (Fraction(-3, 64), Fraction(1, 5), -90, 70),
        (Fraction(1, 333), Fraction(-1), -90, 90),
        (Fraction(5), Fraction(0), -3, 3),
        (Fraction(0), Fraction(1, 3), -5, 5),
    ]
    value = Value.of("t", "t", (5,), [lane[0] for lane in lanes]).clamp(Fraction(-4), Fraction(3))
    found = changes(value, composed(name, rule, lambda: None), lanes, 1000)
    assert found is not None
    for (factor, addend, low, high), lane in zip(lanes, found):
        wanted = [code(name, rule, value.clamps(x * factor + addend)) for x in range(low, high + 1)]
        ours = np.zeros(len(wanted), dtype=int)
        for at, reached in lane:
            ours[at - low :] = reached
        assert ours.tolist() == wanted
        assert all(a != b for (_, a), (_, b) in itertools.pairwise(lane))
    most = max(len(lane) for lane in found) - 1
    assert changes(value, composed(name, rule, lambda: None), lanes, most) == found
    assert changes(value, composed(name, rule, lambda: None), lanes, most - 1) is None


def normalized(neurons: int, bits: int, activation: Any, **weights: Any) -> Any:
    """A dense layer, its normalization, ``activation`` and a quantizer of so many bits."""
    quantized = qkeras.quantized_bits(6, 0, 1, alpha=1)
    given = keras.Input((16,))
    x = qkeras.QActivation(qkeras.quantized_bits(8, 0, 1, alpha=1))(given)
    x = qkeras.QDense(neurons, **({"kernel_quantizer": quantized, "bias_quantizer": quantized} | weights))(x)
    x = L.BatchNormalization()(x)
    made = qkeras.QActivation(qkeras.quantized_bits(bits, 0, 1, alpha=1))(activation(x) if activation else x)
    model = keras.Model(given, made)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        values = rng.normal(0, 0.3, variable.shape)
        variable.assign(np.abs(values) + 0.3 if "variance" in variable.path or "gamma" in variable.path else values)
    return model


def test_tanh_of_twelve_bits_behind_a_normalization() -> None:
    model = normalized(16, 12, L.Activation("tanh"))
    start = time.process_time()
    graph = qsim.load(model)
    assert time.process_time() - start < 2
    assert isinstance(graph.ops[-1], Lookup)
    x = np.random.default_rng(1).uniform(-1, 1, (50, 16)).astype("float32")
    ours, theirs = Simulator(graph).run(x), np.asarray(model(x))
    assert np.abs(ours - theirs).max() <= 2**-11  # a code, where float32 decides
    assert np.mean(ours != theirs) < 0.01


def refused_early(model: Any, *, within: float, **options: Any) -> str:
    start = time.process_time()
    with pytest.raises(UnsupportedError) as caught:
        qsim.load(model, **options)
    assert time.process_time() - start < within
    return str(caught.value)


def test_absurd_tables_are_refused_early() -> None:
    text = refused_early(normalized(128, 16, L.Activation("tanh")), within=20)
    assert "more than 8192 times in each of 128 channels" in text
    assert "fewer bits" in text


def sixteen_bits() -> Any:
    wide = {
        "kernel_quantizer": qkeras.quantized_bits(16, 1, 1, alpha="auto"),
        "bias_quantizer": qkeras.quantized_bits(16, 2, 1, alpha=1),
    }
    return normalized(17, 16, None, **wide)


def test_sixteen_bits_behind_a_normalization_name_the_multiplier() -> None:
    text = refused_early(sixteen_bits(), within=10, input_format="fixed<16,6>")
    assert "--rescale multiplier:18" in text


@pytest.mark.slow
def test_sixteen_bits_behind_a_normalization_by_multipliers() -> None:
    graph = qsim.load(sixteen_bits(), input_format="fixed<16,6>", rescale="multiplier:18")
    assert isinstance(graph.ops[-1], Requantize)


@pytest.mark.parametrize(
    "text",
    [
        "quantized_sigmoid(20)",
        "quantized_sigmoid(22,use_real_sigmoid=True)",
        "quantized_tanh(22,use_real_tanh=True)",
        "quantized_ulaw(20)",
    ],
)
def test_staircases_are_bounded(text: str) -> None:
    start = time.process_time()
    with pytest.raises(UnsupportedError, match="Use at most 16 bits"):
        quantizer(text)
    assert time.process_time() - start < 1
    assert quantizer("quantized_tanh(22)") is not None
