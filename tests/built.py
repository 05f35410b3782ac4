"""Emitted files, built and run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qsim.ir import Graph
from qsim.numerics import Array
from qsim.targets.registry import planned


def ran(
    graph: Graph,
    target: str,
    folder: Path,
    codes: Mapping[str, Array],
    options: Mapping[str, object] | None = None,
    **settings: object,
) -> dict[str, Array]:
    """Every tensor's codes of the files in ``folder``, which ``emit`` wrote with ``options`` (and a test may have
    changed)."""
    return dict(planned(graph, target, options).run(folder, codes, settings).tensors)
