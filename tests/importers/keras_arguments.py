"""Every argument of every supported layer, operation and quantizer at other values than its default.

A walk builds the Keras object with one argument changed, runs it in Keras, and sees whether qsim gives the same codes
or refuses by name. Weights, inputs and constants lie on coarse binary grids, so that Keras' float32 is exact.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import qkeras
from keras.src.ops import core, nn
from keras.src.ops import numpy as numpy_ops

import qsim
from qsim.errors import QsimError
from qsim.importers.keras.lower.graph import LAYERS
from qsim.quantizers import QUANTIZERS

L = keras.layers
IMAGE, ROW, VECTOR = (4, 4, 2), (5, 2), (6,)


def weight_quantizer() -> Any:
    return qkeras.quantized_bits(4, 0, 1, alpha=1)


def _quantized(*roles: str) -> dict[str, Any]:
    return {f"{role}_quantizer": weight_quantizer() for role in roles}


_KERNEL, _DEPTHWISE = _quantized("kernel", "bias"), _quantized("depthwise", "bias")
_SEPARABLE, _CELL = _quantized("depthwise", "pointwise", "bias"), _quantized("kernel", "recurrent", "bias", "state")
_GATES = {"activation": "quantized_tanh(4)"}
_LSTM = _GATES | {"recurrent_activation": "quantized_sigmoid(4)"}
_CONV = {"filters": 2, "kernel_size": 2}


def _rnn() -> Any:
    return qkeras.QSimpleRNN(3, **_GATES, **_quantized("kernel", "recurrent", "bias", "state"), return_sequences=True)


BASES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "QDense": (VECTOR, {"units": 3, **_KERNEL}),
    "QConv1D": (ROW, _CONV | _KERNEL),
    "QConv2D": (IMAGE, _CONV | _KERNEL),
    "QConv2DTranspose": (IMAGE, _CONV | _KERNEL),
    "QDepthwiseConv2D": (IMAGE, {"kernel_size": 2, **_DEPTHWISE}),
    "QSeparableConv1D": (ROW, _CONV | _SEPARABLE),
    "QSeparableConv2D": (IMAGE, _CONV | _SEPARABLE),
    "QConv2DBatchnorm": (IMAGE, _CONV | _KERNEL),
    "QDepthwiseConv2DBatchnorm": (IMAGE, {"kernel_size": 2, **_DEPTHWISE}),
    "QDenseBatchnorm": (VECTOR, {"units": 3, **_KERNEL}),
    "QSimpleRNN": (ROW, {"units": 3, **_GATES, **_CELL}),
    "QLSTM": (ROW, {"units": 2, **_LSTM, **_CELL}),
    "QGRU": (ROW, {"units": 2, **_LSTM, **_CELL}),
    "QBatchNormalization": (VECTOR, {}),
    "BatchNormalization": (VECTOR, {}),
    "QScaleShift": (VECTOR, _quantized("weight", "bias")),
    "Rescaling": (VECTOR, {"scale": 0.5}),
    "QActivation": (VECTOR, {"activation": "quantized_bits(4,1,1,alpha=1)"}),
    "Activation": (VECTOR, {"activation": "relu"}),
    "Softmax": (ROW, {}),
    "Reshape": (VECTOR, {"target_shape": (2, 3)}),
    "Permute": (ROW, {"dims": (2, 1)}),
    "RepeatVector": (VECTOR, {"n": 2}),
    "TimeDistributed": (ROW, {"layer": qkeras.QDense(3, **_KERNEL)}),
    "Bidirectional": (ROW, {"layer": _rnn()}),
    **dict.fromkeys(("ReLU", "LeakyReLU", "ELU", "PReLU"), (VECTOR, {})),
    "Normalization": (VECTOR, {"mean": 0.5, "variance": 4.0}),
    "Dot": (VECTOR, {"axes": 1}),
    **dict.fromkeys(("Dropout", "AlphaDropout", "GaussianDropout"), (VECTOR, {"rate": 0.25})),
    "GaussianNoise": (VECTOR, {"stddev": 0.25}),
    "SpatialDropout1D": (ROW, {"rate": 0.25}),
    "SpatialDropout2D": (IMAGE, {"rate": 0.25}),
    **dict.fromkeys(("ActivityRegularization", "Identity"), (VECTOR, {})),
    "Flatten": (IMAGE, {}),
    **dict.fromkeys(("MaxPooling2D", "AveragePooling2D", "QAveragePooling2D"), (IMAGE, {"pool_size": 2})),
    **dict.fromkeys(("MaxPooling1D", "AveragePooling1D"), (ROW, {"pool_size": 2})),
    **dict.fromkeys(("GlobalMaxPooling2D", "GlobalAveragePooling2D", "QGlobalAveragePooling2D"), (IMAGE, {})),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalAveragePooling1D"), (ROW, {})),
    **dict.fromkeys(("ZeroPadding1D", "UpSampling1D", "Cropping1D"), (ROW, {})),
    **dict.fromkeys(("ZeroPadding2D", "UpSampling2D"), (IMAGE, {})),
    "Cropping2D": (IMAGE, {"cropping": 1}),
    **dict.fromkeys(("Add", "Subtract", "Average", "Multiply", "Maximum", "Minimum", "Concatenate"), (ROW, {})),
}
"""Layer class -> input shape without batch, arguments. Plain layers whose weights need a quantizer (Dense, Conv2D, ...)
have the record of their quantized twin; a QAdaptiveActivation's config cannot be written by qkeras-v3."""

