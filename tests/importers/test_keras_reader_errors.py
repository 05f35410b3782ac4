"""Bad model files: each gives one readable paragraph that names what is wrong, and nothing else."""

# Longer than 400 lines: every kind of damage to the same archives.

from __future__ import annotations

import copy
import json
import os
import random
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from qsim.errors import ModelError, QsimError, UnsupportedError, UsageError
from qsim.importers.keras.model import KerasModel
from qsim.importers.keras.read.files import from_memory, read

sys.path.insert(0, str(Path(__file__).parent))
import keras_zoo as zoo

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore")


class Files:
    """One nested model in all its forms, with means to change each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        model = zoo.randomize(zoo.nested(keras), 5)
        model.save(folder / "m.keras")
        model.save(folder / "m.h5")
        model.save_weights(folder / "m.weights.h5")
        (folder / "m.json").write_text(model.to_json())
        with zipfile.ZipFile(folder / "m.keras") as archive:
            self.config: dict[str, Any] = json.loads(archive.read("config.json"))
            self.weights = archive.read("model.weights.h5")

    def archive(self, to: Path, config: Any = None, weights: bytes | None = b"") -> Path:
        """A .keras file with another config (an object or a text) or other weights (None: without)."""
        text = config if isinstance(config, str) else json.dumps(self.config if config is None else config)
        with zipfile.ZipFile(to / "changed.keras", "w") as archive:
            archive.writestr("config.json", text)
            if weights is not None:
                archive.writestr("model.weights.h5", weights or self.weights)
        return to / "changed.keras"

    def layer(self, config: dict[str, Any], *path: str) -> dict[str, Any]:
        """A layer of a config, by the names of its models and itself."""
        found = config
        for name in path:
            found = next(d for d in found["config"]["layers"] if d.get("name", d["config"]["name"]) == name)
        return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("files"))


def refused(error: type[QsimError], text: str, path: Path | str, weights: Path | str | None = None) -> None:
    """Reading fails with exactly this error type, on one line that holds ``text``."""
    with pytest.raises(QsimError) as caught:
        read(path, weights)
    assert type(caught.value) is error, caught.value
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


# Not a model, or the wrong call ------------------------------------------------------------------------------------


def test_paths(files: Files, tmp_path: Path) -> None:
    refused(UsageError, "does not exist", tmp_path / "absent.keras")
    refused(UsageError, "is a folder, not a model file", tmp_path)
    refused(UsageError, "does not exist", files.folder / "m.json", tmp_path / "absent.h5")
    refused(UsageError, "without weights. Give the weights too", files.folder / "m.json")
    refused(UsageError, "holds its weights itself", files.folder / "m.keras", files.folder / "m.weights.h5")
    refused(UsageError, "holds its weights itself", files.folder / "m.h5", files.folder / "m.weights.h5")
    refused(UsageError, "is JSON, not a weights file", files.folder / "m.json", files.folder / "m.json")
    refused(ModelError, "holds weights without an architecture", files.folder / "m.weights.h5")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"hello", "is no Keras model"),
        (b"\x18\0\0\0TFL3", "is no Keras model"),
        (b"{", "is no readable JSON"),
        (b"{}", "class_name"),
        (b"[]", "is no Keras model"),
        (b'"a text"', "is no readable JSON"),
        (b'{"class_name": "Sequential"}', "config of the model"),
        (b'{"class_name": "Sequential", "config": {"name": "s", "layers": []}}', "has no layers"),
        (b'{"class_name": "Functional", "config": {"name": "f", "layers": []}}', "'input_layers'"),
        (b'{"class_name": "Sequential", "config": {"name": "s", "layers": [3]}}', "should be a JSON object"),
        (b'{"class_name": "X", "config": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff\xfe"}', "is no readable JSON"),
        (b"PK\x03\x04 and nothing else", "is truncated or corrupt"),
        (b"\x89HDF\r\n\x1a\n", "is damaged"),
    ],
)
def test_other_content(content: bytes, text: str, files: Files, tmp_path: Path) -> None:
    path = tmp_path / "file.keras"
    path.write_bytes(content)
    refused(ModelError, text, path, files.folder / "m.weights.h5" if content[:1] in b'{"' else None)


def test_subclassed_and_unbuilt_models(files: Files, tmp_path: Path) -> None:
    class Mine(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.d = keras.layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.d(x)

    model = Mine()
    model(np.zeros((1, 3), "f4"))
    model.save(tmp_path / "mine.keras")
    refused(UnsupportedError, "holds a Mine, whose structure is Python code", tmp_path / "mine.keras")
    with pytest.raises(UnsupportedError, match="holds a Mine, whose structure is Python code"):
        from_memory(model)
    unbuilt = keras.Sequential([keras.layers.Dense(2)], name="unbuilt")
    with pytest.raises(ModelError, match="model 'unbuilt' in memory is not built"):
        from_memory(unbuilt)
    unbuilt.save(tmp_path / "unbuilt.keras")
    refused(ModelError, "Sequential 'unbuilt' has no input shape", tmp_path / "unbuilt.keras")
    for wrong in (3, None, np.zeros(3), keras.layers.Dense(3)):
        with pytest.raises(UsageError, match="is neither the path of a model nor a Keras model"):
            from_memory(wrong)


# Archives ----------------------------------------------------------------------------------------------------------


def test_archive_members(files: Files, tmp_path: Path) -> None:
    refused(ModelError, "model.weights.h5 is missing", files.archive(tmp_path, weights=None))
    refused(ModelError, "config.json is no readable JSON", files.archive(tmp_path, config='{"class_name": '))
    refused(ModelError, "model.weights.h5 is no HDF5 file", files.archive(tmp_path, weights=b"zeros" * 100))
    refused(ModelError, "truncated file: eof = 20000", files.archive(tmp_path, weights=files.weights[:20_000]))
    empty = tmp_path / "empty.keras"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("readme", "")
    refused(ModelError, "without config.json", empty)
    whole = (files.folder / "m.keras").read_bytes()
    cut = tmp_path / "cut.keras"
    for share in (0.1, 0.5, 0.9, 0.999):
        cut.write_bytes(whole[: int(share * len(whole))])
        refused(ModelError, "is truncated or corrupt", cut)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(files.config))
    refused(ModelError, "model.weights.h5 is missing", folder)


def test_zip_bombs_are_not_unpacked(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    for name, size, text in (("config.json", 65 << 20, "unpack to"), ("model.weights.h5", 300 << 20, "unpack to")):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            if name != "config.json":
                archive.writestr("config.json", json.dumps(files.config))
            with archive.open(name, "w") as member:
                for _ in range(size >> 20):
                    member.write(bytes(1 << 20))
        assert path.stat().st_size < 1 << 20
        refused(ModelError, text, path)
    # The same with a lie about the size: what is unpacked is what the directory claims, and its checksum fails
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 1000)
    path.write_bytes(data)
    refused(ModelError, "is truncated or corrupt", path)


# Architectures -----------------------------------------------------------------------------------------------------


def _edit(files: Files, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    config = copy.deepcopy(files.config)
    change(config)
    return files.archive(tmp_path, config=config)


def _history(config: dict[str, Any], files: Files, layer: str, to: list[Any], call: int = 0) -> None:
    argument = files.layer(config, layer)["inbound_nodes"][call]["args"][0]
    (argument[0] if isinstance(argument, list) else argument)["config"]["keras_history"] = to


def test_wiring(files: Files, tmp_path: Path) -> None:
    cases: list[tuple[Callable[[dict[str, Any]], None], str]] = [
        (lambda c: _history(c, files, "d", ["ghost", 0, 0]), "layer 'd' reads layer 'ghost', which model 'outer'"),
        (lambda c: _history(c, files, "d", ["inner", 9, 0]), "reads call 9 of layer 'inner', which is called 3 times"),
        (lambda c: _history(c, files, "d", ["inner", 0, 2]), "reads output 2 of 'inner', which has 2"),
        (lambda c: _history(c, files, "d", ["a", 0, 1]), "reads output 1 of 'a', which has 1"),
        (lambda c: _history(c, files, "d", ["inner", -1, 0]), "should be an index, but is int -1"),
        (lambda c: _history(c, files, "d", [None]), "a tensor without a source"),
        (lambda c: _history(c, files, "inner", ["chain", 0, 0]), "has a cycle: "),
        (lambda c: c["config"]["output_layers"].append(["ghost", 0, 0]), "output of model 'outer' reads layer 'ghost'"),
        (lambda c: c["config"]["output_layers"].append(["inner", 0, 0]), "names call 0 of model 'inner'"),
        (lambda c: c["config"]["output_layers"].clear(), "model 'outer' has no outputs"),
        (lambda c: c["config"]["input_layers"].append(["d", 0, 0]), "input 'd' of model 'outer' is no InputLayer"),
        (lambda c: c["config"]["input_layers"].append(["a", 0, 0]), "names an input twice"),
        (lambda c: c["config"]["layers"].append(c["config"]["layers"][0]), "two layers named 'a'"),
        (lambda c: files.layer(c, "d").pop("class_name"), "class_name of a layer"),
        (lambda c: files.layer(c, "d").pop("config"), "config of a Dense"),
        (lambda c: files.layer(c, "d")["inbound_nodes"].append(3), "'inbound_nodes' of layer 'd'"),
        (lambda c: files.layer(c, "d")["inbound_nodes"].append({"args": []}), "layer 'd' is called on nothing"),
        (lambda c: files.layer(c, "a")["config"].pop("batch_shape"), "input 'a' has no valid shape, but None"),
        (lambda c: files.layer(c, "a")["config"].update(batch_shape=[None, -3]), "input 'a' has no valid shape"),
        (lambda c: files.layer(c, "d")["config"].update(units="four"), "layer 'd' (Dense): config 'units' should be"),
        (lambda c: files.layer(c, "d")["config"].update(units=True), "layer 'd' (Dense): config 'units' should be"),
        (lambda c: files.layer(c, "d")["config"].update(use_bias=[]), "config 'use_bias' should be true or false"),
    ]  # fmt: skip
    for change, text in cases:
        refused(ModelError, text, _edit(files, tmp_path, change))
    sparse = _edit(files, tmp_path, lambda c: files.layer(c, "a")["config"].update(sparse=True))
    refused(UnsupportedError, "layer 'a': the input is sparse", sparse)


def test_nested_models_that_multiply_are_bounded(tmp_path: Path) -> None:
    """Ten models, each calling the one before ten times: a few kilobytes that would flatten to ten billion calls."""

    def dense(name: str, source: list[Any]) -> dict[str, Any]:
        return {"class_name": "Activation", "name": name, "config": {"name": name, "activation": "relu"},
                "inbound_nodes": [[[*source, {}]]]}  # fmt: skip

    def model(depth: int) -> dict[str, Any]:
        start = {"class_name": "InputLayer", "name": "i", "config": {"name": "i", "batch_input_shape": [None, 2]},
                 "inbound_nodes": []}  # fmt: skip
        if not depth:
            layers, last = [start, dense("r", ["i", 0, 0])], ["r", 0, 0]
        else:
            calls = [[["i", 0, 0, {}]]] + [[["m", k, 0, {}]] for k in range(1, 10)]
            layers, last = [start, {**model(depth - 1), "name": "m", "inbound_nodes": calls}], ["m", 10, 0]
        config = {"name": "m", "layers": layers, "input_layers": [["i", 0, 0]], "output_layers": [last]}
        return {"class_name": "Functional", "config": config}

    path, weights = tmp_path / "m.json", tmp_path / "w.h5"
    with h5py.File(weights, "w") as file:
        file.attrs["layer_names"] = np.array([], "S1")
    path.write_text(json.dumps(model(2)))
    assert len(read(path, weights).nodes) == 101
    path.write_text(json.dumps(model(9)))
    started = time.monotonic()
    refused(ModelError, "more than 100000 layer calls once flattened", path, weights)
    assert time.monotonic() - started < 20


# Weights -----------------------------------------------------------------------------------------------------------


def _changed_weights(files: Files, name: str, change: Callable[[h5py.File], None], to: Path) -> Path:
    path = to / name
    path.write_bytes((files.folder / name).read_bytes())
    with h5py.File(path, "a") as file:
        change(file)
    return path


def _put(path: str, values: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if path in file:
            del file[path]
        if values is not None:
            file[path] = values

    return change


TREE, FLAT = "layers/dense/vars", "model_weights/d/d"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_put(f"{TREE}/0", np.zeros((4, 5))), "layer 'd': kernel should have shape (4, 4), but"),
        (_put(f"{TREE}/0", np.zeros(4)), "holds (4,)"),
        (_put(f"{TREE}/1", np.zeros((4, 1))), "layer 'd': bias should have shape (4,), but"),
        (_put(f"{TREE}/1", None), "layer 'd' has 2 variables (kernel, bias), but"),
        (_put(f"{TREE}/2", np.zeros(4)), "holds 3 for it"),
        (_put(TREE, None), "layer 'd' has 2 variables (kernel, bias), but"),
        (_put("layers", None), "has 2 variables"),
        (_put("layers/functional", None), "layer 'inner/d' has 2 variables"),
        (_put("layers/functional/layers/batch_normalization/vars/3", np.zeros(3)),
         "layer 'inner/bn': moving_variance should have shape (4,)"),
        (_put("layers/conv2d/vars/0", np.zeros(3)), "weights of a layer 'conv2d' that model 'outer' does not have"),
        (_put(f"{TREE}/0", np.full((4, 4), np.nan)), "layer 'd': kernel[0, 0] is nan"),
        (_put(f"{TREE}/1", np.array([0, 1, -np.inf, np.nan])), "layer 'd': bias[2] is -inf"),
        (_put(f"{TREE}/0", b"text"), "kernel should have shape (4, 4), but"),
        (_put(f"{TREE}/1", np.array([b"t"] * 4)), "holds text, not numbers"),
        (_put(f"{TREE}/1", h5py.SoftLink("/elsewhere")), "is a link to elsewhere"),
    ],
)  # fmt: skip
def test_weights_of_a_tree(change: Callable[[h5py.File], None], text: str, files: Files, tmp_path: Path) -> None:
    weights = _changed_weights(files, "m.weights.h5", change, tmp_path)
    refused(ModelError, text, files.folder / "m.json", weights)
    refused(ModelError, text, files.archive(tmp_path, weights=weights.read_bytes()))


def _attribute(group: str, name: str, values: list[bytes] | None) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[group].attrs[name]
        if values is not None:
            file[group].attrs[name] = values

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_put(f"{FLAT}/kernel", np.zeros((4, 5))), "layer 'd': kernel should have shape (?, 4), but"),
        (_put(f"{FLAT}/bias", np.full(4, np.inf)), "layer 'd': bias[0] is inf"),
        (_put(f"{FLAT}/bias", None), "layer 'd' lists 'd/bias' but holds no such array"),
        (_put("model_weights/d", None), "lists layer 'd' but holds nothing of it"),
        (_put("model_weights", None), "the group 'model_weights' is missing"),
        (_attribute("model_weights", "layer_names", None), "does not list its layers"),
        (_attribute("model_weights", "layer_names", [b"d"]), "holds weights of 1 layers (d), but model 'outer' has 5"),
        (_attribute("model_weights/d", "weight_names", [b"d/kernel"]), "layer 'd' has 2 variables (kernel, bias), but"),
        (_attribute("model_weights/d", "weight_names", [b"d/kernel", b"d/kernel"]),
         "layer 'd' has the variables kernel, bias, but"),
        (_attribute("model_weights/inner", "weight_names", [b"d/kernel", b"d/bias"]), "'inner' has the variables"),
        (_attribute("/", "model_config", None), "holds weights without an architecture"),
        (_attribute("/", "model_config", [b"{"]), "is no readable JSON"),
    ],
)  # fmt: skip
def test_weights_of_a_flat_file(change: Callable[[h5py.File], None], text: str, files: Files, tmp_path: Path) -> None:
    refused(ModelError, text, _changed_weights(files, "m.h5", change, tmp_path))


def test_an_hdf5_file_of_something_else(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["temperatures"] = np.arange(5)
    refused(ModelError, "holds no Keras model", path)
    refused(ModelError, "holds no Keras weights", files.folder / "m.json", path)


def test_weights_of_another_model(files: Files, tmp_path: Path) -> None:
    other = zoo.randomize(zoo.residual(keras), 0)
    other.save_weights(tmp_path / "w.weights.h5")
    other.save(tmp_path / "w.h5")
    for name in ("w.weights.h5", "w.h5"):
        refused(ModelError, "model 'outer'" if name == "w.h5" else "layer ", files.folder / "m.json", tmp_path / name)


def test_nan_in_memory() -> None:
    model = zoo.residual(keras)
    kernel, bias = model.get_layer("conv_b").get_weights()
    kernel[1, 2, 0, 1] = np.nan
    model.get_layer("conv_b").set_weights([kernel, bias])
    with pytest.raises(ModelError, match=r"layer 'conv_b': kernel\[1, 2, 0, 1\] is nan"):
        from_memory(model)


# Fuzz --------------------------------------------------------------------------------------------------------------


def _survives(path: Path, weights: Path | None) -> bool:
    """Read a damaged file: True for a model, False for a QsimError of one line; anything else fails the test."""
    try:
        model = read(path, weights)
    except QsimError as error:
        return "\n" in str(error) and pytest.fail(f"more than one line: {error}")
    assert isinstance(model, KerasModel)
    names = [n.name for n in model.nodes]
    assert len(set(names)) == len(names)
    for i, n in enumerate(model.nodes):
        assert all(source in names[:i] for source, _ in n.inputs)
        assert all(np.isfinite(array).all() for array in n.weights.values())
    return True


@pytest.mark.parametrize(
    ("form", "count"), [("m.keras", 500), ("m.json", 300), ("m.h5", 12), ("m.weights.h5", 12)]
)  # a bare HDF5 file takes a child process each
def test_flipped_and_missing_bytes(form: str, count: int, files: Files, tmp_path: Path) -> None:
    data, rng = (files.folder / form).read_bytes(), random.Random(form)
    target = tmp_path / form
    read_well = 0
    for i in range(count):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8))):
            # Half of the damage goes to the first bytes, where the structure is denser
            at = rng.randrange(len(damaged) if rng.random() < 0.5 else min(4096, len(damaged)))
            damaged[at] ^= 1 << rng.randrange(8)
        target.write_bytes(damaged[: rng.randrange(len(damaged))] if i % 8 == 0 else damaged)
        if form == "m.json":
            read_well += _survives(target, files.folder / "m.keras")
        elif form == "m.weights.h5":
            read_well += _survives(files.folder / "m.json", target)
        else:
            read_well += _survives(target, None)
    assert 0 < read_well < count


def _mutate(value: Any, rng: random.Random) -> None:
    """Change one place of a JSON value, chosen at random, to something that does not belong there."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            places.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])
    holder, key = rng.choice(places)
    kind = rng.randrange(9)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    elif kind == 2:
        source, name = rng.choice(places)
        holder[key] = copy.deepcopy(source[name]) if name in source or isinstance(source, list) else None
    else:
        holder[key] = rng.choice(
            [None, True, -1, 0, 3, 1 << 70, 1.5, float("nan"), "", "d", "\ud800", [], [[]], {}, [["d", 0, 0]],
             {"class_name": "Dense", "config": {}}, {"class_name": "Functional", "config": {"layers": [], "name": "x"}},
             {"class_name": "__keras_tensor__", "config": {"keras_history": ["d", 0, 0]}}]
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_configs_with_wrong_values(seed: int, files: Files, tmp_path: Path) -> None:
    rng = random.Random(seed)
    read_well = 0
    legacy = json.loads(_legacy_config(files))
    for i in range(300):
        config = copy.deepcopy(files.config if i % 2 else legacy)
        for _ in range(rng.choice((1, 1, 3))):
            _mutate(config, rng)
        if i % 2:
            read_well += _survives(files.archive(tmp_path, config=config), None)
        else:
            (tmp_path / "m.json").write_text(json.dumps(config))
            read_well += _survives(tmp_path / "m.json", files.folder / "m.keras")
    assert 10 < read_well < 290


def _legacy_config(files: Files) -> str:
    """The same model's architecture as Keras 2 writes it."""
    tf_keras = pytest.importorskip("tf_keras")
    return str(zoo.nested(tf_keras).to_json())


def test_legacy_architecture_with_keras3_weights_is_whole(files: Files, tmp_path: Path) -> None:
    """The fuzz above starts from files that can be read."""
    (tmp_path / "m.json").write_text(_legacy_config(files))
    found = read(tmp_path / "m.json", files.folder / "m.weights.h5")
    assert [len(n.weights) for n in found.nodes] == [len(n.weights) for n in read(files.folder / "m.keras").nodes]
