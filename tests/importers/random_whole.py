"""Seeded random QKeras models over the whole layer set: images, sequences, vectors, several inputs and outputs."""

# Longer than 400 lines: one generator: the order of its draws decides what a seed builds.

from __future__ import annotations

import keras
import keras_reference_more  # noqa: F401  (adds its layers to the reference)
import numpy as np
import qkeras
from random_models import WideMaker

L = keras.layers


class WholeMaker(WideMaker):
    """Draws from every layer and quantizer. ``unrun``: layers that TensorFlow does not run on a CPU, by prefix."""

    UNRUN = "first_"

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.count = 0

    def unique(self, name):
        self.count += 1
        return f"{name}_{self.count}"

    # Quantizers

    def kernel(self):
        if self.rng.random() < 0.75:
            return super().kernel()
        return self.pick(
            [
                lambda: qkeras.quantized_ulaw(self.bits(2, 6), 0, self.pick([0, 1])),
                lambda: qkeras.quantized_sigmoid(self.bits(2, 8)),
                lambda: qkeras.quantized_relu(self.bits(2, 8), 0, negative_slope=self.pick([0.0, 0.25])),
                lambda: qkeras.quantized_hswish(self.bits(2, 8), 1),
                lambda: qkeras.quantized_po2(4, quadratic_approximation=True),
                lambda: qkeras.quantized_bits(4, 0, 1, alpha="auto_po2", min_po2_exponent=-3, max_po2_exponent=-1),
                lambda: qkeras.quantized_bits(4, 0, 1, alpha=1, use_stochastic_rounding=True),
            ]
        )()

    def plain_kernel(self):
        """Scales that are powers of two: sums stay on a grid that recurrent steps can share."""
        return self.pick(
            [
                lambda: qkeras.quantized_bits(self.bits(2, 6), 0, self.pick([0, 1]), alpha=1),
                lambda: qkeras.quantized_bits(4, 0, 1, alpha="auto_po2"),
                lambda: qkeras.ternary(alpha=self.pick([1.0, "auto_po2"])),
                lambda: qkeras.binary(alpha=self.pick([1.0, "auto_po2"])),
                lambda: qkeras.quantized_linear(4, 0, alpha=self.pick([1.0, "auto_po2"])),
            ]
        )()

    def bias(self):
        if self.rng.random() < 0.8:
            return super().bias()
        return self.pick(
            [
                lambda: qkeras.quantized_linear(self.bits(2), 1),
                lambda: qkeras.quantized_po2(4),
                lambda: qkeras.binary(alpha=0.5),
                lambda: qkeras.quantized_tanh(6),
                lambda: qkeras.quantized_relu(6, 1),
            ]
        )()

    def activation(self, *, uniform=False):
        if uniform or self.rng.random() < 0.75:
            return super().activation(uniform=uniform)
        return self.pick(
            [
                lambda: qkeras.quantized_ulaw(self.bits(2, 5), self.pick([0, 1])),
                lambda: qkeras.quantized_hswish(self.bits(3, 8), self.pick([1, 2])),
                lambda: qkeras.stochastic_binary(alpha=1.0),
                lambda: qkeras.quantized_bits(self.bits(2), 1, alpha=0.75),
                lambda: qkeras.quantized_bits(self.bits(2), 1, keep_negative=False),
                lambda: qkeras.quantized_relu(4, 1, use_stochastic_rounding=True),
                lambda: "binary_sigmoid",
                lambda: "smooth_tanh",
                lambda: "hard_sigmoid",
            ]
        )()

    def act(self, x):
        chosen = self.activation()
        # No staircase: a table over the proven range, which must not be too long.
        x = self.quantized(x) if isinstance(chosen, qkeras.quantized_hswish) else x
        y = qkeras.QActivation(chosen)(x)
        return self.quantized(y) if isinstance(chosen, str) and not chosen.startswith("binary") else y

    # Blocks on images

    def image_block(self, x):
        if self.rng.random() < 0.45:
            return super().image_block(x)
        options = [
            self.dilated, self.masked, self.folded, self.folded, self.mobilenet, self.scale_shift, self.adaptive,
            self.nested, self.shared, self.first, self.means, self.wide_add, self.transposed,
        ]  # fmt: skip
        if not x.shape[1] % 2 and not x.shape[2] % 2:
            options += [self.octave] * 3
        return self.act(self.pick(options)(x))

    def dilated(self, x):
        return qkeras.QConv2D(
            int(self.rng.integers(1, 4)),
            self.pick([2, 3, (2, 3)]),
            dilation_rate=self.pick([(2, 1), (2, 2), (1, 3)]),
            padding="same",
            kernel_quantizer=self.kernel(),
            bias_quantizer=self.bias(),
        )(x)

    def masked(self, x):
        size = self.window(x)
        mask = (self.rng.random(size) < 0.6).astype("float32")
        return qkeras.QConv2D(
            int(self.rng.integers(1, 4)),
            size,
            mask=mask,
            kernel_quantizer=self.plain_kernel(),
            bias_quantizer=self.bias(),
        )(x)

    def folded(self, x):
        mode = self.pick(["ema_stats_folding", "batch_stats_folding"])
        settings = {"folding_mode": mode, "bias_quantizer": qkeras.quantized_bits(self.bits(4, 10), 2, alpha=1)}
        settings |= {"padding": self.pick(["valid", "same"]), "activation": self.pick([None, self.activation()])}
        if self.rng.random() < 0.5:
            filters = int(self.rng.integers(1, 5))
            return qkeras.QConv2DBatchnorm(filters, self.window(x), kernel_quantizer=self.plain_kernel(), **settings)(x)
        return qkeras.QDepthwiseConv2DBatchnorm(self.window(x), depthwise_quantizer=self.plain_kernel(), **settings)(x)

    def mobilenet(self, x):
        return qkeras.QMobileNetSeparableConv2D(
            int(self.rng.integers(1, 4)),
            self.window(x),
            padding=self.pick(["valid", "same"]),
            depthwise_quantizer=self.plain_kernel(),
            pointwise_quantizer=self.kernel(),
            bias_quantizer=self.bias(),
            depthwise_activation=self.pick([None, "quantized_relu(5,1)", "quantized_bits(6,2)"]),
            name=self.unique("mobile"),
        )(x)

    def scale_shift(self, x):
        return qkeras.qmac.QScaleShift(
            weight_quantizer=qkeras.quantized_bits(self.bits(3), 1, alpha=1),
            bias_quantizer=qkeras.quantized_bits(self.bits(3), 1, alpha=1),
            activation=self.pick([None, "quantized_relu(5,1)"]),
        )(self.same_conv(x) if len(x.shape) == 4 else x)

    def adaptive(self, x):
        return qkeras.QAdaptiveActivation(
            self.pick(["quantized_relu", "quantized_bits"]),
            int(self.rng.integers(3, 9)),
            quantization_delay=1,
            ema_freeze_delay=100,
            ema_decay=0.5,
            per_channel=self.pick([False, True]),
            name=self.unique("adaptive"),
        )(self.same_conv(x))

    def nested(self, x):
        inner = keras.Input(x.shape[1:], name=self.unique("inner"))
        y = self.act(self.conv(inner))
        return keras.Model(inner, y, name=self.unique("nested"))(x)

    def shared(self, x):
        """One layer on two tensors, and twice in a row."""
        layer = qkeras.QConv2D(
            x.shape[-1], 2, padding="same", kernel_quantizer=self.kernel(), bias_quantizer=self.bias(),
            name=self.unique("shared"),
        )  # fmt: skip
        a = self.quantized(layer(x))
        return L.Add()([self.quantized(layer(a)), a])

    def first(self, x):
        """Layers with channels first."""
        form = {"data_format": "channels_first"}

        def name(kind):
            return self.unique(self.UNRUN + kind)

        y = L.Permute((3, 1, 2), name=name("turn"))(x)
        y = qkeras.QConv2D(
            int(self.rng.integers(1, 4)), 2, padding="same", kernel_quantizer=self.kernel(), bias_quantizer=self.bias(),
            name=name("conv"), **form,
        )(y)  # fmt: skip
        y = qkeras.QActivation(self.activation(uniform=True), name=name("act"))(y)
        y = self.pick(
            [
                L.ZeroPadding2D(1, name=name("pad"), **form),
                L.UpSampling2D(2, name=name("up"), **form),
                L.MaxPooling2D((1, 2) if y.shape[3] > 1 else 1, name=name("pool"), **form),
            ]
        )(y)
        return L.Permute((2, 3, 1), name=name("back"))(y)

    def means(self, x):
        return self.pick(
            [
                lambda: L.AveragePooling2D(self.window(x), padding=self.pick(["valid", "same"]))(x),
                lambda: qkeras.QAveragePooling2D(self.window(x), average_quantizer=self.average_quantizer())(x),
                lambda: L.GlobalMaxPooling2D(keepdims=True)(x),
                lambda: L.GlobalAveragePooling2D(keepdims=True)(x),
            ]
        )()

    def wide_add(self, x):
        """A vector per channel over the whole map, as attention blocks do."""
        layer = self.pick([L.Add, L.Multiply])
        return layer()([self.quantized(x), self.quantized(L.GlobalMaxPooling2D(keepdims=True)(x))])

    def octave(self, x):
        settings = {
            "padding": "same",
            "kernel_quantizer": self.plain_kernel(),
            "depthwise_quantizer": self.plain_kernel(),
            "pointwise_quantizer": self.plain_kernel(),
            "bias_quantizer": qkeras.quantized_bits(self.bits(3), 1, alpha=1),
            "acc_quantizer": "quantized_bits(8,3)",
            "pooling_quantizer": "quantized_bits(8,0,1)",
            "activation": self.pick(["quantized_relu(5,1)", "quantized_bits(6,2)"]),
            "use_separable": self.pick([False, True]),
        }
        high, low = qkeras.QOctaveConv2D(4, (3, 3), 0.5, name=self.unique("octave"), **settings)([x, None])
        high, _ = qkeras.QOctaveConv2D(3, (2, 3), 0.0, name=self.unique("octave"), **settings)([high, low])
        return high

    # Blocks on sequences (T, C)

    def sequence_block(self, x):
        options = [self.conv1d, self.conv1d, self.separable1d, self.pool1d, self.shape1d, self.merge1d]
        if x.shape[1] <= 5 and x.shape[2] <= 6:
            options += [self.recurrent] * 3
        y = self.pick(options)(x)
        if self.rng.random() < 0.2:
            y = self.norm(y)
        return self.act(y)

    def conv1d(self, x):
        steps = x.shape[1]
        dilation = self.pick([1, 1, 2]) if steps > 3 else 1
        return qkeras.QConv1D(
            int(self.rng.integers(1, 5)),
            int(self.rng.integers(1, min(steps, 4) + 1)),
            strides=1 if dilation > 1 else self.pick([1, 1, 2]),
            dilation_rate=dilation,
            padding="same" if dilation > 1 else self.pick(["valid", "same"]),
            kernel_quantizer=self.kernel(),
            bias_quantizer=self.bias(),
        )(x)

    def separable1d(self, x):
        return qkeras.QSeparableConv1D(
            int(self.rng.integers(1, 4)),
            int(self.rng.integers(1, min(x.shape[1], 3) + 1)),
            strides=self.pick([1, 2]),
            padding=self.pick(["valid", "same"]),
            depth_multiplier=self.pick([1, 2]),
            depthwise_quantizer=self.plain_kernel(),
            pointwise_quantizer=self.kernel(),
            bias_quantizer=self.bias(),
        )(x)

    def pool1d(self, x):
        layer = self.pick([L.MaxPooling1D, L.AveragePooling1D])
        size = int(self.rng.integers(1, min(x.shape[1], 3) + 1))
        return layer(size, self.pick([None, 1, 2]), self.pick(["valid", "same"]))(x)

    def shape1d(self, x):
        options = [L.ZeroPadding1D((1, 2)), L.Permute((2, 1)), L.SpatialDropout1D(0.2), L.GaussianNoise(0.1)]
        if x.shape[1] <= 6:
            options.append(L.UpSampling1D(2))
        if x.shape[1] > 3:
            options.append(L.Cropping1D((1, 1)))
        return self.pick(options)(x)

    def merge1d(self, x):
        settings = {"padding": "same", "kernel_quantizer": self.kernel(), "bias_quantizer": self.bias()}
        other = qkeras.QConv1D(x.shape[-1], 2, **settings)(x)
        layer = self.pick([L.Add, L.Subtract, L.Multiply, L.Maximum, L.Minimum, L.Average, L.Concatenate])
        return layer()([self.quantized(x), self.quantized(other)])

    def recurrent(self, x):
        units = int(self.rng.integers(1, 4))
        settings = {
            "kernel_quantizer": self.plain_kernel(),
            "recurrent_quantizer": self.plain_kernel(),
            "bias_quantizer": qkeras.quantized_bits(self.bits(3, 6), 1, alpha=1),
            "state_quantizer": qkeras.quantized_bits(self.bits(3, 6), 1, alpha=1),
            "activation": self.pick(["quantized_tanh(5)", "quantized_bits(5,1)", "hard_tanh"]),
            "return_sequences": self.pick([False, True]),
            "use_bias": self.pick([True, True, False]),
        }
        x = self.quantized(x)  # the steps' products multiply up what comes in
        kind = self.pick([qkeras.QSimpleRNN, qkeras.QLSTM, qkeras.QGRU])
        if kind is not qkeras.QSimpleRNN:
            settings["recurrent_activation"] = self.pick(["hard_sigmoid", "quantized_sigmoid(5)"])
        if kind is qkeras.QGRU:
            settings["reset_after"] = self.pick([False, True])
        if self.rng.random() < 0.3:
            merge = self.pick(["concat", "sum", "mul", "ave"])
            return qkeras.QBidirectional(kind(units, **settings), merge_mode=merge)(x)
        return kind(units, go_backwards=self.pick([False, True]), **settings)(x)

    # Blocks on vectors

    def vector_block(self, x):
        draw = self.rng.random()
        if draw < 0.2 and len(x.shape) == 2:
            layer = qkeras.QDenseBatchnorm(
                int(self.rng.integers(1, 7)),
                folding_mode=self.pick(["ema_stats_folding", "batch_stats_folding"]),
                kernel_quantizer=self.plain_kernel(),
                bias_quantizer=qkeras.quantized_bits(8, 2, alpha=1),
            )
            return self.act(layer(x))
        if draw < 0.35:
            units = int(self.rng.integers(1, 6))
            settings = {"kernel_quantizer": self.kernel(), "bias_quantizer": self.bias()}
            pair = [self.quantized(qkeras.QDense(units, **settings)(x)) for _ in range(2)]
            layers = [L.Add, L.Subtract, L.Multiply, L.Maximum, L.Minimum, L.Average, L.Concatenate]
            return self.act(self.pick(layers)()(pair))
        if draw < 0.45 and len(x.shape) == 2:
            kernel = qkeras.quantized_bits(4, 0, 1, alpha="auto_po2", scale_axis=self.pick([0, 1]))
            return self.act(qkeras.QDense(4, kernel_quantizer=kernel, bias_quantizer=self.bias())(x))
        return super().vector_block(x)

    # Models

    def start(self, shape, name):
        inputs = keras.Input(shape, name=name)
        quantize = "quantize" if name == "input" else f"quantize_{name}"
        return inputs, qkeras.QActivation(self.activation(uniform=True), name=quantize)(inputs)

    def image(self, name="input", blocks=3):
        inputs, x = self.start(tuple(int(n) for n in self.rng.integers((3, 3, 1), (9, 9, 4))), name)
        for _ in range(int(self.rng.integers(1, blocks + 1))):
            x = self.image_block(x)
        return inputs, x

    def sequence(self, name="input", blocks=3):
        inputs, x = self.start(tuple(int(n) for n in self.rng.integers((2, 1), (8, 5))), name)
        for _ in range(int(self.rng.integers(1, blocks + 1))):
            x = self.sequence_block(x) if len(x.shape) == 3 else self.vector_block(x)
        return inputs, x

    def flat(self, x):
        if len(x.shape) == 4:
            kind = self.rng.random()
            return L.GlobalMaxPooling2D()(x) if kind < 0.2 else self.to_vector(x)
        if len(x.shape) == 3:
            pools = [L.Flatten, L.GlobalMaxPooling1D, L.GlobalAveragePooling1D]
            return self.act(self.pick(pools)()(x))
        return x

    def head(self, x):
        if self.rng.random() < 0.5:
            x = self.dense(x)
            if self.rng.random() < 0.4:
                x = L.Activation("softmax")(x)
        return x

    def model(self):
        kind = self.pick(["image"] * 9 + ["sequence"] * 6 + ["vector"] * 2 + ["several"] * 3)
        if kind == "several":
            given, x = zip(self.image("input", 2), self.sequence("other", 1))
            parts = [self.quantized(self.flat(v)) for v in x]
            joined = self.vector_block(L.Concatenate()(parts))
            outputs = [joined, self.quantized(self.dense(parts[1]))] if self.rng.random() < 0.7 else joined
            model = keras.Model(list(given), outputs, name=f"whole_{self.seed}")
        else:
            if kind == "vector":
                inputs, x = self.start((int(self.rng.integers(1, 20)),), "input")
                x = self.vector_block(x)
            else:
                inputs, x = self.image() if kind == "image" else self.sequence()
            if self.rng.random() < 0.7:
                x = self.flat(x)
                for _ in range(int(self.rng.integers(0, 3))):
                    x = self.vector_block(x)
                x = self.head(x) if len(x.shape) == 2 else x
            model = keras.Model(inputs, x, name=f"whole_{self.seed}")
        self.fill(model)
        return model

    def fill(self, model):
        """As before, in nested models and wrapped layers too; adaptive layers settle on data."""
        for variable in model.weights:
            if variable.dtype.startswith("int") or variable.name.startswith(("iteration", "ema", "adaptive")):
                continue
            shape = tuple(variable.shape)
            values = self.rng.normal(0, self.pick([0.2, 0.5, 1.0]), shape)
            if "variance" in variable.path:
                values = self.rng.uniform(0.05, 3.0, shape)
            elif "gamma" in variable.path:
                values = self.rng.uniform(0.2, 2.0, shape) * self.rng.choice([1, 1, 1, -1], shape)
            else:
                ties = np.round(values * 8) / 8 + 1 / 64
                values = np.where(self.rng.random(shape) < 0.2, ties, values)
                values = np.where(self.rng.random(shape) < 0.1, 0.0, values)
            variable.assign(values.astype(np.float32))
        for layer in model.layers:
            if isinstance(layer, qkeras.QAdaptiveActivation):
                shape = (8, *layer.output.shape[1:])
                for _ in range(3):
                    layer(self.rng.normal(0, 1.5, shape).astype(np.float32), training=True)

    def inputs(self, model, count):
        """As before; one array per input name where there are several."""
        found = {tensor.name: self._inputs(model, tensor, count) for tensor in model.inputs}
        return found if len(found) > 1 else next(iter(found.values()))

    def _inputs(self, model, tensor, count):
        shape = tensor.shape[1:]
        q = model.get_layer("quantize" if tensor.name == "input" else f"quantize_{tensor.name}").activation
        step = 2.0 ** (q.integer - (q.bits - 1))
        x = self.rng.normal(0, 2.0**q.integer, (count, *shape))
        x[0], x[1 % count], x[2 % count] = 0, 100, -100
        if count > 4:
            x[3] = (self.rng.integers(-(2 ** (q.bits - 1)), 2 ** (q.bits - 1), shape) + 0.5) * step
            x[4] = self.rng.choice([-1e-6, 1e-6, 2.0**q.integer], shape)
        return x.astype(np.float32)


def whole_model(seed: int, count: int):
    """(model, inputs) from the whole layer set."""
    keras.utils.set_random_seed(seed)
    maker = WholeMaker(seed)
    model = maker.model()
    return model, maker.inputs(model, count)
