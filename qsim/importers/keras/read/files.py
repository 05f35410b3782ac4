"""Reading Keras models, from files without TensorFlow or from memory, into one structure (``model.KerasModel``).

Files: Keras 3 archives (``.keras``, also unpacked folders and those that tf_keras writes), Keras 2 and 3 ``.h5``,
architecture JSON with a weights file in either HDF5 layout. The kind is told by content, not by extension. Only a
SavedModel folder needs TensorFlow, whose format it is.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qsim.errors import ModelError, UsageError
from qsim.importers.importer import ModelSource
from qsim.importers.keras.model import KerasModel
from qsim.importers.keras.read.config import CONFIG_LIMIT, parse_json
from qsim.importers.keras.read.graph import flatten
from qsim.importers.keras.read.hdf5 import Group, damaged, open_hdf5, open_hdf5_file
from qsim.importers.keras.read.live import is_saved_model, opened_folder
from qsim.importers.keras.read.spec import ModelSpec, parse_model
from qsim.importers.keras.read.weights import Weights, read_flat, read_tree

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBER_FLOOR, _MEMBER_EXPANSION = 256 << 20, 100
"""An archive member may be larger than both this many bytes and this many times its packed size only in a zip bomb."""

PathLike = str | os.PathLike[str]


def read(path: PathLike, weights: PathLike | None = None) -> KerasModel:
    """The model in a file.

    path: an archive, a full-model HDF5 file, or an architecture JSON, which needs ``weights``: an HDF5 weights file, a
    full-model HDF5 file or an archive. A folder may be an unpacked archive or a SavedModel, which needs TensorFlow.
    Raises UsageError for paths that do not exist and for weights that are missing or too many, ModelError for files
    that are no model, damaged, or do not belong together, UnsupportedError for subclassed models, ToolMissingError for
    a SavedModel without TensorFlow.
    """
    source = Path(path)
    if is_saved_model(source):
        if weights is not None:
            raise UsageError(f"{source} holds its weights itself; give no separate weights file.")
        return from_memory(opened_folder(source))
    kind = _kind(source)
    if kind == "json":
        if weights is None:
            raise UsageError(
                f"{source} holds an architecture without weights. Give the weights too: weights='....h5' in Python, "
                "--weights ....h5 on the command line."
            )
        return _read_json(source, Path(weights))
    if weights is not None:
        raise UsageError(f"{source} holds its weights itself; a separate weights file goes with an architecture JSON.")
    if kind == "archive":
        return _read_archive(source)
    return _read_hdf5(source)


def _kind(path: Path) -> str:
    """'archive', 'hdf5' or 'json', by the file's first bytes."""
    if not path.exists():
        raise UsageError(f"{path} does not exist.")
    if path.is_dir():
        if (path / _CONFIG).is_file():
            return "archive"
        raise UsageError(f"{path} is a folder, not a model file, and holds no {_CONFIG} of an unpacked Keras archive.")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    if head.startswith(b"PK"):
        return "archive"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b'"')):
        return "json"
    what = "is empty" if not head else "is no Keras model: neither an archive (.keras), nor HDF5 (.h5), nor JSON"
    raise ModelError(f"{path} {what}.")


# Archives -----------------------------------------------------------------------------------------------------------


def _read_archive(path: Path) -> KerasModel:
    with _members(path) as member:
        config = member(_CONFIG)
        if config is None:
            raise ModelError(f"{path} is an archive without {_CONFIG}: it is no Keras model.")
        spec = parse_model(parse_json(config, f"{path}, {_CONFIG}"), str(path))
        found = read_tree(spec, _archived_weights(path, member), str(path))
    return flatten(spec, found, "keras3 archive", str(path))


def _archived_weights(path: Path, member: Callable[[str], bytes | None]) -> Group:
    """Out of an archive, where a checksum protects them, in this process; out of an unpacked one as any file."""
    if path.is_dir() and (path / _WEIGHTS).is_file():
        return open_hdf5_file(path / _WEIGHTS)
    data = member(_WEIGHTS)
    if data is None:
        raise ModelError(
            f"{path} has no weights: {_WEIGHTS} is missing from it. Save the model with model.save('name.keras')."
        )
    return open_hdf5(data, f"{path}, {_WEIGHTS}")


