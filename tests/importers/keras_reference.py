"""A live (Q)Keras model evaluated layer by layer in float64, for comparison where float32 rounds.

Weights come from the model's own quantizers as Keras runs them; convolutions, products and pools are TensorFlow's in
float64; activation quantizers are QKeras' formulas in float64 numpy. Nothing of qsim takes part.
"""

# Longer than 400 lines: each layer's rule in float64, read side by side.

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf


def evaluate(model, x):
    """{layer name: float64 output}. A nested model's layers are named 'nested/inner'; layers that are called several
    times are left out, as is everything in a nested model that is."""
    if isinstance(model, keras.Sequential):
        outputs, last = {}, np.asarray(x, dtype=np.float64)
        for layer in model.layers:
            if type(layer).__name__ != "InputLayer":
                last = outputs[layer.name] = run(layer, [last])
                assert last.dtype == np.float64, layer.name
        return outputs
    given = [x[t.name] if isinstance(x, dict) else x for t in model.inputs]
    return _functional(model, given)[1]


def _functional(model, given):
    """(values of the model's outputs, {layer name: output}) of a Functional model."""
    values = {id(t): np.asarray(v, dtype=np.float64) for t, v in zip(model.inputs, given)}
    outputs, calls = {}, {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            layer = node.operation
            if type(layer).__name__ == "InputLayer":
                continue
            inputs = [values[id(t)] for t in node.input_tensors]
            if isinstance(layer, keras.Model):
                results, inner = _functional(layer, inputs)
                inner = {f"{layer.name}/{name}": value for name, value in inner.items()}
            else:
                is_layer = isinstance(layer, keras.Layer)
                results = [run(layer, inputs)] if is_layer else _operation(layer, node.arguments, values)
                assert all(r.dtype == np.float64 for r in results), layer.name
                inner = {layer.name: results[0]}
            values |= {id(t): v for t, v in zip(node.outputs, results)}
            calls[layer.name] = calls.get(layer.name, 0) + 1
            outputs |= inner if calls[layer.name] == 1 else {}
            if calls[layer.name] > 1:
                outputs = {name: value for name, value in outputs.items() if name not in inner}
    return [values[id(t)] for t in model.outputs], outputs


def _operation(operation, arguments, values):
    """The outputs of ``keras.ops``' own operation on float64 tensors; its constants are float32 numbers."""

    def known(v):
        if isinstance(v, keras.KerasTensor):
            return tf.constant(values[id(v)])
        if isinstance(v, float) or (isinstance(v, np.ndarray) and v.dtype.kind == "f"):
            return np.asarray(np.float32(v), dtype=np.float64)[()]
        return v

    result = operation(*keras.tree.map_structure(known, list(arguments.args)),
                       **keras.tree.map_structure(known, dict(arguments.kwargs)))  # fmt: skip
    return [np.asarray(r) for r in keras.tree.flatten(result)]


def run(layer, inputs):
    function = RUN[type(layer).__name__]
    if getattr(layer, "data_format", None) == "channels_first" and inputs[0].ndim == 4:
        return np.moveaxis(function(layer, np.moveaxis(inputs[0], 1, -1)), -1, 1)
    return function(layer, inputs[0] if len(inputs) == 1 else inputs)


def constant(quantizer, variable):
    """The exact float64 values of a quantized weight, from Keras' own float32 run of the quantizer."""
    raw = np.asarray(variable, dtype=np.float32)
    if quantizer is None:
        return raw.astype(np.float64)
    quantized = np.asarray(quantizer(tf.constant(raw)), dtype=np.float64)
    if type(quantizer).__name__ == "quantized_ulaw":
        exact = ACTIVATIONS["quantized_ulaw"](quantizer, raw.astype(np.float64))
        np.testing.assert_allclose(exact, quantized, atol=1e-6)
        return exact
    if type(quantizer).__module__.startswith("qsim."):
        return quantized
    if type(quantizer).__name__ in ("quantized_tanh", "quantized_sigmoid"):
        # Here too the straight-through sum leaves values an ulp beside their binary fractions.
        units = 2.0 ** (quantizer.bits - (type(quantizer).__name__ == "quantized_tanh"))
        return np.rint(quantized * units) / units
    alpha = getattr(quantizer, "alpha", None)
    if alpha is None and type(quantizer).__name__ in ("quantized_po2", "quantized_relu_po2"):
        return np.sign(quantized) * 2.0 ** np.rint(np.log2(np.abs(quantized)))
    if alpha is None and type(quantizer).__name__ != "quantized_linear":
        return quantized
    # The straight-through sum x + (q - x) is off by an ulp for scales that are no powers of two: round to the grid.
    if type(quantizer).__name__ == "quantized_linear":
        step = np.asarray(quantizer.quantization_scale, dtype=np.float64) / 2
        return np.rint(quantized / step) * step
    step = np.asarray(quantizer.scale, dtype=np.float64)
    if hasattr(quantizer, "integer") and quantizer.bits - quantizer.keep_negative > 0:
        step = step * 2.0 ** (quantizer.integer - (quantizer.bits - quantizer.keep_negative))
    codes = np.rint(quantized / np.where(step == 0, 1, step))
    if alpha == "auto" and not hasattr(quantizer, "integer"):
        step = least_squares(raw, codes, step)
    np.testing.assert_allclose(codes * step, quantized, rtol=1e-4, atol=1e-5 * np.abs(quantized).max(initial=1e-30))
    return codes * step


def least_squares(x, codes, keras_scale):
    """Keras' scale = mean(x * q) / (mean(q * q) + epsilon), with the float32 sum, whose order is the device's, replaced
    by the rounded exact one; it must agree with Keras' own to the last bits."""
    axes = tuple(range(x.ndim - 1)) if x.ndim > 1 else ()
    qx = (x.astype(np.float64) * codes).mean(axis=axes, keepdims=x.ndim > 1).astype(np.float32)
    qq = (codes * codes).mean(axis=axes, keepdims=x.ndim > 1).astype(np.float32)
    scale = (qx / (qq + np.float32(1e-7))).astype(np.float64)
    np.testing.assert_allclose(scale, keras_scale, rtol=4e-7)
    return scale


def activation(function, x):
    if function is None:
        return x
    name = getattr(function, "__name__", type(function).__name__)
    return ACTIVATIONS[name](function, x)


def quantized_bits(q, x):
    ub = q.bits - q.keep_negative
    alpha = 1.0 if q.alpha is None else np.asarray(q.alpha, dtype=np.float32).astype(np.float64)
    if ub == 0:
        sign = np.where(x >= 0, 1.0, -1.0)
        return alpha * (sign if q.keep_negative else (sign + 1) / 2)
    m, m_i = 2.0**ub, 2.0**q.integer
    return alpha * m_i * np.clip(np.rint(x * m / m_i), q.keep_negative * (-m + q.symmetric), m - 1) / m


def quantized_relu(q, x):
    n = q.bits - (q.negative_slope != 0.0)
    m, m_i = 2.0**n, 2.0**q.integer
    if q.use_sigmoid:
        p = np.clip(0.5 * (x / m_i) + 0.5, 0, 1) * m
        y = m_i * np.clip(2.0 * (np.rint(p) / m) - 1.0, 0.0, 1.0 - 1.0 / m)
        if q.negative_slope > 0:
            f = 1 / (q.negative_slope * m)
            y = y + m_i * q.negative_slope * np.clip(2.0 * (np.rint(p * q.negative_slope) * f) - 1.0, -1.0, 0.0)
    else:
        p = x * m / m_i
        y = m_i * np.clip(np.rint(p) / m, 0.0, 1.0 - 1.0 / m)
        if q.negative_slope > 0:
            f = 1 / (q.negative_slope * m)
            y = y + m_i * q.negative_slope * np.clip(np.rint(p * q.negative_slope) * f, -1.0, 0.0)
    if q.relu_upper_bound and not q.is_quantized_clip:
        y = np.minimum(y, float(np.float32(q.relu_upper_bound)))
    return y


def fixed_scale(q):
    return 1.0 if q.alpha is None else np.asarray(q.alpha, dtype=np.float32).astype(np.float64)


def binary(q, x):
    sign = np.where(x >= 0, 1.0, -1.0)
    return fixed_scale(q) * ((sign + 1) / 2 if q.use_01 else sign)


def ternary(q, x):
    threshold = float(np.float32(0.33 if q.threshold is None else q.threshold))
    return fixed_scale(q) * np.where(np.abs(x) >= threshold, np.sign(x), 0.0)


def quantized_linear(q, x):
    step = 2.0 ** (float(q.integer) - q.bits + q.keep_negative) * fixed_scale(q)
    if q.bits == 1 and q.keep_negative:
        return np.where(x >= 0, 0.5, -0.5) * step
    top = 2.0 ** (q.bits - q.keep_negative)
    return step * np.rint(np.clip(x / step, q.keep_negative * (-top + q.symmetric), top - 1))


def quantized_tanh(q, x):
    m = 2.0 ** (q.bits - 1)
    p = np.tanh(x) if q.use_real_tanh else np.clip(x, -1, 1)
    return np.clip(np.rint(p * m) / m, -1 + q.symmetric / m, 1 - 1 / m)


def quantized_sigmoid(q, x):
    m = 2.0**q.bits
    p = 1 / (1 + np.exp(-x)) if q.use_real_sigmoid else np.clip(x / 2 + 0.5, 0, 1)
    return np.clip(np.rint(p * m) / m, q.symmetric / m, 1 - 1 / m)


def quantized_hswish(q, x):
    return quantized_bits(q, x * np.clip(x + q.relu_shift, 0, q.relu_upper_bound) / q.relu_upper_bound)


def power(q, a):
    limited = a if q.max_value is None else np.minimum(a, q.max_value)
    factor = 2 if q.quadratic_approximation else 1
    exponent = np.rint(np.log2(np.maximum(limited, 1e-7)) / factor)
    return 2.0 ** np.where(a < np.float32(1e-7), q._min_exp, factor * np.clip(exponent, q._min_exp, q._max_exp))


def quantized_po2(q, x):
    return np.where(x >= 0, 1, -1) * power(q, np.abs(x))


def quantized_relu_po2(q, x):
    positive = power(q, np.maximum(x, 0))
    return np.where(x < 0, -power(q, np.maximum(-x, 0) * q.negative_slope), positive) if q.negative_slope else positive


ACTIVATIONS = {
    "quantized_linear": quantized_linear,
    "quantized_tanh": quantized_tanh,
    "quantized_sigmoid": quantized_sigmoid,
    "quantized_hswish": quantized_hswish,
    "quantized_po2": quantized_po2,
    "quantized_relu_po2": quantized_relu_po2,
    "stochastic_ternary": lambda q, x: ternary(q, x),
    "stochastic_binary": lambda q, x: np.where(x >= 0, 1.0, -1.0) * fixed_scale(q),
    "hard_tanh": lambda f, x: np.clip(x, -1, 1),
    "smooth_sigmoid": lambda f, x: np.clip(0.1875 * x + 0.5, 0, 1),
    "binary_tanh": lambda f, x: 2 * np.rint(np.clip(x / 2 + 0.5, 0, 1)) - 1,
    "linear": lambda f, x: x,
    "relu": lambda f, x: np.maximum(x, 0),
    "softmax": lambda f, x: np.asarray(tf.nn.softmax(tf.constant(x))),
    "quantized_bits": quantized_bits,
    "quantized_relu": quantized_relu,
    "binary": binary,
    "ternary": ternary,
}


def _quantizer(layer, name):
    return getattr(layer, f"{name}_quantizer_internal", None) if getattr(layer, f"{name}_quantizer", None) else None


def _finish(layer, y):
    if getattr(layer, "use_bias", False):
        y = y + constant(_quantizer(layer, "bias"), layer.bias)
    return activation(layer.activation, y)


def dense(layer, x):
    return _finish(layer, x @ constant(_quantizer(layer, "kernel"), layer.kernel))


def conv2d(layer, x):
    kernel = constant(_quantizer(layer, "kernel"), layer.kernel)
    if getattr(layer, "_mask", None) is not None:
        kernel = kernel * np.asarray(layer._mask, dtype=np.float64)
    groups = np.split(x, layer.groups, axis=-1)
    kernels = np.split(kernel, layer.groups, axis=-1)
    parts = [
        np.asarray(tf.nn.conv2d(g, k, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate))
        for g, k in zip(groups, kernels)
    ]
    return _finish(layer, np.concatenate(parts, axis=-1))


def depthwise_conv2d(layer, x):
    variable = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel
    kernel = constant(_quantizer(layer, "depthwise"), variable)
    # One input channel at a time: TensorFlow's depthwise kernel wants equal strides, conv2d does not.
    parts = [
        np.asarray(
            tf.nn.conv2d(
                x[..., c : c + 1],
                kernel[:, :, c : c + 1],
                layer.strides,
                layer.padding.upper(),
                dilations=layer.dilation_rate,
            )
        )
        for c in range(x.shape[-1])
    ]
    return _finish(layer, np.concatenate(parts, axis=-1))


def max_pool(x, size, strides, padding):
    """In numpy: TensorFlow's max_pool2d comes back in float32."""
    pads = []
    for n, k, s in zip(x.shape[1:3], size, strides):
        total = max((-(-n // s) - 1) * s + k - n, 0) if padding == "SAME" else 0
        pads.append((total // 2, total - total // 2))
    padded = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(1, 2))
    return windows[:, :: strides[0], :: strides[1]].max(axis=(-2, -1))


def max_pooling2d(layer, x):
    return max_pool(x, layer.pool_size, layer.strides, layer.padding.upper())


def average_pooling2d(layer, x):
    """Sums and counts by convolution with ones, then one division: exact where TensorFlow's own division is."""
    ones = np.ones((*layer.pool_size, 1, 1))
    pooled = [
        np.asarray(tf.nn.conv2d(x[..., c : c + 1], ones, layer.strides, layer.padding.upper()))
        for c in range(x.shape[-1])
    ]
    count = np.asarray(tf.nn.conv2d(np.ones((1, *x.shape[1:3], 1)), ones, layer.strides, layer.padding.upper()))
    return np.concatenate(pooled, axis=-1), count


def q_average_pooling2d(layer, x):
    total, count = average_pooling2d(layer, x)
    if layer.average_quantizer:
        area = int(np.prod(layer.pool_size))
        factor = float(np.asarray(layer.average_quantizer_internal(tf.constant(1.0 / area, dtype=tf.float32))))
        y = total * area / count * factor
    else:
        y = total / count
    return activation(layer.activation, y)


def q_global_average_pooling2d(layer, x):
    total, area = x.sum(axis=(1, 2), keepdims=layer.keepdims), x.shape[1] * x.shape[2]
    if getattr(layer, "average_quantizer", None):
        y = total * float(np.asarray(layer.average_quantizer_internal(tf.constant(1.0 / area, dtype=tf.float32))))
    else:
        y = total / area
    return activation(getattr(layer, "activation", None), y)


def zero_padding2d(layer, x):
    return np.pad(x, ((0, 0), *layer.padding, (0, 0)))


def batch_normalization(layer, x):
    variance, mean = (np.asarray(v, dtype=np.float64) for v in (layer.moving_variance, layer.moving_mean))
    gamma = np.asarray(layer.gamma, dtype=np.float64) if layer.scale else 1.0
    beta = np.asarray(layer.beta, dtype=np.float64) if layer.center else 0.0
    inverse = gamma / np.sqrt(variance + layer.epsilon)
    return x * inverse + (beta - mean * inverse)


def average(layer, x):
    total, count = average_pooling2d(layer, x)
    return total / count


def conv1d(layer, x):
    kernel = constant(_quantizer(layer, "kernel"), layer.kernel)
    padding = layer.padding.upper()
    y = tf.nn.conv2d(x[:, None], kernel[None], (1, *layer.strides), padding, dilations=(1, *layer.dilation_rate))
    return _finish(layer, np.asarray(y)[:, 0])


def separable_conv2d(layer, x):
    depthwise = constant(_quantizer(layer, "depthwise"), layer.depthwise_kernel)
    pointwise = constant(_quantizer(layer, "pointwise"), layer.pointwise_kernel)
    parts = [
        np.asarray(tf.nn.conv2d(x[..., c : c + 1], depthwise[:, :, c : c + 1], layer.strides, layer.padding.upper()))
        for c in range(x.shape[-1])
    ]
    return _finish(layer, np.asarray(tf.nn.conv2d(np.concatenate(parts, axis=-1), pointwise, 1, "VALID")))


def conv2d_transpose(layer, x):
    kernel = constant(_quantizer(layer, "kernel"), layer.kernel)
    shape = (len(x), *layer.output.shape[1:])
    y = tf.nn.conv2d_transpose(x, kernel, shape, layer.strides, layer.padding.upper())
    return _finish(layer, np.asarray(y))


def row(layer, x, pool):
    """A 1-D pooling layer through a 2-D one on height-one images."""
    size, stride = (1, layer.pool_size[0]), (1, layer.strides[0])
    return pool(x[:, None], size, stride, layer.padding.upper())[:, 0]


def max_pooling1d(layer, x):
    return row(layer, x, max_pool)


def average_pooling1d(layer, x):
    def pool(image, size, stride, padding):
        ones = np.ones((*size, 1, 1))
        count = np.asarray(tf.nn.conv2d(np.ones((1, *image.shape[1:3], 1)), ones, stride, padding))
        total = [np.asarray(tf.nn.conv2d(image[..., c : c + 1], ones, stride, padding)) for c in range(image.shape[-1])]
        return np.concatenate(total, axis=-1) / count

    return row(layer, x, pool)


def q_batch_normalization(layer, x):
    def value(name, variable):
        return constant(getattr(layer, f"{name}_quantizer_internal"), variable)

    inverse = value("gamma", layer.gamma) / np.sqrt(value("variance", layer.moving_variance) + layer.epsilon)
    # In this order a value that equals the mean gives beta itself, which may lie on a tie of the next quantizer.
    return (x - value("mean", layer.moving_mean)) * inverse + value("beta", layer.beta)


def relu(layer, x):
    if not layer.threshold:
        low = np.where(x < 0, x * float(layer.negative_slope), x)
        return low if layer.max_value is None else np.minimum(low, float(np.float32(layer.max_value)))
    threshold, slope = (float(np.float32(v)) for v in (layer.threshold, layer.negative_slope))
    kept = np.where(x > threshold, x, 0.0)
    kept = kept if layer.max_value is None else np.clip(kept, 0, float(np.float32(layer.max_value)))
    return kept - slope * np.maximum(threshold - x, 0)


def crop(layer, x):
    (top, bottom), (left, right) = layer.cropping
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


RUN = {
    "QDense": dense,
    "QConv2D": conv2d,
    "QDepthwiseConv2D": depthwise_conv2d,
    "QActivation": lambda layer, x: activation(layer.activation, x),
    "Activation": lambda layer, x: activation(layer.activation, x),
    "MaxPooling2D": max_pooling2d,
    "AveragePooling2D": average,
    "QAveragePooling2D": q_average_pooling2d,
    "GlobalAveragePooling2D": q_global_average_pooling2d,
    "QGlobalAveragePooling2D": q_global_average_pooling2d,
    "Flatten": lambda layer, x: x.reshape(len(x), -1),
    "Reshape": lambda layer, x: x.reshape(len(x), *layer.target_shape),
    "Dropout": lambda layer, x: x,
    "ZeroPadding2D": zero_padding2d,
    "BatchNormalization": batch_normalization,
    "Add": lambda layer, x: sum(x[1:], x[0]),
    "Concatenate": lambda layer, x: np.concatenate(x, axis=layer.axis),
    "QConv1D": conv1d,
    "QSeparableConv2D": separable_conv2d,
    "QConv2DTranspose": conv2d_transpose,
    "MaxPooling1D": max_pooling1d,
    "AveragePooling1D": average_pooling1d,
    "GlobalMaxPooling2D": lambda layer, x: x.max(axis=(1, 2), keepdims=layer.keepdims),
    "GlobalMaxPooling1D": lambda layer, x: x.max(axis=1),
    "GlobalAveragePooling1D": lambda layer, x: x.sum(axis=1) / x.shape[1],
    "QBatchNormalization": q_batch_normalization,
    "ReLU": relu,
    "LeakyReLU": lambda layer, x: np.where(x < 0, x * float(np.float32(layer.negative_slope)), x),
    "Cropping2D": crop,
    "UpSampling2D": lambda layer, x: x.repeat(layer.size[0], axis=1).repeat(layer.size[1], axis=2),
    "Permute": lambda layer, x: x.transpose(0, *layer.dims),
    "Subtract": lambda layer, x: x[0] - x[1],
    "Multiply": lambda layer, x: x[0] * x[1],
    "Maximum": lambda layer, x: np.maximum(x[0], x[1]),
    "Minimum": lambda layer, x: np.minimum(x[0], x[1]),
    "Average": lambda layer, x: (x[0] + x[1]) / 2,
    "SpatialDropout2D": lambda layer, x: x,
    "GaussianNoise": lambda layer, x: x,
}
