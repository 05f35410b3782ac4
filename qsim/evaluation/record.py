"""A file that remembers which blocks are done, so that an evaluation that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from qsim.errors import UsageError
from qsim.evaluation.counts import Counts


class Record:
    """A file of lines of JSON: what is evaluated, then a line a finished block. A line that is cut short, as a process
    killed while it writes leaves it, counts as not done.

    Raises UsageError where the file belongs to another evaluation: other models, data, labels or settings.
    """

    def __init__(self, path: Path, subject: dict[str, object], models: int) -> None:
        self.path = path
        self.done: dict[int, list[Counts]] = {}
        text = json.dumps(subject, sort_keys=True)
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        if lines and lines != [""]:
            self._read(lines, text, models)
        # What was cut short goes, so that the next line starts on its own.
        body = "".join(f"{_line(number, counts)}\n" for number, counts in self.done.items())
        part = path.with_name(f".{path.name}.part")
        part.write_text(f"{text}\n{body}", encoding="utf-8")
        part.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def _read(self, lines: Sequence[str], text: str, models: int) -> None:
        if len(lines) < 2 or lines[0] != text:
            what = self._differences(lines[0], text)
            raise UsageError(
                f"{self.path} is not the record of this evaluation ({what}): give another file, or remove it"
            )
        for line in lines[1:-1]:
            try:
                made = json.loads(line)
                counts = [Counts.from_json(entry) for entry in made["models"]]
                number = int(made["block"])
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{self.path} is damaged: remove it to start anew") from error
            if len(counts) != models:
                raise UsageError(f"{self.path} is damaged: remove it to start anew")
            self.done[number] = counts

    @staticmethod
    def _differences(line: str, text: str) -> str:
        """Which parts differ, in words."""
        try:
            before, now = json.loads(line), json.loads(text)
            names = [name for name in now if before.get(name) != now[name]]
        except (ValueError, AttributeError):
            return "it is none"
        return "other " + ", ".join(names)

    def add(self, number: int, counts: Sequence[Counts]) -> None:
        """A block is done."""
        self._file.write(f"{_line(number, counts)}\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _line(number: int, counts: Sequence[Counts]) -> str:
    return json.dumps({"block": number, "models": [c.to_json() for c in counts]})


__all__ = ["Record"]
