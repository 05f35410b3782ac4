"""Real models through the C target: every tensor equal to the simulator, in strict and in sanitized builds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from built import ran

import qsim
from qsim.ir import Graph
from qsim.simulate import Simulator
from qsim.targets.files import emit

TFLITE = (
    "hello_world_int8.tflite",
    "kws_ref_model.tflite",
    "micro_speech_quantized.tflite",
    "ad01_int8.tflite",
    "pretrainedResnet_quant.tflite",
)


def check(graph: Graph, folder: Path, samples: int, *, sanitize: bool) -> None:
    """Lowest, highest and random codes."""
    rng = np.random.default_rng(0)
    codes = {}
    for entry in graph.inputs:
        x = rng.integers(entry.low, entry.high + 1, (samples, *graph[entry.tensor].shape))
        x[0], x[1] = entry.low, entry.high
        codes[entry.tensor] = x
    emit(graph, "c", folder)
    actual = ran(graph, "c", folder, codes, sanitize=sanitize)
    for name, expected in Simulator(graph).trace_codes(codes).items():
        assert np.array_equal(expected, actual[name]), name


@pytest.mark.parametrize("name", TFLITE)
def test_tflite_models(name: str, models: Path, tmp_path: Path) -> None:
    check(qsim.load(models / "tflite" / name), tmp_path, 6, sanitize=name != "pretrainedResnet_quant.tflite")


def test_qkeras_archive(models: Path, tmp_path: Path) -> None:
    graph = qsim.load(models / "qkeras" / "qkeras-v3_3layer.keras", input_format="fixed<16,6>")
    check(graph, tmp_path, 200, sanitize=True)


def test_qkeras_json_and_weights(models: Path, tmp_path: Path) -> None:
    folder = models / "qkeras"
    graph = qsim.load(
        folder / "qkeras_mnist_cnn.json",
        weights=folder / "qkeras_mnist_cnn_weights.h5",
        input_format="ufixed<8,0>",
    )
    check(graph, tmp_path, 10, sanitize=True)


def test_the_arena_of_a_residual_network_holds_codes_not_accumulators(models: Path) -> None:
    """ResNet-8: three 32x32x16 maps of one byte are alive at once in its first block, and of wider ones only four
    positions: 3x3x16 inputs of 16 bits and 16 sums of 32 bits of each."""
    from qsim.targets.c.design import plan

    graph = qsim.load(models / "tflite" / "pretrainedResnet_quant.tflite")
    assert plan(graph).footprint.arena == 3 * 32 * 32 * 16 + 4 * (3 * 3 * 16 * 2 + 16 * 4)
