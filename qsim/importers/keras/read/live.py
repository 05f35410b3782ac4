"""Models that only TensorFlow can open: through the tf_keras that is installed, with tfmot's layers known to it."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from qsim.errors import ToolMissingError, UsageError


def is_saved_model(path: Path) -> bool:
    """Whether a path is a folder in TensorFlow's SavedModel format."""
    return path.is_dir() and (path / "saved_model.pb").is_file()


def live_tfmot(path: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None) -> Any:
    """The tf_keras model of a file, a SavedModel folder, or an architecture JSON with its weights.

    Raises ToolMissingError without tf_keras and tfmot, UsageError where tf_keras refuses the file.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up messages are not ours
    source = Path(path)
    try:
        import tensorflow_model_optimization as tfmot
        import tf_keras
    except ImportError as error:
        what = "a SavedModel folder is opened by TensorFlow" if is_saved_model(source) else "running a tfmot model"
        way = ", or save the model as .h5 or .keras, which qsim reads by itself" if is_saved_model(source) else ""
        raise ToolMissingError(f'{what}; that needs pip install "qsim[tfmot]"{way}') from error
    try:
        with tfmot.quantization.keras.quantize_scope():
            if zipfile.is_zipfile(source):
                model = _from_archive(tf_keras, source)
            elif weights is None:
                model = tf_keras.models.load_model(source, compile=False)
            else:
                model = tf_keras.models.model_from_json(source.read_text(encoding="utf-8"))
                model.load_weights(weights)
    except Exception as error:  # Keras raises whatever a layer's constructor raises
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"Keras does not load {source.name}: {reason}") from error
    if not hasattr(model, "get_config"):
        raise UsageError(
            f"{source.name} is a SavedModel without its Keras layers: save the Keras model itself (model.save) as .h5 "
            "or .keras."
        )
    return model


def _from_archive(tf_keras: Any, path: Path) -> Any:
    """A .keras archive of a tfmot model, which tf_keras writes but fails to load: its architecture by tf_keras, its
    variables by qsim's reader."""
    from qsim.importers.keras.read.files import read

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
