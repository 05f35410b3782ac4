"""What every operator's lowering works with: the graph being built, the file's tensors, the model's inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.onnx.constant import Constant
from qsim.importers.onnx.model import Attribute, Node, OnnxModel
from qsim.importers.onnx.profiles import Profile
from qsim.importers.onnx.view import View, arranged, channels_last, last
from qsim.importers.symbolic.building import Building
from qsim.importers.symbolic.rescale import Rescaling
from qsim.importers.symbolic.value import Value
from qsim.ir import Quantization
from qsim.numerics import Array, IntFormat, Rounding
from qsim.proof.builder import GraphBuilder

Operand = View | Constant | None
"""An input of a node: a tensor of the network, a constant, or absent."""

Made = list[View | Constant]
Lower = Callable[["Context", Node, Sequence[Operand]], Made]

REAL = ""
"""The tensor of a value that is a model input still, real-valued."""

WAY_OUT_INPUT = (
    'pass the inputs\' number format, such as input_format="fixed<8,1>" in Python or '
    "--input-format 'fixed<8,1>' on the command line, or let a quantizer read the input"
)


@dataclass(frozen=True)
class Operator:
    """One operator: how it is lowered and which attributes are read.

    reads: attributes that the lowering takes. fixed: attributes that must have this value where they are given. idle:
    attributes that change nothing at inference. symbolic: whether a real-valued model input may pass through it.
    """

    lower: Lower
    reads: tuple[str, ...] = ()
    fixed: Mapping[str, Attribute] = field(default_factory=dict)
    idle: tuple[str, ...] = ()
    symbolic: bool = False

    def refusal(self, node: Node) -> str | None:
        """Which attribute of the node nothing reads; None if all are."""
        for name, value in node.attributes.items():
            if name in self.reads or name in self.idle:
                continue
            if name in self.fixed and not isinstance(value, np.ndarray) and value == self.fixed[name]:
                continue
            shown = "a tensor" if isinstance(value, np.ndarray) else repr(value)
            return f"its attribute {name}={shown} is not supported"
        return None


class Context(Building):
    """One import of an ONNX model."""

    computes = "ONNX's executors compute in float32"

    def __init__(self, model: OnnxModel, b: GraphBuilder, rescaling: Rescaling, profile: Profile) -> None:
        super().__init__(b, rescaling)
        self.model, self.profile = model, profile
        self.values: dict[str, View | Constant] = {}
        self.consumers: dict[str, list[Node]] = {}
        for node in model.nodes:
            for name in dict.fromkeys(node.inputs):
                self.consumers.setdefault(name, []).append(node)
        self.ends = {port.name for port in model.outputs}
        self.claims: dict[str, tuple[object, str]] = {}
        """Model input -> the quantizer at its boundary, and its tensor."""
        self.taken: set[str] = set()
        """Nodes whose constant the node before has taken in."""
        self.batch = 1
        self.orders: dict[str, tuple[int, ...]] = {}
        """Model input -> the order of its axes (``qsim.ir.Input``)."""

    def added_constant(self, node: Node) -> tuple[Node, Array] | None:
        """The Add of one constant per channel (or of one number) that is the node's one reader."""
        readers = self.consumers.get(node.outputs[0], [])
        if len(readers) != 1 or readers[0].kind != "Add" or node.outputs[0] in self.ends:
            return None
        others = [self.values.get(name) for name in readers[0].inputs if name != node.outputs[0]]
        if len(others) != 1 or not isinstance(others[0], Constant):
            return None
        least = others[0].least()
        weight = self.values.get(node.inputs[1])
        rank = len(weight.shape) if isinstance(weight, Constant) else 0
        along_channels = least.ndim <= 1 if node.kind in ("Gemm", "MatMul") else least.shape[1:] == (1,) * (rank - 2)
        return (readers[0], least) if least.size == 1 or along_channels else None

    def ready(self, view: View) -> View:
        """The view, unless it is of a model input without a number format."""
        self.exists(view.value)
        return view

    def exists(self, value: Value) -> None:
        """Raise UnsupportedError for a model input without a number format."""
        if value.tensor == REAL:
            raise UnsupportedError(
                f"the model's input {value.layer!r} is real-valued, and this is no quantizer", way_out=WAY_OUT_INPUT
            )

    def grid(self, value: Value, layer: str, *, rising: bool = False, exact: bool = False) -> Value:
        self.exists(value)
        return super().grid(value, layer, rising=rising, exact=exact)

    def reads(self, value: Value) -> None:
        self.exists(value)
        super().reads(value)

    def claim(
        self,
        value: Value,
        quantization: Quantization,
        rounding: Rounding,
        codes: tuple[int, int],
    ) -> str:
        """The tensor of a model input, quantized at the graph's boundary. Raises UnsupportedError where another
        quantizer has it already."""
        name, key = value.layer, (quantization, rounding, codes)
        if name not in self.claims:
            tensor = self.b.input(
                name,
                value.shape,
                IntFormat.for_range(*codes),
                quantization,
                rounding,
                *codes,
                arithmetic="float32_divide" if self.profile.fused else "exact",
                order=self.orders[name],
            )
            self.claims[name] = key, tensor
        found, tensor = self.claims[name]
        if found != key:
            raise UnsupportedError(
                f"the model's input {name!r} is quantized by several different quantizers", way_out=WAY_OUT_INPUT
            )
        return tensor


