"""What an alternative is: one op recomputed as a known mistake, or another system's convention, would compute it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import Array
from qsim.reference.kernels import KERNELS

Compute = Callable[[list[Array], list[Tensor], Tensor], Array]
"""(input codes (N, *shape), input tensors, output tensor) -> output codes."""


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A cause of a difference.

    name: in a few words. text: a clause that completes "every code is explained by ...". weight: order among
    alternatives that explain equally well, the commoner mistake lower.
    """

    name: str
    text: str
    weight: int
    compute: Compute


def run(op: o.Op, inputs: list[Array], tensors: list[Tensor], out: Tensor) -> Array:
    """The reference kernel of ``op``."""
    return KERNELS[type(op)](op, inputs, tensors, out)


def replaced(op: o.Op, name: str, text: str, weight: int, **changes: Any) -> Alternative:
    """The op itself with some fields changed."""
    changed = dataclasses.replace(op, **changes)
    return Alternative(name=name, text=text, weight=weight, compute=lambda xs, ts, out: run(changed, xs, ts, out))
