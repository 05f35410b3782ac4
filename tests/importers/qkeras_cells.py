"""The cells of the layer x quantizer table: every one a small model of a layer class, a quantizer and a role."""

# Longer than 400 lines: a table of quantizers and codes, a cell each, in the order of the page.

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import layer_cells as cells
import numpy as np
import operation_cells
import qkeras
from layer_cells import act, chain, conv, dense, out
from qkeras_matrix_table import FOLDED, FORWARD, RECURRENT

L = keras.layers
BITS = "quantized_bits(4,0,alpha=1)"
BIAS = "quantized_bits(6,1,alpha=1)"

Quantizer = Any
Make = Callable[[Quantizer], Any]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """``family``: the table; ``row`` and ``column`` in it. make: a model with fresh weights. via: "memory", or the
    suffix of a file that the model is saved to and imported from. settle: calls in training mode before that."""

    family: str
    row: str
    column: str
    make: Callable[[], Any]
    via: str = "memory"
    settle: int = 0

    @property
    def key(self) -> str:
        return f"{self.family} | {self.row} | {self.column}"

    @property
    def wide(self) -> bool:
        """Whether the graph is long: a recurrent layer, unrolled."""
        return any(name in f"{self.row} {self.column}" for name in ("RNN", "LSTM", "GRU", "Bidirectional", "Octave"))


WEIGHTS: dict[str, Callable[[], Quantizer]] = {
    **cells.WEIGHTS,
    "quantized_bits alpha=0.75": lambda: qkeras.quantized_bits(4, 0, alpha=0.75),
    "quantized_bits 1 bit": lambda: qkeras.quantized_bits(1, 0, alpha=1),
    "quantized_bits keep_negative=False": lambda: qkeras.quantized_bits(4, 0, keep_negative=False, alpha=1),
    "quantized_ulaw": lambda: qkeras.quantized_ulaw(4, 0),
    "quantized_hswish": lambda: qkeras.quantized_hswish(6, 2),
    "bernoulli": lambda: qkeras.bernoulli(alpha=1),
}
"""Every quantizer as the weights of every layer that has some."""

MORE_WEIGHTS: dict[str, Callable[[], Quantizer]] = {
    "quantized_bits as text": lambda: BITS,
    "quantized_bits as dict": lambda: {"class_name": "quantized_bits", "config": {"bits": 4, "integer": 1, "alpha": 1}},
    "quantized_bits symmetric": lambda: qkeras.quantized_bits(4, 0, 1, alpha=1),
    "quantized_bits scale_axis": lambda: qkeras.quantized_bits(4, 0, 1, alpha="auto_po2", scale_axis=0),
    "quantized_bits elements_per_scale, axis 0": lambda: qkeras.quantized_bits(
        4, 0, 1, alpha="auto_po2", scale_axis=0, elements_per_scale=3
    ),
    "quantized_bits elements_per_scale, axis 1": lambda: qkeras.quantized_bits(
        4, 0, 1, alpha="auto_po2", scale_axis=1, elements_per_scale=2
    ),
    "quantized_bits elements_per_scale, both axes": lambda: qkeras.quantized_bits(
        4, 0, 1, alpha="auto_po2", scale_axis=[0, 1], elements_per_scale=[3, 1]
    ),
    "quantized_bits post_training_scale": lambda: qkeras.quantized_bits(
        4, 0, 1, alpha="auto_po2", post_training_scale=np.float32(0.25)
    ),
    "quantized_bits stochastic rounding": lambda: qkeras.quantized_bits(4, 0, alpha=1, use_stochastic_rounding=True),
    "quantized_bits qnoise_factor": lambda: qkeras.quantized_bits(4, 0, alpha=1, qnoise_factor=0.5),
    "quantized_linear symmetric=0": lambda: qkeras.quantized_linear(4, 0, 0, alpha=0.5),
    "quantized_linear scale_axis": lambda: qkeras.quantized_linear(4, 0, alpha="auto_po2", scale_axis=0),
    "quantized_linear stochastic rounding": lambda: qkeras.quantized_linear(
        4, 0, alpha=1.0, use_stochastic_rounding=True
    ),
    "quantized_relu negative_slope": lambda: qkeras.quantized_relu(4, 0, negative_slope=0.25),
    "quantized_tanh use_real_tanh": lambda: qkeras.quantized_tanh(4, use_real_tanh=True),
    "quantized_hswish alpha=1": lambda: qkeras.quantized_hswish(6, 1, alpha=1),
    "quantized_po2 max_value": lambda: qkeras.quantized_po2(4, 1),
    "quantized_po2 quadratic": lambda: qkeras.quantized_po2(4, quadratic_approximation=True),
    "quantized_po2 stochastic rounding": lambda: qkeras.quantized_po2(4, use_stochastic_rounding=True),
    "quantized_relu_po2 quadratic": lambda: qkeras.quantized_relu_po2(4, quadratic_approximation=True),
    "binary use_01": lambda: qkeras.binary(use_01=True, alpha=1),
    "binary alpha=0.75": lambda: qkeras.binary(alpha=0.75),
    "binary scale_axis": lambda: qkeras.binary(alpha="auto_po2", scale_axis=0),
    "binary elements_per_scale, axis 0": lambda: qkeras.binary(alpha="auto_po2", scale_axis=0, elements_per_scale=3),
    "binary elements_per_scale, axis 1": lambda: qkeras.binary(alpha="auto_po2", scale_axis=1, elements_per_scale=2),
    "binary alpha='auto' elements_per_scale": lambda: qkeras.binary(alpha="auto", scale_axis=1, elements_per_scale=2),
    "binary stochastic rounding": lambda: qkeras.binary(alpha="auto_po2", use_stochastic_rounding=True),
    "ternary threshold": lambda: qkeras.ternary(alpha=0.5, threshold=0.25),
    "ternary stochastic rounding": lambda: qkeras.ternary(alpha="auto_po2", use_stochastic_rounding=True),
    "stochastic_binary alpha=1": lambda: qkeras.stochastic_binary(alpha=1.0),
    "stochastic_ternary alpha=1": lambda: qkeras.stochastic_ternary(alpha=1.0, threshold=0.4),
}
"""Further arguments, as the weights of the layers whose scales have different axes."""