def view_of(node: Node, inputs: Sequence[Operand], position: int = 0) -> View:
    """An input that is a tensor of the network. Raises UnsupportedError for a constant or nothing."""
    found = inputs[position] if position < len(inputs) else None
    if not isinstance(found, View):
        what = "is missing" if found is None else "is a constant"
        raise UnsupportedError(f"its input {position} {what}", way_out="fold the constant part of the model first")
    if found.rounded is not None:
        raise UnsupportedError(
            f"the {found.value.boundary} behind layer {found.value.layer!r} stays outside the hardware, and the model "
            "goes on behind it",
            way_out=f"end the model with the {found.value.boundary}",
        )
    return found


def constant_of(node: Node, inputs: Sequence[Operand], position: int, what: str) -> Constant:
    """An input that must be known at import. Raises UnsupportedError where it depends on the data."""
    found = inputs[position] if position < len(inputs) else None
    if found is None:
        raise ModelError(f"node {node.name!r}: {node.label} lacks {what}.")
    if not isinstance(found, Constant):
        raise UnsupportedError(f"{what} depends on the data", way_out="export the model with it as a constant")
    return found


def optional(node: Node, inputs: Sequence[Operand], position: int, what: str) -> Constant | None:
    """As ``constant_of``; None where the input is absent."""
    if position >= len(inputs) or inputs[position] is None:
        return None
    return constant_of(node, inputs, position, what)


def image(ctx: Context, view: View, layer: str) -> Value:
    """The view of a (C, spatial...) tensor as a value with its channels last; per channel, or on one grid."""
    return arranged(ctx, view, last(len(view.shape)), layer)


def plane(ctx: Context, view: View, layer: str) -> Value:
    """As ``image``, of (C, L) or (C, H, W): always three dimensions, one row for (C, L)."""
    rank = len(view.shape)
    if rank not in (2, 3):
        raise UnsupportedError(
            f"its input has {rank - 1} spatial dimensions", way_out="1-D and 2-D layers are supported"
        )
    shape = (1, view.shape[1], view.shape[0]) if rank == 2 else (*view.shape[1:], view.shape[0])
    return arranged(ctx, view, last(rank), layer, shape)


def from_plane(value: Value, rank: int, dtype: str) -> View:
    """The file's (C, L) or (C, H, W) tensor of a (H, W, C) value."""
    view = channels_last(value, dtype)
    return view.moved(lambda at: at.reshape(at.shape[0], at.shape[2])) if rank == 2 else view


def affine(ctx: Context, view: View, factor: Fraction, addend: Fraction, layer: str) -> View:
    """The view times factor plus addend, pending; clamps are carried along where that is possible."""
    value = view.value
    if value.clamped and factor > 0:
        moved = value.but(floor=None, ceiling=None).affine(factor, addend)
        floor, ceiling = (None if end is None else end * factor + addend for end in (value.floor, value.ceiling))
        return view.but(moved.but(floor=floor, ceiling=ceiling))
    if value.clamped:
        value = ctx.grid(value, layer)
    return view.but(value.affine(factor, addend))


def clamp(ctx: Context, view: View, floor: Fraction | None, ceiling: Fraction | None) -> View:
    """min(max(view, floor), ceiling), pending; limits that the proven range keeps by itself are dropped."""
    value = view.value
    if (
        value.tensor != REAL
        and value.boundary == "linear"
        and not value.clamped
        and value.scale.size == 1 == value.offset.size
    ):
        s, o = value.scale.reshape(-1)[0], value.offset.reshape(-1)[0]
        ends = sorted(code * s + o for code in ctx.b.tensor(value.tensor).range)
        floor = None if floor is not None and floor <= ends[0] else floor
        ceiling = None if ceiling is not None and ceiling >= ends[1] else ceiling
    value.settled()
    return view.but(value.clamp(floor, ceiling))
