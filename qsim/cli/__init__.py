"""The command line: thin commands over the library."""

from qsim.cli.app import main

__all__ = ["main"]
