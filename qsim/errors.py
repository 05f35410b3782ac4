"""The errors that qsim raises: each is one readable paragraph that names the place, the reason and the way out.

The command line prints ``str(error)`` and exits with ``error.exit_code``; nothing else of an error reaches a user.
"""

from __future__ import annotations


class QsimError(Exception):
    """Base of every error that a user can cause. ``exit_code`` is the command line's exit code for it."""

    exit_code = 1


class UsageError(QsimError):
    """The call itself is wrong: an unknown target, an unreadable format string, an input of the wrong shape."""

    exit_code = 2


class ModelError(QsimError):
    """The source is not a loadable model: not a model file, truncated, weights missing, NaN among the weights."""


class UnsupportedError(QsimError):
    """The model is well formed but holds something that cannot be reproduced exactly.

    Parameters
    ----------
    reason: what is not supported and why, without a final full stop.
    layer: the source layer's name, if one is to blame.
    way_out: what the user can change, without a final full stop.
    """

    def __init__(self, reason: str, *, layer: str | None = None, way_out: str | None = None) -> None:
        self.reason, self.layer, self.way_out = reason, layer, way_out
        text = (f"layer {layer!r}: " if layer else "") + reason + "."
        super().__init__(text + (f" {way_out[0].upper()}{way_out[1:]}." if way_out else ""))


class GraphError(QsimError):
    """A graph breaks a structural rule of ``qsim.ir``: a defect of an importer or a pass, or a bad JSON file."""


class ToolMissingError(QsimError):
    """A compiler, a simulator or an optional Python package that the call needs is not installed."""
