"""Sound files in unusual clothes: what the engines run is imported and equal to them; NPU files are named as such."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_make import (
    Maker,
    differences,
    fb,
    graph_names,
    litert,
    model_file,
    random_codes,
    simulate,
    tflm,
    with_every_output,
)

from qsim import verify
from qsim.errors import UnsupportedError
from qsim.importers.tflite import load_tflite, survey
from qsim.importers.tflite.load import read_source
from qsim.simulate import Simulator

CODES = np.array([[-9, 1, 5, 7, 9], [-128, 127, 0, -1, 3]], np.int8)


def relu(shape: tuple[int, ...] = (1, 5)) -> tuple[Maker, int, int]:
    """x -> RELU -> y, without outputs yet."""
    maker = Maker()
    x = maker.input("x", shape, "INT8", 0.1, 3)
    y = maker.tensor("y", shape, "INT8", 0.1, 3)
    maker.operator("RELU", [x], [y], None, 2)
    return maker, x, y


def equal(data: bytes, batches: list[np.ndarray]) -> None:
    """Every output of the import equals TensorFlow Lite Micro's."""
    graph = load_tflite(data)
    found, reference = simulate(graph, batches), tflm(data, batches)
    for entry, expected in zip(graph.outputs, reference, strict=True):
        assert np.array_equal(found[entry.tensor].reshape(-1), expected.reshape(-1))


def test_operator_codes_that_stand_only_in_builtin_code() -> None:
    maker = Maker()
    x = maker.input("x", (1, 3, 3, 1), "INT8", 0.1, 3)
    pads = maker.tensor("pads", (4, 2), "INT32", data=[[0, 0], [1, 1], [1, 1], [0, 0]])
    y = maker.tensor("y", (1, 5, 5, 1), "INT8", 0.1, 3)
    z = maker.tensor("z", (1, 5, 5, 1), "INT8", 0.1, 3)
    maker.operator("PAD", [x, pads], [y], "PadOptions")
    maker.operator("RELU", [y], [z], None, 2)
    maker.output(z)
    for code in maker.model.operatorCodes:
        code.deprecatedBuiltinCode = 0
    data = maker.bytes()
    assert [op.name for op in read_source(data).operators] == ["PAD", "RELU"]
    equal(data, [np.arange(-4, 5, dtype=np.int8).reshape(1, 3, 3, 1)])


@pytest.mark.parametrize("signature", [[-1, 3], [7], [2, 5, 5], [-1, -1]])
def test_a_shape_signature_is_no_contradiction(signature: list[int]) -> None:
    maker, _, y = relu()
    maker.graph.tensors[y].shapeSignature = signature
    maker.output(y)
    equal(maker.bytes(), [CODES])


def test_a_shape_that_was_never_given_is_refused() -> None:
    maker, x, y = relu((1, 1))
    maker.graph.tensors[x].shapeSignature = [-1, -1]
    maker.output(y)
    with pytest.raises(UnsupportedError, match="dynamic shape"):
        load_tflite(maker.bytes())


def test_an_input_that_nothing_reads() -> None:
    maker, _, y = relu()
    maker.input("unread", (1, 5), "INT8", 0.1, 3)
    maker.output(y)
    data = maker.bytes()
    equal(data, [CODES, CODES])
    codes = {"x": CODES.astype(np.int64), "unread": CODES.astype(np.int64)}
    assert verify(load_tflite(data), codes, targets=("c",), codes=True).ok


def test_a_float_input_that_nothing_reads_is_left_out_with_a_note() -> None:
    maker, _, y = relu()
    maker.input("unread", (1, 5), "FLOAT32")
    maker.output(y)
    graph = load_tflite(maker.bytes())
    assert [entry.tensor for entry in graph.inputs] == ["x"]
    assert any("'unread'" in note for note in graph.notes)


