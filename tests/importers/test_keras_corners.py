"""Models whose import once went wrong, each with the smallest network that shows it, against Keras itself."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
import qkeras

import qsim
from qsim.errors import UsageError
from qsim.ir.ops import Lookup, Threshold
from qsim.proof.ranges import ranges
from qsim.quantizers import quantizer
from qsim.reference.kernels import KERNELS

L = keras.layers


def same_as_keras(model: keras.Model, input_format: str | None, tmp_path: Path) -> qsim.Graph:
    """Save ``model``, load the file, and compare the outputs (shape and every value) on 16 inputs; the graph."""
    model.save(tmp_path / "model.keras")
    graph = qsim.load(tmp_path / "model.keras", input_format=input_format)
    (entry,) = graph.inputs
    tensor = graph[entry.tensor]
    rng = np.random.default_rng(1)
    codes = rng.integers(entry.low, entry.high + 1, (16, *tensor.shape))
    real = tensor.quantization.real(codes)
    expected = np.asarray(model(real.astype(np.float32), training=False), dtype=np.float64)
    np.testing.assert_array_equal(qsim.Simulator(graph).run(real), expected, strict=True)
    return graph


@pytest.mark.parametrize("pooling", [L.GlobalMaxPooling1D, L.GlobalAveragePooling1D])
@pytest.mark.parametrize("keepdims", [False, True])
def test_global_pooling_of_rows(pooling: type, keepdims: bool, tmp_path: Path) -> None:
    """keepdims gave (1, 1, C) instead of (1, C), on which no further 1-D layer would run."""
    x = i = keras.Input((4, 3), name="x")
    x = pooling(keepdims=keepdims, name="g")(x)
    same_as_keras(keras.Model(i, x), "fixed<6,2>", tmp_path)


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_a_relu_clips_at_the_float32_number(slope: float, tmp_path: Path) -> None:
    """3.3 is a float32 number to Keras, not the nearest float64 number."""
    x = i = keras.Input((4, 3), name="x")
    x = L.ReLU(max_value=3.3, name="r")(x)
    if slope:
        x = L.ReLU(max_value=2.7, negative_slope=slope, name="s")(x)
    graph = same_as_keras(keras.Model(i, x), "fixed<7,4>", tmp_path)
    assert Fraction(graph[graph.outputs[0].tensor].range[1]) * graph[graph.outputs[0].tensor].quantization.scale[0] == (
        Fraction(float(np.float32(2.7 if slope else 3.3)))
    )


def test_a_bound_that_the_file_does_not_keep_is_told(tmp_path: Path) -> None:
    """QKeras saves relu_upper_bound without is_quantized_clip: file and memory differ, which nothing said."""
    activation = qkeras.quantized_relu(6, 3, relu_upper_bound=2.5, is_quantized_clip=False)
    model = keras.Sequential([keras.Input((4,)), qkeras.QActivation(activation, name="r")])
    model.save(tmp_path / "model.keras")
    saved = qsim.load(tmp_path / "model.keras", input_format="fixed<8,4>")
    live = qsim.load(model, input_format="fixed<8,4>")
    assert [saved["r"].range[1], live["r"].range[1]] == [63, 20]
    assert any("layer r: relu_upper_bound=2.5" in note for note in saved.notes)
    assert not live.notes
    activation.is_quantized_clip = True
    assert qsim.load(model, input_format="fixed<8,4>") == saved


def test_an_input_format_that_is_none() -> None:
    model = keras.Sequential([keras.Input((4,)), qkeras.QActivation("quantized_relu(6,3)", name="r")])
    with pytest.raises(UsageError, match=r"such as 'fixed<8,1>'"):
        qsim.load(model, input_format=8)  # type: ignore[arg-type]


def test_blueoil_is_reached_from_the_package() -> None:
    assert vars(qsim.quantizers)["__getattr__"]("blueoil").twn_weight_quantizer.__name__ == "twn_weight_quantizer"


@pytest.mark.parametrize("act", ["quantized_hswish(5,2)", "quantized_hswish(6,1,relu_shift=6,relu_upper_bound=2)"])
@pytest.mark.parametrize("alpha", [1, "auto_po2"])
def test_a_hard_swish_behind_a_wide_accumulator(act: str, alpha: object, tmp_path: Path) -> None:
    """It falls before it rises, so that it was a table over every accumulator value: slow, large, or refused."""
    kernel = qkeras.quantized_bits(8, 0, 1, alpha=alpha)
    dense = qkeras.QDense(6, kernel_quantizer=kernel, bias_quantizer="quantized_bits(12,3,1,alpha=1)", name="d")
    model = keras.Sequential([keras.Input((9,), name="x"), dense, qkeras.QActivation(act, name="h")])
    rng = np.random.default_rng(2)
    dense.set_weights([rng.normal(0, 0.5, (9, 6)) * 2.0 ** np.arange(-5, 1), rng.normal(0, 1, 6)])
    graph = same_as_keras(model, "fixed<9,3>", tmp_path)
    assert [type(op).__name__ for op in graph.ops] == ["Dense", "Threshold", "Lookup"]
    accumulator, table = graph["d"], graph.ops[-1].table  # type: ignore[attr-defined]
    assert table.shape[1] < 200 < accumulator.range[1] - accumulator.range[0]
    rule = quantizer(act)
    assert rule is not None
    for channel in range(6):
        scale = accumulator.quantization.scale[channel if alpha != 1 else 0]
        low, high = (int(end[channel]) for end in ranges(graph)["d"].per_channel())
        codes = np.linspace(low, high, 3000).round().astype(np.int64)
        near = [round(turn / scale) + d for turn in (-6, -4, -3, -2, -1.5, 3) for d in range(-40, 41)]
        codes = np.concatenate([codes, [c for c in near if low <= c <= high]])
        x = np.zeros((len(codes), 6), dtype=np.int64)
        x[:, channel] = codes
        level = KERNELS[Threshold](graph.ops[1], [x], [accumulator], graph["h.level"])
        found = KERNELS[Lookup](graph.ops[2], [level], [graph["h.level"]], graph["h"])[:, channel]
        assert found.tolist() == [rule.rule().code(int(c) * scale) for c in codes]
