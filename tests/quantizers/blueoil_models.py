"""Seeded random networks of Blueoil's quantizers, and their evaluation without qsim's importer.

``evaluate`` counts: the codes of an activation are integers, a kernel is what Keras' own run of its quantizer gives,
of one or two levels per channel, so every sum of a layer is exact. Scales, biases, normalization follow in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, TypeVar

import keras
import numpy as np
import qkeras
import tensorflow as tf

from qsim.quantizers import blueoil

One = TypeVar("One")

WEIGHTS = (
    "binary_mean_scaling_quantizer",
    "binary_channel_wise_mean_scaling_quantizer",
    "twn_weight_quantizer",
    "ttq_weight_quantizer",
)


class Maker:
    """Draws one network: 1 to 4 layers of one quantizer or of mixed ones, on a quantized image."""

    def __init__(self, seed: int, weights: str | None = None) -> None:
        self.rng, self.weights = np.random.default_rng(seed), weights

    def pick(self, options: Sequence[One]) -> One:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def quantizer(self) -> Any:
        name = self.weights or self.pick(WEIGHTS)
        q = getattr(blueoil, name)()
        if name == "ttq_weight_quantizer":
            q.positive.assign(float(self.rng.uniform(0.2, 1.5)))
            q.negative.assign(float(self.rng.uniform(0.2, 1.5)) if self.chance(0.8) else float(q.positive.numpy()))
        return q

    def activation(self) -> Any:
        if self.chance(0.2):
            return qkeras.binary(alpha=1)
        bit, top = self.pick([1, 2, 2, 2, 3, 4]), self.pick([1.0, 2.0, 2.0, 3.0, 0.7])
        return blueoil.linear_mid_tread_half_quantizer(bit, top)

    def layer(self, kind: str, x: Any) -> Any:
        """One linear layer, then normalization or not, then the activation, inside or behind."""
        behind, bias = self.chance(0.6), self.chance(0.4)
        activation = None if behind else self.activation()
        common = {"use_bias": bias, "activation": activation}
        wrapped, quantizer = self.chance(0.4), self.quantizer()
        if kind == "dense":
            units = int(self.rng.integers(2, 12))
            made = (
                blueoil.QuantizedKernel(keras.layers.Dense(units, **common), quantizer)
                if wrapped
                else qkeras.QDense(units, kernel_quantizer=quantizer, **common)
            )
        elif kind == "depthwise":
            made = blueoil.QuantizedKernel(keras.layers.DepthwiseConv2D(self.window(x), **common), quantizer)
        else:
            common |= {"strides": self.pick([1, 1, 2]), "padding": self.pick(["same", "valid"])}
            filters = int(self.rng.integers(1, 10))
            made = (
                blueoil.QuantizedKernel(keras.layers.Conv2D(filters, self.window(x), **common), quantizer)
                if wrapped
                else qkeras.QConv2D(filters, self.window(x), kernel_quantizer=quantizer, **common)
            )
        x = made(x)
        if behind:
            if self.chance(0.7):
                x = keras.layers.BatchNormalization()(x)
            x = keras.layers.Activation(self.activation())(x)
        return x

    def window(self, x: Any) -> tuple[int, int]:
        h, w = x.shape[1:3]
        return int(self.rng.integers(1, min(h, 3) + 1)), int(self.rng.integers(1, min(w, 3) + 1))

    def model(self) -> Any:
        shape = (int(self.rng.integers(3, 8)), int(self.rng.integers(3, 8)), int(self.rng.integers(1, 5)))
        inputs = keras.Input(shape)
        first = blueoil.linear_mid_tread_half_quantizer(self.pick([2, 4, 8]), self.pick([1.0, 2.0]))
        x = qkeras.QActivation(first)(inputs)
        for _ in range(int(self.rng.integers(1, 4))):
            if self.chance(0.15) and min(x.shape[1:3]) > 1:
                x = keras.layers.MaxPooling2D(2)(x)
            x = self.layer("depthwise" if self.chance(0.2) else "conv", x)
        x = keras.layers.Flatten()(x)
        if self.chance(0.5):
            x = self.layer("dense", x)
        x = qkeras.QDense(3, kernel_quantizer=self.quantizer())(x)
        model = keras.Model(inputs, x)
        for variable in model.variables:
            initialize(variable, self.rng)
        return model


def initialize(variable: Any, rng: np.random.Generator) -> None:
    """A random value that suits the variable; trained factors stay as they are."""
    base, shape = variable.path.rsplit("/", 1)[-1], variable.shape
    if base in ("kernel", "depthwise_kernel"):
        variable.assign(rng.normal(size=shape) * 0.5)
    elif base in ("bias", "beta", "moving_mean"):
        variable.assign(rng.normal(size=shape) * 0.3)
    elif base == "gamma":
        variable.assign(rng.uniform(0.3, 2, size=shape) * rng.choice([1, 1, 1, -1], size=shape))
    elif base == "moving_variance":
        variable.assign(rng.uniform(0.1, 3, size=shape))


def everything() -> Any:
    """A small network with all five quantizers, in both kinds of layers, and inputs of 8, 2 and 1 bits."""
    rng = np.random.default_rng(8)
    activation = blueoil.linear_mid_tread_half_quantizer
    inputs = keras.Input((5, 5, 2))
    x = qkeras.QActivation(activation(8, 2.0))(inputs)
    x = qkeras.QConv2D(4, 3, kernel_quantizer=blueoil.binary_mean_scaling_quantizer())(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Activation(activation(2, 2.0))(x)
    channel_wise = blueoil.binary_channel_wise_mean_scaling_quantizer()
    x = blueoil.QuantizedKernel(keras.layers.Conv2D(5, 2, padding="same"), channel_wise)(x)
    x = qkeras.QActivation(qkeras.binary(alpha=1))(x)
    mean = blueoil.binary_mean_scaling_quantizer()
    x = blueoil.QuantizedKernel(keras.layers.Conv2D(4, 2, use_bias=False, activation=activation(3, 0.7)), mean)(x)
    x = blueoil.QuantizedKernel(keras.layers.DepthwiseConv2D(2), blueoil.twn_weight_quantizer())(x)
    x = keras.layers.Activation(activation(1, 1.0))(x)
    x = keras.layers.Flatten()(x)
    ttq = blueoil.ttq_weight_quantizer()
    ttq.positive.assign(0.75)
    ttq.negative.assign(1.1)
    x = qkeras.QDense(3, kernel_quantizer=ttq)(x)
    model = keras.Model(inputs, x)
    for variable in model.variables:
        initialize(variable, rng)
    return model


def images(model: Any, seed: int, count: int) -> np.ndarray:
    """Random inputs that reach beyond the first quantizer's range, float32."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.3, 2.2, size=(count, *model.input_shape[1:])).astype(np.float32)


