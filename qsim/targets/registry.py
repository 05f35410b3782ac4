"""The targets: one line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qsim.errors import ToolMissingError, UsageError
from qsim.ir import Graph
from qsim.targets.c.target import C
from qsim.targets.hls.target import HLS
from qsim.targets.rtl.target import RTL
from qsim.targets.target import AnyTarget, Planned

TARGETS: dict[str, AnyTarget] = {
    C.name: C,
    HLS.name: HLS,
    RTL.name: RTL,
}
"""Target by name, in the order of tables and reports."""


def find(name: str) -> AnyTarget:
    """The target called ``name``. Raises UsageError that names those that exist."""
    if name not in TARGETS:
        raise UsageError(f"unknown target {name!r}: choose from {', '.join(TARGETS)}")
    return TARGETS[name]


def planned(graph: Graph, name: str, options: Mapping[str, object] | None = None) -> Planned:
    """``graph`` planned for the target called ``name``; see ``AnyTarget.planned`` for what it raises."""
    return find(name).planned(graph, options)


def missing_tools(name: str) -> list[str]:
    """What building and running a target's files needs and does not find, each with the way to install it."""
    found = []
    for search in find(name).tools:
        try:
            search()
        except ToolMissingError as error:
            found.append(str(error))
    return found


def require_tools(names: Iterable[str]) -> None:
    """Raise ToolMissingError that names everything that is missing for the targets."""
    if found := dict.fromkeys(text for name in names for text in missing_tools(name)):
        raise ToolMissingError(". ".join(f"{text[0].upper()}{text[1:]}" for text in found) + ".")


__all__ = ["TARGETS", "find", "missing_tools", "planned", "require_tools"]