OPERATION_BASES: dict[str, dict[str, Any]] = {
    "Clip": {"x_min": -0.5, "x_max": 0.75},
    **{name: {"axis": 1} for name in ("Sum", "Mean", "Max", "Min", "Repeat", "Squeeze", "Flip", "ExpandDims")},
    **{name: {"pool_size": 2} for name in ("MaxPool", "AveragePool")},
    "Concatenate": {"axis": 1},
    "Stack": {"axis": 1},
    "Split": {"indices_or_sections": 2, "axis": 1},
    "Reshape": {"newshape": (-1, 8)},
    "Transpose": {"axes": (0, 2, 1, 3)},
    "Tile": {"repeats": (1, 2, 1, 1)},
    "Roll": {"shift": 1, "axis": 1},
    "Swapaxes": {"axis1": 1, "axis2": 2},
    "DepthToSpace": {"block_size": 1},
    "SpaceToDepth": {"block_size": 2},
    **{name: {"axis": 1} for name in ("Argmax", "Argmin")},
    "Einsum": {"subscripts": "bhwc,bhwc->bc"},
    "Pad": {"pad_width": ((0, 0), (1, 0), (0, 1), (0, 0))},
}
_JOINS = ("Concatenate", "Stack")
_PAIRS = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "Matmul", "Einsum")
_MERGES = ("Add", "Subtract", "Average", "Multiply", "Maximum", "Minimum", "Concatenate", "Dot")

