"""Single operators between quantizers against the same network in float64, and integer ones against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the onnx package is not installed: pip install 'qsim-hw[dev]'")
pytest.importorskip("qonnx", reason="qonnx is not installed: pip install 'qsim-hw[dev]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'qsim-hw[dev]'")

import onnx
import onnx_reference
import onnxruntime
from onnx_compare import differences
from onnx_random import QONNX, Network, inputs_with_ties

import qsim
from qsim.simulate import Simulator

SHAPE = (1, 4, 6, 8)


def grid(n: Network, scale: float = 0.25, bits: float = 6, signed: int = 1) -> Callable[[str], str]:
    names = [n.constant(np.float32(v)) for v in (scale, 0, bits)]
    return lambda x: n.node("Quant", [x, *names], QONNX, signed=signed, narrow=0, rounding_mode="ROUND")


def integers(n: Network, *values: int) -> str:
    return n.constant(np.array(values, dtype=np.int64))


def numbers(n: Network, *shape: int) -> str:
    return n.constant(n.rng.normal(0, 1, shape).astype(np.float32))


def weight(n: Network, *shape: int) -> str:
    return grid(n, 0.125, 4)(numbers(n, *shape))


Make = Callable[[Network, str], str]
CASES: dict[str, Make] = {
    "ConvTranspose": lambda n, x: n.node(
        "ConvTranspose", [x, weight(n, 4, 3, 3, 2), numbers(n, 3)], strides=[2, 1], pads=[1, 0, 0, 1],
        output_padding=[1, 0],
    ),
    "Conv dilated": lambda n, x: n.node("Conv", [x, weight(n, 2, 4, 2, 3)], dilations=[2, 2], auto_pad="SAME_UPPER"),
    "Conv SAME_LOWER": lambda n, x: n.node("Conv", [x, weight(n, 2, 4, 2, 2)], strides=[2, 1], auto_pad="SAME_LOWER"),
    "PRelu": lambda n, x: n.node("PRelu", [x, n.constant(np.float32([[[0.25]], [[-0.5]], [[2]], [[0]]]))]),
    "LeakyRelu": lambda n, x: n.node("LeakyRelu", [x], alpha=0.375),
    "HardSwish": lambda n, x: n.node("HardSwish", [x]),
    "HardSigmoid": lambda n, x: n.node("HardSigmoid", [x], alpha=0.3, beta=0.4),
    "Sigmoid": lambda n, x: n.node("Sigmoid", [x]),
    "Tanh": lambda n, x: n.node("Tanh", [x]),
    "Gelu": lambda n, x: n.node("Gelu", [x]),
    "AveragePool padded": lambda n, x: n.node(
        "AveragePool", [x], kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 2], count_include_pad=1
    ),
    "AveragePool valid counts": lambda n, x: n.node("AveragePool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "MaxPool ceil": lambda n, x: n.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "GlobalMaxPool": lambda n, x: n.node("GlobalMaxPool", [x]),
    "ReduceMean": lambda n, x: n.node("ReduceMean", [x], axes=[2], keepdims=0),
    "Pad": lambda n, x: n.node("Pad", [x, integers(n, 0, 1, 2, 0, 0, 0, 1, 3)]),
    "Pad reflect": lambda n, x: n.node("Pad", [x, integers(n, 0, 0, 2, 1, 0, 0, 1, 3)], mode="reflect"),
    "Slice": lambda n, x: n.node(
        "Slice", [x, integers(n, 3, 1), integers(n, -100, 7), integers(n, 1, 3), integers(n, -1, 2)]
    ),
    "Split": lambda n, x: split(n, x),
    "DepthToSpace DCR": lambda n, x: n.node("DepthToSpace", [x], blocksize=2),
    "DepthToSpace CRD": lambda n, x: n.node("DepthToSpace", [x], blocksize=2, mode="CRD"),
    "SpaceToDepth": lambda n, x: n.node("SpaceToDepth", [x], blocksize=2),
    "Resize": lambda n, x: n.node(
        "Resize", [x, "", n.constant(np.float32([1, 1, 1.5, 2]))], mode="nearest", nearest_mode="round_prefer_ceil"
    ),
    "Max": lambda n, x: n.node("Max", [x, grid(n, 0.5)(n.node("Transpose", [x], perm=[0, 1, 2, 3]))]),
    "MultiThreshold": lambda n, x: n.node(
        "MultiThreshold", [x, n.constant(np.sort(n.rng.normal(0, 3, (4, 7)).astype(np.float32)))], QONNX,
        out_scale=0.5, out_bias=-1.5, out_dtype="INT4",
    ),
    "Trunc 2": lambda n, x: n.node(
        "Trunc", [x, *(n.constant(np.float32(v)) for v in (0.25, 0, 6, 1, 4))], QONNX, rounding_mode="HALF_UP",
        signed=1, narrow=0,
    ),
    "Transposed rows": lambda n, x: n.node(
        "MatMul", [n.node("Transpose", [x], perm=[0, 2, 3, 1]), weight(n, 4, 3)]
    ),
}  # fmt: skip


def split(n: Network, x: str) -> str:
    """The second part of three, and the first, added."""
    n.count += 1
    names = [f"part{i}_{n.count}" for i in range(3)]
    sizes = integers(n, 3, 3, 2)
    n.nodes.append(onnx.helper.make_node("Split", [x, sizes], names, name=f"Split_{n.count}", axis=3))
    return n.node("Add", [names[1], names[0]])


@pytest.mark.parametrize("name", CASES)
def test_against_float64(name: str, tmp_path: Path) -> None:
    n = Network(np.random.default_rng(len(name)))
    made = CASES[name](n, grid(n)("x"))
    y = grid(n, 0.1, 8)(made)
    opset = {"Gelu": 20, "Trunc 2": 20}.get(name, 15)
    model = n.model("x", SHAPE, y, opset)
    if name == "Trunc 2":
        next(o for o in model.opset_import if o.domain == QONNX).version = 2
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    x = inputs_with_ties(n.rng, (12, *SHAPE[1:]), 0.25)
    graph = qsim.load(path)
    found = differences(graph, path, x, onnx_reference.trace(path, {"x": x}))
    assert n.nodes[-1].name in found
    assert not any(found.values()), found


@pytest.mark.parametrize("kind", ["ConvInteger", "MatMulInteger"])
def test_integer_sums_against_onnx_runtime(kind: str, tmp_path: Path) -> None:
    n = Network(np.random.default_rng(4))
    grid_names = [n.constant(np.float32(0.1)), n.constant(np.asarray(np.uint8(7)))]
    conv = kind == "ConvInteger"
    codes = n.rng.integers(-60, 60, (3, 4, 3, 2) if conv else (8, 3)).astype(np.int8)
    inputs = [n.node("QuantizeLinear", ["x", *grid_names]), n.constant(codes), grid_names[1]]
    geometry = {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]} if conv else {}
    y = n.node("Cast", [n.node(kind, [*inputs, n.constant(np.asarray(np.int8(2)))], **geometry)], to=1)
    path = tmp_path / "model.onnx"
    onnx.save(n.model("x", SHAPE, y, 13), str(path))
    x = (n.rng.integers(-30, 300, (5, *SHAPE[1:])) / 10).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert np.array_equal(Simulator(qsim.load(path)).run(x), session.run(None, {"x": x})[0])
