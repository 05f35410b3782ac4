"""Reading quantizers and activations as models write them: dicts, texts like ``quantized_relu(3,1)``, plain names.

A text is parsed as a Python call of literals (``ast``), never evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qsim.errors import UnsupportedError


@dataclass(frozen=True)
class Call:
    """A quantizer or activation by name, with positional and keyword arguments as plain Python values."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(parts)})" if parts else self.name


def parse(source: Any) -> Call | None:
    """``None``, a text, or ``{'class_name': ..., 'config': {...}}`` (nested in 'config' for a bare function) to a Call.

    Raises UnsupportedError for anything else: a text that is not a call of literals, an object of another kind.
    """
    if source is None:
        return None
    if isinstance(source, str):
        return _parse_text(source)
    if isinstance(source, Mapping) and "class_name" in source:
        name, config = source["class_name"], source.get("config")
        if name == "function" and isinstance(config, str):
            # Keras 3 writes a registered function as {'class_name': 'function', 'config': 'name'}.
            return Call(config.rsplit(">", 1)[-1])
        if config is None or isinstance(config, Mapping):
            return Call(str(name).rsplit(">", 1)[-1], (), dict(config or {}))
    raise UnsupportedError(
        f"cannot read {source!r} as a quantizer or activation",
        way_out="use a QKeras quantizer, its text form such as quantized_bits(8,0,alpha=1), or a Keras activation name",
    )


def _parse_text(text: str) -> Call:
    reason = f"cannot read the quantizer text {text!r}"
    way_out = "write a call with literal arguments, such as quantized_relu(4,2)"
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise UnsupportedError(reason, way_out=way_out) from error
    if isinstance(node, ast.Name):
        return Call(node.id)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise UnsupportedError(reason, way_out=way_out)
    try:
        args = tuple(ast.literal_eval(a) for a in node.args)
        kwargs = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg is not None}
    except ValueError as error:
        raise UnsupportedError(reason, way_out=way_out) from error
    if len(kwargs) != len(node.keywords):
        raise UnsupportedError(reason, way_out=way_out)
    return Call(node.func.id, args, kwargs)
