"""Why a tensor differs: every known alternative of every op since the last equal tensors, tried on the codes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qsim.debug.causes.alternative import Alternative, Compute, run
from qsim.debug.causes.catalogue import alternatives
from qsim.debug.causes.transport import moved, transports
from qsim.errors import QsimError
from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray
from qsim.reference.windows import pad2d, windows

_TRIAL_ELEMENTS = 1 << 16
"""Alternatives are first tried on samples of about this many elements; those that survive, on all."""

_SINGLE_FAULT_TRIALS = 20_000
"""The search for one wrong constant stops after this many candidates."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One cause and how much it explains.

    op, layer: where. name, text: see Alternative. reproduced: of ``differing`` codes, how many come out as observed;
    broken: codes that were equal and would differ. fits: hypotheses of this kind (one wrong weight, one wrong bias)
    that reproduce every observed code, this one among them, of ``tried``; both 0 for a cause that stands alone.
    ``complete``: every observed code is reproduced. ``nearly``: all but a few are, and few others would change.
    """

    op: str
    layer: str
    tensor: str
    name: str
    text: str
    reproduced: int
    differing: int
    broken: int
    fits: int = 0
    tried: int = 0

    @property
    def complete(self) -> bool:
        return self.reproduced == self.differing and not self.broken

    @property
    def nearly(self) -> bool:
        return 20 * (self.differing - self.reproduced) <= self.differing and 20 * self.broken <= self.differing

    @property
    def half(self) -> bool:
        """Whether it explains at least half of the differing codes, after what it would break."""
        return 2 * (self.reproduced - self.broken) >= self.differing

    def __str__(self) -> str:
        where = f"{self.text} ({self.op} of layer {self.layer!r})"
        if self.complete and self.fits > 1:
            many = f"{self.fits} of {self.tried} hypotheses of this kind fit the {self.differing} differing codes"
            return f"{many}, more samples decide; one of them is {where}"
        if self.complete and self.fits:
            return f"every one is explained by {where}, the only fit of {self.tried} hypotheses of this kind"
        if self.complete:
            return f"every one is explained by {where}"
        return (
            f"{self.reproduced} of {self.differing} are explained by {where}, which would change {self.broken} others"
        )


class Path:
    """The ops between tensors known to be equal and the first different one.

    graph: whose semantics are expected. trace: the simulator's codes of every tensor. known: names of tensors whose
    observed codes equal the trace (graph inputs count as known). target: the tensor that differs.
    """

    def __init__(self, graph: Graph, trace: Mapping[str, Array], known: frozenset[str], target: str) -> None:
        self.graph, self.trace, self.target = graph, trace, target
        wanted = {target}
        ops: list[o.Op] = []
        for op in reversed(graph.ops):
            if op.output in wanted:
                ops.append(op)
                wanted.update(name for name in op.inputs if name not in known)
        self.ops = tuple(reversed(ops))

    def inputs(self, op: o.Op, rows: Array) -> list[Array]:
        """The op's input codes for the samples ``rows``; constants have one sample, whatever the batch."""
        return [self.trace[name][rows] for name in op.inputs]

    def compute(self, at: o.Op, how: Compute, rows: Array) -> Array | None:
        """The target's codes for the samples ``rows`` if ``at`` were computed by ``how``; None where that fails or
        changes nothing."""
        graph = self.graph
        tensors = [graph[name] for name in at.inputs]
        try:
            changed = how(self.inputs(at, rows), tensors, graph[at.output])
            changed = np.broadcast_to(changed, self.trace[at.output][rows].shape)
            if np.array_equal(changed, self.trace[at.output][rows]):
                return None
            values = {at.output: changed}
            for op in self.ops[self.ops.index(at) + 1 :]:
                if any(name in values for name in op.inputs):
                    xs = [values[name] if name in values else self.trace[name][rows] for name in op.inputs]
                    values[op.output] = run(op, xs, [graph[name] for name in op.inputs], graph[op.output])
        except (QsimError, ValueError, IndexError, OverflowError):
            return None
        return values.get(self.target)


SINGLE_FAULTS = ("weight bit", "weight missing", "bias value")
"""Kinds of causes with a hypothesis for each constant: that one of many fits is weak evidence, so they are counted."""