OTHERS: dict[str, list[Any]] = {
    "activation": ["relu", "quantized_relu(4,2)", "hard_sigmoid", "softmax", "leaky_relu", "tanh", "exponential"],
    "recurrent_activation": ["hard_sigmoid", "sigmoid", "quantized_sigmoid(3)"],
    "padding": ["same", "causal", 2, [2, 1], [[1, 0], [0, 2]]],
    "data_format": ["channels_first"],
    "interpolation": ["bilinear"],
    "merge_mode": ["sum", "mul", "ave", None],
    "mask": [[[1, 0], [0, 1]]],
    "max_value": [1.0, 0.5],
    "negative_slope": [0.25, 0.3],
    "threshold": [0.5, -0.5],
    "axis": [0, 1, 2, -2, [1], [-1, -2], [1, 2], None],
    "initial": [1.5, -1.5],
    "dtype": ["float16", "mixed_bfloat16", "float64"],
    "name": ["another"],
    "seed": [3],
    "folding_mode": ["batch_stats_folding"],
    "average_quantizer": ["quantized_bits(8,0,1,alpha=1)"],
    "target_shape": [[3, 2], [-1, 2]],
    "dims": [[1, 2]],
    "output_padding": [[1, 1], 0],
    "noise_shape": [[1, 1]],
    "scale": [True, False, 0.25, [0.5, 1.0, 2.0, 0.5, 1.0, 2.0]],
    "offset": [0.5, [0.5, 1.0, 2.0, 0.5, 1.0, 2.0]],
    "newshape": [(-1, 4, 2), (1, 8), (2, 4)],
    "mode": ["reflect", "symmetric"],
    "indices_or_sections": [[1, 3], 4, 3, [2, 2]],
    "pad_width": [((0, 0), (0, 0), (2, 1), (0, 0)), ((1, 0), (0, 0), (0, 0), (0, 0)), 1],
    "shift": [-2, [1]],
    "axis1": [0, 3, -1],
    "axis2": [0, 3, -1],
    "axes": [(0, 3, 1, 2), (1, 0, 2, 3), None, (0, -1, 1, 2), 2, (1, 1), -1],
    "subscripts": ["bhwc,bhwc->bwc", "bhwc,bhwc->bh", "bhwc,bijc->bhwij", "bhwc,nhwc->bn", "bhwc,bhwc->b"],
    "block_size": [2, 4],
    "decimals": [1, -1],
    "shared_axes": [[1]],
    "mean": [0.25, [0.5] * 6],
    "variance": [1.0, [4.0] * 6],
    "invert": [True],
    "normalize": [True],
    "repeats": [(1, 1, 1, 2), (2, 1, 1, 1), (2, 2), 3, [1, 2, 0, 1]],
    "strides": [3, [2, 1]],
    "kernel_size": [1, [2, 1]],
    "pool_size": [3, [1, 2]],
    "size": [3, [1, 2]],
    "cropping": [[1, 0], [[1, 0], [0, 2]]],
    "dilation_rate": [2],
    "groups": [2],
    "alpha": [0.5, 2.0],
    "keepdims": [True],
    "backward_layer": [],
    "layer": [],
}
"""Key -> values beside those that follow from its own."""


def others(key: str, value: Any) -> list[Any]:
    """Values of an argument other than ``value``."""
    if key in OTHERS:
        found = list(OTHERS[key])
    elif key.endswith("_quantizer"):
        found = [qkeras.quantized_bits(3, 1, 1, alpha=1), qkeras.ternary(alpha=1.0), None, "binary"]
    elif key.endswith("_initializer"):
        found = ["ones"]
    elif key.endswith("_regularizer"):
        found = ["l2"]
    elif key.endswith("_constraint"):
        found = ["non_neg"]
    elif isinstance(value, bool):
        found = [not value]
    elif isinstance(value, int | float):
        found = [value + 1, value / 2]
    elif isinstance(value, list | tuple):
        found = [[n + 1 for n in value]] if all(isinstance(n, int) for n in value) else []
    else:
        found = [1, True]
    return [v for v in found if type(v) is not type(value) or v != value]


@dataclass
class Tally:
    """What a walk found."""

    keys: int = 0
    equal: int = 0
    noted: int = 0
    refused: int = 0
    not_keras: int = 0
    silent: list[str] | None = None

    def add(self, label: str, kind: str) -> None:
        if kind.startswith("silent"):
            self.silent = [*(self.silent or []), f"{label}: {kind}"]
        else:
            setattr(self, kind, getattr(self, kind) + 1)

    def __str__(self) -> str:
        return (
            f"{self.keys} keys: {self.equal} values equal, {self.noted} within a note, {self.refused} refused, "
            f"{self.not_keras} that Keras itself does not take, {len(self.silent or [])} silent"
        )


