"""A graph against another system's tensors, every quantizer's codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qsim.importers.onnx.read import read_model
from qsim.ir import Graph
from qsim.simulate import Simulator

QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold", "QuantAvgPool2d", "QuantizeLinear")


def in_file_order(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A channels-last batch as the file's (N, C, ...) of ``shape``, which counts the batch."""
    if len(shape) > 2:
        array = np.moveaxis(array, -1, 1)
    return array.reshape(-1, *shape[1:])


def differences(graph: Graph, path: Path, x: np.ndarray, expected: dict[str, np.ndarray]) -> dict[str, int]:
    """Quantizer -> how many of its values differ, exactly, of all that the graph holds a tensor for."""
    traced = Simulator(graph).trace(x)
    found = {}
    for node in read_model(path).nodes:
        if node.kind not in QUANTIZERS or node.name not in traced or node.outputs[0] not in expected:
            continue
        tensor, want = graph[node.name], expected[node.outputs[0]]
        if node.kind == "QuantizeLinear":
            ours = traced[node.name].astype(np.float64)
        else:
            ours = tensor.quantization.real(traced[node.name])
        ours = in_file_order(ours, want.shape)
        step = min(float(s) for s in tensor.quantization.scale) if node.kind != "QuantizeLinear" else 1.0
        found[node.name] = int((np.abs(ours - want) > step / 4).sum())
    return found
