"""Real TFLite models in all three targets: C against the simulator and TensorFlow Lite Micro, HLS C++ and RTL against
the simulator, whole or layer by layer. Zero points, per-channel multipliers and double rounding are in all of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from test_tflite_models import mobilenet
from tflite_make import FILES, model_file, random_codes, tflm

from qsim.compare.stimulus import sample_codes
from qsim.compare.verify import Report, verify
from qsim.importers.tflite import load_tflite
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Scheme
from qsim.proof.extract import Extract
from qsim.simulate import Simulator

HELLO, SPEECH, KWS, AD, RESNET = FILES

MULTIPLIERS = 64
"""Budget of a layer on its own: at most some ten thousand cycles a frame, and memories that Verilator builds fast."""

DEFAULT = {("rtl", AD, 4), ("rtl", KWS, 1), ("rtl", KWS, 9), ("rtl", KWS, 12)}
DEFAULT |= {("hls", AD, 0), ("hls", AD, 4), ("hls", KWS, 0), ("hls", KWS, 1), ("hls", KWS, 9), ("hls", KWS, 12)}
"""What the default run takes: a convolution, a depthwise one and a dense layer, a pool and a softmax."""


@lru_cache(maxsize=1)
def loaded(name: str) -> tuple[Graph, dict[str, Any]]:
    """The graph, and every tensor's codes for six samples: corners first."""
    graph = load_tflite(model_file(name))
    return graph, Simulator(graph).trace_codes(sample_codes(graph, 6, seed=21))


def compare(graph: Graph, target: str, codes: dict[str, Any], budget: int = MULTIPLIERS, cocotb: int = 0) -> Report:
    """Every tensor of the target equal to the simulator's; for RTL also the cycles equal to the predicted ones."""
    options = {"folding": budget}
    rtl = {"cocotb_frames": cocotb, "check_cycles": True}
    report = verify(graph, codes, (target,), codes=True, options={"rtl": options}, settings={"rtl": rtl})
    assert report.ok, str(report)
    assert list(report.results[0].tensors) == list(graph.tensors)
    return report


def layer_codes(cut: Graph, traced: dict[str, Any]) -> dict[str, Any]:
    """Codes that the whole network feeds into the layer, and the layer's own corners, which reach the whole range."""
    own = sample_codes(cut, 4, seed=22)
    return {name: np.concatenate([traced[name][3:], values]) for name, values in own.items()}


def layer_cases() -> list[Any]:
    """Every layer of the models in HLS C++ and RTL; the default run takes some, the others are marked slow."""
    sizes = {SPEECH: 4, AD: 10, KWS: 13, RESNET: 16}
    cases = []
    for target in ("hls", "rtl"):
        for name, count in sizes.items():
            for index in range(count):
                slow = () if (target, name, index) in DEFAULT else (pytest.mark.slow,)
                cases.append(pytest.param(target, name, index, id=f"{target}-{name.split('.')[0]}-{index}", marks=slow))
    return cases


@pytest.mark.parametrize("name", FILES)
def test_c_equals_simulator_and_tflm(name: str) -> None:
    data = model_file(name).read_bytes()
    graph = load_tflite(data)
    batches = random_codes(graph, 24, seed=23)
    codes = {entry.tensor: batch for entry, batch in zip(graph.inputs, batches, strict=True)}
    report = compare(graph, "c", codes)
    assert report.results[0].samples == 24
    found = [report.results[0].outputs[out.tensor] for out in graph.outputs]
    for actual, expected in zip(found, tflm(data, batches), strict=True):
        assert np.array_equal(actual.reshape(24, -1), expected.reshape(24, -1))


@pytest.mark.parametrize("name", FILES)
def test_c_has_no_undefined_behaviour(name: str) -> None:
    graph = load_tflite(model_file(name))
    codes = sample_codes(graph, 2 if name == RESNET else 6, seed=24)
    assert verify(graph, codes, ("c",), codes=True, settings={"c": {"sanitize": True}}).ok


@pytest.mark.parametrize(("target", "cocotb"), [("hls", 0), ("rtl", 0), pytest.param("rtl", 4, marks=pytest.mark.slow)])
def test_hello_world_whole(target: str, cocotb: int) -> None:
    """All 256 inputs there are; some also through cocotb's AXI4-Stream models, with a reset in the middle."""
    graph = load_tflite(model_file(HELLO))
    name = graph.inputs[0].tensor
    codes = {name: np.arange(-128, 128).reshape(-1, *graph[name].shape)}
    compare(graph, target, codes, budget=16, cocotb=cocotb)


