"""qsim.estimate against qkeras.estimate, run in the test, and against an exact oracle where qkeras is wrong."""

from __future__ import annotations

import contextlib
import io
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import qsim
from qsim.errors import UsageError
from qsim.estimate import (
    analyze_accumulator,
    analyze_accumulator_from_sample,
    create_activation_cache,
    estimate,
    extract_model_operations,
    get_operation_type,
    get_quant_mode,
    print_qstats,
    proven_bits,
    proven_input_ranges,
    qkeras_accumulator,
)
from qsim.numerics import IntArray

keras = pytest.importorskip("keras")
qkeras = pytest.importorskip("qkeras")
peer = pytest.importorskip("qkeras.estimate")


@pytest.fixture(scope="module")
def cnn() -> Any:
    """3x3 kernels with 3 filters, so that qkeras' defect (bounding kernel.shape[1] channels) does not act."""
    keras.utils.set_random_seed(3)
    x = i = keras.Input((8, 8, 1), name="x")
    y = qkeras.QConv2D(
        3, 3, kernel_quantizer="quantized_bits(4,0,1)", bias_quantizer="quantized_bits(4,0,1)", name="c1"
    )(x)
    y = qkeras.QActivation("quantized_relu(4,1)", name="a1")(y)
    y = qkeras.QConv2D(3, 3, kernel_quantizer="ternary(alpha=1)", bias_quantizer="quantized_bits(4,0,1)", name="c2")(y)
    y = qkeras.QActivation("quantized_relu(1,1)", name="a2")(y)
    y = keras.layers.MaxPooling2D(name="p")(y)
    y = qkeras.QDepthwiseConv2D(
        2, depthwise_quantizer="binary(alpha=1)", bias_quantizer="quantized_bits(4,0,1)", name="d"
    )(y)
    y = qkeras.QActivation("quantized_bits(2,1,1)", name="a3")(y)
    y = keras.layers.Flatten(name="f")(y)
    y = qkeras.QDense(5, kernel_quantizer="quantized_po2(4)", bias_quantizer="quantized_bits(4,0,1)", name="o")(y)
    model = keras.Model(i, y)
    for layer in model.layers:
        if layer.get_weights():
            layer.set_weights([np.random.default_rng(1).uniform(-1, 1, w.shape) for w in layer.get_weights()])
    return model


QUANTIZERS = [
    "quantized_bits(4,0,1)",
    "quantized_bits(2,1,1)",
    "quantized_bits(8,2)",
    "bernoulli()",
    "stochastic_ternary()",
    "ternary()",
    "stochastic_binary()",
    "binary()",
    "quantized_relu(3,1)",
    "quantized_relu(1,1)",
    "quantized_tanh(4)",
    "quantized_ulaw(2,1)",
    "quantized_po2(4)",
    "quantized_relu_po2(5)",
]


@pytest.mark.parametrize("text", QUANTIZERS)
def test_modes_of_quantizers(text: str) -> None:
    live = qkeras.get_quantizer(text)
    expected = peer.get_quant_mode(live)
    assert get_quant_mode(live) == expected
    assert get_quant_mode(text) == expected
    assert get_quant_mode(None) == peer.get_quant_mode(None)


def test_modes_of_integers() -> None:
    assert get_quant_mode(IntArray([-1, 1, 1])) == (3, 1, 1)
    assert get_quant_mode(IntArray([0, 1])) == (4, 1, 0)
    assert get_quant_mode(IntArray([0, -1])) == (2, 2, 1)
    assert get_quant_mode(IntArray([4, -8, 1]))[0] == 1
    assert get_quant_mode(IntArray([4, -8, 3])) == (0, 4, 1)
    with pytest.raises(UsageError, match="not a quantizer"):
        get_quant_mode("relu")