def test_an_operator_that_reaches_no_output_is_left_out_with_a_note() -> None:
    """Even one that qsim does not know; the survey does not hold it against the model."""
    maker, x, y = relu()
    dead, deader = maker.tensor("dead", (1, 5), "INT8", 0.1, 3), maker.tensor("deader", (1, 5), "INT8", 0.1, 3)
    maker.operator("RELU6", [x], [dead], None, 2)
    maker.operator("RELU", [dead], [deader], None, 2)
    maker.output(y)
    data = maker.bytes()
    equal(data, [CODES])
    notes = load_tflite(data).notes
    assert [("'dead' (RELU6)" in n, "'deader' (RELU)" in n) for n in notes] == [(True, False), (False, True)]
    maker.model.operatorCodes[2].builtinCode = fb.BuiltinOperator.CUMSUM
    data = maker.bytes()
    assert "dead" not in load_tflite(data).tensors
    assert all(entry.supported for entry in survey(data))


def test_one_tensor_as_two_outputs() -> None:
    maker, _, y = relu()
    maker.output(y, y)
    equal(maker.bytes(), [CODES])


def test_float_tensors_may_carry_a_scale() -> None:
    """The converter leaves it on the real ends of a model; QUANTIZE has its own."""
    maker = Maker()
    x = maker.input("x", (1, 5), "FLOAT32", 0.7, 1)
    code, y = maker.tensor("code", (1, 5), "INT8", 0.1, 3), maker.tensor("y", (1, 5), "INT8", 0.1, 3)
    maker.operator("QUANTIZE", [x], [code], "QuantizeOptions")
    maker.operator("RELU", [code], [y], None, 2)
    maker.output(y)
    data = maker.bytes()
    real = np.float32([[-9, 0.11, 0.5, 7, 9]])
    found = Simulator(load_tflite(data)).trace(real)["y"]
    assert np.array_equal(found.reshape(-1), tflm(data, [real])[0].reshape(-1))


def convolution(kind: str, scales: list[float], bias: list[int]) -> bytes:
    """Two output channels, the first of them dead."""
    rng = np.random.default_rng(0)
    maker = Maker()
    scale = np.float32(scales)
    y_shape = {"FULLY_CONNECTED": (1, 2), "TRANSPOSE_CONV": (1, 6, 6, 2)}.get(kind, (1, 6, 6, 2))
    x = maker.input("x", (1, 6) if kind == "FULLY_CONNECTED" else (1, 6, 6, 2), "INT8", 0.05, 5)
    w_shape = {"FULLY_CONNECTED": (2, 6), "DEPTHWISE_CONV_2D": (1, 3, 3, 2)}.get(kind, (2, 3, 3, 2))
    axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
    w = maker.tensor("w", w_shape, "INT8", scale, 0, rng.integers(-127, 128, w_shape), axis=axis)
    b = maker.tensor("b", (2,), "INT32", np.float32(0.05) * scale, 0, bias)
    y = maker.tensor("y", y_shape, "INT8", 0.3, -9)
    options = {
        "CONV_2D": "Conv2DOptions",
        "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
        "TRANSPOSE_CONV": "TransposeConvOptions",
        "FULLY_CONNECTED": "FullyConnectedOptions",
    }[kind]
    fields = {} if kind == "FULLY_CONNECTED" else {"padding": 0, "strideW": 1, "strideH": 1}
    if kind == "DEPTHWISE_CONV_2D":
        fields["depthMultiplier"] = 1
    inputs = [x, w, b]
    if kind == "TRANSPOSE_CONV":
        inputs = [maker.tensor("shape", (4,), "INT32", data=[1, 6, 6, 2]), w, x, b]
    maker.operator(kind, inputs, [y], options, 4, **fields)
    maker.output(y)
    return maker.bytes()