def test_the_layers_are_those_of_the_models() -> None:
    """The numbers below cover every layer, and the models have what these comparisons are about."""
    every = {(case.values[1], case.values[2]) for case in layer_cases()}
    for name in FILES[1:]:
        graph, _ = loaded(name)
        assert {index for model, index in every if model == name} == set(range(len(graph.layers())))
    graph, _ = loaded(KWS)
    scaled = [op for op in graph.ops if isinstance(op, o.Requantize)]
    assert {op.rescale.scheme for op in scaled} == {Scheme.TFLITE_DOUBLE}
    assert any(op.rescale.multiplier.values.size == 64 for op in scaled)
    linear = [op for op in graph.ops if isinstance(op, o.Conv2D | o.Dense)]
    assert any(op.input_zero_point for op in linear)
    assert any(op.groups > 1 for op in linear if isinstance(op, o.Conv2D))


@pytest.mark.parametrize(("target", "name", "index"), layer_cases())
def test_layers(target: str, name: str, index: int) -> None:
    """One layer on its own."""
    graph, traced = loaded(name)
    cut = Extract(layers=(graph.layers()[index],), name=f"layer{index}")(graph)
    compare(cut, target, layer_codes(cut, traced))


@pytest.mark.slow
@pytest.mark.parametrize(("target", "name"), [("hls", n) for n in FILES[1:]] + [("rtl", SPEECH), ("rtl", AD)])
def test_networks_whole(target: str, name: str) -> None:
    graph = load_tflite(model_file(name))
    compare(graph, target, sample_codes(graph, 3, seed=25), budget=256)


@pytest.mark.slow
def test_one_keyword_spotting_frame_through_rtl() -> None:
    """The whole network, every tensor of one frame, with random gaps, and free-running in the predicted cycles."""
    data = model_file(KWS).read_bytes()
    graph = load_tflite(data)
    batches = random_codes(graph, 5, seed=26)
    frame = {graph.inputs[0].tensor: batches[0][4:]}
    report = compare(graph, "rtl", frame, budget=512)
    expected = tflm(data, [batches[0][4:]])[0]
    assert np.array_equal(report.results[0].outputs[graph.outputs[0].tensor].reshape(-1), expected.reshape(-1))


@lru_cache(maxsize=1)
def person_detect() -> tuple[bytes, Graph, dict[str, Any]]:
    """The architecture of TFLM's person_detect and MLPerf Tiny's visual wake words, with random weights."""
    data = mobilenet(np.random.default_rng(9))
    graph = load_tflite(data)
    return data, graph, Simulator(graph).trace_codes(sample_codes(graph, 6, seed=27))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["c", "hls"])
def test_person_detect_whole(target: str) -> None:
    data, graph, _ = person_detect()
    batches = random_codes(graph, 12 if target == "c" else 5, seed=28)
    report = compare(graph, target, {graph.inputs[0].tensor: batches[0]}, budget=256)
    found = report.results[0].outputs[graph.outputs[0].tensor]
    expected = tflm(data, batches)[0]
    assert np.array_equal(found.reshape(len(batches[0]), -1), expected.reshape(len(batches[0]), -1))


@pytest.mark.slow
@pytest.mark.parametrize("index", range(31))
def test_person_detect_layers_through_rtl(index: int) -> None:
    _, graph, traced = person_detect()
    assert len(graph.layers()) == 31
    cut = Extract(layers=(graph.layers()[index],), name=f"layer{index}")(graph)
    compare(cut, "rtl", layer_codes(cut, traced))


def test_another_rounding_is_seen() -> None:
    """LiteRT's optimised kernels round the second time in another way: the comparison with TFLM can fail."""
    data = model_file(RESNET).read_bytes()
    graph = load_tflite(data, profile="litert-opt")
    batches = random_codes(graph, 24, seed=23)
    codes = {graph.inputs[0].tensor: batches[0]}
    report = compare(graph, "c", codes)
    found = report.results[0].outputs[graph.outputs[0].tensor]
    assert (found.reshape(24, -1) != tflm(data, batches)[0].reshape(24, -1)).any()
