"""qsim: quantized networks as integer graphs, simulated bit for bit and emitted as C, HLS C++ and SystemVerilog.

Every name is imported when it is first used: a program pays for what it takes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from qsim.version import __version__

if TYPE_CHECKING:  # what __getattr__ gives
    from qsim import estimate, quantizers
    from qsim.compare.verify import verify
    from qsim.debug.diff.diff import diff
    from qsim.evaluation.evaluate import evaluate
    from qsim.importers import load
    from qsim.ir import Graph
    from qsim.simulate import Simulator
    from qsim.targets.files import emit

_HOMES = {
    "Graph": "qsim.ir",
    "Simulator": "qsim.simulate",
    "diff": "qsim.debug.diff.diff",
    "emit": "qsim.targets.files",
    "evaluate": "qsim.evaluation.evaluate",
    "load": "qsim.importers",
    "verify": "qsim.compare.verify",
}
"""Name -> the module that it stands in."""

__all__ = ["Graph", "Simulator", "__version__", "diff", "emit", "estimate", "evaluate", "load", "quantizers", "verify"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in ("estimate", "quantizers"):  # `qsim.estimate.print_qstats(...)` without an import of its own
        return import_module(f"qsim.{name}")
    raise AttributeError(f"module 'qsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "estimate", "quantizers"})
