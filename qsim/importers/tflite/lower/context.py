"""What the lowerings of all operators share: tensors by index, shapes without batch, rescales, activation ranges.

A TFLite tensor of shape (1, d1, ..., dn) becomes the graph tensor (d1, ..., dn); any other shape is kept as it is (the
model runs one sample, so a leading dimension that is not 1 belongs to the sample), and a scalar becomes (1,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypedDict

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.tflite.exact import step_function
from qsim.importers.tflite.lower.rescales import identity_rescale, make_rescale
from qsim.importers.tflite.model import INTEGER_FORMATS, Operator, TfliteModel, TfliteTensor
from qsim.importers.tflite.profiles import Profile
from qsim.ir import Quantization
from qsim.ir import ops as o
from qsim.numerics import (
    Array,
    IntArray,
    IntFormat,
    Overflow,
    Rescale,
    Scheme,
)
from qsim.proof.builder import GraphBuilder

INT32 = IntFormat(32, True)
_FUSED = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}
UNIT = Quantization.of(Fraction(1))

Lower = Callable[["Lowering", Operator], None]


def graph_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The graph tensor's shape for a TFLite shape."""
    return tuple(shape[1:]) if len(shape) > 1 and shape[0] == 1 else tuple(shape) or (1,)


def strips_batch(shape: Sequence[int]) -> bool:
    """Whether ``graph_shape`` drops the first dimension."""
    return len(shape) > 1 and shape[0] == 1


class Place(TypedDict):
    """The part of an op's fields that says where it stands."""

    output: str
    layer: str


