"""Keras and QKeras models for the reader's tests, each with every weight set to its own random values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def randomize(model: Any, seed: int) -> Any:
    """Give every variable distinct values, so that two arrays of one shape cannot be exchanged unnoticed."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape).astype(np.asarray(w).dtype) for w in model.get_weights()])
    return model


def many_kinds(keras: Any) -> Any:
    """Grouped, shared-axes, wrapped and channel-first variants on one image."""
    layers = keras.layers
    x = inputs = keras.Input((6, 6, 4), name="image")
    x = layers.Conv2D(4, 2, groups=2, name="grouped")(x)
    x = layers.BatchNormalization(axis=1, name="rows")(x)
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(x)
    x = layers.TimeDistributed(layers.Conv1D(3, 2), name="each_row")(x)
    x = layers.Normalization(name="measured")(x)
    x = layers.EinsumDense("abcd,de->abce", output_shape=(None, None, 2), bias_axes="e", name="einsum")(x)
    return keras.Model(inputs, layers.LayerNormalization(center=False, name="ln")(x), name="many_kinds")


def sequential(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((9, 8, 2), name="image"),
            layers.Conv2D(3, (3, 2), name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.DepthwiseConv2D(2, depth_multiplier=2, name="depthwise"),
            layers.BatchNormalization(scale=False, name="no_scale"),
            layers.SeparableConv2D(4, 2, name="separable"),
            layers.BatchNormalization(center=False, name="no_center"),
            layers.Conv2DTranspose(2, 2, strides=2, use_bias=False, name="up"),
            layers.ReLU(name="relu"),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.5, name="dropout"),
            layers.Dense(5, name="dense"),
            layers.Dense(5, use_bias=False, name="dense_again"),
            layers.PReLU(name="prelu"),
        ],
        name="sequential_zoo",
    )


def no_input_layer(keras: Any) -> Any:
    model = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(2)], name="no_input")
    model.build((None, 4))
    return model


def residual(keras: Any) -> Any:
    layers = keras.layers
    x = inputs = keras.Input((6, 6, 2), name="x")
    x = layers.Conv2D(2, 3, padding="same", name="conv_a")(x)
    y = layers.Conv2D(2, 3, padding="same", name="conv_b")(x)
    x = layers.Add(name="add")([x, y])
    x = layers.Concatenate(name="join")([x, inputs, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="residual")


def shared(keras: Any) -> Any:
    """A shared layer with a call whose node name is another layer's name, two inputs, two outputs in other orders."""
    layers = keras.layers
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    twice, clash = layers.Dense(4, name="twice"), layers.Dense(4, name="twice_1")
    x = twice(first)
    y = twice(clash(twice(x)))
    z = layers.Subtract(name="sub")([y, twice(second)])
    return keras.Model([second, first], [z, x], name="shared")


def nested(keras: Any, frozen: bool = False) -> Any:
    """Nested Functional and Sequential models, called repeatedly, with inner outputs that are inner inputs."""
    layers = keras.layers
    i = keras.Input((4,), name="in1")
    x = layers.Dense(4, name="d")(i)
    x = layers.BatchNormalization(name="bn")(x)
    inner = keras.Model(i, [x, i], name="inner")
    chain = keras.Sequential([layers.Dense(4, name="s1"), layers.Dense(4, name="s2")], name="chain")
    started = keras.Sequential([keras.Input((4,), name="t_in"), layers.Dense(4, name="t1")], name="started")
    p, q = keras.Input((4,), name="p"), keras.Input((4,), name="q")
    pair = keras.Model([p, q], layers.Subtract(name="diff")([layers.Dense(4, name="d")(p), q]), name="pair")
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    dense = layers.Dense(4, name="d")
    u, v = inner(a)
    w, _ = inner(b)
    y = layers.Add(name="add")([dense(u), dense(w), v])
    y = started(started(chain(y)))
    z, _ = inner(pair([y, v]))
    if frozen:
        inner.get_layer("d").trainable = False
        chain.trainable = False
    return keras.Model([b, a], [z, y, chain(y)], name="outer")


def frozen_nested(keras: Any) -> Any:
    return nested(keras, frozen=True)


def deep_nested(keras: Any) -> Any:
    """Three levels, the same layer names on each."""
    layers = keras.layers

    def level(depth: int) -> Any:
        i = keras.Input((3,), name="i")
        x = layers.Dense(3, name="dense")(i)
        x = level(depth - 1)(x) if depth else layers.BatchNormalization(name="bn")(x)
        return keras.Model(i, layers.Dense(3, name="last")(x), name="level" if depth < 2 else "top")

    return level(2)


def recurrent(keras: Any) -> Any:
    layers = keras.layers
    inputs = keras.Input((5, 2), name="series")
    x = layers.TimeDistributed(layers.Dense(3), name="each")(inputs)
    x = layers.Bidirectional(layers.GRU(2, return_sequences=True), name="both")(x)
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True), merge_mode="sum", name="lstm")(x)
    x = layers.SimpleRNN(3, return_sequences=True, name="simple")(x)
    x = layers.GRU(2, reset_after=False, use_bias=False, return_sequences=True, name="gru")(x)
    x = layers.Conv1D(3, 2, name="conv1d")(x)
    return keras.Model(inputs, layers.LayerNormalization(name="ln")(x), name="recurrent")


