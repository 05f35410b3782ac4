"""QKeras' own example networks with random weights: imported, simulated equal to Keras, and emitted."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("qkeras")

import keras_reference_more  # noqa: F401  (adds its functions to keras_reference)
from keras_compare import codes_of, keras_outputs
from keras_reference import evaluate
from layer_cells import fill
from qkeras_examples import EXAMPLES

from qsim.importers import load
from qsim.simulate import Simulator
from qsim.targets.files import emit


def run(name, narrow, count):
    model = fill(EXAMPLES[name](narrow), seed=4)
    graph = load(model, input_format="ufixed<8,0>")
    assert not any("near a tie" in note for note in graph.notes), "this seed holds a weight that float32 cannot decide"
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (count, *model.inputs[0].shape[1:])) / 256
    x[0] = 0
    trace = Simulator(graph).trace(x)
    compared = []
    for layer, value in keras_outputs(model, x.astype(np.float32)).items():
        if layer in trace and value.shape == trace[layer].shape:
            codes, off = codes_of(value, graph[layer])
            if "ulaw" in str(getattr(model.get_layer(layer), "kernel_quantizer_internal", "")):
                # Mu-law levels are logarithms rounded to float32: their sums exceed 2**24 units, and Keras rounds them.
                codes, off = codes_of(evaluate(model, x)[layer], graph[layer])
            assert off < 1e-3
            assert np.array_equal(codes, trace[layer]), f"{layer}: {(codes != trace[layer]).sum()} of {codes.size}"
            compared.append(layer)
    assert len(compared) >= 6, compared
    return graph


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, tmp_path):
    graph = run(name, 8, 20)
    for target in ("c", "hls", "rtl"):
        emit(graph, target, tmp_path / target)
        assert any((tmp_path / target).iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_example_at_full_width(name):
    run(name, 1, 4 if name == "qoctave" else 20)
