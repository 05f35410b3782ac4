"""The demonstration: a bundled digits CNN through all three targets, each held against the simulator, to a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from qsim.compare.verify import Report, TargetResult, verify_planned
from qsim.debug.pages.figures import figures
from qsim.debug.pages.report import Accuracy, Content, Figure, html, observe
from qsim.errors import UsageError
from qsim.evaluation.counts import confusion_matrix
from qsim.importers import load
from qsim.ir import Graph
from qsim.numerics import Array
from qsim.simulate import Simulator
from qsim.targets.files import Emission, emission
from qsim.targets.registry import TARGETS, find, planned, require_tools

MODEL = Path(__file__).parent / "digits.keras"
RECORD = Path(__file__).parent / "digits_test.npz"

MODELS = {
    "digits": (MODEL, RECORD),
    "blueoil": (MODEL.with_name("blueoil_digits.keras"), RECORD.with_name("blueoil_digits_test.npz")),
}
"""Name -> a trained model and what Keras recorded. digits: QKeras, 4- to 8-bit weights. blueoil: weights of one bit and
activations of two, trained with Blueoil's quantizers (``examples/train_blueoil_digits.py``)."""


class Record:
    """The test images and what Keras answered (see ``examples/train_digits.py`` for every array; the other models'
    records have no layers)."""

    def __init__(self, path: Path = RECORD) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            self.arrays: dict[str, Array] = {name: arrays[name] for name in arrays.files}

    @property
    def images(self) -> Array:
        return self.arrays["images"]

    @property
    def labels(self) -> Array:
        return self.arrays["labels"]

    @property
    def predictions(self) -> Array:
        return self.arrays["predictions"]

    @cached_property
    def layers(self) -> dict[str, tuple[Array, int]]:
        """Layer name -> (codes of the first images in units of 2**-frac, frac), as Keras computed them."""
        names = self.arrays["layers"].tolist() if "layers" in self.arrays else []
        return {n: (self.arrays[f"codes/{n}"].astype(np.int64), int(self.arrays[f"frac/{n}"])) for n in names}


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """What the demonstration found, and where its report is."""

    graph: Graph
    verification: Report
    accuracy: tuple[Accuracy, ...]
    figures: tuple[Figure, ...]
    report_path: Path


def run(
    out: Path,
    *,
    model: str = "digits",
    targets: Sequence[str] = tuple(TARGETS),
    images: int | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Demonstration:
    """Emit, build, run and compare a bundled model; write each target's files and report.html into ``out``.

    model: a name of ``MODELS``. images: run every target on the first so many test images; default: all of them. Every
    tensor of every image is compared, and the RTL's simulated cycles with the predicted ones. Accuracies are counted
    from each source's own answers.

    Raises UsageError for another model, ToolMissingError where a target's tools are not installed, both before anything
    is written.
    """
    if model not in MODELS:
        raise UsageError(f"there is no bundled model {model!r}; choose from {', '.join(MODELS)}")
    require_tools(targets)
    path, answered = MODELS[model]
    record = Record(answered)
    graph = load(path)
    simulator = Simulator(graph)
    progress(f"simulator: {len(record.images)} test images")
    codes = simulator.quantize(record.images)
    trace = simulator.trace_codes(codes)
    logits = graph[graph.outputs[0].tensor]
    answers = logits.quantization.real(trace[logits.name]).argmax(axis=-1)
    accuracy = [
        _accuracy("Keras", record.predictions, record.labels, "recorded at training"),
        _accuracy("Simulator", answers, record.labels),
    ]
    results: list[TargetResult] = []
    chosen = tuple(dict.fromkeys(targets))
    with emission(out, graph, chosen) as folder:
        for target in chosen:
            results += _emitted(folder, target, simulator, {n: a[:images] for n, a in codes.items()}, progress)
            own = logits.quantization.real(results[-1].outputs[logits.name]).argmax(axis=-1)
            accuracy.append(_accuracy(find(target).title, own, record.labels[: len(own)]))
        verification = Report(graph=graph, results=tuple(results))
        found = figures(graph, verification)
        content = Content(
            graph=graph,
            verification=verification,
            accuracy=accuracy,
            figures=found,
            observed=observe(trace),
            confusion=confusion_matrix(record.labels, answers),
        )
        report_path = folder.report(html(content))
    return Demonstration(
        graph=graph,
        verification=verification,
        accuracy=tuple(accuracy),
        figures=tuple(found),
        report_path=report_path,
    )


def _emitted(
    folder: Emission,
    target: str,
    simulator: Simulator,
    codes: Mapping[str, Array],
    progress: Callable[[str], None],
) -> Sequence[TargetResult]:
    """Write a target's files, build and run them on ``codes``, and compare."""
    progress(f"{target}: writing files to {folder.directories[target]}")
    plan = planned(folder.graph, target)
    folder.write(target, plan.files())
    directories = folder.directories
    return verify_planned(simulator, codes, (plan,), directories=directories, thorough=True, progress=progress).results


def _accuracy(source: str, answers: Array, labels: Array, note: str = "") -> Accuracy:
    return Accuracy(source=source, correct=int((answers == labels).sum()), total=len(labels), note=note)