ACTIVATIONS: dict[str, Callable[[], Quantizer]] = {
    **cells.ACTIVATIONS,
    "quantized_bits 1 bit": lambda: qkeras.quantized_bits(1, 0),
    "quantized_bits symmetric": lambda: qkeras.quantized_bits(4, 1, 1),
    "quantized_bits keep_negative=False": lambda: qkeras.quantized_bits(4, 1, keep_negative=False),
    "quantized_bits alpha='auto'": lambda: qkeras.quantized_bits(4, 1, alpha="auto"),
    "quantized_relu qnoise_factor": lambda: qkeras.quantized_relu(4, 1, qnoise_factor=0.5),
    "quantized_relu stochastic rounding": lambda: qkeras.quantized_relu(4, 1, use_stochastic_rounding=True),
    "quantized_ulaw": lambda: qkeras.quantized_ulaw(5, 1),
    "quantized_po2 quadratic": lambda: qkeras.quantized_po2(4, quadratic_approximation=True),
    "quantized_relu_po2 quadratic": lambda: qkeras.quantized_relu_po2(4, quadratic_approximation=True),
    "ternary threshold": lambda: qkeras.ternary(alpha=0.5, threshold=0.6),
    "stochastic_binary": lambda: qkeras.stochastic_binary(alpha=1.0),
    "bernoulli": lambda: qkeras.bernoulli(alpha=1),
    "text": lambda: "quantized_relu(4,1)",
    "dict": lambda: {"class_name": "quantized_bits", "config": {"bits": 4, "integer": 1, "symmetric": 1}},
}

REFUSED_ROWS = {
    "bernoulli": "random numbers at inference",
    "activations | quantized_bits alpha='auto'": "depends on the data of each batch",
    "qnoise_factor": "mixes unquantized values in",
    "binary stochastic rounding": "qkeras itself refuses",
    "activations | quantized_linear | QScaleShift": "qkeras itself refuses",
}
"""Part of a cell's key -> what its refusal says; no other cell may be refused. qkeras-v3 itself cannot run the last:
its binary selects between shapes that do not match, and its QScaleShift cannot infer a shape there."""


def expected_refusal(key: str) -> str | None:
    """What the refusal of the cell must say; None where it must run."""
    return next((words for part, words in REFUSED_ROWS.items() if part in key), None)


