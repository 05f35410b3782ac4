"""Real models: every tensor of every layer against TFLM and LiteRT; float and uint8 ends."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_make import FILES, Maker, differences, litert, model_file, random_codes, simulate, tflm, tflm_all

from qsim.errors import ModelError, UsageError
from qsim.importers.tflite import load_tflite, survey
from qsim.importers.tflite.load import read_source
from qsim.ir import from_json, to_json
from qsim.ir import ops as o
from qsim.simulate import Simulator

INPUTS = 200


@pytest.mark.parametrize("name", FILES)
def test_every_tensor_equals_tflm(name: str) -> None:
    data = model_file(name).read_bytes()
    graph = load_tflite(data)
    codes = random_codes(graph, INPUTS, 1)
    traced = simulate(graph, codes)
    reference = tflm_all(data, codes)
    assert len(reference) == len(read_source(data).operators)
    assert all(read_source(data).tensors[i].name in traced for i in reference)
    assert not differences(graph, data, traced, reference)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("profile", ["litert-ref", "litert-opt"])
def test_every_tensor_equals_litert(name: str, profile: str) -> None:
    data = model_file(name).read_bytes()
    graph = load_tflite(data, profile=profile)
    codes = random_codes(graph, INPUTS, 2)
    traced = simulate(graph, codes)
    reference = litert(data, codes, profile)
    assert len(reference) == len(read_source(data).operators)
    assert not differences(graph, data, traced, reference)


@pytest.mark.parametrize("name", FILES)
def test_outputs_equal_xnnpack(name: str) -> None:
    data = model_file(name).read_bytes()
    graph = load_tflite(data, profile="litert-xnnpack")
    codes = random_codes(graph, INPUTS, 4)
    assert not differences(graph, data, simulate(graph, codes), litert(data, codes, "litert-xnnpack", keep=False))


def test_the_profiles_differ_where_they_should() -> None:
    """The same file and inputs under another engine's profile give other codes: the comparisons above can fail."""
    data = model_file("pretrainedResnet_quant.tflite").read_bytes()
    graphs = {p: load_tflite(data, profile=p) for p in ("tflm", "litert-ref", "litert-opt")}
    codes = random_codes(graphs["tflm"], 20, 3)
    reference = litert(data, codes, "litert-ref")
    assert not differences(graphs["litert-ref"], data, simulate(graphs["litert-ref"], codes), reference)
    wrong = differences(graphs["litert-opt"], data, simulate(graphs["litert-opt"], codes), reference)
    assert sum(wrong.values()) > 1000


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_supported_and_the_graph_round_trips(name: str) -> None:
    path = model_file(name)
    entries = survey(path)
    assert all(e.supported for e in entries)
    assert sum(e.occurrences for e in entries) == len(read_source(path).operators)
    graph = load_tflite(path)
    assert graph.name == path.stem
    assert graph.profile == "tflm"
    assert from_json(to_json(graph)) == graph


def test_names_come_from_the_file() -> None:
    path = model_file("kws_ref_model.tflite")
    graph, model = load_tflite(path), read_source(path)
    made = [model.tensors[op.outputs[0]].name for op in model.operators]
    assert [name for name in graph.tensors if name in made] == made
    conv = next(op for op in graph.ops if isinstance(op, o.Conv2D))
    assert conv.layer == made[0]
    assert conv.output == f"{made[0]}.acc"


def _ended(start: str, end: str) -> bytes:
    """x -> QUANTIZE -> RELU -> (DE)QUANTIZE -> y with the given outer types."""
    scale, zero = 0.037, 11
    outer = {"FLOAT32": (None, 0), "UINT8": (scale, zero + 128), "INT8": (scale, zero)}
    maker = Maker()
    x = maker.input("x", (1, 4000), start, *outer[start])
    if start != "INT8":
        code = maker.tensor("code", (1, 4000), "INT8", scale, zero)
        maker.operator("QUANTIZE", [x], [code], "QuantizeOptions", 2)
        x = code
    act = maker.tensor("act", (1, 4000), "INT8", 0.05, -3)
    maker.operator("LEAKY_RELU", [x], [act], "LeakyReluOptions", 2, alpha=0.3)
    if end != "INT8":
        y = maker.tensor("y", (1, 4000), end, *((None, 0) if end == "FLOAT32" else (0.05, 125)))
        name, options = ("DEQUANTIZE", "DequantizeOptions") if end == "FLOAT32" else ("QUANTIZE", "QuantizeOptions")
        maker.operator(name, [act], [y], options, 2)
        act = y
    maker.output(act)
    return maker.bytes()


