"""One small model per layer class and quantizer: the cells of the layer x quantizer table."""

# Longer than 400 lines: a table of small models, a cell each, in the order of the page.

from __future__ import annotations

import itertools

import keras
import numpy as np
import qkeras

L = keras.layers


def chain(shape, *layers, bits=5, integer=1, name="cell", source="input"):
    """Input, quantizer 'quantize', then the layers; functions take and return tensors."""
    inputs = keras.Input(shape, name=source)
    x = qkeras.QActivation(
        qkeras.quantized_bits(bits, integer), name="quantize" if source == "input" else f"{name}_quantize"
    )(inputs)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x, name=name)


def adaptive(kind, **settings):
    """A QAdaptiveActivation whose config Keras can save: qkeras-v3's own holds tensors once the layer is built.
    Without ema_freeze_delay Keras cannot even write a new one's."""
    delays = {"quantization_delay": 1, "ema_freeze_delay": 100, "ema_decay": 0.5}
    layer = qkeras.QAdaptiveActivation(kind, 6, **delays, name="cell", **settings)
    own = layer.get_config
    layer.get_config = lambda: own() | delays | {"current_step": None}
    return layer


def out(bits=6, integer=2):
    return qkeras.QActivation(qkeras.quantized_bits(bits, integer), name="out")


WEIGHTS = {
    "quantized_bits alpha=1": lambda: qkeras.quantized_bits(4, 0, alpha=1),
    "quantized_bits alpha='auto'": lambda: qkeras.quantized_bits(4, 0, 1, alpha="auto"),
    "quantized_bits alpha='auto_po2'": lambda: qkeras.quantized_bits(4, 0, 1, alpha="auto_po2"),
    "quantized_bits alpha=None": lambda: qkeras.quantized_bits(4, 0, 1),
    "quantized_linear": lambda: qkeras.quantized_linear(4, 0, alpha=1.0),
    "quantized_linear alpha='auto'": lambda: qkeras.quantized_linear(4, 0, alpha="auto"),
    "quantized_linear alpha='auto_po2'": lambda: qkeras.quantized_linear(4, 0, alpha="auto_po2"),
    "quantized_po2": lambda: qkeras.quantized_po2(4),
    "quantized_relu_po2": lambda: qkeras.quantized_relu_po2(4, negative_slope=0.5),
    "quantized_relu": lambda: qkeras.quantized_relu(4, 0),
    "quantized_tanh": lambda: qkeras.quantized_tanh(4),
    "quantized_sigmoid": lambda: qkeras.quantized_sigmoid(4),
    "binary alpha=1": lambda: qkeras.binary(alpha=1),
    "binary alpha='auto'": lambda: qkeras.binary(alpha="auto"),
    "binary alpha='auto_po2'": lambda: qkeras.binary(alpha="auto_po2"),
    "ternary alpha=1": lambda: qkeras.ternary(alpha=1.0),
    "ternary alpha='auto'": lambda: qkeras.ternary(alpha="auto"),
    "ternary alpha='auto_po2'": lambda: qkeras.ternary(alpha="auto_po2"),
    "stochastic_binary": lambda: qkeras.stochastic_binary(alpha="auto_po2"),
    "stochastic_ternary": lambda: qkeras.stochastic_ternary(alpha="auto_po2"),
}