BIASES = (
    "quantized_bits alpha=1", "quantized_bits alpha=None", "quantized_bits alpha='auto_po2'", "quantized_linear",
    "quantized_relu", "quantized_ulaw", "quantized_tanh", "quantized_sigmoid", "quantized_hswish", "quantized_po2",
    "quantized_relu_po2", "binary alpha=1", "ternary alpha=1", "stochastic_binary", "stochastic_ternary", "bernoulli",
)  # fmt: skip


def model(shape: tuple[int, ...], cls: Any, *args: Any, **settings: Any) -> Any:
    return chain(shape, cls(*args, name="cell", **settings))


def separable_1d(kernel: Quantizer, bias: Quantizer, activation: Quantizer) -> Any:
    return model(
        (7, 2), qkeras.QSeparableConv1D, 3, 3, depthwise_quantizer=BITS, pointwise_quantizer=kernel,
        bias_quantizer=bias, activation=activation,
    )  # fmt: skip


def kernel_layer(name: str, kernel: Quantizer, bias: Quantizer = BIAS, activation: Quantizer = None) -> Any:
    """A layer with a kernel, a bias and an activation of one's choice."""
    shared = {"bias_quantizer": bias, "activation": activation}
    if name == "QDense":
        return model((6,), qkeras.QDense, 4, kernel_quantizer=kernel, **shared)
    if name == "QConv1D":
        return model((7, 2), qkeras.QConv1D, 4, 3, strides=2, padding="same", kernel_quantizer=kernel, **shared)
    if name == "QConv2D":
        return model((5, 4, 2), qkeras.QConv2D, 4, (3, 2), padding="same", kernel_quantizer=kernel, **shared)
    if name == "QDepthwiseConv2D":
        return model(
            (5, 4, 2), qkeras.QDepthwiseConv2D, (3, 2), depth_multiplier=2, depthwise_quantizer=kernel, **shared
        )
    if name == "QSeparableConv1D":
        return separable_1d(kernel, bias, activation)
    if name == "QSeparableConv2D":
        return model(
            (5, 4, 2), qkeras.QSeparableConv2D, 4, (3, 2), padding="same", depthwise_quantizer=BITS,
            pointwise_quantizer=kernel, **shared,
        )  # fmt: skip
    if name == "QMobileNetSeparableConv2D":
        return model(
            (5, 5, 2), qkeras.QMobileNetSeparableConv2D, 4, (2, 2), depthwise_quantizer=BITS,
            pointwise_quantizer=kernel, depthwise_activation="quantized_bits(6,2)", **shared,
        )  # fmt: skip
    if name == "QConv2DTranspose":
        return model(
            (3, 4, 2), qkeras.QConv2DTranspose, 4, (3, 2), strides=(2, 2), padding="same", kernel_quantizer=kernel,
            **shared,
        )  # fmt: skip
    if name == "QScaleShift":
        return model((3, 4, 2), qkeras.qmac.QScaleShift, weight_quantizer=kernel, **shared)
    cls = getattr(qkeras, name)
    if name.endswith("Batchnorm"):
        size = {"QDenseBatchnorm": (3,), "QConv2DBatchnorm": (4, (2, 2)), "QDepthwiseConv2DBatchnorm": ((2, 2),)}[name]
        role = "depthwise_quantizer" if "Depthwise" in name else "kernel_quantizer"
        bias = "quantized_bits(8,2,alpha=1)" if bias == BIAS else bias
        shape = (6,) if name == "QDenseBatchnorm" else (4, 4, 2)
        return model(shape, cls, *size, **{role: kernel}, bias_quantizer=bias, activation=activation)
    settings = {} if name == "QSimpleRNN" else {"recurrent_activation": "hard_sigmoid"}
    settings |= {"bias_quantizer": bias, "activation": activation or "quantized_tanh(5)"}
    return cells.sequence(cells.recurrent(cls, steps=2, units=2, kernel_quantizer=kernel, **settings), 2)


def normalized(quantizer: Quantizer) -> Any:
    """The quantizer as beta's and mean's; gamma's and the variance's are powers of two."""
    layer = qkeras.QBatchNormalization(beta_quantizer=quantizer, mean_quantizer=quantizer, name="norm")
    return chain((3, 3, 2), conv("conv"), layer, out())


