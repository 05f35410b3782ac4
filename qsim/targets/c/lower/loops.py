"""How the C kernels walk tensors: strides, loop nests over an output, parts that make rows, positions or everything."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from qsim.errors import UnsupportedError
from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.targets.c.parts import BlockPointer, Kernel, Lowering, Params, Part
from qsim.targets.c.types import storage

MAX_RANK = 8
"""QSIM_MAX_RANK of qsim_common.h."""

Fields = list[tuple[str, str]]
"""Names and values of a parameter structure's members."""

_WINDOW = (
    *("height", "width", "inputs", "kernel_height", "kernel_width", "stride_height", "stride_width"),
    *("pad_top", "pad_left"),
)
"""The members of ``qsim_window`` of qsim_window.h."""


def strides_of(shape: tuple[int, ...]) -> list[int]:
    """Row-major strides in elements."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def merge_axes(axes: Sequence[tuple[int, tuple[int, ...]]]) -> list[tuple[int, tuple[int, ...]]]:
    """(size, strides in each tensor) per axis, outermost first -> the same walk over as few axes as possible."""
    merged: list[tuple[int, tuple[int, ...]]] = []
    for size, strides in axes:
        if size == 1:
            continue
        if merged and all(outer == inner * size for outer, inner in zip(merged[-1][1], strides)):
            merged[-1] = merged[-1][0] * size, strides
        else:
            merged.append((size, strides))
    return merged


def check_rank(op: o.Op, rank: int) -> None:
    """Raise UnsupportedError beyond QSIM_MAX_RANK."""
    if rank > MAX_RANK:
        raise UnsupportedError(
            f"{type(op).__name__} walks {rank} axes, the C kernels {MAX_RANK}",
            layer=op.layer,
            way_out="reshape to fewer dimensions",
        )


def braces(values: list[int]) -> str:
    """A C array initialiser."""
    return "{" + ", ".join(map(str, values or [0])) + "}"


def _broadcast_strides(shape: tuple[int, ...], out: tuple[int, ...]) -> list[int]:
    """Strides of a tensor of ``shape`` along the axes of ``out``; 0 where it is repeated."""
    padded = (1,) * (len(out) - len(shape)) + shape
    return [0 if n == 1 else s for n, s in zip(padded, strides_of(padded), strict=True)]


class Walk:
    """A loop nest over an output to which every operand broadcasts: outer loops, one contiguous inner run."""

    def __init__(self, op: o.Op, operands: list[Tensor], out: Tensor) -> None:
        columns = zip(out.shape, *(_broadcast_strides(t.shape, out.shape) for t in operands), strict=True)
        axes = merge_axes([(n, tuple(strides)) for n, *strides in columns]) or [(1, (0,) * len(operands))]
        check_rank(op, len(axes))
        self.inner, self.steps = axes[-1]
        self.loops = tuple((f"i{level}", n) for level, (n, _) in enumerate(axes[:-1]))
        self._outer = [strides for _, strides in axes[:-1]]

    def pointer(self, x: str, operand: int, first: str) -> str:
        """C expression of operand's element at the block's first element."""
        if isinstance(x, BlockPointer):
            return x
        terms = [f"{var} * {s[operand]}" for (var, _), s in zip(self.loops, self._outer) if s[operand]]
        if self.steps[operand] and first != "0":
            terms.append(first)
        return " + ".join([x, *terms])


def pairs(**values: int) -> Fields:
    return [(name, str(value)) for name, value in values.items()]


def window(image: Sequence[int], kernel: Sequence[int], strides: Sequence[int], padding: o.Padding2D) -> Fields:
    """A kernel's ``qsim_window``. image: (height, width, channels); kernel, strides: (height, width)."""
    values = (*image, *kernel, *strides, padding[0][0], padding[1][0])
    return [(f"window.{name}", str(value)) for name, value in zip(_WINDOW, values, strict=True)]


def dilated_window(
    image: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: o.Padding2D,
    dilation: Sequence[int],
) -> Fields:
    """The same of a kernel whose taps may lie apart."""
    return window(image, kernel, strides, padding) + pairs(dilation_height=dilation[0], dilation_width=dilation[1])


def position_part(c: Lowering, op: o.Op, kernel: Kernel, fields: Fields) -> Part:
    """A part that makes the channels of one output position after another."""
    return at_positions(c, op, kernel, Params(kernel.params, c.local(kernel.family), tuple(fields)))


def at_positions(c: Lowering, op: o.Op, kernel: Kernel, params: Params) -> Part:
    height, width, channels = c.graph[op.output].shape
    call = f"{kernel.name}({{}}, {{}}, row, column, {{}}, {{}}, &{params.name});"
    return Part(
        calls=lambda xs, y, first, count: [call.format(xs[0], y, first, count)],
        params=[params],
        loops=(("row", height), ("column", width)),
        inner=channels,
    )


def whole(op: o.Op, c: Lowering, params: list[Params], calls: Callable[[list[str], str], list[str]], note: str) -> Part:
    """A part that makes its whole output in one go."""
    return Part(
        calls=lambda xs, y, first, count: calls(list(xs), y),
        params=params,
        inner=c.graph[op.output].size,
        notes=[f"{op.output}: {note}"],
    )


def strided_copy(
    op: o.Op, c: Lowering, x: Tensor, axes: Sequence[tuple[int, tuple[int, ...]]], offsets: tuple[int, int]
) -> tuple[Params, Callable[[str, str], str]]:
    """A strided copy of a box: axes (size, (x stride, y stride)), offsets of its first element in x and y."""
    xt, yt = storage(x.format), storage(c.graph[op.output].format)
    walk = merge_axes(axes) or [(1, (1, 1))]
    check_rank(op, len(walk))
    kernel = c.kernel("copy", [xt.short, yt.short], [("QSIM_X", xt.name), ("QSIM_Y", yt.name)])
    fields = (
        ("rank", str(len(walk))),
        ("size", braces([n for n, _ in walk])),
        ("x_stride", braces([s[0] for _, s in walk])),
        ("y_stride", braces([s[1] for _, s in walk])),
    )
    params = Params(kernel.params, c.local("copy"), fields)
    plus = [f" + {v}" if v else "" for v in offsets]
    return params, lambda source, y: f"{kernel.name}({source}{plus[0]}, {y}{plus[1]}, &{params.name});"


__all__ = [
    "MAX_RANK", "Fields", "Walk", "at_positions", "braces", "check_rank", "dilated_window", "merge_axes", "pairs",
    "position_part", "strided_copy", "strides_of", "whole", "window",
]  # fmt: skip
