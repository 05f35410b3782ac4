"""The same network in a Keras 2 / QKeras 0.9 file and in Keras 3: one graph, bit for bit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("qkeras")
pytest.importorskip("tf_keras")

from layer_cells import ACTIVATIONS, WEIGHTS
from legacy_qkeras import KEYS, LEGACY, copy_weights, make, save, tf_keras

from qsim.importers import load
from qsim.simulate import Simulator

BITS = "quantized_bits(4,0,alpha=1)"


def start(q, keras, shape, name="input"):
    inputs = keras.Input(shape, name=name)
    return inputs, q.QActivation("quantized_bits(5,1)", name=f"{name}_quantized")(inputs)


def kernel(q, **changes):
    return {"kernel_quantizer": q.quantized_bits(4, 0, alpha=1), "bias_quantizer": q.quantized_bits(6, 1, alpha=1)} | (
        changes
    )


def dense_stack(q, keras):
    inputs, x = start(q, keras, (7,))
    x = q.QDense(5, **kernel(q), activation=q.quantized_relu(4, 1), name="first")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = q.QActivation(q.quantized_tanh(5), name="act")(x)
    x = q.QDense(3, **kernel(q, kernel_quantizer=q.ternary(alpha="auto_po2")), name="second")(x)
    return keras.Model(inputs, keras.layers.Activation("softmax", name="softmax")(x), name="dense_stack")


def sequential(q, keras):
    return keras.Sequential(
        [
            keras.Input((8, 8, 2), name="input"),
            q.QActivation("quantized_bits(5,1)", name="quantize"),
            q.QConv2D(3, 3, **kernel(q), name="conv"),
            q.QActivation("quantized_relu(4,1)", name="act"),
            keras.layers.MaxPooling2D(name="pool"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dropout(0.5, name="drop"),
            q.QDense(3, **kernel(q), name="dense"),
        ],
        name="sequential",
    )


def images(q, keras):
    inputs, x = start(q, keras, (8, 9, 2))
    x = q.QConv2D(4, (3, 2), strides=(2, 1), padding="same", **kernel(q), activation="quantized_relu(5,1)", name="a")(x)
    x = q.QDepthwiseConv2D(
        (2, 2), depth_multiplier=2, depthwise_quantizer=q.binary(alpha=1), bias_quantizer=BITS, name="b"
    )(x)
    x = q.QActivation("quantized_bits(5,2)", name="b_act")(x)
    x = q.QSeparableConv2D(
        3, 2, depthwise_quantizer=BITS, pointwise_quantizer=q.quantized_po2(4), bias_quantizer=BITS, name="c"
    )(x)
    x = q.QActivation("quantized_bits(5,2)", name="c_act")(x)
    x = q.QConv2DTranspose(2, (3, 2), strides=(2, 2), padding="same", **kernel(q), name="d")(x)
    x = q.QBatchNormalization(
        gamma_quantizer=q.quantized_relu_po2(4), variance_quantizer=q.quantized_relu_po2(4),
        beta_quantizer=q.quantized_po2(4), mean_quantizer=q.quantized_po2(4), name="norm",
    )(x)  # fmt: skip
    x = q.QActivation("quantized_bits(6,2)", name="d_act")(x)
    x = q.QAveragePooling2D(
        2, average_quantizer=q.quantized_bits(6, 0, 1), activation=q.quantized_bits(6, 2), name="e"
    )(x)
    return keras.Model(inputs, q.QGlobalAveragePooling2D(average_quantizer=BITS, name="f")(x), name="images")


def folded(q, keras):
    inputs, x = start(q, keras, (7, 6, 2))
    wide = q.quantized_bits(8, 2, alpha=1)
    x = q.QConv2DBatchnorm(3, (2, 2), kernel_quantizer=BITS, bias_quantizer=wide, name="a")(x)
    x = q.QActivation("quantized_bits(5,2)", name="a_act")(x)
    x = q.QDepthwiseConv2DBatchnorm(
        (2, 2), depthwise_quantizer=BITS, bias_quantizer=wide, folding_mode="batch_stats_folding", name="b"
    )(x)
    x = q.QActivation("quantized_bits(5,2)", name="b_act")(x)
    x = keras.layers.Flatten(name="flat")(x)
    return keras.Model(inputs, q.QDenseBatchnorm(3, kernel_quantizer=BITS, bias_quantizer=wide, name="c")(x), name="m")


def rows(q, keras):
    inputs, x = start(q, keras, (9, 3))
    x = q.QConv1D(4, 3, dilation_rate=2, **kernel(q), name="a")(x)
    x = q.QActivation("quantized_bits(5,2)", name="a_act")(x)
    x = q.QSeparableConv1D(3, 2, depthwise_quantizer=BITS, pointwise_quantizer=BITS, bias_quantizer=BITS, name="b")(x)
    x = keras.layers.MaxPooling1D(2, name="pool")(x)
    x = keras.layers.ZeroPadding1D(1, name="pad")(x)
    return keras.Model(inputs, keras.layers.GlobalMaxPooling1D(name="max")(x), name="rows")


def plain_layers(q, keras):
    layers = keras.layers
    inputs, x = start(q, keras, (6, 6, 2))
    a = q.QActivation("quantized_bits(5,2)", name="a_act")(q.QConv2D(2, 1, **kernel(q), name="a")(x))
    b = q.QActivation("quantized_bits(6,1)", name="b_act")(q.QConv2D(2, 1, **kernel(q), name="b")(x))
    x = layers.Add(name="add")([a, b])
    x = layers.Concatenate(name="concat")([x, layers.Subtract(name="sub")([a, b]), layers.Maximum(name="max")([a, b])])
    x = layers.LeakyReLU(0.25, name="leaky")(x)
    x = layers.ReLU(max_value=6.0, name="relu")(x)
    x = layers.UpSampling2D((1, 2), name="up")(layers.Cropping2D(((1, 0), (0, 1)), name="crop")(x))
    x = layers.SpatialDropout2D(0.2, name="drop")(layers.ZeroPadding2D((1, 0), name="pad")(x))
    x = layers.Permute((2, 1, 3), name="permute")(layers.GaussianNoise(0.1, name="noise")(x))
    x = q.QActivation("quantized_bits(6,3)", name="x_act")(layers.AveragePooling2D(2, name="mean")(x))
    x = layers.Reshape((-1, 6), name="reshape")(x)
    return keras.Model(inputs, layers.GlobalAveragePooling1D(name="global")(x), name="plain")


def recurrent(q, keras):
    """qkeras-v3 loses these layers' names and takes the classes'."""
    inputs, x = start(q, keras, (3, 2))
    common = {"kernel_quantizer": BITS, "recurrent_quantizer": BITS, "bias_quantizer": BITS}
    common |= {"state_quantizer": "quantized_bits(6,1)", "activation": "quantized_tanh(5)", "return_sequences": True}
    gated = common | {"recurrent_activation": "hard_sigmoid"}
    x = q.QActivation("quantized_bits(5,1)", name="a_act")(q.QSimpleRNN(3, **common, name="q_simple_rnn")(x))
    x = q.QActivation("quantized_bits(5,1)", name="b_act")(q.QLSTM(2, **gated, name="qlstm")(x))
    x = q.QActivation("quantized_bits(5,1)", name="c_act")(q.QGRU(2, **gated, reset_after=False, name="qgru")(x))
    x = q.QBidirectional(q.QLSTM(2, **gated, name="inner"), name="d")(x)
    return keras.Model(inputs, x, name="recurrent")


def several(q, keras):
    """Two inputs, two outputs, a shared layer, a model inside."""
    a, x = start(q, keras, (5,), "left")
    b, y = start(q, keras, (5,), "right")
    shared = q.QDense(5, **kernel(q), name="shared")
    x, y = (q.QActivation("quantized_bits(5,1)", name=f"act_{i}")(shared(v)) for i, v in enumerate((x, y)))
    given = keras.Input((5,), name="given")
    inner = keras.Model(given, q.QDense(4, **kernel(q), name="inside")(given), name="nested")
    total = keras.layers.Add(name="plus")([x, y])
    total = q.QActivation("quantized_bits(6,2)", name="total")(total)
    return keras.Model([a, b], [inner(total), keras.layers.Multiply(name="times")([x, y])], name="several")


NETWORKS = (dense_stack, sequential, images, folded, rows, plain_layers, recurrent, several)


def compared(build, tmp_path):
    """The graph of all six sources of one network."""
    live, old = make(build)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        architecture, weights, whole = save(old, tmp_path)
        live.save(tmp_path / "model.keras")
    expected = load(live)
    assert load(tmp_path / "model.keras").hash == expected.hash
    assert load(architecture, weights).hash == expected.hash, "architecture JSON and weights file"
    assert load(whole).hash == expected.hash, "whole model in one HDF5 file"
    return expected


@pytest.mark.parametrize("build", NETWORKS, ids=lambda b: b.__name__)
def test_network(build, tmp_path):
    assert len(compared(build, tmp_path).ops) >= 2


QUICK = (
    *("quantized_bits alpha='auto_po2'", "quantized_relu_po2", "ternary", "ternary alpha=1"),
    *("quantized_relu slope", "stochastic_ternary"),
)


def rest_slow(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", rest_slow(WEIGHTS))
def test_weight_quantizer(name, tmp_path):
    def build(q, keras):
        inputs, x = start(q, keras, (4, 4, 2))
        x = q.QConv2D(3, 2, kernel_quantizer=WEIGHTS[name](), bias_quantizer=WEIGHTS[name](), name="conv")(x)
        x = q.QActivation("quantized_bits(5,1)", name="act")(x)
        x = keras.layers.Flatten(name="flat")(x)
        return keras.Model(inputs, q.QDense(3, kernel_quantizer=WEIGHTS[name](), bias_quantizer=BITS, name="fc")(x))

    compared(named(build), tmp_path)


SAVED = [name for name in ACTIVATIONS if name != "quantized_relu bound"]
"""QKeras saves relu_upper_bound and not is_quantized_clip, in either version: such a file is another network."""


@pytest.mark.parametrize("name", rest_slow(SAVED))
def test_activation(name, tmp_path):
    def build(q, keras):
        inputs, x = start(q, keras, (4,))
        x = q.QDense(3, **kernel(q), activation=ACTIVATIONS[name](), name="fc")(x)
        return keras.Model(inputs, q.QActivation(ACTIVATIONS[name](), name="act")(x))

    compared(named(build), tmp_path)


def named(build):
    """Unnamed models are numbered by each Keras for itself."""

    def made(q, keras):
        model = build(q, keras)
        return keras.Model(model.inputs, model.outputs, name="made")

    return made


def test_every_quantizer_has_its_old_config():
    from qsim.quantizers import QUANTIZERS

    qkeras_own = {n for n, twin in QUANTIZERS.items() if "blueoil" not in twin.__module__}
    assert qkeras_own == set(KEYS)


def test_other_weights_give_another_graph(tmp_path):
    live, old = make(dense_stack)
    old.get_layer("second").bias.assign_add([0.25, 0.0, 0.0])
    *_, whole = save(old, tmp_path)
    assert load(whole).hash != load(live).hash


@pytest.mark.parametrize("mode", ["ema_stats_folding", "batch_stats_folding"])
def test_a_folded_normalization_without_scale(mode, tmp_path):
    """QKeras 0.9 runs scale=False as a gamma of ones; qkeras-v3 does not run it at all."""

    def network(scale):
        def build(q, keras):
            inputs, x = start(q, keras, (6, 6, 2))
            extra = {} if scale else {"scale": False}
            return keras.Model(inputs, q.QConv2DBatchnorm(3, 2, **kernel(q), folding_mode=mode, name="c", **extra)(x))

        return build

    live, _ = make(network(scale=True))
    layer = live.get_layer("c")
    layer.batchnorm.gamma.assign(np.ones(3))
    old = network(scale=False)(LEGACY, tf_keras)
    assert len(old.get_layer("c").weights) == len(layer.weights) - 1
    copy_weights(live, old)
    architecture, weights, whole = save(old, tmp_path)
    x = np.random.default_rng(1).normal(0, 1, (20, 6, 6, 2)).astype("float32")
    theirs = np.asarray(live(x, training=False))
    for graph in (load(whole), load(architecture, weights=weights)):
        assert np.array_equal(Simulator(graph).run(x), theirs)
