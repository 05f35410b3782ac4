"""Unsound and unsupported ``.onnx`` files: each gives one paragraph that names the place; none is read wrongly."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the onnx package is not installed: pip install 'qsim-hw[dev]'")

import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx_random import QONNX, Network, qdq_network, qonnx_network
from readers import flips, limits

import qsim
from qsim.debug.doctor import examine
from qsim.errors import ModelError, QsimError, UnsupportedError
from qsim.importers.importer import ModelSource

FLIPS = 10_000


def save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def small(kind: str = "Conv", *, x_attributes: dict[str, object] | None = None, opset: int = 13) -> onnx.ModelProto:
    """Quant, one operator with a quantized weight where it has one, Quant."""
    n = Network(np.random.default_rng(3))
    grid = [n.constant(np.float32(v)) for v in (0.25, 0, 4)]
    x = n.node("Quant", ["x", *grid], QONNX, signed=1, narrow=0, rounding_mode="ROUND")
    inputs = [x]
    if kind == "Conv":
        weight = n.constant(np.ones((2, 2, 1, 1), np.float32))
        inputs.append(n.node("Quant", [weight, *grid], QONNX, signed=1, narrow=0))
    x = n.node(kind, inputs, **(x_attributes or {}))
    x = n.node("Quant", [x, *grid], QONNX, signed=1, narrow=0, rounding_mode="ROUND")
    return n.model("x", (1, 2, 3, 4), x, opset)


def campaign(folder: Path, count: int, seed: int) -> tuple[int, int]:
    """Loads of damaged files: (accepted, refused); anything but a clean error fails."""
    rng, accepted, refused = random.Random(seed), 0, 0
    sources = [qonnx_network(3)[0].SerializeToString(), qdq_network(2)[0].SerializeToString()]
    path = folder / "damaged.onnx"
    for number in range(count):
        path.write_bytes(flips(sources[number % 2], rng))
        with limits(60, 1 << 30):
            try:
                qsim.load(path)
                accepted += 1
            except QsimError as error:
                refused += 1
                if "\n" in str(error):
                    raise AssertionError(f"several lines: {error}") from error
            except BaseException as error:
                raise AssertionError(f"damage {number} (seed {seed}): {type(error).__name__}: {error}") from error
    return accepted, refused


def test_damaged_files_give_clean_errors(tmp_path: Path) -> None:
    accepted, refused = campaign(tmp_path, 200, 0)
    assert accepted
    assert refused > 50


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_damaged_files_give_clean_errors(part: int, tmp_path: Path) -> None:
    assert min(campaign(tmp_path, FLIPS // 10, 100 + part)) > 0


def test_what_is_no_model(tmp_path: Path) -> None:
    for data in (b"", b"ONNX", b"\x00" * 40, b"PK\x03\x04" + b"\x00" * 60, bytes(range(256)) * 4):
        path = tmp_path / "no.onnx"
        path.write_bytes(data)
        with pytest.raises(ModelError, match=r"no\.onnx"):
            qsim.load(path)
    with pytest.raises(ModelError, match="No such file"):
        qsim.load(tmp_path / "absent.onnx")


def external(folder: Path, location: str, length: int | None = None) -> Path:
    """The small model with its weight in another file."""
    model = small()
    weight = next(t for t in model.graph.initializer if len(t.dims) == 4)
    data = numpy_helper.to_array(weight).tobytes()
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length or len(data)))):
        weight.external_data.add(key=key, value=value)
    (folder / "weights.bin").write_bytes(data)
    return save(model, folder)


def test_external_data_beside_the_file_are_read(tmp_path: Path) -> None:
    assert qsim.load(external(tmp_path, "weights.bin")).ops == qsim.load(save(small(), tmp_path)).ops


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "a/../../secret.bin", "link.bin", ""])
def test_external_data_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(np.ones(4, np.float32).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ModelError, match="outside the model's folder"):
        qsim.load(external(folder, location))


def test_external_data_that_are_too_short_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="shorter than the model says"):
        qsim.load(external(tmp_path, "weights.bin", 1 << 40))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (small("MaxPool", x_attributes={"kernel_shape": [2, 2], "dilations": [2, 2]}), "window is dilated"),
        (small("Conv", x_attributes={"made_up": 3}), r"Conv \('Conv_3'\): its attribute made_up=3 is not supported"),
        (small("Det"), r"Det \('Det_2'\): the operator is not supported"),
        (small("Cos"), "the operator is not supported"),
        (small("Softmax", x_attributes={"axis": 1}), "along the last axis"),
        (small("Elu", x_attributes={"alpha": 0.5}), "alpha is 0.5"),
    ],
)
def test_what_is_unsupported_is_named(model: onnx.ModelProto, text: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=text):
        qsim.load(save(model, tmp_path))


def test_blocked_quantization_is_refused(tmp_path: Path) -> None:
    n = Network(np.random.default_rng(0))
    names = [n.constant(np.ones((2, 4), np.float32)), n.constant(np.zeros((2, 4), np.int8))]
    q = n.node("QuantizeLinear", ["x", *names], axis=1, block_size=2)
    x = n.node("DequantizeLinear", [q, *names], axis=1, block_size=2)
    with pytest.raises(UnsupportedError, match="quantized in blocks"):
        qsim.load(save(n.model("x", (1, 4), x, 21), tmp_path))


def test_doctor_names_every_unsupported_node(tmp_path: Path) -> None:
    n = Network(np.random.default_rng(0))
    x = n.node("DynamicQuantizeLinear", ["x"])
    x = n.node("Cos", [n.node("Cos", [x])])
    model = n.model("x", (1, 4), x, 13)
    model.graph.node.append(helper.make_node("Identity", [x], ["y"], name="last"))
    found = {f.subject: f for f in examine(ModelSource(model=save(model, tmp_path)))}
    assert found["2 x Cos"].level == "unsupported"
    assert "'Cos_2'" in found["2 x Cos"].text
    assert "'Cos_3'" in found["2 x Cos"].text
    assert "depends on the data" in found["1 x DynamicQuantizeLinear"].text
    assert found["1 x Identity"].level == "ok"
