"""The calls of layers as a config states them: which tensors of which calls they read, and what else they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qsim.errors import ModelError
from qsim.importers.keras.read.config import as_dict, as_index, as_list, is_object, normalize


@dataclass(frozen=True)
class Ref:
    """A tensor: output ``index`` of call ``call`` (0-based) of layer ``layer``, within one model."""

    layer: str
    call: int
    index: int


@dataclass(frozen=True)
class Call:
    """One call of a layer. refs: its input tensors in order; keys: their names where they were passed as a dict;
    arguments: the whole call, tensors replaced by {'tensor': position}, where it is more than its tensors."""

    refs: tuple[Ref, ...]
    keys: tuple[str, ...] | None = None
    arguments: dict[str, Any] | None = None


def _is_leaf(value: Any) -> bool:
    """A reference in list form: [layer name, call, output index] or, in Keras 2's calls, with the kwargs behind."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(isinstance(n, int) and not isinstance(n, bool) for n in value[1:3])
    )


def _is_constant(value: Any) -> bool:
    """A number or array in the place of Keras 2's first tensor: ["_CONSTANT_VALUE", -1, it, the kwargs]."""
    return isinstance(value, list) and bool(value) and value[0] == "_CONSTANT_VALUE"


def refs_of(value: Any, offsets: dict[str, int], what: str) -> list[Ref]:
    if _is_leaf(value):
        return [_ref(value, offsets, what)]
    if isinstance(value, dict):  # Keras flattens dicts in the order of their sorted keys
        return [r for key in sorted(value) for r in refs_of(value[key], offsets, what)]
    return [r for v in as_list(value, what) for r in refs_of(v, offsets, what)]


def _ref(value: list[Any], offsets: dict[str, int], what: str) -> Ref:
    call = as_index(value[1], f"a call's number in {what}") - offsets.get(value[0], 0)
    if call < 0:
        raise ModelError(f"{what} names call {value[1]} of model {value[0]!r}, which has no such call.")
    return Ref(value[0], call, as_index(value[2], f"an output's number in {what}"))


def call_of(node: Any, data: dict[str, Any], offsets: dict[str, int], where: str) -> Call:
    what = f"'inbound_nodes' of layer {data.get('name')!r} in {where}"
    found: list[Ref] = []
    if isinstance(node, dict) and "args" in node:
        args = _arguments(node["args"], found, {}, what, keras3=True)
        kwargs = _arguments(as_dict(node.get("kwargs", {}), what), found, {}, what, keras3=True)
        raw_args = as_list(node["args"], what)
        only = raw_args[0] if len(raw_args) == 1 else None
        keys = tuple(sorted(only)) if isinstance(only, dict) and not is_object(only) else None
    else:
        if not isinstance(node, dict):
            as_list(node, what)
        args = _arguments([node], found, offsets, what, keras3=False)
        kwargs = _arguments(_legacy_kwargs(node), found, offsets, what, keras3=False)
        keys = tuple(sorted(node)) if isinstance(node, dict) else None
    return Call(tuple(found), keys, _significant(args, kwargs))


def _legacy_kwargs(node: Any) -> dict[str, Any]:
    """Keras 2 repeats a call's keyword arguments behind every tensor of its first argument."""
    while isinstance(node, (list, dict)) and node and not (_is_leaf(node) or _is_constant(node)):
        node = next(iter(node.values())) if isinstance(node, dict) else node[0]
    return dict(node[3]) if isinstance(node, list) and len(node) == 4 and isinstance(node[3], dict) else {}


def _arguments(value: Any, found: list[Ref], offsets: dict[str, int], what: str, *, keras3: bool) -> Any:
    """``value`` normalized, each tensor replaced by {'tensor': position in ``found``}, to which it is appended."""
    ref: list[Any] | None = None
    if keras3 and isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        history = as_dict(value.get("config"), what).get("keras_history")
        if not _is_leaf(history):
            raise ModelError(f"{what} holds a tensor without a source. The model's config is damaged.")
        ref = history
    elif not keras3 and _is_leaf(value) and not _is_constant(value):
        ref = value
    if ref is not None:
        found.append(_ref(ref, offsets, what))
        return {"tensor": len(found) - 1}
    if isinstance(value, (list, tuple)):
        if _is_constant(value):
            return {"constant": normalize(value[2] if len(value) > 2 else None)}
        return [_arguments(v, found, offsets, what, keras3=keras3) for v in value]
    if isinstance(value, dict) and not is_object(value):
        return {k: _arguments(value[k], found, offsets, what, keras3=keras3) for k in sorted(value)}
    return normalize(value)


def _significant(args: Any, kwargs: Any) -> dict[str, Any] | None:
    """The call's arguments where they say more than 'these tensors': anything by keyword, any literal."""
    stated = {k: v for k, v in kwargs.items() if not _is_none(v) and not (k == "training" and v in (False, 0))}
    flat = list(args)
    if len(flat) == 1 and isinstance(flat[0], (list, dict)) and not _is_tensor(flat[0]):
        flat = list(flat[0].values()) if isinstance(flat[0], dict) else flat[0]
        while len(flat) == 1 and isinstance(flat[0], list):
            flat = flat[0]
    if not stated and all(_is_tensor(v) for v in flat):
        return None
    return {"args": args, "kwargs": stated}


def _is_none(value: Any) -> bool:
    """None, or nothing but Nones: the masks of several tensors that have none."""
    inner = list(value.values()) if isinstance(value, dict) else value
    return inner is None or (isinstance(inner, list) and all(_is_none(v) for v in inner))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"tensor"}


def holds_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_tensor(value) or any(holds_tensor(v) for v in value.values())
    return isinstance(value, list) and any(holds_tensor(v) for v in value)
