"""Models with operations on symbolic tensors (``x + y``, ``keras.ops``, ``x[:, 1:]``) between quantized layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import qkeras
from layer_cells import act, conv, dense

L = keras.layers
ops = keras.ops

IMAGE, ROW = (4, 6, 2), (5, 3)


def model(build: Callable[..., Any], *shapes: tuple[int, ...]) -> Any:
    """``build`` on one quantized tensor per shape, the second with finer steps; quantized again behind it."""
    given = [keras.Input(shape, name=f"in{i}") for i, shape in enumerate(shapes)]
    made = build(*(act(f"quantized{i}", 5 + i, 1)(x) for i, x in enumerate(given)))
    parts = made if isinstance(made, list | tuple) else [made]
    return keras.Model(given, [act(f"out{i}", 7, 3)(part) for i, part in enumerate(parts)], name="operations")


def residual(x: Any) -> Any:
    """What a residual network does: a convolution added to its own input, behind a ReLU."""
    y = conv("first", 2)(L.ZeroPadding2D(1)(x))
    return ops.relu(y[:, :4, :6] + x)


def attention(x: Any) -> Any:
    """Squeeze and excitation, spelled in operations."""
    weights = qkeras.QActivation("quantized_sigmoid(5)", name="gate")(dense("squeeze", 2)(ops.mean(x, axis=(1, 2))))
    return x * ops.reshape(weights, (-1, 1, 1, 2))


TABLE = np.array([1.5, -0.25], "float32")

ONE: dict[str, Callable[[Any], Any]] = {
    "x + constant": lambda x: x + 0.3,
    "constant - x": lambda x: 2.5 - x,
    "x * constant": lambda x: x * 0.1,
    "x * array": lambda x: x * TABLE,
    "x * array over the rows": lambda x: x * np.arange(-1, 3, dtype="float32").reshape(1, 4, 1, 1),
    "x / constant": lambda x: x / 4,
    "-x": lambda x: -x,
    "abs": ops.abs,
    "square": ops.square,
    "maximum with a constant": lambda x: ops.maximum(x, -0.4),
    "minimum with a constant": lambda x: ops.minimum(0.7, x),
    "clip": lambda x: ops.clip(x, -0.5, 1),
    "relu": ops.relu,
    "relu6": lambda x: ops.relu6(x * 8),
    "leaky_relu": lambda x: ops.leaky_relu(x, 0.1),
    "hard_sigmoid": ops.hard_sigmoid,
    "sum over rows": lambda x: ops.sum(x, axis=1),
    "sum over channels, keepdims": lambda x: ops.sum(x, axis=-1, keepdims=True),
    "mean over the image": lambda x: ops.mean(x, axis=(1, 2)),
    "mean over columns, keepdims": lambda x: ops.mean(x, axis=-2, keepdims=True),
    "max over the image": lambda x: ops.max(-x, axis=[1, 2]),
    "min over channels": lambda x: ops.min(x, axis=-1),
    "max_pool": lambda x: ops.max_pool(x, 2),
    "average_pool": lambda x: ops.average_pool(x, (2, 3), strides=1, padding="same"),
    "concatenate with itself": lambda x: ops.concatenate([x, -x], axis=2),
    "split": lambda x: ops.split(x, 2, axis=1),
    "split at": lambda x: ops.split(x, [1, 4], axis=2),
    "reshape": lambda x: ops.reshape(x, (-1, 8, 6)),
    "transpose": lambda x: ops.transpose(x, (0, 2, 3, 1)),
    "expand_dims, squeeze": lambda x: ops.squeeze(ops.expand_dims(x, [1, 4]) * 3, axis=[1, -2]),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0))),
    "repeat": lambda x: ops.repeat(x, 2, axis=1),
    "flip": lambda x: ops.flip(x, axis=(1, -1)),
    "x[:, 1:, ::2]": lambda x: x[:, 1:, ::2],
    "x[:, -1, ..., 0]": lambda x: x[:, -1, ..., 0],
    "x[:, ::-1, None, 1]": lambda x: x[:, ::-1, None, 1],
    "residual": residual,
    "squeeze and excitation": attention,
}

TWO: dict[str, Callable[[Any, Any], Any]] = {
    "x + y": lambda x, y: x + y,
    "x - y": lambda x, y: x - y,
    "x * y": lambda x, y: x * y,
    "maximum": ops.maximum,
    "minimum": lambda x, y: ops.minimum(ops.relu(x), y),
    "concatenate": lambda x, y: ops.concatenate([x, ops.relu6(y)], axis=-1),
    "stack": lambda x, y: ops.stack([x, y], axis=1),
    "stack of channels": lambda x, y: ops.stack([x, y], axis=-1),
}

OPERATIONS: dict[str, Callable[[], Any]] = {
    **{name: (lambda build=build: model(build, IMAGE)) for name, build in ONE.items()},
    **{name: (lambda build=build: model(build, ROW, ROW)) for name, build in TWO.items()},
    "x + y, broadcast": lambda: model(lambda x, y: x + y, (3, 4, 2), (1, 4, 1)),
    "max_pool of rows": lambda: model(lambda x: ops.max_pool(x, 2, strides=1), ROW),
}
"""What an operation does -> a model with it."""


def wrapped(layer: Any, *shape: int) -> Any:
    return model(lambda x: L.TimeDistributed(layer)(x), shape)


LAYERS: dict[str, Callable[[], Any]] = {
    "ReLU threshold": lambda: model(L.ReLU(threshold=0.3), ROW),
    "ReLU threshold on the grid": lambda: model(L.ReLU(threshold=0.5), ROW),
    "ReLU threshold, max_value": lambda: model(L.ReLU(max_value=1.2, threshold=0.3), ROW),
    "ReLU threshold, max_value, negative_slope": lambda: model(L.ReLU(1.2, 0.25, 0.5), ROW),
    "Rescaling": lambda: model(L.Rescaling(0.3, offset=-0.1), ROW),
    "RepeatVector": lambda: model(L.RepeatVector(3), (4,)),
    "TimeDistributed QDense": lambda: wrapped(dense("inner", 2), *ROW),
    "TimeDistributed QConv2D": lambda: wrapped(conv("inner", 2), 2, 4, 3, 2),
    "TimeDistributed MaxPooling2D": lambda: wrapped(L.MaxPooling2D(2), 2, 4, 3, 2),
    "TimeDistributed Flatten": lambda: wrapped(L.Flatten(), 2, 3, 2),
    "TimeDistributed BatchNormalization": lambda: wrapped(L.BatchNormalization(), *ROW),
}
"""Layers that are lowered with those operations' help."""

