"""The version of qsim, for the package, for emitted files and for reports."""

__version__ = "0.1.0"