def sequences(keras: Any) -> Any:
    layers = keras.layers
    inputs = keras.Input((5,), dtype="int32", name="tokens")
    x = layers.Embedding(7, 3, name="embedding")(inputs)
    x = layers.RNN(layers.LSTMCell(3), return_sequences=True, name="cell")(x)
    x = layers.GroupNormalization(1, scale=False, name="group")(x)
    return keras.Model(inputs, layers.SimpleRNN(2, go_backwards=True, name="last")(x), name="sequences")


PLAIN: tuple[Callable[[Any], Any], ...] = (
    sequential, many_kinds, no_input_layer, residual, shared, nested, frozen_nested, deep_nested, recurrent, sequences,
)  # fmt: skip
"""Builders that work with keras and with tf_keras."""


def quantized_layers(q: Any, keras: Any) -> Any:
    bits = q.quantized_bits(4, 0, 1, alpha=1)
    x = inputs = keras.Input((8, 8, 2), name="image")
    x = q.QConv2D(3, 3, kernel_quantizer=bits, bias_quantizer="quantized_bits(4,0,1)", name="conv")(x)
    x = q.QActivation("quantized_relu(4,1)", name="act")(x)
    x = q.QDepthwiseConv2D(2, depthwise_quantizer=q.ternary(alpha=1), bias_quantizer=None, name="depthwise")(x)
    x = q.QBatchNormalization(name="qbn")(x)
    x = q.QSeparableConv2D(
        3, 2, depthwise_quantizer=bits, pointwise_quantizer=q.binary(alpha=1), bias_quantizer=bits, name="sep"
    )(x)
    x = q.QActivation(q.quantized_relu(4), name="act2")(x)
    y = q.QConv2D(3, 1, kernel_quantizer=bits, bias_quantizer=bits, name="conv2")(x)
    x = keras.layers.Add(name="add")([x, y])
    x = q.QConv2DTranspose(3, 2, kernel_quantizer=bits, bias_quantizer=bits, name="up")(x)
    x = q.QGlobalAveragePooling2D(average_quantizer=bits, activation="quantized_bits(6,2)", name="pool")(x)
    x = q.QDense(5, kernel_quantizer=bits, bias_quantizer=bits, activation="quantized_relu(3)", name="dense")(x)
    return keras.Model(inputs, keras.layers.Activation("softmax", name="softmax")(x), name="quantized")


def quantized_folded(q: Any, keras: Any) -> Any:
    bits = q.quantized_bits(4, 0, 1, alpha=1)
    x = inputs = keras.Input((8, 8, 2), name="image")
    x = q.QConv2DBatchnorm(3, 3, kernel_quantizer=bits, bias_quantizer=bits, name="folded")(x)
    x = q.QDepthwiseConv2DBatchnorm(3, depthwise_quantizer=bits, bias_quantizer=bits, name="folded_depthwise")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = q.QDenseBatchnorm(4, kernel_quantizer=bits, bias_quantizer=bits, name="folded_dense")(x)
    return keras.Model(inputs, x, name="folded")


def quantized_recurrent(q: Any, keras: Any) -> Any:
    bits = q.quantized_bits(4, 0, 1, alpha=1)
    common = {"kernel_quantizer": bits, "recurrent_quantizer": bits, "bias_quantizer": bits, "return_sequences": True}
    x = inputs = keras.Input((5, 2), name="series")
    x = q.QSimpleRNN(3, **common, name="simple")(x)
    x = q.QLSTM(3, **common, name="lstm")(x)
    x = q.QGRU(3, **common, name="gru")(x)
    x = q.QBidirectional(q.QLSTM(2, **common), name="both")(x)
    x = q.QConv1D(2, 2, kernel_quantizer=bits, bias_quantizer=bits, name="conv1d")(x)
    return keras.Model(inputs, q.QSeparableConv1D(2, 2, name="sep1d")(x), name="qrecurrent")


def quantized_transposed(q: Any, keras: Any) -> Any:
    bits = q.quantized_bits(4, 0, 1, alpha=1)
    x = inputs = keras.Input((4, 4, 2), name="image")
    x = q.QScaleShift(weight_quantizer=bits, bias_quantizer=bits, name="scale")(x)
    x = q.QDepthwiseConv2DTranspose(2, (2, 2), name="depthwise_up")(x)
    x = q.QSeparableConv2DTranspose(3, (2, 2), name="separable_up")(x)
    return keras.Model(inputs, x, name="qtransposed")


QUANTIZED: tuple[Callable[[Any, Any], Any], ...] = (
    quantized_layers,
    quantized_folded,
    quantized_recurrent,
    quantized_transposed,
)
"""Builders that need qkeras."""
