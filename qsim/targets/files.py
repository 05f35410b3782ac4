"""Graph -> files of a target, in memory and in a folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.targets.registry import planned
from qsim.targets.target import Files


def files(graph: Graph, target: str, options: Mapping[str, object] | None = None) -> Files:
    """The emitted files: relative name -> content. Raises UsageError for an unknown target or option, UnsupportedError
    for an op that the target cannot express exactly."""
    return planned(graph, target, options).files()


def emit(graph: Graph, target: str, out_dir: str | Path, options: Mapping[str, object] | None = None) -> list[Path]:
    """Write the files of ``target`` into ``out_dir`` and return their paths, sorted; see ``write_files``."""
    return write_files(files(graph, target, options), out_dir)


def encoded(content: str | bytes) -> bytes:
    """The bytes of a file's content."""
    return content if isinstance(content, bytes) else content.encode("utf-8")


def write_files(made: Files, out_dir: str | Path) -> list[Path]:
    """Write relative name -> content into ``out_dir`` and return the paths.

    All or nothing: the files are made in a folder beside ``out_dir`` and moved in when complete. Files that are
    already there under other names stay. Raises UsageError where ``out_dir`` is a file or cannot be made.
    """
    out = Path(out_dir)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; the output folder must be a folder or not exist")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UsageError(f"cannot make the output folder {out}: {error.strerror}") from error
    try:
        for name, content in made.items():
            path = staging / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(content))
        for name in made:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(out / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [out / name for name in made]


__all__ = ["emit", "encoded", "files", "write_files"]