def octave(quantizer: Quantizer, use_separable: bool = False) -> Any:
    """High and low frequencies, with the quantizer as the kernels' (separable: as both kernels')."""
    settings = {"padding": "same", "use_separable": use_separable, "bias_quantizer": BITS}
    settings |= dict.fromkeys(("kernel_quantizer", "depthwise_quantizer", "pointwise_quantizer"), quantizer)
    settings |= {"acc_quantizer": "quantized_bits(8,3)", "pooling_quantizer": "quantized_bits(8,0,1)"}

    def build(x: Any) -> Any:
        settings["activation"] = "quantized_bits(5,2)"
        high, low = qkeras.QOctaveConv2D(4, (2, 2), 0.5, name="first", **settings)([x, None])
        high, _ = qkeras.QOctaveConv2D(2, (2, 2), 0.0, name="last", **settings)([high, low])
        return act("out", 7, 3)(high)

    return chain((4, 4, 2), build)


WEIGHT_LAYERS: dict[str, Make] = {
    **{name: partial(kernel_layer, name) for name in (*FORWARD, *FOLDED, *RECURRENT, "QScaleShift")},
    "QBatchNormalization": normalized,
    "QOctaveConv2D": octave,
    "QOctaveConv2D separable": partial(octave, use_separable=True),
}
MORE_WEIGHT_LAYERS = ("QDense", "QConv1D", "QConv2D", "QDepthwiseConv2D", "QConv2DTranspose")
BIAS_LAYERS: dict[str, Make] = {
    name: (lambda q, name=name: kernel_layer(name, BITS, q)) for name in (*FORWARD, *FOLDED, *RECURRENT, "QScaleShift")
}
ACTIVATION_LAYERS: dict[str, Make] = {
    "QActivation": lambda a: chain((3, 3, 2), conv("conv"), qkeras.QActivation(a, name="cell")),
    **{
        name: (lambda a, name=name: kernel_layer(name, BITS, activation=a))
        for name in (*FORWARD, *FOLDED, "QScaleShift", "QSimpleRNN", "QLSTM", "QGRU")
        if name != "QMobileNetSeparableConv2D"
    },
    "QAveragePooling2D": lambda a: model(
        (4, 4, 2), qkeras.QAveragePooling2D, 2, average_quantizer="quantized_bits(6,0,1)", activation=a
    ),
    "QGlobalAveragePooling2D": lambda a: model(
        (3, 4, 2), qkeras.QGlobalAveragePooling2D, average_quantizer="quantized_bits(6,0,1)", activation=a
    ),
}


def states(cls: Any, bidirectional: bool = False, **settings: Any) -> Any:
    """A recurrent layer with initial states from the model's inputs, whose final states are outputs too."""
    count = (2 if cls is qkeras.QLSTM else 1) * (2 if bidirectional else 1)
    inputs = [keras.Input((2, 3), name="sequence"), *(keras.Input((2,), name=f"state{i}") for i in range(count))]
    x, *initial = (act(f"quantize_{t.name}", 6, 1)(t) for t in inputs)
    layer = cells.recurrent(cls, units=2, return_state=True, **settings)
    if bidirectional:
        layer = qkeras.QBidirectional(layer, merge_mode="concat")
    return keras.Model(inputs, layer(x, initial_state=initial), name="cell")


def adaptive(kind: str, **settings: Any) -> Any:
    return chain((4, 4, 2), conv("conv"), cells.adaptive(kind, **settings))


def first(*layers: Any, shape: tuple[int, ...] = (3, 4, 5)) -> Any:
    """Images with their channels first."""
    return chain(shape, *layers)


def half_models() -> Any:
    """A model inside a model, called twice, with two inputs and two outputs."""
    a, b = keras.Input((5,), name="one"), keras.Input((5,), name="two")
    inner = keras.Model([a, b], [act("sum", 6, 2)(L.Add(name="plus")([a, b])), dense("inner", 5)(a)], name="nested")
    given = keras.Input((5,), name="left"), keras.Input((5,), name="right")
    x, y = (act(f"q_{t.name}", 5, 1)(t) for t in given)
    total, hidden = inner([x, y])
    hidden = act("hidden", 5, 1)(hidden)
    again, last = inner([hidden, x])
    return keras.Model(list(given), [total, act("again", 4, 1)(again), last], name="two_calls")


