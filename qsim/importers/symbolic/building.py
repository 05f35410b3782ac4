"""The graph being built from symbolic values: cached common grids, quantizers applied, the note on float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from qsim.importers.symbolic.grid import finely, gridded, on_grid, quantization, risen
from qsim.importers.symbolic.quantize import apply_channel_rules, apply_rule
from qsim.importers.symbolic.rescale import Rescaling
from qsim.importers.symbolic.value import Value, distinct
from qsim.ir import Quantization
from qsim.ir.ops import Op
from qsim.numerics import Array
from qsim.proof.builder import GraphBuilder
from qsim.quantizers import Rule

MOST_NAMED = 8
"""Layers that a note names."""


class Named(Protocol):
    """A layer or node of a source: its name becomes that of the tensor it makes, and stands in errors."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Label:
    """A bare name, where a step of a layer makes a tensor of its own."""

    name: str


class Building:
    """``b`` collects the ops; ``rescaling`` is how factors that are no powers of two become integers; ``computes`` is
    what the source computes in, as the note on float32 begins."""

    computes = "The source computes in float32"
    fine = False
    """Whether real values without an exact grid are rounded to a fine one, with a note, rather than refused."""

    def __init__(self, b: GraphBuilder, rescaling: Rescaling) -> None:
        self.b, self.rescaling = b, rescaling
        self._grids: dict[tuple[Any, ...], Value] = {}
        self._rounded: dict[str, None] = {}

    def grid(self, value: Value, layer: str, *, rising: bool = False, exact: bool = False) -> Value:
        """``on_grid``, once per value however many layers need it; exact: never on a fine grid."""
        key = ("grid", rising, *_key(value))
        if key not in self._grids:
            self.reads(value)
            if self.fine and not exact and not gridded(self.b, value):
                self._grids[key] = finely(self.b, value, layer)
            else:
                self._grids[key] = on_grid(self.b, value, layer, rising=rising)
        return self._grids[key]

    def rising(self, value: Value, layer: str) -> Value:
        """The value with scales that are not negative, so that a greater code means no less: as it is, by a sign per
        channel, or on a common grid."""
        if value.channelwise and (value.slope is None or value.slope >= 0):
            if not any(s < 0 for s in distinct(value.scale)):
                return value
            key = ("risen", *_key(value))
            if key not in self._grids:
                self._grids[key] = risen(self.b, value)
            return self._grids[key]
        return self.grid(value, layer, rising=True)

    def add(self, op: Op, scale: Array, offset: Array, shape: tuple[int, ...] | None = None) -> str:
        """Add an op whose output's meaning is at most per channel."""
        return self.b.add(op, quantization=quantization(scale, offset), shape=shape)

    def reads(self, value: Value) -> None:
        """Remember the value's layer where the source's float32 cannot hold all of its values."""
        if value.layer not in self._rounded and not value.in_float32(*self.b.tensor(value.tensor).range):
            self._rounded[value.layer] = None

    def note_rounding(self) -> None:
        """One note on all layers that ``reads`` remembered."""
        if self._rounded:
            names = [repr(name) for name in self._rounded]
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            self.b.note(
                f"{self.computes}, which cannot hold every value of {', '.join(names[:MOST_NAMED])}{more} "
                "(sums of more than 24 bits, averages, scales that are no powers of two). It rounds them where qsim is "
                "exact, so that its code can differ where such a value lies on a tie; qsim diff tells the two apart."
            )

    def quantize(
        self, value: Value, rule: Rule, node: Named, name: str | None = None, meaning: Quantization | None = None
    ) -> Value:
        """``rule`` applied to ``value``; the tensor carries the node's name unless ``name`` is given. meaning: see
        ``apply_rule``."""
        self.reads(value)
        return apply_rule(self.b, value, rule, node.name, name or node.name, self.rescaling, meaning)

    def quantize_channels(self, value: Value, rules: Sequence[Rule], node: Named) -> Value:
        """As ``quantize`` with one uniform rule per channel; all have the same codes."""
        self.reads(value)
        return apply_channel_rules(self.b, value, rules, node.name, node.name, self.rescaling)


def _key(value: Value) -> tuple[Any, ...]:
    """What distinguishes values of one tensor."""
    parts = (value.scale, value.offset)
    numbers = (v for part in parts for v in part.reshape(-1).tolist())
    return value.tensor, value.layer, *(part.shape for part in parts), *numbers, *value.pending
