"""A node's attributes, with their types checked. Each function raises ModelError for a value of another type."""

from __future__ import annotations

from qsim.errors import ModelError
from qsim.importers.onnx.model import Node


def _wrong(node: Node, name: str, wanted: str) -> ModelError:
    return ModelError(f"node {node.name!r}: attribute {name!r} of {node.label} is no {wanted}.")


def integer(node: Node, name: str, default: int | None = None) -> int:
    """An integer; ``default`` where it is absent (None: it must be there)."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise _wrong(node, name, "integer")
    return value


def number(node: Node, name: str, default: float | None = None) -> float:
    """A float32 number."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int | float):
        raise _wrong(node, name, "number")
    return float(value)


def text(node: Node, name: str, default: str) -> str:
    value = node.attributes.get(name, default)
    if not isinstance(value, str):
        raise _wrong(node, name, "text")
    return value


def integers(node: Node, name: str) -> list[int] | None:
    """A list of integers; None where it is absent."""
    value = node.attributes.get(name)
    if value is None:
        return None
    if not isinstance(value, tuple) or not all(isinstance(v, int) for v in value):
        raise _wrong(node, name, "list of integers")
    return [int(v) for v in value]
