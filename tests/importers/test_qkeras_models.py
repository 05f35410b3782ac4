"""The real models, file to codes, against the models as qkeras-v3 runs them."""

from __future__ import annotations

import json

import numpy as np
import pytest

keras = pytest.importorskip("keras")
qkeras = pytest.importorskip("qkeras")

from keras_compare import check  # noqa: E402

from qsim.importers import load  # noqa: E402
from qsim.simulate import Simulator  # noqa: E402

JET_FORMAT = "fixed<12,6>"


def jet_inputs(count: int) -> np.ndarray:
    """Standardized features with corners: limits, zero, ties of the input format, one-hot extremes."""
    rng = np.random.default_rng(7)
    x = rng.normal(0, 2, (count, 16))
    x[0], x[1], x[2] = 0, 31.99, -32
    x[3] = (rng.integers(-500, 500, 16) + 0.5) / 64
    x[4:20] = np.eye(16) * 31
    return x


def on_format(x: np.ndarray, frac: int, low: int, high: int) -> np.ndarray:
    """The values that the boundary makes of x: what the float model must be fed for a comparison."""
    return (np.clip(np.rint(x * 2.0**frac), low, high) / 2.0**frac).astype(np.float32)


def test_jet_tagger(models):
    path = models / "qkeras" / "qkeras-v3_3layer.keras"
    graph = load(path, input_format=JET_FORMAT)
    live = keras.models.load_model(path, compile=False)
    x = on_format(jet_inputs(1000), 6, -2048, 2047)
    result = check(live, graph, x)
    names = ["fc1", "relu1", "fc2", "relu2", "fc3", "relu3", "output"]
    assert [n for n in result["keras"] if n in names] == names
    assert graph.outputs[0].boundary == "softmax"
    assert any("softmax" in note and "outside the hardware" in note for note in graph.notes)
    probabilities = np.asarray(live(x))
    np.testing.assert_allclose(Simulator(graph).run(x), probabilities, atol=1e-6)


def test_jet_tagger_in_memory_gives_the_same_graph(models):
    path = models / "qkeras" / "qkeras-v3_3layer.keras"
    live = keras.models.load_model(path, compile=False)
    assert load(live, input_format=JET_FORMAT) == load(path, input_format=JET_FORMAT)


def equivalent_mnist_cnn(weights_path):
    """The Keras 2 network of qkeras_mnist_cnn.json, written again for qkeras-v3, with the same weights."""
    import h5py

    def bits():
        return qkeras.quantized_bits(6, 0, alpha=1)

    model = keras.Sequential(
        [
            keras.Input((28, 28, 1), name="input_1"),
            qkeras.QConv2D(16, 3, activation="relu", kernel_quantizer=bits(), bias_quantizer=bits(), name="q_conv2d"),
            qkeras.QActivation("quantized_relu(6)", name="q_activation"),
            keras.layers.MaxPooling2D(name="max_pooling2d"),
            qkeras.QConv2D(16, 3, activation="relu", kernel_quantizer=bits(), bias_quantizer=bits(), name="q_conv2d_1"),
            qkeras.QActivation("quantized_relu(6)", name="q_activation_1"),
            keras.layers.MaxPooling2D(name="max_pooling2d_1"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dropout(0.5, name="dropout"),
            qkeras.QDense(10, kernel_quantizer=bits(), bias_quantizer=bits(), name="q_dense"),
            keras.layers.Activation("softmax", name="softmax"),
        ],
        name="sequential",
    )
    with h5py.File(weights_path) as file:
        for layer in model.layers:
            group = file[layer.name] if layer.name in file else file["model_weights"][layer.name]
            names = list(group.attrs["weight_names"])
            if names:
                layer.set_weights([np.asarray(group[n.decode() if isinstance(n, bytes) else n]) for n in names])
    return model


def test_legacy_mnist_cnn(models):
    folder = models / "qkeras"
    architecture, weights = folder / "qkeras_mnist_cnn.json", folder / "qkeras_mnist_cnn_weights.h5"
    graph = load(architecture, weights, input_format="ufixed<8,0>")
    live = equivalent_mnist_cnn(weights)
    assert [c["class_name"] for c in json.loads(architecture.read_text())["config"]["layers"]][1:] == [
        type(layer).__name__ for layer in live.layers
    ]
    rng = np.random.default_rng(11)
    x = rng.integers(0, 256, (1000, 28, 28, 1))
    x[rng.random(x.shape) < 0.6] = 0
    x[0], x[1], x[2] = 0, 255, np.indices((28, 28)).sum(axis=0)[..., None] % 2 * 255
    result = check(live, graph, (x / 256).astype(np.float32))
    assert {"q_activation", "max_pooling2d", "q_activation_1", "flatten", "q_dense"} <= set(result["keras"])
    assert load(live, input_format="ufixed<8,0>") == graph


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_saved_model_gives_the_graph_of_the_one_in_memory(tmp_path, suffix):
    from random_models import Maker

    saved = 0
    for seed in range(40):
        model = Maker(seed).model()
        if any(getattr(q, "is_quantized_clip", True) is False for layer in model.layers for q in quantizers(layer)):
            continue  # QKeras does not save is_quantized_clip: the loaded model is another one
        path = tmp_path / f"model{seed}{suffix}"
        try:
            model.save(path)
        except TypeError:
            continue  # qkeras-v3's own quantizers with numpy arguments have no JSON form
        assert load(path) == load(model), seed
        saved += 1
        if saved == 6:
            return
    pytest.fail(f"only {saved} models could be saved")


def quantizers(layer):
    return [*(getattr(layer, "quantizers", None) or []), getattr(layer, "activation", None)]
