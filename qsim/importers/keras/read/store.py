"""A layer's variables as they are stored: names, shapes, order, and the layers that it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

Shape = tuple[int | None, ...]
"""A variable's shape; None where the config does not tell."""


@dataclass(frozen=True)
class Variable:
    """One variable. aliases: regular expressions for other names that files use for it. shape None: not checked."""

    name: str
    shape: Shape | None
    trainable: bool = True
    aliases: tuple[str, ...] = ()

    def named(self, base: str) -> bool:
        """Whether a file's variable of this base name (no path, no ':0') is this one."""
        patterns = (re.escape(self.name) + r"(_\d+)?", *self.aliases)
        return any(re.fullmatch(p, base) for p in patterns)


@dataclass(frozen=True)
class Store:
    """A layer's own variables, trainable ones first, and those of the layers it holds: (prefix of their names,
    attribute, store)."""

    own: tuple[Variable, ...] = ()
    children: tuple[tuple[str, str, Store], ...] = ()

    def flat(self, prefix: str = "") -> Iterator[tuple[str, Variable]]:
        """(canonical name, variable) of everything, own ones first: the order of Keras' ``layer.weights``."""
        for v in self.own:
            yield prefix + v.name, v
        for child, _, store in self.children:
            yield from store.flat(prefix + child)


EMPTY = Store()
