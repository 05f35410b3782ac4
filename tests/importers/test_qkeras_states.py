"""Recurrent layers with states from and to the model; QAdaptiveActivation from files; each refusal of the random."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")
qkeras = pytest.importorskip("qkeras")

from keras_compare import codes_of  # noqa: E402
from layer_cells import act, adaptive, chain, conv, fill, inputs, recurrent  # noqa: E402

from qsim.errors import UnsupportedError  # noqa: E402
from qsim.importers import load  # noqa: E402
from qsim.simulate import Simulator  # noqa: E402

GATED = {"recurrent_activation": "hard_sigmoid"}


def with_states(cls, bidirectional=False, **settings):
    """A recurrent layer that starts from inputs of the model, and whose last states are outputs of it."""
    count = (2 if cls is qkeras.QLSTM else 1) * (2 if bidirectional else 1)
    given = [keras.Input((3, 3), name="sequence"), *(keras.Input((4,), name=f"state{i}") for i in range(count))]
    x, *initial = (act(f"quantize_{t.name}", 6, 1)(t) for t in given)
    layer = recurrent(cls, return_state=True, **settings)
    if bidirectional:
        layer = qkeras.QBidirectional(layer, merge_mode="concat")
    return fill(keras.Model(given, layer(x, initial_state=initial), name="states"))


CASES = [
    (qkeras.QSimpleRNN, {}),
    (qkeras.QSimpleRNN, {"return_sequences": True, "go_backwards": True}),
    (qkeras.QLSTM, GATED),
    (qkeras.QLSTM, {**GATED, "return_sequences": True}),
    (qkeras.QGRU, GATED),
    (qkeras.QGRU, {**GATED, "reset_after": True}),
    (qkeras.QSimpleRNN, {"bidirectional": True}),
    (qkeras.QLSTM, {**GATED, "bidirectional": True, "return_sequences": True}),
]


@pytest.mark.parametrize(("cls", "settings"), CASES, ids=lambda v: getattr(v, "__name__", None) or "-".join(v))
def test_initial_and_final_states(cls, settings, tmp_path):
    model = with_states(cls, **settings)
    graph = load(model)
    rng = np.random.default_rng(1)
    given = [rng.normal(0, 1, (60, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    trace = Simulator(graph).trace({i.tensor: x for i, x in zip(graph.inputs, given, strict=True)})
    for value, output in zip(model(given), graph.outputs, strict=True):
        codes, off = codes_of(value, graph[output.tensor])
        assert off < 1e-3
        assert np.array_equal(codes, trace[output.tensor])
    for suffix in (".keras", ".h5"):
        model.save(tmp_path / f"model{suffix}")
        assert load(tmp_path / f"model{suffix}") == graph


def test_the_initial_state_matters():
    """The comparison above would not hold with zeros."""
    graph = load(with_states(qkeras.QSimpleRNN))
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, (20, 3, 3))
    runs = [
        Simulator(graph).run({graph.inputs[0].tensor: x, graph.inputs[1].tensor: np.full((20, 4), value)})
        for value in (0.0, 1.0)
    ]
    assert any(np.any(runs[0][name] != runs[1][name]) for name in runs[0])


ADAPTIVE = [
    ("quantized_bits", {}),
    ("quantized_bits", {"per_channel": True}),
    ("quantized_bits", {"symmetric": False}),
    ("quantized_bits", {"po2_rounding": True}),
    ("quantized_relu", {}),
    ("quantized_relu", {"per_channel": True}),
    ("quantized_relu", {"relu_neg_slope": 0.25}),
]


@pytest.mark.parametrize(("kind", "settings"), ADAPTIVE, ids=lambda v: v if isinstance(v, str) else "-".join(v))
@pytest.mark.parametrize("factor", [7, *(pytest.param(f, marks=pytest.mark.slow) for f in (0.3, 1))])
def test_adaptive_activation_from_files(kind, settings, factor, tmp_path):
    """The bits that the saved averages settle are those that the layer in memory has after training."""
    model = fill(chain((4, 4, 2), conv("conv"), adaptive(kind, **settings), bits=8, integer=4))
    for _ in range(4):
        model(inputs(model) * factor, training=True)
    graph = load(model)
    for suffix in (".keras", ".h5"):
        model.save(tmp_path / f"model{suffix}")
        found = load(tmp_path / f"model{suffix}")
        assert any("saved averages settle" in note for note in found.notes)
        assert (found.ops, dict(found.tensors)) == (graph.ops, dict(graph.tensors))


RANDOM = [
    (lambda: qkeras.bernoulli(alpha=1), "draws random numbers at inference", "use binary(use_01=1)"),
    (lambda: qkeras.quantized_bits(4, qnoise_factor=0.5), "mixes unquantized values in", "set qnoise_factor to 1.0"),
    (lambda: qkeras.quantized_linear(4, qnoise_factor=0.25), "mixes unquantized values in", "set qnoise_factor"),
    (lambda: qkeras.quantized_relu(4, qnoise_factor=0.0), "mixes unquantized values in", "set qnoise_factor"),
    (lambda: qkeras.quantized_po2(4, qnoise_factor=0.5), "mixes unquantized values in", "set qnoise_factor"),
    (lambda: qkeras.quantized_relu_po2(4, qnoise_factor=0.5), "mixes unquantized values in", "set qnoise_factor"),
    (lambda: qkeras.quantized_bits(4, alpha="auto"), "depends on the data of each batch", "fixed alpha"),
    (lambda: qkeras.quantized_bits(4, alpha="auto_po2"), "depends on the data of each batch", "fixed alpha"),
    (lambda: qkeras.quantized_linear(4, alpha="auto"), "depends on the data of each batch", "fixed alpha"),
    (lambda: qkeras.binary(alpha="auto"), "depends on the data of each batch", "fixed alpha"),
    (lambda: qkeras.ternary(alpha="auto_po2"), "depends on the data of each batch", "fixed alpha"),
    (lambda: qkeras.stochastic_binary(alpha="auto_po2"), "depends on the data of each batch", "fixed alpha"),
    (lambda: qkeras.stochastic_ternary(alpha="auto_po2"), "depends on the data of each batch", "fixed alpha"),
]


@pytest.mark.parametrize("where", ["layer", "activation"])
@pytest.mark.parametrize(("make", "reason", "way_out"), RANDOM)
def test_random_and_data_dependent_activations_are_refused(make, reason, way_out, where):
    if where == "layer":
        model = chain((4, 4, 2), conv("conv"), qkeras.QActivation(make(), name="cell"))
    else:
        kernel = {"kernel_quantizer": "quantized_bits(4,0,alpha=1)", "bias_quantizer": "quantized_bits(4,0,alpha=1)"}
        model = chain((6,), qkeras.QDense(3, **kernel, activation=make(), name="cell"))
    with pytest.raises(UnsupportedError) as caught:
        load(fill(model))
    text = str(caught.value)
    assert text.startswith("layer 'cell': ")
    assert reason in text
    assert way_out.lower() in text.lower()


@pytest.mark.parametrize("role", ["kernel", "bias"])
@pytest.mark.parametrize(("make", "reason", "way_out"), [c for c in RANDOM if "batch" not in c[1]])
def test_random_weights_are_refused(make, reason, way_out, role):
    quantizers = {"kernel_quantizer": "quantized_bits(4,0,alpha=1)", "bias_quantizer": "quantized_bits(4,0,alpha=1)"}
    model = chain((6,), qkeras.QDense(3, **(quantizers | {f"{role}_quantizer": make()}), name="cell"))
    with pytest.raises(UnsupportedError) as caught:
        load(fill(model))
    assert reason in str(caught.value)
    assert way_out.lower() in str(caught.value).lower()


STOCHASTIC = [
    lambda: qkeras.quantized_bits(4, 1, use_stochastic_rounding=True),
    lambda: qkeras.quantized_linear(4, 1, use_stochastic_rounding=True),
    lambda: qkeras.quantized_relu(4, 1, use_stochastic_rounding=True),
    lambda: qkeras.quantized_tanh(4, use_stochastic_rounding=True),
    lambda: qkeras.quantized_sigmoid(4, use_stochastic_rounding=True),
    lambda: qkeras.quantized_po2(4, use_stochastic_rounding=True),
    lambda: qkeras.quantized_relu_po2(4, use_stochastic_rounding=True),
    lambda: qkeras.stochastic_binary(alpha=1.0),
    lambda: qkeras.stochastic_ternary(alpha=1.0, threshold=0.4),
]


@pytest.mark.parametrize("make", STOCHASTIC)
def test_what_is_stochastic_in_training_only_is_equal(make):
    """Two runs of Keras agree with each other and with the graph: nothing is drawn at inference."""
    model = fill(chain((4, 4, 2), conv("conv"), qkeras.QActivation(make(), name="cell")))
    graph, x = load(model), inputs(model)
    trace = Simulator(graph).trace(x)["cell"]
    for _ in range(2):
        codes, off = codes_of(np.asarray(model(x)), graph["cell"])
        assert off < 1e-3
        assert np.array_equal(codes, trace)


def test_stateful_layers_are_refused():
    given = keras.Input(batch_shape=(1, 3, 3), name="sequence")
    layer = recurrent(qkeras.QSimpleRNN, stateful=True)
    model = fill(keras.Model(given, layer(act("quantize", 5, 1)(given))))
    with pytest.raises(UnsupportedError, match=r"depends on earlier calls.*stateful=False"):
        load(model)