ACTIVATIONS = {
    "quantized_bits": lambda: qkeras.quantized_bits(5, 1),
    "quantized_bits alpha": lambda: qkeras.quantized_bits(5, 1, alpha=0.75),
    "quantized_linear": lambda: qkeras.quantized_linear(5, 1),
    "quantized_relu": lambda: qkeras.quantized_relu(5, 1),
    "quantized_relu slope": lambda: qkeras.quantized_relu(5, 1, negative_slope=0.25),
    "quantized_relu sigmoid": lambda: qkeras.quantized_relu(5, 1, use_sigmoid=1),
    "quantized_relu bound": lambda: qkeras.quantized_relu(5, 3, relu_upper_bound=6, is_quantized_clip=False),
    "quantized_tanh": lambda: qkeras.quantized_tanh(5),
    "quantized_tanh real": lambda: qkeras.quantized_tanh(5, use_real_tanh=True),
    "quantized_sigmoid": lambda: qkeras.quantized_sigmoid(5),
    "quantized_sigmoid real": lambda: qkeras.quantized_sigmoid(5, use_real_sigmoid=True),
    "quantized_hswish": lambda: qkeras.quantized_hswish(6, 2),
    "quantized_po2": lambda: qkeras.quantized_po2(4),
    "quantized_relu_po2": lambda: qkeras.quantized_relu_po2(4),
    "quantized_relu_po2 slope": lambda: qkeras.quantized_relu_po2(4, negative_slope=0.25),
    "binary": lambda: qkeras.binary(),
    "binary 01": lambda: qkeras.binary(use_01=True, alpha=1),
    "ternary": lambda: qkeras.ternary(),
    "stochastic_ternary": lambda: qkeras.stochastic_ternary(alpha=1.0, threshold=0.4),
    "binary_tanh": lambda: "binary_tanh",
    "binary_sigmoid": lambda: "binary_sigmoid",
    "hard_tanh": lambda: "hard_tanh",
    "hard_sigmoid": lambda: "hard_sigmoid",
    "smooth_tanh": lambda: "smooth_tanh",
    "smooth_sigmoid": lambda: "smooth_sigmoid",
    "relu": lambda: "relu",
}


def bias():
    return qkeras.quantized_bits(6, 1, alpha=1)


KERNEL_LAYERS = {
    "QDense": lambda q, a: chain(
        (7,), qkeras.QDense(5, kernel_quantizer=q, bias_quantizer=bias(), activation=a, name="cell")
    ),
    "QConv1D": lambda q, a: chain(
        (9, 3),
        qkeras.QConv1D(
            4, 3, strides=2, padding="same", kernel_quantizer=q, bias_quantizer=bias(), activation=a, name="cell"
        ),
    ),
    "QConv2D": lambda q, a: chain(
        (6, 5, 2),
        qkeras.QConv2D(4, (3, 2), padding="same", kernel_quantizer=q, bias_quantizer=bias(), activation=a, name="cell"),
    ),
    "QDepthwiseConv2D": lambda q, a: chain(
        (6, 5, 2),
        qkeras.QDepthwiseConv2D(
            (3, 2), depth_multiplier=2, depthwise_quantizer=q, bias_quantizer=bias(), activation=a, name="cell"
        ),
    ),
    "QSeparableConv2D": lambda q, a: chain(
        (6, 5, 2),
        qkeras.QSeparableConv2D(
            3,
            (3, 2),
            padding="same",
            depthwise_quantizer="quantized_bits(4,0,alpha=1)",
            pointwise_quantizer=q,
            bias_quantizer=bias(),
            activation=a,
            name="cell",
        ),
    ),
    "QConv2DTranspose": lambda q, a: chain(
        (4, 5, 2),
        qkeras.QConv2DTranspose(
            3,
            (3, 2),
            strides=(2, 2),
            padding="same",
            kernel_quantizer=q,
            bias_quantizer=bias(),
            activation=a,
            name="cell",
        ),
    ),
}


def dense(name, units=4):
    return qkeras.QDense(units, kernel_quantizer="quantized_bits(4,0,alpha=1)", bias_quantizer=bias(), name=name)


def conv(name, filters=3):
    return qkeras.QConv2D(
        filters, 2, padding="same", kernel_quantizer="quantized_bits(4,0,alpha=1)", bias_quantizer=bias(), name=name
    )


def act(name, bits=5, integer=2):
    return qkeras.QActivation(qkeras.quantized_bits(bits, integer), name=name)


