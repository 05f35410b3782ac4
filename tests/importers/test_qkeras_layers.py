"""Layer x quantizer: each cell's codes against Keras' own run of the model (and in float64 where float32 rounds)."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("qkeras")

from keras_compare import codes_of, keras_outputs, noisy_layers
from layer_cells import (
    ACTIVATIONS,
    FOLDED_LAYERS,
    KERNEL_LAYERS,
    NORMALIZATIONS,
    OTHER_LAYERS,
    RECURRENT_LAYERS,
    WEIGHTS,
    chain,
    conv,
    fill,
    inputs,
    octave,
    out,
    two_ends,
)

from qsim.errors import UnsupportedError
from qsim.importers import load
from qsim.simulate import Simulator


def compare(model, *, ties=0.0, required=("cell",)):
    """Every layer with a tensor: equal codes. Where scales are odd numbers, Keras' float32 values may lie beside a code
    by ``ties`` of it; the code nearest must still be the trace's."""
    graph, x = load(model), inputs(model)
    trace = Simulator(graph).trace(x)
    done = []
    for name, value in keras_outputs(model, x).items():
        if name not in trace or value.shape != trace[name].shape:
            continue
        codes, off = codes_of(value, graph[name])
        assert off <= max(ties, 1e-3), f"{name} lies off its grid by {off}"
        wrong = np.nonzero(codes != trace[name])
        assert not len(wrong[0]), (
            f"{name}: {len(wrong[0])} of {codes.size} codes differ, first at {tuple(int(i[0]) for i in wrong)}: "
            f"Keras {codes[wrong][0]}, qsim {trace[name][wrong][0]}"
        )
        done.append(name)
    assert any(r in done for r in (*required, "out")), f"only {done} were compared"
    return graph


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layer", KERNEL_LAYERS)
def test_weight_quantizers(layer, weights):
    # The transposed kernel's last axis is the input channel: odd scales make wide sums, which float32 rounds; behind a
    # quantizer no finer than the bias (whose codes are then no ties) they agree again.
    wide = layer == "QConv2DTranspose" and weights.endswith("alpha='auto'")
    model = KERNEL_LAYERS[layer](WEIGHTS[weights](), "quantized_bits(8,3)" if wide else None)
    compare(fill(model), ties=0.05)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layer", KERNEL_LAYERS)
def test_activations(layer, activation):
    from layer_cells import qkeras

    model = KERNEL_LAYERS[layer](qkeras.quantized_bits(4, 0, alpha=1), ACTIVATIONS[activation]())
    compare(fill(model))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_layers(activation):
    from layer_cells import qkeras

    model = chain((4, 4, 2), conv("conv"), qkeras.QActivation(ACTIVATIONS[activation](), name="cell"))
    compare(fill(model))


@pytest.mark.parametrize("layer", OTHER_LAYERS)
def test_other_layers(layer):
    model = OTHER_LAYERS[layer]()
    compare(fill(model), required=("cell", "cell_pw", "cell_dw", "out"))


@pytest.mark.parametrize("mode", ["ema_stats_folding", "batch_stats_folding"])
@pytest.mark.parametrize("layer", FOLDED_LAYERS)
def test_folded_layers(layer, mode):
    compare(fill(FOLDED_LAYERS[layer](mode)))


@pytest.mark.parametrize("layer", RECURRENT_LAYERS)
def test_recurrent_layers(layer):
    model = RECURRENT_LAYERS[layer]()
    compare(fill(model), required=(model.layers[-1].name,))


def test_a_lstm_without_state_quantizer_widens_and_is_refused_when_too_wide():
    from layer_cells import qkeras, recurrent, sequence

    layer = recurrent(qkeras.QLSTM, state_quantizer=None, recurrent_activation="quantized_sigmoid(8)")
    with pytest.raises(UnsupportedError, match=r"62 bits|takes"):
        load(fill(sequence(layer, 12)))


@pytest.mark.parametrize("norm", NORMALIZATIONS)
def test_normalizations(norm):
    compare(fill(chain((4, 4, 2), conv("conv"), NORMALIZATIONS[norm](), out())))


@pytest.mark.parametrize("use_separable", [False, True])
def test_octave_convolutions(use_separable):
    compare(fill(octave(use_separable)))


@pytest.mark.parametrize("kind", ["quantized_relu", "quantized_bits"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_adaptive_activation(kind, per_channel, tmp_path):
    from layer_cells import qkeras

    layer = qkeras.QAdaptiveActivation(
        kind, 6, quantization_delay=1, ema_freeze_delay=100, ema_decay=0.5, per_channel=per_channel, name="cell"
    )
    model = fill(chain((4, 4, 2), conv("conv"), layer))
    for _ in range(3):
        model(inputs(model), training=True)
    compare(model)


def test_several_inputs_and_outputs():
    model = fill(two_ends())
    graph = load(model)
    assert [i.tensor for i in graph.inputs] == ["q_left", "q_right"]
    assert [o.tensor for o in graph.outputs] == ["second", "first"]
    rng = np.random.default_rng(2)
    left, right = rng.normal(0, 1, (50, 5)).astype(np.float32), rng.normal(0, 1, (50, 3, 2)).astype(np.float32)
    trace = Simulator(graph).trace({"q_left": left, "q_right": right})
    for name, value in keras_outputs(model, {"left": left, "right": right}).items():
        if name in trace:
            codes, off = codes_of(value, graph[name])
            assert off < 1e-3
            assert np.array_equal(codes, trace[name])


def test_noise_in_keras_own_weights_is_small_enough_to_compare():
    model = fill(KERNEL_LAYERS["QDense"](WEIGHTS["quantized_bits alpha='auto_po2'"](), None))
    assert noisy_layers(model) <= {"cell"}