def evaluate(model: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """{layer name: float64 output} of a chain of layers."""
    return {name: after for name, (_, after) in values(model, x).items()}


def values(model: Any, x: np.ndarray) -> dict[str, tuple[np.ndarray | None, np.ndarray]]:
    """{layer name: (what its activation gets, None where it has none; its output)}, float64."""
    value = _Reals(np.asarray(x, dtype=np.float64))
    outputs: dict[str, tuple[np.ndarray | None, np.ndarray]] = {}
    for layer in model.layers[1:]:
        value = _run(layer, value)
        outputs[layer.name] = value.before, value.reals
    return outputs


class _Reals:
    """Values as float64 and, behind a quantizer, as integer codes times a step."""

    def __init__(self, reals: np.ndarray) -> None:
        self.reals = reals
        self.codes: np.ndarray = np.empty(0)
        self.step = Fraction(0)
        self.before: np.ndarray | None = None

    @staticmethod
    def of(codes: np.ndarray, step: Fraction) -> _Reals:
        made = _Reals(codes * float(step))
        made.codes, made.step = codes, step
        return made

    def moved(self, move: Callable[[np.ndarray], np.ndarray]) -> _Reals:
        return _Reals.of(move(self.codes), self.step)


def _run(layer: Any, value: _Reals) -> _Reals:
    match type(layer).__name__:
        case "QActivation" | "Activation":
            return _quantized(layer.activation, value.reals)
        case "BatchNormalization":
            gamma, beta, mean, variance = (np.asarray(w, dtype=np.float64) for w in layer.get_weights())
            inverse = gamma / np.sqrt(variance + layer.epsilon)
            return _Reals(value.reals * inverse + (beta - mean * inverse))
        case "Flatten":
            return value.moved(lambda a: a.reshape(len(a), -1))
        case "MaxPooling2D":
            return value.moved(lambda a: np.asarray(tf.nn.max_pool2d(tf.constant(a, tf.float64), 2, 2, "VALID")))
        case "QuantizedKernel":
            return _linear(layer.layer, layer.quantizer, value)
    return _linear(layer, layer.kernel_quantizer_internal, value)


def _quantized(q: Any, reals: np.ndarray) -> _Reals:
    if isinstance(q, qkeras.binary):
        made = _Reals.of(np.where(reals >= 0, 1.0, -1.0), Fraction(1))
    else:
        levels = 2**q.bit - 1
        # Multiplied first, so that a float32 input on a tie is found on it.
        codes = np.floor(np.clip(reals, 0, q.max_value) * levels / q.max_value + 0.5)
        made = _Reals.of(codes, Fraction(q.max_value) / levels)
    made.before = reals
    return made


def _linear(layer: Any, quantizer: Any, value: _Reals) -> _Reals:
    kernel = np.asarray(quantizer(np.asarray(layer.kernel)), dtype=np.float64)
    axes = tuple(range(kernel.ndim - 1))
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    if depthwise:
        axes = axes[:2]
    positive, negative = np.maximum(kernel, 0).max(axis=axes), np.maximum(-kernel, 0).max(axis=axes)
    assert np.isin(kernel, 0).any() or ((kernel == positive) | (kernel == -negative)).all()
    above, below = (_sums(layer, value.codes, (side > 0).astype(np.float64)) for side in (kernel, -kernel))
    positive, negative = positive.reshape(-1), negative.reshape(-1)
    one = np.where((positive == negative) | (negative == 0), positive, np.where(positive == 0, negative, 0))
    step = float(value.step)
    reals = np.where(one > 0, (above - below) * one, above * positive - below * negative) * step
    if layer.use_bias:
        reals = reals + np.asarray(layer.bias, dtype=np.float64)
    if layer.activation in (None, keras.activations.linear):
        return _Reals(reals)
    return _quantized(layer.activation, reals)


def _sums(layer: Any, codes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if isinstance(layer, keras.layers.Dense):
        return codes @ mask
    convolve = tf.nn.conv2d
    parts = [(codes, mask)]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        parts = [(codes[..., c : c + 1], mask[:, :, c : c + 1]) for c in range(mask.shape[2])]
    sums = [np.asarray(convolve(a, m, layer.strides, layer.padding.upper())) for a, m in parts]
    return np.concatenate(sums, axis=-1)
