"""Layers in words: their own numbers stand in the text, and what the text says computes the codes."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
from graphs import corner_codes, random_graph, small_cnn

import qsim
from qsim.compare.stimulus import sample_codes
from qsim.debug.words.describe import describe, summary
from qsim.debug.words.text import number, short
from qsim.debug.words.wrapper import PURPOSES, wrapper_variables
from qsim.debug.words.wrapper_measure import measure
from qsim.demo.flow import MODEL
from qsim.errors import UsageError
from qsim.ir import ops as o
from qsim.simulate import Simulator


def text(parts) -> str:
    return "\n".join(line for part in parts for line in part.lines)


def test_every_layer_of_many_graphs_is_described() -> None:
    for seed in range(40):
        graph = random_graph(seed)
        found = describe(graph, corner_codes(graph, 3))
        assert [d.layer for d in found[1:]] == list(graph.layers())
        for described in found[1:]:
            assert described.steps, described.layer
            assert described.steps[-1].layer == described.layer
            for part in described.parts:
                assert all(line.endswith(".") for line in part.lines), part


def test_the_numbers_are_the_layers_own() -> None:
    graph = qsim.load(MODEL)
    found = {d.layer: d for d in describe(graph, sample_codes(graph, 16, 1))}
    for op in graph.ops:
        words = text(found[op.layer].parts)
        tensor = graph[op.output]
        assert f"within [{tensor.range[0]}, {tensor.range[1]}]" in words
        if isinstance(op, o.Requantize):
            assert f", {op.low}, {op.high}), where " in words
            assert f"[{number(op.low * tensor.quantization.scale[0])}, " in words
        if isinstance(op, o.Conv2D | o.Dense):
            assert f"from {op.weights.low} to {op.weights.high}" in words
            assert f"from {op.bias.low} to {op.bias.high}" in words
            unit = tensor.quantization.scale[0] / graph[op.inputs[0]].quantization.scale[0]
            assert f"worth {number(unit)}" in words


def test_the_worked_element_is_the_simulators() -> None:
    graph = small_cnn()
    codes = corner_codes(graph, 20)
    trace = Simulator(graph).trace_codes(codes)
    for described in describe(graph, codes)[1:]:
        for step in described.steps:
            assert step.value == trace[step.tensor][described.sample][step.index]
        last = described.steps[-1]
        assert f"code {last.value} of {last.tensor!r}" in text(described.parts)


def test_layers_are_found_by_short_names_and_parts() -> None:
    graph = qsim.load(MODEL)
    codes = sample_codes(graph, 3, 0)
    assert [d.layer for d in describe(graph, codes, ["logit"])][1:] == ["logits"]
    with pytest.raises(UsageError, match="not one layer"):
        describe(graph, codes, ["conv"])


def test_short_names() -> None:
    assert short("conv1.acc") == "conv1.acc"
    assert short("a/b;c/d;e.acc") == "a/b;...acc"
    assert len(short("x" * 100)) == 48
    assert number(Fraction(1, 64)) == "2^-6 (0.015625)"
    assert number(Fraction(3)) == "3"


def wrapped_model():
    """The 56 x 56 x 1 network of the brief, before and after wrapping and a training step: ReLUs are layers of their
    own."""
    keras = pytest.importorskip("tf_keras")
    tfmot = pytest.importorskip("tensorflow_model_optimization")
    layers = [keras.layers.Input((56, 56, 1))]
    for filters in (30, 16, 16):
        layers += [keras.layers.Conv2D(filters, 3), keras.layers.ReLU(), keras.layers.MaxPool2D()]
    layers[-1:] = [
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(8),
        keras.layers.ReLU(),
        keras.layers.Dense(1),
    ]
    plain = keras.Sequential([*layers, keras.layers.Activation("sigmoid")])
    model = tfmot.quantization.keras.quantize_model(plain)
    model.compile("sgd", "binary_crossentropy")
    x = np.random.default_rng(0).random((16, 56, 56, 1)).astype(np.float32)
    model.fit(x, np.arange(16) % 2, epochs=1, verbose=0)
    return plain, model


@pytest.fixture(scope="module")
def wrapped():
    return wrapped_model()


def test_the_wrappers_variables_add_up(wrapped, tmp_path: Path) -> None:
    plain, model = wrapped
    assert (plain.count_params(), model.count_params()) == (7101, 7131)
    sources = {"memory": model, "h5": tmp_path / "q.h5", "keras": tmp_path / "q.keras"}
    model.save(sources["h5"])
    model.save(sources["keras"])
    by_source = {name: wrapper_variables(source) for name, source in sources.items()}
    for name, added in by_source.items():
        assert sum(v.size for group in added.values() for v in group) == 30, name
        assert "7,101 numbers became 7,131: 30 variables with 30 numbers" in summary(added)
        assert all(v.purpose in PURPOSES.values() for group in added.values() for v in group)
    shapes = [
        {layer: [(v.name.split("/")[-1], v.shape) for v in group] for layer, group in added.items()}
        for added in by_source.values()
    ]
    assert shapes[0] == shapes[1] == shapes[2]
    assert [len(group) for group in by_source["memory"].values()] == [3, 1, 3, 1, 1, 3, 1, 1, 3, 3, 1, 3, 5, 1]


def test_sources_without_wrappers_have_none(tmp_path: Path) -> None:
    assert wrapper_variables(MODEL) == {}
    assert wrapper_variables(None) == {}
    assert wrapper_variables(tmp_path / "absent.h5") == {}
    (tmp_path / "bad.keras").write_bytes(b"PK\x03\x04nonsense")
    assert wrapper_variables(tmp_path / "bad.keras") == {}
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_dataset("x", data=np.zeros(3))
    assert wrapper_variables(tmp_path / "empty.h5") == {}


def test_a_wrapped_model_is_explained_with_its_variables(wrapped, tmp_path: Path) -> None:
    wrapped[1].save(tmp_path / "q.h5")
    graph = qsim.load(tmp_path / "q.h5")
    found = describe(graph, sample_codes(graph, 8, 0), source=tmp_path / "q.h5")
    listed = [v.name for d in found for v in d.variables]
    assert len(listed) == len(set(listed)) == 30
    words = {d.layer: text(d.parts) for d in found}
    fused = [layer for layer, said in words.items() if "differ here by the rounding of the weights" in said]
    linear = [op.layer for op in graph.ops if isinstance(op, o.Conv2D | o.Dense)]
    assert fused == linear[:-1], "the last dense keeps its kernel's range"
    op = next(op for op in graph.ops if isinstance(op, o.Requantize))
    assert f" * {int(op.rescale.multiplier.values.reshape(-1)[0])} + 2^30) / 2^31)" in words[op.layer]
    # How far Keras lies from the integers, in every layer that Keras has: pools only move codes.
    assert [layer for layer, said in words.items() if layer and "Measured on 8 samples" not in said] == []
    assert all("Measured on 8 samples: 0 of" in said for layer, said in words.items() if "max_pooling" in layer)
    assert any(re.search(r"Measured on 8 samples: [1-9][\d,]* of", said) for said in words.values())


def test_measured_differences_are_those_of_the_model(wrapped) -> None:
    """Another model's numbers lie further off, where its weights are others and not before."""
    import tensorflow_model_optimization
    import tf_keras

    model = wrapped[1]
    graph = qsim.load(model)
    trace = Simulator(graph).trace_codes(sample_codes(graph, 4, 0))
    with tensorflow_model_optimization.quantization.keras.quantize_scope():
        other = tf_keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    before = measure(graph, trace, graph.layers(), other)
    assert before == measure(graph, trace, graph.layers(), model)
    kernels = [w for w in other.weights if w.name.endswith("kernel:0")]
    kernels[1].assign(kernels[1] * 1.5)
    after = measure(graph, trace, graph.layers(), other)
    convolutions = [op.layer for op in graph.ops if isinstance(op, o.Conv2D)]
    assert after[convolutions[0]] == before[convolutions[0]]
    assert after[convolutions[1]].alone[0] > 2 * before[convolutions[1]].alone[0]
    assert after[convolutions[2]].alone == before[convolutions[2]].alone
    assert after[convolutions[2]].carried[0] > before[convolutions[2]].carried[0]
