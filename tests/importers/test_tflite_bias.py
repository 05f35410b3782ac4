"""A bias that carries no quantization: XNNPACK leaves the operator to LiteRT's optimised kernels."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

from tflite_make import Maker, litert, simulate

from qsim.importers.tflite import load_tflite

CHANNELS = 4


def layer(kind: str, quantized: bool) -> tuple[bytes, int, tuple[int, ...]]:
    """One layer with a bias: (file, output tensor, input shape)."""
    rng = np.random.default_rng(7)
    scales = rng.uniform(0.001, 0.05, CHANNELS).astype(np.float32)
    make = Maker()
    window = {"padding": 0, "strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
    shapes = {"CONV_2D": (CHANNELS, 3, 3, CHANNELS), "DEPTHWISE_CONV_2D": (1, 3, 3, CHANNELS)}
    if kind == "FULLY_CONNECTED":
        shape: tuple[int, ...] = (36,)
        scales, out, options, axis = scales[:1], (1, CHANNELS), {}, {}
        kernel: tuple[int, ...] = (CHANNELS, 36)
    else:
        shape, out, kernel = (6, 6, CHANNELS), (1, 6, 6, CHANNELS), shapes[kind]
        axis = {"axis": 0 if kind == "CONV_2D" else 3}
        options = window if kind == "CONV_2D" else window | {"depthMultiplier": 1}
    x = make.input("x", (1, *shape), "INT8", 0.05, 5)
    weights = make.tensor("w", kernel, "INT8", scales, 0, rng.integers(-127, 128, kernel), **axis)
    given = {"axis": 0} if quantized and axis else {}
    bias_scale = np.float32(0.05) * scales if quantized else None
    bias = make.tensor("b", (CHANNELS,), "INT32", bias_scale, 0, rng.integers(-4000, 4000, CHANNELS), **given)
    y = make.tensor("y", out, "INT8", 0.3, -9)
    names = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "FULLY_CONNECTED": "FullyConnected"}
    make.operator(kind, [x, weights, bias], [y], f"{names[kind]}Options", **options)
    make.output(y)
    return make.bytes(), y, shape


@pytest.mark.parametrize("profile", ["litert-opt", "litert-xnnpack"])
@pytest.mark.parametrize("quantized", [True, False])
@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_a_bias_without_quantization(kind: str, quantized: bool, profile: str) -> None:
    data, y, shape = layer(kind, quantized)
    codes = np.random.default_rng(1).integers(-128, 128, (60, *shape)).astype(np.int8)
    expected = litert(data, [codes[:, None]], profile, keep=False)[y]
    made = simulate(load_tflite(data, profile=profile), [codes])["y"]
    assert np.array_equal(made.reshape(-1), expected.reshape(-1))
