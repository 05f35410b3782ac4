"""``survey`` and ``qsim doctor`` on files that cannot be imported: everything is named, with every occurrence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tflite_make import Maker, fb, random_codes, simulate, tflm

from qsim.debug.doctor import examine
from qsim.errors import ModelError, UnsupportedError
from qsim.importers import ModelSource
from qsim.importers.tflite import load_tflite, survey

Build = Callable[[], bytes]


def dense(maker: Maker, x: int, name: str, kind: str = "INT8", weights: str = "INT8", bias: str = "INT32") -> int:
    """A FULLY_CONNECTED of 4 to 4 channels after tensor ``x``; its weights are called ``<name>_w``."""
    real = kind == "FLOAT32"
    scale = None if real else 0.1
    w_scale = None if weights == "FLOAT32" else 0.02
    w = maker.tensor(f"{name}_w", (4, 4), weights, w_scale, 0, np.arange(16).reshape(4, 4) - 8)
    b = maker.tensor(f"{name}_b", (4,), "FLOAT32" if real else bias, None if real else 0.002, 0, [3, -4, 5, 600])
    y = maker.tensor(name, (1, 4), kind, scale, 0)
    maker.operator("FULLY_CONNECTED", [x, w, b], [y], "FullyConnectedOptions", 4)
    return y


def chain(kind: str = "INT8", weights: str = "INT8", bias: str = "INT32") -> Maker:
    """x (1,4) -> FULLY_CONNECTED 'one' -> RELU 'act' -> FULLY_CONNECTED 'two'."""
    maker = Maker()
    x = maker.input("x", (1, 4), kind, None if kind == "FLOAT32" else 0.1)
    act = maker.tensor("act", (1, 4), kind, None if kind == "FLOAT32" else 0.1)
    maker.operator("RELU", [dense(maker, x, "one", kind, weights, bias)], [act], None, 2)
    maker.output(dense(maker, act, "two", kind, weights, bias))
    return maker


def edited(edit: Callable[[Maker, dict[str, fb.TensorT]], object]) -> Build:
    def make() -> bytes:
        maker = chain()
        edit(maker, {t.name.decode(): t for t in maker.graph.tensors})
        return maker.bytes()

    return make


def sparse(maker: Maker, tensors: dict[str, fb.TensorT]) -> None:
    for name in ("one_w", "two_w"):
        tensors[name].sparsity = fb.SparsityParametersT()


def four_bits(maker: Maker, tensors: dict[str, fb.TensorT]) -> None:
    for name in ("one_w", "two_w"):
        tensors[name].type = fb.TensorType.INT4
        maker.model.buffers[tensors[name].buffer].data = np.zeros(8, np.uint8)


def zero_points(maker: Maker, tensors: dict[str, fb.TensorT]) -> None:
    tensors["one_w"].quantization.zeroPoint = [3]
    tensors["two_w"].quantization.zeroPoint = [-7]


def dynamic(maker: Maker, tensors: dict[str, fb.TensorT]) -> None:
    tensors["x"].shape, tensors["x"].shapeSignature = [1, 1], [-1, -1]
    tensors["two"].shape, tensors["two"].shapeSignature = [1, 1], [1, -1]


def variable(maker: Maker, tensors: dict[str, fb.TensorT]) -> None:
    """A stream's memory, as keyword spotting on frames keeps it: concatenated, sliced, assigned."""
    state = maker.tensor("memory", (1, 4), "INT8", 0.1)
    maker.graph.tensors[state].isVariable = True
    joined = maker.tensor("joined", (1, 8), "INT8", 0.1)
    maker.operator("CONCATENATION", [state, 3], [joined], "ConcatenationOptions", 2, axis=1)
    resource = maker.tensor("handle", (1,), "RESOURCE")
    maker.operator("VAR_HANDLE", [], [resource], "VarHandleOptions")
    maker.operator("ASSIGN_VARIABLE", [resource, joined], [joined], "AssignVariableOptions")
    maker.output(joined)


