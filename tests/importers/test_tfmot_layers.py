"""What tfmot's 8-bit registry takes, layer by layer and in random networks: qsim's graph against the converter's file.

Ranges and weights are drawn at random, so that a range taken from the wrong place shows. Same operations with the same
numbers in the same order of data, and the same codes as TensorFlow Lite Micro computes with the converter's file.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from tflite_make import tflm
from tfmot_models import L, int8_file, keras, random_wrapped, structure, tf, tfmot, wrapped

import qsim
from qsim.errors import UnsupportedError
from qsim.importers.tflite import load_tflite
from qsim.importers.tfmot import numbers


def model(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Callable[[], Any]:
    """A maker of the network that ``function`` makes of inputs of these shapes."""

    def make() -> Any:
        inputs = [L.Input(shape) for shape in shapes]
        return keras.Model(inputs, function(*inputs))

    return make


def conv(x: Any, filters: int = 2, kernel: int = 1, **settings: Any) -> Any:
    return L.Conv2D(filters, kernel, **settings)(x)


def two(x: Any, relu: bool = False) -> Any:
    """Two branches with trained ranges of their own, joined."""
    return L.Concatenate()([conv(x, 3, activation="relu" if relu else None), conv(x)])


IMAGE = (6, 6, 2)

CASES: dict[str, Callable[[], Any]] = {
    "join": model(lambda x: conv(two(x, True)), IMAGE),
    "join of open ones": model(lambda x: conv(L.Concatenate()([L.ReLU()(conv(x)), L.ReLU()(conv(x, 3))])), IMAGE),
    "join of pools": model(
        lambda x: conv(L.Concatenate()([L.MaxPooling2D()(conv(x)), L.AveragePooling2D()(x)])), IMAGE
    ),
    "join, then flatten": model(lambda x: L.Dense(2)(L.Flatten()(two(x))), IMAGE),
    "join, then permute": model(lambda x: L.Permute((2, 1, 3))(two(x)), IMAGE),
    "join, flattened and read": model(lambda x: [L.Flatten()(y := two(x)), conv(y, 1)], IMAGE),
    "join of joins": model(lambda x: conv(L.Concatenate()([x, two(x)])), IMAGE),
    "join with a shared branch": model(lambda x: [conv(L.Concatenate()([(y := conv(x)), conv(x)])), conv(y)], IMAGE),
    "join of rows": model(lambda x: L.Concatenate(axis=1)([conv(x, activation="tanh"), x]), IMAGE),
    "join with itself": model(lambda x: L.Concatenate()([x, x]), IMAGE),
    "join with leaky": model(lambda x: conv(L.Concatenate()([L.LeakyReLU()(conv(x)), L.Activation("relu")(x)])), IMAGE),
    "relu of an input": model(lambda x: conv(L.ReLU()(x)), IMAGE),
    "relu6 of a pool": model(lambda x: conv(L.ReLU(6.0)(L.MaxPooling2D()(x))), IMAGE),
    "relu of an average": model(lambda x: conv(L.ReLU()(L.AveragePooling2D()(x))), IMAGE),
    "relu of a flattened": model(lambda x: L.Dense(2)(L.ReLU()(L.Flatten()(conv(x)))), IMAGE),
    "relu of a padded": model(lambda x: conv(L.ReLU()(L.ZeroPadding2D()(conv(x))), kernel=3), IMAGE),
    "relu of a shared convolution": model(lambda x: [L.ReLU()(y := conv(x)), conv(y)], IMAGE),
    "relu of a shared pool": model(lambda x: [L.ReLU()(y := L.MaxPooling2D()(x)), conv(y)], IMAGE),
    "relu of a shared dense": model(lambda x: [L.ReLU()(y := L.Dense(3)(x)), L.Dense(2)(y)], (6,)),
    "relu of relus": model(lambda x: conv(L.ReLU()(L.ReLU()(conv(x, activation="relu")))), IMAGE),
    "relu6 function": model(lambda x: conv(L.Activation(tf.nn.relu6)(L.BatchNormalization()(conv(x)))), IMAGE),
    "relu of swish": model(lambda x: L.ReLU()(L.Activation("swish")(conv(x))), IMAGE),
    "relu6 of a sum": model(lambda x: L.ReLU(6.0)(L.Add()([conv(x), x])), IMAGE),
    "leaky of a sum": model(lambda x: L.LeakyReLU(0.2)(L.Add()([conv(x), x])), IMAGE),
    "linear activation": model(lambda x: conv(L.Activation("linear")(conv(x))), IMAGE),
    "dropouts": model(lambda x: L.SpatialDropout2D(0.1)(L.ActivityRegularization()(conv(x))), IMAGE),
    "broadcast sum": model(lambda x, y: L.ReLU()(L.Add()([x, y])), IMAGE, (1, 1, 2)),
    "sum of normalized": model(
        lambda x: L.ReLU()(L.Add()([L.BatchNormalization()(conv(x)), L.BatchNormalization()(conv(x))])), IMAGE
    ),
    "up": model(lambda x: conv(L.UpSampling2D()(conv(x))), IMAGE),
    "up twice": model(lambda x: L.UpSampling2D()(L.UpSampling2D((2, 1))(L.ReLU()(conv(x)))), (3, 3, 2)),
    "up of a pool": model(lambda x: conv(L.UpSampling2D((2, 3))(L.MaxPooling2D()(x))), IMAGE),
    "up of a shared": model(lambda x: [conv(L.UpSampling2D()(y := conv(x))), conv(y)], IMAGE),
    "up of a join": model(lambda x: L.UpSampling2D()(two(x)), IMAGE),
    "up of a sigmoid": model(lambda x: L.UpSampling2D()(conv(x, activation="sigmoid")), IMAGE),
    "up, then flatten": model(lambda x: L.Dense(2)(L.Flatten()(L.UpSampling2D()(conv(x)))), (3, 3, 2)),
    "separable": model(lambda x: L.ReLU()(L.BatchNormalization()(L.SeparableConv2D(4, 3, use_bias=False)(x))), IMAGE),
    "separable, multiplied": model(lambda x: L.SeparableConv2D(4, 3, depth_multiplier=2)(x), IMAGE),
    "depth multiplier, normalized": model(
        lambda x: L.ReLU(6.0)(L.BatchNormalization()(L.DepthwiseConv2D(3, depth_multiplier=3)(x))), IMAGE
    ),
    "groups": model(lambda x: conv(x, 4, 3, groups=2), IMAGE),
    "transposed": model(lambda x: L.Conv2DTranspose(3, 3, strides=2, activation="relu")(x), IMAGE),
    "transposed, same, no bias": model(lambda x: L.Conv2DTranspose(3, 3, 2, "same", use_bias=False)(x), IMAGE),
    "transposed, relu": model(lambda x: L.ReLU()(L.Conv2DTranspose(3, 2, strides=3)(x)), IMAGE),
    "transposed, relu6": model(lambda x: L.Activation(tf.nn.relu6)(L.Conv2DTranspose(3, 2)(x)), IMAGE),
    "padding taken over": model(lambda x: conv(L.ZeroPadding2D(((0, 1), (0, 1)))(conv(x)), 2, 3, strides=2), IMAGE),
    "padding left": model(lambda x: conv(L.ZeroPadding2D(((1, 1), (1, 1)))(conv(x)), 2, 3, strides=2), IMAGE),
    "padding read twice": model(lambda x: [conv(y := L.ZeroPadding2D()(x), 2, 3), conv(y, 3, 3)], IMAGE),
    "moves": model(lambda x: conv(L.Permute((2, 1, 3))(L.Cropping2D(((1, 2), (0, 1)))(x))), IMAGE),
    "reshapes": model(lambda x: L.Dense(2)(L.Flatten()(L.Reshape((-1, 4))(x))), IMAGE),
    "maximum": model(lambda x: L.Dense(2)(L.GlobalMaxPooling2D()(x)), IMAGE),
    "kept dimensions": model(lambda x: conv(L.GlobalAveragePooling2D(keepdims=True)(x)), IMAGE),
    "one dimension": model(lambda x: L.Dense(2)(L.Flatten()(L.Cropping1D(1)(L.ZeroPadding1D((1, 2))(x)))), (6, 5)),
    "averages in one dimension": model(
        lambda x: [L.Dense(2)(L.GlobalAveragePooling1D()(x)), L.ReLU()(L.AveragePooling1D(2)(x))], (6, 5)
    ),
    "average of a reshaped": model(
        lambda x: L.Dense(2)(L.Flatten()(L.AveragePooling1D(2)(L.Reshape((18, 4))(conv(x))))), IMAGE
    ),
    "maximum in one dimension": model(lambda x: L.Dense(2)(L.GlobalMaxPooling1D()(x)), (6, 5)),
    "inputs and outputs": model(
        lambda x, y: [L.Dense(2)(L.Concatenate()([x, y])), L.Dense(3, activation="softmax")(y)], (4,), (3,)
    ),
    "softmax of an image": model(lambda x: L.Softmax()(conv(x)), IMAGE),
    "sigmoid of a pool": model(lambda x: L.Activation("sigmoid")(L.MaxPooling2D()(conv(x))), IMAGE),
}

DEFAULT = ("join, then flatten", "relu of a shared dense", "transposed")
"""One of each kind in the default run; the others are marked slow."""


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's own 1/sqrt, which is one unit off for some values: see test_tfmot."""
    monkeypatch.setattr(numbers, "inverse_root", lambda x: tf.math.rsqrt(tf.constant(x)).numpy())


