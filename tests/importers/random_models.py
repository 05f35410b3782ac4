"""Seeded random QKeras models: odd shapes, 1 to 16 bits, every layer and quantizer of the spine."""

from __future__ import annotations

import keras
import numpy as np
import qkeras

ALPHAS = [None, 1, 1, 1.0, 0.5, 2.0, "auto", "auto_po2"]


class Maker:
    """Draws one model. ``exact``: only what float32 holds exactly (no automatic or odd scales, no normalization)."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.wide = bool(self.rng.random() < 0.3)
        self.seed = seed

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def bits(self, low=1, high=8):
        return int(self.rng.integers(low, (16 if self.wide else high) + 1))

    def kernel(self):
        kind = self.rng.random()
        if kind < 0.65:
            bits = self.bits()
            alpha = self.pick(ALPHAS) if bits > 1 else self.pick([1, 1.0])
            return (
                qkeras.quantized_bits(
                    bits,
                    int(self.rng.integers(-1, 3)),
                    self.pick([0, 1]),
                    keep_negative=self.pick([True] * 5 + [False]),
                    alpha=alpha,
                )
                if alpha not in ("auto", "auto_po2", None)
                else qkeras.quantized_bits(bits, 0, 1, alpha=alpha)
            )
        if kind < 0.82:
            return qkeras.binary(alpha=self.pick([1, 1.0, 0.5, "auto", "auto_po2", None]))
        alpha = self.pick([1, 1.0, 0.25, "auto", "auto_po2", None])
        threshold = self.pick([None, 0.5, 0.1]) if alpha in (1, 1.0, 0.25) else None
        return qkeras.ternary(alpha=alpha, threshold=threshold)

    def bias(self):
        return self.pick(
            [
                qkeras.quantized_bits(self.bits(2), int(self.rng.integers(0, 3)), alpha=1),
                qkeras.quantized_bits(self.bits(2, 12), 1, 1),
                qkeras.quantized_bits(8, 2, alpha=0.5),
                qkeras.ternary(alpha=1.0),
                None,
            ]
        )

    def activation(self, *, uniform=False):
        kind = self.rng.random()
        if uniform or kind < 0.3:
            bits = self.bits(2)
            return qkeras.quantized_bits(
                bits, int(self.rng.integers(0, 4)), self.pick([0, 1]), alpha=self.pick([None, 1])
            )
        if kind < 0.75:
            bits = self.bits(1)
            slope = self.pick([0.0, 0.0, 0.0, 0.25, 0.125, 0.5]) if bits > 1 else 0.0
            clip = self.pick([True, True, False])
            return qkeras.quantized_relu(
                bits,
                int(self.rng.integers(0, 4)),
                use_sigmoid=self.pick([0, 0, 0, 1]),
                negative_slope=slope,
                is_quantized_clip=clip,
                relu_upper_bound=None if clip else self.pick([None, 1.5, 6.0]),
            )
        if kind < 0.85:
            return qkeras.binary(use_01=self.pick([False, True]), alpha=self.pick([None, 1, 0.5]))
        if kind < 0.93:
            return qkeras.ternary(alpha=self.pick([None, 1.0, 0.5]), threshold=self.pick([None, 0.25, 1.0]))
        return qkeras.quantized_bits(1, 0, alpha=1)

    def fused(self):
        return self.activation() if self.rng.random() < 0.35 else self.pick([None, None, "relu", "linear"])

    def window(self, x):
        h, w = x.shape[1:3]
        return int(self.rng.integers(1, min(h, 4) + 1)), int(self.rng.integers(1, min(w, 4) + 1))

    def conv(self, x):
        return qkeras.QConv2D(
            int(self.rng.integers(1, 6)),
            self.window(x),
            strides=(1, 1) if self.rng.random() < 0.6 else self.pick([(2, 2), (1, 2), (3, 1)]),
            padding=self.pick(["valid", "same"]),
            kernel_quantizer=self.kernel(),
            bias_quantizer=self.bias(),
            use_bias=bool(self.rng.random() < 0.8),
            activation=self.fused(),
        )(x)

    def depthwise(self, x):
        stride = self.pick([1, 1, 2])
        return qkeras.QDepthwiseConv2D(
            self.window(x),
            strides=(stride, stride),
            padding=self.pick(["valid", "same"]),
            depth_multiplier=self.pick([1, 1, 2]),
            depthwise_quantizer=self.kernel(),
            bias_quantizer=self.bias(),
            activation=self.fused(),
        )(x)

    def average_quantizer(self):
        return qkeras.quantized_bits(
            int(self.rng.integers(2, 17)), self.pick([0, 0, 1]), self.pick([0, 1]), alpha=self.pick([None, 1])
        )

    def pool(self, x):
        kind, size, padding = self.rng.random(), self.window(x), self.pick(["valid", "same"])
        strides = self.pick([None, (1, 1), (2, 2), (2, 1)])
        if kind < 0.35:
            return keras.layers.MaxPooling2D(size, strides, padding)(x)
        if kind < 0.5:
            return keras.layers.AveragePooling2D(size, strides, padding)(x)
        quantizer = self.average_quantizer() if self.rng.random() < 0.8 else None
        return qkeras.QAveragePooling2D(
            size, strides, padding, average_quantizer=quantizer, activation=self.pick([None, self.activation()])
        )(x)

    def norm(self, x):
        layer = keras.layers.BatchNormalization(
            center=self.pick([True, True, False]), scale=self.pick([True, True, False]), epsilon=self.pick([1e-3, 1e-5])
        )
        return layer(x)

    def act(self, x):
        return qkeras.QActivation(self.activation())(x)

    def residual(self, x):
        return keras.layers.Add()([self.act(x), self.act(self.same_conv(x))])

    def same_conv(self, x):
        settings = {"padding": "same", "kernel_quantizer": self.kernel(), "bias_quantizer": self.bias()}
        return qkeras.QConv2D(x.shape[-1], self.window(x), **settings)(x)

    def branches(self, x):
        a, b = self.act(self.same_conv(x)), self.act(self.same_conv(x))
        return keras.layers.Concatenate()([a, b] if self.rng.random() < 0.7 else [a, b, self.act(x)])

    def dense(self, x):
        return qkeras.QDense(
            int(self.rng.integers(1, 9)),
            kernel_quantizer=self.kernel(),
            bias_quantizer=self.bias(),
            use_bias=bool(self.rng.random() < 0.8),
            activation=self.fused(),
        )(x)

    def image_block(self, x):
        block = self.pick([self.conv, self.conv, self.depthwise, self.pool, self.residual, self.branches, self.pad])
        y = block(x)
        if self.rng.random() < 0.3:
            y = self.norm(y)
        if self.rng.random() < 0.2:
            y = keras.layers.Activation("relu")(y)
        if self.rng.random() < 0.15:
            y = keras.layers.Dropout(0.3)(y)
        y = self.act(y)
        # An average that no quantizer follows is no float32 number, and no float64 number either: quantize it.
        return self.act(self.pool(y)) if self.rng.random() < 0.15 else y

    def pad(self, x):
        return keras.layers.ZeroPadding2D(self.pick([1, ((0, 1), (2, 0)), (1, 2)]))(x)

    def vector_block(self, x):
        y = self.dense(x)
        if self.rng.random() < 0.3:
            y = self.norm(y)
        return self.act(y)

    def to_vector(self, x):
        kind = self.rng.random()
        if kind < 0.5:
            return keras.layers.Flatten()(x)
        if kind < 0.6:
            return self.act(keras.layers.GlobalAveragePooling2D()(x))
        if kind < 0.7:
            return keras.layers.Reshape((-1,))(x)
        return self.act(
            qkeras.QGlobalAveragePooling2D(
                average_quantizer=self.pick([self.average_quantizer(), None]),
                activation=self.pick([None, self.activation()]),
            )(x)
        )

    def model(self):
        depth = int(self.rng.integers(1, 7))
        image = bool(self.rng.random() < 0.75)
        shape = (
            tuple(int(n) for n in self.rng.integers((3, 3, 1), (9, 9, 4)))
            if image
            else (int(self.rng.integers(1, 20)),)
        )
        inputs = keras.Input(shape, name="input")
        x = qkeras.QActivation(self.activation(uniform=True), name="quantize")(inputs)
        images = int(self.rng.integers(1, depth + 1)) if image else 0
        for _ in range(images):
            x = self.image_block(x)
        if image and (depth > images or self.rng.random() < 0.5):
            x = self.to_vector(x)
        for _ in range(depth - images):
            x = self.vector_block(x)
        if len(x.shape) == 2 and self.rng.random() < 0.5:
            x = self.dense(x)
            if self.rng.random() < 0.4:
                x = keras.layers.Activation("softmax")(x)
        model = keras.Model(inputs, x, name=f"random_{self.seed}")
        self.fill(model)
        return model

    def fill(self, model):
        """Weights that use the quantizers' whole ranges, with zeros, ties and saturated values among them."""
        for layer in model.layers:
            arrays = []
            for variable in layer.weights:
                shape = tuple(variable.shape)
                values = self.rng.normal(0, self.pick([0.2, 0.5, 1.0]), shape)
                if "variance" in variable.name:
                    values = self.rng.uniform(0.05, 3.0, shape)
                elif "gamma" in variable.name:
                    values = self.rng.uniform(0.2, 2.0, shape) * self.rng.choice([1, 1, 1, -1], shape)
                else:
                    ties = np.round(values * 8) / 8 + 1 / 64
                    values = np.where(self.rng.random(shape) < 0.2, ties, values)
                    values = np.where(self.rng.random(shape) < 0.1, 0.0, values)
                arrays.append(values.astype(np.float32))
            layer.set_weights(arrays)

    def inputs(self, model, count):
        """Real inputs with corners: zeros, both limits and beyond, ties of the input quantizer, tiny values."""
        shape = model.inputs[0].shape[1:]
        q = model.get_layer("quantize").activation
        step = 2.0 ** (q.integer - (q.bits - 1))
        x = self.rng.normal(0, 2.0**q.integer, (count, *shape))
        x[0], x[1 % count], x[2 % count] = 0, 100, -100
        if count > 4:
            x[3] = (self.rng.integers(-(2 ** (q.bits - 1)), 2 ** (q.bits - 1), shape) + 0.5) * step
            x[4] = self.rng.choice([-1e-6, 1e-6, 2.0**q.integer], shape)
        return x.astype(np.float32)


