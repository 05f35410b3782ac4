"""qsim: quantized networks as integer graphs, simulated bit for bit and emitted as C, HLS C++ and SystemVerilog."""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

# The packages emit and verify share their names with their main functions; the functions are bound here, after the
# packages are loaded, so that `qsim.emit(...)` and `qsim.verify(...)` are calls. Submodules stay importable by
# `from qsim.emit.common import ...`.
from qsim.emit import emit  # isort: skip
from qsim.debug.diff import diff
from qsim.ir import Graph
from qsim.simulate import Simulator
from qsim.verify import verify

__all__ = ["Graph", "Simulator", "__version__", "diff", "emit", "load", "verify"]


def __getattr__(name: str) -> object:
    if name == "load":
        from qsim.importers import load

        return load
    if name in ("estimate", "quantizers"):  # `qsim.estimate.print_qstats(...)` without an import of its own
        return import_module(f"qsim.{name}")
    raise AttributeError(f"module 'qsim' has no attribute {name!r}")