def check(live: Any) -> None:
    data = int8_file(live, codes=False)
    ours, theirs = qsim.load(live), load_tflite(data)
    # The converter orders several inputs and outputs by names of its own.
    ways = product(permutations(range(len(theirs.outputs))), permutations(range(len(theirs.inputs))))
    orders = [(ends, starts) for ends, starts in ways if structure(theirs, ends, starts) == structure(ours)]
    assert orders, f"{[type(op).__name__ for op in ours.ops]} and {[type(op).__name__ for op in theirs.ops]}"
    rng = np.random.default_rng(9)
    reals = [rng.normal(0, 1.5, (20, *entry.shape[1:])).astype(np.float32) for entry in live.inputs]
    found = qsim.Simulator(ours).run(dict(zip([entry.tensor for entry in ours.inputs], reals, strict=True)))
    arrays = list(found.values()) if isinstance(found, dict) else [found]
    ends, starts = orders[0]
    computed = tflm(data, [reals[starts.index(i)] for i in range(len(reals))])
    for actual, expected in zip(arrays, (computed[i] for i in ends), strict=True):
        assert np.array_equal(actual.astype(np.float32).reshape(20, -1), expected.reshape(20, -1))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in DEFAULT else pytest.mark.slow, id=n.replace(" ", "-")) for n in CASES]
)
def test_layers(name: str) -> None:
    check(wrapped(CASES[name], len(name)))