def explain(
    path: Path, observed: Array, most: int = 5, extra: Sequence[tuple[o.Op, Alternative]] = ()
) -> tuple[Explanation, ...]:
    """The best explanations of ``observed`` (N, *shape), codes of ``path.target``: complete ones first, by weight, of
    single faults one with the number of those that fit as well; if none is complete, those that reproduce at least
    half of the codes. extra: causes beside the catalogue's. Empty where nothing helps."""
    expected = path.trace[path.target]
    different = observed != expected
    rows = _trial_rows(different)
    trial = observed[rows]
    trial_differing = int(different[rows].sum())
    partial: list[tuple[tuple[int, int], o.Op, Alternative]] = []
    complete: list[tuple[int, o.Op, Alternative]] = []
    tried = dict.fromkeys(SINGLE_FAULTS, 0)
    for op in reversed(path.ops):
        own = [alternative for at, alternative in extra if at is op]
        for alternative in itertools.chain(own, _candidates(path, op, different)):
            codes = path.compute(op, alternative.compute, rows)
            if alternative.name in tried:
                tried[alternative.name] += 1
            if codes is None:
                continue
            reproduced, broken = _score(codes, trial, different[rows])
            if reproduced == trial_differing and not broken:
                complete.append((alternative.weight, op, alternative))
            elif reproduced > broken:
                partial.append(((broken - reproduced, alternative.weight), op, alternative))
    complete.sort(key=lambda e: e[0])
    found = _complete(path, complete, observed, different, tried, most)
    arrived = [*_arrived(path, observed, different), *_read_wrongly(path, observed, different)]
    found += [(weight, e) for weight, e in arrived if e.complete]
    if not found:
        ranked = sorted(partial, key=lambda e: e[0])[:most]
        judged = [_judge(path, op, a, observed, different) for _, op, a in ranked] + [e for _, e in arrived]
        return tuple(sorted([e for e in judged if e.half], key=lambda e: e.broken - e.reproduced)[:most])
    found.sort(key=lambda e: e[0])
    return tuple(dict.fromkeys(e for _, e in found))[:most]


def _arrived(path: Path, observed: Array, different: Array) -> Iterator[tuple[int, Explanation]]:
    """The target is right and arrives wrongly: its stream, its bits, its channels."""
    op = path.graph.producers.get(path.target)
    if op is None:
        return
    for t in transports(path.graph[path.target], path.trace[path.target], observed):
        yield t.weight, _explanation(op, t.name, t.text, _score(t.codes, observed, different), different)


