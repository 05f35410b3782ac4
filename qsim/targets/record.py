"""Options as records: frozen dataclasses whose fields are the options, read from values by name or from texts."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from qsim.errors import UsageError


class Record(Protocol):
    """A dataclass whose fields are options, each with a default and ``metadata={"help": ...}``."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


R = TypeVar("R", bound=Record)

BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
"""How a truth value is written; in Python True, False, 1 and 0 stand for themselves too."""

_WORDS: dict[object, str] = {
    bool: "true or false (1 or 0)",
    int: "a whole number",
    float: "a number",
    str: "a text",
}
_PLURAL: dict[object, str] = {bool: "truth values", int: "whole numbers", float: "numbers", str: "texts"}


class _Refused(Exception):
    """A value is not of the type."""


@dataclass(frozen=True)
class Option:
    """One option of a record. kinds: the types that it takes, None left out; optional: whether None is one more."""

    name: str
    help: str
    kinds: tuple[object, ...]
    optional: bool

    @property
    def words(self) -> str:
        """What it takes, in words."""
        return " or ".join(_words(kind) for kind in self.kinds)

    @property
    def layer_kind(self) -> object | None:
        """The type of one value, where the option may be a mapping from names to values that can be written."""
        inner = (get_args(kind)[1] for kind in self.kinds if get_origin(kind) is Mapping)
        return next((kind for kind in inner if kind in _WORDS), None)

    def value(self, value: object) -> object:
        """``value`` as the option takes it. Raises _Refused."""
        if value is None and self.optional:
            return None
        for kind in self.kinds:
            try:
                return _value(kind, value)
            except _Refused:
                continue
        raise _Refused

    def parse(self, text: str, *, layer: bool = False) -> object:
        """The value that ``text`` says; layer: of one entry of a mapping. Raises _Refused."""
        for kind in (self.layer_kind,) if layer else self.kinds:
            try:
                return _value(kind, _parse(kind, text))
            except (ValueError, _Refused):
                continue
        raise _Refused


def options_of(record: type[Record]) -> dict[str, Option]:
    """The options of a record by name, in its order."""
    hints = get_type_hints(record)
    found = {}
    for entry in fields(record):
        hint = hints[entry.name]
        parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        kinds = tuple(kind for kind in parts if kind is not type(None))
        help_text = str(entry.metadata.get("help", ""))
        found[entry.name] = Option(entry.name, help_text, kinds, len(kinds) < len(parts))
    return found


def _words(kind: object) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is Mapping:
        return f"a mapping from names to {_PLURAL.get(get_args(kind)[1], 'arrays')}"
    return _WORDS[kind]


def _parse(kind: object, text: str) -> object:
    if kind is int:
        return int(text)
    if kind is float:
        return float(text)
    return text


def _value(kind: object, value: object) -> object:
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
    elif get_origin(kind) is Mapping:
        if isinstance(value, Mapping):
            inner = get_args(kind)[1]
            return {str(k): _value(inner, v) if inner in _WORDS else v for k, v in value.items()}
    elif kind is bool:
        if isinstance(value, str) and value in BOOLEANS:
            return BOOLEANS[value]
        if isinstance(value, bool | int) and value in (0, 1):
            return bool(value)
    elif kind is str and isinstance(value, str):
        return value
    elif kind in (int, float) and not isinstance(value, bool):
        if isinstance(value, int | np.integer):
            return int(value) if kind is int else float(value)
        if kind is float and isinstance(value, float | np.floating):
            return float(value)
    raise _Refused


def find(record: type[Record], name: str, owner: str, noun: str) -> Option:
    """The option called ``name``. Raises UsageError that names those that exist."""
    known = options_of(record)
    if name not in known:
        raise UsageError(f"{owner} has no {noun} {name!r}; it has {', '.join(known) or 'none'}")
    return known[name]


def read(record: type[R], values: Mapping[str, object], owner: str, noun: str, start: R | None = None) -> R:
    """The record with ``values`` in place of ``start``'s (by default the record's defaults).

    owner, noun: what has the options and what they are called ("target c", "option"), for messages. Raises UsageError
    for an unknown name and for a value of another type.
    """
    found: dict[str, object] = {}
    for name, value in values.items():
        option = find(record, name, owner, noun)
        try:
            found[name] = option.value(value)
        except _Refused:
            raise UsageError(f"{noun} {name} of {owner} is {value!r}; it must be {option.words}") from None
    return replace(record() if start is None else start, **found)


def parse(record: type[Record], name: str, text: str, owner: str, *, layer: bool = False) -> object:
    """The value that ``text`` says of option ``name``, or of one layer's entry of it. Raises UsageError for an unknown
    option, one that has no values per layer, and a text that says no such value."""
    option = find(record, name, owner, "option")
    if layer and option.layer_kind is None:
        raise UsageError(f"option {name} of {owner} has no values per layer; it is {option.words}")
    try:
        return option.parse(text, layer=layer)
    except _Refused:
        words = _words(option.layer_kind) if layer else option.words
        raise UsageError(f"option {name} of {owner} is {text!r}; it must be {words}") from None


__all__ = ["BOOLEANS", "Option", "Record", "find", "options_of", "parse", "read"]