@pytest.mark.parametrize("end", ["INT8", "UINT8", "FLOAT32"])
@pytest.mark.parametrize("start", ["INT8", "UINT8", "FLOAT32"])
def test_ends_of_every_type(start: str, end: str) -> None:
    data = _ended(start, end)
    graph = load_tflite(data)
    rng = np.random.default_rng(5)
    if start == "FLOAT32":
        # Half of the reals are ties of the float32 quotient or beside one; some lie beyond the codes.
        ties = ((rng.integers(-150, 150, (6, 4000)) + 0.5) * 0.037).astype(np.float32)
        x = np.where(rng.integers(0, 2, ties.shape) == 0, ties, rng.normal(0, 3, ties.shape)).astype(np.float32)
        traced = Simulator(graph).trace(x)
    else:
        x = random_codes(graph, 6, 5)[0]
        traced = Simulator(graph).trace_codes(x)
    y = traced[graph.outputs[0].tensor]
    if end == "FLOAT32":
        real = graph[graph.outputs[0].tensor].quantization.real(y)
        assert np.array_equal(real.astype(np.float32), tflm(data, [x])[0].reshape(real.shape))
    else:
        assert np.array_equal(y, tflm(data, [x])[0].reshape(y.shape))


def test_litert_quantizes_float_inputs_its_own_way() -> None:
    maker = Maker()
    x = maker.input("x", (1, 5000), "FLOAT32")
    q = maker.tensor("q", (1, 5000), "INT8", 0.0371, 4)
    maker.operator("QUANTIZE", [x], [q], "QuantizeOptions")
    maker.output(q)
    data = maker.bytes()
    codes = np.random.default_rng(6).integers(-128, 128, (1, 5000))
    reals = ((codes + 0.5) * np.float64(np.float32(0.0371))).astype(np.float32)
    found = {}
    for profile in ("litert-ref", "litert-opt"):
        found[profile] = litert(data, [reals], profile, keep=False)[q].reshape(1, -1)
        assert np.array_equal(Simulator(load_tflite(data, profile=profile)).trace(reals)["q"], found[profile])
    assert (found["litert-ref"] != found["litert-opt"]).any()


