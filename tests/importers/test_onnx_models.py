"""The real .onnx models: every quantizer's values against the same network in float64, outputs against Brevitas'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the onnx package is not installed: pip install 'qsim-hw[dev]'")
pytest.importorskip("qonnx", reason="qonnx is not installed: pip install 'qsim-hw[dev]'")

import onnx
import onnx_reference
from onnx_compare import differences

import qsim
from qsim.ir import Graph
from qsim.simulate import Simulator

FORMATS = {"qkeras_jettagging.onnx": "fixed<16,6>"}
QUANTIZERS = {
    "TFC_1W2A.onnx": 3,
    "TFC_2W2A.onnx": 3,
    "brevitas_cnn_po2_w4a4_qonnx.onnx": 6,
    "brevitas_cnn_po2_w4a4_qcdq.onnx": 6,
    "brevitas_mlp_w2a2_qonnx.onnx": 2,
    "brevitas_mlp_w1a1_qonnx.onnx": 2,
    "qkeras_jettagging.onnx": 3,
    "espcn_nn_resize_quant.onnx": 4,
}
"""Model -> how many of its activation quantizers have a tensor of their own (an input's is the graph's boundary)."""


def recorded(path: Path) -> np.lib.npyio.NpzFile | None:
    """The images, outputs and labels that were recorded for a model, where there are any."""
    for stem in (path.stem, path.stem.rsplit("_", 1)[0]):
        if path.with_name(f"{stem}.npz").exists():
            return np.load(path.with_name(f"{stem}.npz"))
    return None


def samples(path: Path, graph: Graph) -> np.ndarray:
    """Inputs in the file's own layout: recorded images, or seeded ones with corners among them."""
    rng = np.random.default_rng(5)
    if (found := recorded(path)) is not None:
        return found["x"]
    entry = graph.inputs[0]
    shape = tuple(graph[entry.tensor].shape[a] for a in entry.order) or graph[entry.tensor].shape
    if path.name in FORMATS:
        x = rng.integers(-(1 << 15), 1 << 15, (400, *shape)) / 1024
        x[0], x[1] = -32, 32 - 1 / 1024
        return x
    x = (rng.integers(0, 256, (40 if shape[-1] < 100 else 1, *shape)) / 255).astype(np.float32)
    x[0, ..., 0], x[0, ..., 1] = 0, 1
    return x


@pytest.mark.parametrize("name", QUANTIZERS)
def test_every_quantizer_is_exact(models: Path, name: str) -> None:
    path = models / "onnx" / name
    graph = qsim.load(path, input_format=FORMATS.get(name))
    x = samples(path, graph)
    expected = onnx_reference.trace(path, {graph.inputs[0].tensor: x})
    options = {"input_format": FORMATS[name]} if name in FORMATS else {}
    found = differences(graph, path, x, expected, **options)
    assert len(found) == QUANTIZERS[name]
    assert not any(found.values()), found
    out = onnx.load(str(path)).graph.output[0].name
    y = Simulator(graph).run(x)
    assert y.shape == expected[out].shape
    assert np.abs(y - expected[out]).max() <= 1e-12 * np.abs(expected[out]).max()


@pytest.mark.parametrize("name", [n for n in QUANTIZERS if n.startswith("brevitas")])
def test_outputs_are_brevitas_own(models: Path, name: str) -> None:
    path = models / "onnx" / name
    graph, data = qsim.load(path), recorded(path)
    assert data is not None
    y = Simulator(graph).run(data["x"])
    # Scales that are no powers of two: Brevitas' own float32 sums.
    exact = "po2" in name
    assert np.abs(y - data["y"]).max() <= (0 if exact else 1e-5)
    assert (y.argmax(axis=-1) == data["y"].argmax(axis=-1)).all()


def test_no_transposes_are_left(models: Path) -> None:
    for name in QUANTIZERS:
        graph = qsim.load(models / "onnx" / name, input_format=FORMATS.get(name))
        moves = [type(op).__name__ for op in graph.ops if type(op).__name__ in ("Transpose", "Gather")]
        assert moves == (["Gather"] if "resize" in name else []), name


def test_layouts_are_the_files_own(models: Path) -> None:
    """A non-square image would show a swap of any two axes; here the shapes and a channel's own value do."""
    graph = qsim.load(models / "onnx" / "espcn_nn_resize_quant.onnx")
    assert graph.inputs[0].order == (2, 0, 1)
    assert graph.outputs[0].order == (2, 0, 1)
    x = np.zeros((1, 3, 128, 128))
    x[0, 1] = 0.5
    codes = Simulator(graph).quantize(x)[graph.inputs[0].tensor]
    assert codes.shape == (1, 128, 128, 3)
    assert not codes[..., [0, 2]].any()
    assert (codes[..., 1] == 128).all()
    with pytest.raises(qsim.errors.UsageError, match=r"shape \(N, 3, 128, 128\) is needed"):
        Simulator(graph).run(np.zeros((1, 128, 128, 3)))


def test_without_a_number_format_a_real_input_is_refused(models: Path) -> None:
    with pytest.raises(qsim.errors.UnsupportedError, match=r"'global_in' is real-valued.*input_format"):
        qsim.load(models / "onnx" / "qkeras_jettagging.onnx")


