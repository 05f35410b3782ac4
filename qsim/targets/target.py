"""What a target is: one typed record. A graph is planned for it once; its files, its run and its figures share the
plan.

``Target`` is generic in what is the target's own: its options, its design (what ``plan`` makes of a graph), the
settings of a run and what a run measures. Everything outside the target's package sees ``AnyTarget`` and ``Planned``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from qsim.ir import Graph
from qsim.numerics import Array
from qsim.targets.record import Record, read

Files = Mapping[str, str | bytes]
"""Relative file name -> content."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a design or of a run: what it is, its value, and its unit ("" for a name)."""

    name: str
    value: int | str
    unit: str = ""

    @property
    def text(self) -> str:
        """The value as it is shown, thousands apart."""
        value = f"{self.value:,}" if isinstance(self.value, int) else self.value
        return f"{value} {self.unit}" if self.unit else value


O = TypeVar("O", bound=Record)  # noqa: E741  options
D = TypeVar("D")
S = TypeVar("S", bound=Record)
M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Run(Generic[M_co]):
    """What the built files gave. tensors: every tensor of the graph -> int64 codes (N, *shape). measured: the target's
    own record of what the run measured."""

    tensors: Mapping[str, Array]
    measured: M_co


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A run as everything outside the target sees it: every tensor's codes, and the figures of design and run."""

    tensors: Mapping[str, Array]
    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """Where a target holds the weights of one operation. bits: of the memory, padding included, 0 where it is an
    earlier operation's. kernel: what forms the products."""

    bits: int
    kernel: str


class Planned(Protocol):
    """A graph planned for one target."""

    @property
    def target(self) -> AnyTarget: ...

    @property
    def graph(self) -> Graph: ...

    def figures(self) -> tuple[Figure, ...]:
        """What the design says of its cost, before anything is built."""

    def files(self) -> Files:
        """Every file, by name."""

    def run(
        self,
        folder: Path,
        codes: Mapping[str, Array],
        settings: Mapping[str, object] | None = None,
        *,
        thorough: bool = False,
    ) -> Outcome:
        """Build the files in ``folder``, which this plan made, and run them on ``codes``.

        codes: input tensor -> int64 (N, *shape). settings: of the run; thorough: what they leave open is as the target
        checks itself most (its own predictions too).

        Raises UsageError for settings that the target does not have, ToolMissingError without its tools, QsimError
        where the files do not build or the program fails.
        """

    def weights(self) -> Mapping[str, StoredWeights]:
        """Output tensor of each operation with weights -> where they lie."""


class AnyTarget(Protocol):
    """A target whose own types do not matter: what the registry holds."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def options(self) -> type[Record]: ...

    @property
    def settings(self) -> type[Record]: ...

    @property
    def tools(self) -> tuple[Callable[[], object], ...]: ...

    def planned(self, graph: Graph, options: Mapping[str, object] | None = None) -> Planned:
        """Plan ``graph``. Raises UsageError for an unknown or malformed option, UnsupportedError for what the target
        cannot express exactly."""


@dataclass(frozen=True, kw_only=True)
class Target(Generic[O, D, S, M]):
    """One target. name: on the command line and in folders. title: in tables and reports.

    options: frozen dataclass of what ``plan`` takes, every field with a default and ``metadata={"help": ...}``;
    settings: the same for ``run``; thorough: the settings under which a run checks the target's own predictions too.
    tools: searches for what building and running need, each raising ToolMissingError. plan: raises UnsupportedError for
    what the target cannot express exactly. predicted: what the design says of its cost before anything is built;
    figures: those, and what a run measured. weights: output tensor of each operation with weights -> where the design
    holds them.
    """

    name: str
    title: str
    options: type[O]
    settings: type[S]
    thorough: S
    tools: tuple[Callable[[], object], ...]
    plan: Callable[[Graph, O], D]
    files: Callable[[D], Files]
    run: Callable[[D, Path, Mapping[str, Array], S], Run[M]]
    predicted: Callable[[D], tuple[Figure, ...]]
    figures: Callable[[D, Run[M]], tuple[Figure, ...]]
    weights: Callable[[D], Mapping[str, StoredWeights]]

    def __post_init__(self) -> None:
        for record in (self.options, self.settings):
            for entry in fields(record):
                if not entry.metadata.get("help"):
                    raise TypeError(f"target {self.name}: {record.__name__}.{entry.name} has no help text")

    def planned(self, graph: Graph, options: Mapping[str, object] | None = None) -> PlannedFor[O, D, S, M]:
        """``graph`` planned with options by name. Raises UsageError for those that the target does not have."""
        given = read(self.options, options or {}, f"target {self.name}", "option")
        return PlannedFor(target=self, graph=graph, design=self.plan(graph, given))


@dataclass(frozen=True, kw_only=True)
class PlannedFor(Generic[O, D, S, M]):
    """``Planned``, with the target's own types."""

    target: Target[O, D, S, M]
    graph: Graph
    design: D

    def figures(self) -> tuple[Figure, ...]:
        return self.target.predicted(self.design)

    def files(self) -> Files:
        """Every file, in the order of names."""
        return dict(sorted(self.target.files(self.design).items()))

    def run(
        self,
        folder: Path,
        codes: Mapping[str, Array],
        settings: Mapping[str, object] | None = None,
        *,
        thorough: bool = False,
    ) -> Outcome:
        target = self.target
        start = target.thorough if thorough else None
        given = read(target.settings, settings or {}, f"the run of target {target.name}", "setting", start)
        run = target.run(self.design, folder, codes, given)
        return Outcome(tensors=run.tensors, figures=target.figures(self.design, run))

    def weights(self) -> Mapping[str, StoredWeights]:
        return self.target.weights(self.design)


__all__ = ["AnyTarget", "Figure", "Files", "Outcome", "Planned", "PlannedFor", "Run", "StoredWeights", "Target"]
