"""The networks of QKeras' own examples, by name; ``narrow`` divides their channels for quick runs."""

from __future__ import annotations

import keras
import qkeras

L = keras.layers


def bits(*args, **kwargs):
    return qkeras.quantized_bits(*args, **kwargs)


def convolutions(x, specs, kernel, bias, narrow):
    """(filters, size, stride, activation) in a row."""
    for i, (filters, size, stride, act) in enumerate(specs):
        layer = qkeras.QConv2D(
            max(1, filters // narrow),
            size,
            strides=stride,
            kernel_quantizer=kernel(),
            bias_quantizer=bias(),
            name=f"conv{i}",
        )
        x = qkeras.QActivation(act, name=f"act{i}")(layer(x))
    return x


def head(x, kernel):
    x = L.Flatten(name="flatten")(x)
    x = qkeras.QDense(10, kernel_quantizer=kernel, bias_quantizer=bits(4, 0, 1), name="dense")(x)
    return L.Activation("softmax", name="softmax")(x)


def mnist(narrow=1):
    inputs = keras.Input((28, 28, 1), name="input")
    specs = [(32, 2, 2, "quantized_relu(4,0)"), (64, 3, 2, "quantized_relu(4,0)"), (64, 2, 2, "quantized_relu(4,0)")]
    x = convolutions(inputs, specs, lambda: bits(4, 0, 1), lambda: bits(4, 0, 1), narrow)
    return keras.Model(inputs, head(x, bits(4, 0, 1)), name="mnist")


def mnist_po2(narrow=1):
    inputs = keras.Input((28, 28, 1), name="input")
    x = qkeras.QActivation("quantized_relu_po2(4)", name="acti")(inputs)
    specs = [
        (32, 2, 2, "quantized_relu_po2(4,4)"),
        (64, 3, 2, "quantized_relu_po2(4,4,use_stochastic_rounding=True)"),
        (64, 2, 2, "quantized_relu(4,1)"),
    ]
    x = convolutions(x, specs, lambda: qkeras.quantized_po2(4, 1), lambda: qkeras.quantized_po2(4, 1), narrow)
    return keras.Model(inputs, head(x, bits(4, 0, 1)), name="mnist_po2")


def mnist_bn(narrow=1):
    """With ternary() where the example has a threshold too, which QKeras refuses once alpha becomes automatic."""
    x = inputs = keras.Input((28, 28, 1), name="input")
    for i, filters in enumerate((128, 256, 128)):
        x = qkeras.QConv2D(
            max(1, filters // narrow), 3, kernel_quantizer=qkeras.ternary(), use_bias=False, name=f"conv{i}"
        )(x)
        x = qkeras.QBatchNormalization(
            gamma_quantizer=qkeras.quantized_relu_po2(4, 8),
            variance_quantizer=qkeras.quantized_relu_po2(6),
            beta_quantizer=qkeras.quantized_po2(4, 4),
            name=f"bn{i}",
        )(x)
        x = qkeras.QActivation("quantized_relu(3,1)", name=f"act{i}")(x)
        x = L.MaxPooling2D(2, 2, name=f"mp{i}")(x)
    return keras.Model(inputs, head(x, qkeras.quantized_ulaw(4, 0, 1)), name="mnist_bn")


def mnist_ae(narrow=1):
    x = inputs = keras.Input((28, 28, 1), name="input")
    rows = [(qkeras.QConv2D, n) for n in (32, 16, 8)] + [(qkeras.QConv2DTranspose, n) for n in (8, 16, 32)]
    for i, (layer, filters) in enumerate(rows):
        x = layer(
            max(1, filters // narrow), 3, kernel_quantizer=bits(4, 0, 1), bias_quantizer=bits(4, 0, 1), name=f"conv{i}"
        )(x)
        x = qkeras.QActivation("quantized_relu(4,0)", name=f"act{i}")(x)
    x = qkeras.QConv2D(1, 3, padding="same", kernel_quantizer=bits(4, 0, 1), bias_quantizer=bits(4, 0, 1), name="last")(
        x
    )
    return keras.Model(inputs, L.Activation("sigmoid", name="sigmoid")(x), name="mnist_ae")


def qoctave(narrow=1):
    side = 256 if narrow == 1 else 64
    inputs = keras.Input((side, side, 3), name="input")
    settings = {
        "bias_quantizer": "quantized_bits(4,1)",
        "depthwise_quantizer": "quantized_bits(4,1)",
        "pointwise_quantizer": "quantized_bits(4,1)",
        "depthwise_activation": "quantized_bits(6,2,1)",
        "acc_quantizer": "quantized_bits(16,7,1)",
        "activation": "quantized_relu(6,2)",
        "use_separable": True,
    }
    rows = [
        (32, 0.5, 2, "valid"),
        (64, 0.4, 2, "same"),
        (64, 0.4, 2, "same"),
        (32, 0.4, 1, "same"),
        (32, 0.3, 1, "same"),
    ]
    state = [inputs, None]
    for i, (filters, alpha, stride, padding) in enumerate([*rows, (32, 0.0, 2, "same")]):
        octave = qkeras.QOctaveConv2D(
            max(4, filters // narrow),
            (3, 3),
            alpha,
            strides=(stride, stride),
            padding=padding,
            name=f"block{i}",
            **settings,
        )
        state = octave(state)
    x = L.UpSampling2D((2, 2), name="up")(state[0])
    x = qkeras.QConv2D(
        2, 2, padding="same", kernel_quantizer=bits(4, 0, 1), bias_quantizer=bits(4, 0, 1), name="conv_up"
    )(x)
    return keras.Model(inputs, L.Activation("softmax", name="softmax")(x), name="qoctave")


def cifar10_po2(narrow=1):
    inputs = keras.Input((32, 32, 3), name="input")
    x = qkeras.QActivation("quantized_relu_po2(4,4)", name="acti")(inputs)
    rows = [
        (128, qkeras.quantized_po2(4, 1), qkeras.quantized_po2(4, 4), "ternary()"),
        (256, qkeras.quantized_po2(4, 1), qkeras.quantized_po2(4, 4), "quantized_relu(6,2)"),
        (128, bits(4, 0, 1), bits(4, 0, 1), "quantized_relu(4,2)"),
    ]
    for i, (filters, kernel, bias, act) in enumerate(rows):
        x = qkeras.QConv2D(max(1, filters // narrow), 3, kernel_quantizer=kernel, bias_quantizer=bias, name=f"conv{i}")(
            x
        )
        x = qkeras.QActivation(act, name=f"act{i}")(x)
        x = L.MaxPooling2D(2, 2, name=f"mp{i}")(x)
    return keras.Model(inputs, head(x, qkeras.quantized_ulaw(4, 0, 1)), name="cifar10_po2")


EXAMPLES = {f.__name__: f for f in (mnist, mnist_po2, mnist_bn, mnist_ae, qoctave, cifar10_po2)}
"""example_act and example_ternary build no network: they print quantizers, which tests/quantizers covers."""
