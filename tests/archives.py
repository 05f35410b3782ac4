"""Damaged and changed copies of a .keras archive."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


def changed(
    source: Path,
    target: Path,
    *,
    layer: Callable[[dict[str, Any]], None] | None = None,
    weights: Callable[[h5py.File], None] | None = None,
    drop: str | None = None,
) -> Path:
    """``source`` copied to ``target`` with every layer's config entry passed through ``layer``, the weights file
    through ``weights``, and the member ``drop`` left out."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != drop}
    if layer is not None:
        config = json.loads(members[CONFIG])
        for entry in config["config"]["layers"]:
            layer(entry)
        members[CONFIG] = json.dumps(config).encode()
    if weights is not None:
        buffer = io.BytesIO(members[WEIGHTS])
        with h5py.File(buffer, "r+") as file:
            weights(file)
        members[WEIGHTS] = buffer.getvalue()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target


def with_nan(file: h5py.File) -> None:
    """Put one NaN into the largest weight array."""
    found: list[h5py.Dataset] = []
    file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    largest = max(found, key=lambda d: d.size)
    values = np.array(largest[()])
    values.reshape(-1)[0] = np.nan
    largest[...] = values
