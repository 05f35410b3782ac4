"""Seeded random ONNX networks: QONNX, QDQ and QOperator, each with inputs that hold ties and corners."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

QONNX = "qonnx.custom_op.general"
MODES = ("ROUND", "HALF_EVEN", "HALF_UP", "HALF_DOWN", "FLOOR", "CEIL", "UP", "DOWN")


@dataclass
class Network:
    """A model being made. ``shape``: of the last tensor, with the batch."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    count: int = 0

    def constant(self, array: np.ndarray | np.generic) -> str:
        name = f"k{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, kind: str, inputs: list[str], domain: str = "", **attributes: Any) -> str:
        self.count += 1
        output = f"t{self.count}"
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{kind}_{self.count}", domain=domain, **attributes)
        )
        return output

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def scale(self, size: int = 1) -> np.ndarray:
        """Powers of two, or any number; one or one per channel."""
        exact = 2.0 ** self.rng.integers(-5, 1, size)
        any_number = self.rng.uniform(0.02, 1, size)
        found = (exact if self.rng.random() < 0.5 else any_number).astype(np.float32)
        return found[0] if size == 1 else found

    def model(self, x: str, shape: tuple[int, ...], output: str, opset: int) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", *shape[1:]])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.initializers,
        )
        domains = [helper.make_opsetid(*d) for d in (("", opset), (QONNX, 1), ("com.microsoft", 1))]
        return helper.make_model(graph, opset_imports=domains, ir_version=8)


def window(n: Network, h: int, w: int) -> dict[str, Any]:
    """A convolution's geometry; height and width differ, as their padding does."""
    k = [int(n.rng.integers(1, min(3, h) + 1)), int(n.rng.integers(1, min(3, w) + 1))]
    pads = [int(n.rng.integers(0, k[i % 2])) for i in range(4)]
    return {"kernel_shape": k, "pads": pads, "strides": [int(n.rng.integers(1, 3)), int(n.rng.integers(1, 3))]}