def test_operations_and_types_equal_qkeras(cnn: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        expected = peer.extract_model_operations(cnn)
    actual = extract_model_operations(cnn)
    assert list(actual) == list(expected)
    for layer, entry in expected.items():
        for key in ("type", "number_of_operations", "number_of_bias", "type_of_weights", "type_of_bias"):
            assert actual[layer][key] == entry[key], (layer, key)
        if layer != "d":  # qkeras squares the channels of a depthwise kernel
            assert actual[layer]["number_of_weights"] == entry["number_of_weights"], layer
    assert actual["d"]["number_of_weights"] == cnn.get_layer("d").get_weights()[0].size
    assert {entry["type"][0] for entry in actual.values()} == {"mult", "mux", "xor"}


def test_every_cell_of_the_table_equals_qkeras() -> None:
    samples = ["quantized_bits(4,0,1)", "quantized_po2(4)", "ternary()", "binary()", "bernoulli()"]

    class Layer:
        name = "layer"

        def __init__(self, quantizer: Any) -> None:
            self.quantizer, self.input = quantizer, "x"

        def get_quantizers(self) -> list[Any]:
            return [self.quantizer, None]

    for w in [*samples, None]:
        for x in samples:
            live = [qkeras.get_quantizer(w) if w else None, qkeras.get_quantizer(x)]
            kind = peer.get_operation_type(Layer(live[0]), {"x": live[1]})
            from qsim.estimate.modes import operation

            assert operation(get_quant_mode(w), get_quant_mode(x)) == kind[0]


def with_quantized_weights(layers: list[Any], shape: tuple[int, ...], seed: int) -> Any:
    """A functional model of QKeras layers whose stored weights are quantized already: qkeras sums them as stored."""
    x = i = keras.Input(shape)  # qkeras.estimate cannot read a Sequential model of Keras 3
    for layer in layers:
        x = layer(x)
    rng = np.random.default_rng(seed)
    for layer in layers:
        if layer.get_weights():
            values = [rng.uniform(-1, 1, w.shape).astype(np.float32) for w in layer.get_weights()]
            layer.set_weights([np.asarray(q(v)) for q, v in zip(layer.get_quantizers(), values)])
    return keras.Model(i, x)


def two_convolutions(quantizers: dict[str, str], second: str) -> list[Any]:
    """3x3 kernels with 3 filters, and a dense layer; second: the activation of the second convolution."""
    return [
        qkeras.QConv2D(3, 3, **quantizers, name="c1"),
        qkeras.QActivation("quantized_relu(4,1)", name="a1"),
        qkeras.QConv2D(3, 3, **quantizers, name="c2"),
        qkeras.QActivation(second, name="a2"),
        keras.layers.Flatten(name="f"),
        qkeras.QDense(7, **quantizers, name="o"),
    ]


@pytest.mark.parametrize("seed", range(8))
def test_accumulators_equal_qkeras_where_it_bounds_every_channel(seed: int) -> None:
    """3x3 kernels with 3 filters and dense layers: there kernel.shape[1] is the number of channels."""
    quantizers = {"kernel_quantizer": "quantized_bits(4,1,1)", "bias_quantizer": "quantized_bits(5,2,1)"}
    model = with_quantized_weights(two_convolutions(quantizers, "quantized_relu(4,1)"), (7, 7, 1), seed)
    unit = dict.fromkeys(("c1", "c2", "o"), (0.0, 1.0))  # qkeras multiplies the bias by the input too
    assert analyze_accumulator(model, unit) == peer.analyze_accumulator(model, unit)
    rng = np.random.default_rng(seed)
    ranges = {name: (-float(rng.uniform(0, 3)), float(rng.uniform(0, 3))) for name in ("c1", "c2", "o")}
    assert qkeras_accumulator(model, ranges) == peer.analyze_accumulator(model, ranges)


def test_all_channels_are_bounded_where_qkeras_bounds_only_the_first() -> None:
    layer = qkeras.QConv2D(
        4, 2, kernel_quantizer="quantized_bits(6,3,1)", bias_quantizer="quantized_bits(6,3,1)", name="c"
    )
    model = with_quantized_weights([layer], (6, 6, 1), 0)
    w = np.full((2, 2, 1, 4), 0.25)
    w[..., 3] = 4.0  # the last channel, which kernel.shape[1] = 2 channels leave out
    layer.set_weights([w, np.zeros(4)])
    ranges = {"c": (0.0, 1.0)}
    assert peer.analyze_accumulator(model, ranges) == {"c": 0}
    assert qkeras_accumulator(model, ranges) == {"c": 0}
    assert analyze_accumulator(model, ranges) == {"c": 4}


def test_from_samples(cnn: Any) -> None:
    graph = qsim.load(cnn, input_format="ufixed<8,0>")
    x = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)) / 256
    trace = qsim.Simulator(graph).trace(x)
    sampled = analyze_accumulator_from_sample(graph, x, mode="sampled")
    conservative = analyze_accumulator_from_sample(graph, x)
    for op in graph.ops:
        if op.layer in sampled and op.output in (op.layer, f"{op.layer}.acc") and hasattr(op, "weights"):
            scale = graph[op.output].quantization.scale
            largest = max(
                Fraction(int(np.abs(trace[op.output][..., c]).max())) * scale[c if len(scale) > 1 else 0]
                for c in range(trace[op.output].shape[-1])
            )
            assert sampled[op.layer] == math.ceil(math.log2(largest))
    assert all(conservative[layer] >= sampled[layer] for layer in sampled)
    with pytest.raises(UsageError, match="mode must be one of"):
        analyze_accumulator_from_sample(graph, x, mode="guessed")
    with pytest.raises(UsageError, match="no input range is given for layer"):
        analyze_accumulator(graph, {})


