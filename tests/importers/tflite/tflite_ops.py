"""One random single-operator model per operator kind and seed, as flatbuffer bytes."""

# Longer than 400 lines: a table of operators, a generator each.

from __future__ import annotations

import numpy as np
from tflite_moves import MOVES, Make, Random, concatenation, moved


def _out(n: int, k: int, s: int, d: int, same: bool) -> int:
    return -(-n // s) if same else (n - (k - 1) * d - 1) // s + 1


def _weights(r: Random, shape: tuple[int, ...], axis: int) -> tuple[int, np.ndarray]:
    channels = shape[axis]
    per_channel = bool(r.pick(True, True, False))
    scales = np.array([r.scale() * 0.1 for _ in range(channels if per_channel else 1)], dtype=np.float32)
    data = r.rng.integers(-127, 128, shape)
    zeros = np.zeros(len(scales), dtype=np.int64)
    return r.maker.tensor("w", shape, "INT8", scales, zeros, data, axis), np.broadcast_to(scales, (channels,))


def _bias(r: Random, scales: np.ndarray) -> int:
    if r.pick(False, False, True) and not r.always_bias:
        return -1
    wide = r.kind == "INT16"
    limit = 1 << (20 if wide else 12)
    scale = np.float32(r.x_scale) * scales
    data = r.rng.integers(-limit, limit, len(scales))
    return r.maker.tensor("b", (len(scales),), "INT64" if wide else "INT32", scale, 0, data)


def _y_scale(r: Random, fan: int, scales: np.ndarray) -> float:
    """A scale that makes the output use its codes."""
    codes = 73.0 * (73.0 if r.kind == "INT8" else 19000.0)
    spread = float(np.sqrt(fan)) * codes * r.x_scale * float(scales.max())
    return r.near(spread / (80 if r.kind == "INT8" else 20000), 0.3, 3)


def conv(depthwise: bool, kind: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        shape = r.image(3)
        kh, kw = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        same = bool(r.pick(True, False))
        sh, sw = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        dh, dw = (int(r.pick(1, 1, 2)), int(r.pick(1, 1, 2))) if (sh, sw) == (1, 1) else (1, 1)
        dh = dh if same or (kh - 1) * dh < shape[1] else 1
        dw = dw if same or (kw - 1) * dw < shape[2] else 1
        x = r.x(shape)
        if depthwise:
            multiplier = int(r.pick(1, 1, 2, 3))
            out_c, fan = shape[3] * multiplier, kh * kw
            w, scales = _weights(r, (1, kh, kw, out_c), 3)
        else:
            out_c, fan = int(rng.integers(1, 7)), kh * kw * shape[3]
            w, scales = _weights(r, (out_c, kh, kw, shape[3]), 0)
        b = _bias(r, scales)
        out = (1, _out(shape[1], kh, sh, dh, same), _out(shape[2], kw, sw, dw, same), out_c)
        y = r.y(out, _y_scale(r, fan, scales))
        fields = {
            "padding": 0 if same else 1,
            "strideH": sh,
            "strideW": sw,
            "dilationHFactor": dh,
            "dilationWFactor": dw,
            "fusedActivationFunction": r.activation(),
        }
        inputs = [x, w] if b < 0 else [x, w, b]
        if depthwise:
            options = "DepthwiseConv2DOptions"
            fields["depthMultiplier"] = multiplier
        else:
            options = "Conv2DOptions"
        r.maker.operator("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, [y], options, 3, **fields)
        return r.done()

    return make


def grouped_conv(rng: np.random.Generator) -> bytes:
    """Several groups, and codes enough to tell one kernel's rounding from another's."""
    r = Random(rng)
    groups, depth, each = int(rng.integers(2, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 7))
    k, out_c = int(rng.integers(1, 4)), groups * each
    x = r.x((1, 9, 8, groups * depth))
    w, scales = _weights(r, (out_c, k, k, depth), 0)
    b = _bias(r, scales)
    y = r.y((1, 9, 8, out_c), _y_scale(r, k * k * depth, scales))
    inputs = [x, w] if b < 0 else [x, w, b]
    r.maker.operator("CONV_2D", inputs, [y], "Conv2DOptions", 3, padding=0, strideH=1, strideW=1)
    return r.done()


def transpose_conv(kind: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        shape = r.image()
        kh, kw = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        sh, sw = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        same = bool(r.pick(True, False))
        kh, kw = (max(kh, sh), max(kw, sw)) if not same else (kh, kw)
        out_c = int(rng.integers(1, 5))
        x_shape = shape
        if same:
            out = (1, shape[1] * sh - int(rng.integers(sh)), shape[2] * sw - int(rng.integers(sw)), out_c)
        else:
            out = (1, (shape[1] - 1) * sh + kh, (shape[2] - 1) * sw + kw, out_c)
        target = r.const("shape", np.array(out))
        x = r.x(x_shape)
        w, scales = _weights(r, (out_c, kh, kw, shape[3]), 0)
        b = _bias(r, scales)
        y = r.y(out, _y_scale(r, kh * kw * shape[3], scales))
        inputs = [target, w, x] + ([b] if b >= 0 else [])
        fields = {"padding": 0 if same else 1, "strideH": sh, "strideW": sw, "fusedActivationFunction": r.activation()}
        r.maker.operator("TRANSPOSE_CONV", inputs, [y], "TransposeConvOptions", 3, **fields)
        return r.done()

    return make


def fully_connected(kind: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        depth, out_c = int(rng.integers(1, 40)), int(rng.integers(1, 12))
        rows = int(r.pick(1, 1, 3))
        shape = (1, rows, depth) if rows > 1 else r.pick((1, depth), (1, 1, depth))
        keep = rows > 1
        x = r.x(shape)
        w, scales = _weights(r, (out_c, depth), 0)
        b = _bias(r, scales)
        out = (*shape[:-1], out_c) if keep else (1, out_c)
        y = r.y(out, _y_scale(r, depth, scales))
        options = {"fusedActivationFunction": r.activation(), "keepNumDims": keep}
        r.maker.operator("FULLY_CONNECTED", [x, w, b], [y], "FullyConnectedOptions", 4, **options)
        return r.done()

    return make


def batch_matmul(kind: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        n, k, m = (int(rng.integers(1, 6)) for _ in range(3))
        lead = r.pick((1,), (1, 2), (3,))
        adj_x, adj_y = bool(r.pick(True, False)), bool(r.pick(True, False))
        a_shape = (*lead, k, n) if adj_x else (*lead, n, k)
        b_shape = (*lead, m, k) if adj_y else (*lead, k, m)
        a = r.x(a_shape)
        b_scale, b_zero = r.scale(), r.zero()
        if r.pick(True, False):
            data = rng.integers(-128, 128, b_shape)
            b = r.maker.tensor("b", b_shape, kind, b_scale, b_zero, data)
        else:
            b = r.maker.input("b", b_shape, kind, b_scale, b_zero)
        codes = 5000.0 if kind == "INT8" else 19000.0**2
        y = r.y((*lead, n, m), r.near(float(np.sqrt(k)) * codes * r.x_scale * b_scale / 60))
        if kind == "INT16":
            r.maker.graph.tensors[y].quantization.scale /= 300
        r.maker.operator("BATCH_MATMUL", [a, b], [y], "BatchMatMulOptions", 1, adjX=adj_x, adjY=adj_y)
        return r.done()

    return make


def _pair(r: Random) -> tuple[int, int, tuple[int, ...], float, float]:
    """Two operands, of one shape, broadcast, or with the second constant, and their scales."""
    shape = r.any_shape()
    other = r.pick(shape, shape, (1,) * (len(shape) - 1) + shape[-1:], shape[-1:], (1,))
    a = r.x(shape, name="a")
    a_scale = r.x_scale
    b_scale = r.pick(a_scale, r.scale(), r.near(a_scale))
    zero = r.zero()
    if r.pick(True, False):
        low, high = (-128, 128) if r.kind == "INT8" else (-32768, 32768)
        b = r.maker.tensor("b", other, r.kind, b_scale, zero, r.rng.integers(low, high, other))
    else:
        b = r.maker.input("b", other, r.kind, b_scale, zero)
    return (b, a, shape, b_scale, a_scale) if r.pick(False, True) else (a, b, shape, a_scale, b_scale)


def binary(name: str, options: str, kind: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        a, b, shape, a_scale, b_scale = _pair(r)
        if name == "MUL":
            scale = r.near(a_scale * b_scale * (64 if kind == "INT8" else 16000))
        else:
            scale = r.near(max(a_scale, b_scale), 0.5, 3)
        y = r.y(shape, scale)
        r.maker.operator(name, [a, b], [y], options, 2, fusedActivationFunction=r.activation())
        return r.done()

    return make


def extremum(name: str, kind: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        shape = r.any_shape()
        other = r.pick(shape, shape[-1:])
        a = r.x(shape, name="a")
        b = r.maker.input("b", other, kind, r.x_scale, r.x_zero)
        r.maker.operator(name, [a, b], [r.same(shape)], "MaximumMinimumOptions")
        return r.done()

    return make


def pool(name: str, kind: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        shape = r.image(3)
        kh, kw = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        sh, sw = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        same = bool(r.pick(True, False))
        x = r.x(shape)
        y = r.same((1, _out(shape[1], kh, sh, 1, same), _out(shape[2], kw, sw, 1, same), shape[3]))
        r.maker.operator(
            name,
            [x],
            [y],
            "Pool2DOptions",
            2,
            padding=0 if same else 1,
            strideH=sh,
            strideW=sw,
            filterHeight=kh,
            filterWidth=kw,
            fusedActivationFunction=r.activation(),
        )
        return r.done()

    return make


def reduce(name: str, kind: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        shape = r.pick(r.image(), r.image(), (1, 4, 7))
        count = int(rng.integers(1, len(shape)))
        axes = sorted(int(a) for a in rng.choice(np.arange(1, len(shape)), count, replace=False))
        keep = bool(r.pick(True, False))
        stored = [a - len(shape) if r.pick(True, False) else a for a in axes]
        x = r.x(shape)
        axis = r.const("axes", np.array(stored))
        out = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
        if name in ("MEAN", "SUM"):
            y = r.y(out, r.near(r.x_scale * (1 if name == "MEAN" else 3), 0.3, 1.5))
        else:
            y = r.same(out)
        r.maker.operator(name, [x, axis], [y], "ReducerOptions", 2, keepDims=keep)
        return r.done()

    return make


def arg_max(kind: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        shape = r.any_shape()
        axis = int(rng.integers(1, len(shape)))
        x = r.x(shape)
        a = r.const("axis", np.array(axis))
        y = r.maker.tensor("y", tuple(n for i, n in enumerate(shape) if i != axis), "INT32")
        r.maker.output(y)
        r.maker.operator("ARG_MAX", [x, a], [y], "ArgMaxOptions", 2, outputType=2)
        return r.done()

    return make


def softmax(rng: np.random.Generator) -> bytes:
    r = Random(rng)
    shape = r.pick((1, int(rng.integers(2, 40))), (1, 3, 5), r.image())
    x = r.x(shape)
    y = r.y(shape, 1 / 256, -128)
    beta = float(np.float32(r.pick(1.0, 1.0, rng.uniform(0.3, 3))))
    r.maker.operator("SOFTMAX", [x], [y], "SoftmaxOptions", 2, beta=beta)
    return r.done()


def softmax_wide(rng: np.random.Generator) -> bytes:
    r = Random(rng)
    x = r.x((1, int(rng.integers(2, 30))))
    shape = tuple(r.maker.graph.tensors[x].shape)
    y = r.maker.tensor("y", shape, "INT16", 1 / 65536, -32768)
    r.maker.output(y)
    r.maker.operator("SOFTMAX", [x], [y], "SoftmaxOptions", 3, beta=1.0)
    return r.done()


def softmax16(rng: np.random.Generator) -> bytes:
    r = Random(rng, "INT16")
    shape = r.pick((1, int(rng.integers(2, 40))), (1, 3, 5), r.image())
    x = r.x(shape, float(np.exp(rng.uniform(-13, -6))))
    y = r.y(shape, 1 / 32768, 0)
    beta = float(np.float32(r.pick(1.0, 1.0, rng.uniform(0.3, 3))))
    r.maker.operator("SOFTMAX", [x], [y], "SoftmaxOptions", 3, beta=beta)
    return r.done()


def fixed(name: str, scale: float, zero: int) -> Make:
    """All 256 codes at once through an operator whose output quantization is fixed."""

    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng)
        x = r.x((1, 256))
        r.maker.operator(name, [x], [r.y((1, 256), scale, zero)], None, 2)
        return r.done()

    return make


def fixed16(name: str) -> Make:
    """Thousands of int16 codes, at power-of-two input scales (which have a path of their own) and others."""

    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, "INT16")
        x = r.x((1, 3000), scale=float(r.pick(2.0**-12, 2.0**-11, 2.0**-10, np.exp(rng.uniform(-12, 0)))))
        r.maker.operator(name, [x], [r.y((1, 3000), 2.0**-15, 0)], None, 2 if name == "TANH" else 1)
        return r.done()

    return make


def hard_swish(rng: np.random.Generator) -> bytes:
    r = Random(rng)
    x = r.x((1, 256))
    y = r.y((1, 256), r.near(r.x_scale, 0.05, 3))
    r.maker.operator("HARD_SWISH", [x], [y], "HardSwishOptions", 1)
    return r.done()


def activation(name: str, kind: str = "INT8", free: bool = True) -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        shape = (1, 256) if kind == "INT8" else r.any_shape()
        x = r.x(shape)
        y = r.y(shape, r.near(r.x_scale)) if free and r.pick(True, True, False) else r.same(shape)
        r.maker.operator(name, [x], [y], None, 1 if name == "RELU_N1_TO_1" else 2)
        return r.done()

    return make


def leaky_relu(kind: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        shape = (1, 256) if kind == "INT8" else r.any_shape()
        x = r.x(shape)
        y = r.y(shape, r.near(r.x_scale))
        alpha = float(np.float32(rng.uniform(0.0, 1.3)))
        r.maker.operator("LEAKY_RELU", [x], [y], "LeakyReluOptions", 2, alpha=alpha)
        return r.done()

    return make


def prelu(kind: str = "INT8", slopes: str = "INT8") -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng, kind)
        shape = r.image()
        alpha_shape = r.pick(shape[1:], (1, 1, shape[3]), (1, 1, 1))
        x = r.x(shape)
        top = 1 << (7 if slopes == "INT8" else 15)
        zero = int(rng.integers(-128, 128)) if slopes == "INT8" else 0
        values = rng.integers(-top, top, alpha_shape)
        alpha = r.maker.tensor("alpha", alpha_shape, slopes, 1.28 / top, zero, values)
        y = r.y(shape, r.near(r.x_scale))
        r.maker.operator("PRELU", [x, alpha], [y], None, 1)
        return r.done()

    return make


def quantize(source: str, target: str) -> Make:
    def make(rng: np.random.Generator) -> bytes:
        r = Random(rng)
        scale = r.scale()
        zeros = {"INT8": r.zero(), "UINT8": int(rng.integers(0, 256)), "INT16": 0, "INT32": 0}
        shape = r.pick((1, 256), (1, 256), (1, int(rng.integers(1, 60))), r.image())
        x = r.maker.input("x", shape, source, scale, zeros[source])
        ratio = {"INT8": 1.0, "UINT8": 1.0, "INT16": 1 / 256, "INT32": 2.0**-24 if source == "INT32" else 2.0**-16}
        y_scale = r.pick(scale, r.near(scale)) if source == target else r.near(scale * ratio[target] / ratio[source])
        if {source, target} == {"INT8", "UINT8"} and r.pick(True, False):
            y_scale, zeros[target] = scale, zeros[source] + (128 if target == "UINT8" else -128)
        y = r.maker.tensor("y", shape, target, y_scale, zeros[target])
        r.maker.output(y)
        r.maker.operator("QUANTIZE", [x], [y], "QuantizeOptions", 2)
        return r.done()

    return make


CASES: dict[str, Make] = {
    "CONV_2D": conv(False),
    "CONV_2D grouped": grouped_conv,
    "DEPTHWISE_CONV_2D": conv(True),
    "TRANSPOSE_CONV": transpose_conv(),
    "FULLY_CONNECTED": fully_connected(),
    "BATCH_MATMUL": batch_matmul(),
    "ADD": binary("ADD", "AddOptions"),
    "SUB": binary("SUB", "SubOptions"),
    "MUL": binary("MUL", "MulOptions"),
    "MAXIMUM": extremum("MAXIMUM"),
    "MINIMUM": extremum("MINIMUM"),
    "AVERAGE_POOL_2D": pool("AVERAGE_POOL_2D"),
    "MAX_POOL_2D": pool("MAX_POOL_2D"),
    "MEAN": reduce("MEAN"),
    "SUM": reduce("SUM"),
    "REDUCE_MAX": reduce("REDUCE_MAX"),
    "REDUCE_MIN": reduce("REDUCE_MIN"),
    "ARG_MAX": arg_max(),
    "SOFTMAX": softmax,
    "SOFTMAX int8 int16": softmax_wide,
    "LOGISTIC": fixed("LOGISTIC", 1 / 256, -128),
    "TANH": fixed("TANH", 1 / 128, 0),
    "HARD_SWISH": hard_swish,
    "RELU": activation("RELU"),
    "RELU6": activation("RELU6"),
    "RELU_N1_TO_1": activation("RELU_N1_TO_1", free=False),
    "LEAKY_RELU": leaky_relu(),
    "PRELU": prelu(),
    "QUANTIZE int8 int8": quantize("INT8", "INT8"),
    "QUANTIZE uint8 int8": quantize("UINT8", "INT8"),
    "QUANTIZE int8 uint8": quantize("INT8", "UINT8"),
    "QUANTIZE int8 int16": quantize("INT8", "INT16"),
    "QUANTIZE int16 int8": quantize("INT16", "INT8"),
    "CONCATENATION": concatenation(),
    **{name: moved(name) for name in MOVES},
}

WIDER = (("INT16", "INT16"), ("INT16", "INT32"), ("INT32", "INT16"), ("INT32", "INT8"))
NO_INT16_KERNEL = ("MIRROR_PAD", "GATHER", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE")

CASES16: dict[str, Make] = {
    "CONV_2D": conv(False, "INT16"),
    "DEPTHWISE_CONV_2D": conv(True, "INT16"),
    "TRANSPOSE_CONV": transpose_conv("INT16"),
    "FULLY_CONNECTED": fully_connected("INT16"),
    "BATCH_MATMUL": batch_matmul("INT16"),
    "ADD": binary("ADD", "AddOptions", "INT16"),
    "SUB": binary("SUB", "SubOptions", "INT16"),
    "MUL": binary("MUL", "MulOptions", "INT16"),
    "MAXIMUM": extremum("MAXIMUM", "INT16"),
    "MINIMUM": extremum("MINIMUM", "INT16"),
    "AVERAGE_POOL_2D": pool("AVERAGE_POOL_2D", "INT16"),
    "MAX_POOL_2D": pool("MAX_POOL_2D", "INT16"),
    "MEAN": reduce("MEAN", "INT16"),
    "SUM": reduce("SUM", "INT16"),
    "SOFTMAX": softmax16,
    "LOGISTIC": fixed16("LOGISTIC"),
    "TANH": fixed16("TANH"),
    "RELU": activation("RELU", "INT16"),
    "RELU6": activation("RELU6", "INT16"),
    "PRELU": prelu("INT16"),
    "LEAKY_RELU": leaky_relu("INT16"),
    "CONCATENATION": concatenation("INT16"),
    **{f"QUANTIZE {a} {b}": quantize(a, b) for a, b in WIDER},
    **{name: moved(name, "INT16") for name in MOVES if name not in NO_INT16_KERNEL},
}
"""What TensorFlow Lite Micro runs on int16 activations."""

CASES16_ELSEWHERE: dict[str, Make] = {
    "PRELU": prelu("INT16", "INT16"),
    "REDUCE_MAX": reduce("REDUCE_MAX", "INT16"),
    "REDUCE_MIN": reduce("REDUCE_MIN", "INT16"),
    "ARG_MAX": arg_max("INT16"),
    **{name: moved(name, "INT16") for name in NO_INT16_KERNEL},
}
"""What only LiteRT's reference kernels, or none, run on int16 activations."""


def build(name: str, seed: int, kind: str = "INT8", always_bias: bool = False) -> bytes:
    """The model of one operator kind and seed."""
    Random.always_bias = always_bias
    cases = {"INT8": CASES, "INT16": CASES16, "elsewhere": CASES16_ELSEWHERE}[kind]
    return cases[name](np.random.default_rng([seed, *name.encode()]))
