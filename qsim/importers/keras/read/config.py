"""Keras' serialized configs as plain Python, one form whatever Keras version wrote them.

Keras 2 and 3 wrap the same values differently; ``normalize`` undoes every wrapper, so that a layer's config reads the
same from a Keras 3 archive, a Keras 2 JSON file and a model in memory. Nothing is constructed, imported or evaluated.
"""

from __future__ import annotations

import json
from typing import Any

from qsim.errors import ModelError

CONFIG_LIMIT = 64 << 20
"""Bytes of JSON that are accepted: far above any real architecture, far below what exhausts a machine."""

_POLICIES = ("DTypePolicy", "Policy", "FloatDTypePolicy")


def parse_json(text: str | bytes, where: str) -> Any:
    """The value of a JSON text. Raises ModelError for bad JSON, bad UTF-8, excessive size or nesting."""
    if len(text) > CONFIG_LIMIT:
        raise ModelError(f"{where} holds {len(text)} bytes of JSON, more than the {CONFIG_LIMIT} that are accepted.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ModelError(f"{where} is no readable JSON: {reason}. The file may be truncated or corrupt.") from error


def short_name(class_name: str) -> str:
    """'QDense' from 'QDense', 'qkeras>QDense' or 'keras.layers.QDense'."""
    return class_name.rsplit(">", 1)[-1].rsplit(".", 1)[-1]


def is_object(value: object) -> bool:
    """True for a serialized object: a dict with a class name and a config (or items)."""
    return (
        isinstance(value, dict) and isinstance(value.get("class_name"), str) and ("config" in value or "items" in value)
    )


def normalize(value: Any) -> Any:
    """A config value in plain form.

    Serialized objects become {'class_name': short name, 'config': normalized}; functions their name; '__tuple__' and
    'TensorShape' lists; '__numpy__', '__tensor__' and 'ndarray' nested lists or numbers; '__bytes__' text; dtype
    policies their name. Rules: keras.src.saving.serialization_lib and keras.src.legacy.saving.json_utils.
    """
    if isinstance(value, (list, tuple)):
        return [normalize(v) for v in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "ndarray" and "value" in value:
        return normalize(value["value"])
    if not is_object(value):
        return {str(k): normalize(v) for k, v in value.items() if k != "__passive_serialization__"}
    class_name = value["class_name"]
    if "items" in value:
        return normalize(value["items"])
    config = value["config"]
    if class_name in ("__numpy__", "__tensor__", "__bytes__") and isinstance(config, dict) and "value" in config:
        return normalize(config["value"])
    if class_name == "function" and isinstance(config, str):
        return short_name(config)
    if class_name in _POLICIES and isinstance(config, dict) and isinstance(config.get("name"), str):
        return config["name"]
    return {"class_name": short_name(class_name), "config": normalize(config)}


def as_dict(value: object, what: str) -> dict[str, Any]:
    """``value`` if it is a dict, else ModelError."""
    if not isinstance(value, dict):
        raise ModelError(f"{what} should be a JSON object, but is {_kind(value)}. The model's config is damaged.")
    return value


def as_list(value: object, what: str) -> list[Any]:
    """``value`` if it is a list, else ModelError."""
    if not isinstance(value, list):
        raise ModelError(f"{what} should be a JSON list, but is {_kind(value)}. The model's config is damaged.")
    return value


def as_name(value: object, what: str) -> str:
    """``value`` if it is a non-empty string, else ModelError."""
    if not isinstance(value, str) or not value:
        raise ModelError(f"{what} should be a name, but is {_kind(value)}. The model's config is damaged.")
    return value


def as_index(value: object, what: str) -> int:
    """``value`` if it is an integer >= 0, else ModelError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ModelError(f"{what} should be an index, but is {_kind(value)}. The model's config is damaged.")
    return value


def _kind(value: object) -> str:
    if value is None:
        return "missing"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