def samples(shape: tuple[int, ...], seed: int = 0) -> Any:
    return (np.random.default_rng(seed).integers(-16, 16, (12, *shape)) / 8).astype("float32")


def coarse(model: Any) -> None:
    """Weights on a grid of eighths; variances that make a normalization's factor a power of two."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        values = []
        for variable in layer.weights:
            array = rng.integers(-6, 7, variable.shape) / 8
            if "variance" in variable.path:
                array = np.full(variable.shape, 4.0 - getattr(layer, "epsilon", 0.0) or 0.0)
            if "iteration" in variable.path:
                array = np.zeros(variable.shape)
            values.append(array)
        if values:
            layer.set_weights(values)


def outcome(model: Any, x: Any) -> str:
    """'equal', 'refused', 'noted' (one code off, where a note on that layer or on a layer before it says so) or
    'silent: ...'; 'not_keras' where Keras itself cannot run the model."""
    try:
        given = x if len(x) > 1 else x[0]
        theirs = model(given, training=False)
    except Exception:  # Keras raises whatever it likes
        return "not_keras"
    theirs = [np.asarray(y, dtype=np.float64) for y in (theirs if isinstance(theirs, list | tuple) else [theirs])]
    try:
        graph = qsim.load(model)
    except QsimError as error:  # what the guard around the reader caught is no refusal by name
        return f"silent: {error}" if "that can be read" in str(error) else "refused"
    ours = qsim.Simulator(graph).run(x[0] if len(x) == 1 else {i.tensor: v for i, v in zip(graph.inputs, x)})
    found = [np.asarray(y) for y in (ours.values() if isinstance(ours, dict) else [ours])]
    if len(found) != len(theirs) or any(a.shape != b.shape for a, b in zip(found, theirs)):
        return f"silent: shapes {[a.shape for a in theirs]}, qsim {[a.shape for a in found]}"
    worst = 0.0
    for output, mine, keras_own in zip(graph.outputs, found, theirs):
        steps = np.array([float(abs(s)) for s in graph[output.tensor].quantization.scale])
        codes = np.abs(mine - keras_own) / steps
        # Keras' float32 leaves a value an ulp beside its code; a code is a code.
        worst = max(worst, float(np.where(codes < 1e-3, 0.0, codes).max(initial=0.0)))
    if worst == 0:
        return "equal"
    named = {op.layer for op in graph.ops} | {node.name for node in model.layers}
    said = any(f"{name!r}" in note or f"layer {name}:" in note for note in graph.notes for name in named)
    return "noted" if worst < 1 + 1e-3 and said else f"silent: off by {worst} codes"


def _entry(shape: tuple[int, ...], name: str) -> tuple[Any, Any]:
    given = keras.Input(shape, name=name)
    return given, qkeras.QActivation(qkeras.quantized_bits(5, 1, 1, alpha=1), name=f"{name}_quantized")(given)


def _ending(made: Any) -> list[Any]:
    parts = made if isinstance(made, list | tuple) else [made]
    return [qkeras.QActivation(qkeras.quantized_bits(9, 4, 1, alpha=1), name=f"end{i}")(y) for i, y in enumerate(parts)]


def layer_model(layer: Any, shape: tuple[int, ...], joins: bool) -> tuple[Any, Any]:
    """The layer between quantizers, and its samples."""
    entries = [_entry(shape, f"in{i}") for i in range(2 if joins else 1)]
    tensors = [quantized for _, quantized in entries]
    model = keras.Model([given for given, _ in entries], _ending(layer(tensors if joins else tensors[0])))
    coarse(model)
    return model, [samples(shape, seed) for seed in range(len(entries))]


def layer_walk(names: list[str]) -> Tally:
    """Every key of every layer's config."""
    tally = Tally()
    objects = {name: getattr(qkeras, name) for name in dir(qkeras) if callable(getattr(qkeras, name))}
    with keras.utils.custom_object_scope(objects):
        for name in names:
            shape, arguments = BASES[name]
            cls = getattr(L, name, None) or getattr(qkeras, name)
            joins = name in _MERGES
            config = cls(**arguments).get_config()
            for key, value in config.items():
                tally.keys += 1
                for other in others(key, value):
                    try:
                        layer = cls.from_config({**cls(**arguments).get_config(), key: other})
                        model, x = layer_model(layer, shape, joins)
                    except Exception:
                        tally.add(name, "not_keras")
                        continue
                    tally.add(f"{name}({key}={other!r})", outcome(model, x))
    return tally


