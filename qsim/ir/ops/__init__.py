"""The closed set of integer operations. Each docstring is the specification that simulator and targets implement.

Notation: x, y are codes of input and output, without the batch dimension, channels last (H, W, C). Sums and products
are exact integers; an op's output format holds its proven range, so nothing overflows unless the op says so.
``parameters`` written "broadcast" follow numpy's broadcasting against the output (most often scalar or (C,)).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Concatenate, ParamSpec, TypeVar

from qsim.ir.ops.base import NO_PADDING, Op, Padding2D, RealRescale, Shape, output_shape
from qsim.ir.ops.combine import Add, Concat, Extremum, Mul
from qsim.ir.ops.linear import Conv2D, ConvTranspose2D, Dense, Linear, MatMul
from qsim.ir.ops.move import Constant, Gather, Pad, Reshape, Slice, Transpose
from qsim.ir.ops.pool import MaxPool2D, Reduce, SumPool2D
from qsim.ir.ops.rescale import Divide, Elementwise, Lookup, Requantize, Threshold
from qsim.ir.ops.softmax import ArgMax, Softmax

OPS: tuple[type[Op], ...] = (
    Constant,
    Conv2D,
    ConvTranspose2D,
    Dense,
    MatMul,
    Add,
    Mul,
    Extremum,
    Concat,
    SumPool2D,
    MaxPool2D,
    Reduce,
    Requantize,
    Divide,
    Threshold,
    Lookup,
    Softmax,
    Reshape,
    Transpose,
    Pad,
    Slice,
    Gather,
    ArgMax,
)
"""Every operation there is. A registry that lacks one of them fails when it is imported (``check_registry``)."""


OneOp = TypeVar("OneOp", bound=Op)
Made = TypeVar("Made")
Arguments = ParamSpec("Arguments")


def check_registry(registry: Mapping[type[Op], object], consumer: str) -> None:
    """Raise TypeError unless ``registry`` has exactly one entry for every op: called at import of each consumer."""
    missing = [op.__name__ for op in OPS if op not in registry]
    unknown = [op.__name__ for op in registry if op not in OPS]
    if missing or unknown:
        raise TypeError(f"{consumer}: no entry for {missing}, unknown entries {unknown}")


def entry(
    kind: type[OneOp], rule: Callable[Concatenate[OneOp, Arguments], Made]
) -> tuple[type[Op], Callable[Concatenate[Op, Arguments], Made]]:
    """An entry of a table keyed by operation: ``kind``, and a rule that takes an operation of that kind first."""

    def of_kind(op: Op, /, *args: Arguments.args, **named: Arguments.kwargs) -> Made:
        assert isinstance(op, kind)
        return rule(op, *args, **named)

    return kind, of_kind


def attributes(op: Op) -> dict[str, object]:
    """The op's own fields, without inputs, output and layer, in declaration order."""
    return {f.name: getattr(op, f.name) for f in dataclasses.fields(op) if f.name not in ("inputs", "output", "layer")}


__all__ = [
    "NO_PADDING",
    "OPS",
    "Add",
    "ArgMax",
    "Concat",
    "Constant",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "Divide",
    "Elementwise",
    "Extremum",
    "Gather",
    "Linear",
    "Lookup",
    "MatMul",
    "MaxPool2D",
    "Mul",
    "Op",
    "Pad",
    "Padding2D",
    "RealRescale",
    "Reduce",
    "Requantize",
    "Reshape",
    "Shape",
    "Slice",
    "Softmax",
    "SumPool2D",
    "Threshold",
    "Transpose",
    "attributes",
    "check_registry",
    "entry",
    "output_shape",
]