def mobilenet(rng: np.random.Generator) -> bytes:
    """TFLM's person_detect (MobileNet v1, 96x96x1, a quarter of the channels) with random weights: 31 operators, biases
    whose scales name dimension 3, as its file carries them; LiteRT refuses such a file."""
    maker = Maker()
    x, size, channels, x_scale = maker.input("x", (1, 96, 96, 1), "INT8", 1 / 255, -128), 96, 1, np.float32(1 / 255)
    blocks = [(8, 2, False)]  # first, with a multiplier of 8; then depthwise and pointwise in turn
    for out, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)):
        blocks += [(0, stride, False), (out, 1, True)]
    for i, (out, stride, pointwise) in enumerate(blocks):
        depthwise, k = not pointwise, 1 if pointwise else 3
        out = out or channels
        shape = (1, 3, 3, out) if depthwise else (out, 1, 1, channels)
        fan = k * k * (1 if depthwise else channels)
        scales = np.float32(rng.uniform(0.5, 1.5, out) * 1.7 / (73 * np.sqrt(fan)))  # neither fading nor saturating
        w = maker.tensor(f"w{i}", shape, "INT8", scales, 0, rng.integers(-127, 128, shape), 3 if depthwise else 0)
        b = maker.tensor(f"b{i}", (out,), "INT32", scales * x_scale, 0, rng.integers(-3000, 3000, out), 3)
        size, y_scale = size // stride, np.float32(6 / 255)
        y = maker.tensor(f"y{i}", (1, size, size, out), "INT8", y_scale, -128)
        fields = {"strideH": stride, "strideW": stride, "fusedActivationFunction": 3}
        if depthwise:
            fields["depthMultiplier"] = out // channels
            maker.operator("DEPTHWISE_CONV_2D", [x, w, b], [y], "DepthwiseConv2DOptions", 3, **fields)
        else:
            maker.operator("CONV_2D", [x, w, b], [y], "Conv2DOptions", 3, **fields)
        x, x_scale, channels = y, y_scale, out
    mean = maker.tensor("mean", (1, 1, 1, channels), "INT8", x_scale, -128)
    pool = {"padding": 1, "strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 3}
    maker.operator("AVERAGE_POOL_2D", [x], [mean], "Pool2DOptions", 2, **pool)
    w = maker.tensor("w", (2, 1, 1, channels), "INT8", 0.01, 0, rng.integers(-127, 128, (2, 1, 1, channels)))
    b = maker.tensor("b", (2,), "INT32", 0.01 * x_scale, 0, [100, -100])
    z = maker.tensor("z", (1, 1, 1, 2), "INT8", x_scale * 2, 3)
    maker.operator("CONV_2D", [mean, w, b], [z], "Conv2DOptions", 3, strideH=1, strideW=1)
    flat, y = maker.tensor("flat", (1, 2), "INT8", x_scale * 2, 3), maker.tensor("y", (1, 2), "INT8", 1 / 256, -128)
    maker.operator("RESHAPE", [z, maker.tensor("shape", (2,), "INT32", data=[1, 2])], [flat], "ReshapeOptions")
    maker.operator("SOFTMAX", [flat], [y], "SoftmaxOptions", 2, beta=1.0)
    maker.output(y)
    return maker.bytes()


@pytest.mark.parametrize("source", ["person_detect.tflite", "its architecture"])
def test_person_detect(source: str) -> None:
    """Every tensor equals TFLM's; the file itself where the models folder has it, its architecture always."""
    data = mobilenet(np.random.default_rng(9)) if source == "its architecture" else model_file(source).read_bytes()
    graph = load_tflite(data)
    assert len(read_source(data).operators) == 31
    codes = random_codes(graph, 16, 9)
    traced = simulate(graph, codes)
    assert not differences(graph, data, traced, tflm_all(data, codes))
    features = read_source(data).operators[27].outputs[0]
    assert len(np.unique(traced[read_source(data).tensors[features].name])) > 30
    with pytest.raises(ValueError, match="quantized_dimension"):
        litert(data, codes)


def test_biases_that_name_the_weights_axis() -> None:
    """A bias whose scales name dimension 3, as TFLM's person_detect carries them; LiteRT refuses such a file."""
    rng = np.random.default_rng(8)
    maker = Maker()
    scales = np.float32(rng.uniform(0.001, 0.02, 6))
    x = maker.input("x", (1, 5, 5, 6), "INT8", 0.05, -1)
    w = maker.tensor("w", (1, 3, 3, 6), "INT8", scales, 0, rng.integers(-127, 128, (1, 3, 3, 6)), 3)
    b = maker.tensor("b", (6,), "INT32", scales * np.float32(0.05), 0, rng.integers(-900, 900, 6), 3)
    y = maker.tensor("y", (1, 5, 5, 6), "INT8", 0.06, 2)
    fields = {"strideH": 1, "strideW": 1, "depthMultiplier": 1, "fusedActivationFunction": 3}
    maker.operator("DEPTHWISE_CONV_2D", [x, w, b], [y], "DepthwiseConv2DOptions", 3, **fields)
    maker.output(y)
    data = maker.bytes()
    graph = load_tflite(data)
    codes = random_codes(graph, 30, 8)
    assert np.array_equal(simulate(graph, codes)["y"].reshape(30, -1), tflm(data, codes)[0].reshape(30, -1))
    with pytest.raises(ValueError, match="quantized_dimension"):
        litert(data, codes)


def test_shape_arithmetic_of_keras_reshape_is_folded() -> None:
    """SHAPE -> STRIDED_SLICE -> PACK -> RESHAPE, as Keras' Reshape with an open batch converts."""
    maker = Maker()
    x = maker.input("x", (1, 4, 6), "INT8", 0.1, 5)
    shape, batch, target = (maker.tensor(n, s, "INT32") for n, s in (("shape", (3,)), ("batch", ()), ("target", (3,))))
    begin, end, step = (maker.tensor(n, (1,), "INT32", data=[v]) for n, v in (("begin", 0), ("end", 1), ("step", 1)))
    eight, three = (maker.tensor(n, (), "INT32", data=v) for n, v in (("eight", 8), ("three", 3)))
    y = maker.tensor("y", (1, 8, 3), "INT8", 0.1, 5)
    maker.operator("SHAPE", [x], [shape], "ShapeOptions", outType=2)
    maker.operator("STRIDED_SLICE", [shape, begin, end, step], [batch], "StridedSliceOptions", shrinkAxisMask=1)
    maker.operator("PACK", [batch, eight, three], [target], "PackOptions", valuesCount=3, axis=0)
    maker.operator("RESHAPE", [x, target], [y], "ReshapeOptions")
    maker.output(y)
    data = maker.bytes()
    graph = load_tflite(data)
    assert [type(op).__name__ for op in graph.ops] == ["Reshape"]
    codes = random_codes(graph, 6, 1)
    assert np.array_equal(simulate(graph, codes)["y"].reshape(6, -1), tflm(data, codes)[0].reshape(6, -1))
    assert [e.name for e in survey(data)] == ["RESHAPE"]


def test_wrong_calls() -> None:
    with pytest.raises(UsageError, match="litert-ref"):
        load_tflite(b"", profile="cmsis")
    with pytest.raises(ModelError, match="nowhere"):
        load_tflite("nowhere.tflite")
