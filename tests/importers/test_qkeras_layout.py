"""Channels-first layers and dilated transposed convolutions.

TensorFlow runs no channels-first convolution on a CPU: the reference is the same network channels last, run by Keras,
with its inputs and feature maps turned.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import qkeras

import qsim
from qsim.ir import ops as o


def network(order: str, shape: tuple[int, ...]):
    """The layers that know a data format, with weights that depend on the layer's position alone."""
    x = i = keras.Input(shape, name="x")
    weights = {"kernel_quantizer": "quantized_bits(4,0,1,alpha=1)", "bias_quantizer": "quantized_bits(5,0,1,alpha=1)"}
    axis = 1 if order == "channels_first" else -1
    form = {"data_format": order}
    layers = [
        qkeras.QActivation("quantized_bits(6,1,1,alpha=1)", name="q"),
        qkeras.QConv2D(5, (3, 2), padding="same", name="c1", **weights, **form),
        keras.layers.BatchNormalization(axis=axis, name="bn"),
        qkeras.QActivation("quantized_relu(4,1)", name="a1"),
        keras.layers.ZeroPadding2D(((1, 0), (2, 1)), name="z", **form),
        keras.layers.MaxPooling2D((2, 3), name="m", **form),
        qkeras.QDepthwiseConv2D(
            2, depthwise_quantizer="quantized_bits(3,0,1,alpha=1)", use_bias=False, name="d", **form
        ),
        qkeras.QActivation("quantized_bits(5,2,1,alpha=1)", name="a2"),
        keras.layers.UpSampling2D(2, name="u", **form),
        qkeras.QAveragePooling2D(
            2,
            average_quantizer="quantized_bits(6,0,1,alpha=1)",
            activation="quantized_bits(5,1,1,alpha=1)",
            name="p",
            **form,
        ),
        keras.layers.Flatten(name="f", **form),
        qkeras.QDense(3, name="o", **weights),
    ]
    for layer in layers:
        x = layer(x)
    model = keras.Model(i, x)
    for k, layer in enumerate(layers):
        rng = np.random.default_rng(k)
        layer.set_weights(
            [
                rng.uniform(0.1, 1, w.shape) if "norm" in type(layer).__name__.lower() else rng.uniform(-1, 1, w.shape)
                for w in layer.get_weights()
            ]
        )
    return model


def test_channels_first_gives_the_codes_of_channels_last() -> None:
    last, first = network("channels_last", (7, 9, 2)), network("channels_first", (2, 7, 9))
    x = np.random.default_rng(0).normal(0, 1, (100, 7, 9, 2)).astype(np.float32)
    a, b = qsim.load(last), qsim.load(first)
    reference, turned = qsim.Simulator(a).trace(x), qsim.Simulator(b).trace(np.moveaxis(x, -1, 1))
    for name in ("c1", "a1", "z", "m", "d", "a2", "u", "p", "f", "o"):  # maps stand channels last in both
        assert (name in reference) == (name in turned)
        assert name not in reference or np.array_equal(turned[name], reference[name]), name
    assert np.array_equal(qsim.Simulator(b).run(np.moveaxis(x, -1, 1)), np.asarray(last(x), dtype=np.float64))
    assert qsim.verify(b, np.moveaxis(x[:5], -1, 1), ("c",)).ok


def test_neighbours_are_not_turned_between_them() -> None:
    graph = qsim.load(network("channels_first", (2, 7, 9)))
    assert [op.perm for op in graph.ops if isinstance(op, o.Transpose)] == [(1, 2, 0)]


def test_other_layers_see_channels_first() -> None:
    """A Permute, a Reshape and a model output behind channels-first layers."""

    def build(order: str, shape: tuple[int, ...]):
        i = keras.Input(shape)
        x = qkeras.QActivation("quantized_bits(5,1,1,alpha=1)", name="q")(i)
        x = keras.layers.ZeroPadding2D(((1, 0), (0, 2)), data_format=order, name="z")(x)
        x = qkeras.QActivation("quantized_relu(4,1)", name="a")(x)
        if order == "channels_last":
            x = keras.layers.Permute((3, 1, 2), name="turn")(x)
        return keras.Model(i, [keras.layers.Reshape((-1,), name="r")(x), x])

    last, first = build("channels_last", (3, 4, 2)), build("channels_first", (2, 3, 4))
    x = np.random.default_rng(1).normal(0, 1, (20, 3, 4, 2)).astype(np.float32)
    got = list(qsim.Simulator(qsim.load(first)).run(np.moveaxis(x, -1, 1)).values())
    for ours, keras_own in zip(got, last(x), strict=True):
        assert np.array_equal(ours, np.asarray(keras_own, dtype=np.float64))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("dilation", [(2, 2), (1, 3)])
def test_dilated_transposed_convolution(padding: str, dilation: tuple[int, int]) -> None:
    i = keras.Input((5, 6, 2))
    x = qkeras.QActivation("quantized_bits(6,1,1,alpha=1)", name="q")(i)
    layer = qkeras.QConv2DTranspose(
        3, (3, 2), padding=padding, dilation_rate=dilation, kernel_quantizer="quantized_bits(4,0,1,alpha=1)",
        bias_quantizer="quantized_bits(4,0,1,alpha=1)", name="t",
    )  # fmt: skip
    model = keras.Model(i, layer(x))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.uniform(-1, 1, w.shape) for w in layer.get_weights()])
    data = rng.normal(0, 1, (50, 5, 6, 2)).astype(np.float32)
    assert np.array_equal(qsim.Simulator(qsim.load(model)).run(data), np.asarray(model(data), dtype=np.float64))
