"""Who loads what: one importer recognises each kind of source, and refuses the options that are not its own."""

from __future__ import annotations

from pathlib import Path

import pytest

import qsim
from qsim.errors import UsageError
from qsim.importers import IMPORTERS, ModelSource, importer_of
from qsim.importers.sources import KerasModels, SavedGraphs, TfliteFiles, keras_model
from qsim.ir import to_json

DIGITS = Path(qsim.__file__).parent / "demo" / "digits.keras"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "graph.json"
    path.write_text(to_json(qsim.load(DIGITS)), encoding="utf-8")
    return path


def test_each_source_has_one_importer(saved: Path, tmp_path: Path) -> None:
    architecture = tmp_path / "model.json"
    architecture.write_text('{"class_name": "Sequential"}', encoding="utf-8")
    wanted = {
        DIGITS: KerasModels,
        saved: SavedGraphs,
        architecture: KerasModels,
        Path("nowhere.tflite"): TfliteFiles,
        Path("NOWHERE.TFLITE"): TfliteFiles,
    }
    for path, importer in wanted.items():
        assert type(importer_of(ModelSource(model=path))) is importer, path
        assert type(importer_of(ModelSource(model=str(path)))) is importer, path
    with pytest.raises(UsageError, match="cannot load list"):
        qsim.load([1, 2])


def test_options_of_another_importer_are_refused(saved: Path) -> None:
    given = {"weights": "w.h5", "input_format": "int8", "profile": "tflm", "rescale": "multiplier:8"}
    given["weights_format"] = "fixed<8,1>"
    for path in (saved, Path("nowhere.tflite")):
        importer = importer_of(ModelSource(model=path))
        for name, value in given.items():
            if name not in importer.options:
                with pytest.raises(UsageError, match=r"give n|rescale"):
                    importer.load(ModelSource(model=path, **{name: value}))
    assert qsim.load(saved, rescale="exact") == qsim.load(DIGITS)
    assert {name for importer in IMPORTERS for name in importer.options} == set(given)


def test_a_source_object_says_the_same_as_its_arguments() -> None:
    source = ModelSource(model=DIGITS, rescale="multiplier:8")
    assert qsim.load(source) == qsim.load(DIGITS, rescale="multiplier:8")
    described = keras_model(source)
    assert described is not None
    entries = {entry.name: entry for entry in importer_of(source).survey(source)}
    assert sum(entry.occurrences for entry in entries.values()) == len(described.nodes)
    assert all(entry.supported for entry in entries.values())
    assert keras_model(ModelSource(model="nowhere.tflite")) is None