class WideMaker(Maker):
    """Draws from the whole layer set and all quantizers."""

    def kernel(self):
        if self.rng.random() < 0.6:
            return super().kernel()
        return self.pick(
            [
                lambda: qkeras.quantized_linear(self.bits(2), 0, alpha=self.pick([1.0, 0.5, "auto", "auto_po2"])),
                lambda: qkeras.quantized_po2(4, self.pick([None, 1, 2])),
                lambda: qkeras.quantized_relu_po2(4, 1, negative_slope=self.pick([0, 0.5])),
                lambda: qkeras.stochastic_ternary(alpha="auto_po2"),
                lambda: qkeras.stochastic_binary(alpha="auto_po2"),
                lambda: qkeras.quantized_tanh(self.bits(2)),
            ]
        )()

    def activation(self, *, uniform=False):
        if uniform or self.rng.random() < 0.6:
            return super().activation(uniform=uniform)
        return self.pick(
            [
                lambda: qkeras.quantized_linear(self.bits(2), int(self.rng.integers(0, 3)), self.pick([0, 1])),
                lambda: qkeras.quantized_tanh(self.bits(2), symmetric=self.pick([False, True])),
                lambda: qkeras.quantized_tanh(self.bits(2), use_real_tanh=True),
                lambda: qkeras.quantized_sigmoid(self.bits(2)),
                lambda: qkeras.quantized_sigmoid(self.bits(2), use_real_sigmoid=True),
                lambda: qkeras.quantized_po2(self.pick([3, 4])),
                lambda: qkeras.quantized_relu_po2(self.pick([3, 4]), self.pick([None, 4]), self.pick([0, 0.25])),
                lambda: qkeras.stochastic_ternary(alpha=1.0, threshold=0.4),
                lambda: "hard_tanh",
                lambda: "smooth_sigmoid",
                lambda: "binary_tanh",
            ]
        )()

    def act(self, x):
        chosen = self.activation()
        y = qkeras.QActivation(chosen)(x)
        # The bare functions do not quantize: behind a normalization their values would keep all its bits.
        return self.quantized(y) if chosen in ("hard_tanh", "smooth_sigmoid") else y

    def image_block(self, x):
        if self.rng.random() < 0.5:
            return super().image_block(x)
        y = self.pick([self.separable, self.transposed, self.merge, self.shape, self.leaky])(x)
        if self.rng.random() < 0.2:
            y = qkeras.QBatchNormalization(
                beta_quantizer="quantized_bits(8,1,alpha=1)",
                gamma_quantizer="quantized_bits(8,1,alpha=1)",
                mean_quantizer="quantized_bits(8,1,alpha=1)",
                variance_quantizer="quantized_bits(8,1,alpha=1)",
            )(y)
        return self.act(y)

    def separable(self, x):
        return qkeras.QSeparableConv2D(
            int(self.rng.integers(1, 5)),
            self.window(x),
            padding=self.pick(["valid", "same"]),
            depthwise_quantizer=qkeras.quantized_bits(self.bits(2, 6), 0, alpha=self.pick([1, "auto_po2"])),
            pointwise_quantizer=self.kernel(),
            bias_quantizer=self.bias(),
        )(x)

    def transposed(self, x):
        if x.shape[1] > 12:
            return self.conv(x)
        kernel = self.pick([qkeras.quantized_bits(self.bits(2, 6), 0, alpha=1), qkeras.ternary(alpha=1)])
        return qkeras.QConv2DTranspose(
            int(self.rng.integers(1, 4)),
            self.window(x),
            strides=self.pick([(1, 1), (2, 2), (1, 2)]),
            padding=self.pick(["valid", "same"]),
            kernel_quantizer=kernel,
            bias_quantizer=self.bias(),
        )(x)

    def merge(self, x):
        a, b = self.quantized(self.same_conv(x)), self.quantized(x)
        layers = keras.layers
        layer = self.pick([layers.Subtract, layers.Multiply, layers.Maximum, layers.Minimum, layers.Average])
        return layer()([a, b])

    def quantized(self, x):
        return qkeras.QActivation(qkeras.quantized_bits(self.bits(2), int(self.rng.integers(0, 3)), alpha=1))(x)

    def shape(self, x):
        layers = keras.layers
        options = [layers.Permute((2, 1, 3)), layers.SpatialDropout2D(0.2), layers.GaussianNoise(0.1)]
        if x.shape[1] <= 10:
            options.append(layers.UpSampling2D(self.pick([(2, 1), (1, 2), (2, 2)])))
        if min(x.shape[1:3]) > 2:
            options.append(layers.Cropping2D(((1, 0), (0, 1))))
        return self.pick(options)(x)

    def leaky(self, x):
        y = self.same_conv(x)
        layers = keras.layers
        return self.pick([layers.LeakyReLU(negative_slope=0.25), layers.ReLU(negative_slope=0.5), layers.ReLU(6.0)])(y)

    def vector_block(self, x):
        if len(x.shape) == 2 and x.shape[1] >= 6 and self.rng.random() < 0.4:
            steps = int(self.pick([n for n in (2, 3, 4, 5) if x.shape[1] % n == 0] or [1]))
            y = keras.layers.Reshape((steps, x.shape[1] // steps))(x)
            y = qkeras.QConv1D(
                int(self.rng.integers(1, 5)),
                int(self.rng.integers(1, steps + 1)),
                padding=self.pick(["valid", "same"]),
                kernel_quantizer=self.kernel(),
                bias_quantizer=self.bias(),
            )(y)
            layers = keras.layers
            last = self.pick([layers.Flatten(), layers.GlobalMaxPooling1D(), layers.GlobalAveragePooling1D()])
            return self.act(last(self.act(y)))
        return super().vector_block(x)


def wide_model(seed: int, count: int):
    """(model, inputs) from the whole layer set."""
    maker = WideMaker(seed)
    model = maker.model()
    return model, maker.inputs(model, count)


def random_model(seed: int, count: int):
    """(model, inputs) for ``seed``."""
    maker = Maker(seed)
    model = maker.model()
    return model, maker.inputs(model, count)