def _layers() -> Iterator[tuple[str, Callable[[], Any], dict[str, Any]]]:
    """(row, model, further fields of the cell) of every layer that takes no quantizer, and of every argument that is
    none of a quantizer's."""
    for name, make in cells.OTHER_LAYERS.items():
        yield name, make, {}
    for name, make in operation_cells.LAYERS.items():
        yield name, make, {}
    yield "MaxPooling2D", lambda: model((5, 4, 2), L.MaxPooling2D, 2, 2, "same"), {}
    yield "AveragePooling2D", lambda: chain((5, 6, 2), L.AveragePooling2D(3, 2, "same", name="mean"), out()), {}
    yield "QAveragePooling2D", lambda: model((4, 6, 2), qkeras.QAveragePooling2D, (2, 3), average_quantizer=BITS), {}
    yield "QAveragePooling2D without quantizer", lambda: chain((5, 6, 2), qkeras.QAveragePooling2D(3), out()), {}
    yield "Add", lambda: cells.merged(L.Add(name="cell"), 3), {}
    yield "Concatenate", lambda: cells.merged(L.Concatenate(name="cell"), 2), {}
    yield "Flatten", lambda: model((3, 2, 2), L.Flatten), {}
    yield "Reshape", lambda: model((4, 3, 2), L.Reshape, (2, 6, 2)), {}
    yield "Dropout", lambda: chain((6,), L.Dropout(0.5, name="drop"), dense("cell")), {}
    yield "SpatialDropout1D", lambda: chain((4, 3), L.SpatialDropout1D(0.5, name="drop"), L.Flatten(name="cell")), {}
    for name, norm in cells.NORMALIZATIONS.items():
        yield name, lambda norm=norm: chain((3, 3, 2), conv("conv"), norm(), out()), {}
    for name, build in cells.FOLDED_LAYERS.items():
        for mode in ("ema_stats_folding", "batch_stats_folding"):
            yield f"{name} {mode}", lambda build=build, mode=mode: build(mode), {}
    for kind, per_channel in itertools.product(("quantized_bits", "quantized_relu"), (False, True)):
        make = partial(adaptive, kind, per_channel=per_channel)
        row = f"QAdaptiveActivation {kind} per_channel={per_channel}"
        yield row, make, {"settle": 3}
        yield f"{row}, .keras file", make, {"settle": 3, "via": ".keras"}
        yield f"{row}, .h5 file", make, {"settle": 3, "via": ".h5"}
    yield (
        "QAdaptiveActivation po2_rounding, .keras file",
        partial(adaptive, "quantized_bits", po2_rounding=True),
        {
            "settle": 3,
            "via": ".keras",
        },
    )
    yield "shared layers, nested model, two inputs, three outputs", half_models, {}
    yield "MaxPooling2D channels_first", lambda: first(L.MaxPooling2D(2, data_format="channels_first")), {}
    yield (
        "AveragePooling2D channels_first",
        lambda: first(L.AveragePooling2D(2, data_format="channels_first"), out()),
        {},
    )
    yield "GlobalMaxPooling2D channels_first", lambda: first(L.GlobalMaxPooling2D(data_format="channels_first")), {}
    yield "UpSampling2D channels_first", lambda: first(L.UpSampling2D((1, 2), data_format="channels_first")), {}
    yield "ZeroPadding2D channels_first", lambda: first(L.ZeroPadding2D(1, data_format="channels_first")), {}
    yield "Cropping2D channels_first", lambda: first(L.Cropping2D(1, data_format="channels_first")), {}
    yield "Flatten channels_first", lambda: first(L.Flatten(data_format="channels_first")), {}
    yield "BatchNormalization channels_first", lambda: first(L.BatchNormalization(axis=1), out()), {}


def apart() -> Any:
    """Both directions' outputs, not merged."""
    given = keras.Input((2, 3), name="input")
    inner = cells.recurrent(qkeras.QSimpleRNN, units=2, return_sequences=True)
    forward, backward = qkeras.QBidirectional(inner, merge_mode=None, name="both")(act("quantized", 5, 1)(given))
    return keras.Model(given, [act("forward", 5, 1)(forward), act("backward", 4, 1)(backward)], name="apart")


