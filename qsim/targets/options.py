"""Emit options as text: ``rtl.folding=64``, ``rtl.folding.conv2=8``, ``hls.clock_ns=4``."""

from __future__ import annotations

from collections.abc import Iterable

from qsim.errors import UsageError
from qsim.targets.files import TARGETS


def parse_options(texts: Iterable[str]) -> dict[str, dict[str, object]]:
    """Target -> option -> value, from TARGET.NAME=VALUE or, for an option that takes one value per layer,
    TARGET.NAME.LAYER=VALUE (layer names may hold dots). Whole numbers and decimals become numbers.

    Raises UsageError for other forms, unknown targets, and an option given both ways. Whether a target has the option
    is the target's to say.
    """
    found: dict[str, dict[str, object]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        parts = place.split(".", 2)
        if not equals or len(parts) < 2 or not all(parts):
            raise UsageError(f"cannot read the option {text!r}: write TARGET.NAME=VALUE or TARGET.NAME.LAYER=VALUE")
        target, name = parts[:2]
        if target not in TARGETS:
            raise UsageError(f"option {text!r}: unknown target {target!r}; choose from {', '.join(TARGETS)}")
        options = found.setdefault(target, {})
        if len(parts) == 2:
            if name in options:
                raise UsageError(f"option {target}.{name} is given twice")
            options[name] = _number(value)
            continue
        layers = options.setdefault(name, {})
        if not isinstance(layers, dict):
            raise UsageError(f"option {target}.{name} is given for the whole design and for layer {parts[2]!r}")
        layers[parts[2]] = _number(value)
    return found


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


__all__ = ["parse_options"]
