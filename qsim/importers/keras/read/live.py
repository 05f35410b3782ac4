"""Models that only TensorFlow can open: through the tf_keras that is installed, with tfmot's layers known to it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qsim.errors import ToolMissingError, UsageError
from qsim.version import install


def is_saved_model(path: Path) -> bool:
    """Whether a path is a folder in TensorFlow's SavedModel format."""
    return path.is_dir() and (path / "saved_model.pb").is_file()


def opened(
    path: str | os.PathLike[str], weights: str | os.PathLike[str] | None, archive: Callable[[Any, Path], Any]
) -> Any:
    """The tf_keras model of a file, a SavedModel folder, or an architecture JSON with its weights. archive: makes the
    model of a .keras archive, with tf_keras at hand.

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
        raise ToolMissingError(f"{what}; that needs {install('tfmot')}{way}") from error
    try:
        with tfmot.quantization.keras.quantize_scope():
            if zipfile.is_zipfile(source):
                model = archive(tf_keras, source)
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


def opened_folder(path: Path) -> Any:
    """The tf_keras model of a SavedModel folder; raises as ``opened`` does."""

    def none(tf_keras: Any, archive: Path) -> Any:
        raise UsageError(f"{archive} is an archive, not a SavedModel folder.")

    return opened(path, None, none)
