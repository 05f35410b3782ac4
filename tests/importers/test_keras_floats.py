"""Layers with float weights under ``weights_format``: the same as Keras' own run of the weights rounded by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import qkeras

import qsim
from qsim.cli.app import main
from qsim.errors import UnsupportedError, UsageError
from qsim.simulate import Simulator

L = keras.layers


def network() -> Any:
    """The tutorial's kind: quantized activations between float layers, a float head."""
    given = keras.Input((8, 8, 2), name="input")
    x = qkeras.QActivation(qkeras.quantized_bits(6, 1, 1, alpha=1), name="first")(given)
    x = L.Conv2D(4, 3, name="conv")(x)
    x = qkeras.QActivation(qkeras.quantized_relu(6, 2), name="a1")(x)
    x = L.DepthwiseConv2D(2, name="depthwise")(x)
    x = qkeras.QActivation(qkeras.quantized_bits(6, 2, 1, alpha=1), name="a2")(x)
    x = L.SeparableConv2D(3, 2, name="separable")(x)
    x = qkeras.QActivation(qkeras.quantized_bits(6, 2, 1, alpha=1), name="a3")(x)
    x = L.Dense(5, activation="softmax", name="head")(L.Flatten(name="flat")(x))
    model = keras.Model(given, x, name="tutorial")
    rng = np.random.default_rng(4)
    for variable in model.weights:
        grid = 32 if "bias" in variable.path else 2**20
        variable.assign(np.round(rng.normal(0, 0.4, variable.shape) * grid) / grid)
    return model


def rounded(model: Any, formats: dict[str, tuple[int, int]]) -> Any:
    """The model with every kernel rounded half to even and saturated: name -> (width, integer bits)."""
    twin = keras.models.clone_model(model)
    for layer, own in zip(model.layers, twin.layers):
        values = layer.get_weights()
        for i, array in enumerate(values):
            if array.ndim > 1:
                width, integer = formats.get(layer.name, formats["*"])
                step = 2.0 ** (integer - width)
                codes = np.clip(np.rint(array / step), -(2 ** (width - 1)), 2 ** (width - 1) - 1)
                values[i] = (codes * step).astype("float32")
        own.set_weights(values)
    return twin


SAMPLES = np.random.default_rng(1).normal(0, 1, (40, 8, 8, 2)).astype("float32")


def test_one_format_for_all_and_others_by_name(tmp_path: Path) -> None:
    model = network()
    with pytest.raises(UnsupportedError, match=r"layer 'conv'.*--weights-format 'fixed<8,1>'"):
        qsim.load(model)
    model.save(tmp_path / "m.keras")
    for given, formats in (
        ("fixed<8,1>", {"*": (8, 1)}),
        ({"*": "fixed<6,1>", "head": "fixed<4,0>", "separable": "fixed<8,1>"},
         {"*": (6, 1), "head": (4, 0), "separable": (8, 1)}),
    ):  # fmt: skip
        theirs = np.asarray(rounded(model, formats)(SAMPLES))
        for source in (model, tmp_path / "m.keras"):
            graph = qsim.load(source, weights_format=given)
            assert np.allclose(Simulator(graph).run(SAMPLES), theirs, rtol=0, atol=2e-7)
            assert sum("are quantized by qsim" in note for note in graph.notes) == 4
    assert any("saturate" in note for note in graph.notes)


def test_its_cost_is_what_diff_shows() -> None:
    model = network()
    samples = SAMPLES[:10]
    fine = qsim.diff(qsim.load(model, weights_format="fixed<22,2>"), samples, against=model)
    coarse = qsim.diff(qsim.load(model, weights_format="fixed<3,1>"), samples, against=model)
    assert fine.ok
    assert not coarse.ok
    assert coarse.first.layer == "conv"


def test_names_and_texts_that_mean_nothing() -> None:
    model = network()
    for given, text in (
        ({"nothing": "int8"}, "names nothing, but the model's layers with float weights are: conv, depthwise"),
        ("eight bits", "cannot read the number format"),
        ({"head": 8}, "weights_format of 'head' is text"),
    ):
        with pytest.raises(UsageError, match=text):
            qsim.load(model, weights_format=given)
    with pytest.raises(UnsupportedError, match="layer 'conv'"):
        qsim.load(model, weights_format={"head": "fixed<8,1>"})
    with pytest.raises(UsageError, match="float weights are: none"):
        qsim.load(Path(qsim.__file__).parent / "demo" / "digits.keras", weights_format="int8")


def test_on_the_command_line(tmp_path: Path) -> None:
    network().save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", SAMPLES)
    files = [str(tmp_path / "m.keras"), "--input", str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]
    given = ["--weights-format", "fixed<6,1>", "--weights-format", "head=fixed<4,0>"]
    assert main(["run", *files, *given]) == 0
    graph = qsim.load(tmp_path / "m.keras", weights_format={"*": "fixed<6,1>", "head": "fixed<4,0>"})
    assert np.array_equal(np.load(tmp_path / "y.npy"), Simulator(graph).run(SAMPLES))
    assert main(["run", *files, *given, *given]) == 2
