"""The real .onnx models: every quantizer's values against the same network in float64, outputs against Brevitas'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the onnx package is not installed: pip install 'qsim-hw[dev]'")
pytest.importorskip("qonnx", reason="qonnx is not installed: pip install 'qsim-hw[dev]'")

import onnx
import onnx_reference
from onnx_compare import differences
from onnx_random import Network

import qsim
from qsim.debug.diff.executors import EXACT_KERNELS
from qsim.importers.onnx.model import MICROSOFT
from qsim.ir import Graph
from qsim.ir.ops import Conv2D
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


@pytest.mark.parametrize(
    ("name", "profile", "key"),
    [
        ("ort_cnn_qdq_s8s8_perchannel", "onnx", "y"),
        ("ort_cnn_qoperator_u8u8", "ort", "y"),
        ("ort_cnn_qoperator_u8u8", "ort", "y_optimised"),
    ],
)
def test_outputs_are_onnx_runtimes_own(models: Path, name: str, profile: str, key: str) -> None:
    path = models / "onnx" / f"{name}.onnx"
    data = recorded(path)
    assert data is not None
    y = Simulator(qsim.load(path, profile=profile)).run(data["x"])
    assert np.array_equal(y.astype(np.float32), data[key])


QDQ = "ort_cnn_qdq_s8s8_perchannel.onnx"
CONV, WEIGHED = "/Clip_output_0_QuantizeLinear", "/c3/Conv_output_0_QuantizeLinear"
LOGITS = "/fc/Gemm_output_0_QuantizeLinear"


def inner(path: Path, x: np.ndarray, exact: str, folder: Path) -> tuple[dict[str, np.ndarray], onnx.ModelProto]:
    """What ONNX Runtime's optimised kernels give, by operator, and the model as it fuses it."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'qsim[dev]'")

    def session(model: str | bytes, fuse: bool) -> Any:
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry(EXACT_KERNELS, exact)
        if fuse:
            options.optimized_model_filepath = str(folder / "fused.onnx")
        else:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    session(str(path), True)
    model = onnx.load(str(folder / "fused.onnx"))
    wanted = {n.op_type: n.output[0] for n in model.graph.node if n.op_type in ("QLinearConv", "QGemm")}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted.values())
    found = session(model.SerializeToString(), False).run(None, {model.graph.input[0].name: x})
    return dict(zip(("end", *wanted), found, strict=True)), model


def saturated(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Sums over the last axis as ``vpmaddubsw`` takes them: u8 * s8, pairs of products kept within 16 bits."""
    products = x[..., :, None] * w
    return (products[..., 0::2, :] + products[..., 1::2, :]).clip(-(1 << 15), (1 << 15) - 1).sum(axis=-2)


def test_the_fused_qdq_cnn_is_onnx_runtimes(models: Path, tmp_path: Path) -> None:
    """0 of 640 outputs differ from its optimised kernels, recorded and run here with sums that do not saturate. Run
    without that, it may saturate: then exactly the pairs of products beyond 16 bits explain every differing code."""
    path = models / "onnx" / QDQ
    graph, data = qsim.load(path, profile="ort"), recorded(path)
    assert data is not None
    simulator = Simulator(graph)
    y, traced = simulator.run(data["x"]), simulator.trace(data["x"])
    assert np.array_equal(y.astype(np.float32), data["y_optimised"])
    found, _ = inner(path, data["x"], "1", tmp_path)
    assert np.array_equal(y.astype(np.float32), found["end"])
    for name, kind in ((WEIGHED, "QLinearConv"), (LOGITS, "QGemm")):
        assert np.array_equal(traced[name], found[kind].astype(np.int64) - 128), name

    found, model = inner(path, data["x"], "0", tmp_path)
    conv = next(op for op in graph.ops if op.output == f"{WEIGHED}.acc")
    assert isinstance(conv, Conv2D)
    assert conv.bias is not None
    weights = conv.weights.values[0, 0]
    rest = conv.bias.values - (conv.input_zero_point + 128) * weights.sum(axis=0)
    sums = saturated(traced[CONV] + 128, weights) + rest
    assert (sums != traced[conv.output]).any()  # the network does reach them
    operands = next(n.input for n in model.graph.node if n.op_type == "QLinearConv")
    held = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    sx, sw, sy, zy = (held[operands[i]] for i in (1, 4, 6, 7))
    codes = np.clip(np.rint(sums.astype(np.float32) * (sx * sw / sy)) + zy, 0, 255) - 128
    if not np.array_equal(found["QLinearConv"] - 128.0, traced[WEIGHED]):
        assert np.array_equal(found["QLinearConv"] - 128.0, codes)


@pytest.mark.parametrize("scale", [1 / 255, 1 / 256, 1 / 200])
def test_a_fused_softmax_counts_whole_levels(scale: float, tmp_path: Path) -> None:
    """QLinearSoftmax multiplies by floor(1 / scale)."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'qsim[dev]'")
    n = Network(np.random.default_rng(0))
    x = n.node("QuantizeLinear", ["x", n.constant(np.float32(0.1)), n.constant(np.uint8(120))])
    operands = [n.constant(np.float32(0.1)), n.constant(np.uint8(120))]
    operands += [n.constant(np.float32(scale)), n.constant(np.uint8(0))]
    x = n.node("QLinearSoftmax", [x, *operands], MICROSOFT, axis=1, opset=13)
    path = tmp_path / "softmax.onnx"
    model = n.model("x", (1, 7), x, 13)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.save(model, str(path))
    rows = np.random.default_rng(1).normal(0, 3, (300, 7)).astype(np.float32)
    rows[0] = (12, -12, -12, -12, -12, -12, -12)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(None, {"x": row[None]})[0] for row in rows])
    assert np.array_equal(Simulator(qsim.load(path)).run(rows), expected)
