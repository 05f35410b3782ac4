"""The float64 evaluation of the layers that ``keras_reference`` leaves out: recurrent, folded, one-dimensional,
channels-first. Importing this module adds them to ``keras_reference``."""

from __future__ import annotations

import numpy as np
from keras_reference import ACTIVATIONS, RUN, _finish, activation, constant, conv2d


def weights(owner, name, variable=None):
    """The float64 value of a quantized variable of a layer or cell."""
    quantizer = getattr(owner, f"{name}_quantizer_internal") if getattr(owner, f"{name}_quantizer") else None
    return constant(quantizer, getattr(owner, variable or name))


def separable_conv1d(layer, x):
    """As images of height one."""
    depthwise, pointwise = (
        weights(layer, "depthwise", "depthwise_kernel"),
        weights(layer, "pointwise", "pointwise_kernel"),
    )
    channels, multiplier = depthwise.shape[1:]
    (size,), (stride,), (dilation,) = layer.kernel_size, layer.strides, layer.dilation_rate
    reach = (size - 1) * dilation + 1
    total = max((-(-x.shape[1] // stride) - 1) * stride + reach - x.shape[1], 0) if layer.padding == "same" else 0
    padded = np.pad(x, ((0, 0), (total // 2, total - total // 2), (0, 0)))
    starts = range(0, padded.shape[1] - reach + 1, stride)
    rows = [
        np.einsum("nkc,kcm->ncm", padded[:, s : s + reach : dilation], depthwise).reshape(len(x), channels * multiplier)
        for s in starts
    ]
    return _finish(layer, np.stack(rows, axis=1) @ pointwise[0])


class Folded:
    """A folded layer as ``conv2d`` and others see a plain one: the quantized folded kernel and bias."""

    def __init__(self, layer, role):
        self.__dict__.update({k: getattr(layer, k) for k in ("activation", "use_bias")})
        for name in ("strides", "padding", "dilation_rate"):
            setattr(self, name, getattr(layer, name, None))
        self.groups, self.use_bias = 1, True
        kernel, bias = layer.get_folded_weights()
        self.kernel = constant(getattr(layer, f"{role}_quantizer_internal"), kernel)
        self.bias = constant(layer.bias_quantizer_internal, bias)
        self.kernel_quantizer = self.depthwise_quantizer = self.bias_quantizer = None


def finish_folded(folded, y):
    return activation(folded.activation, y + folded.bias)


def conv2d_batchnorm(layer, x):
    folded = Folded(layer, "kernel")
    kernel, act, folded.activation, folded.use_bias = folded.kernel, folded.activation, None, False
    y = convolved(x, kernel, folded)
    return activation(act, y + folded.bias)


def convolved(x, kernel, layer):
    import tensorflow as tf

    y = tf.nn.conv2d(x, kernel, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate)
    return np.asarray(y)


def depthwise_conv2d_batchnorm(layer, x):
    folded = Folded(layer, "depthwise")
    parts = [convolved(x[..., c : c + 1], folded.kernel[:, :, c : c + 1], folded) for c in range(x.shape[-1])]
    return finish_folded(folded, np.concatenate(parts, axis=-1))


def dense_batchnorm(layer, x):
    folded = Folded(layer, "kernel")
    return finish_folded(folded, x @ folded.kernel)


def scale_shift(layer, x):
    y = x * weights(layer, "weight")
    if layer.use_bias:
        y = y + weights(layer, "bias")
    return activation(layer.activation, y)


def adaptive(layer, x):
    """The quantizer that QKeras' layer holds, with its integer bits as they have settled."""
    quantizer = layer.quantizer
    integers = np.atleast_1d(np.asarray(quantizer.integer, dtype=np.int64)).reshape(-1)

    class Frozen:
        pass

    parts = []
    for integer in integers:
        frozen = Frozen()
        frozen.__dict__.update({k: getattr(quantizer, k) for k in ARGUMENTS if hasattr(quantizer, k)})
        frozen.integer = int(integer)
        parts.append(ACTIVATIONS[type(quantizer).__name__](frozen, x))
    if len(parts) == 1:
        return parts[0]
    return np.stack([part[..., c] for c, part in enumerate(parts)], axis=-1)


ARGUMENTS = (
    "bits", "symmetric", "keep_negative", "alpha", "negative_slope", "use_sigmoid", "relu_upper_bound",
    "is_quantized_clip",
)  # fmt: skip


def recurrent(step, states):
    """A recurrent layer: ``step(cell, x, state) -> state``, whose first part is the output."""

    def run(layer, x):
        cell = layer.cell
        state = [np.zeros((len(x), cell.units)) for _ in range(states)]
        rows = []
        for t in range(x.shape[1])[:: -1 if layer.go_backwards else 1]:
            read = [s if cell.state_quantizer is None else activation(cell.state_quantizer_internal, s) for s in state]
            state = step(cell, x[:, t], read)
            rows.append(state[0])
        return np.stack(rows, axis=1) if layer.return_sequences else rows[-1]

    return run


def shares(cell, x, h, gates):
    """x W and h U, gate by gate, and the bias."""
    own = np.split(x @ weights(cell, "kernel"), gates, axis=1)
    back = np.split(h @ weights(cell, "recurrent", "recurrent_kernel"), gates, axis=1)
    bias = weights(cell, "bias") if cell.use_bias else np.zeros(gates * cell.units)
    return own, back, bias


def simple_step(cell, x, state):
    own, back, bias = shares(cell, x, state[0], 1)
    return [activation(cell.activation, own[0] + bias + back[0])]


def lstm_step(cell, x, state):
    own, back, bias = shares(cell, x, state[0], 4)
    i, f, g, o = (a + b + c for a, b, c in zip(own, back, np.split(bias, 4)))
    gate = cell.recurrent_activation
    c = activation(gate, f) * state[1] + activation(gate, i) * activation(cell.activation, g)
    return [activation(gate, o) * activation(cell.activation, c), c]


def gru_step(cell, x, state):
    own, back, bias = shares(cell, x, state[0], 3)
    first, second = bias if cell.reset_after and cell.use_bias else (bias, np.zeros(3 * cell.units))
    first, second = np.split(first, 3), np.split(second, 3)
    z, r = (activation(cell.recurrent_activation, own[g] + first[g] + back[g] + second[g]) for g in (0, 1))
    if cell.reset_after:
        share = r * (back[2] + second[2])
    else:
        kernel = weights(cell, "recurrent", "recurrent_kernel")[:, 2 * cell.units :]
        share = (r * state[0]) @ kernel
    candidate = activation(cell.activation, own[2] + first[2] + share)
    return [z * state[0] + (1 - z) * candidate]


def bidirectional(layer, x):
    forward = RUN[type(layer.forward_layer).__name__](layer.forward_layer, x)
    backward = RUN[type(layer.backward_layer).__name__](layer.backward_layer, x)
    if layer.return_sequences:
        backward = backward[:, ::-1]
    merge = {
        "concat": lambda: np.concatenate([forward, backward], axis=-1),
        "sum": lambda: forward + backward,
        "mul": lambda: forward * backward,
        "ave": lambda: (forward + backward) / 2,
    }
    return merge[layer.merge_mode]()


def ulaw(q, x):
    """The levels are float32 numbers, computed step by step as QKeras does; codes hold each to the nearest of
    2**(integer - 24)."""

    def log(v):
        return np.log(v.astype(np.float64)).astype(np.float32)

    m = 2.0 ** (q.bits - 1)
    r = 2 * (np.rint(np.clip(x / 2.0**q.integer / 2 + 0.5, 0, 1) * m) / m) - 1
    u = np.float32(q.u)
    y = np.sign(r) * (log(1 + u * np.abs(r).astype(np.float32)) / log(np.array(1 + q.u))).astype(np.float64)
    return np.rint(np.clip(y, -1 + q.symmetric / m, 1 - 1 / m) * 2.0**24) * 2.0 ** (q.integer - 24)


def hard_sigmoid(function, x):
    slope = 0.5 if function.__module__.startswith("qkeras") else 1 / 6
    return np.clip(slope * x + 0.5, 0, 1)


def masked(layer, x):
    """QConv2D's mask, whatever attribute holds it."""
    return conv2d(layer, x)


ACTIVATIONS.update(
    {
        "quantized_ulaw": ulaw,
        "hard_sigmoid": hard_sigmoid,
        "smooth_tanh": lambda f, x: np.clip(0.375 * x, -1, 1),
        "binary_sigmoid": lambda f, x: np.rint(np.clip(x / 2 + 0.5, 0, 1)),
    }
)
RUN.update(
    {
        "QSeparableConv1D": separable_conv1d,
        "QConv2DBatchnorm": conv2d_batchnorm,
        "QDepthwiseConv2DBatchnorm": depthwise_conv2d_batchnorm,
        "QDenseBatchnorm": dense_batchnorm,
        "QScaleShift": scale_shift,
        "QAdaptiveActivation": adaptive,
        "QSimpleRNN": recurrent(simple_step, 1),
        "QLSTM": recurrent(lstm_step, 2),
        "QGRU": recurrent(gru_step, 1),
        "QBidirectional": bidirectional,
        "UpSampling1D": lambda layer, x: x.repeat(layer.size, axis=1),
        "ZeroPadding1D": lambda layer, x: np.pad(x, ((0, 0), layer.padding, (0, 0))),
        "Cropping1D": lambda layer, x: x[:, layer.cropping[0] : x.shape[1] - layer.cropping[1]],
        "SpatialDropout1D": lambda layer, x: x,
    }
)
