"""Graph <-> JSON, weights included. The text is canonical: equal graphs give equal bytes on any machine."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import types
import typing
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np

from qsim.errors import GraphError, UsageError
from qsim.ir.encode import FORMAT_VERSION
from qsim.ir.graph import Graph, Input, Output
from qsim.ir.ops import OPS, Op
from qsim.ir.tensor import Quantization, Tensor
from qsim.numerics import IntArray

_FRACTION = re.compile(r"-?[0-9]{1,2000}(/0*[1-9][0-9]{0,1999})?")
"""What ``str(Fraction)`` writes. An exponent would make a number of any size out of ten characters."""
_OPS_BY_NAME = {op.__name__: op for op in OPS}


def _decode(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _decode(next(a for a in args if a is not type(None)), value)
    if origin is typing.Literal:
        if value not in args:
            raise ValueError(f"{value!r} is none of {args}")
        return value
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_decode(args[0], v) for v in value)
        if len(args) != len(value):
            raise ValueError(f"{len(args)} values expected, {len(value)} found")
        return tuple(_decode(a, v) for a, v in zip(args, value, strict=True))
    if hint is IntArray:
        flat = np.frombuffer(base64.b64decode(value["data"], validate=True), dtype=f"<i{value['int'] // 8}")
        return IntArray(flat.astype(np.int64).reshape(value["shape"]))
    if hint is Fraction:
        if not (isinstance(value, str) and _FRACTION.fullmatch(value)):
            raise ValueError(f"a fraction of integers expected, {str(value)[:40]!r} found")
        return Fraction(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return typing.cast(Any, hint)(**{k: _decode(hints[k], v) for k, v in value.items()})
    if isinstance(hint, type) and not (isinstance(value, hint) and (hint is bool or not isinstance(value, bool))):
        raise ValueError(f"{hint.__name__} expected, {value!r} found")
    return value


def to_json(graph: Graph) -> str:
    """Canonical JSON text (sorted keys, one line per op and tensor)."""
    return graph.json


def from_json(text: str) -> Graph:
    """Read what ``to_json`` wrote. Raises GraphError for anything else."""
    try:
        data = json.loads(text)
        if data.get("qsim_graph") != FORMAT_VERSION:
            raise ValueError(f"qsim_graph version {FORMAT_VERSION} expected, {data.get('qsim_graph')!r} found")
        tensors = [_decode(Tensor, t) for t in data["tensors"]]
        ops: list[Op] = []
        for entry in data["ops"]:
            fields = dict(entry)
            ops.append(_decode(_OPS_BY_NAME[fields.pop("op")], fields))
        return Graph(
            name=_decode(str, data["name"]),
            profile=_decode(str, data["profile"]),
            inputs=tuple(_decode(Input, i) for i in data["inputs"]),
            outputs=tuple(_decode(Output, o) for o in data["outputs"]),
            ops=tuple(ops),
            tensors={t.name: t for t in tensors},
            notes=tuple(_decode(str, n) for n in data["notes"]),
        )
    except GraphError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, UsageError) as error:
        reason = " ".join(str(error).split())[:200] or "nested too deeply"
        raise GraphError(f"not a qsim graph: {type(error).__name__}: {reason}") from error


__all__ = ["FORMAT_VERSION", "Quantization", "from_json", "to_json"]
