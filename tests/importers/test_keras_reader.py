"""The Keras reader against Keras itself: every format, every array, and the topology by running the live layers."""

# Longer than 400 lines: every format of a saved model against the same live models.

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsim.errors import UnsupportedError
from qsim.importers.keras.model import KerasModel, LayerNode
from qsim.importers.keras.read.files import from_memory, read

sys.path.insert(0, str(Path(__file__).parent))
import keras_zoo as zoo

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
keras = pytest.importorskip("keras")
qkeras = pytest.importorskip("qkeras")
tf_keras = pytest.importorskip("tf_keras")

CASES = [
    *(pytest.param((lambda b=b: b(keras)), id=f"keras-{b.__name__}") for b in zoo.PLAIN),
    *(pytest.param((lambda b=b: b(tf_keras)), id=f"tf_keras-{b.__name__}") for b in zoo.PLAIN),
    *(pytest.param((lambda b=b: b(qkeras, keras)), id=f"qkeras-{b.__name__}") for b in zoo.QUANTIZED),
]


def assert_same(a: KerasModel, b: KerasModel) -> None:
    """Equal in everything but ``source``."""
    assert (a.name, a.inputs, a.outputs) == (b.name, b.inputs, b.outputs)
    assert [n.name for n in a.nodes] == [n.name for n in b.nodes]
    for m, n in zip(a.nodes, b.nodes, strict=True):
        assert (m.name, m.layer, m.class_name, m.inputs) == (n.name, n.layer, n.class_name, n.inputs)
        assert m.config == n.config
        assert list(m.weights) == list(n.weights)
        for name in m.weights:
            np.testing.assert_array_equal(m.weights[name], n.weights[name], strict=True)


def live_layer(model: Any, path: str) -> Any:
    for name in path.split("/"):
        model = model.get_layer(name)
    return model


def live_weights(layer: Any) -> dict[str, np.ndarray]:
    """A live layer's arrays by canonical name, told by the variables' own names."""
    kind = type(layer).__name__
    if kind in ("Bidirectional", "QBidirectional"):
        sides = {"forward": layer.forward_layer, "backward": layer.backward_layer}
        return {f"{side}/{k}": v for side, held in sides.items() for k, v in live_weights(held).items()}
    if kind == "TimeDistributed":
        return {f"layer/{k}": v for k, v in live_weights(layer.layer).items()}
    names = [str(getattr(w, "path", w.name)).split("/")[-1].split(":")[0] for w in layer.weights]
    if "DepthwiseConv" in kind:
        names = ["depthwise_kernel" if n == "kernel" else n for n in names]
    assert len(set(names)) == len(names)
    return dict(zip(names, layer.get_weights(), strict=True))