def test_from_samples_equals_qkeras() -> None:
    """Sampled: the same figures. Conservative is analyze_accumulator on the ranges that the layers see (qkeras-v3's
    own fails on them with a TensorFlow error)."""
    weights = {"kernel_quantizer": "quantized_bits(4,1,1)", "bias_quantizer": "quantized_bits(5,2,1)"}
    for seed in range(3):
        first = qkeras.QActivation("quantized_relu(6,1)", name="q")
        layers = [first, *two_convolutions(weights, "quantized_bits(4,1)")]
        model = with_quantized_weights(layers, (7, 7, 1), seed)
        x = np.random.default_rng(seed).uniform(0, 2, (30, 7, 7, 1)).astype(np.float32)
        with contextlib.redirect_stdout(io.StringIO()):
            sampled = peer.analyze_accumulator_from_sample(model, x, mode="sampled")
        assert analyze_accumulator_from_sample(model, x, mode="sampled") == sampled
        inputs = keras.Model(model.inputs, [model.get_layer(n).input for n in ("c1", "c2", "o")])(x)
        seen = {n: (float(np.min(v)), float(np.max(v))) for n, v in zip(("c1", "c2", "o"), inputs)}
        assert qkeras_accumulator(model, seen) == peer.analyze_accumulator(model, seen)
        assert analyze_accumulator(model, seen) == analyze_accumulator_from_sample(model, x)


def test_a_bias_beside_the_products_grid_counts() -> None:
    i = keras.Input((2,), name="x")
    layer = qkeras.QDense(
        1, kernel_quantizer="quantized_bits(4,0,1,alpha=0.75)", bias_quantizer="quantized_bits(8,3,alpha=1)", name="d"
    )
    model = keras.Model(i, layer(qkeras.QActivation("quantized_bits(4,0)", name="q")(i)))
    layer.set_weights([np.array([[0.125], [0.0]]), np.array([6.9375])])
    ranges = proven_input_ranges(qsim.estimate.as_source(model))
    assert analyze_accumulator(model, ranges) == {"d": 3}
    assert analyze_accumulator_from_sample(model, np.ones((3, 2)), mode="sampled") == {"d": 3}


def test_modes_of_string_activations() -> None:
    assert get_quant_mode("binary_tanh") == get_quant_mode(qkeras.get_quantizer("binary_tanh")) == (3, 1, 1)
    assert get_quant_mode("binary_sigmoid") == (4, 1, 0)
    for name in ("hard_tanh", "smooth_sigmoid", "linear"):
        assert get_quant_mode(name) == get_quant_mode(qkeras.get_quantizer(name)) == peer.get_quant_mode(None)
    i = keras.Input((3,), name="x")
    y = qkeras.QActivation("binary_tanh", name="b")(qkeras.QActivation("quantized_bits(4,0)", name="q")(i))
    y = qkeras.QDense(2, kernel_quantizer="binary(alpha=1)", bias_quantizer="ternary(alpha=1)", name="d")(y)
    assert {c.layer: c.kind for c in estimate(keras.Model(i, y))} == {"d": "xor"}


