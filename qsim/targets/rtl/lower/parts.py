"""What every family needs: rules from ops to kernels and from kernels to module instances, and the instance itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from qsim.ir import Graph
from qsim.ir import ops as o
from qsim.numerics import IntFormat
from qsim.targets.rtl.network.kernels import Builder, Kernel, Pointwise, Stream
from qsim.targets.rtl.text import Memory, number

Param = tuple[str, str]
OneOp = TypeVar("OneOp", bound=o.Op)
OneKernel = TypeVar("OneKernel", bound=Kernel)


@dataclass(frozen=True, kw_only=True)
class Instance:
    """module, parameters as (name, SystemVerilog text); memories: (parameter, contents), whose file the caller names;
    stacks: (parameter, memories), whose files differ in the two digits before the ending.

    clocked: whether it has clk and rst. operand: the format to which every input is extended before the inputs are
    packed side by side; None: its only input is wired as it is.
    """

    module: str
    parameters: tuple[Param, ...]
    memories: tuple[tuple[str, Memory], ...] = ()
    stacks: tuple[tuple[str, tuple[Memory, ...]], ...] = ()
    clocked: bool = True
    operand: IntFormat | None = None


StreamRule = tuple[type[o.Op], Callable[[Builder, o.Op], Stream]]
"""An op, and how its kernels are added; the rule returns the stream that carries the op's output."""

InstanceRule = tuple[type[Kernel], Callable[[Kernel, Graph], Instance]]
"""A kernel, and its module. The rule raises UnsupportedError where the module cannot be exact."""

PointwiseRule = tuple[type[o.Op], Callable[[Pointwise, Graph], Instance]]
"""An op, and the module of the pointwise kernel that computes it."""


def streams(kind: type[OneOp], rule: Callable[[Builder, OneOp], Stream]) -> StreamRule:
    """An entry of the table of ops."""

    def checked(builder: Builder, op: o.Op) -> Stream:
        assert isinstance(op, kind)
        return rule(builder, op)

    return kind, checked


def module(kind: type[OneKernel], rule: Callable[[OneKernel, Graph], Instance]) -> InstanceRule:
    """An entry of the table of kernels."""

    def checked(kernel: Kernel, graph: Graph) -> Instance:
        assert isinstance(kernel, kind)
        return rule(kernel, graph)

    return kind, checked


def pointwise_module(kind: type[OneOp], rule: Callable[[Pointwise, OneOp, Graph], Instance]) -> PointwiseRule:
    """An entry of the table of pointwise ops."""

    def checked(kernel: Pointwise, graph: Graph) -> Instance:
        assert isinstance(kernel.op, kind)
        return rule(kernel, kernel.op, graph)

    return kind, checked


def pointwise(b: Builder, op: o.Op, stages: int, inputs: tuple[Stream, ...] | None = None) -> Stream:
    """Add the kernel of an op that makes one beat from one beat of every input."""
    assert isinstance(op, o.Add | o.Mul | o.Extremum | o.Requantize | o.Divide | o.Threshold | o.Lookup)
    chosen = (b.stream(op),) if inputs is None else inputs
    return b.add(Pointwise(output=b.carrier(op.output), layer=op.layer, inputs=chosen, op=op, stages=stages))


def common_format(formats: Sequence[IntFormat]) -> IntFormat:
    """The least signed format that holds all of them."""
    return IntFormat(max(f.width + (not f.signed) for f in formats), True)


def numbers(**values: int) -> list[Param]:
    """``int`` parameters."""
    return [(name, number(value)) for name, value in values.items()]
