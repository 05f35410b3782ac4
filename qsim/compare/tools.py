"""Which tools each target's verification needs, and which of them are not here: asked before anything long begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qsim.errors import ToolMissingError
from qsim.targets.c import run as c
from qsim.targets.hls import run as hls
from qsim.targets.rtl import run as rtl
from qsim.targets.rtl import verilator

CHECKS: dict[str, tuple[Callable[[], object], ...]] = {
    "c": (c.compiler,),
    "hls": (hls.compiler, hls.ap_types),
    "rtl": (verilator.environment, rtl.packages),
}
"""Target -> the runners' own searches for their tools; each raises ToolMissingError."""


def missing_tools(target: str) -> list[str]:
    """What the verification of ``target`` needs and does not find, each with the way to install it."""
    found = []
    for check in CHECKS[target]:
        try:
            check()
        except ToolMissingError as error:
            found.append(str(error))
    return found


def require_tools(targets: Sequence[str]) -> None:
    """Raise ToolMissingError that names everything that is missing for ``targets``."""
    if found := dict.fromkeys(text for target in targets for text in missing_tools(target)):
        raise ToolMissingError(". ".join(f"{text[0].upper()}{text[1:]}" for text in found) + ".")
