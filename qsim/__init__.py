"""qsim: quantized networks as integer graphs, simulated bit for bit and emitted as C, HLS C++ and SystemVerilog."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from qsim.compare.verify import verify  # isort: skip
from qsim.debug.diff.diff import diff
from qsim.evaluation.evaluate import evaluate
from qsim.ir import Graph
from qsim.simulate import Simulator
from qsim.targets.files import emit
from qsim.version import __version__

if TYPE_CHECKING:  # what __getattr__ gives
    from qsim import estimate, quantizers
    from qsim.importers import load

__all__ = ["Graph", "Simulator", "__version__", "diff", "emit", "estimate", "evaluate", "load", "quantizers", "verify"]


def __getattr__(name: str) -> object:
    if name == "load":
        from qsim.importers import load

        return load
    if name in ("estimate", "quantizers"):  # `qsim.estimate.print_qstats(...)` without an import of its own
        return import_module(f"qsim.{name}")
    raise AttributeError(f"module 'qsim' has no attribute {name!r}")
