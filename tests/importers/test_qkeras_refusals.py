"""What cannot be reproduced exactly is refused: one paragraph with the layer, the reason and the way out."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")
qkeras = pytest.importorskip("qkeras")

from qsim.errors import ModelError, UnsupportedError, UsageError  # noqa: E402
from qsim.importers import load  # noqa: E402
from qsim.ir.ops import Dense  # noqa: E402


def chain(*layers, shape=(6, 6, 2), quantize=True):
    inputs = x = keras.Input(shape, name="input")
    if quantize:
        x = qkeras.QActivation("quantized_bits(6,1)", name="quantize")(x)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def q_dense(name="fc", **changes):
    settings = {"kernel_quantizer": "quantized_bits(4,0,alpha=1)", "bias_quantizer": "quantized_bits(4,0,alpha=1)"}
    return qkeras.QDense(3, name=name, **(settings | changes))


REFUSED = [
    (lambda: chain(q_dense(kernel_quantizer=None)), "'fc'", "no quantizer", "use QDense with kernel_quantizer"),
    (lambda: chain(keras.layers.Dense(3, name="plain")), "'plain'", "no quantizer", "QDense"),
    (lambda: chain(keras.layers.Conv2D(3, 2, name="plain")), "'plain'", "no quantizer", "QConv2D"),
    (
        lambda: chain(keras.layers.GRU(3, name="memory"), shape=(6, 2)),
        "'memory'",
        "GRU are not supported",
        "use qgru",
    ),
    (
        lambda: chain(
            keras.layers.Masking(name="mask"),
            qkeras.QSimpleRNN(3, kernel_quantizer="quantized_bits(4)", name="memory"),
            shape=(6, 2),
        ),
        "'mask'",
        "Masking are not supported",
        "docs/qkeras.md",
    ),
    (
        lambda: chain(qkeras.QActivation("quantized_bits(4,0,1)", dtype="float16", name="half")),
        "'half'",
        "computes in float16",
        "float32",
    ),
    (lambda: chain(q_dense(activation="softmax"), q_dense("next")), "'next'", "divides exponentials", "end the model"),
    (lambda: chain(q_dense(activation="gelu")), "'fc'", "gelu is real-valued and ends the model", "QActivation"),
    (lambda: chain(q_dense(activation="exponential")), "'fc'", "exponential is not supported", "QActivation"),
    (
        lambda: chain(qkeras.QActivation(qkeras.quantized_bits(4, alpha="auto"), name="act")),
        "'act'",
        "depends on the data",
        "fixed alpha",
    ),
    (
        lambda: chain(qkeras.QActivation(qkeras.quantized_relu(4, qnoise_factor=0.5), name="act")),
        "'act'",
        "qnoise_factor=0.5",
        "set qnoise_factor to 1.0",
    ),
    (
        lambda: chain(
            qkeras.QAveragePooling2D(2, average_quantizer=qkeras.quantized_bits(4, alpha="auto"), name="pool")
        ),
        "'pool'",
        "automatic scale",
        "fixed alpha",
    ),
    (lambda: chain(q_dense(), quantize=False), "'input'", "real-valued", 'input_format="fixed<8,1>"'),
    (
        lambda: chain(
            qkeras.QActivation("quantized_bits(16,1)"), keras.layers.BatchNormalization(name="norm"), q_dense("after")
        ),
        "'after'",
        "common grid",
        "insert a QActivation",
    ),
    (
        lambda: chain(qkeras.QActivation("binary", name="sign"), q_dense(), quantize=False),
        "'sign'",
        "quantizes it, but not to equal steps",
        'input_format="fixed<8,1>"',
    ),
    (lambda: chain(keras.layers.BatchNormalization(axis=2, name="norm")), "'norm'", "axis 2", "last axis"),
]


@pytest.mark.parametrize(("make", "layer", "reason", "way_out"), REFUSED)
def test_refused(make, layer, reason, way_out):
    model = make()
    rng = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(np.abs(rng.normal(0.5, 0.3, variable.shape)))
    with pytest.raises(UnsupportedError) as caught:
        load(model)
    text = str(caught.value)
    assert layer in text
    assert reason in text
    assert way_out.lower() in text.lower()
    assert "\n" not in text
    assert caught.value.exit_code == 1


def test_nan_and_infinite_weights():
    for bad in (np.nan, np.inf):
        model = chain(q_dense())
        kernel, bias = model.get_layer("fc").get_weights()
        kernel[1, 2] = bad
        model.get_layer("fc").set_weights([kernel, bias])
        with pytest.raises(ModelError, match=r"layer 'fc': kernel\[1, 2\] is (nan|inf)"):
            load(model)


def test_input_format():
    model = chain(q_dense(), quantize=False)
    for given in ("fixed<8,2>", {"input": "fixed<8,2>"}):
        graph = load(model, input_format=given)
        tensor = graph[graph.inputs[0].tensor]
        assert (tensor.format.width, tensor.format.signed, tensor.quantization.frac) == (8, True, 6)
    with pytest.raises(UsageError, match="cannot read the number format"):
        load(model, input_format="eight bits")
    with pytest.raises(UsageError, match="input_format names nothing"):
        load(model, input_format={"nothing": "int8"})


def test_an_input_format_keeps_the_first_quantizer_as_an_op():
    graph = load(chain(q_dense()), input_format="fixed<12,4>")
    assert graph.inputs[0].tensor == "input"
    assert graph.ops[0].output == "quantize"


def test_calls_that_make_no_sense(tmp_path):
    with pytest.raises(UsageError, match="cannot load int"):
        load(3)
    with pytest.raises(UsageError, match="weights"):
        load(chain(q_dense()), weights=tmp_path / "w.h5")
    with pytest.raises(UsageError, match="profile 'tflm'"):
        load(chain(q_dense()), profile="tflm")
    with pytest.raises(UsageError, match="does not exist"):
        load(tmp_path / "missing.keras")


def test_a_zero_or_exact_bias_without_quantizer_is_taken():
    model = chain(q_dense(bias_quantizer=None))
    layer = model.get_layer("fc")
    layer.set_weights([layer.get_weights()[0], np.array([0.0, 0.0, 0.0])])
    dense = next(op for op in load(model).ops if isinstance(op, Dense))
    assert dense.bias is None
    layer.set_weights([layer.get_weights()[0], np.array([0.375, -1.0, 0.1])])
    graph = load(model)
    dense = next(op for op in graph.ops if isinstance(op, Dense))
    real = dense.bias.values * float(graph["fc"].quantization.scale[0])
    assert np.array_equal(real, np.array([0.375, -1.0, 0.1], dtype=np.float32).astype(float))
