"""What a tensor says of its quantization decides whether XNNPACK takes an operator, or LiteRT's optimised kernels."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

from tflite_make import Maker, litert, simulate, tflm

from qsim.errors import UnsupportedError
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


CHANGES: dict[str, tuple[str, str, object]] = {
    "input names a dimension": ("x", "quantizedDimension", 1),
    "output names a dimension": ("y", "quantizedDimension", 1),
    "weights name a dimension": ("w", "quantizedDimension", 1),
    "bias has a zero point": ("b", "zeroPoint", [3]),
    "bias has the scale 0": ("b", "scale", [0.0]),
    "bias has a subnormal scale": ("b", "scale", [1e-42]),
}


@pytest.mark.parametrize("kind", ["CONV_2D", "FULLY_CONNECTED"])
def test_quantizations_that_xnnpack_does_not_define(kind: str) -> None:
    """Thousands of channels, so that one kernel's rounding shows against another's."""
    n = 3000
    rng = np.random.default_rng(2)
    weights = rng.integers(-127, 128, (n, 4))
    bias = rng.integers(-30000, 30000, n)
    codes = rng.integers(-128, 128, (20, 4)).astype(np.int8)
    differing = {}
    for change, (name, key, value) in {"none": ("x", "quantizedDimension", 0), **CHANGES}.items():
        maker = Maker()
        lead = (1,) if kind == "FULLY_CONNECTED" else (1, 1, 1)
        shape = (n, 4) if kind == "FULLY_CONNECTED" else (n, 1, 1, 4)
        x = maker.input("x", (*lead, 4), "INT8", 0.0371, 5)
        w = maker.tensor("w", shape, "INT8", 0.0123, 0, weights)
        b = maker.tensor("b", (n,), "INT32", np.float32(0.0371) * np.float32(0.0123), 0, bias)
        y = maker.tensor("y", (*lead, n), "INT8", 0.117, -9)
        tensor = next(t for t in maker.graph.tensors if t.name == name.encode())
        setattr(tensor.quantization, key, value)
        fields = {} if kind == "FULLY_CONNECTED" else {"padding": 0, "strideW": 1, "strideH": 1}
        maker.operator(kind, [x, w, b], [y], "FullyConnectedOptions" if not fields else "Conv2DOptions", 4, **fields)
        maker.output(y)
        data = maker.bytes()
        try:
            expected = litert(data, [codes], "litert-xnnpack", keep=False)[y].reshape(-1)
        except RuntimeError:
            continue
        found = {
            p: simulate(load_tflite(data, profile=p), [codes.reshape(20, *lead[1:], 4)])["y"].reshape(-1)
            for p in ("litert-opt", "litert-xnnpack")
        }
        assert np.array_equal(found["litert-xnnpack"], expected), change
        differing[change] = int((found["litert-opt"] != expected).sum())
    assert differing["none"] > 10
    assert sum(count == 0 for count in differing.values()) >= 3


def test_xnnpack_converts_unsigned_bytes_too() -> None:
    maker = Maker()
    x = maker.input("x", (1, 256), "UINT8", 0.0371, 100)
    y = maker.tensor("y", (1, 256), "UINT8", 0.0123, 77)
    maker.operator("QUANTIZE", [x], [y], "QuantizeOptions")
    maker.output(y)
    data, codes = maker.bytes(), np.arange(256, dtype=np.uint8)[None]
    found = {p: simulate(load_tflite(data, profile=p), [codes])["y"][0] for p in ("litert-opt", "litert-xnnpack")}
    assert np.array_equal(
        found["litert-xnnpack"], litert(data, [codes[None]], "litert-xnnpack", keep=False)[y].reshape(-1)
    )
    assert (found["litert-xnnpack"] != found["litert-opt"]).any()


def test_32_bit_codes_that_an_engine_doubles_are_refused() -> None:
    """The engines multiply by one as 2 * 2**30 / 2**31, and 32-bit codes lose their topmost bit on the way."""
    maker = Maker()
    x, y = maker.input("x", (1, 8), "INT32", 0.5, 0), maker.tensor("y", (1, 8), "INT8", 0.5, 0)
    maker.operator("QUANTIZE", [x], [y], "QuantizeOptions")
    maker.output(y)
    codes = np.array([[1 << 30, -(1 << 30) - 1, 5, -5, 0, 127, -128, 1]], np.int32)
    assert tflm(maker.bytes(), [codes])[0].reshape(-1)[0] != 127
    with pytest.raises(UnsupportedError, match="beyond int32"):
        load_tflite(maker.bytes())


def test_a_constant_operand_of_scale_zero_is_refused() -> None:
    maker = Maker()
    x, k = maker.input("x", (1, 8), "INT8", 0.5, 0), maker.tensor("k", (1, 8), "INT8", 0.0, 0, np.arange(8))
    y = maker.tensor("y", (1, 8), "INT8", 0.5, 0)
    maker.operator("ADD", [x, k], [y], "AddOptions")
    maker.output(y)
    with pytest.raises(UnsupportedError, match="scale 0"):
        load_tflite(maker.bytes())
