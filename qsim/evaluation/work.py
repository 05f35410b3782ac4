"""One block of samples through every model: what a worker does, in this process or on another machine."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from qsim.errors import QsimError, UsageError
from qsim.evaluation.counts import Counts, tally
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.simulate import Simulator
from qsim.simulate.engine import EngineName
from qsim.version import __version__


@dataclass(frozen=True, kw_only=True)
class Answers:
    """How an output tensor is read. kind: the class with the greatest value of the last axis ("scores"), the class's
    number itself ("number"), or one value that is class 1 from ``threshold`` on ("binary"). positions: the
    shape that one sample's labels have."""

    output: str
    kind: Literal["scores", "number", "binary"]
    classes: int
    positions: tuple[int, ...]
    threshold: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is done with every block. codes: inputs are integer codes. answers: of each model, in their order."""

    models: tuple[Graph, ...]
    answers: tuple[Answers, ...]
    top: tuple[int, ...]
    codes: bool
    engine: EngineName

    @cached_property
    def packed(self) -> bytes:
        """For another process, which must have the same qsim."""
        return pickle.dumps((__version__, self))

    @cached_property
    def simulators(self) -> tuple[Simulator, ...]:
        """Of each model."""
        return tuple(Simulator(graph, engine=self.engine) for graph in self.models)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows of samples. number: among all blocks. labels: one a row (or one a position), None where there are none."""

    number: int
    inputs: Mapping[str, Array]
    labels: Array | None


def answers_of(graph: Graph, output: str | None, threshold: float) -> Answers:
    """How the graph's output (the only one, or the one named) is read as classes. Raises UsageError else."""
    names = list(dict.fromkeys(out.tensor for out in graph.outputs))
    if output is None and len(names) > 1:
        raise UsageError(f"the model has {len(names)} outputs: choose the classes' with --output ({', '.join(names)})")
    if output is not None and output not in names:
        raise UsageError(f"the model has no output {output!r}; it has {', '.join(names)}")
    name = output or names[0]
    shape = graph[name].shape
    if isinstance(graph.producers.get(name), o.ArgMax):
        last = max(1, graph[name].range[1])
        return Answers(output=name, kind="number", classes=last + 1, positions=_without_ones(shape))
    if not shape or shape[-1] == 1:
        positions = _without_ones(shape[:-1])
        return Answers(output=name, kind="binary", classes=2, positions=positions, threshold=threshold)
    return Answers(output=name, kind="scores", classes=shape[-1], positions=_without_ones(shape[:-1]))


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def count(job: Job, block: Block) -> list[Counts]:
    """The counts of a block for each model. Raises what ``Simulator`` raises for such inputs, and UsageError for labels
    that are no classes of the model."""
    found: list[Counts] = []
    first: tuple[Array, Array] | None = None
    for simulator, answers in zip(job.simulators, job.answers):
        codes = simulator.check_codes(block.inputs) if job.codes else simulator.quantize(block.inputs)
        made = simulator.run_codes(codes)
        outputs = made if isinstance(made, Mapping) else {answers.output: made}
        reals = simulator.graph[answers.output].quantization.real(outputs[answers.output])
        predictions, values = _read(simulator, answers, outputs[answers.output], reals)
        counts = Counts()
        if block.labels is not None:
            labels = _labels(block, answers, len(reals))
            ranks = _ranks(values, labels) if values is not None else None
            counts = tally(labels, predictions, ranks, answers.classes, job.top)
        first = first or (reals, predictions)
        counts.outputs = reals.size
        counts.changed = int(np.count_nonzero(reals != first[0]))
        counts.moved = int(np.count_nonzero(predictions != first[1]))
        found.append(counts)
    return found


def _read(simulator: Simulator, answers: Answers, codes: Array, reals: Array) -> tuple[Array, Array | None]:
    """Predictions (n,), and for scores the values (n, classes) that they follow from."""
    if answers.kind == "number":
        return codes.reshape(-1), None
    if answers.kind == "binary":
        return (simulator.real_output(answers.output, codes) >= answers.threshold).astype(np.int64).reshape(-1), None
    values = reals.reshape(-1, answers.classes)
    return values.argmax(axis=-1), values


def _labels(block: Block, answers: Answers, rows: int) -> Array:
    """The block's labels as class numbers (n,), from numbers or from one-hot rows."""
    assert block.labels is not None
    given = block.labels
    shape = (rows, *answers.positions)
    if given.shape == (*shape, answers.classes) and answers.kind == "scores":
        hot = given != 0
        if not ((hot.sum(axis=-1) == 1).all() and (given[hot] == 1).all()):
            raise UsageError(f"block {block.number}: labels look one-hot, but not every row has a single 1")
        return hot.argmax(axis=-1).reshape(-1)
    if tuple(n for n in given.shape[1:] if n != 1) != answers.positions:
        raise UsageError(
            f"labels have the shape {given.shape[1:]} a sample; the output {answers.output!r} is read as "
            f"{answers.positions or 'one class'} of {answers.classes} classes"
        )
    labels = given.reshape(-1)
    if given.dtype.kind not in "iub" and not (labels == np.rint(labels)).all():
        raise UsageError("labels are class numbers: whole numbers from 0 on")
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) >= answers.classes):
        bad = int(labels.min()) if labels.min() < 0 else int(labels.max())
        raise UsageError(f"label {bad} is no class of the model's {answers.classes} (0 to {answers.classes - 1})")
    return labels.astype(np.int64)


def _ranks(values: Array, labels: Array) -> Array:
    """How many classes come before each label: those with a greater value, and of equal ones those with a lower
    number, as argmax takes them."""
    own = values[np.arange(len(labels)), labels][:, None]
    before = (values > own) | ((values == own) & (np.arange(values.shape[1]) < labels[:, None]))
    return before.sum(axis=-1)


# --- on the other side of a pipe or a network


def digest(packed: bytes) -> str:
    """A name for a packed job."""
    return hashlib.sha256(packed).hexdigest()[:32]


@lru_cache(maxsize=2)
def _unpacked(packed: bytes) -> Job:
    version, job = pickle.loads(packed)  # noqa: S301  made by the process that asks for the work
    if version != __version__:
        raise QsimError(f"this worker has qsim {__version__}, the evaluation came from {version}: install the same")
    assert isinstance(job, Job)
    return job


def count_packed(packed: bytes, block: Block) -> list[Counts]:
    """``count`` where the job came as bytes; its simulators stay for the next block."""
    return count(_unpacked(packed), block)


__all__ = ["Answers", "Block", "Job", "answers_of", "count", "count_packed", "digest"]
