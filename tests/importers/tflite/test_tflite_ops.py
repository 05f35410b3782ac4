"""Every operator alone: random shapes, scales and zero points, against the engines themselves, every code."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_make import Maker, differences, litert, random_codes, simulate, tflm
from tflite_ops import CASES, CASES16, CASES16_ELSEWHERE, build

from qsim.errors import UnsupportedError
from qsim.importers.tflite import load_tflite, survey
from qsim.importers.tflite.load import read_source
from qsim.importers.tflite.operators import OPERATORS

SEEDS = 12
NOT_IN_MICRO = ("RELU_N1_TO_1",)
"""Operators that TensorFlow Lite Micro does not register: profile tflm gives them LiteRT's arithmetic in float64."""

REFUSED = {
    "litert-ref": (),
    "litert-opt": ("QUANTIZE int8 int16", "QUANTIZE int16 int8", "SOFTMAX int8 int16"),
    "litert-xnnpack": ("QUANTIZE int8 int16", "QUANTIZE int16 int8", "SOFTMAX int8 int16"),
}


def compare(name: str, kind: str, profile: str, seeds: int = SEEDS) -> None:
    compared = 0
    for seed in range(seeds):
        data = build(name, seed, kind, always_bias=profile != "tflm")
        graph = load_tflite(data, profile=profile)
        codes = random_codes(graph, 24, seed)
        if profile == "tflm":
            reference = dict(zip(read_source(data).outputs, tflm(data, codes), strict=True))
        else:
            reference = litert(data, codes, profile, keep=False)
        assert not differences(graph, data, simulate(graph, codes), reference), (name, seed)
        compared += sum(v.size for v in reference.values())
    assert compared > 24 * seeds


@pytest.mark.parametrize("name", [n for n in CASES if n not in NOT_IN_MICRO])
def test_int8_against_tflm(name: str) -> None:
    compare(name, "INT8", "tflm")


@pytest.mark.parametrize("name", list(CASES16))
def test_int16_against_tflm(name: str) -> None:
    compare(name, "INT16", "tflm")


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("profile", ["litert-ref", "litert-opt"])
def test_int8_against_litert(name: str, profile: str) -> None:
    if name in REFUSED[profile]:
        with pytest.raises(UnsupportedError, match=name.split()[0]):
            load_tflite(build(name, 0), profile=profile)
    else:
        compare(name, "INT8", profile)


@pytest.mark.parametrize("name", [n for n in CASES if n not in REFUSED["litert-xnnpack"]])
def test_int8_against_xnnpack(name: str) -> None:
    """Models that LiteRT with XNNPACK refuses to run are left out; most it runs."""
    compared = 0
    for seed in range(20):
        data = build(name, seed, "INT8", always_bias=True)
        graph = load_tflite(data, profile="litert-xnnpack")
        codes = random_codes(graph, 24, seed)
        try:
            reference = litert(data, codes, "litert-xnnpack", keep=False)
        except RuntimeError:
            continue
        assert not differences(graph, data, simulate(graph, codes), reference), (name, seed)
        compared += 1
    assert compared >= 8


@pytest.mark.parametrize("name", [n for n in CASES16 if n != "SUM"])
def test_int16_against_litert_reference(name: str) -> None:
    compare(name, "INT16", "litert-ref")


def test_int16_sum_of_litert_reference_is_refused() -> None:
    """Its kernel reads the codes as bytes."""
    with pytest.raises(UnsupportedError, match="bytes"):
        load_tflite(build("SUM", 0, "INT16"), profile="litert-ref")


