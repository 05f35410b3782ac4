"""Passes: graph in, graph out. Each is a small frozen dataclass whose docstring is its contract, called on a graph."""

from qsim.passes.extract import Extract

__all__ = ["Extract"]
