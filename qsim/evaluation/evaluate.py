"""``qsim.evaluate``: models over a data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from qsim.errors import UsageError
from qsim.evaluation.counts import Counts, Evaluation
from qsim.evaluation.images import ImageRows
from qsim.evaluation.record import Record
from qsim.evaluation.rows import Rows, Wanted, open_rows
from qsim.evaluation.schedulers import Done, scheduler_of
from qsim.evaluation.work import Answers, Block, Job, answers_of
from qsim.importers import load
from qsim.ir import Graph
from qsim.simulate.engine import ENGINES, EngineName

_BLOCK_SAMPLES = 256
_BLOCK_ELEMENTS = 1 << 20
"""Of the inputs of a block: 8 MiB of codes."""

Progress = Callable[[int, int], None]
"""Called with (samples done, samples in all)."""


def evaluate(model: Any, data: Any, labels: Any = None, **options: Any) -> Evaluation:
    """Accuracy, confusion and top-k of one model over a data set, the same for any number of workers.

    model: a Graph, or what ``qsim.load`` takes. The other arguments are those of ``evaluate_all``.
    """
    graph = model if isinstance(model, Graph) else load(model)
    return evaluate_all({graph.name: graph}, data, labels, **options)[0]


def evaluate_all(
    models: Mapping[str, Graph],
    data: Any,
    labels: Any = None,
    *,
    codes: bool = False,
    output: str | None = None,
    top: Sequence[int] = (),
    threshold: float = 0.5,
    pixels: str = "0..255",
    samples: int | None = None,
    engine: EngineName = "auto",
    jobs: int = 1,
    scheduler: str | None = None,
    record: str | os.PathLike[str] | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[Evaluation, ...]:
    """Every model over the same samples, each block read once; the first one is what others' outputs are compared with.

    data: real values as ``Simulator.run`` takes them (integer ``codes`` if so said): an array, a mapping of arrays, a
    .npy or .npz file (``FILE.npz:NAME`` for one of its arrays), or a folder of images, whose real values ``pixels``
    names. labels: class numbers (N,) or one-hot rows, as array or file; of images in folders of classes by default
    their folders; None else: only outputs are compared.
    output: the tensor that is read as classes, of several. top: k of each top-k. threshold: of a single output value
    that says class 1. samples: only so many from the start. jobs: processes. scheduler: "local" or the address of a
    Dask scheduler. record: a file that remembers finished blocks; the same call goes on where it stopped.

    Classes are ranked by the codes of the output, of equal ones the lower number first, as numpy's argmax does; a
    softmax or sigmoid behind the last code keeps their order.

    Raises UsageError for data or labels that do not fit, ToolMissingError where Pillow, Dask or a compiler is needed
    and missing.
    """
    if not models:
        raise UsageError("no model to evaluate")
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}: choose from {', '.join(ENGINES)}")
    graphs = tuple(models.values())
    answers = _answers(graphs, output, threshold, top)
    inputs = _inputs(graphs[0], data, codes, pixels)
    labelled = _labels(inputs, labels)
    count = _count({**inputs, **({"labels": labelled} if labelled else {})}, samples)
    size = _block_size(graphs[0])
    job = Job(models=graphs, answers=answers, top=tuple(sorted(set(top))), codes=codes, engine=engine)
    totals, done = [Counts() for _ in graphs], 0
    settings = [codes, answers[0].output, list(job.top), threshold, count, size]
    kept = Record(Path(record), _subject(models, inputs, labelled, settings), len(graphs)) if record else None
    finished = dict(kept.done) if kept else {}
    blocks = _blocks(inputs, labelled, count, size, lambda number: number not in finished)
    with closing(kept) if kept else nullcontext():
        for number, counts in _counted(finished, kept, scheduler_of(jobs, scheduler).run(job, blocks)):
            for total, part in zip(totals, counts, strict=True):
                total.add(part)
            done += min(size, count - number * size)
            progress(done, count)
    return tuple(
        Evaluation(name=name, hash=graph.hash, classes=a.classes, counts=total)
        for (name, graph), a, total in zip(models.items(), answers, totals)
    )


def _subject(
    models: Mapping[str, Graph], inputs: Mapping[str, Rows], labels: Rows | None, settings: list[object]
) -> dict[str, object]:
    """What a record is of."""
    return {
        "models": {name: graph.hash for name, graph in models.items()},
        "data": {name: rows.identity for name, rows in inputs.items()},
        "labels": labels.identity if labels else "",
        "settings": settings,
    }


def _counted(finished: Mapping[int, list[Counts]], kept: Record | None, made: Done) -> Done:
    """The blocks that a record holds, and those that are made now, each put on record."""
    yield from finished.items()
    for number, counts in made:
        if kept:
            kept.add(number, counts)
        yield number, counts


def _answers(graphs: Sequence[Graph], output: str | None, threshold: float, top: Sequence[int]) -> tuple[Answers, ...]:
    """How each model answers, in the same classes. Raises UsageError where they do not, or have too few for ``top``."""
    answers = tuple(answers_of(graph, output, threshold) for graph in graphs)
    if len({(a.kind, a.classes, a.positions) for a in answers}) > 1:
        raise UsageError("the models answer in different classes or positions: evaluate them one by one")
    for k in top:
        if answers[0].kind != "scores" or not 1 <= k <= answers[0].classes:
            raise UsageError(f"top {k} needs scores of at least so many classes; there are {answers[0].classes}")
    return answers


def _inputs(graph: Graph, data: Any, codes: bool, pixels: str) -> dict[str, Rows]:
    """The rows of each graph input."""
    names = [entry.tensor for entry in graph.inputs]
    if isinstance(data, str | os.PathLike) and Path(data).is_dir():
        if len(names) > 1:
            raise UsageError(f"a folder of images is one input; the model has {', '.join(names)}")
        entry = graph.inputs[0]
        return {names[0]: ImageRows(Path(data), graph[names[0]].shape, pixels, () if codes else entry.order)}
    found = open_rows(data)
    if not isinstance(found, dict):
        found = {names[0]: found}
    if sorted(found) != sorted(names):
        given = ", ".join(found)
        raise UsageError(
            f"the data hold the arrays {given}, the model's inputs are {', '.join(names)}: name them so, or choose one "
            "array with FILE.npz:NAME"
        )
    return {name: found[name] for name in names}


def _labels(inputs: Mapping[str, Rows], labels: Any) -> Rows | None:
    """The labels' rows; of images by default their folders' classes."""
    if labels is not None:
        found = open_rows(labels)
        if isinstance(found, dict):
            raise UsageError(f"the labels hold the arrays {', '.join(found)}: choose one with FILE.npz:NAME")
        return found
    images = next(iter(inputs.values()))
    return images.labels() if isinstance(images, ImageRows) and images.classes else None


def _count(rows: Mapping[str, Rows], samples: int | None) -> int:
    """How many samples there are, all arrays agreeing. Raises UsageError else, or for none."""
    counts = {name: r.count for name, r in rows.items()}
    if len(set(counts.values())) > 1:
        raise UsageError(f"numbers of samples differ: {', '.join(f'{name} has {n}' for name, n in counts.items())}")
    found = next(iter(counts.values()))
    if not found:
        raise UsageError("there are no samples")
    if samples is not None and not 1 <= samples <= found:
        raise UsageError(f"{samples} samples are asked for, there are {found}")
    return samples or found


def _block_size(graph: Graph) -> int:
    """Samples of a block: it follows from the graph alone."""
    elements = sum(graph[entry.tensor].size for entry in graph.inputs)
    return max(1, min(_BLOCK_SAMPLES, _BLOCK_ELEMENTS // elements))


def _blocks(inputs: Mapping[str, Rows], labels: Rows | None, count: int, size: int, wanted: Wanted) -> Iterator[Block]:
    """The wanted blocks of the first ``count`` samples."""

    def within(number: int) -> bool:
        return number * size < count and wanted(number)

    walks = {name: rows.blocks(size, within) for name, rows in inputs.items()}
    named = labels.blocks(size, within) if labels else None
    first, *others = walks
    for number, rows in walks[first]:
        left = count - number * size
        found = {first: rows[:left]} | {name: next(walks[name])[1][:left] for name in others}
        yield Block(number=number, inputs=found, labels=next(named)[1][:left] if named else None)


__all__ = ["Progress", "evaluate", "evaluate_all"]
