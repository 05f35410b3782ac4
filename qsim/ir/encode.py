"""The canonical JSON text of what a graph holds: equal graphs give equal bytes on any machine."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable
from enum import Enum
from fractions import Fraction
from typing import Any

from qsim.ir.ops import Op
from qsim.numerics import IntArray, IntFormat

FORMAT_VERSION = 1
"""Of the JSON text, in its entry ``qsim_graph``."""


def encode(value: object) -> Any:
    """A field of a graph as JSON's own types. Raises TypeError for a type that no graph holds."""
    if isinstance(value, IntArray):
        width = next(w for w in (8, 16, 32, 64) if IntFormat(w, True).holds(value.low, value.high))
        data = value.values.astype(f"<i{width // 8}").tobytes()
        return {"shape": list(value.shape), "int": width, "data": base64.b64encode(data).decode()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Fraction):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {
            f.name: encode(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not (f.metadata.get("omit_default") and getattr(value, f.name) == f.default)
        }
    if isinstance(value, tuple):
        return [encode(v) for v in value]
    if value is None or isinstance(value, (str, int, bool)):
        return value
    raise TypeError(f"cannot write {type(value).__name__} into JSON")


def document(
    *,
    name: str,
    profile: str,
    inputs: Iterable[object],
    outputs: Iterable[object],
    ops: Iterable[Op],
    tensors: Iterable[object],
    notes: Iterable[str],
) -> str:
    """Sorted keys, one line an op and tensor."""

    def line(value: object) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    def block(values: Iterable[Any]) -> str:
        return "[\n" + ",\n".join(line(v) for v in values) + "\n]"

    parts = {
        "inputs": block(encode(i) for i in inputs),
        "name": line(name),
        "notes": line(list(notes)),
        "ops": block({"op": type(op).__name__, **encode(op)} for op in ops),
        "outputs": block(encode(o) for o in outputs),
        "profile": line(profile),
        "qsim_graph": line(FORMAT_VERSION),
        "tensors": block(encode(t) for t in tensors),
    }
    return "{" + ",\n".join(f'"{key}":{text}' for key, text in parts.items()) + "}\n"