def spatial(shape: tuple[int, ...], geometry: dict[str, Any]) -> tuple[int, int]:
    k, p, s = geometry["kernel_shape"], geometry["pads"], geometry["strides"]
    height, width = ((shape[2 + i] + p[i] + p[i + 2] - k[i]) // s[i] + 1 for i in range(2))
    return height, width


# QONNX -----------------------------------------------------------------------------------------------------------


def quant(n: Network, x: str, channels: int, rank: int, *, plain: bool = False) -> str:
    """Quant with any mode, bits, zero point, sign; per channel sometimes; BipolarQuant or Trunc sometimes."""
    kind = n.rng.random()
    if kind < 0.1 and not plain:
        return n.node("BipolarQuant", [x, n.constant(n.scale())], QONNX)
    per_channel = not plain and n.rng.random() < 0.3
    scale = n.scale(channels).reshape(1, -1, *(1,) * (rank - 2)) if per_channel and channels > 1 else n.scale()
    signed, bits = int(n.rng.integers(2)), n.pick(2, 3, 4, 4, 5, 6, 8, 8, 3.5)
    zero = float(n.pick(0, 0, 0, 1, 3)) if not plain else 0.0
    mode = str(n.pick(*MODES)) if not plain else "ROUND"
    inputs = [x, n.constant(scale), n.constant(np.float32(zero)), n.constant(np.float32(bits))]
    attributes = {"signed": signed, "narrow": int(n.rng.integers(2)), "rounding_mode": mode}
    made = n.node(str(n.pick("Quant", "IntQuant")), inputs, QONNX, **attributes)
    if not plain and not per_channel and float(bits).is_integer() and bits > 3 and n.rng.random() < 0.1:
        shifted = [made, inputs[1], inputs[2], inputs[3], n.constant(np.float32(bits - 2))]
        return n.node("Trunc", shifted, QONNX, rounding_mode=str(n.pick("FLOOR", "ROUND", "CEIL")))
    return made


def quantized_weight(n: Network, shape: tuple[int, ...], channel_axis: int) -> str:
    w = n.rng.normal(0, 1, shape).astype(np.float32)
    if n.rng.random() < 0.15:
        return n.node("BipolarQuant", [n.constant(w), n.constant(n.scale())], QONNX)
    scale = n.scale(shape[channel_axis]) if n.rng.random() < 0.5 else n.scale()
    if np.ndim(scale):
        scale = scale.reshape([-1 if a == channel_axis else 1 for a in range(len(shape))])
    bits, zero = n.constant(np.float32(n.pick(2, 3, 4, 8))), n.constant(np.float32(0))
    inputs = [n.constant(w), n.constant(scale), zero, bits]
    return n.node("Quant", inputs, QONNX, signed=1, narrow=1, rounding_mode="ROUND")


def normalized(n: Network, x: str, channels: int) -> str:
    scale, mean = n.rng.uniform(0.5, 2, channels) * n.rng.choice([-1, 1], channels), n.rng.normal(0, 1, channels)
    bias, variance = n.rng.normal(0, 0.5, channels), n.rng.uniform(0.2, 4, channels)
    inputs = [x, *(n.constant(a.astype(np.float32)) for a in (scale, bias, mean, variance))]
    return n.node("BatchNormalization", inputs, epsilon=1e-5)


def qonnx_network(seed: int) -> tuple[onnx.ModelProto, np.ndarray]:
    """Convolutions, residuals, concatenations, pools and moves between QONNX's quantizers."""
    n = Network(np.random.default_rng(seed))
    shape: tuple[int, ...] = (1, int(n.rng.integers(1, 5)), int(n.rng.integers(4, 8)), int(n.rng.integers(4, 8)))
    first, step = shape, float(n.scale())
    x = n.node(
        "Quant",
        ["x", n.constant(np.float32(step)), n.constant(np.float32(0)), n.constant(np.float32(8))],
        QONNX, signed=1, narrow=0, rounding_mode="ROUND",
    )  # fmt: skip
    for _ in range(int(n.rng.integers(2, 5))):
        x, shape = qonnx_layer(n, x, shape)
    x = n.node("Flatten", [x], axis=1)
    features, units = int(np.prod(shape[1:])), int(n.rng.integers(2, 6))
    if n.rng.random() < 0.5:
        bias = n.constant(n.rng.normal(0, 1, units).astype(np.float32))
        x = n.node("Gemm", [x, quantized_weight(n, (units, features), 0), bias], transB=1)
    else:
        x = n.node("MatMul", [x, quantized_weight(n, (features, units), 1)])
    x = quant(n, x, units, 2)
    return n.model("x", first, x, 15), inputs_with_ties(n.rng, (6, *first[1:]), step)


def qonnx_layer(n: Network, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    _, c, h, w = shape
    match int(n.rng.integers(7)):
        case 0 | 1 | 2:
            geometry = window(n, h, w)
            groups = c if n.rng.random() < 0.2 else 1
            out = c * int(n.rng.integers(1, 3)) if groups > 1 else int(n.rng.integers(1, 6))
            weight = quantized_weight(n, (out, c // groups, *geometry["kernel_shape"]), 0)
            bias = [n.constant(n.rng.normal(0, 1, out).astype(np.float32))] if n.rng.random() < 0.5 else []
            y = n.node("Conv", [x, weight, *bias], group=groups, **geometry)
            made = (1, out, *spatial(shape, geometry))
            if n.rng.random() < 0.4:
                y = normalized(n, y, out)
            if n.rng.random() < 0.5:
                y = n.node("Relu", [y])
            return quant(n, y, out, 4), made
        case 3:
            y = n.node(str(n.pick("Add", "Sub")), [x, quant(n, x, c, 4, plain=True)])
            return quant(n, y, c, 4), shape
        case 4:
            y = quant(n, x, c, 4, plain=True)
            return n.node("Concat", [x, y], axis=1), (1, 2 * c, h, w)
        case 5:
            kind = str(n.pick("MaxPool", "AveragePool"))
            geometry = {"kernel_shape": [min(2, h), min(2, w)], "strides": [1, 2], "pads": [0, 0, 0, 0]}
            y = n.node(kind, [x], **geometry)
            made = (1, c, *spatial(shape, geometry))
            return (y if kind == "MaxPool" else quant(n, y, c, 4)), made
        case _:
            if n.rng.random() < 0.5:
                return n.node("Transpose", [x], perm=[0, 1, 3, 2]), (1, c, w, h)
            factor = n.constant(n.rng.uniform(0.5, 2, (c, 1, 1)).astype(np.float32))
            y = n.node("Mul", [x, factor])
            return quant(n, n.node("Clip", [y, n.constant(np.float32(-3)), n.constant(np.float32(4))]), c, 4), shape


def inputs_with_ties(rng: np.random.Generator, shape: tuple[int, ...], step: float) -> np.ndarray:
    """Reals on and between codes, many of them ties, some far outside."""
    codes = rng.integers(-140, 141, shape) / 2.0
    codes.reshape(-1)[:4] = 1000, -1000, 0, 0.5
    return (codes * np.float32(step)).astype(np.float32)


# QDQ -------------------------------------------------------------------------------------------------------------


def pair(n: Network, x: str, *, axis_channels: int = 0) -> str:
    """QuantizeLinear and DequantizeLinear, with Brevitas' Clip between them sometimes."""
    kind = n.pick(np.int8, np.uint8)
    zero = kind(int(n.rng.integers(-20, 21)) if kind is np.int8 else int(n.rng.integers(0, 200)))
    names = [n.constant(n.scale()), n.constant(np.asarray(zero))]
    q = n.node("QuantizeLinear", [x, *names])
    if n.rng.random() < 0.2:
        low, high = (-7, 7) if kind is np.int8 else (0, 15)
        q = n.node("Clip", [q, n.constant(np.asarray(kind(low))), n.constant(np.asarray(kind(high)))])
    return n.node("DequantizeLinear", [q, *names])


def qdq_weight(n: Network, shape: tuple[int, ...], axis: int) -> str:
    codes = n.rng.integers(-64, 64, shape).astype(np.int8)
    if n.rng.random() < 0.5:
        scale, zero = n.scale(shape[axis]), np.zeros(shape[axis], dtype=np.int8)
        names = [n.constant(codes), n.constant(np.atleast_1d(scale)), n.constant(zero)]
        return n.node("DequantizeLinear", names, axis=axis)
    return n.node("DequantizeLinear", [n.constant(codes), n.constant(n.scale()), n.constant(np.asarray(np.int8(0)))])


def qdq_network(seed: int) -> tuple[onnx.ModelProto, np.ndarray]:
    """As ``qonnx_network`` with the standard's pairs."""
    n = Network(np.random.default_rng(seed))
    shape = (1, int(n.rng.integers(1, 5)), int(n.rng.integers(4, 8)), int(n.rng.integers(4, 8)))
    first, x = shape, pair(n, "x")
    step = float(numpy_helper.to_array(n.initializers[0]))
    for _ in range(int(n.rng.integers(2, 5))):
        _, c, h, w = shape
        match int(n.rng.integers(6)):
            case 0 | 1 | 2:
                geometry = window(n, h, w)
                out = int(n.rng.integers(1, 6))
                weight = qdq_weight(n, (out, c, *geometry["kernel_shape"]), 0)
                y = n.node("Conv", [x, weight], **geometry)
                y = n.node("Relu", [y]) if n.rng.random() < 0.5 else y
                x, shape = pair(n, y), (1, out, *spatial(shape, geometry))
            case 3:
                x = pair(n, n.node(str(n.pick("Add", "Sub", "Mul")), [x, pair(n, x)]))
            case 4:
                y = n.node("Concat", [x, pair(n, x)], axis=1)
                x, shape = pair(n, y), (1, 2 * c, h, w)
            case _:
                kind = str(n.pick("HardSigmoid", "LeakyRelu", "MaxPool"))
                geometry = {"kernel_shape": [min(2, h), min(2, w)], "strides": [1, 1], "pads": [0, 0, 0, 0]}
                if kind == "MaxPool":
                    x, shape = n.node(kind, [x], **geometry), (1, c, *spatial(shape, geometry))
                else:
                    x = pair(n, n.node(kind, [x], alpha=0.25 if kind == "LeakyRelu" else 0.2))
    x = pair(n, n.node("GlobalAveragePool", [x])) if n.rng.random() < 0.4 else x
    shape = (1, shape[1], 1, 1) if n.nodes[-3].op_type == "GlobalAveragePool" else shape
    features = shape[1] * shape[2] * shape[3] if "Global" not in str([m.op_type for m in n.nodes[-4:]]) else shape[1]
    x = n.node("Flatten", [x], axis=1)
    x = pair(n, n.node("Gemm", [x, qdq_weight(n, (4, features), 0)], transB=1))
    return n.model("x", first, x, 13), inputs_with_ties(n.rng, (6, *first[1:]), step)


# QOperator -------------------------------------------------------------------------------------------------------


def meant(n: Network) -> tuple[str, str]:
    """Names of a scale and a uint8 zero point."""
    zero = np.asarray(np.uint8(n.pick(0, 128, int(n.rng.integers(0, 256)))))
    return n.constant(n.scale()), n.constant(zero)


def qoperator_network(seed: int) -> tuple[onnx.ModelProto, np.ndarray]:
    """ONNX Runtime's integer operators. Weights take 7 bits: on x86 without VNNI its kernels saturate sums of more."""
    n = Network(np.random.default_rng(seed))
    shape = (1, int(n.rng.integers(1, 5)), int(n.rng.integers(4, 8)), int(n.rng.integers(4, 8)))
    first, m = shape, meant(n)
    step = float(numpy_helper.to_array(n.initializers[0]))
    x = n.node("QuantizeLinear", ["x", *m])
    for _ in range(int(n.rng.integers(2, 6))):
        _, c, h, w = shape
        y = meant(n)
        match int(n.rng.integers(8)):
            case 0 | 1 | 2:
                geometry, out = window(n, h, w), int(n.rng.integers(1, 6))
                codes = n.rng.integers(-63, 64, (out, c, *geometry["kernel_shape"])).astype(np.int8)
                scales = np.atleast_1d(n.scale(out)) * np.float32(0.05) if n.rng.random() < 0.5 else n.scale() / 20
                zeros = np.zeros(np.shape(scales), dtype=np.int8)
                bias = n.constant(n.rng.integers(-500, 501, out).astype(np.int32))
                weights = [n.constant(codes), n.constant(np.float32(scales)), n.constant(zeros)]
                x = n.node("QLinearConv", [x, *m, *weights, *y, bias], **geometry)
                shape = (1, out, *spatial(shape, geometry))
            case 3 | 4:
                other = meant(n)
                again = n.node("QLinearLeakyRelu", [x, *m, *other], "com.microsoft", alpha=0.125)
                kind = str(n.pick("QLinearAdd", "QLinearMul"))
                x = n.node(kind, [x, *m, again, *other, *y], "com.microsoft")
            case 5:
                other = meant(n)
                again = n.node("QLinearSigmoid", [x, *m, *other], "com.microsoft")
                x = n.node("QLinearConcat", [*y, x, *m, again, *other], "com.microsoft", axis=1)
                shape = (1, 2 * c, h, w)
            case _:
                geometry = {"kernel_shape": [min(2, h), min(2, w)], "strides": [1, 1], "pads": [0, 0, 0, 0]}
                x, y = n.node("MaxPool", [x], **geometry), m
                shape = (1, c, *spatial(shape, geometry))
        m = y
    if n.rng.random() < 0.5:
        y = meant(n)
        x, m = n.node("QLinearGlobalAveragePool", [x, *m, *y], "com.microsoft", channels_last=0), y
        shape = (1, shape[1], 1, 1)
    x, features = n.node("Flatten", [x], axis=1), int(np.prod(shape[1:]))
    codes = n.rng.integers(-63, 64, (4, features)).astype(np.int8)
    weights = [n.constant(codes), n.constant(n.scale() / 20), n.constant(np.asarray(np.int8(0)))]
    y = meant(n)
    x = n.node("QGemm", [x, *m, *weights, n.constant(n.rng.integers(-99, 99, 4).astype(np.int32)), *y], "com.microsoft",
               transB=1)  # fmt: skip
    x = n.node("DequantizeLinear", [x, *y])
    return n.model("x", first, x, 13), inputs_with_ties(n.rng, (6, *first[1:]), step)


KINDS = {"qonnx": qonnx_network, "qdq": qdq_network, "qoperator": qoperator_network}
