"""A tfmot model's file as a tf_keras model in memory, which is what runs beside the simulator."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from qsim.importers.keras.read.files import read
from qsim.importers.keras.read.live import opened


def live_tfmot(path: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None) -> Any:
    """The tf_keras model of a file, a SavedModel folder, or an architecture JSON with its weights.

    Raises ToolMissingError without tf_keras and tfmot, UsageError where tf_keras refuses the file.
    """
    return opened(path, weights, _from_archive)


def _from_archive(tf_keras: Any, path: Path) -> Any:
    """A .keras archive of a tfmot model, which tf_keras writes but fails to load: its architecture by tf_keras, its
    variables by qsim's reader."""
    with zipfile.ZipFile(path) as archive:
        model = tf_keras.saving.deserialize_keras_object(json.loads(archive.read("config.json")))
    stored = {node.layer: node.weights for node in read(path).nodes}
    for layer in model.layers:
        arrays = stored.get(layer.name, {})
        for variable in layer.weights:
            leaf = variable.name.split(":")[0].split("/")[-1]
            names = (leaf, f"layer/{leaf}", leaf.rsplit("_", 1)[-1])  # the input's range is named after its layer
            variable.assign(next(arrays[name] for name in names if name in arrays))
    return model