def merged(layer, count=2, scales=((5, 2), (7, 1), (4, 3))):
    """Branches on different grids into a merge layer."""

    def build(x):
        branches = [act(f"branch{i}", *scales[i])(conv(f"conv{i}")(x)) for i in range(count)]
        return layer(branches)

    return chain((4, 4, 2), build)


def conv_transpose(size, strides, padding):
    layer = qkeras.QConv2DTranspose(
        2,
        size,
        strides=strides,
        padding=padding,
        kernel_quantizer="quantized_bits(4,0,alpha=1)",
        bias_quantizer=bias(),
        name="cell",
    )
    return chain((4, 3, 2), layer)


OTHER_LAYERS = {
    "MaxPooling1D": lambda: chain((9, 3), L.MaxPooling1D(2, 3, "same", name="cell")),
    "AveragePooling1D": lambda: chain((9, 3), L.AveragePooling1D(3, 2, "same", name="mean"), out()),
    "AveragePooling1D valid": lambda: chain((9, 3), L.AveragePooling1D(2, name="mean"), out()),
    "GlobalMaxPooling1D": lambda: chain((9, 3), L.GlobalMaxPooling1D(name="cell")),
    "GlobalMaxPooling2D": lambda: chain((4, 5, 3), L.GlobalMaxPooling2D(name="cell")),
    "GlobalMaxPooling2D keepdims": lambda: chain((4, 5, 3), L.GlobalMaxPooling2D(keepdims=True, name="cell")),
    "GlobalAveragePooling1D": lambda: chain((9, 3), L.GlobalAveragePooling1D(name="mean"), out()),
    "GlobalAveragePooling2D": lambda: chain((4, 5, 3), L.GlobalAveragePooling2D(name="mean"), out()),
    "UpSampling2D": lambda: chain((3, 4, 2), L.UpSampling2D((2, 3), name="cell")),
    "UpSampling1D": lambda: chain((5, 2), L.UpSampling1D(3, name="cell")),
    "ZeroPadding1D": lambda: chain((5, 2), L.ZeroPadding1D((2, 1), name="cell")),
    "ZeroPadding2D": lambda: chain((3, 4, 2), L.ZeroPadding2D(((1, 0), (2, 3)), name="cell")),
    "Cropping1D": lambda: chain((7, 2), L.Cropping1D((2, 1), name="cell")),
    "Cropping2D": lambda: chain((6, 7, 2), L.Cropping2D(((1, 2), (0, 3)), name="cell")),
    "Permute": lambda: chain((3, 4, 2), L.Permute((3, 1, 2), name="cell")),
    "Permute after normalization": lambda: chain(
        (3, 4, 2), L.BatchNormalization(), act("b"), L.Permute((3, 1, 2), name="cell")
    ),
    "Subtract": lambda: merged(L.Subtract(name="cell")),
    "Multiply": lambda: merged(L.Multiply(name="cell"), 3),
    "Maximum": lambda: merged(L.Maximum(name="cell"), 3),
    "Minimum": lambda: merged(L.Minimum(name="cell"), 3),
    "Average": lambda: chain(
        (4, 4, 2),
        lambda x: out()(
            L.Average(name="mean")([act("a")(conv("c")(x)), act("b", 7, 1)(conv("d")(x)), act("e", 4, 3)(conv("f")(x))])
        ),
    ),
    "ReLU": lambda: chain((4, 4, 2), conv("conv"), L.ReLU(name="relu"), out()),
    "ReLU max": lambda: chain((4, 4, 2), conv("conv"), L.ReLU(max_value=1.5, name="relu"), out()),
    "ReLU slope": lambda: chain((4, 4, 2), conv("conv"), L.ReLU(negative_slope=0.25, name="cell"), out()),
    "LeakyReLU": lambda: chain((4, 4, 2), conv("conv"), L.LeakyReLU(negative_slope=0.125, name="cell"), out()),
    "SpatialDropout2D": lambda: chain((4, 4, 2), L.SpatialDropout2D(0.5, name="drop"), conv("cell")),
    "GaussianNoise": lambda: chain((4, 4, 2), L.GaussianNoise(0.5, name="drop"), conv("cell")),
    "QConv1D dilation": lambda: chain(
        (9, 3),
        qkeras.QConv1D(
            4,
            3,
            padding="valid",
            dilation_rate=2,
            kernel_quantizer="quantized_bits(4,0,alpha=1)",
            bias_quantizer=bias(),
            name="cell",
        ),
    ),
    "QSeparableConv1D": lambda: chain(
        (9, 3),
        qkeras.QSeparableConv1D(
            4,
            3,
            strides=2,
            padding="same",
            depth_multiplier=2,
            depthwise_quantizer="quantized_bits(4,0,alpha=1)",
            pointwise_quantizer="ternary(alpha=1)",
            bias_quantizer=bias(),
            name="cell",
        ),
    ),
    "QConv2D dilation": lambda: chain(
        (8, 7, 2),
        qkeras.QConv2D(
            3,
            3,
            dilation_rate=(2, 1),
            padding="same",
            kernel_quantizer="quantized_bits(4,0,alpha=1)",
            bias_quantizer=bias(),
            name="cell",
        ),
    ),
    "QConv2D mask": lambda: chain(
        (6, 6, 2),
        qkeras.QConv2D(
            3,
            3,
            mask=np.array([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]], dtype="float32"),
            kernel_quantizer="quantized_bits(4,0,alpha=1)",
            bias_quantizer=bias(),
            name="cell",
        ),
    ),
    **{
        f"QConv2DTranspose {size} {strides} {padding}": (lambda s=size, t=strides, p=padding: conv_transpose(s, t, p))
        for size, strides, padding in itertools.product(
            [(1, 1), (2, 3), (3, 3)], [(1, 1), (2, 2), (3, 1)], ["valid", "same"]
        )
    },
    "QScaleShift": lambda: chain(
        (4, 4, 2),
        qkeras.qmac.QScaleShift(
            weight_quantizer="quantized_bits(5,1,alpha=1)", bias_quantizer="quantized_bits(5,1,alpha=1)", name="shift"
        ),
        out(),
    ),
    "QScaleShift activation": lambda: chain(
        (4, 4, 2),
        qkeras.qmac.QScaleShift(
            weight_quantizer="quantized_bits(5,1,alpha=1)",
            bias_quantizer="quantized_bits(5,1,alpha=1)",
            activation="quantized_relu(4,1)",
            name="cell",
        ),
    ),
    "QMobileNetSeparableConv2D": lambda: chain(
        (6, 6, 2),
        qkeras.QMobileNetSeparableConv2D(
            3,
            (3, 3),
            depthwise_quantizer="quantized_bits(4,0,alpha=1)",
            pointwise_quantizer="quantized_bits(4,0,alpha=1)",
            bias_quantizer="quantized_bits(4,0,alpha=1)",
            depthwise_activation="quantized_bits(6,2)",
            name="cell",
        ),
    ),
    "shared layer": lambda: shared(),
    "nested model": lambda: chain(
        (4, 4, 2), chain((4, 4, 2), conv("inner"), name="nested", source="inner_input"), out()
    ),
}