REAL_FUNCTIONS = ("tanh", "sigmoid", "softplus", "softsign", "elu", "selu", "silu", "gelu", "mish", "hard_silu")


def quantized(name: str, quantizer: str = "quantized_bits(6,1,alpha=1)") -> Any:
    """A convolution with a real-valued activation, and behind it a quantizer."""
    layer = qkeras.QConv2D(3, 2, activation=name, kernel_quantizer="quantized_bits(4,0,alpha=1)",
                           bias_quantizer="quantized_bits(4,0,alpha=1)", name="conv")  # fmt: skip
    return model(lambda x: qkeras.QActivation(quantizer, name="cell")(L.Flatten()(layer(x))), IMAGE)


LAYERS |= {f"activation {name}, quantized_bits": (lambda name=name: quantized(name)) for name in REAL_FUNCTIONS}
LAYERS |= {
    "activation silu, quantized_po2": lambda: quantized("silu", "quantized_po2(4)"),
    "activation gelu, ternary": lambda: quantized("gelu", "ternary(alpha=1,threshold=0.4)"),
    "activation tanh, quantized_relu": lambda: quantized("tanh", "quantized_relu(4,0)"),
    "BatchNormalization, sigmoid": lambda: model(lambda x: ops.sigmoid(L.BatchNormalization()(x)), ROW),
    "ELU": lambda: model(lambda x: L.ELU()(x - 1), ROW),
}


def random_operations(seed: int) -> Any:
    """A quantized tensor, one to six random operations on it and on what was made before, quantized again."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 5, int(rng.integers(1, 4))))
    given = keras.Input(shape, name="input")
    made = [act("quantized", 5, 1)(given)]
    for number in range(int(rng.integers(1, 7))):
        made.append(_random_step(rng, made, f"quantized{number}"))
    return keras.Model(given, act("out", 7, 3)(made[-1]), name=f"operations_{seed}")


def _random_step(rng: np.random.Generator, made: list[Any], name: str) -> Any:
    x = made[-1]
    rank, constant = len(x.shape), float(np.round(rng.normal(), int(rng.integers(0, 3))))
    axis = int(rng.integers(1, rank))
    alike = [other for other in made if other.shape == x.shape]
    y = alike[int(rng.integers(len(alike)))]
    order = [0, *(1 + rng.permutation(rank - 1)).tolist()]
    quantize = act(name, int(rng.integers(3, 7)), int(rng.integers(0, 3)))
    steps: list[Callable[[], Any]] = [
        lambda: x + constant,
        lambda: constant - x,
        lambda: x * constant,
        lambda: x / (constant or 2),
        lambda: ops.abs(-x),
        lambda: x + y,
        lambda: x - y,
        lambda: x * y,
        lambda: ops.maximum(x, y),
        lambda: ops.minimum(x, constant),
        lambda: ops.relu(x),
        lambda: ops.leaky_relu(x, 0.25),
        lambda: L.ReLU(max_value=1.5, threshold=abs(constant))(x),
        lambda: ops.sum(x, axis=axis, keepdims=rank == 2),
        lambda: ops.mean(x, axis=axis, keepdims=True),
        lambda: ops.max(x, axis=axis, keepdims=True),
        lambda: ops.concatenate([x, y], axis=axis),
        lambda: ops.stack([x, y], axis=axis) if rank < 4 else x + y,
        lambda: ops.split(x, [1], axis=axis)[-1] if x.shape[axis] > 1 else -x,
        lambda: ops.flip(x, axis=axis),
        lambda: ops.repeat(x, 2, axis=axis),
        lambda: ops.transpose(x, order),
        lambda: ops.reshape(x, (-1, int(np.prod(x.shape[1:])))),
        lambda: quantize(x),
        lambda: quantize(ops.silu(x)),
        lambda: quantize(ops.tanh(x)),
    ]
    return steps[int(rng.integers(len(steps)))]()
