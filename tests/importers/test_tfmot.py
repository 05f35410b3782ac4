"""tfmot-wrapped Keras models: the graph from their own ranges against the converter's file, number by number."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tflite_make import tflm
from tfmot_models import L, keras, tf, tfmot, wrapped

import qsim
from qsim.errors import ModelError, ToolMissingError, UnsupportedError, UsageError
from qsim.importers.keras.read.files import from_memory
from qsim.importers.tflite import load_tflite
from qsim.importers.tflite.load import read_source
from qsim.importers.tflite.model import TfliteModel
from qsim.importers.tfmot import convert, numbers, to_tflite
from qsim.ir import Graph
from qsim.ir.ops import attributes
from qsim.simulate import Simulator


def brief(separate: bool) -> Any:
    """The CNN that users bring: 56x56x1, three convolutions with max pools, Dense 8, Dense 1, sigmoid."""
    stack = [L.Input((56, 56, 1))]
    for filters in (30, 16, 16):
        stack += [L.Conv2D(filters, 3), L.ReLU()] if separate else [L.Conv2D(filters, 3, activation="relu")]
        stack.append(L.MaxPooling2D())
    stack.append(L.GlobalAveragePooling2D())
    stack += [L.Dense(8), L.ReLU()] if separate else [L.Dense(8, activation="relu")]
    stack.append(L.Dense(1, activation="sigmoid"))
    return keras.Sequential(stack)


def normalized() -> Any:
    """BatchNormalization behind a convolution and a depthwise one, a residual Add, average pooling, softmax."""
    start = L.Input((12, 12, 3))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, padding="same", use_bias=False)(start)))
    y = L.ReLU(6.0)(L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same", use_bias=False)(x)))
    x = L.Activation("relu")(L.Add()([x, L.Conv2D(8, 1)(y)]))
    x = L.Activation("relu")(L.Conv2D(4, 3)(L.AveragePooling2D()(x)))
    x = L.ReLU()(L.Dense(6)(L.Flatten()(L.MaxPooling2D()(x))))
    return keras.Model(start, L.Softmax()(L.Dense(3)(L.Dropout(0.1)(x))))


def random_model(seed: int) -> Any:
    """A residual or plain stack without BatchNormalization, of odd sizes, strides and paddings."""
    rng = np.random.default_rng(seed)

    def pick(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    start = x = L.Input((int(rng.integers(7, 14)), int(rng.integers(7, 14)), int(rng.integers(1, 4))))
    for _ in range(int(rng.integers(1, 4))):
        filters, kernel = int(rng.integers(2, 9)), int(rng.integers(1, 4))
        y = L.Conv2D(filters, kernel, strides=pick(1, 1, 2), padding="same", activation=pick("relu", "linear"))(x)
        if pick(True, False):
            side = L.Conv2D(filters, 1, padding="same")(y)
            y = L.Activation("relu")(L.Add()([y, side]))
        elif pick(True, False):
            y = L.MaxPooling2D(2, padding="same")(y)
        x = y
    x = L.GlobalAveragePooling2D()(x) if pick(True, False) else L.Flatten()(x)
    return keras.Model(start, L.Dense(4, activation=pick("softmax", "sigmoid", "linear", "tanh"))(x))


def trained(make: Callable[[], Any], seed: int = 0) -> Any:
    """The wrapped model after a few steps, so that every range and every weight has moved."""
    tf.keras.utils.set_random_seed(seed)
    keras.utils.set_random_seed(seed)
    model = tfmot.quantization.keras.quantize_model(make())
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (32, *model.input_shape[1:])).astype(np.float32)
    y = rng.normal(0, 1, (32, *model.output_shape[1:])).astype(np.float32)
    model.compile("adam", "mse")
    model.fit(x, y, epochs=3, verbose=0)
    return model


def converted(model: Any) -> bytes:
    """The converter's own int8 file, with float32 input and int8 output codes kept visible by DEQUANTIZE."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def numbers_of(graph: Graph) -> list[tuple[str, dict[str, object]]]:
    """Every op with its own fields, without names."""
    return [(type(op).__name__, attributes(op)) for op in graph.ops]


def check(model: Any, ours: Graph) -> None:
    """Same integer operations with the same numbers, same ends, and TFLM's codes on random reals."""
    data = converted(model)
    theirs = load_tflite(data)
    assert numbers_of(ours) == numbers_of(theirs)
    assert [ours[t.name].shape for t in ours.tensors.values()] == [
        theirs[t.name].shape for t in theirs.tensors.values()
    ]
    assert ours.inputs[0].arithmetic == theirs.inputs[0].arithmetic == "float32_divide"
    x = np.random.default_rng(9).normal(0, 1.2, (12, *model.input_shape[1:])).astype(np.float32)
    y = Simulator(ours).run(x)
    assert np.array_equal(y.astype(np.float32), tflm(data, [x])[0].reshape(y.shape))


@pytest.mark.parametrize("separate", [True, False])
def test_the_users_cnn(separate: bool, tmp_path: Path) -> None:
    plain = brief(separate)
    model = trained(lambda: brief(separate))
    if separate:
        assert plain.count_params() == 7101
        assert model.count_params() == 7131
    graph = qsim.load(model)
    check(model, graph)
    model.save(tmp_path / "model.h5")
    assert qsim.load(tmp_path / "model.h5") == graph
    assert graph.profile == "tflm"
    assert qsim.load(model, profile="litert-opt").profile == "litert-opt"


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 12))])
def test_random_models(seed: int) -> None:
    model = trained(lambda: random_model(seed), seed)
    check(model, qsim.load(model))