def _recurrent_layers() -> Iterator[tuple[str, Callable[[], Any], dict[str, Any]]]:
    yield "QOctaveConv2D", lambda: cells.octave(False), {}
    yield "QOctaveConv2D separable", lambda: cells.octave(True), {}

    def sequence(cls: Any, **settings: Any) -> Any:
        return cells.sequence(cells.recurrent(cls, units=2, **settings), 2)

    gated = {"recurrent_activation": "hard_sigmoid"}
    for many, back in itertools.product((False, True), repeat=2):
        settings = {"return_sequences": many, "go_backwards": back}
        row = f"return_sequences={many} go_backwards={back}"
        yield f"QSimpleRNN {row}", partial(sequence, qkeras.QSimpleRNN, **settings), {}
        yield f"QLSTM {row}", partial(sequence, qkeras.QLSTM, **gated, **settings), {}
        yield f"QGRU {row}", partial(sequence, qkeras.QGRU, **gated, **settings), {}
    quantized = {"recurrent_activation": "quantized_sigmoid(5)"}
    yield "QLSTM quantized_sigmoid", partial(sequence, qkeras.QLSTM, **quantized), {}
    for after in (False, True):
        yield (
            f"QGRU quantized_sigmoid reset_after={after}",
            partial(sequence, qkeras.QGRU, reset_after=after, **quantized),
            {},
        )
    yield "QSimpleRNN without state quantizer", partial(sequence, qkeras.QSimpleRNN, state_quantizer=None), {}
    yield "QSimpleRNN binary state", partial(sequence, qkeras.QSimpleRNN, state_quantizer="binary()"), {}
    automatic = {"kernel_quantizer": "quantized_bits(4,0,1,alpha='auto_po2')"}
    automatic |= {"recurrent_quantizer": "ternary(alpha='auto_po2')"}
    yield "QGRU automatic scales", partial(sequence, qkeras.QGRU, **automatic, **gated), {}
    yield "QSimpleRNN initial states, return_state", partial(states, qkeras.QSimpleRNN), {}
    yield "QLSTM initial states, return_state", partial(states, qkeras.QLSTM, **gated), {}
    yield "QGRU initial states, return_state", partial(states, qkeras.QGRU, return_sequences=True, **gated), {}
    yield "QBidirectional initial states, return_state", partial(states, qkeras.QSimpleRNN, True), {}
    for merge, many in itertools.product(("concat", "sum", "mul", "ave"), (False, True)):

        def both(merge: str = merge, many: bool = many) -> Any:
            inner = cells.recurrent(qkeras.QLSTM, units=2, return_sequences=many, **gated)
            return chain((2, 3), qkeras.QBidirectional(inner, merge_mode=merge, name="both"), out(8, 3))

        yield f"QBidirectional {merge} return_sequences={many}", both, {}
    yield "QBidirectional merge_mode=None", apart, {}


def _files() -> Iterator[tuple[str, Callable[[], Any], dict[str, Any]]]:
    """Saved models: quantizers as the files hold them."""
    for suffix in (".keras", ".h5"):
        for name in FORWARD:
            yield (
                f"{name}, {suffix} file",
                partial(kernel_layer, name, qkeras.quantized_bits(4, 0, 1), BIAS),
                {"via": suffix},
            )


def _crossed(family: str, rows: dict[str, Callable[[], Quantizer]], columns: dict[str, Make]) -> Iterator[Cell]:
    for row, quantizer in rows.items():
        for column, build in columns.items():
            yield Cell(family=family, row=row, column=column, make=lambda b=build, q=quantizer: b(q()))


def all_cells() -> list[Cell]:
    """The tables' cells in their order."""
    biases = {name: WEIGHTS[name] for name in BIASES}
    made = [
        *_crossed("weights", WEIGHTS, WEIGHT_LAYERS),
        *_crossed("weights, further arguments", MORE_WEIGHTS, {n: WEIGHT_LAYERS[n] for n in MORE_WEIGHT_LAYERS}),
        *_crossed("biases", biases, BIAS_LAYERS),
        *_crossed("activations", ACTIVATIONS, ACTIVATION_LAYERS),
    ]
    for family, rows in (
        ("layers", (*_layers(), *_files())),
        ("recurrent and octave layers", tuple(_recurrent_layers())),
    ):
        made += [Cell(family=family, row=row, column="layer", make=make, **fields) for row, make, fields in rows]
    for row, make in operation_cells.OPERATIONS.items():
        made.append(Cell(family="operations on tensors", row=row, column="operation", make=make))
    keys = [cell.key for cell in made]
    assert len(set(keys)) == len(keys), [key for key in keys if keys.count(key) > 1]
    return made