def test_cache_and_operation_types_on_graphs(cnn: Any) -> None:
    graph = qsim.load(cnn, input_format="ufixed<8,0>")
    cache = create_activation_cache(graph)
    op = next(op for op in graph.ops if op.layer == "c2" and hasattr(op, "weights"))
    assert cache["x"] == (0, 8, 0)
    assert get_operation_type(op, cache)[0] == "mux"
    assert get_operation_type(op, {}) == ("null", (2, -1), (2, -1), (1, -1))


def test_estimate_and_print(cnn: Any, capsys: pytest.CaptureFixture[str]) -> None:
    costs = {c.layer: c for c in estimate(cnn)}
    assert costs["c1"].operations == 6 * 6 * 3 * 9
    assert costs["d"].kind == "xor"
    assert costs["c2"].sparsity == np.mean(np.abs(cnn.get_layer("c2").get_weights()[0]) < 0.33)
    assert all(c.energy_pj > 0 for c in costs.values())
    assert {c.layer: c.accumulator_bits for c in costs.values()} == proven_bits(qsim.estimate.as_source(cnn))
    assert set(proven_input_ranges(qsim.estimate.as_source(cnn))) == set(costs)
    print_qstats(cnn)
    ours = capsys.readouterr().out
    peer.print_qstats(cnn)
    theirs = capsys.readouterr().out
    head = ours.split("Weight profiling:")[0].split()
    assert head == theirs.split("Weight profiling:")[0].split()


def test_wrapped_and_recurrent_layers_count_their_weights_once() -> None:
    """A TimeDistributed is one row of the layer it wraps, a Bidirectional two; steps share their weights."""
    bits = "quantized_bits(4,0,alpha=1)"
    given = {"kernel_quantizer": bits, "recurrent_quantizer": "ternary(alpha=1)", "bias_quantizer": bits}
    cell = qkeras.QGRU(3, activation="quantized_tanh(5)", recurrent_activation="hard_sigmoid",
                       state_quantizer="quantized_bits(6,1)", **given)  # fmt: skip
    i = keras.Input((4, 5, 5, 2), name="x")
    x = qkeras.QActivation("quantized_relu(4,0)", name="q")(i)
    conv = qkeras.QConv2D(2, 5, kernel_quantizer=bits, bias_quantizer=bits, name="conv")
    x = keras.layers.TimeDistributed(conv, name="each")(x)
    x = qkeras.QActivation("quantized_bits(4,1,alpha=1)", name="r")(keras.layers.Reshape((4, 2))(x))
    x = keras.layers.Bidirectional(cell, name="both")(x)
    x = qkeras.QActivation("quantized_bits(5,1,alpha=1)", name="s")(x)
    x = qkeras.QDense(2, kernel_quantizer="binary(alpha=1)", bias_quantizer=bits, name="last")(x)
    rows = {row.layer: row for row in estimate(keras.Model(i, x))}
    assert list(rows) == ["each", "both.forward", "both.backward", "last"]
    assert {name: row.kind for name, row in rows.items()} == {
        "each": "mult", "both.forward": "mult", "both.backward": "mult", "last": "mux",
    }  # fmt: skip
    assert rows["each"].weights == 5 * 5 * 2 * 2
    assert rows["each"].operations == 4 * 5 * 5 * 2 * 2
    assert rows["each"].bias == 2
    kernel, recurrent = 2 * 9, 3 * 9
    assert rows["both.forward"].weights == kernel + recurrent
    assert rows["both.forward"].operations == 4 * (kernel + recurrent)
    assert rows["both.forward"].weight_bits == kernel * 4 + recurrent * 2
    assert rows["both.forward"].bias == 9


def test_a_layer_that_is_named_like_a_step_is_its_own() -> None:
    bits = {"kernel_quantizer": "quantized_bits(4,0,1)", "bias_quantizer": "quantized_bits(4,0,1)"}
    i = keras.Input((3,), name="x")
    x = qkeras.QDense(4, **bits, name="a")(qkeras.QActivation("quantized_relu(4,0)", name="q")(i))
    x = qkeras.QDense(5, **bits, name="a.step1")(qkeras.QActivation("quantized_relu(4,1)", name="r")(x))
    assert [(row.layer, row.weights) for row in estimate(keras.Model(i, x))] == [("a", 12), ("a.step1", 20)]