def test_batch_normalization_is_folded_as_the_converter_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's vectorised rsqrt is one unit off for some values; with it, every number is the converter's."""
    model = trained(normalized)
    ours, theirs = to_tflite(from_memory(model)), read_source(converted(model))
    assert close(ours, theirs)
    assert any("1/sqrt" in note for note in qsim.load(model).notes)
    monkeypatch.setattr(numbers, "inverse_root", lambda x: tf.math.rsqrt(tf.constant(x)).numpy())
    check(model, qsim.load(model))


def close(ours: TfliteModel, theirs: TfliteModel) -> bool:
    """Same operators and codes, scales equal up to one unit in the last place of float32."""
    assert [o.name for o in ours.operators] == [o.name for o in theirs.operators if o.name != "DEQUANTIZE"]
    for a, b in zip(ours.operators, theirs.operators, strict=False):
        for i, j in (*zip(a.inputs, b.inputs, strict=False), *zip(a.outputs, b.outputs, strict=True)):
            x, y = ours.tensors[i], theirs.tensors[j]
            if x.data is not None and y.data is not None and x.type == "INT8":
                assert np.array_equal(x.data, y.data)
            if x.type == "INT8" and x.quantization is not None and y.quantization is not None:
                gap = np.abs(x.quantization.scales - y.quantization.scales) / np.spacing(y.quantization.scales)
                if gap.max() > 1:
                    return False
    return True


def residual() -> Any:
    """A BatchNormalization with a range of its own, which goes into an Add."""
    start = L.Input((8, 8, 3))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(start)))
    y = L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(x))
    x = L.ReLU()(L.Add()([x, y]))
    return keras.Model(start, L.Dense(3, activation="softmax")(L.Flatten()(L.AveragePooling2D(8)(x))))


def padded() -> Any:
    start = L.Input((9, 9, 2))
    x = L.Conv2D(4, 3, strides=2)(L.ZeroPadding2D(((0, 1), (2, 1)))(start))
    x = L.ReLU(6.0)(L.BatchNormalization()(x))
    return keras.Model(start, L.Dense(3)(L.GlobalAveragePooling2D()(x)))


def depthwise() -> Any:
    start = L.Input((8, 8, 3))
    x = L.Reshape((108,))(L.DepthwiseConv2D(3, activation="relu")(start))
    return keras.Model(start, L.Dense(2)(x))


@pytest.mark.parametrize("make", [residual, *(pytest.param(m, marks=pytest.mark.slow) for m in (padded, depthwise))])
def test_other_layers(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "inverse_root", lambda x: tf.math.rsqrt(tf.constant(x)).numpy())
    model = trained(make)
    check(model, qsim.load(model))


def test_numbers() -> None:
    assert numbers.range_quantization(-1.0, 1.0) == (np.float32(2 / 255), -1)
    assert numbers.range_quantization(0.0, 6.0) == (np.float32(6 / 255), -128)
    assert numbers.round_away(np.array([0.5, -0.5, 1.5, -2.5, 0.49])).tolist() == [1, -1, 2, -3, 0]
    assert numbers.weight_codes(np.array([[1.0, -2.0]]), np.array([0.01, 0.01]), None).tolist() == [[100, -127]]


def refusing(model: Any) -> None:
    with pytest.raises(UsageError, match="input_format"):
        qsim.load(model, input_format="int8")
    range_of = next(w for w in model.weights if "post_activation_min" in w.name)
    range_of.assign(1.0)
    with pytest.raises(UnsupportedError, match="hold zero"):
        qsim.load(model)


def test_refusals() -> None:
    model = trained(lambda: keras.Sequential([L.Input((5,)), L.Dense(3)]))
    assert convert.is_tfmot(from_memory(model))
    refusing(model)


def mixed(frozen: bool) -> Any:
    """Wrappers of every kind of variables: fake-quantized kernels or not, biases or not, normalization, all ranges."""
    start = L.Input((8, 8, 3))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(start)))
    x = L.BatchNormalization()(L.Conv2D(4, 3, padding="same", use_bias=False)(x))
    x = L.ReLU()(L.Dense(5)(L.Flatten()(L.DepthwiseConv2D(3, activation="relu")(x))))
    model = keras.Model(start, L.Dense(3, activation="softmax")(x))
    model.trainable = not frozen
    return model


@pytest.mark.parametrize("frozen", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_way_of_saving(frozen: bool, tmp_path: Path) -> None:
    """The same graph from memory, HDF5, archive, SavedModel, and architecture with weights in either layout."""
    model = wrapped(lambda: mixed(frozen), 3)
    graph = qsim.load(model)
    for name in ("model.h5", "model.keras", "saved"):
        model.save(tmp_path / name)
        assert qsim.load(tmp_path / name) == graph, name
    (tmp_path / "model.json").write_text(model.to_json())
    for name in ("flat.h5", "tree.weights.h5"):
        model.save_weights(tmp_path / name)
        assert qsim.load(tmp_path / "model.json", weights=tmp_path / name) == graph, name
    with pytest.raises(UsageError, match="weights itself"):
        qsim.load(tmp_path / "saved", weights=tmp_path / "flat.h5")


def test_an_archive_of_another_model_is_refused(tmp_path: Path) -> None:
    """A weight too few in a wrapper's group of the archive."""
    wrapped(lambda: mixed(False), 3).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO(files["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        del file["layers/quantize_wrapper_v2/layer/vars/0"]
    files["model.weights.h5"] = buffer.getvalue()
    with zipfile.ZipFile(tmp_path / "damaged.keras", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(ModelError, match=r"quant_conv2d.*variables"):
        qsim.load(tmp_path / "damaged.keras")


def test_a_saved_model_without_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "tensorflow_model_optimization", None)
    with pytest.raises(ToolMissingError, match=r"qsim-hw\[tfmot\].*\.h5 or \.keras"):
        qsim.load(tmp_path / "saved")
