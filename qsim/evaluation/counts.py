"""What is counted over samples, and the figures of merit that follow from the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qsim.numerics import Array

MOST_CLASSES = 4096
"""Beyond them no confusion matrix is made: it has their square of entries."""


@dataclass(kw_only=True)
class Counts:
    """Sums over samples (over positions, where an output has several to classify).

    pairs: label * classes + prediction -> how often. top: k -> labels among the first k classes. outputs: real values
    of outputs compared with the first model's; changed: those that differ; moved: predictions that differ.
    """

    samples: int = 0
    pairs: Counter[int] = field(default_factory=Counter)
    top: Counter[int] = field(default_factory=Counter)
    outputs: int = 0
    changed: int = 0
    moved: int = 0

    def add(self, other: Counts) -> None:
        """Take another part of the samples in."""
        self.samples += other.samples
        self.pairs.update(other.pairs)
        self.top.update(other.top)
        self.outputs += other.outputs
        self.changed += other.changed
        self.moved += other.moved

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, keys in order."""
        return {
            "samples": self.samples,
            "pairs": sorted(self.pairs.items()),
            "top": sorted(self.top.items()),
            "outputs": self.outputs,
            "changed": self.changed,
            "moved": self.moved,
        }

    @staticmethod
    def from_json(made: Mapping[str, Any]) -> Counts:
        """What ``to_json`` gave. Raises KeyError, TypeError or ValueError for anything else."""
        plain = {name: int(made[name]) for name in ("samples", "outputs", "changed", "moved")}
        pairs, top = (Counter({int(k): int(n) for k, n in made[name]}) for name in ("pairs", "top"))
        return Counts(pairs=pairs, top=top, **plain)


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class. samples: that have this label; predicted: that got it; correct: both."""

    label: int
    samples: int
    predicted: int
    correct: int

    @property
    def recall(self) -> float | None:
        """Correct ones among those with the label; None without any."""
        return self.correct / self.samples if self.samples else None

    @property
    def precision(self) -> float | None:
        """Correct ones among those predicted; None without any."""
        return self.correct / self.predicted if self.predicted else None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One model over all samples. name: of the model among those evaluated together; hash: its graph's."""

    name: str
    hash: str
    classes: int
    counts: Counts

    @property
    def samples(self) -> int:
        """Labels compared."""
        return self.counts.samples

    @property
    def correct(self) -> int:
        return sum(n for pair, n in self.counts.pairs.items() if pair // self.classes == pair % self.classes)

    @property
    def accuracy(self) -> float | None:
        """Share of correct ones; None without labels."""
        return self.correct / self.samples if self.samples else None

    @property
    def top(self) -> dict[int, float]:
        """k -> share of labels among the k classes with the greatest codes."""
        return {k: n / self.samples for k, n in sorted(self.counts.top.items())}

    @property
    def confusion(self) -> Array:
        """Counts (classes, classes), int64: row = label, column = prediction."""
        matrix = np.zeros(self.classes * self.classes, dtype=np.int64)
        for pair, n in self.counts.pairs.items():
            matrix[pair] = n
        return matrix.reshape(self.classes, self.classes)

    def per_class(self) -> tuple[ClassRow, ...]:
        """A row for each class."""
        samples, predicted, correct = Counter[int](), Counter[int](), Counter[int]()
        for pair, n in self.counts.pairs.items():
            label, prediction = divmod(pair, self.classes)
            samples[label] += n
            predicted[prediction] += n
            correct[label] += n if label == prediction else 0
        return tuple(
            ClassRow(label=k, samples=samples[k], predicted=predicted[k], correct=correct[k])
            for k in range(self.classes)
        )

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON; the confusion as [label, prediction, count] of those that occur."""
        return {
            "name": self.name,
            "graph": self.hash,
            "samples": self.samples,
            "classes": self.classes,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "top": {str(k): share for k, share in self.top.items()},
            "per_class": [
                {
                    "label": row.label,
                    "samples": row.samples,
                    "predicted": row.predicted,
                    "correct": row.correct,
                    "recall": row.recall,
                    "precision": row.precision,
                }
                for row in self.per_class()
            ],
            "confusion": [[*divmod(pair, self.classes), n] for pair, n in sorted(self.counts.pairs.items())],
            "outputs_compared": self.counts.outputs,
            "outputs_changed": self.counts.changed,
            "predictions_changed": self.counts.moved,
        }


def confusion_matrix(labels: Array, predictions: Array) -> Array:
    """Counts (classes, classes): row = label, column = prediction."""
    classes = int(max(labels.max(), predictions.max())) + 1
    flat = np.bincount(labels.astype(np.int64) * classes + predictions.astype(np.int64), minlength=classes * classes)
    return flat.reshape(classes, classes)


def tally(labels: Array, predictions: Array, ranks: Array | None, classes: int, top: Sequence[int]) -> Counts:
    """The counts of some labels and predictions, all (n,). ranks: how many classes come before each label."""
    pairs, times = np.unique(labels.astype(np.int64) * classes + predictions, return_counts=True)
    found = Counts(samples=len(labels), pairs=Counter(dict(zip(pairs.tolist(), times.tolist()))))
    if ranks is not None:
        found.top = Counter({k: int((ranks < k).sum()) for k in top})
    return found


__all__ = ["MOST_CLASSES", "ClassRow", "Counts", "Evaluation", "confusion_matrix", "tally"]
