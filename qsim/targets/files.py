"""Graph -> files of a target, in memory and in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from qsim import process
from qsim.errors import UsageError, reading, writing
from qsim.ir import Graph
from qsim.targets.registry import TARGETS, planned
from qsim.targets.target import Files

RECORD = ".qsim-files.json"
"""In every folder that files are written into: which ones, of which graph. Also what a writer holds locked."""

REPORT = "report.html"
_UNFINISHED = "unfinished"
"""The part under which the files of a call stand that was ended early: of no graph, so the next one removes them."""

_MOST = 1 << 26
"""Bytes of a record that is read."""


def files(graph: Graph, target: str, options: Mapping[str, object] | None = None) -> Files:
    """The emitted files: relative name -> content. Raises UsageError for an unknown target or option, UnsupportedError
    for an op that the target cannot express exactly."""
    return planned(graph, target, options).files()


def emit(graph: Graph, target: str, out_dir: str | Path, options: Mapping[str, object] | None = None) -> list[Path]:
    """Write the files of ``target`` into ``out_dir`` and return their paths, sorted; see ``OutputFolder.write``."""
    return write_files(files(graph, target, options), out_dir, target, graph)


def encoded(content: str | bytes) -> bytes:
    """The bytes of a file's content."""
    return content if isinstance(content, bytes) else content.encode("utf-8")


def write_files(made: Files, out_dir: str | Path, part: str, graph: Graph) -> list[Path]:
    """Write relative name -> content into ``out_dir`` and return the paths; see ``OutputFolder.write``."""
    with held(out_dir) as folder:
        return folder.write(made, part, graph)


Part = dict[str, str]
"""Relative name -> SHA-256 of what was written."""


@dataclass(frozen=True)
class OutputFolder:
    """A folder that this process alone writes into. record: the open, locked file RECORD in it."""

    path: Path
    record: IO[str]

    def write(self, made: Files, part: str, graph: Graph) -> list[Path]:
        """Write relative name -> content and return the paths. part: what is written ("c", "vectors", "report").

        All or nothing: the files are made in a folder of their own and moved when complete. What an earlier call left
        of this part, or of any part of another graph, is removed, unless it was changed since; all else stays. Raises
        UsageError where the folder cannot be written.
        """
        recorded = self._read()
        kept = {name: p for name, p in recorded.items() if name != part and p["graph"] == graph.hash}
        old = [(name, digest) for p in recorded.values() for name, digest in p["files"].items()]
        new = {name: hashlib.sha256(encoded(content)).hexdigest() for name, content in made.items()}
        stays = {name for p in kept.values() for name in p["files"]} | set(new)
        with writing(self.path), process.scratch("qsim-new", within=self.path) as staging:
            for name, content in made.items():
                with writing(self.path / name):
                    (staging / name).parent.mkdir(parents=True, exist_ok=True)
                    (staging / name).write_bytes(encoded(content))
            self._note({**recorded, _UNFINISHED: {"graph": "", "files": new}})  # should anything end this call
            for name in made:
                with writing(self.path / name):
                    (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                    (staging / name).replace(self.path / name)
        for name, digest in old:
            if name not in stays:
                self._remove(name, digest)
        self._note({**kept, part: {"graph": graph.hash, "files": new}})
        return [self.path / name for name in made]

    def clear(self, graph: Graph) -> None:
        """Remove what earlier calls left of other graphs, as ``write`` does."""
        for part, entry in self._read().items():
            if entry["graph"] != graph.hash:
                self.write({}, part, graph)

    def _remove(self, name: str, digest: str) -> None:
        """Remove a file if it is as it was written, and the folders in which it was the last one."""
        path = self.path / name
        with suppress(OSError):
            if path.is_symlink() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                return
            path.unlink()
            for folder in path.parents:
                if folder == self.path:
                    break
                folder.rmdir()

    def _read(self) -> dict[str, dict[str, Any]]:
        """Part -> {"graph": hash, "files": Part}. Raises UsageError for a damaged record."""
        with reading(self.path / RECORD, "a record of written files", error=_Damaged, most=_MOST) as place:
            place.at = "its text"
            self.record.seek(0)
            text = self.record.read()
            if not text:
                return {}
            found = json.loads(text)
            for entry in found.values():
                hash(entry["graph"])
                for name, digest in entry["files"].items():
                    path = PurePosixPath(name)
                    if path.is_absolute() or not path.parts or ".." in path.parts or len(digest) != 64:
                        raise ValueError(f"{name!r} is no file of the folder")
        return found

    def _note(self, parts: Mapping[str, Mapping[str, Any]]) -> None:
        with writing(self.path / RECORD):
            self.record.seek(0)
            self.record.truncate()
            self.record.write(json.dumps(parts, indent=1, sort_keys=True) + "\n")
            self.record.flush()


class _Damaged(UsageError):
    """A record that cannot be read."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text}; delete it (what earlier runs wrote there then stays)")


@contextmanager
def held(out_dir: str | Path) -> Iterator[OutputFolder]:
    """The folder ``out_dir``, made if it does not exist, for this process alone to write into.

    Raises UsageError where it is a file, cannot be made or written, or another process holds it.
    """
    import fcntl

    out = Path(out_dir)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; the output folder must be a folder or not exist")
    with ExitStack() as stack:
        with writing(out, "cannot make the output folder"):
            out.mkdir(parents=True, exist_ok=True)
            record = stack.enter_context((out / RECORD).open("a+", encoding="utf-8"))
        try:
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another qsim writes into {out} at this moment: wait until it has ended, or give another folder"
            ) from None
        yield OutputFolder(out, record)


@dataclass(frozen=True)
class Emission:
    """The folder of a whole model: a folder in it for each target, and a report. Held as long as files in it count."""

    graph: Graph
    whole: OutputFolder
    targets: Mapping[str, OutputFolder]

    @property
    def directories(self) -> dict[str, Path]:
        """Target -> its folder."""
        return {name: folder.path for name, folder in self.targets.items()}

    def write(self, name: str, made: Files) -> list[Path]:
        """Write a target's files into its folder."""
        return self.targets[name].write(made, name, self.graph)

    def report(self, html: str) -> Path:
        """Write the report and return its path."""
        return self.whole.write({REPORT: html}, "report", self.graph)[0]


@contextmanager
def emission(out_dir: str | Path, graph: Graph, targets: Sequence[str]) -> Iterator[Emission]:
    """Hold ``out_dir`` and the folders of ``targets`` in it for writing ``graph``.

    An earlier report is removed, and what is there of other graphs, in the folders of other targets too.
    """
    with held(out_dir) as whole, ExitStack() as others:
        for name in TARGETS:
            folder = whole.path / name
            if name not in targets and (folder / RECORD).exists():
                with held(folder) as other:
                    other.clear(graph)
        whole.clear(graph)
        whole.write({}, "report", graph)
        yield Emission(graph, whole, {name: others.enter_context(held(whole.path / name)) for name in targets})


__all__ = ["RECORD", "Emission", "OutputFolder", "emission", "emit", "encoded", "files", "held", "write_files"]