def subgraphs(maker: Maker, tensors: dict[str, fb.TensorT]) -> None:
    """An IF whose branches are subgraphs of their own, one with an operator that nothing supports."""
    other = Maker()
    x = other.input("branch_x", (1, 4), "INT8", 0.1)
    y = other.tensor("branch_y", (1, 4), "INT8", 0.1)
    code = fb.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = fb.BuiltinOperator.CUMSUM, 127
    maker.model.operatorCodes.append(code)
    op = fb.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = len(maker.model.operatorCodes) - 1, [x], [y]
    other.graph.operators.append(op)
    other.output(y)
    maker.model.subgraphs.append(other.graph)
    z = maker.tensor("chosen", (1, 4), "INT8", 0.1)
    maker.operator("IF", [0, 0], [z], "IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=1)
    maker.output(z)


FILES: dict[str, tuple[Build, dict[str, tuple[str, ...]]]] = {
    "float": (
        lambda: chain("FLOAT32", "FLOAT32").bytes(),
        {"2 x FULLY_CONNECTED": ("'one'", "'two'", "FLOAT32"), "1 x RELU": ("'act'",)},
    ),
    "hybrid": (
        lambda: chain("FLOAT32", "INT8").bytes(),
        {"2 x FULLY_CONNECTED": ("'one'", "'two'", "dynamic-range"), "1 x RELU": ("'act'", "FLOAT32")},
    ),
    "uint8": (
        lambda: chain("UINT8", "UINT8").bytes(),
        {"2 x FULLY_CONNECTED": ("'one'", "'two'", "UINT8"), "1 x RELU": ("'act'", "UINT8")},
    ),
    "sparse": (edited(sparse), {"2 x FULLY_CONNECTED": ("'one_w'", "'two_w'", "sparse")}),
    "4-bit weights": (edited(four_bits), {"2 x FULLY_CONNECTED": ("'one_w'", "'two_w'", "INT4")}),
    "weight zero points": (edited(zero_points), {"2 x FULLY_CONNECTED": ("zero point 3", "zero point -7")}),
    "dynamic shapes": (edited(dynamic), {"2 x FULLY_CONNECTED": ("[-1, -1]", "[1, -1]")}),
    "variables": (
        edited(variable),
        {
            "1 x CONCATENATION": ("'memory'", "state"),
            "1 x VAR_HANDLE": ("'handle'",),
            "1 x ASSIGN_VARIABLE": ("'joined'",),
        },
    ),
    "control flow": (
        edited(subgraphs),
        {"1 x IF": ("'chosen'", "control flow"), "1 x CUMSUM": ("'branch_y'",), "2 x subgraphs": ("2 subgraphs",)},
    ),
}


@pytest.mark.parametrize("name", list(FILES))
def test_everything_unsupported_is_named(name: str, tmp_path: Path) -> None:
    build, expected = FILES[name]
    data = build()
    with pytest.raises((UnsupportedError, ModelError)):
        load_tflite(data)
    entries = {f"{e.occurrences} x {e.name}": e for e in survey(data)}
    assert {subject for subject, e in entries.items() if not e.supported} == set(expected)
    for subject, words in expected.items():
        assert all(word in entries[subject].reason for word in words), entries[subject].reason
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    findings = examine(ModelSource(model=str(path)))
    assert [(f.subject, f.level) for f in findings[:1]] == [("import", "unsupported")]
    assert {f.subject for f in findings[1:] if f.level == "unsupported"} == set(expected)
    assert all("\n" not in f.text and "Traceback" not in f.text for f in findings)


@pytest.mark.parametrize("bias", ["INT32", "INT64"])
@pytest.mark.parametrize("op", ["FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"])
def test_16x8_with_either_bias(op: str, bias: str) -> None:
    """TensorFlow Lite Micro takes biases of 32 and 64 bits, each with its own rescale; its DEPTHWISE_CONV_2D and
    LiteRT's kernels read the bytes of either as 64 bits."""
    rng = np.random.default_rng(4)
    maker = Maker()
    x = maker.input("x", (1, 8) if op == "FULLY_CONNECTED" else (1, 3, 3, 8), "INT16", 0.01)
    shape, axis = {"FULLY_CONNECTED": ((8, 8), 0), "CONV_2D": ((8, 2, 2, 8), 0)}.get(op, ((1, 2, 2, 8), 3))
    scales = np.float32(rng.uniform(0.001, 0.003, 8))
    w = maker.tensor("w", shape, "INT8", scales, 0, rng.integers(-127, 128, shape), axis)
    b = maker.tensor("b", (8,), bias, scales * np.float32(0.01), 0, rng.integers(-(1 << 25), 1 << 25, 8))
    y = maker.tensor("y", (1, 8) if op == "FULLY_CONNECTED" else (1, 2, 2, 8), "INT16", 0.005)
    maker.output(y)
    if op == "FULLY_CONNECTED":
        maker.operator(op, [x, w, b], [y], "FullyConnectedOptions", 4)
    else:
        options = {"CONV_2D": "Conv2DOptions"}.get(op, "DepthwiseConv2DOptions")
        fields = {"padding": 1, "strideH": 1, "strideW": 1, **({} if op == "CONV_2D" else {"depthMultiplier": 1})}
        maker.operator(op, [x, w, b], [y], options, 3, **fields)
    data = maker.bytes()
    if bias == "INT32" and op == "DEPTHWISE_CONV_2D":
        with pytest.raises(UnsupportedError, match="64 bits"):
            load_tflite(data)
        return
    graph = load_tflite(data)
    codes = random_codes(graph, 200, 5)
    assert np.array_equal(simulate(graph, codes)["y"].reshape(200, -1), tflm(data, codes)[0].reshape(200, -1))
    if bias == "INT32":
        with pytest.raises(UnsupportedError, match="64 bits"):
            load_tflite(data, profile="litert-ref")
    else:
        load_tflite(data, profile="litert-ref")