def operation_class(name: str) -> Any:
    return next((getattr(m, name) for m in (numpy_ops, nn, core) if hasattr(m, name)), None)


def operation_walk(names: list[str]) -> Tally:
    """Every argument of every operation's class, and of its call."""
    tally = Tally()
    for name in names:
        cls = operation_class(name)
        base = OPERATION_BASES.get(name, {})
        keys = [p for p in inspect.signature(cls.__init__).parameters if p not in ("self", "name")]
        calls = [p for p in inspect.signature(cls.call).parameters if p == "constant_values"]
        for key in [*keys, *calls]:
            tally.keys += 1
            default = base.get(key)
            choices = [1.0, 0.0] if key == "constant_values" else others(key, default)
            for other in choices:
                entries = [_entry(IMAGE, f"in{i}") for i in range(2 if name in (*_JOINS, *_PAIRS) else 1)]
                tensors = [quantized for _, quantized in entries]
                try:
                    extra = {key: other} if key in calls else {}
                    op = cls(**(base if extra else {**base, key: other}))
                    made = op(tensors, **extra) if name in _JOINS else op(*tensors, **extra)
                    model = keras.Model([given for given, _ in entries], _ending(made))
                except Exception:
                    tally.add(name, "not_keras")
                    continue
                tally.add(
                    f"ops.{name}({key}={other!r})", outcome(model, [samples(IMAGE, s) for s in range(len(entries))])
                )
    return tally


QUANTIZER_OTHERS = [0, True, 2, 3, -1, 0.5, "floor"]


def quantizer_walk(names: list[str]) -> Tally:
    """Every argument of every quantizer, inside its domain and outside, on an activation and on a kernel."""
    tally = Tally()
    for name in names:
        cls = getattr(qkeras, name)
        parameters = inspect.signature(cls.__init__).parameters
        for key in [p for p in parameters if p not in ("self", "var_name", "kwargs")]:
            tally.keys += 1
            for other in QUANTIZER_OTHERS:
                arguments = ({"alpha": 1.0} if "alpha" in parameters else {}) | {key: other}
                for role in ("activation", "kernel"):
                    try:
                        model = _with_quantizer(cls(**arguments), role)
                    except Exception:
                        tally.add(name, "not_keras")
                        continue
                    tally.add(f"{name}({arguments}) as {role}", outcome(model, [samples((8,))]))
    return tally


def _with_quantizer(quantizer: Any, role: str) -> Any:
    given, x = _entry((8,), "in0")
    if role == "activation":
        return keras.Model(given, qkeras.QActivation(quantizer)(x))
    layer = qkeras.QDense(3, kernel_quantizer=quantizer, use_bias=False)
    model = keras.Model(given, layer(x))
    layer.kernel.assign(np.random.default_rng(2).integers(-12, 13, (8, 3)) / 8)
    return model


def all_layers() -> list[str]:
    return [name for name in BASES if name in LAYERS]


def all_operations() -> list[str]:
    return [name[4:] for name in LAYERS if name.startswith("ops.") and operation_class(name[4:])]


def all_quantizers() -> list[str]:
    return [name for name in QUANTIZERS if hasattr(qkeras, name)]


def chunks(names: list[str], number: int) -> Iterator[list[str]]:
    size = math.ceil(len(names) / number)
    yield from (names[i : i + size] for i in range(0, len(names), size))
