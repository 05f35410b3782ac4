"""The simulator against anything that has numbers: the first tensor that differs, its first element, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from qsim.compare.report import layer_of
from qsim.debug.causes.alternative import Alternative
from qsim.debug.causes.float32 import settle
from qsim.debug.causes.float_kernel import float_kernels
from qsim.debug.diff.evidence import unseen
from qsim.debug.diff.observations import Observed, float32_limit, observe
from qsim.debug.diff.sources import dumped_inputs, read_source
from qsim.debug.words.dissect import Step, dissect
from qsim.debug.words.explain import Explanation, Path, explain
from qsim.debug.words.where import where
from qsim.ir import Graph
from qsim.ir.ops import Op
from qsim.numerics import Array
from qsim.simulate import Simulator
from qsim.simulate.engine import Arrays


@dataclass(frozen=True, kw_only=True)
class TensorDiff:
    """One observed tensor. differing of total codes; largest: greatest |difference| in codes; differences: distinct
    difference -> count, the most frequent first (at most nine). float32: codes that only float32's own rounding
    changed, which do not count as differing (see ``qsim.debug.float32``)."""

    tensor: str
    layer: str
    total: int
    differing: int
    largest: int
    differences: tuple[tuple[int, int], ...]
    notes: tuple[str, ...] = ()
    float32: int = 0

    @property
    def percent(self) -> float:
        return 100.0 * self.differing / self.total


@dataclass(frozen=True, kw_only=True)
class FirstDifference:
    """The first tensor in graph order that differs, its first differing element taken apart, and the explanations.

    where: clauses that hold for every differing code ("only in channel 3 of 8"), see ``qsim.debug.words.where``."""

    tensor: str
    layer: str
    index: tuple[int, ...]
    expected: int
    actual: int
    steps: tuple[Step, ...]
    explanations: tuple[Explanation, ...]
    where: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Diff:
    """The result of ``qsim.diff``. trace: the simulator's codes of every tensor; observed: the other side's."""

    graph: Graph
    against: str
    samples: int
    tensors: tuple[TensorDiff, ...]
    first: FirstDifference | None
    unobserved: tuple[str, ...]
    trace: Mapping[str, Array] = field(default_factory=dict, compare=False, repr=False)
    observed: Mapping[str, Array] = field(default_factory=dict, compare=False, repr=False)

    @property
    def ok(self) -> bool:
        return self.first is None

    @property
    def agreement(self) -> str:
        """The sentence for a comparison without a mismatch; it tells what float32 alone rounded otherwise."""
        rounded = sum(t.float32 for t in self.tensors)
        if not rounded:
            return "all codes are equal"
        where = ", ".join(repr(t.tensor) for t in self.tensors if t.float32)
        return (
            f"no mismatch: all codes are equal but {rounded} in {where}, where the exact (float64) evaluation gives "
            "the simulator's codes and the other side's lie within float32's rounding error of their sums"
        )

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """What equal codes on these samples do not show, as clauses; empty where something differs."""
        return unseen(self.graph, self.trace) if self.ok and self.trace else ()

    @property
    def gaps(self) -> str:
        """``unseen`` as a sentence without its full stop; empty where every corner was hit."""
        return f"What these samples could not show: {'; '.join(self.unseen)}" if self.unseen else ""

    @property
    def findings(self) -> list[str]:
        """Where and why the first tensor differs, as sentences without their full stops."""
        if self.first is None:
            return []
        explanations = self.first.explanations
        place = [f"Where: {', '.join(self.first.where)}"] if self.first.where else []
        return [*place, *_causes(explanations)]

    def __str__(self) -> str:
        lines = [f"simulator against {self.against}: {self.samples} samples, {len(self.tensors)} tensors compared"]
        if self.first is None:
            return "\n".join([*lines, self.agreement, *([self.gaps] if self.gaps else [])])
        first = next(t for t in self.tensors if t.tensor == self.first.tensor)
        lines.append(
            f"layer {first.layer!r} is the first to differ: {first.percent:.3g} % of the codes of {first.tensor!r} "
            f"differ by up to {first.largest}"
        )
        lines += [f"  {text}" for text in self.findings]
        where = ", ".join(map(str, self.first.index[1:]))
        lines.append(
            f"first at sample {self.first.index[0]}, element ({where}): simulator {self.first.expected}, "
            f"{self.against} {self.first.actual}"
        )
        for step in self.first.steps:
            lines.append(f"  {step.op} of layer {step.layer!r} -> {step.value}")
            lines += [f"      {text}" for text in step.lines]
        return "\n".join(lines)


def _causes(explanations: Sequence[Explanation]) -> list[str]:
    """Why, as sentences: no more than the evidence carries."""
    complete = [e for e in explanations if e.complete]
    if complete:
        lead = complete[0]
        lines = [f"{'Cause' if lead.fits <= 1 else 'No single cause'}: {lead}"]
        return lines + [f"Equally well: {e.text} ({e.op} of layer {e.layer!r})" for e in complete[1:]]
    if explanations and explanations[0].nearly:
        return [f"Nearly every one: {explanations[0]}"]
    if explanations:
        return ["No known cause explains every code; what explains at least half:", *map(str, explanations)]
    return ["None of the known causes explains even half of them"]


def diff(graph: Graph, x: Arrays | None, against: Any, *, codes: bool = False, reals: bool | None = None) -> Diff:
    """Compare the simulator with ``against`` on ``x``, walk in graph order, and explain the first difference.

    x: real values, or codes if ``codes``; None: what a dump itself holds of the graph's inputs.
    against: a Keras model in memory; a mapping, ``.npz`` or folder of dumped tensors (any subset of tensors, floats or
    codes, channels last or first); another Graph; a target name ("c", "hls", "rtl") or a folder that ``emit`` wrote;
    ``("tflm" | "litert", path)`` of a ``.tflite``. reals: whether dumped numbers are real values; default: decided
    from their type and size.

    Raises UsageError where ``against`` cannot be read or names nothing of the graph.
    """
    simulator = Simulator(graph)
    if x is None:
        inputs = dumped_inputs(graph, against, reals=reals)
    else:
        inputs = simulator.check_codes(x) if codes else simulator.quantize(x)
    name, dump = read_source(graph, inputs, against)
    samples = next(iter(inputs.values())).shape[0]
    extra = float_kernels(graph, against) if hasattr(against, "layers") and not isinstance(against, Graph) else ()
    return compare_observed(graph, inputs, observe(graph, dump, samples, reals=reals), name, extra)


def compare_observed(
    graph: Graph,
    inputs: Mapping[str, Array],
    observed: Mapping[str, Observed],
    against: str,
    extra: Sequence[tuple[Op, Alternative]] = (),
) -> Diff:
    """The comparison behind ``diff``, for codes that are already read. extra: causes that only this source has."""
    trace, excused = settle(graph, Simulator(graph).check_codes(inputs), observed)
    samples = next(iter(inputs.values())).shape[0]
    rows = []
    first: str | None = None
    for name, seen in observed.items():
        row = _tensor_diff(graph, seen, trace[name], excused.get(name, 0))
        rows.append(row)
        if row.differing and first is None:
            first = name
    result = None
    if first is not None:
        equal = {name for name in observed if np.array_equal(observed[name].codes, trace[name])}
        known = frozenset(equal | {entry.tensor for entry in graph.inputs} - {first})
        path = Path(graph, trace, known, first)
        different = np.argwhere(observed[first].codes != trace[first])[0]
        index = tuple(int(i) for i in different)
        result = FirstDifference(
            tensor=first,
            layer=layer_of(graph, first),
            index=index,
            expected=int(trace[first][index]),
            actual=int(observed[first].codes[index]),
            steps=dissect(graph, trace, first, index[0], index[1:]),
            explanations=explain(path, observed[first].codes, extra=extra),
            where=where(graph[first], trace[first], observed[first].codes),
        )
    return Diff(
        graph=graph,
        against=against,
        samples=samples,
        tensors=tuple(rows),
        first=result,
        unobserved=tuple(name for name in graph.tensors if name not in observed),
        trace=trace,
        observed={name: seen.codes for name, seen in observed.items()},
    )


def _tensor_diff(graph: Graph, seen: Observed, expected: Array, excused: int) -> TensorDiff:
    delta = seen.codes - expected
    values, counts = np.unique(delta[delta != 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:9]
    notes = seen.notes
    limit = float32_limit(graph[seen.tensor])
    if seen.off_grid > limit:
        notes = (*notes, f"values lie up to {seen.off_grid:.3g} codes off the grid: not this tensor's quantization")
    elif seen.off_grid:
        notes = (*notes, f"values lie up to {seen.off_grid:.2g} codes off the grid: float32 rounding, not a mismatch")
    if excused:
        notes = (*notes, f"{excused} codes differ by float32's own rounding, within the error of its sums: no mismatch")
    return TensorDiff(
        tensor=seen.tensor,
        layer=layer_of(graph, seen.tensor),
        total=delta.size,
        differing=int(counts.sum()),
        largest=int(np.abs(delta).max(initial=0)),
        differences=tuple((int(values[i]), int(counts[i])) for i in order),
        notes=notes,
        float32=excused,
    )
