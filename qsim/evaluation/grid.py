"""What a sweep varies: fields of the import and options of targets, each with its values, and their combinations."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qsim.errors import UsageError
from qsim.importers import ModelSource
from qsim.targets.options import parse_options

MOST_POINTS = 4096
FIELDS = {
    entry.name.replace("_", "-"): entry.name
    for entry in dataclasses.fields(ModelSource)
    if entry.name not in ("model", "weights")
}
"""Name of an axis -> the field of the import that it varies."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """name: a key of ``FIELDS``, or TARGET.OPTION (TARGET.OPTION.LAYER)."""

    name: str
    values: tuple[str, ...]

    @property
    def target(self) -> str:
        """Whose option it is; "" for the import's."""
        return "" if self.name in FIELDS else self.name.split(".")[0]


def parse_axis(text: str) -> Axis:
    """An axis from NAME=VALUE,VALUE,...; commas within < > belong to a value. Raises UsageError for other forms,
    unknown names, values that the option does not take, and values given twice."""
    name, equals, listed = text.partition("=")
    values = [""]
    depth = 0
    for c in listed:
        depth += (c == "<") - (c == ">")
        if c == "," and not depth:
            values.append("")
        else:
            values[-1] += c
    values = [value.strip() for value in values]
    if not equals or not all(values):
        raise UsageError(f"cannot read {text!r}: write NAME=VALUE,VALUE,...")
    if name not in FIELDS:
        if "." not in name:
            raise UsageError(
                f"nothing is called {name!r}: vary {', '.join(FIELDS)}, or a target's option (rtl.folding)"
            )
        for value in values:
            parse_options([f"{name}={value}"])
    if len(set(values)) < len(values):
        raise UsageError(f"{name}: a value is given twice")
    return Axis(name=name, values=tuple(values))


def points(axes: Sequence[Axis]) -> Iterator[dict[str, str]]:
    """Every combination: name -> value, the last axis fastest. Raises UsageError for an axis given twice or for more
    than ``MOST_POINTS``."""
    names = [axis.name for axis in axes]
    if len(set(names)) < len(names):
        raise UsageError("a name is varied twice: give all of its values at once")
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MOST_POINTS:
        raise UsageError(f"{count:,} combinations are more than {MOST_POINTS:,}: vary less at once")
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip(names, values))


def source_of(source: ModelSource, point: Mapping[str, str]) -> ModelSource:
    """The source with the point's choices."""
    return source.but(**{FIELDS[name]: value for name, value in point.items() if name in FIELDS})


def options_of(point: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """The point's options by target."""
    return parse_options(f"{name}={value}" for name, value in point.items() if name not in FIELDS)


__all__ = ["FIELDS", "MOST_POINTS", "Axis", "options_of", "parse_axis", "points", "source_of"]