def shared():
    layer = dense("shared", 6)
    return chain((6,), layer, act("a"), layer, act("cell"))


FOLDED_LAYERS = {
    "QConv2DBatchnorm": lambda mode: chain(
        (6, 5, 2),
        qkeras.QConv2DBatchnorm(
            3,
            (3, 2),
            padding="same",
            folding_mode=mode,
            kernel_quantizer="quantized_bits(5,1,alpha=1)",
            bias_quantizer="quantized_bits(8,2,alpha=1)",
            name="cell",
        ),
    ),
    "QDepthwiseConv2DBatchnorm": lambda mode: chain(
        (6, 5, 2),
        qkeras.QDepthwiseConv2DBatchnorm(
            (3, 2),
            folding_mode=mode,
            depthwise_quantizer="quantized_bits(5,1,alpha=1)",
            bias_quantizer="quantized_bits(8,2,alpha=1)",
            name="cell",
        ),
    ),
    "QDenseBatchnorm": lambda mode: chain(
        (7,),
        qkeras.QDenseBatchnorm(
            4,
            folding_mode=mode,
            kernel_quantizer="quantized_bits(5,1,alpha=1)",
            bias_quantizer="quantized_bits(8,2,alpha=1)",
            name="cell",
        ),
    ),
}


def recurrent(cls, steps=4, bits=6, units=4, **changes):
    settings = {
        "kernel_quantizer": "quantized_bits(4,0,alpha=1)",
        "recurrent_quantizer": "quantized_bits(4,0,alpha=1)",
        "bias_quantizer": "quantized_bits(4,0,alpha=1)",
        "state_quantizer": f"quantized_bits({bits},1)",
        "activation": "quantized_tanh(5)",
    }
    return cls(units, **(settings | changes))


