"""A tfmot-wrapped Keras model on its way to TFLite's structure: tensors, operators, trained ranges.

Each wrapper says where a range was trained: at a layer's output, behind its activation, or before it. A layer without
one (a convolution before a BatchNormalization, an Add before its ReLU) is left open until the layer that has it, and
both become one operator, as the converter fuses them. An operator that rescales anyway takes over a range that a later
layer demands of its result (ReLU, Concatenate, UpSampling2D) where nothing else reads it; others get a QUANTIZE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.model import KerasModel, LayerNode
from qsim.importers.keras.read.variables import tfmot_activation
from qsim.importers.tflite.model import Operator, TfliteModel, TfliteQuantization, TfliteTensor
from qsim.importers.tfmot.numbers import range_quantization, round_away, weight_codes, weight_scales
from qsim.importers.tfmot.values import ACTIVATED, FIXED_OUTPUT, HANDS_ON, RESCALING, Open, Value
from qsim.numerics import Array

WRAPPER, INPUT_QUANTIZER = "QuantizeWrapperV2", "QuantizeLayer"
FUSED = {"linear": 0, "relu": 1, "relu6": 3}
OWN_OPERATOR = {"softmax": "SOFTMAX", "sigmoid": "LOGISTIC", "tanh": "TANH"}
FLOATS = "which the converter leaves in floats"


Rule = Callable[["Conversion", LayerNode, Mapping[str, Any]], Value]


@dataclass
class Conversion:
    """rules: wrapped layer's class -> what it becomes. through: classes that hand their input on as it is."""

    model: KerasModel
    rules: Mapping[str, Rule]
    through: Callable[[LayerNode], bool]
    tensors: list[TfliteTensor] = field(default_factory=list)
    operators: dict[int, Operator] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    readers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    requantized: dict[tuple[int, float, int], int] = field(default_factory=dict)
    trained: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Tensor -> the trained range that stands right behind its operator; others hand on that of their input."""

    # Writing ----------------------------------------------------------------------------------------------------

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: str = "INT8",
        scales: Any = None,
        zero_point: int = 0,
        data: Array | None = None,
        axis: int = 0,
    ) -> int:
        quantization = None
        if scales is not None:
            stored = np.atleast_1d(np.asarray(scales)).astype(np.float32)
            zeros = np.full(len(stored), zero_point, dtype=np.int64)
            quantization = TfliteQuantization(scales=stored, zero_points=zeros, axis=axis)
        index = len(self.tensors)
        self.tensors.append(
            TfliteTensor(index=index, name=name, shape=shape, type=kind, quantization=quantization, data=data)
        )
        return index

    def constant(self, name: str, values: Any) -> int:
        data = np.asarray(values, dtype=np.int64)
        return self.tensor(name, data.shape, "INT32", data=data)

    def operator(self, name: str, inputs: tuple[int, ...], output: int, **options: int | float | bool) -> int:
        """Write an operator; the key in ``operators`` is its output, which is what is returned."""
        self.operators[output] = Operator(
            index=len(self.operators), name=name, version=1, inputs=inputs, outputs=(output,), options=options
        )
        return output

    def like(self, name: str, shape: tuple[int, ...], source: int) -> int:
        """An activation tensor with the quantization of another."""
        q = self.tensors[source].quantization
        assert q is not None
        return self.tensor(name, (1, *shape), "INT8", q.scales, int(q.zero_points[0]))

    def producer(self, tensor: int) -> str:
        """The name of the operator that writes a tensor, empty for an input."""
        return self.operators[tensor].name if tensor in self.operators else ""

    # Walking ----------------------------------------------------------------------------------------------------

    def run(self) -> TfliteModel:
        self.find_readers()
        plain = [n for n in self.model.nodes if n.class_name not in (WRAPPER, INPUT_QUANTIZER, "InputLayer")]
        if plain:
            raise UnsupportedError(
                f"{_listed(plain)} {'is' if len(plain) == 1 else 'are'} not wrapped by tfmot, so the converter leaves "
                f"{'it' if len(plain) == 1 else 'them'} in floats",
                layer=plain[0].name,
                way_out="quantize the whole model (quantize_model), or annotate every layer before quantize_apply",
            )
        for node in self.model.nodes:
            self.values[node.name] = self.visit(node)
        outputs = []
        for name, _ in self.model.outputs:
            value = self.values[name]
            if value.tensor is None:
                raise UnsupportedError(
                    "the result is not quantized", layer=name, way_out="quantize the model's last layer too"
                )
            outputs.append(value.tensor)
        inputs = tuple(i for name in self.model.inputs if (i := self.values[name].tensor) is not None)
        kept = [replace(op, index=i) for i, op in enumerate(self.ordered(outputs))]
        return TfliteModel(
            name=self.model.name,
            tensors=tuple(self.tensors),
            operators=tuple(kept),
            inputs=inputs,
            outputs=tuple(outputs),
        )

    def ordered(self, outputs: list[int]) -> list[Operator]:
        """The operators that the outputs need, each behind those it reads."""
        needed, queue = set(outputs), list(outputs)
        while queue:
            op = self.operators.get(queue.pop())
            for i in op.inputs if op else ():
                if i not in needed:
                    needed.add(i)
                    queue.append(i)
        return [self.operators[output] for output in self.operators if output in needed]

    def find_readers(self) -> None:
        """node -> what uses its result: a layer's name once per use, and '' for the model's own output; layers that
        only hand on are looked through."""
        found: dict[str, tuple[str, ...]] = {node.name: () for node in self.model.nodes}
        for name, _ in self.model.outputs:
            found[name] = (*found[name], "")
        for node in reversed(self.model.nodes):
            uses = found[node.name] if self.through(node) else (node.name,)
            for name, _ in node.inputs:
                found[name] = (*found[name], *uses)
        self.readers = found

    @staticmethod
    def refuse(node: LayerNode, reason: str, way_out: str | None = None) -> UnsupportedError:
        kind = node.config["layer"]["class_name"] if node.class_name == WRAPPER else node.class_name
        return UnsupportedError(
            f"{kind} {reason}",
            layer=node.name,
            way_out=way_out or "convert the model with the TensorFlow Lite converter and load the .tflite file",
        )

    def visit(self, node: LayerNode) -> Value:
        if node.class_name == "InputLayer":
            shape = tuple(node.config["shape"])
            if any(n is None for n in shape):
                raise self.refuse(node, f"has the open shape {shape}", "give the input a fixed shape")
            return Value(shape, self.tensor(node.name, (1, *shape), "FLOAT32"))
        if node.class_name == INPUT_QUANTIZER:
            source = self.source(node)
            scale, zero = self.quantization(node, "")
            code = self.tensor(node.name, (1, *source.shape), "INT8", scale, zero)
            self.trained[code] = self.ends(node, "")
            assert source.tensor is not None
            return Value(source.shape, self.operator("QUANTIZE", (source.tensor,), code))
        layer = node.config["layer"]
        rule = self.rules.get(layer["class_name"])
        if "layer/kernel" in node.weights and sum(n.layer == node.layer for n in self.model.nodes) > 1:
            raise self.refuse(
                node,
                "is called more than once; the converter then scales its weights in another way than training did",
                "use two layers, or load the converter's .tflite file",
            )
        if rule is None:
            raise self.refuse(node, "is not supported", "use other layers, or load the converter's .tflite file")
        if layer["config"].get("data_format", "channels_last") != "channels_last":
            raise self.refuse(node, "works on channels_first images", "use channels_last")
        for name, _ in node.inputs:
            if self.values[name].open is not None and len(self.readers[name]) > 1:
                raise self.refuse(node, f"shares the unquantized result of {name!r} with other layers")
        return self.settle(node, rule(self, node, layer["config"]))

    # Ranges -----------------------------------------------------------------------------------------------------

    def source(self, node: LayerNode, position: int = 0) -> Value:
        if len(node.inputs) <= position:
            raise ModelError(f"layer {node.name!r} lacks its input {position}.")
        return self.values[node.inputs[position][0]]

    def codes(self, node: LayerNode, position: int = 0) -> tuple[int, tuple[int, ...]]:
        """A quantized input's tensor and shape."""
        value = self.source(node, position)
        if value.tensor is None or self.tensors[value.tensor].type != "INT8":
            raise self.refuse(node, f"reads {node.inputs[position][0]!r}, which has no trained range")
        return value.tensor, value.shape

    @staticmethod
    def ends(node: LayerNode, name: str) -> tuple[float, float]:
        """A trained range of a wrapper; the empty name is that of the input."""
        low, high = (float(np.asarray(node.weights[f"{name}_{end}".lstrip("_")])) for end in ("min", "max"))
        return low, high

    def quantization(self, node: LayerNode, name: str) -> tuple[np.float32, int]:
        low, high = self.ends(node, name)
        if not low <= 0 <= high or low == high:
            raise self.refuse(
                node,
                f"has the {name or 'input'} range [{low}, {high}], which does not hold zero inside",
                "train the wrapped model for at least one step, so that its ranges are set",
            )
        return range_quantization(low, high)

    def settle(self, node: LayerNode, value: Value) -> Value:
        """Close an open operator with the layer's trained range, and apply the activation of its own."""
        activation = activation_of(node)
        for name in ("post_activation", "pre_activation", "output"):
            if f"{name}_min" in node.weights:
                value = self.close(node, value, name, activation)
        if activation in OWN_OPERATOR:
            value = self.own_operator(node, value, OWN_OPERATOR[activation])
        return value

    def close(self, node: LayerNode, value: Value, which: str, activation: str) -> Value:
        scale, zero = self.quantization(node, which)
        if value.open is None:
            assert value.tensor is not None
            tensor = self.requantize(value.tensor, scale, zero, f"{node.name}.range")
            self.trained[tensor] = self.ends(node, which)
            return Value(value.shape, tensor)
        opened = value.open
        if which == "post_activation" and "FusedActivationFunction" in opened.options:
            if activation not in FUSED:
                raise self.refuse(
                    node,
                    f"has the activation {activation!r}, {FLOATS}",
                    f"apply it as a layer of its own (Activation({activation!r})), or use relu",
                )
            opened = replace(opened, options={**opened.options, "FusedActivationFunction": FUSED[activation]})
        suffix = "" if which != "pre_activation" else ".pre_activation"
        tensor = self.emit(node, opened, node.name + suffix, scale, zero)
        self.trained[tensor] = self.ends(node, which)
        return Value(opened.shape, tensor)

    def emit(self, node: LayerNode, opened: Open, name: str, scale: np.float32, zero: int) -> int:
        """Write an open operator, now that its range is known."""
        inputs = opened.inputs
        if opened.parts:
            inputs = tuple(self.retarget(node, part, scale, zero) for part in opened.parts)
        if opened.kernel is not None:
            inputs = (*inputs, *self.parameters(node, opened))
        if opened.operator == "TRANSPOSE_CONV":  # size, weights, input, bias
            inputs = (inputs[0], inputs[2], inputs[1], *inputs[3:])
        output = self.tensor(name, (1, *opened.shape), "INT8", scale, zero)
        return self.operator(opened.operator, inputs, output, **opened.options)

    def requantize(self, tensor: int, scale: np.float32, zero: int, name: str) -> int:
        """The tensor with another scale and zero point, one QUANTIZE for all that want the same."""
        q = self.tensors[tensor].quantization
        if q is not None and q.scales[0] == scale and q.zero_points[0] == zero:
            return tensor
        key = (tensor, float(scale), zero)
        if key not in self.requantized:
            target = self.tensor(name, self.tensors[tensor].shape, "INT8", scale, zero)
            self.requantized[key] = self.operator("QUANTIZE", (tensor,), target)
        return self.requantized[key]

    def retarget(self, node: LayerNode, source: str, scale: np.float32, zero: int) -> int:
        """The result of layer ``source`` in the range that ``node`` demands of its inputs."""
        value = self.values[source]
        if value.open is not None:
            return self.emit(node, value.open, source, scale, zero)
        assert value.tensor is not None
        tensor = self.tensors[value.tensor]
        if tensor.type != "INT8":
            raise self.refuse(node, f"reads {source!r}, which has no trained range")
        self.check_way(node, source)
        if self.producer(value.tensor) in RESCALING and len(self.readers[source]) == 1:
            q = TfliteQuantization(scales=np.atleast_1d(scale), zero_points=np.array([zero]), axis=0)
            self.tensors[value.tensor] = replace(tensor, quantization=q)
            return value.tensor
        return self.requantize(value.tensor, scale, zero, f"{source}.{node.name}")

    def check_way(self, node: LayerNode, source: str) -> None:
        """Refuse where the converter would give the range that ``node`` demands to more than its input: it carries it
        back through layers that only move codes, up to the next trained range, and through a sigmoid, tanh or softmax.
        """
        name, steps, inner, parents = source, 0, "", {n.name: n.inputs for n in self.model.nodes}
        while (tensor := self.values[name].tensor) is not None and tensor not in self.trained:
            if len(parents[name]) == 1 and self.values[parents[name][0][0]].tensor == tensor:  # handed on
                name = parents[name][0][0]
                continue
            kind, shared = self.producer(tensor), len(self.readers[name]) > 1
            if kind in FIXED_OUTPUT:
                inner = name if steps or shared else ""
                break
            if kind not in HANDS_ON or len(parents[name]) != 1:
                break
            if (steps and shared) or (kind == "AVERAGE_POOL_2D" and steps):
                inner = name
            name, steps = parents[name][0][0], steps + 1
        if inner:
            raise self.refuse(
                node,
                f"demands a range of its own of its input, which the converter carries back to {inner!r}; that is not "
                "reproduced where something else reads it, or an average or a fixed range lies on the way",
                "put a convolution between them, or load the converter's .tflite file",
            )

    def joined(self, sources: Sequence[str]) -> tuple[np.float32, int]:
        """The quantization of the range that holds the trained ranges of all these layers."""
        ends = [self.trained[tensor] for name in sources if (tensor := self.values[name].tensor) is not None]
        return range_quantization(min(low for low, _ in ends), max(high for _, high in ends))

    def parameters(self, node: LayerNode, opened: Open) -> tuple[int, ...]:
        """The weight and bias tensors: codes of the trained kernel; a folded normalization scales the scales."""
        kernel = opened.kernel
        assert kernel is not None
        scales = weight_scales(kernel, opened.ranges)
        if opened.multiplier is not None and opened.ranges is None:
            raise self.refuse(node, f"normalizes {opened.layer!r}, whose weights are not fake-quantized")
        if not (scales > 0).all():
            raise self.refuse(node, f"has weights of {opened.layer!r} that are all zero in some channel")
        codes = weight_codes(kernel, scales, opened.ranges)
        if opened.multiplier is not None:
            if (opened.multiplier <= 0).any():
                raise self.refuse(node, "normalizes with a factor that is not positive")
            scales = np.broadcast_to(scales, opened.multiplier.shape) * opened.multiplier.astype(np.float64)
        data = np.transpose(codes, opened.layout)
        axis = opened.channels_axis
        w = self.tensor(f"{opened.layer}.weights", data.shape, "INT8", scales, 0, data, axis)
        if opened.bias is None:
            return (w,)
        x = self.tensors[opened.inputs[-1]]
        stored = self.tensors[w].quantization
        assert stored is not None
        bias_scales = float(x.scale) * stored.scales.astype(np.float64)
        bias = round_away(opened.bias.astype(np.float64) / bias_scales)
        return w, self.tensor(f"{opened.layer}.bias", bias.shape, "INT32", bias_scales, 0, bias)

    # Activations ------------------------------------------------------------------------------------------------

    def own_operator(self, node: LayerNode, value: Value, name: str) -> Value:
        if value.tensor is None:
            raise self.refuse(node, f"applies {name} to a result without a trained range")
        scale, zero = FIXED_OUTPUT[name]
        target = self.tensor(node.name, (1, *value.shape), "INT8", scale, zero)
        options = {"Beta": 1.0} if name == "SOFTMAX" else {}
        return Value(value.shape, self.operator(name, (value.tensor,), target, **options))

    def fuse(self, node: LayerNode, activation: str) -> Value:
        """A ReLU or ReLU6: into the operator in front of it where the converter does so, else of its own."""
        value, source = self.source(node), node.inputs[0][0]
        code = FUSED[activation]
        if value.open is not None:
            present = value.open.options.get("FusedActivationFunction")
            if present not in (0, code):
                raise self.refuse(
                    node,
                    f"follows {source!r}, which has an activation of its own, and has its trained range taken away by "
                    f"tfmot, {FLOATS}",
                    "leave one of the two activations out",
                )
            options = {**value.open.options, "FusedActivationFunction": code}
            return Value(value.shape, open=replace(value.open, options=options))
        tensor, shape = self.codes(node)
        op, alone = self.operators[tensor], len(self.readers[source]) == 1
        free = op.options.get("FusedActivationFunction") == 0
        options = {**op.options, "FusedActivationFunction": code}
        if op.name == "MAX_POOL_2D" and free and alone:
            self.operators[tensor] = replace(op, options=options)
            return value
        if op.name in ACTIVATED and free and (alone or op.name == "FULLY_CONNECTED"):
            return Value(shape, open=Open(op.name, op.inputs, shape, options))
        return Value(shape, open=Open("RELU" if activation == "relu" else "RELU6", (tensor,), shape, {}))


def activation_of(node: LayerNode) -> str:
    """A wrapped layer's activation; tfmot's NoOpActivation, which stands before a normalization, is 'linear'."""
    name = tfmot_activation(node.config["layer"])
    return "linear" if name == "NoOpActivation" else name


def _listed(nodes: Sequence[LayerNode]) -> str:
    names = [f"{n.name!r} ({n.class_name})" for n in nodes]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