@pytest.mark.parametrize("profile", ["tflm", "litert-ref", "litert-opt", "litert-xnnpack"])
@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"])
def test_saturated_biases_of_dead_channels(kind: str, profile: str) -> None:
    """A weight scale of 1e-21, as converters leave it on channels of zeros, gives the multiplier 0: the sum may do
    what it likes. A scale of 0.01 makes the same bias a refusal."""
    for bias in ([-2147483647, 100], [2147483647, -100]):
        data = convolution(kind, [1e-21, 0.01], bias)
        graph = load_tflite(data, profile=profile)
        codes = random_codes(graph, 20, 3)
        if profile == "tflm":
            expected = tflm(data, codes)[0]
        else:
            expected = next(iter(litert(data, codes, profile, keep=False).values()))
        found = simulate(graph, codes)["y"]
        assert np.array_equal(found.reshape(-1), expected.reshape(-1))
        assert set(found[..., 0].reshape(-1).tolist()) == {-9}
        assert len(set(found[..., 1].reshape(-1).tolist())) > 10
        with pytest.raises(UnsupportedError, match="overflows"):
            load_tflite(convolution(kind, [0.01, 0.01], bias), profile=profile)


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_a_filter_scale_of_zero(kind: str) -> None:
    data = convolution(kind, [0.0, 0.01], [-2147483647, 100])
    graph = load_tflite(data)
    codes = random_codes(graph, 20, 3)
    assert np.array_equal(simulate(graph, codes)["y"].reshape(-1), tflm(data, codes)[0].reshape(-1))
    inputs = {"x": codes[0].astype(np.int64)}
    assert verify(graph, inputs["x"], targets=("c",), codes=True).ok


@pytest.mark.parametrize(
    ("code", "compiler"),
    [
        ("ethos-u", "Vela"),
        ("XC_conv2d_v2", "XMOS"),
        ("NeutronGraph", "Neutron"),
        ("edgetpu-custom-op", "Edge TPU"),
    ],
)
def test_files_compiled_for_an_npu_are_named(code: str, compiler: str) -> None:
    maker, _, y = relu()
    maker.model.operatorCodes[0].builtinCode = fb.BuiltinOperator.CUSTOM
    maker.model.operatorCodes[0].deprecatedBuiltinCode = fb.BuiltinOperator.CUSTOM
    maker.model.operatorCodes[0].customCode = code.encode()
    maker.output(y)
    with pytest.raises(UnsupportedError, match="compiled for an NPU") as caught:
        load_tflite(maker.bytes())
    assert compiler in str(caught.value)
    assert "that its compiler was given" in str(caught.value)
    assert "compiled for an NPU" in survey(maker.bytes())[0].reason


def test_uint8_tensors_of_other_scales_are_refused_with_the_true_reason() -> None:
    """LiteRT does rescale them: 87 for the real value 1."""
    maker = Maker()
    a = maker.input("a", (1, 2), "UINT8", 0.01, 10)
    b = maker.input("b", (1, 3), "UINT8", 0.02, 30)
    y = maker.tensor("y", (1, 5), "UINT8", 0.015, 20)
    maker.operator("CONCATENATION", [a, b], [y], "ConcatenationOptions", axis=1)
    maker.output(y)
    data = maker.bytes()
    codes = [np.full((1, 1, 2), 110, np.uint8), np.full((1, 1, 3), 80, np.uint8)]
    assert set(litert(data, codes, keep=False)[y].reshape(-1).tolist()) == {87}
    with pytest.raises(UnsupportedError, match="only LiteRT does"):
        load_tflite(data)


def test_a_streaming_model_lists_its_operators() -> None:
    """CALL_ONCE and ASSIGN_VARIABLE have no result by definition; two subgraphs."""
    path = model_file("microwakeword_vad.tflite")
    entries = {entry.name: entry for entry in survey(path)}
    assert len(entries) > 8
    for name in ("CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"):
        assert not entries[name].supported
    assert entries["CONV_2D"].occurrences > 1
    with pytest.raises(UnsupportedError, match="subgraphs"):
        load_tflite(path)


def test_human_presence_equals_tflm_in_all_tensors() -> None:
    """A public model of 74 operators whose shape signatures contradict its shapes."""
    data = model_file("hps_model_74ops.tflite").read_bytes()
    graph = load_tflite(data)
    codes = [np.random.default_rng(1).integers(-128, 128, (1, 240, 320, 1)).astype(np.int8)]
    wide = with_every_output(data)
    reference = dict(zip(read_source(wide).outputs, tflm(wide, codes, 1 << 24), strict=True))
    assert len(reference) == 74
    traced = simulate(graph, codes)
    assert all(name in traced for name in graph_names(read_source(data)).values())
    assert not differences(graph, data, traced, reference)
    assert np.array_equal(tflm(data, codes)[0], reference[read_source(data).outputs[0]])