def sequence(layer, steps=4):
    return chain((steps, 3), layer)


RECURRENT_LAYERS = {
    **{
        f"QSimpleRNN sequences={many} backwards={back}": (
            lambda many=many, back=back: sequence(
                recurrent(qkeras.QSimpleRNN, return_sequences=many, go_backwards=back)
            )
        )
        for many, back in itertools.product([False, True], [False, True])
    },
    **{
        f"QLSTM {gate} sequences={many}": (
            lambda gate=gate, many=many: sequence(
                recurrent(qkeras.QLSTM, recurrent_activation=gate, return_sequences=many)
            )
        )
        for gate, many in itertools.product(["hard_sigmoid", "quantized_sigmoid(5)"], [False, True])
    },
    **{
        f"QGRU {gate} reset_after={after} sequences={many}": (
            lambda gate=gate, many=many, after=after: sequence(
                recurrent(qkeras.QGRU, recurrent_activation=gate, return_sequences=many, reset_after=after)
            )
        )
        for gate, many, after in itertools.product(
            ["hard_sigmoid", "quantized_sigmoid(5)"], [False, True], [False, True]
        )
    },
    "QSimpleRNN without state quantizer": lambda: sequence(recurrent(qkeras.QSimpleRNN, state_quantizer=None)),
    "QSimpleRNN with a binary state": lambda: sequence(recurrent(qkeras.QSimpleRNN, state_quantizer="binary()")),
    "QGRU with automatic scales": lambda: sequence(
        recurrent(
            qkeras.QGRU,
            kernel_quantizer="quantized_bits(4,0,1,alpha='auto_po2')",
            recurrent_quantizer="ternary(alpha='auto_po2')",
        )
    ),
    **{
        f"QBidirectional {merge} sequences={many}": (
            lambda merge=merge, many=many: chain(
                (4, 3),
                qkeras.QBidirectional(
                    recurrent(qkeras.QLSTM, return_sequences=many, name=f"inner_{merge}"), merge_mode=merge, name="both"
                ),
                out(8, 3),
            )
        )
        for merge, many in itertools.product(["concat", "sum", "mul", "ave"], [False, True])
    },
}


