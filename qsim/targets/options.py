"""Emit options as text: ``rtl.folding=64``, ``rtl.folding.conv2=8``, ``hls.clock_ns=4``."""

from __future__ import annotations

from collections.abc import Iterable

from qsim.errors import UsageError
from qsim.targets.record import parse
from qsim.targets.registry import find


def parse_options(texts: Iterable[str]) -> dict[str, dict[str, object]]:
    """Target -> option -> value, from TARGET.NAME=VALUE or, for an option that takes one value per layer,
    TARGET.NAME.LAYER=VALUE (layer names may hold dots). Values have the types that the target's options say.

    Raises UsageError for other forms, unknown targets and options, a value of another type, and an option given both
    ways or twice.
    """
    found: dict[str, dict[str, object]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        parts = place.split(".", 2)
        if not equals or len(parts) < 2 or not all(parts):
            raise UsageError(f"cannot read the option {text!r}: write TARGET.NAME=VALUE or TARGET.NAME.LAYER=VALUE")
        name, option = parts[:2]
        target, owner = find(name), f"target {name}"
        options = found.setdefault(name, {})
        if len(parts) == 2:
            if option in options:
                raise UsageError(f"option {name}.{option} is given twice")
            options[option] = parse(target.options, option, value, owner)
            continue
        layer = parse(target.options, option, value, owner, layer=True)
        layers = options.setdefault(option, {})
        if not isinstance(layers, dict):
            raise UsageError(f"option {name}.{option} is given for the whole design and for layer {parts[2]!r}")
        if parts[2] in layers:
            raise UsageError(f"option {name}.{option}.{parts[2]} is given twice")
        layers[parts[2]] = layer
    return found


__all__ = ["parse_options"]
