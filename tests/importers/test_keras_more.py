"""Layers and operations that reports ask for: equal to Keras' own run, from memory and from a file, and what has no
exact integers refused for its own reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import qkeras

import qsim
from qsim.errors import UnsupportedError
from qsim.simulate import Simulator

L, ops = keras.layers, keras.ops
IMAGE, ROW, MATRIX = (4, 6, 8), (7, 3), (5, 6)


def bits(width: int = 5, integer: int = 1) -> Any:
    return qkeras.quantized_bits(width, integer, 1, alpha=1)


def entry(shape: tuple[int, ...], name: str) -> tuple[Any, Any]:
    given = keras.Input(shape, name=name)
    return given, qkeras.QActivation(bits(), name=f"{name}_quantized")(given)


Build = Callable[..., Any]

ONE: dict[str, tuple[tuple[int, ...], Build]] = {
    "tile": (IMAGE, lambda x: ops.tile(x, (1, 2, 1, 3))),
    "roll": (IMAGE, lambda x: ops.roll(x, 2, axis=2)),
    "roll of two axes": (IMAGE, lambda x: ops.roll(x, (1, -3), axis=(1, -1))),
    "swapaxes": (IMAGE, lambda x: ops.swapaxes(x, 1, -1)),
    "take": (IMAGE, lambda x: ops.take(x, [3, 0, -1, 3], axis=-1)),
    "take a matrix": (IMAGE, lambda x: ops.take(x, [[0, 1], [5, 2]], axis=2)),
    "take one": (IMAGE, lambda x: ops.take(x, 2, axis=1)),
    "sign": (IMAGE, lambda x: ops.sign(x)),
    "round": (IMAGE, lambda x: ops.round(x * 1.5)),
    "argmax": (IMAGE, lambda x: ops.argmax(x, axis=-1)),
    "argmax of rows, kept": (IMAGE, lambda x: ops.argmax(x, axis=1, keepdims=True)),
    "argmax behind a ReLU": (IMAGE, lambda x: ops.argmax(ops.relu(x), axis=2)),
    "argmin": (IMAGE, lambda x: ops.argmin(x, axis=3)),
    "depth_to_space": (IMAGE, lambda x: ops.nn.depth_to_space(x, 2)),
    "space_to_depth": (IMAGE, lambda x: ops.nn.space_to_depth(x, 2)),
    "PReLU": (IMAGE, L.PReLU(shared_axes=[1, 2])),
    "PReLU of vectors": ((6,), L.PReLU()),
    "DepthwiseConv1D": (ROW, L.DepthwiseConv1D(3, strides=2, padding="same", depth_multiplier=2)),
    "DepthwiseConv1D dilated": (ROW, L.DepthwiseConv1D(2, dilation_rate=2)),
    "Conv1DTranspose": (ROW, L.Conv1DTranspose(4, 3, strides=2, padding="same")),
    "Conv1DTranspose valid": (ROW, L.Conv1DTranspose(2, 2, strides=3, padding="valid")),
    "softmax, Flatten": ((1, 1, 6), lambda x: L.Flatten()(L.Softmax()(x))),
    "softmax, Reshape": ((6,), lambda x: L.Reshape((1, 6))(L.Activation("softmax")(x))),
}
TWO: dict[str, tuple[tuple[int, ...], tuple[int, ...], Build]] = {
    "Dot of vectors": ((6,), (6,), lambda a, b: L.Dot(axes=1)([a, b])),
    "Dot": (MATRIX, MATRIX, lambda a, b: L.Dot(axes=1)([a, b])),
    "Dot over two axes": (MATRIX, (6, 4), lambda a, b: L.Dot(axes=(2, 1))([a, b])),
    "Dot of matrix and vector": (MATRIX, (6,), lambda a, b: L.Dot(axes=(-1, 1))([a, b])),
    "matmul": ((3, *MATRIX), (3, 6, 4), ops.matmul),
    "einsum bij,bjk->bik": (MATRIX, (6, 4), lambda a, b: ops.einsum("bij,bjk->bik", a, b)),
    "einsum, attention's scores": ((5, 2, 4), (3, 2, 4), lambda a, b: ops.einsum("bthd,bshd->bhts", a, b)),
    "einsum, attention's values": ((2, 5, 3), (3, 2, 4), lambda a, b: ops.einsum("bhts,bshd->bthd", a, b)),
    "einsum, two axes": ((2, 3, 4), (4, 2, 5), lambda a, b: ops.einsum("nijk,nkim->njm", a, b)),
}


def samples(shape: tuple[int, ...], seed: int) -> Any:
    return (np.random.default_rng(seed).integers(-20, 20, (20, *shape)) / 8).astype("float32")


def compare(model: Any, x: list[Any], folder: Path) -> None:
    rng = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(rng.integers(-8, 9, variable.shape) / 8)
    theirs = np.asarray(model(x if len(x) > 1 else x[0]))
    model.save(folder / "m.keras")
    formats = {"weights_format": "fixed<6,2>"} if any(v.path.endswith("kernel") for v in model.weights) else {}
    for source in (model, folder / "m.keras"):
        graph = qsim.load(source, **formats)
        ours = Simulator(graph).run(x[0] if len(x) == 1 else {i.tensor: v for i, v in zip(graph.inputs, x)})
        assert np.asarray(ours).shape == theirs.shape
        assert np.allclose(ours, theirs, rtol=0, atol=2e-7 if graph.outputs[0].boundary != "linear" else 0)


@pytest.mark.parametrize("case", ONE)
def test_of_one_tensor(case: str, tmp_path: Path) -> None:
    shape, build = ONE[case]
    given, x = entry(shape, "x")
    compare(keras.Model(given, build(x)), [samples(shape, 1)], tmp_path)


@pytest.mark.parametrize("case", TWO)
def test_of_two_tensors(case: str, tmp_path: Path) -> None:
    *shapes, build = TWO[case]
    entries = [entry(shape, name) for shape, name in zip(shapes, "xy", strict=True)]
    model = keras.Model([given for given, _ in entries], build(*(x for _, x in entries)))
    compare(model, [samples(shape, seed) for seed, shape in enumerate(shapes)], tmp_path)


@pytest.mark.parametrize("invert", [False, True])
def test_normalization(invert: bool, tmp_path: Path) -> None:
    given, x = entry(IMAGE, "x")
    layer = L.Normalization(mean=[0.5] * 4 + [1.0] * 4, variance=[4.0] * 4 + [0.25] * 4, invert=invert)
    compare(keras.Model(given, layer(x)), [samples(IMAGE, 1)], tmp_path)
    adapted = L.Normalization(invert=invert)
    adapted.adapt(samples((8,), 5))
    model = keras.Model(given, qkeras.QActivation(bits(8, 3))(adapted(x)))
    graph, data = qsim.load(model), samples(IMAGE, 1)
    assert np.array_equal(Simulator(graph).run(data), np.asarray(model(data)))


def unwritten(x: Any) -> Any:
    return x * 2


REFUSED: dict[str, tuple[Build, str]] = {
    "softmax before a quantizer": (
        lambda x: qkeras.QActivation(bits())(L.Softmax()(x)),
        "divides exponentials by their sum.*the greatest code is that of the greatest probability",
    ),
    "softmax, Flatten of rows": (lambda x: L.Flatten()(L.Softmax()(x)), "divides exponentials"),
    "LayerNormalization": (lambda x: L.LayerNormalization()(x), "each sample's own variance.*BatchNormalization"),
    "MultiHeadAttention": (lambda x: L.MultiHeadAttention(2, 2)(x, x), "no quantizers inside.*ops.matmul"),
    "Lambda": (lambda x: L.Lambda(unwritten, name="secret")(x), "Python code that qsim does not run"),
    "Dot, normalized": (lambda x: L.Dot(axes=1, normalize=True)([x, x]), "lengths.*normalize=False"),
    "PReLU by position": (lambda x: L.PReLU()(x), r"differs by position.*shared_axes=\[1\]"),
    "take beyond": (lambda x: ops.take(x, [9], axis=1), "not within the 7 elements"),
    "tile of the batch": (lambda x: ops.tile(x, (2, 1, 1)), "batch"),
    "argmax of everything": (lambda x: ops.argmax(x), "all axes"),
    "einsum to a number": (lambda x: ops.einsum("bij,bij->b", x, x), "no axis"),
    "einsum of the batch": (lambda x: ops.einsum("bij,cij->ij", x, x), "batch"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_for_its_own_reason(case: str) -> None:
    build, text = REFUSED[case]
    given, x = entry(ROW, "x")
    with pytest.raises(UnsupportedError, match=text) as caught:
        qsim.load(keras.Model(given, build(x)))
    assert "__lambda__" not in str(caught.value)
    assert len(str(caught.value)) < 500