REFUSED = (0, 11, 15, 18, 26, 30, 34)
"""Random networks in which a Concatenate's range is carried back past a layer that something else reads too."""


@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=() if n < 2 else pytest.mark.slow) for n in range(48) if n not in REFUSED]
)
def test_random_networks(seed: int) -> None:
    check(wrapped(lambda: random_wrapped(seed), seed))


@pytest.mark.parametrize("seed", [pytest.param(n, marks=() if n == 11 else pytest.mark.slow) for n in REFUSED])
def test_refused_networks(seed: int) -> None:
    with pytest.raises(UnsupportedError, match="carries back to"):
        qsim.load(wrapped(lambda: random_wrapped(seed), seed))


REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "Dense, BatchNormalization": (model(lambda x: L.BatchNormalization()(L.Dense(3)(x)), (5,)), "floats"),
    "ReLU with max_value": (model(lambda x: L.ReLU(4.0)(conv(x)), IMAGE), "max_value.*floats.*ReLU"),
    "ReLU with negative_slope": (model(lambda x: L.ReLU(negative_slope=0.1)(conv(x)), IMAGE), "negative_slope.*floats"),
    "ReLU with threshold": (model(lambda x: L.ReLU(threshold=0.5)(conv(x)), IMAGE), "threshold.*floats"),
    "ReLU6 behind relu": (model(lambda x: L.ReLU(6.0)(conv(x, activation="relu")), IMAGE), "floats"),
    "ReLU behind softmax": (model(lambda x: L.ReLU()(L.Dense(3, activation="softmax")(x)), (5,)), "softmax.*floats"),
    "dilation": (model(lambda x: conv(x, kernel=3, dilation_rate=2), (8, 8, 2)), "dilated.*floats"),
    "sum of three": (model(lambda x: L.Add()([x, conv(x), conv(x)]), IMAGE), "3 tensors.*floats"),
    "swish inside": (model(lambda x: conv(x, activation="swish"), IMAGE), "swish.*floats"),
    "transposed, normalized": (
        model(lambda x: L.ReLU()(L.BatchNormalization()(L.Conv2DTranspose(2, 3)(x))), IMAGE),
        "Conv2DTranspose.*floats",
    ),
    "dense on rows": (model(lambda x: L.Dense(2)(x), (6, 5)), "run time.*Flatten"),
    "bilinear": (model(lambda x: L.UpSampling2D(interpolation="bilinear")(x), IMAGE), "bilinear.*nearest"),
    "up of an averaged": (model(lambda x: L.UpSampling2D()(L.AveragePooling2D()(x)), IMAGE), "converter fails"),
    "called twice": (
        model(lambda x: L.Add()([(d := L.Conv2D(2, 1))(x), d(L.ReLU()(conv(x)))]), IMAGE),
        "more than once.*two layers",
    ),
    "gelu": (model(lambda x: conv(x, activation="gelu"), IMAGE), "gelu"),
}
"""What is refused, and what the message says: most of it the converter itself leaves in floats."""


