"""Seeded random models: every layer and quantizer of the spine, in combination, against Keras and a float64 run."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("qkeras")

import keras
import qkeras
from keras_compare import check
from random_models import random_model, wide_model
from random_whole import whole_model

from qsim.compare.verify import verify
from qsim.errors import UnsupportedError
from qsim.importers import load

QUICK, ALL = 60, 200
WIDE_QUICK = 36
WHOLE_QUICK, WHOLE_ALL = 24, 500

TOO_WIDE = ("common grid in 62 bits", "qsim computes in 63", "table needs")

WHOLE_SET = (
    *("QDense", "QConv1D", "QConv2D", "QDepthwiseConv2D", "QSeparableConv1D", "QSeparableConv2D", "QConv2DTranspose"),
    *("QActivation", "QAdaptiveActivation", "QAveragePooling2D", "QGlobalAveragePooling2D", "QBatchNormalization"),
    *("QConv2DBatchnorm", "QDenseBatchnorm", "QDepthwiseConv2DBatchnorm", "QScaleShift"),
    *("QSimpleRNN", "QLSTM", "QGRU", "QBidirectional"),
    *("BatchNormalization", "MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D"),
    *("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D"),
    *("UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D"),
    *("Flatten", "Reshape", "Permute", "Concatenate", "Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average"),
    *("Activation", "ReLU", "LeakyReLU", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise"),
    "Functional",
)
QUANTIZERS = (
    *("quantized_bits", "quantized_linear", "quantized_relu", "quantized_ulaw", "quantized_tanh", "quantized_sigmoid"),
    *("quantized_hswish", "quantized_po2", "quantized_relu_po2", "binary", "ternary"),
    *("stochastic_binary", "stochastic_ternary", "smooth_sigmoid", "hard_sigmoid", "binary_sigmoid", "smooth_tanh"),
    *("hard_tanh", "binary_tanh"),
)
"""Issue 3's layers and quantizers; QOctaveConv2D and QMobileNetSeparableConv2D are functions that make several."""


@pytest.mark.parametrize("seed", range(QUICK))
def test_random_model(seed):
    model, x = random_model(seed, 100)
    result = check(model, load(model), x)
    assert result["float64"], "no layer was compared"
    assert "quantize" in result["keras"]


def test_most_layers_are_compared_with_keras_itself():
    """The criterion of float32 exactness does not make the comparison with Keras empty."""
    layers, exact = 0, 0
    for seed in range(12):
        model, x = random_model(seed, 20)
        result = check(model, load(model), x)
        layers, exact = layers + len(result["float64"]), exact + len(result["keras"])
    assert exact >= layers // 4, f"{exact} of {layers}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(ALL))
def test_random_model_on_a_thousand_inputs(seed):
    model, x = random_model(seed, 1000)
    assert check(model, load(model), x)["float64"]


@pytest.mark.parametrize("seed", range(WIDE_QUICK))
def test_model_from_many_layers(seed):
    model, x = wide_model(seed, 60)
    assert "quantize" in check(model, load(model), x)["keras"]


def whole(seed, count):
    """The seed's model from the whole layer set, its graph and inputs; None where the import refuses it."""
    keras.utils.clear_session()
    model, x = whole_model(seed, count)
    try:
        return model, load(model), x
    except UnsupportedError as error:
        if not any(words in str(error) for words in TOO_WIDE):
            raise  # a gap: not what no 62-bit integer or no table holds
        return None


@pytest.mark.parametrize("seed", range(WHOLE_QUICK))
def test_model_from_the_whole_layer_set(seed):
    """Every layer of the model that has a tensor: equal codes."""
    found = whole(seed, 60)
    if found is not None:
        result = check(*found)
        assert "quantize" in result["keras"]
        assert len(result["float64"]) > 1


@pytest.mark.slow
def test_five_hundred_models_from_the_whole_layer_set():
    used, refused = Counter(), []
    for seed in range(WHOLE_ALL):
        found = whole(seed, 100)
        if found is None:
            refused.append(seed)
            continue
        layers = list(every_layer(found[0]))
        used.update({type(layer).__name__ for layer in layers} | {name for la in layers for name in quantizers(la)})
        assert "quantize" in check(*found)["keras"], seed
    assert len(refused) <= WHOLE_ALL // 100, refused
    missing = [name for name in (*WHOLE_SET, *QUANTIZERS) if used[name] < 3]
    assert not missing, f"{missing} occur in fewer than three models: {used}"


def every_layer(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from every_layer(layer)
        elif isinstance(layer, qkeras.QBidirectional):
            yield layer.forward_layer


def quantizers(layer):
    """Names of the layer's quantizers and activation."""
    for used in (*(getattr(layer, "quantizers", None) or ()), getattr(layer, "activation", None)):
        if used is not None:
            yield getattr(used, "__name__", type(used).__name__)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_models_from_the_whole_layer_set_in_c(part):
    """Five models of every fifty."""
    for seed in range(50 * part, 50 * part + 50, 10):
        found = whole(seed, 12)
        if found is not None:
            report = verify(found[1], inputs_of(*found[1:]), ("c",))
            assert report.ok, (seed, str(report))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 101, 202, 303, 404])
def test_models_from_the_whole_layer_set_in_hls_and_rtl(seed):
    found = whole(seed, 8)
    assert found is not None
    report = verify(found[1], inputs_of(*found[1:]), ("hls", "rtl"), settings={"rtl": {"cocotb_frames": 0}})
    assert report.ok, str(report)


def inputs_of(graph, x):
    """The arrays by the graph's own names."""
    return {graph.inputs[i].tensor: v for i, v in enumerate(x.values())} if isinstance(x, dict) else x
