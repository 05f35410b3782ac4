"""Random ONNX networks, every quantizer: QONNX and QDQ against float64, QOperator against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the onnx package is not installed: pip install 'qsim-hw[dev]'")
pytest.importorskip("qonnx", reason="qonnx is not installed: pip install 'qsim-hw[dev]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'qsim-hw[dev]'")

import onnx
import onnx_reference
import onnxruntime
from onnx_compare import differences, in_file_order
from onnx_random import KINDS

import qsim
from qsim.simulate import Simulator

EACH = 100
DEFAULT = 6
SEEDS = [pytest.param(s, marks=() if s < DEFAULT else pytest.mark.slow) for s in range(EACH)]


def made(kind: str, seed: int, folder: Path) -> tuple[Path, np.ndarray]:
    model, x = KINDS[kind](seed)
    path = folder / f"{kind}_{seed}.onnx"
    onnx.save(model, str(path))
    return path, x


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["qonnx", "qdq"])
def test_against_float64(kind: str, seed: int, tmp_path: Path) -> None:
    path, x = made(kind, seed, tmp_path)
    graph = qsim.load(path)
    found = differences(graph, path, x, onnx_reference.trace(path, {"x": x}))
    assert found
    assert not any(found.values()), found


@pytest.mark.parametrize("seed", SEEDS)
def test_integer_operators_against_onnx_runtime(seed: int, tmp_path: Path) -> None:
    path, x = made("qoperator", seed, tmp_path)
    model = onnx.load(str(path))
    named = {node.name: node.output[0] for node in model.graph.node}
    inferred = onnx.helper.make_empty_tensor_value_info
    model.graph.output.extend(inferred(o) for o in named.values() if o != model.graph.output[0].name)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = [o.name for o in session.get_outputs()]
    expected = dict(zip(outputs, session.run(None, {"x": x}), strict=True))
    graph = qsim.load(path)
    assert graph.profile == "ort"
    found, checked = in_file_order(graph, path, x), 0
    for name, output in named.items():
        if name in graph.tensors:
            assert np.array_equal(found[output], expected[output]), name
            checked += 1
    assert checked > 1
    assert np.array_equal(Simulator(graph).run(x).astype(np.float32), expected[model.graph.output[0].name])