@contextmanager
def _members(path: Path) -> Iterator[Any]:
    """A function from member name to bytes or None, for an archive or an unpacked one."""
    if path.is_dir():

        def from_folder(name: str) -> bytes | None:
            file = path / name
            with damaged(str(file)):
                return file.read_bytes() if file.is_file() else None

        yield from_folder
        return
    with damaged(str(path)):
        archive = zipfile.ZipFile(path)

    def from_archive(name: str) -> bytes | None:
        with damaged(str(path)):
            if name not in archive.namelist():
                return None
            info = archive.getinfo(name)
            limit = max(_MEMBER_FLOOR, _MEMBER_EXPANSION * info.compress_size)
            if name == _CONFIG:
                limit = CONFIG_LIMIT
            if info.file_size > limit:
                raise ModelError(f"{path}: {name} would unpack to {info.file_size} bytes; such a file is not read.")
            return archive.read(info)

    try:
        yield from_archive
    finally:
        archive.close()


# HDF5 and JSON ------------------------------------------------------------------------------------------------------


def _read_hdf5(path: Path) -> KerasModel:
    root = open_hdf5_file(path)
    config = root.text("model_config")
    if config is None:
        what = "weights without an architecture" if _is_weights(root) else "no Keras model"
        raise ModelError(
            f"{path} holds {what}. Save the whole model with model.save('name.keras'), or give its architecture "
            "(model.to_json()) as the model and this file as its weights."
        )
    spec = parse_model(parse_json(config, f"{path}, model_config"), str(path))
    group = root.group("model_weights")
    if group is None:
        raise ModelError(f"{path} has no weights: the group 'model_weights' is missing from it.")
    found = read_flat(spec, group, str(path))
    version = root.text("keras_version") or group.text("keras_version") or "1"
    return flatten(spec, found, f"keras{_generation(version)} hdf5", str(path))


def _read_json(path: Path, weights: Path) -> KerasModel:
    with damaged(str(path)):
        if path.stat().st_size > CONFIG_LIMIT:
            raise ModelError(f"{path} is larger than the {CONFIG_LIMIT} bytes that are accepted for an architecture.")
        text = path.read_bytes()
    serialized = parse_json(text, str(path))
    if isinstance(serialized, str):  # json.dump(model.to_json()) wraps the text once more
        serialized = parse_json(serialized, str(path))
    version = serialized.get("keras_version") if isinstance(serialized, dict) else None
    spec = parse_model(serialized, str(path))
    found = _separate_weights(spec, weights)
    return flatten(spec, found, f"keras{_generation(str(version or 3))} json+hdf5", str(path))


def _separate_weights(spec: ModelSpec, path: Path) -> Weights:
    kind = _kind(path)
    if kind == "json":
        raise UsageError(f"{path} is JSON, not a weights file.")
    if kind == "archive":
        with _members(path) as member:
            return read_tree(spec, _archived_weights(path, member), str(path))
    root = open_hdf5_file(path)
    if not _is_weights(root):
        raise ModelError(f"{path} holds no Keras weights: neither 'layer_names' nor a group 'layers'.")
    inner = root.group("model_weights")
    if inner is not None or root.texts("layer_names") is not None:
        return read_flat(spec, inner or root, str(path))
    return read_tree(spec, root, str(path))


def _is_weights(root: Group) -> bool:
    return root.texts("layer_names") is not None or any(
        root.group(name) is not None for name in ("model_weights", "layers", "_layer_checkpoint_dependencies", "vars")
    )


def _generation(version: str) -> int:
    """2 for Keras 1 and 2, 3 for later ones."""
    return 2 if version.split(".")[0] in ("1", "2") else 3


# Memory -------------------------------------------------------------------------------------------------------------


def from_memory(model: Any) -> KerasModel:
    """A keras.Model or tf_keras model that is built, Sequential or Functional.

    Only its public methods are used (get_config, layers, weights, get_weights); neither TensorFlow nor Keras is
    imported. Raises UsageError if it is no Keras model, ModelError if it is not built, and as ``read`` does.
    """
    from qsim.importers.keras.read.memory import read_memory

    return read_memory(model)


def read_source(source: ModelSource) -> KerasModel:
    """``read`` of a path, ``from_memory`` of anything else."""
    return from_memory(source.model) if source.path is None else read(source.path, source.weights)