@pytest.mark.parametrize("name", list(CASES16_ELSEWHERE))
def test_int16_without_a_kernel_in_micro(name: str) -> None:
    """TensorFlow Lite Micro refuses them; the import says so in a note, and where LiteRT's reference kernels run them,
    they are equal. PRELU with int16 slopes, which every kernel reads as int8, is refused."""
    data = build(name, 1, "elsewhere")
    with pytest.raises(RuntimeError):
        tflm(data, [np.zeros((1, *read_source(data).tensors[i].shape), np.int16) for i in read_source(data).inputs])
    if name == "PRELU":
        with pytest.raises(UnsupportedError, match="INT8"):
            load_tflite(data)
    else:
        assert any("has no INT16 kernel" in note for note in load_tflite(data).notes)
    if name not in ("PRELU", "ARG_MAX", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE"):
        compare(name, "elsewhere", "litert-ref")


def test_every_lowering_has_a_case() -> None:
    assert {n.split()[0] for n in CASES} == set(OPERATORS)


def _elementwise(op: str, options: str | None, kind: str, scales: tuple[np.float32, ...], **fields: object) -> bytes:
    """A model of thousands of codes with 16-bit outputs, where the last bit of a multiplier shows."""
    maker = Maker()
    inputs = [maker.input(f"x{i}", (1, 20000), kind, s) for i, s in enumerate(scales[:-1])]
    y = maker.tensor("y", (1, 20000), kind, scales[-1])
    maker.output(y)
    maker.operator(op, inputs, [y], options, 2, **fields)
    return maker.bytes()


@pytest.mark.parametrize("profile", ["tflm", "litert-ref"])
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL", "RELU", "LEAKY_RELU", "QUANTIZE", "MEAN"])
def test_the_precision_of_the_factors(op: str, profile: str) -> None:
    rng = np.random.default_rng(7)
    for seed in range(6):
        a, b = (np.float32(s) for s in np.exp(rng.uniform(-6, -1, 2)))
        if op in ("ADD", "SUB"):
            data = _elementwise(
                op, op.title() + "Options", "INT16", (a, b, np.float32(max(a, b) * rng.uniform(0.8, 2)))
            )
        elif op == "MUL":
            data = _elementwise(op, "MulOptions", "INT16", (a, b, np.float32(a * b * 20000)))
        elif op == "MEAN":
            data = _mean(a, np.float32(a * rng.uniform(0.02, 0.1)))
        else:
            y = np.float32(a * rng.uniform(0.5, 2))
            options = {"LEAKY_RELU": "LeakyReluOptions", "QUANTIZE": "QuantizeOptions"}.get(op)
            fields = {"alpha": float(np.float32(rng.uniform(0.01, 1)))} if op == "LEAKY_RELU" else {}
            data = _elementwise(op, options, "INT16", (a, y), **fields)
        graph = load_tflite(data, profile=profile)
        codes = random_codes(graph, 5, seed)
        if profile == "tflm":
            reference = dict(zip(read_source(data).outputs, tflm(data, codes), strict=True))
        else:
            reference = litert(data, codes, profile, keep=False)
        assert not differences(graph, data, simulate(graph, codes), reference)


def _mean(x_scale: np.float32, y_scale: np.float32) -> bytes:
    maker = Maker()
    x = maker.input("x", (1, 7, 3000), "INT16", x_scale)
    axes = maker.tensor("axes", (1,), "INT32", data=[1])
    y = maker.tensor("y", (1, 3000), "INT16", y_scale)
    maker.output(y)
    maker.operator("MEAN", [x, axes], [y], "ReducerOptions", 2, keepDims=False)
    return maker.bytes()


@pytest.mark.parametrize("profile", ["tflm", "litert-ref", "litert-opt", "litert-xnnpack"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("op", ["FULLY_CONNECTED", "CONV_2D"])
def test_dense_ties_and_factors(op: str, per_channel: bool, profile: str) -> None:
    """Exact ties of both signs (scales that are powers of two), then many accumulators at random scales."""
    rng = np.random.default_rng(3)
    for seed in range(5):
        n = 2000
        x_scale, w_scale = (np.float32(1), np.float32(1)) if seed == 0 else np.float32(np.exp(rng.uniform(-6, -1, 2)))
        scales = np.full(n, w_scale) if seed == 0 else np.float32(w_scale * rng.uniform(0.5, 2, n))
        scale = scales if per_channel else w_scale
        limit = 250 if seed == 0 else 30000
        maker = Maker()
        shape, w_shape = ((1, 2), (n, 2)) if op == "FULLY_CONNECTED" else ((1, 1, 1, 2), (n, 1, 1, 2))
        x = maker.input("x", shape, "INT8", x_scale)
        w = maker.tensor(
            "w", w_shape, "INT8", scale, 0, rng.integers(-127 if seed else -1, 128 if seed else 2, w_shape)
        )
        b = maker.tensor("b", (n,), "INT32", scale * x_scale, 0, rng.integers(-limit, limit, n))
        y_scale = 4.0 if seed == 0 else float(x_scale * w_scale * limit / 127)
        y = maker.tensor("y", (*shape[:-1], n), "INT8", y_scale)
        maker.output(y)
        if op == "FULLY_CONNECTED":
            maker.operator(op, [x, w, b], [y], "FullyConnectedOptions", 4)
        else:
            maker.operator(op, [x, w, b], [y], "Conv2DOptions", 3, strideH=1, strideW=1)
        data = maker.bytes()
        graph = load_tflite(data, profile=profile)
        codes = random_codes(graph, 40, seed)
        if profile == "tflm":
            reference = dict(zip(read_source(data).outputs, tflm(data, codes), strict=True))
        else:
            reference = litert(data, codes, profile, keep=False)
        assert not differences(graph, data, simulate(graph, codes), reference), seed


@pytest.mark.parametrize("profile", ["tflm", "litert-ref", "litert-opt", "litert-xnnpack"])
@pytest.mark.parametrize(
    ("op", "scale", "zero"), [("LOGISTIC", 1 / 256, -128), ("TANH", 1 / 128, 0), ("HARD_SWISH", 0, 0)]
)
def test_tables_on_all_codes_at_many_scales(op: str, scale: float, zero: int, profile: str) -> None:
    rng = np.random.default_rng(11)
    codes = np.arange(-128, 128, dtype=np.int8)[None]
    for _ in range(60):
        x_scale = np.float32(np.exp(rng.uniform(-7, 1)))
        maker = Maker()
        x = maker.input("x", (1, 256), "INT8", x_scale, int(rng.integers(-128, 128)))
        y_scale, y_zero = (scale, zero) if scale else (x_scale * rng.uniform(0.05, 3), int(rng.integers(-128, 128)))
        y = maker.tensor("y", (1, 256), "INT8", y_scale, y_zero)
        maker.output(y)
        maker.operator(op, [x], [y], None if scale else "HardSwishOptions", 1)
        data = maker.bytes()
        reference = tflm(data, [codes])[0] if profile == "tflm" else litert(data, [codes], profile, keep=False)[y]
        found = simulate(load_tflite(data, profile=profile), [codes])["y"]
        assert np.array_equal(found.reshape(-1), reference.reshape(-1)), x_scale


def test_an_operator_that_is_not_supported_is_named_with_every_layer() -> None:
    maker = Maker()
    x = maker.input("x", (1, 8), "INT8", 0.1)
    names = ("first", "second")
    for name in names:
        y = maker.tensor(name, (1, 8), "INT8", 0.1)
        maker.operator("CUMSUM" if name == "first" else "L2_NORMALIZATION", [x], [y], None)
        x = y
    z = maker.tensor("third", (1, 8), "INT8", 0.1)
    maker.operator("CUMSUM", [x], [z], None)
    maker.output(z)
    data = maker.bytes()
    with pytest.raises(UnsupportedError) as caught:
        load_tflite(data)
    for word in ("CUMSUM", "L2_NORMALIZATION", "'first'", "'second'", "'third'"):
        assert word in str(caught.value)
    found = survey(data)
    assert [(e.name, e.occurrences, e.supported) for e in found] == [
        ("CUMSUM", 2, False),
        ("L2_NORMALIZATION", 1, False),
    ]


def test_survey_finds_what_only_the_lowering_sees() -> None:
    maker = Maker()
    x = maker.input("x", (1, 8), "INT8", 0.1)
    a, b, c = (maker.tensor(n, (1, 8), "INT8", s) for n, s in (("a", 0.1), ("b", 0.2), ("c", 0.2)))
    maker.operator("RELU", [x], [a], None, 2)
    maker.operator("MAXIMUM", [a, x], [b], "MaximumMinimumOptions")
    maker.operator("LOGISTIC", [b], [c], None)
    maker.output(c)
    by_name = {e.name: e for e in survey(maker.bytes())}
    assert by_name["RELU"].supported
    assert not by_name["MAXIMUM"].supported
    assert "scales" in by_name["MAXIMUM"].reason
    assert "1/256" in by_name["LOGISTIC"].reason or "0.00390625" in by_name["LOGISTIC"].reason
