"""Reference kernels and the engine that runs a graph bit for bit."""

from qsim.simulate.engine import BOUNDARIES, Simulator

__all__ = ["BOUNDARIES", "Simulator"]
