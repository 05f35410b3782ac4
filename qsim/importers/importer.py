"""What is loaded and who loads it: a source with its options as one object, and what every importer offers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.numerics import FixedPoint

InputFormat = str | FixedPoint | Mapping[str, "str | FixedPoint"] | None
WeightsFormat = str | FixedPoint | Mapping[str, "str | FixedPoint"] | None


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model and everything that its import may need; ``qsim.load`` says what each field means.

    model: a path, or a model in memory. The other fields are None where nothing was said.
    """

    model: Any
    weights: str | os.PathLike[str] | None = None
    input_format: InputFormat = None
    profile: str | None = None
    rescale: str | None = None
    weights_format: WeightsFormat = None

    @property
    def path(self) -> Path | None:
        """Where the model lies; None for a model in memory."""
        return Path(self.model) if isinstance(self.model, str | os.PathLike) else None

    @property
    def suffix(self) -> str:
        """Of the path, in lower case; empty for a model in memory."""
        return self.path.suffix.lower() if self.path is not None else ""

    @property
    def name(self) -> str:
        """What the model is called in messages."""
        return str(self.path) if self.path is not None else type(self.model).__name__

    def but(self, **changes: Any) -> ModelSource:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def refuse(self, **reasons: str) -> None:
        """Raise UsageError with the reason of the first field in ``reasons`` that was given. ``rescale="exact"`` says
        what every importer does, and is never refused."""
        for field, reason in reasons.items():
            value = getattr(self, field)
            if value is not None and not (field == "rescale" and value == "exact"):
                raise UsageError(reason)


class SurveyEntry(NamedTuple):
    """One kind of operator or layer in a model: how often it occurs, whether every occurrence can be imported, and if
    not, why."""

    name: str
    occurrences: int
    supported: bool
    reason: str


class Importer(Protocol):
    """A kind of source. Importers are asked in the order of ``qsim.importers.sources.IMPORTERS``; the first that
    recognises a source loads it."""

    @property
    def kind(self) -> str:
        """What it reads, as a sentence names it: 'a .tflite file'."""

    @property
    def options(self) -> tuple[str, ...]:
        """The fields of a ModelSource, beside the model, that it takes; it refuses the others with a reason."""

    def recognises(self, source: ModelSource) -> bool:
        """Whether the source is of this kind; a damaged one of this kind still is."""

    def load(self, source: ModelSource) -> Graph:
        """The integer graph. Raises UsageError, ModelError, UnsupportedError as ``qsim.load`` does."""

    def survey(self, source: ModelSource) -> Sequence[SurveyEntry]:
        """What the source holds, kind by kind. Raises ModelError for what cannot be read."""
