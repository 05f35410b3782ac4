"""Damaged Keras models, loaded to the end: changed values of the config and flipped bytes are one sentence each, in
bounded time and memory. Which of them still are models is Keras' affair: nothing here needs it but the .h5 files."""

from __future__ import annotations

import copy
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from readers import flips, limits

import qsim
from qsim.errors import QsimError

MODEL = Path(qsim.__file__).parent / "demo" / "digits.keras"
SECONDS = 30

VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 7, 17, 65, 1 << 40, 1 << 70, 0.5, -0.25, 1e-30, 1e300),
    *(float("nan"), float("inf"), "", "auto", "same", "relu", "softmax", "quantized_sigmoid(31)"),
    *("quantized_bits(64,0)", "binary", "\ud800", "channels_first"),
    *([], [[]], [1, 1], [0, 0], [3, 3, 3], {}, {"class_name": "quantized_relu", "config": {"bits": 30}}),
)


def changed(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with one to three places changed, left out, doubled or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places: list[tuple[Any, Any]] = []
        waiting = [value]
        while waiting:
            holder = waiting.pop()
            for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
                places.append((holder, key))
                if isinstance(holder[key], dict | list):
                    waiting.append(holder[key])
        holder, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            source, name = rng.choice(places)
            holder[key] = copy.deepcopy(source[name])
        elif kind == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = holder[key] * rng.choice((-1, 2, 1000)) + rng.choice((-1, 0, 1))
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def survives(load: Callable[[], object], label: str) -> bool:
    """Whether the model was loaded; anything but one sentence fails."""
    try:
        with limits(SECONDS, 1 << 30):
            load()
        return True
    except QsimError as error:
        text = str(error)
        assert "\n" not in text, (label, text)
        assert len(text) < 1500, (label, text)
        assert "bug" not in text.lower(), (label, text)
    except AssertionError:
        raise
    except BaseException as error:
        raise AssertionError(f"{label}: {type(error).__name__}: {error}") from error
    return False


COUNTS = [25, pytest.param(1000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", COUNTS)
def test_changed_values_of_an_archive(count: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(MODEL) as archive:
        config, weights = json.loads(archive.read("config.json")), archive.read("model.weights.h5")
    path, rng, loaded = tmp_path / "m.keras", random.Random(1), 0
    for number in range(count):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(changed(config, rng)))
            archive.writestr("model.weights.h5", weights)
        loaded += survives(lambda: qsim.load(path), f"change {number}")
    assert 0 < loaded < count


@pytest.mark.parametrize("count", COUNTS)
def test_changed_values_of_an_architecture(count: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(MODEL) as archive:
        config = json.loads(archive.read("config.json"))
    path, rng, loaded = tmp_path / "m.json", random.Random(2), 0
    for number in range(count):
        path.write_text(json.dumps(changed(config, rng)), encoding="utf-8")
        loaded += survives(lambda: qsim.load(path, weights=MODEL), f"change {number}")
    assert 0 < loaded < count


@pytest.mark.parametrize("count", COUNTS)
def test_flips_of_an_archive(count: int, tmp_path: Path) -> None:
    data, path, rng, loaded = MODEL.read_bytes(), tmp_path / "m.keras", random.Random(3), 0
    for number in range(count):
        path.write_bytes(flips(data, rng))
        loaded += survives(lambda: qsim.load(path), f"flip {number}")
    assert loaded < count


@pytest.mark.slow
def test_flips_of_an_hdf5_file(tmp_path: Path) -> None:
    """Each is read by a process of its own."""
    keras = pytest.importorskip("keras")
    qkeras = pytest.importorskip("qkeras")
    classes = {name: getattr(qkeras, name) for name in dir(qkeras) if isinstance(getattr(qkeras, name), type)}
    with keras.utils.custom_object_scope(classes):
        keras.models.load_model(MODEL, compile=False).save(tmp_path / "whole.h5")
    data, path, rng = (tmp_path / "whole.h5").read_bytes(), tmp_path / "m.h5", random.Random(4)
    assert survives(lambda: qsim.load(tmp_path / "whole.h5"), "whole")
    for number in range(100):
        path.write_bytes(flips(data, rng))
        survives(lambda: qsim.load(path), f"flip {number}")
