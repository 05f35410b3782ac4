"""How many products each layer forms per cycle: what is possible, what a request gives, a default under a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.proof.weights import encoding

DEFAULT_MULTIPLIERS = 32
"""The whole design's multipliers where nothing is asked for: a third of the 90 DSP slices of a small Artix-7."""

PRODUCTS_PER_MULTIPLIER = 8
"""Products by binary, ternary or power-of-two weights that a budget counts as one multiplier: they take a few lookup
tables each, of which the same device has 230 for every DSP slice."""


@dataclass(frozen=True, kw_only=True)
class Folding:
    """The shape of one multiply-accumulate unit.

    word: channels that are read per cycle. lanes: output channels that are computed side by side.
    shared: whether each lane sums over the whole word (else lane l takes channel l // (lanes / word): depthwise).
    multiplies: whether a product takes a multiplier; weights of few values are added, subtracted, shifted or counted.
    groups, tiles: what remains to be done one after the other. walk: cycles per window and tile.
    pixels: windows per frame. reads, writes: elements that come in and go out per frame, one per cycle.
    """

    word: int
    lanes: int
    shared: bool
    multiplies: bool = True
    groups: int
    tiles: int
    walk: int
    pixels: int
    reads: int
    writes: int

    @property
    def products(self) -> int:
        """Products per cycle."""
        return self.word * self.lanes if self.shared else self.lanes

    @property
    def multipliers(self) -> int:
        return self.products if self.multiplies else 0

    @property
    def cost(self) -> int:
        """What a budget of ``PRODUCTS_PER_MULTIPLIER`` a multiplier pays for the unit."""
        return self.products * (PRODUCTS_PER_MULTIPLIER if self.multiplies else 1)

    @property
    def cycles(self) -> int:
        """Cycles per frame that the unit is busy."""
        return self.pixels * self.groups * self.tiles * self.walk

    @property
    def bound(self) -> int:
        """Cycles per frame of the slowest of: the unit, its input stream, its output stream."""
        return max(self.cycles, self.reads, self.writes)

    @property
    def rank(self) -> int:
        """The lower the better among units of as many products and cycles: with multipliers the one of most lanes;
        without, word and lanes alike, since the accumulators then cost more than the products."""
        return -self.lanes if self.multiplies else abs(self.lanes - self.word)


def is_multiplying(op: o.Op) -> bool:
    """Whether the op is computed by a multiply-accumulate unit that can be folded."""
    return isinstance(op, o.Linear)


def foldings(op: o.Op, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> list[Folding]:
    """Every possible unit for ``op``, by rising number of products per cycle; among equals by rank."""
    match op:
        case o.Dense():
            kernel, groups, group_in, outputs = 1, 1, op.weights.shape[0], op.weights.shape[1]
        case o.Conv2D():
            kernel, groups = op.weights.shape[0] * op.weights.shape[1], op.groups
            group_in, outputs = op.weights.shape[2], op.weights.shape[3]
        case o.ConvTranspose2D():
            kernel, groups = op.weights.shape[0] * op.weights.shape[1], 1
            group_in, outputs = op.weights.shape[2], op.weights.shape[3]
        case _:
            raise ValueError(f"{type(op).__name__} has no multiply-accumulate unit")
    group_out = outputs // groups
    multiplies = encoding(op).multiplies
    reads = math.prod(in_shape)
    if isinstance(op, o.ConvTranspose2D):  # its unit reads the frame with the stride's gaps filled in
        reads = ((in_shape[0] - 1) * op.strides[0] + 1) * ((in_shape[1] - 1) * op.strides[1] + 1) * in_shape[2]
    sizes = {"pixels": math.prod(out_shape) // outputs, "reads": reads, "writes": math.prod(out_shape)}
    found = [
        Folding(
            word=word,
            lanes=lanes,
            shared=True,
            multiplies=multiplies,
            groups=groups,
            tiles=group_out // lanes,
            walk=kernel * (group_in // word),
            **sizes,
        )
        for word in _divisors(group_in)
        for lanes in _divisors(group_out)
    ]
    if group_in == 1 and groups > 1:
        found += [
            Folding(
                word=word,
                lanes=word * group_out,
                shared=False,
                multiplies=multiplies,
                groups=groups // word,
                tiles=1,
                walk=kernel,
                **sizes,
            )
            for word in _divisors(groups)
            if word > 1
        ]
    return sorted(found, key=lambda f: (f.products, f.cycles, f.rank))


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def choose(graph: Graph, request: object = None) -> dict[str, Folding]:
    """Output tensor of each multiplying op -> its folding.

    request: None (a budget of DEFAULT_MULTIPLIERS), an integer (the budget of the whole design in multipliers, at
    least one product per op and cycle), or a mapping {layer: products} (those layers get the fastest unit with at most
    so many products per cycle, the others the default budget's). Where weights of few values need no multipliers, a
    budget counts PRODUCTS_PER_MULTIPLIER products as one. Raises UsageError for anything else and for unknown layers.

    Under a budget the slowest unit is widened, step by step, while the budget lasts and it is slower than the
    slowest stream, which carries one element per cycle.
    """
    ops = [op for op in graph.ops if is_multiplying(op)]
    every = {op.output: foldings(op, graph[op.inputs[0]].shape, graph[op.output].shape) for op in ops}
    wanted: dict[str, int] = {}
    budget = DEFAULT_MULTIPLIERS
    if isinstance(request, bool) or not (request is None or isinstance(request, int | Mapping)):
        raise UsageError(f"folding is a number of multipliers or {{layer: multipliers}}, not {request!r}")
    if isinstance(request, int):
        budget = request
    elif isinstance(request, Mapping):
        layers = list(dict.fromkeys(op.layer for op in ops))
        for layer, count in request.items():
            if layer not in layers:
                raise UsageError(f"folding: no layer {layer!r} has multipliers; choose from {', '.join(layers)}")
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise UsageError(f"folding: layer {layer!r} needs a number of multipliers from 1 up, not {count!r}")
            wanted[layer] = count
    if budget < 1:
        raise UsageError(f"folding: a budget of {budget} multipliers is none at all")
    chosen = {name: options[0] for name, options in every.items()}
    free: list[str] = []
    for op in ops:
        if op.layer in wanted:
            fitting = [f for f in every[op.output] if f.products <= wanted[op.layer]]
            chosen[op.output] = min(fitting, key=lambda f: (f.cycles, f.products, f.rank))
        else:
            free.append(op.output)
    floor = max([1, *(t.size for t in graph.tensors.values()), *(max(f.reads, f.writes) for f in chosen.values())])
    while free:
        slowest = max(free, key=lambda name: chosen[name].cycles)
        here = chosen[slowest]
        if here.cycles <= floor:
            break
        spare = budget * PRODUCTS_PER_MULTIPLIER - sum(chosen[name].cost for name in free)
        wider = [f for f in every[slowest] if f.cycles < here.cycles and f.cost - here.cost <= spare]
        if not wider:
            break
        chosen[slowest] = min(wider, key=lambda f: (f.products, f.cycles, f.rank))
    return chosen
