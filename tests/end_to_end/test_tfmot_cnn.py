"""The CNN that users train quantization-aware with tfmot, all the way: Keras, converter, TFLM, all three targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tflite_make import differences, litert, random_codes, simulate, tflm, tflm_all
from tfmot_models import SHAPE, int8_file, trained, users_cnn

import qsim
from qsim.compare.stimulus import sample_codes
from qsim.compare.verify import verify
from qsim.importers.tflite import load_tflite
from qsim.ir import Graph
from qsim.proof.extract import Extract

PLAIN, WRAPPED = 7101, 7131

LAYERS = 10
"""Convolution, pool, three times; mean; dense; dense; sigmoid."""


@dataclass(frozen=True)
class Trained:
    """The Keras model before and after wrapping and training, the converter's file and its graph."""

    plain: Any
    model: Any
    data: bytes
    graph: Graph


@pytest.fixture(scope="module")
def cnn() -> Trained:
    plain = users_cnn()
    model = trained(plain)
    data = int8_file(model)
    return Trained(plain, model, data, load_tflite(data))


def test_parameters(cnn: Trained) -> None:
    assert cnn.plain.count_params() == PLAIN
    assert cnn.model.count_params() == WRAPPED
    frozen = sum(int(np.prod(w.shape)) for w in cnn.model.non_trainable_weights)
    assert frozen == WRAPPED - PLAIN == 30


@pytest.mark.parametrize("profile", ["tflm", "litert-ref", "litert-opt"])
def test_every_tensor_equals_the_engines(cnn: Trained, profile: str) -> None:
    graph = load_tflite(cnn.data, profile=profile)
    batches = random_codes(graph, 30, seed=31)
    traced = simulate(graph, batches)
    reference = tflm_all(cnn.data, batches) if profile == "tflm" else litert(cnn.data, batches, profile)
    assert len(reference) == len(graph.layers()) == LAYERS
    assert len(np.unique(traced[graph.outputs[0].tensor])) > 1
    assert not differences(graph, cnn.data, traced, reference)


def test_the_model_in_memory_computes_the_same(cnn: Trained) -> None:
    """qsim's own conversion, from real inputs: TFLM's codes of the converter's file."""
    x = np.random.default_rng(32).normal(0, 1, (12, *SHAPE)).astype(np.float32)
    own = qsim.load(cnn.model)
    sent = qsim.Simulator(own).quantize(x)[own.inputs[0].tensor].astype(np.int8)
    codes = tflm(cnn.data, [sent])[0].reshape(12, -1)
    traced = qsim.Simulator(own).trace(x)[own.outputs[0].tensor].reshape(12, -1)
    assert np.array_equal(traced, codes)


def test_c(cnn: Trained) -> None:
    batches = random_codes(cnn.graph, 20, seed=33)
    codes = {cnn.graph.inputs[0].tensor: batches[0]}
    report = verify(cnn.graph, codes, ("c",), codes=True)
    assert report.ok, str(report)
    found = report.results[0].outputs[cnn.graph.outputs[0].tensor]
    assert np.array_equal(found.reshape(20, -1), tflm(cnn.data, batches)[0].reshape(20, -1))


def test_hls(cnn: Trained) -> None:
    report = verify(cnn.graph, sample_codes(cnn.graph, 2, seed=34), ("hls",), codes=True)
    assert report.ok, str(report)
    assert list(report.results[0].tensors) == list(cnn.graph.tensors)


def compare_rtl(graph: Graph, codes: dict[str, Any], budget: int, cocotb: int = 0) -> None:
    """Every tensor, with random gaps, and free-running in the predicted cycles."""
    options = {"folding": budget}
    settings = {"cocotb_frames": cocotb, "check_cycles": True}
    report = verify(graph, codes, ("rtl",), codes=True, options={"rtl": options}, settings={"rtl": settings})
    assert report.ok, str(report)
    assert list(report.results[0].tensors) == list(graph.tensors)


def test_rtl_of_the_dense_end(cnn: Trained) -> None:
    """Mean, dense layers and sigmoid in one design."""
    cut = Extract(layers=cnn.graph.layers()[-4:], name="dense_end")(cnn.graph)
    compare_rtl(cut, sample_codes(cut, 6, seed=35), budget=16)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(LAYERS))
def test_rtl_layers(cnn: Trained, index: int) -> None:
    assert len(cnn.graph.layers()) == LAYERS
    cut = Extract(layers=(cnn.graph.layers()[index],), name=f"layer{index}")(cnn.graph)
    compare_rtl(cut, sample_codes(cut, 3, seed=36), budget=64)


@pytest.mark.slow
def test_rtl_whole(cnn: Trained) -> None:
    compare_rtl(cnn.graph, sample_codes(cnn.graph, 3, seed=37), budget=256)