def _read_wrongly(path: Path, observed: Array, different: Array) -> Iterator[tuple[int, Explanation]]:
    """A stream that is right where it was observed and wrong where the first op reads it."""
    made = {op.output for op in path.ops}
    every = np.arange(len(observed))
    for op in path.ops:
        source = op.inputs[0] if op.inputs else ""
        if not source or source in made or len(path.trace[source]) != len(observed):
            continue
        # A frame depends on itself and the one before it: a few in a row tell whether the rest is worth computing.
        few = every[: max(3, _TRIAL_ELEMENTS // max(1, observed[0].size))]
        for t in moved(path.trace[source]):

            def how(xs: list[Array], ts: list[Tensor], out: Tensor, codes: Array = t.codes, at: o.Op = op) -> Array:
                return run(at, [codes[: len(xs[0])], *xs[1:]], ts, out)

            codes = path.compute(op, how, few)
            if codes is None or 2 * _score(codes, observed[few], different[few])[0] < int(different[few].sum()):
                continue
            whole = path.compute(op, how, every)
            if whole is not None:
                text = f"its input {source!r} read wrongly: {t.text}"
                yield t.weight + 20, _explanation(op, t.name, text, _score(whole, observed, different), different)


def _explanation(op: o.Op, name: str, text: str, score: tuple[int, int], different: Array) -> Explanation:
    return Explanation(
        op=type(op).__name__,
        layer=op.layer,
        tensor=op.output,
        name=name,
        text=text,
        reproduced=score[0],
        differing=int(different.sum()),
        broken=score[1],
    )


def _complete(
    path: Path,
    candidates: Sequence[tuple[int, o.Op, Alternative]],
    observed: Array,
    different: Array,
    tried: Mapping[str, int],
    most: int,
) -> list[tuple[int, Explanation]]:
    """(weight, explanation) of those that hold on all samples; of the single faults of a kind the first one, with the
    number of all that do."""
    found: list[tuple[int, Explanation]] = []
    fits = dict.fromkeys(tried, 0)
    for weight, op, alternative in candidates:
        if len(found) >= 2 * most and alternative.name not in fits:
            continue
        judged = _judge(path, op, alternative, observed, different)
        if not judged.complete:
            continue
        if alternative.name in fits:
            fits[alternative.name] += 1
            if fits[alternative.name] > 1:
                continue
        found.append((weight, judged))
    return [
        (weight, dataclasses.replace(e, fits=fits[e.name], tried=tried[e.name]) if e.name in fits else e)
        for weight, e in found
    ]


def _score(codes: Array, observed: Array, different: Array) -> tuple[int, int]:
    same = codes == observed
    return int((same & different).sum()), int((~same & ~different).sum())


def _judge(path: Path, op: o.Op, a: Alternative, observed: Array, different: Array) -> Explanation:
    codes = path.compute(op, a.compute, np.arange(len(observed)))
    score = (0, 0) if codes is None else _score(codes, observed, different)
    return _explanation(op, a.name, a.text, score, different)


def _trial_rows(different: Array) -> Array:
    """Samples to try first: the ones with most differences, and one without any as a counterexample."""
    per_sample = different.reshape(len(different), -1).sum(axis=1)
    most = max(2, _TRIAL_ELEMENTS // max(1, different[0].size))
    order = np.argsort(-per_sample, kind="stable")
    rows = order[:most]
    clean = order[-1:]
    return np.unique(np.concatenate([rows, clean]))


def _candidates(path: Path, op: o.Op, different: Array) -> Iterator[Alternative]:
    yield from alternatives(op)
    if isinstance(op, o.Conv2D | o.Dense):
        yield from single_constants(path, op, different)


def single_constants(path: Path, op: o.Conv2D | o.Dense, different: Array) -> Iterator[Alternative]:
    """One weight with one flipped bit, or one bias off by a power of two, in the one channel that differs."""
    channels = np.flatnonzero(different.reshape(-1, different.shape[-1]).any(axis=0))
    if len(channels) != 1 or path.graph[op.output].shape[-1] != different.shape[-1]:
        return
    channel = int(channels[0])
    w = op.weights.values
    width = max(op.weights.format.width + (not op.weights.format.signed), 2)
    column = w[..., channel].reshape(-1)
    if column.size * width > _SINGLE_FAULT_TRIALS:
        return
    places = [tuple(int(i) for i in np.unravel_index(k, w.shape[:-1])) for k in range(column.size)]
    for k, place in enumerate(places):
        for bit in range(width):
            flipped = int(column[k]) ^ (1 << bit)
            flipped -= (1 << width) if flipped >= 1 << (width - 1) else 0
            flipped += (1 << width) if flipped < -(1 << (width - 1)) else 0
            yield Alternative(
                name="weight bit",
                text=f"weight {[*place, channel]} being {flipped} in place of {int(column[k])} (bit {bit} flipped)",
                weight=60,
                compute=_one_weight(op, k, channel, flipped - int(column[k])),
            )
        if column[k]:
            yield Alternative(
                name="weight missing",
                text=f"weight {[*place, channel]} being 0 in place of {int(column[k])}",
                weight=59,
                compute=_one_weight(op, k, channel, -int(column[k])),
            )
    if op.bias is not None:
        if op.bias.values[channel]:
            bias = op.bias.values.copy()
            bias[channel] = 0
            text = f"the bias of channel {channel} left out"
            yield Alternative(
                name="channel's bias missing", text=text, weight=58, compute=_with_bias(op, IntArray(bias))
            )
        for delta in [s << b for b in range(op.bias.format.width + 1) for s in (1, -1)]:
            bias = op.bias.values.copy()
            bias[channel] += delta
            text = (
                f"the bias of channel {channel} being {int(bias[channel])} in place of {int(op.bias.values[channel])}"
            )
            yield Alternative(name="bias value", text=text, weight=61, compute=_with_bias(op, IntArray(bias)))


def _with_bias(op: o.Conv2D | o.Dense, bias: IntArray) -> Compute:
    changed = dataclasses.replace(op, bias=bias)
    return lambda xs, ts, out: run(changed, xs, ts, out)


def _one_weight(op: o.Conv2D | o.Dense, tap: int, channel: int, delta: int) -> Compute:
    """The op with weight ``tap`` of ``channel`` changed by ``delta``: the reference plus delta times one input."""

    def compute(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        x = xs[0] - op.input_zero_point
        y = run(op, xs, ts, out).copy()
        if isinstance(op, o.Dense):
            y[..., channel] += (delta * x[..., tap]) << op.product_shift
            return y
        kh, kw, group_in, channels = op.weights.shape
        u, v, c = (int(i) for i in np.unravel_index(tap, (kh, kw, group_in)))
        c += channel // (channels // op.groups) * group_in
        view = windows(pad2d(x, op.padding), (kh, kw), op.strides, op.dilation)
        y[..., channel] += (delta * view[:, :, :, u, v, c]) << op.product_shift
        return y

    return compute