NORMALIZATIONS = {
    "QBatchNormalization": lambda: qkeras.QBatchNormalization(name="norm"),
    "QBatchNormalization inverse": lambda: qkeras.QBatchNormalization(
        gamma_quantizer=None,
        variance_quantizer=None,
        inverse_quantizer="quantized_bits(8,1,alpha=1)",
        mean_quantizer="quantized_bits(8,1,alpha=1)",
        beta_quantizer="quantized_bits(8,1,alpha=1)",
        name="norm",
    ),
    "QBatchNormalization bits": lambda: qkeras.QBatchNormalization(
        gamma_quantizer="quantized_bits(8,1,alpha=1)",
        variance_quantizer="quantized_bits(8,1,alpha=1)",
        mean_quantizer="quantized_bits(8,1,alpha=1)",
        beta_quantizer="quantized_bits(8,1,alpha=1)",
        name="norm",
    ),
    "QBatchNormalization without quantizers": lambda: qkeras.QBatchNormalization(
        gamma_quantizer=None, variance_quantizer=None, mean_quantizer=None, beta_quantizer=None, name="norm"
    ),
    "BatchNormalization": lambda: L.BatchNormalization(name="norm"),
    "BatchNormalization without scale": lambda: L.BatchNormalization(scale=False, name="norm"),
    "BatchNormalization without center": lambda: L.BatchNormalization(center=False, name="norm"),
}


def octave(use_separable):
    """Two frequencies: half the channels at half the resolution, and back."""
    settings = {
        "padding": "same",
        "kernel_quantizer": "quantized_bits(4,0,alpha=1)",
        "depthwise_quantizer": "quantized_bits(4,0,alpha=1)",
        "pointwise_quantizer": "quantized_bits(4,0,alpha=1)",
        "bias_quantizer": "quantized_bits(4,0,alpha=1)",
        "acc_quantizer": "quantized_bits(8,3)",
        "pooling_quantizer": "quantized_bits(8,0,1)",
        "activation": "quantized_relu(5,1)",
        "use_separable": use_separable,
    }

    def build(x):
        high, low = qkeras.QOctaveConv2D(4, (3, 3), 0.5, name="first", **settings)([x, None])
        high, low = qkeras.QOctaveConv2D(4, (3, 3), 0.5, name="second", **settings)([high, low])
        high, _ = qkeras.QOctaveConv2D(3, (3, 3), 0.0, name="last", **settings)([high, low])
        return qkeras.QActivation("quantized_bits(7,3)", name="out")(high)

    return chain((8, 8, 2), build)


def two_ends():
    """Two inputs, two outputs, a layer that no output needs."""
    a, b = keras.Input((5,), name="left"), keras.Input((3, 2), name="right")
    x = qkeras.QActivation("quantized_bits(6,1)", name="q_left")(a)
    y = qkeras.QActivation("quantized_relu(4,1)", name="q_right")(b)
    y = L.Flatten(name="flat")(y)
    both = L.Concatenate(name="both")([x, y])
    first, second = dense("first")(both), act("second")(dense("second_dense")(x))
    return keras.Model([a, b], [second, first], name="two_ends")


def fill(model, seed=0):
    """Random weights with zeros and ties; statistics positive where they must be."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "iteration" in variable.path:
            continue
        values = rng.normal(0, 0.5, variable.shape)
        if "variance" in variable.path:
            values = rng.uniform(0.2, 2.0, variable.shape)
        elif "gamma" in variable.path:
            values = rng.uniform(0.4, 1.6, variable.shape)
        elif "beta" in variable.path:
            # Where x equals the mean the result is beta itself: on a tie, float32's noise would decide.
            values = np.where(values < 0, -1, 1) * np.maximum(np.abs(values), 0.3)
        else:
            values = np.where(rng.random(variable.shape) < 0.15, np.round(values * 8) / 8 + 1 / 64, values)
            values = np.where(rng.random(variable.shape) < 0.1, 0.0, values)
        variable.assign(values.astype(np.float32))
    return model


def inputs(model, count=100, seed=0):
    """Real inputs over and beyond the input quantizer's range, with corners."""
    rng = np.random.default_rng(seed)
    shape = model.inputs[0].shape[1:]
    x = rng.normal(0, 1.2, (count, *shape))
    x[0], x[1], x[2] = 0, 9, -9
    x[3] = rng.integers(-16, 16, shape) / 8 + 1 / 16
    return x.astype(np.float32)
