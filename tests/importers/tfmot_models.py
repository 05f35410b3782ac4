"""Models wrapped by tfmot's QuantizeWrapperV2: the users' CNN, and seeded random ones; and how to compare graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from qsim.ir import Graph
from qsim.ir.ops import attributes

tf = pytest.importorskip("tensorflow", reason="models are trained with TensorFlow")
keras = pytest.importorskip("tf_keras", reason="tfmot wraps tf_keras models")
tfmot = pytest.importorskip("tensorflow_model_optimization", reason="the extra tfmot is not installed")
L = keras.layers

SHAPE = (56, 56, 1)


def users_cnn() -> Any:
    """56x56x1; 3x3 convolutions of 30, 16, 16 filters, each with ReLU and 2x2 maximum pooling; global average; Dense 8,
    ReLU; Dense 1, sigmoid. 300 + 4336 + 2320 + 136 + 9 = 7101 parameters."""
    stack = [L.Input(SHAPE)]
    for filters in (30, 16, 16):
        stack += [L.Conv2D(filters, 3), L.ReLU(), L.MaxPooling2D()]
    stack += [L.GlobalAveragePooling2D(), L.Dense(8), L.ReLU(), L.Dense(1, activation="sigmoid")]
    return keras.Sequential(stack, name="users_cnn")


def trained(model: Any, seed: int = 0, steps: int = 6) -> Any:
    """``model`` wrapped and trained for ``steps`` batches of random data, so that weights and ranges have moved."""
    keras.utils.set_random_seed(seed)
    wrapped = tfmot.quantization.keras.quantize_model(model)
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (8 * steps, *model.input_shape[1:])).astype(np.float32)
    y = rng.integers(0, 2, (8 * steps, *model.output_shape[1:])).astype(np.float32)
    wrapped.compile("adam", "binary_crossentropy")
    wrapped.fit(x, y, batch_size=8, epochs=1, verbose=0)
    return wrapped


def spread(model: Any, seed: int) -> Any:
    """Every weight and every range of a wrapped model drawn at random, so that no two ranges are alike: few training
    steps leave them all near [-6, 6]."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        named = {w.name.split("/")[-1].split(":")[0]: w for w in layer.weights}
        inner = getattr(layer, "layer", None)
        relu = type(inner).__name__ == "ReLU" or "relu" in str(inner.get_config().get("activation") if inner else "")
        for name, variable in named.items():
            shape = tuple(variable.shape)
            if name.endswith("_min") and "kernel" in name:
                end = rng.uniform(0.5, 1.6, shape).astype(np.float32)  # some weights lie outside
                variable.assign(-end)
                named[name.replace("_min", "_max")].assign(end)
            elif name.endswith("_min"):
                low = 0.0 if relu and rng.random() < 0.7 else -rng.uniform(0.5, 4)
                variable.assign(np.float32(low))
                named[name.replace("_min", "_max")].assign(np.float32(rng.uniform(0.5, 5)))
            elif name in ("kernel", "depthwise_kernel", "bias", "beta", "moving_mean"):
                variable.assign(rng.normal(0, 0.5, shape).astype(np.float32))
            elif name == "gamma":
                variable.assign(rng.uniform(0.5, 1.5, shape).astype(np.float32))
            elif name == "moving_variance":
                variable.assign(rng.uniform(0.3, 2, shape).astype(np.float32))
    return model


def wrapped(make: Callable[[], Any], seed: int = 0) -> Any:
    """A model wrapped, with random weights and ranges."""
    keras.utils.set_random_seed(seed)
    return spread(tfmot.quantization.keras.quantize_model(make()), seed)


