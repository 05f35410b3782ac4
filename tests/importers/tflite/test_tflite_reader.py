"""Unsound and unsupported ``.tflite`` files: each gives one paragraph that names the place; none is read wrongly."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from tflite_make import FILES, Maker, fb, model_file
from tflite_ops import CASES, build

from qsim.errors import ModelError, QsimError, UnsupportedError
from qsim.importers.tflite import load_tflite, survey
from qsim.importers.tflite.load import read_source
from qsim.ir import Graph


def chain() -> Maker:
    """x (1,4,4,2) -> CONV_2D a (1,4,4,3) -> RELU b -> RESHAPE c (1,48)."""
    rng = np.random.default_rng(0)
    maker = Maker()
    x = maker.input("x", (1, 4, 4, 2), "INT8", 0.1, 3)
    w = maker.tensor("w", (3, 3, 3, 2), "INT8", [0.01, 0.02, 0.03], 0, rng.integers(-127, 128, (3, 3, 3, 2)))
    bias = maker.tensor("bias", (3,), "INT32", [0.001, 0.002, 0.003], 0, [5, -6, 700])
    a = maker.tensor("a", (1, 4, 4, 3), "INT8", 0.2, -5)
    b = maker.tensor("b", (1, 4, 4, 3), "INT8", 0.2, -5)
    shape = maker.tensor("shape", (2,), "INT32", data=[1, 48])
    c = maker.tensor("c", (1, 48), "INT8", 0.2, -5)
    maker.operator("CONV_2D", [x, w, bias], [a], "Conv2DOptions", 3, strideH=1, strideW=1)
    maker.operator("RELU", [a], [b], None, 2)
    maker.operator("RESHAPE", [b, shape], [c], "ReshapeOptions")
    maker.output(c)
    return maker


def tensor(maker: Maker, name: str) -> fb.TensorT:
    return next(t for t in maker.graph.tensors if t.name == name.encode())


def ends(graph: Graph) -> list[tuple[tuple[int, ...], str]]:
    return [(graph[t.tensor].shape, str(graph[t.tensor].format)) for t in (*graph.inputs, *graph.outputs)]


def refused(data: bytes) -> QsimError | None:
    """The error of loading ``data``, checked to be one paragraph; None if it loads."""
    found: QsimError | None = None
    try:
        load_tflite(data)
    except (ModelError, UnsupportedError) as error:
        found = error
    assert found is None or (str(found) and "\n" not in str(found))
    return found


def test_the_chain_is_sound() -> None:
    assert ends(load_tflite(chain().bytes())) == [((4, 4, 2), "int8"), ((48,), "int8")]


def test_not_a_model() -> None:
    for data in (b"", b"TFL3", b"\x00" * 40, b"PK\x03\x04" + b"\x00" * 60, bytes(range(256)) * 4):
        assert isinstance(refused(data), ModelError)


def test_every_truncation_is_refused() -> None:
    data = chain().bytes()
    for length in range(len(data) - 1):
        assert isinstance(refused(data[:length]), ModelError), length


@pytest.mark.parametrize("name", FILES)
def test_truncated_real_files_are_refused(name: str) -> None:
    data = model_file(name).read_bytes()
    for length in np.random.default_rng(1).integers(0, len(data) - 8, 200):
        assert refused(data[:length]) is not None, length


def _offsets(data: bytes) -> list[int]:
    """Where a 32-bit value stands that could be a forward offset into the file."""
    return [i for i in range(0, len(data) - 4, 4) if 4 <= struct.unpack_from("<I", data, i)[0] < len(data) - i]


def test_offsets_out_of_range() -> None:
    data = chain().bytes()
    before = ends(load_tflite(data))
    for position in _offsets(data):
        for value in (0xFFFFFFF0, len(data) - position - 2, 0x7FFFFFFF):
            damaged = bytearray(data)
            struct.pack_into("<I", damaged, position, value)
            if refused(bytes(damaged)) is None:
                assert ends(load_tflite(bytes(damaged))) == before


CHANGES: dict[str, tuple[Callable[[Maker], object], str]] = {
    "buffer too short": (lambda m: m.model.buffers[1].__setattr__("data", m.model.buffers[1].data[:-1]), "bytes"),
    "buffer too long": (lambda m: m.model.buffers[2].__setattr__("data", np.zeros(13, np.uint8)), "bytes"),
    "buffer missing": (lambda m: tensor(m, "w").__setattr__("buffer", 99), "buffer 99"),
    "scales missing": (lambda m: tensor(m, "w").quantization.__setattr__("scale", [0.1, 0.2]), "2 scales"),
    "zero points missing": (lambda m: tensor(m, "w").quantization.__setattr__("zeroPoint", [0]), "1 zero points"),
    "wrong scale axis": (lambda m: tensor(m, "w").quantization.__setattr__("quantizedDimension", 3), "dimension 3"),
    "axis beyond the shape": (
        lambda m: tensor(m, "w").quantization.__setattr__("quantizedDimension", 9),
        "dimension 9",
    ),
    "zero scale": (lambda m: tensor(m, "a").quantization.__setattr__("scale", [0.0]), "positive"),
    "negative scale": (lambda m: tensor(m, "a").quantization.__setattr__("scale", [-1.0]), "positive"),
    "NaN scale": (lambda m: tensor(m, "a").quantization.__setattr__("scale", [float("nan")]), "positive"),
    "zero point outside int8": (lambda m: tensor(m, "a").quantization.__setattr__("zeroPoint", [128]), "zero point"),
    "weight zero point": (lambda m: tensor(m, "w").quantization.__setattr__("zeroPoint", [0, 1, 0]), "zero point 1"),
    "no quantization": (lambda m: tensor(m, "a").__setattr__("quantization", None), "no quantization"),
    "output shape": (lambda m: tensor(m, "a").__setattr__("shape", [1, 4, 5, 3]), "'a'"),
    "reshape size": (lambda m: tensor(m, "c").__setattr__("shape", [1, 47]), "'c'"),
    "reshape contradicts its shape input": (lambda m: tensor(m, "c").__setattr__("shape", [2, 24]), "shape"),
    "negative dimension": (lambda m: tensor(m, "b").__setattr__("shape", [1, 4, -4, 3]), "negative"),
    "empty tensor": (lambda m: tensor(m, "b").__setattr__("shape", [1, 0, 4, 3]), "empty"),
    "huge tensor": (lambda m: tensor(m, "x").__setattr__("shape", [1, 1 << 20, 1 << 10, 2]), "elements"),
    "many dimensions": (lambda m: tensor(m, "c").__setattr__("shape", [1] * 30 + [48]), "dimensions"),
    "dynamic shape": (
        lambda m: [
            tensor(m, "x").__setattr__(k, v) for k, v in (("shape", [1, 1, 4, 2]), ("shapeSignature", [-1, -1, 4, 2]))
        ],
        "dynamic",
    ),
    "variable": (lambda m: tensor(m, "x").__setattr__("isVariable", True), "state"),
    "unknown type": (lambda m: tensor(m, "a").__setattr__("type", 77), "type 77"),
    "float activations": (lambda m: tensor(m, "a").__setattr__("type", fb.TensorType.FLOAT32), "FLOAT32"),
    "uint8 activations": (lambda m: tensor(m, "a").__setattr__("type", fb.TensorType.UINT8), "UINT8"),
    "int16 input of an int8 operator": (lambda m: tensor(m, "b").__setattr__("type", fb.TensorType.INT16), "INT16"),
    "unknown tensor": (lambda m: m.graph.operators[0].__setattr__("inputs", [0, 1, 44]), "tensor 44"),
    "input left out": (lambda m: m.graph.operators[0].__setattr__("inputs", [-1, 1, 2]), "input 0"),
    "too few inputs": (lambda m: m.graph.operators[0].__setattr__("inputs", [0]), "input 1"),
    "cycle": (lambda m: m.graph.operators[0].__setattr__("inputs", [4, 1, 2]), "cycle"),
    "out of order": (lambda m: m.graph.operators.reverse(), "out of order"),
    "made twice": (lambda m: m.graph.operators[1].__setattr__("outputs", [3]), "already made"),
    "writes a constant": (lambda m: m.graph.operators[1].__setattr__("outputs", [1]), "constant"),
    "input that is a constant": (lambda m: m.graph.__setattr__("inputs", [0, 1]), "constant"),
    "no inputs": (lambda m: m.graph.__setattr__("inputs", []), "no inputs"),
    "no outputs": (lambda m: m.graph.__setattr__("outputs", []), "no outputs"),
    "unknown operator": (lambda m: m.model.operatorCodes[1].__setattr__("builtinCode", 5000), "5000"),
    "operator code missing": (lambda m: m.graph.operators[1].__setattr__("opcodeIndex", 9), "code 9"),
    "wrong options": (lambda m: m.graph.operators[0].__setattr__("builtinOptionsType", 5), "options"),
    "no options": (lambda m: m.graph.operators[0].__setattr__("builtinOptions", None), "Conv2DOptions"),
    "stride zero": (lambda m: m.graph.operators[0].builtinOptions.__setattr__("strideH", 0), "strides"),
    "dilation negative": (lambda m: m.graph.operators[0].builtinOptions.__setattr__("dilationWFactor", -1), "dilation"),
    "unknown padding": (lambda m: m.graph.operators[0].builtinOptions.__setattr__("padding", 7), "padding"),
    "unknown activation": (
        lambda m: m.graph.operators[0].builtinOptions.__setattr__("fusedActivationFunction", 4),
        "activation",
    ),
    "other schema version": (lambda m: m.model.__setattr__("version", 4), "version"),
    "two subgraphs": (lambda m: m.model.subgraphs.append(m.graph), "subgraphs"),
    "no subgraph": (lambda m: m.model.__setattr__("subgraphs", []), "no subgraph"),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_one_wrong_thing(change: str) -> None:
    maker = chain()
    edit, expected = CHANGES[change]
    edit(maker)
    error = refused(maker.bytes())
    assert error is not None
    assert expected in str(error)


def test_float_weights_and_nan() -> None:
    maker = Maker()
    x = maker.input("x", (1, 4), "FLOAT32")
    w = maker.tensor("w", (2, 4), "FLOAT32", data=np.ones((2, 4)))
    y = maker.tensor("y", (1, 2), "FLOAT32")
    maker.operator("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
    maker.output(y)
    assert "FLOAT32" in str(refused(maker.bytes()))
    assert [(e.name, e.supported) for e in survey(maker.bytes())] == [("FULLY_CONNECTED", False)]
    maker.model.buffers[1].data = np.frombuffer(np.full(8, np.nan, np.float32).tobytes(), np.uint8)
    assert "NaN" in str(refused(maker.bytes()))


@pytest.mark.parametrize("name", ["IF", "WHILE", "CALL_ONCE", "CUSTOM"])
def test_control_flow_and_custom_operators(name: str) -> None:
    maker = chain()
    maker.model.operatorCodes[1].builtinCode = getattr(fb.BuiltinOperator, name)
    maker.model.operatorCodes[1].deprecatedBuiltinCode = min(getattr(fb.BuiltinOperator, name), 127)
    maker.model.operatorCodes[1].customCode = b"MyOp"
    error = str(refused(maker.bytes()))
    assert ("MyOp" if name == "CUSTOM" else "control flow") in error
    assert "'b'" in error


def test_floats_inside_are_refused() -> None:
    maker = Maker()
    x = maker.input("x", (1, 4), "INT8", 0.1)
    real, y = maker.tensor("real", (1, 4), "FLOAT32"), maker.tensor("y", (1, 4), "INT8", 0.2)
    maker.operator("DEQUANTIZE", [x], [real], "DequantizeOptions", 2)
    maker.operator("QUANTIZE", [real], [y], "QuantizeOptions", 2)
    maker.output(y)
    assert "floats" in str(refused(maker.bytes()))


def test_an_accumulator_that_can_overflow_is_refused() -> None:
    maker = Maker()
    x = maker.input("x", (1, 8), "INT8", 0.1)
    w = maker.tensor("w", (1, 8), "INT8", 0.1, 0, np.full((1, 8), 127))
    b = maker.tensor("b", (1,), "INT32", 0.01, 0, [(1 << 31) - 1000])
    y = maker.tensor("y", (1, 1), "INT8", 1.0)
    maker.operator("FULLY_CONNECTED", [x, w, b], [y], "FullyConnectedOptions", 4)
    maker.output(y)
    assert "overflows the 32-bit accumulator" in str(refused(maker.bytes()))


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(data)
    damaged[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
    return bytes(damaged)


def check_flips(data: bytes, count: int, seed: int) -> tuple[int, int]:
    """Load ``count`` one-byte changes of ``data``; returns how many were refused and how many loaded."""
    before, rng = ends(load_tflite(data)), np.random.default_rng(seed)
    loaded = 0
    for _ in range(count):
        damaged = flip(data, rng)
        start = time.monotonic()
        graph = None
        with contextlib.suppress(ModelError, UnsupportedError):
            graph = load_tflite(damaged)
        if graph is not None:
            loaded += 1
            assert ends(graph) == before
        assert time.monotonic() - start < 20
    return count - loaded, loaded


@pytest.mark.parametrize("flips", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_byte_flips_of_a_real_file(flips: int) -> None:
    rejected, loaded = check_flips(model_file("hello_world_int8.tflite").read_bytes(), flips, 0)
    assert rejected > flips // 4
    assert loaded > flips // 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["micro_speech_quantized.tflite", "kws_ref_model.tflite"])
def test_byte_flips_of_larger_files(name: str) -> None:
    check_flips(model_file(name).read_bytes(), 3000, 1)


@pytest.mark.parametrize("flips", [20, pytest.param(150, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", list(CASES))
def test_byte_flips_of_every_operator(name: str, flips: int) -> None:
    """No crash and no hang; a single operator has shapes that nothing else in the file repeats, so those may change."""
    data = build(name, 1)
    rng = np.random.default_rng(2)
    assert sum(refused(flip(data, rng)) is not None for _ in range(flips)) > flips // 4


def test_byte_flips_under_the_survey() -> None:
    """It reads on where the import stops: still nothing but ModelError comes out, and every entry has its reason."""
    data, rng = model_file("hello_world_int8.tflite").read_bytes(), np.random.default_rng(4)
    refused = 0
    for _ in range(200):
        try:
            entries = survey(flip(data, rng))
        except ModelError:
            refused += 1
        else:
            assert all(e.supported or e.reason for e in entries)
    assert 30 < refused < 170


def test_survey_of_a_damaged_file_is_an_error_too() -> None:
    data = chain().bytes()
    with pytest.raises(ModelError):
        survey(data[:100])
    assert [e.name for e in survey(data)] == ["CONV_2D", "RELU", "RESHAPE"]
    assert read_source(data).operators[0].options["StrideH"] == 1