class Lowering:
    """The state of one import: the checked model, the profile, the graph under construction.

    chosen: the profile of the import. profile: that of the operator at hand (see ``Profile.fallback``).
    """

    def __init__(self, model: TfliteModel, profile: Profile, builder: GraphBuilder) -> None:
        self.model, self.chosen, self.profile, self.builder = model, profile, profile, builder
        self.names: dict[int, str] = {}

    # Reading ----------------------------------------------------------------------------------------------------

    def tensor(self, op: Operator, position: int) -> TfliteTensor:
        """The operator's input at ``position``; ModelError if it is not there."""
        index = op.inputs[position] if position < len(op.inputs) else -1
        if index < 0:
            raise ModelError(f"{self.where(op)} lacks its input {position}.")
        return self.model.tensors[index]

    def optional(self, op: Operator, position: int) -> TfliteTensor | None:
        index = op.inputs[position] if position < len(op.inputs) else -1
        return self.model.tensors[index] if index >= 0 else None

    def output(self, op: Operator, position: int = 0) -> TfliteTensor:
        return self.model.tensors[op.outputs[position]]

    def layer(self, op: Operator) -> str:
        """The source layer's name: the operator's (first) output tensor."""
        return self.output(op).name

    def where(self, op: Operator) -> str:
        return f"operator {op.index} ({op.name}) of layer {self.layer(op)!r}"

    def unsupported(self, op: Operator, reason: str, way_out: str | None = None) -> UnsupportedError:
        return UnsupportedError(f"{op.name} (operator {op.index}) {reason}", layer=self.layer(op), way_out=way_out)

    def wrong_shape(self, op: Operator, expected: Sequence[int], what: str = "its output") -> ModelError:
        found = self.output(op).shape
        return ModelError(f"{self.where(op)}: {what} should have shape {tuple(expected)}, the file says {found}.")

    def constant(self, op: Operator, position: int, what: str) -> Array:
        """The values of a constant input, in its TFLite shape."""
        tensor = self.tensor(op, position)
        if tensor.data is None:
            raise self.unsupported(op, f"computes its {what} while it runs", "make it a constant in the source model")
        if tensor.data.dtype != np.int64:
            raise self.unsupported(op, f"has a {what} of type {tensor.type}", "use full integer quantization")
        return tensor.data

    def activations(self, op: Operator, tensors: Sequence[TfliteTensor], types: Sequence[str]) -> None:
        """Raise UnsupportedError unless all ``tensors`` have one type out of ``types`` and per-tensor quantization."""
        if not self.profile.int16:
            types = [t for t in types if t != "INT16"]
        for t in tensors:
            if t.type not in types:
                raise self.unsupported(
                    op,
                    f"works on {t.name!r} of type {t.type}",
                    f"use full integer quantization ({' or '.join(types)} activations)",
                )
            if t.quantization is None or not t.quantization.per_tensor:
                reason = "has no quantization" if t.quantization is None else "is quantized per channel"
                raise self.unsupported(op, f"works on {t.name!r}, which {reason}", "quantize activations per tensor")
            if not float(t.scale) > 0:
                raise self.unsupported(op, f"works on {t.name!r}, which has the scale 0", "give it a positive scale")
            if t.type == "INT16" and t.zero_point:
                raise self.unsupported(op, f"works on the INT16 tensor {t.name!r} with a zero point that is not 0")
        if len({t.type for t in tensors}) > 1:
            raise self.unsupported(op, f"mixes {' and '.join(dict.fromkeys(t.type for t in tensors))} activations")

    def same_quantization(self, op: Operator, tensors: Sequence[TfliteTensor]) -> None:
        """Raise UnsupportedError unless all have one scale and zero point: the engines compare and move bare codes."""
        first = tensors[0]
        for t in tensors[1:]:
            if t.scale != first.scale or t.zero_point != first.zero_point:
                raise self.unsupported(
                    op,
                    f"moves codes between {first.name!r} and {t.name!r}, whose scales or zero points differ, and no "
                    "engine rescales there",
                    "convert with a converter that gives them one quantization",
                )

    def same_shape(self, op: Operator) -> tuple[TfliteTensor, TfliteTensor]:
        """Input and output of an elementwise operator; ModelError where their shapes differ."""
        x, y = self.tensor(op, 0), self.output(op)
        if graph_shape(x.shape) != graph_shape(y.shape):
            raise self.wrong_shape(op, x.shape)
        return x, y

    def fixed_output(self, op: Operator, y: TfliteTensor, scale: float, zero_point: int, within: float = 0.0) -> None:
        """Raise UnsupportedError unless ``y`` has the quantization that the operator's kernels assume.

        within: how far the scale may be off, relative to ``scale``; the kernels compute the same codes.
        """
        if y.zero_point != zero_point or abs(float(y.scale) - scale) > within * scale:
            raise self.unsupported(
                op,
                f"has an output with scale {float(y.scale)} and zero point {y.zero_point}; the engines fix scale "
                f"{scale} and zero point {zero_point}",
                "convert with the TensorFlow Lite converter, which sets them",
            )

    # Writing ----------------------------------------------------------------------------------------------------

    def ratio(self, numerator: TfliteTensor, denominator: TfliteTensor, times: np.float32 | None = None) -> float:
        """scale (* times) / scale in the precision that the engine takes (``Profile.double_factors``)."""
        if self.profile.double_factors:
            return float(numerator.scale) * (1.0 if times is None else float(times)) / float(denominator.scale)
        product = numerator.scale if times is None else np.float32(numerator.scale * times)
        return float(np.float32(product / denominator.scale))

    def quantization(self, tensor: TfliteTensor) -> Quantization:
        q = tensor.quantization
        if q is None:
            return UNIT
        return Quantization(scale=q.fractions, zero_point=int(q.zero_points[0]))

    def value(self, op: Operator, position: int) -> str:
        """The graph tensor that holds an input: an activation, or a constant as an op of its own."""
        tensor = self.tensor(op, position)
        if tensor.index not in self.names:
            values = self.constant(op, position, f"constant {tensor.name!r}")
            self.names[tensor.index] = self.builder.add(
                o.Constant(
                    inputs=(),
                    output=tensor.name,
                    layer=self.layer(op),
                    values=IntArray(values.reshape(graph_shape(tensor.shape))),
                ),
                quantization=self.quantization(tensor),
            )
        return self.names[tensor.index]

    def at(self, op: Operator, suffix: str) -> Place:
        """Where an intermediate op stands: its output ``<layer>.<suffix>`` and its layer."""
        layer = self.layer(op)
        return {"output": f"{layer}.{suffix}", "layer": layer}

    def end(self, op: Operator, position: int = 0) -> Place:
        """Where the op stands that makes an output of the operator."""
        name = self.output(op, position).name
        return {"output": name, "layer": name}

    def step(
        self,
        made: o.Op,
        *,
        quantization: Quantization = UNIT,
        format: IntFormat | None = None,
        shape: Sequence[int] | None = None,
    ) -> str:
        """Add an intermediate op (see ``at``), its tensor in the least format if none is given."""
        return self.builder.add(made, quantization=quantization, format=format, shape=shape)

    def result(self, op: Operator, made: o.Op, position: int = 0, *, shape: Sequence[int] | None = None) -> str:
        """Add the op that makes the operator's output tensor (see ``end``), in the output's own type; the shape must
        agree."""
        tensor = self.output(op, position)
        expected = graph_shape(tensor.shape)
        name = self.builder.add(
            made,
            quantization=self.quantization(tensor),
            format=INTEGER_FORMATS[tensor.type],
            shape=shape or (expected if isinstance(made, o.Reshape | o.Slice) else None),
        )
        if self.builder.tensor(name).shape != expected:
            raise self.wrong_shape(op, self.builder.tensor(name).shape)
        self.names[tensor.index] = name
        return name

    def reshaped(self, op: Operator, name: str, shape: Sequence[int], suffix: str) -> str:
        """``name`` in another shape: itself where it has that shape already."""
        tensor = self.builder.tensor(name)
        if tensor.shape == tuple(shape):
            return name
        if tensor.size != int(np.prod(shape, dtype=np.int64)):
            raise ModelError(f"{self.where(op)}: {name!r} of shape {tensor.shape} cannot be read as {tuple(shape)}.")
        return self.step(
            o.Reshape(inputs=(name,), **self.at(op, suffix)),
            shape=shape,
            quantization=tensor.quantization,
            format=tensor.format,
        )

    # Rules ------------------------------------------------------------------------------------------------------

    def activation_range(self, op: Operator, tensor: TfliteTensor) -> tuple[int, int]:
        """The codes that the operator's fused activation leaves (CalculateActivationRangeQuantized, float32)."""
        code = int(op.options.get("FusedActivationFunction", 0))
        if code not in _FUSED:
            raise self.unsupported(op, f"has the fused activation {code}", "apply it as a layer of its own")
        return self.clip_range(op, tensor, _FUSED[code])

    def clip_range(self, op: Operator, tensor: TfliteTensor, activation: str) -> tuple[int, int]:
        fmt = INTEGER_FORMATS[tensor.type]
        low, high = fmt.low, fmt.high
        floor, ceiling = {
            "NONE": (None, None),
            "RELU": (0.0, None),
            "RELU6": (0.0, 6.0),
            "RELU_N1_TO_1": (-1.0, 1.0),
        }[activation]
        if floor is not None:
            low = max(low, self.code_of(tensor, floor))
        if ceiling is not None:
            high = min(high, self.code_of(tensor, ceiling))
        if low > high:
            raise self.unsupported(op, f"has an activation that leaves no code of {tensor.name!r}")
        return low, high

    @staticmethod
    def code_of(tensor: TfliteTensor, real: float) -> int:
        """zero_point + round(float32(real / scale)), half away from zero."""
        quotient = float(np.float32(real) / tensor.scale)
        magnitude = int(np.floor(abs(quotient) + 0.5))
        return tensor.zero_point + (magnitude if quotient >= 0 else -magnitude)

    def accumulator(self, op: Operator, name: str, limit: IntFormat = INT32) -> str:
        """``name`` after the proof that the engine's own accumulator holds it."""
        low, high = self.builder.tensor(name).range
        if not limit.holds(low, high):
            raise self.unsupported(
                op,
                f"can reach the sum {low if -low > high else high}, which overflows the {limit.width}-bit accumulator "
                "of every TensorFlow Lite engine",
                "use fewer input channels or a bias within range",
            )
        return name

    def requantize(
        self,
        op: Operator,
        source: str,
        rescale: Rescale,
        bounds: tuple[int, int],
        *,
        position: int = 0,
        input_zero_point: int = 0,
        zero_point: int | None = None,
        negative: Rescale | None = None,
    ) -> str:
        """The last step of most operators: rescale, add the zero point (the output's, unless given), clip to
        ``bounds``."""
        made = o.Requantize(
            inputs=(source,),
            **self.end(op, position),
            rescale=rescale,
            negative=negative,
            input_zero_point=input_zero_point,
            zero_point=self.output(op, position).zero_point if zero_point is None else zero_point,
            overflow=Overflow.SAT,
            low=bounds[0],
            high=bounds[1],
        )
        return self.result(op, made, position)

    def requantize_lanes(
        self,
        op: Operator,
        source: str,
        scheme: Scheme,
        factors: Sequence[float],
        bounds: tuple[int, int],
        *,
        input_zero_point: int = 0,
        zero_point: int | None = None,
    ) -> None:
        """``requantize`` by real factors (one, or one per channel), where the channels beyond the engine's last full
        vector are rescaled with TFLITE_DOUBLE: as one op, or as two on slices, joined again (and brought into the
        output's shape where ``source`` is flat)."""
        shape = self.builder.tensor(source).shape
        channels, lanes = shape[-1], self.profile.lanes.get(op.name, 1)
        whole = channels // lanes * lanes
        if whole in (0, channels):
            rescale = make_rescale(scheme if whole else Scheme.TFLITE_DOUBLE, factors)
            self.requantize(op, source, rescale, bounds, input_zero_point=input_zero_point, zero_point=zero_point)
            return
        quantization = self.quantization(self.output(op))
        parts = []
        stretches = ((0, whole, scheme, "lanes"), (whole, channels, Scheme.TFLITE_DOUBLE, "rest"))
        for first, last, chosen, name in stretches:
            begin, strides = (*(0 for _ in shape[1:]), first), (1,) * len(shape)
            part = self.step(
                o.Slice(inputs=(source,), **self.at(op, f"{name}_acc"), begin=begin, strides=strides),
                shape=(*shape[:-1], last - first),
            )
            made = o.Requantize(
                inputs=(part,),
                **self.at(op, name),
                rescale=make_rescale(chosen, factors if len(factors) == 1 else factors[first:last]),
                input_zero_point=input_zero_point,
                zero_point=self.output(op).zero_point if zero_point is None else zero_point,
                overflow=Overflow.SAT,
                low=bounds[0],
                high=bounds[1],
            )
            parts.append(self.step(made, quantization=quantization))
        axis = len(shape) - 1
        if (*shape[:-1], channels) == graph_shape(self.output(op).shape):
            self.result(op, o.Concat(inputs=tuple(parts), **self.end(op), axis=axis))
        else:
            made_of = o.Concat(inputs=tuple(parts), **self.at(op, "joined"), axis=axis)
            joined = self.step(made_of, quantization=quantization)
            self.result(op, o.Reshape(inputs=(joined,), **self.end(op)))

    def table(self, op: Operator, code: Callable[[int], int]) -> None:
        """The output as table[x] over every code of the input's type."""
        fmt = INTEGER_FORMATS[self.tensor(op, 0).type]
        values = [code(x) for x in range(fmt.low, fmt.high + 1)]
        self.result(
            op, o.Lookup(inputs=(self.value(op, 0),), **self.end(op), table=IntArray([values]), table_low=fmt.low)
        )

    def stepped(self, op: Operator, source: str, function: Callable[[Array], Array]) -> None:
        """The output as ``function`` of the integers of ``source``; it must not fall over their proven range."""
        low, high = self.builder.tensor(source).range
        thresholds, base = step_function(function, low, high)
        self.result(
            op,
            o.Threshold(
                inputs=(source,), **self.end(op), thresholds=thresholds, base=IntArray([base]), step=IntArray([1])
            ),
        )

    def clipped(self, op: Operator, source: str, bounds: tuple[int, int]) -> str:
        """The output as ``source`` clipped to ``bounds``; no step where that changes nothing is needed for shape."""
        return self.result(
            op,
            o.Requantize(
                inputs=(source,),
                **self.end(op),
                rescale=identity_rescale(),
                overflow=Overflow.SAT,
                low=bounds[0],
                high=bounds[1],
            ),
        )