def int8_file(model: Any, codes: bool = True) -> bytes:
    """The converter's int8 file of a wrapped model, int8 at both ends, or float32 without ``codes``."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if codes:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def structure(graph: Graph, order: Sequence[int] | None = None, inputs: Sequence[int] | None = None) -> tuple[Any, ...]:
    """What the graph computes, without names and whatever the order of its branches: per output the tree of operations
    with every number, shape and format of theirs, shared parts by number; and how many operations there are.

    order, inputs: positions of the outputs and of the inputs, default as they are.
    """
    seen: dict[Any, int] = {}

    def code(tensor: str) -> int:
        found = graph[tensor]
        op = graph.producers.get(tensor)
        if op is None:
            position = [entry.tensor for entry in graph.inputs].index(tensor)
            entry = graph.inputs[position]
            position = (inputs or range(len(graph.inputs))).index(position)
            key: Any = ("input", position, entry.arithmetic, entry.rounding, entry.low, entry.high)
        else:
            key = (type(op).__name__, repr(attributes(op)), tuple(code(name) for name in op.inputs))
        q = found.quantization
        scale = q.scale if len(set(q.scale)) > 1 else q.scale[:1]
        key = (key, found.shape, str(found.format), scale, q.zero_point)
        return seen.setdefault(key, len(seen))

    outputs = tuple(code(graph.outputs[i].tensor) for i in order or range(len(graph.outputs)))
    return outputs, tuple(seen), len(graph.ops)


# Longer than 60 lines: one chain of draws, whose order decides what a seed builds.
def random_wrapped(seed: int) -> Any:
    """A small network of what tfmot's 8-bit registry takes: convolutions of all kinds with and without normalization
    and ReLUs, separable and transposed ones, pools, padding, cropping, joins, sums, activations, one or two ends."""
    rng = np.random.default_rng(seed)

    def pick(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    def convolution(x: Any) -> Any:
        kind = pick("conv", "conv", "depthwise", "separable", "groups", "conv")
        filters, kernel, padding = int(rng.integers(1, 6)), int(rng.integers(1, 4)), pick("same", "valid")
        strides = pick(1, 1, 2)
        ends = pick("own", "relu", "activation", "bn", "bn_relu", "bn_relu6", "relu6", "leaky", "tanh")
        plain = ends in ("bn", "bn_relu", "bn_relu6")
        settings: dict[str, Any] = {"padding": padding, "strides": strides, "use_bias": not plain}
        if ends in ("own", "tanh"):
            settings["activation"] = pick("relu", "linear", "sigmoid") if ends == "own" else "tanh"
        if min(x.shape[1:3]) < kernel:
            settings["padding"] = "same"
        if kind == "depthwise":
            y = L.DepthwiseConv2D(kernel, depth_multiplier=pick(1, 1, 2), **settings)(x)
        elif kind == "separable":
            y = L.SeparableConv2D(filters, kernel, **settings)(x)
        elif kind == "groups" and x.shape[-1] == 4:
            y = L.Conv2D(4, kernel, groups=2, **settings)(x)
        else:
            y = L.Conv2D(filters, kernel, **settings)(x)
        y = L.BatchNormalization()(y) if plain else y
        if ends in ("relu", "bn_relu"):
            return L.ReLU()(y)
        if ends in ("relu6", "bn_relu6"):
            return L.ReLU(6.0)(y)
        if ends == "activation":
            return L.Activation(pick("relu", "relu", "swish"))(y)
        return L.LeakyReLU(pick(0.1, 0.3))(y) if ends == "leaky" else y

    def step(x: Any) -> Any:
        rows, columns, channels = x.shape[1:]
        kind = pick(
            "conv", "conv", "conv", "pool", "average", "pad", "crop", "up", "permute", "transpose", "add", "join"
        )
        if kind == "pool":
            x = L.MaxPooling2D(2, padding=pick("same", "valid") if min(rows, columns) > 1 else "same")(x)
            return L.ReLU(pick(None, 6.0))(x) if pick(True, False) else x
        if kind == "average" and min(rows, columns) > 2:
            x = L.AveragePooling2D(2, strides=pick(1, 2), padding=pick("same", "valid"))(x)
            return L.Conv2D(channels, 1)(x)
        if kind == "pad":
            return L.Conv2D(3, 3, strides=pick(1, 2))(L.ZeroPadding2D(pick(1, ((0, 1), (0, 1)), ((1, 0), (2, 1))))(x))
        if kind == "crop" and min(rows, columns) > 3:
            return L.Cropping2D(((1, 0), (0, 1)))(x)
        if kind == "up" and max(rows, columns) < 7:
            return convolution(L.UpSampling2D(pick(2, (1, 2)))(convolution(x)))
        if kind == "permute":
            return L.Permute((2, 1, 3))(x)
        if kind == "transpose" and max(rows, columns) < 7:
            return L.Conv2DTranspose(2, 2, strides=2, activation=pick("relu", "linear"), use_bias=pick(True, False))(x)
        if kind == "add":
            side = L.Add()([x, L.Conv2D(channels, pick(1, 3), padding="same")(x)])
            return side if pick(True, False) else L.ReLU()(side)
        if kind == "join":
            sides = [x if pick(True, False) else L.MaxPooling2D(1)(x), L.Conv2D(2, 1)(x), L.ReLU()(L.Conv2D(3, 1)(x))]
            return L.Conv2D(2, 1)(L.Concatenate()(sides[: int(rng.integers(2, 4))]))
        return convolution(x)

    start = x = L.Input((int(rng.integers(6, 12)), int(rng.integers(6, 12)), int(rng.integers(1, 5))))
    for _ in range(int(rng.integers(2, 5))):
        x = step(x)
    head = pick("average", "flatten", "maximum", "both", "image")
    if head == "image":
        return keras.Model(start, L.Softmax()(L.Conv2D(3, 1)(x)) if pick(True, False) else x)
    if head == "both":
        x = L.Concatenate()([L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling2D()(x)])
    else:
        layers = {"average": L.GlobalAveragePooling2D, "flatten": L.Flatten, "maximum": L.GlobalMaxPooling2D}
        x = layers[head]()(x)
    x = L.Dropout(0.1)(x)
    if pick(True, False):
        x = L.ReLU()(L.Dense(int(rng.integers(2, 7)))(x))
    return keras.Model(start, L.Dense(3, activation=pick("softmax", "sigmoid", "linear", "tanh"))(x))
