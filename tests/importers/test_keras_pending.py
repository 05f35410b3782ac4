"""Real-valued layers between a convolution and a quantizer (batch normalizations, leaky ReLUs, sums of branches):
Keras' own convolution, then the same layers in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import qkeras

import qsim
from qsim.errors import UnsupportedError
from qsim.ir.ops import MaxPool2D, Pad
from qsim.quantizers.rules import Function, Jump, Leaky, Steps, Uniform, sloped
from qsim.simulate import Simulator

L, Array = keras.layers, np.ndarray[Any, Any]
SHAPE, STEP = (6, 6, 3), 2.0**-5


def bits(width: int = 8, integer: int = 2) -> Any:
    return qkeras.quantized_bits(width, integer, 1, alpha=1)


def conv(x: Any, name: str) -> Any:
    weights = {"kernel_quantizer": bits(6, 0), "bias_quantizer": bits(6, 0)}
    return qkeras.QConv2D(4, 3, padding="same", **weights, name=name)(x)


def normalized(x: Any, name: str) -> Any:
    return L.BatchNormalization(name=f"{name}_norm")(conv(x, name))


def filled(model: Any, *, dead: bool = True) -> Any:
    """Random weights; gammas of both signs, one of them 0 unless none is ``dead``."""
    rng = np.random.default_rng(3)
    for variable in model.weights:
        values = rng.normal(0, 0.5, variable.shape)
        if "variance" in variable.path:
            values = np.abs(values) + 0.3
        if "gamma" in variable.path and dead:
            values[-1] = 0
        variable.assign(values)
    return model


def norm(tensor: Any, x: Array) -> Array:
    """The layer that made ``tensor``, on x."""
    gamma, beta, mean, variance = (np.asarray(w, dtype=np.float64) for w in tensor._keras_history.operation.weights)
    return (x - mean) * gamma / np.sqrt(variance + 1e-3) + beta


def pooled(x: Array) -> Array:
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def leaky(x: Array, slope: float) -> Array:
    return np.where(x < 0, x * float(np.float32(slope)), x)


def around(x: Array) -> Array:
    return np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


Layers, Values = Callable[[Any, Any], Any], Callable[[Array, Array], Array]

CASES: dict[str, tuple[Layers, Values, int]] = {
    "MaxPooling": (lambda a, b: L.MaxPooling2D()(a), lambda a, b: pooled(a), 0),
    "LeakyReLU": (lambda a, b: L.LeakyReLU(negative_slope=0.1)(a), lambda a, b: leaky(a, 0.1), 0),
    "LeakyReLU, MaxPooling": (
        lambda a, b: L.MaxPooling2D()(L.LeakyReLU(negative_slope=0.1)(a)),
        lambda a, b: pooled(leaky(a, 0.1)),
        0,
    ),
    "ReLU with a slope and a ceiling": (
        lambda a, b: L.ReLU(max_value=0.7, negative_slope=0.3)(a),
        lambda a, b: np.minimum(leaky(a, 0.3), float(np.float32(0.7))),
        0,
    ),
    "absolute value": (lambda a, b: keras.ops.abs(a), lambda a, b: np.abs(a), 0),
    "LeakyReLU, tanh": (
        lambda a, b: L.Activation("tanh")(L.LeakyReLU(negative_slope=0.1)(a)),
        lambda a, b: np.tanh(leaky(a, 0.1)),
        0,
    ),
    "largest of the image": (
        lambda a, b: keras.ops.max(L.ReLU()(a), axis=(1, 2)),
        lambda a, b: np.maximum(a, 0).max((1, 2)),
        0,
    ),
    "ReLU, ZeroPadding": (lambda a, b: L.ZeroPadding2D()(L.ReLU()(a)), lambda a, b: around(np.maximum(a, 0)), 1),
    "ReLU, ZeroPadding of live channels": (
        lambda a, b: L.ZeroPadding2D()(L.ReLU()(a)),
        lambda a, b: around(np.maximum(a, 0)),
        0,
    ),
    "ZeroPadding": (lambda a, b: L.ZeroPadding2D()(a), lambda a, b: around(a), 1),
    "Add": (lambda a, b: L.Add()([a, b]), lambda a, b: a + b, 2),
    "Multiply": (lambda a, b: L.Multiply()([a, b]), lambda a, b: a * b, 2),
    "Concatenate rows": (
        lambda a, b: L.Concatenate(axis=1)([a, b]),
        lambda a, b: np.concatenate([a, b], axis=1),
        2,
    ),
    "ReLU, GlobalAveragePooling": (
        lambda a, b: L.GlobalAveragePooling2D()(L.ReLU()(a)),
        lambda a, b: np.maximum(a, 0).mean((1, 2)),
        1,
    ),
    "LeakyReLU, GlobalAveragePooling": (
        lambda a, b: L.GlobalAveragePooling2D()(L.LeakyReLU(negative_slope=0.1)(a)),
        lambda a, b: leaky(a, 0.1).mean((1, 2)),
        1,
    ),
}
"""Name -> the layers on two normalized convolutions, what they compute, notes of values held on a fine grid."""


@pytest.mark.parametrize("case", CASES)
def test_behind_a_normalization(case: str) -> None:
    build, expected, notes = CASES[case]
    given = keras.Input(SHAPE)
    x = qkeras.QActivation(bits(6, 1))(given)
    both = a, b = [normalized(x, name) for name in "ab"]
    model = keras.Model(given, qkeras.QActivation(bits(), name="end")(build(a, b)))
    filled(keras.Model(given, [*both, model.output]), dead="live" not in case)
    samples = np.random.default_rng(1).normal(0, 1, (20, *SHAPE)).astype("float32")
    graph = qsim.load(model)
    ours = Simulator(graph).run(samples) / STEP
    sums = keras.Model(given, [y._keras_history.operation.input for y in both])(samples)
    real = expected(*(norm(y, np.asarray(s, dtype=np.float64)) for y, s in zip(both, sums)))
    assert np.array_equal(ours, np.clip(np.rint(real / STEP), -127, 127))
    assert sum("have no common grid" in note for note in graph.notes) == notes


def test_a_pooled_normalization_takes_signs_and_a_padded_relu_no_wider_sums() -> None:
    given = keras.Input(SHAPE)
    made = L.ZeroPadding2D()(L.ReLU()(L.MaxPooling2D()(normalized(qkeras.QActivation(bits(6, 1))(given), "a"))))
    graph = qsim.load(filled(keras.Model(given, qkeras.QActivation(bits())(made)), dead=False))
    widths = {type(op): graph[op.output].format.width for op in graph.ops}
    assert max(widths[MaxPool2D], widths[Pad]) <= graph["a"].format.width + 1


def test_what_is_held_finely_never_reaches_a_multiplication_by_weights() -> None:
    given = keras.Input(SHAPE)
    model = filled(keras.Model(given, conv(normalized(qkeras.QActivation(bits(6, 1))(given), "a"), "next")))
    with pytest.raises(UnsupportedError, match="'next': its input from layer 'a_norm' has scales"):
        qsim.load(model)


ACTIVATIONS = {
    "QDense(activation=LeakyReLU())": lambda x: qkeras.QDense(
        5, kernel_quantizer=bits(6, 0), bias_quantizer=bits(6, 0), activation=L.LeakyReLU(negative_slope=0.25)
    )(x),
    "Activation(ReLU(slope))": lambda x: L.Activation(L.ReLU(negative_slope=0.125, max_value=1.5))(x),
    "Activation(ReLU(threshold))": lambda x: L.Activation(L.ReLU(threshold=0.5))(x),
    "Activation(Softmax())": lambda x: L.Activation(L.Softmax())(x),
}


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_layers_as_activations(case: str, tmp_path: Any) -> None:
    given = keras.Input((7,))
    made = ACTIVATIONS[case](qkeras.QActivation(bits(6, 1))(given))
    model = filled(keras.Model(given, made if "Softmax" in case else qkeras.QActivation(bits())(made)))
    samples = np.random.default_rng(1).normal(0, 1, (50, 7)).astype("float32")
    ours = Simulator(qsim.load(model)).run(samples)
    assert np.allclose(ours, np.asarray(model(samples)), rtol=0, atol=1e-6 if "Softmax" in case else 0)
    model.save(tmp_path / "model.keras")
    assert np.array_equal(Simulator(qsim.load(tmp_path / "model.keras")).run(samples), ours)


@pytest.mark.parametrize("slope", ["1/10", "1", "3", "0", "-1", "-1/3"])
def test_a_rule_behind_a_slope(slope: str) -> None:
    from fractions import Fraction as F

    s, step = F(slope), F(1, 4)
    square = Function(lambda x: min(int(x * x), 9), 0, 9, (F(1),), (F(0),))
    stairs = Steps(-2, (Jump(F(-1), True, 1), Jump(F(0), False, 2), Jump(F(3), True, 4)), (F(1),))
    for rule in (Uniform(step, -9, 9, (step,)), Leaky(step, F(1, 2), -7, 7), stairs, square):
        bent = sloped(rule, s)
        for k in range(-200, 201):
            x = F(k, 16)
            assert bent.code(x) == rule.code(x if x >= 0 else x * s), (rule, x)
