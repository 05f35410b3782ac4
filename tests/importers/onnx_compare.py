"""A graph's tensors as the file's, against another system's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qsim.importers.importer import ModelSource
from qsim.importers.onnx import lowered
from qsim.importers.onnx.read import read_model
from qsim.ir import Graph
from qsim.simulate import Simulator

QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold", "QuantAvgPool2d", "QuantizeLinear")


def in_file_order(graph: Graph, path: Path, x: np.ndarray, **options: str) -> dict[str, np.ndarray]:
    """Every tensor of the file that the graph holds, in the file's own order, for the same inputs."""
    again, views = lowered(ModelSource(model=path, **options))
    assert again == graph
    traced = Simulator(graph).trace(x)
    return {name: view.reals(traced[view.value.tensor]) for name, view in views.items()}


def differences(
    graph: Graph, path: Path, x: np.ndarray, expected: dict[str, np.ndarray], **options: str
) -> dict[str, int]:
    """Quantizer -> how many of its values differ from the expected by a quarter of a step or more, for all that the
    graph has a tensor of its own for. A quantizer that only a Clip reads is compared behind it: its limits are taken
    into the quantizer."""
    found, ours = {}, in_file_order(graph, path, x, **options)
    nodes = read_model(path).nodes
    for node in nodes:
        output = node.outputs[0]
        readers = [n for n in nodes if output in n.inputs]
        output = readers[0].outputs[0] if len(readers) == 1 and readers[0].kind == "Clip" else output
        if node.kind not in QUANTIZERS or node.name not in graph.tensors or output not in expected:
            continue
        steps = np.diff(np.unique(ours[output]))
        assert ours[output].shape == expected[output].shape
        found[node.name] = int((np.abs(ours[output] - expected[output]) >= steps.min(initial=1.0) / 4).sum())
    return found