@pytest.mark.parametrize("name", [pytest.param(n, id=n.replace(" ", "-")) for n in REFUSALS])
def test_refusals(name: str) -> None:
    make, message = REFUSALS[name]
    with pytest.raises(UnsupportedError, match=rf"(?s)quant_.*{message}"):
        qsim.load(wrapped(make))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, (_, message) in REFUSALS.items() if "floats" in message])
def test_the_converter_leaves_floats_there(name: str) -> None:
    from qsim.importers.tflite.load import read_source

    found = read_source(int8_file(wrapped(REFUSALS[name][0]), codes=False))
    inside = [op for op in found.operators if op.name not in ("QUANTIZE", "DEQUANTIZE")]
    assert any(found.tensors[op.outputs[0]].type == "FLOAT32" for op in inside)


def test_unwrapped_layers_are_named() -> None:
    start = L.Input(IMAGE)
    annotate = tfmot.quantization.keras.quantize_annotate_layer
    x = L.Conv2D(2, 1, name="plain", activation="relu")(annotate(L.Conv2D(2, 1, name="own"))(start))
    partial = keras.Model(start, L.Dense(2, name="end")(L.Flatten(name="flat")(x)))
    live = tfmot.quantization.keras.quantize_apply(partial)
    with pytest.raises(UnsupportedError, match=r"'plain' \(Conv2D\), 'flat' \(Flatten\) and 'end' \(Dense\) are not"):
        qsim.load(live)


def test_other_schemes_are_named() -> None:
    scheme = tfmot.quantization.keras.experimental.default_n_bit.DefaultNBitQuantizeScheme(4, 8)
    annotated = tfmot.quantization.keras.quantize_annotate_model(model(lambda x: conv(x), IMAGE)())
    live = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    with pytest.raises(UnsupportedError, match=r"NBit.*-bit.*default 8-bit.*load its \.tflite file"):
        qsim.load(live)