def run_live(read_model: KerasModel, model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs of the read node list, each node computed by its live layer."""
    made: dict[str, Any] = dict(zip(read_model.inputs, inputs, strict=True))
    for node in read_model.nodes:
        if node.class_name == "InputLayer":
            continue
        tensors = []
        for source, index in node.inputs:
            value = made[source]
            tensors.append(value[index] if isinstance(value, (list, tuple)) else value)
            assert isinstance(value, (list, tuple)) or index == 0
        made[node.name] = live_layer(model, node.layer)(tensors if len(tensors) > 1 else tensors[0])
    return [np.asarray(made[name]) for name, _ in read_model.outputs]


def node(model: KerasModel, name: str) -> LayerNode:
    return next(n for n in model.nodes if n.name == name)


def check_against_live(found: KerasModel, model: Any) -> None:
    for n in found.nodes:
        if n.class_name == "InputLayer":
            assert n.weights == {}
            assert n.config["shape"] == n.config["batch_shape"][1:]
            continue
        layer = live_layer(model, n.layer)
        assert n.class_name == type(layer).__name__
        wanted = live_weights(layer)
        assert sorted(n.weights) == sorted(wanted)
        for name, array in wanted.items():
            np.testing.assert_array_equal(n.weights[name], array, strict=True)
    rng = np.random.default_rng(7)
    inputs = []
    for config in (node(found, name).config for name in found.inputs):
        values = rng.normal(size=(2, *config["shape"]))
        inputs.append(np.abs(values).astype(config["dtype"]) if "int" in config["dtype"] else values.astype("float32"))
    wanted_outputs = model(inputs if len(inputs) > 1 else inputs[0])
    wanted_outputs = wanted_outputs if isinstance(wanted_outputs, (list, tuple)) else [wanted_outputs]
    for ours, theirs in zip(run_live(found, model, inputs), wanted_outputs, strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs))


def saved_forms(model: Any, folder: Path) -> dict[str, KerasModel]:
    """The model read back from every form in which its Keras can save it: form -> read model."""
    keras2 = type(model).__module__.startswith("tf_keras")
    generation = 2 if keras2 else 3
    model.save(folder / "m.keras")
    architecture, weights = folder / "m.json", folder / "m.weights.h5"
    architecture.write_text(model.to_json())
    model.save_weights(weights)
    with zipfile.ZipFile(folder / "m.keras") as archive:
        archive.extractall(folder / "unpacked")
    forms = {
        "keras3 archive": read(folder / "m.keras"),
        "folder": read(folder / "unpacked"),
        f"keras{generation} json+hdf5": read(architecture, weights),
        "json+archive": read(str(architecture), str(folder / "m.keras")),
    }
    if model.name != "top":  # Keras itself cannot write a flat file where nested layers share a name
        model.save(folder / "m.h5")
        forms[f"keras{generation} hdf5"] = read(folder / "m.h5")
        forms["json+whole hdf5"] = read(architecture, folder / "m.h5")
        if keras2:
            model.save_weights(folder / "flat.h5")
            forms["json+flat"] = read(architecture, folder / "flat.h5")
    for name, form in forms.items():
        assert form.source == name or name not in ("keras3 archive", "keras2 hdf5", "keras3 hdf5")
    assert forms[f"keras{generation} json+hdf5"].source == f"keras{generation} json+hdf5"
    return forms


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", CASES)
def test_every_format_gives_the_live_model(build: Any, tmp_path: Path) -> None:
    model = zoo.randomize(build(), 3)
    memory = from_memory(model)
    assert memory.source == "memory"
    check_against_live(memory, model)
    for form in saved_forms(model, tmp_path).values():
        assert_same(form, memory)


def test_names_of_repeated_and_nested_calls() -> None:
    shared = from_memory(zoo.shared(keras))
    assert shared.inputs == ("second", "first")
    # 'twice_1' is a layer of its own: the calls of 'twice' count past it
    assert [(n.name, n.layer) for n in shared.nodes if n.class_name == "Dense"] == [
        ("twice", "twice"), ("twice_2", "twice"), ("twice_1", "twice_1"), ("twice_3", "twice"), ("twice_4", "twice"),
    ]  # fmt: skip
    assert shared.outputs == (("sub", 0), ("twice", 0))
    nested = from_memory(zoo.nested(keras))
    assert node(nested, "inner/d").layer == node(nested, "inner_1/d").layer == "inner/d"
    assert node(nested, "inner/d").inputs == (("a", 0),)
    assert node(nested, "inner_1/d").inputs == (("b", 0),)
    assert node(nested, "add").inputs == (("d", 0), ("d_1", 0), ("a", 0))  # inner's second output is its input
    assert node(nested, "inner_1/d").weights is node(nested, "inner/d").weights
    assert [n.name for n in nested.nodes if n.class_name == "InputLayer"] == ["a", "b"]
    assert nested.inputs == ("b", "a")


def test_configs_are_plain() -> None:
    model = from_memory(zoo.quantized_layers(qkeras, keras))
    conv = node(model, "conv")
    assert conv.config["kernel_quantizer"]["class_name"] == "quantized_bits"
    assert conv.config["kernel_quantizer"]["config"]["bits"] == 4
    assert conv.config["dtype"] == "float32"
    assert node(model, "act").config["activation"]["config"]["integer"] == 1
    assert node(model, "act2").config["activation"]["class_name"] == "quantized_relu"
    assert node(model, "depthwise").config["bias_quantizer"] is None
    assert node(model, "image").config == {
        "name": "image", "batch_shape": [None, 8, 8, 2], "shape": [8, 8, 2], "dtype": "float32",
    }  # fmt: skip
    for n in model.nodes:
        assert json.loads(json.dumps(n.config)) == n.config
        assert not {"module", "registered_name", "build_config", "shared_object_id"} & set(
            json.dumps(n.config).split('"')
        )


def test_wrapped_values_are_unwrapped(tmp_path: Path) -> None:
    model = zoo.randomize(zoo.no_input_layer(keras), 0)
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        config = json.loads(archive.read("config.json"))
        weights = archive.read("model.weights.h5")
    dense = config["config"]["layers"][1]["config"]
    dense["extra"] = {
        "array": {"class_name": "__numpy__", "config": {"value": [[1, 2]], "dtype": "int64"}},
        "tensor": {"class_name": "__tensor__", "config": {"value": 1.5, "dtype": "float32"}},
        "tuple": {"class_name": "__tuple__", "items": [1, {"class_name": "__tuple__", "items": [2]}]},
        "shape": {"class_name": "TensorShape", "items": [None, 3]},
        "old array": {"type": "ndarray", "value": [3, 4]},
        "function": {"module": "builtins", "class_name": "function", "config": "pkg>relu", "registered_name": "f"},
        "object": {"module": "m", "class_name": "qkeras>binary", "config": {"alpha": 1}, "registered_name": "b",
                   "shared_object_id": 5, "__passive_serialization__": True},
        "quantizer": "quantized_bits(4,0,1)",
        "policy": {"class_name": "Policy", "config": {"name": "mixed_float16"}},
    }  # fmt: skip
    with zipfile.ZipFile(tmp_path / "n.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    assert read(tmp_path / "n.keras").nodes[1].config["extra"] == {
        "array": [[1, 2]],
        "tensor": 1.5,
        "tuple": [1, [2]],
        "shape": [None, 3],
        "old array": [3, 4],
        "function": "relu",
        "object": {"class_name": "binary", "config": {"alpha": 1}},
        "quantizer": "quantized_bits(4,0,1)",
        "policy": "mixed_float16",
    }


@pytest.mark.filterwarnings("ignore")
def test_nested_model_called_with_a_dict_is_wired_by_name(tmp_path: Path) -> None:
    layers = keras.layers
    p, q = keras.Input((3,), name="zp"), keras.Input((3,), name="aq")
    inner = keras.Model([p, q], layers.Subtract(name="diff")([p, q]), name="inner")
    by_key = keras.Model({"u": p, "c": q}, layers.Subtract(name="diff")([p, q]), name="by_key")
    x, y = keras.Input((3,), name="x"), keras.Input((3,), name="y")
    outputs = [inner({"aq": x, "zp": y}), by_key({"u": x, "c": y})]
    model = keras.Model({"k2": x, "k1": y}, outputs, name="dicts")
    model.save(tmp_path / "m.keras")
    found = read(tmp_path / "m.keras")
    assert_same(found, from_memory(model))
    assert found.inputs == ("y", "x")  # Keras flattens a dict in the order of its keys
    assert node(found, "inner/diff").inputs == (("y", 0), ("x", 0))
    assert node(found, "by_key/diff").inputs == (("x", 0), ("y", 0))
    rng = np.random.default_rng(0)
    inputs = {"k2": rng.normal(size=(2, 3)), "k1": rng.normal(size=(2, 3))}
    for ours, theirs in zip(run_live(found, model, [inputs["k1"], inputs["k2"]]), model(inputs), strict=True):
        np.testing.assert_array_equal(np.asarray(ours, "f4"), np.asarray(theirs))


@pytest.mark.filterwarnings("ignore")
def test_operations_are_not_taken_for_layers(tmp_path: Path) -> None:
    """keras.ops.add(x, 2) has one tensor and a constant: an 'Add' with one input would silently drop the 2."""
    x = keras.Input((3,), name="x")
    model = keras.Model(x, keras.ops.relu(x + 2.0) + keras.layers.Dense(3, name="d")(x))
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    found = read(tmp_path / "m.keras")
    assert [n.class_name for n in found.nodes] == ["InputLayer", "ops.Add", "ops.Relu", "Dense", "ops.Add"]
    assert found.nodes[1].config["call"] == {"args": [{"tensor": 0}, 2.0], "kwargs": {}}
    assert_same(found, from_memory(model))
    assert_same(found, read(tmp_path / "m.h5"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_calls_with_more_than_tensors_are_refused(kind: Any, tmp_path: Path) -> None:
    x = kind.Input((3,), name="x")
    dropout = kind.layers.Dropout(0.5, name="always")
    fine = kind.Model(x, dropout(x, training=False))
    assert from_memory(fine).nodes[1].name == "always"
    model = kind.Model(x, dropout(x, training=True))
    model.save(tmp_path / "m.keras")
    for source in (lambda: from_memory(model), lambda: read(tmp_path / "m.keras")):
        with pytest.raises(UnsupportedError, match="layer 'always': it is called with training"):
            source()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_tensors_given_by_keyword_are_inputs(kind: Any, tmp_path: Path) -> None:
    x, s = kind.Input((4, 2), name="x"), kind.Input((3,), name="s")
    model = zoo.randomize(kind.Model([x, s], kind.layers.GRU(3, name="gru")(x, initial_state=[s])), 1)
    model.save(tmp_path / "m.keras")
    found = read(tmp_path / "m.keras")
    assert node(found, "gru").inputs == (("x", 0), ("s", 0))
    assert_same(found, from_memory(model))


@pytest.mark.filterwarnings("ignore")
def test_custom_layers_and_lambdas_stay_as_nodes(tmp_path: Path) -> None:
    class Odd(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.w = self.add_weight(shape=(3,), name="w")

        def call(self, x: Any) -> Any:
            return x * self.w

    x = keras.Input((3,), name="x")
    y = keras.layers.Dense(3, name="before")(x)
    y = keras.layers.Lambda(lambda t: t * 2, name="code")(Odd(name="odd")(y))
    model = zoo.randomize(keras.Model(x, keras.layers.Dense(2, name="after")(y)), 0)
    memory = from_memory(model)
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    for found in (memory, read(tmp_path / "m.keras"), read(tmp_path / "m.h5")):
        assert [n.class_name for n in found.nodes] == ["InputLayer", "Dense", "Odd", "Lambda", "Dense"]
        assert [len(n.weights) for n in found.nodes] == [0, 2, 0, 0, 2]
        np.testing.assert_array_equal(found.nodes[4].weights["kernel"], model.get_layer("after").get_weights()[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_nested_weights_under_other_names_go_by_order(kind: Any, tmp_path: Path) -> None:
    """A flat file stores trainable variables of a nested model before its frozen ones; names may be of no help."""
    import h5py

    model = zoo.randomize(zoo.frozen_nested(kind), 4)
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        for name in ("inner", "chain", "pair"):
            group = file["model_weights"][name]
            paths = [p if isinstance(p, str) else p.decode() for p in group.attrs["weight_names"]]
            renamed = [f"other{i}/{p.rsplit('/', 1)[-1]}" for i, p in enumerate(paths)]
            for old, new in zip(paths, renamed, strict=True):
                group[new] = group[old][()]
            group.attrs["weight_names"] = renamed
            if name == "inner":  # the batch normalization's trainable pair stands before the frozen dense layer
                assert [p.split("/")[-1].split(":")[0] for p in renamed][:4] == ["gamma", "beta", "kernel", "bias"]
    assert_same(read(tmp_path / "m.h5"), from_memory(model))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_nested_weights_go_by_name_where_names_tell(kind: Any, tmp_path: Path) -> None:
    """An architecture written before layers were frozen states another order than the weights file has."""
    model = zoo.randomize(zoo.frozen_nested(kind), 4)
    model.save(tmp_path / "frozen.h5")
    (tmp_path / "before.json").write_text(zoo.nested(kind).to_json())
    found = read(tmp_path / "before.json", tmp_path / "frozen.h5")
    for ours, wanted in zip(found.nodes, from_memory(model).nodes, strict=True):
        assert list(ours.weights) == list(wanted.weights)
        for name, array in wanted.weights.items():
            np.testing.assert_array_equal(ours.weights[name], array, strict=True)


@pytest.mark.filterwarnings("ignore")
def test_wrappers_of_unknown_layers_stay_as_nodes(tmp_path: Path) -> None:
    x = keras.Input((5, 2), name="x")
    stacked = keras.layers.RNN([keras.layers.LSTMCell(2), keras.layers.GRUCell(3)], name="stacked")
    model = keras.Model(x, keras.layers.Dense(2, name="head")(stacked(x)))
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    for found in (from_memory(model), read(tmp_path / "m.keras"), read(tmp_path / "m.h5")):
        assert [(n.class_name, list(n.weights)) for n in found.nodes] == [
            ("InputLayer", []), ("RNN", []), ("Dense", ["kernel", "bias"]),
        ]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_architecture_and_weights_of_two_sessions(tmp_path: Path) -> None:
    """Automatic names differ between sessions, partly overlapping: Keras then goes by order, and so must we."""
    for kind in (keras, tf_keras):
        first = zoo.randomize(
            kind.Sequential([kind.Input((3,)), *(kind.layers.Dense(3, name=f"dense_{i}") for i in (1, 2, 3))]), 0
        )
        other = kind.Sequential([kind.Input((3,)), *(kind.layers.Dense(3, name=f"dense_{i}") for i in (2, 3, 4))])
        (tmp_path / "m.json").write_text(other.to_json())
        first.save(tmp_path / "w.h5")
        first.save_weights(tmp_path / "w.weights.h5")
        for weights in ("w.h5", "w.weights.h5"):
            found = read(tmp_path / "m.json", tmp_path / weights)
            for ours, live in zip(found.nodes[1:], first.layers[-3:], strict=True):
                np.testing.assert_array_equal(ours.weights["kernel"], live.get_weights()[0])


def test_real_models(models: Path) -> None:
    folder = models / "qkeras"
    jet = read(folder / "qkeras-v3_3layer.keras")
    assert (jet.source, jet.inputs, jet.outputs) == ("keras3 archive", ("fc1_input",), (("softmax", 0),))
    assert [(n.class_name, [w.shape for w in n.weights.values()]) for n in jet.nodes if n.weights] == [
        ("QDense", [(16, 64), (64,)]), ("QDense", [(64, 32), (32,)]),
        ("QDense", [(32, 32), (32,)]), ("QDense", [(32, 5), (5,)]),
    ]  # fmt: skip
    live = keras.models.load_model(folder / "qkeras-v3_3layer.keras", compile=False)
    check_against_live(jet, live)

    import h5py

    digits = read(folder / "qkeras_mnist_cnn.json", folder / "qkeras_mnist_cnn_weights.h5")
    assert digits.source == "keras2 json+hdf5"
    assert [n.class_name for n in digits.nodes] == [
        "InputLayer", "QConv2D", "QActivation", "MaxPooling2D", "QConv2D", "QActivation", "MaxPooling2D", "Flatten",
        "Dropout", "QDense", "Activation",
    ]  # fmt: skip
    with h5py.File(folder / "qkeras_mnist_cnn_weights.h5") as file:
        for n in digits.nodes:
            for name, array in n.weights.items():
                np.testing.assert_array_equal(array, file[f"{n.layer}/{n.layer}/{name}:0"][()], strict=True)
    assert sum(len(n.weights) for n in digits.nodes) == 6
    # The formats of both generations normalize to the same keys
    assert (
        digits.nodes[1].config["kernel_quantizer"]["config"].keys()
        < jet.nodes[1].config["kernel_quantizer"]["config"].keys()
    )


def test_reading_imports_no_keras(models: Path) -> None:
    folder = models / "qkeras"
    code = (
        "import sys\nfrom qsim.importers.keras.read.files import read\n"
        f"read({str(folder / 'qkeras-v3_3layer.keras')!r})\n"
        f"read({str(folder / 'qkeras_mnist_cnn.json')!r}, {str(folder / 'qkeras_mnist_cnn_weights.h5')!r})\n"
        "print([m for m in ('tensorflow', 'keras', 'qkeras', 'tf_keras') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
