"""Which variables a layer has: their canonical names, shapes and order, from its class and config alone.

Source of the orders: each class's ``build`` in keras.src.layers (3.15), tf_keras.src.layers and qkeras; Keras 3 stores
a layer's own variables as trainable ones first, then the others, each in order of creation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.read.config import as_dict, short_name
from qsim.importers.keras.read.prune import PRUNER, pruned_store
from qsim.importers.keras.read.store import EMPTY, Shape, Store, Variable


def layout(class_name: str, config: dict[str, Any], input_shape: Shape | None, layer: str) -> Store | None:
    """The variables of a layer; None for classes that are not known here, whose weights are not read.

    input_shape: of the layer's input, with batch, where known. Raises ModelError where the config lacks what it needs.
    """
    rule = _RULES.get(class_name)
    if rule is None:
        return None
    try:
        found = rule(_Config(class_name, config, input_shape, layer))
    except _UnknownInner:
        return None
    return Store(found.own, (*found.children, *_trained_quantizers(config)))


class _UnknownInner(Exception):
    """A wrapper holds a layer whose variables are not known here: the wrapper's are not either."""


def _trained_quantizers(config: dict[str, Any]) -> Iterator[tuple[str, str, Store]]:
    """The stores of quantizers that own variables, under the argument that holds them."""
    for key in config:
        if key == "quantizer" or key.endswith("_quantizer"):
            held = config[key]
            if isinstance(held, dict) and short_name(str(held.get("class_name"))) == "ttq_weight_quantizer":
                yield f"{key}/", key, Store((Variable("positive", ()), Variable("negative", ())))


class _Config:
    """A layer's config with checked access."""

    def __init__(self, class_name: str, config: dict[str, Any], input_shape: Shape | None, layer: str) -> None:
        self.class_name, self.config, self.input_shape, self.layer = class_name, config, input_shape, layer

    def fail(self, key: str, wanted: str) -> ModelError:
        value, who = repr(self.config.get(key))[:60], f"layer {self.layer!r} ({self.class_name})"
        return ModelError(f"{who}: config {key!r} should be {wanted}, but is {value}.")

    def size(self, key: str, default: int | None = None) -> int:
        value = self.config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.fail(key, "a positive integer")
        return value

    def sizes(self, key: str, rank: int) -> tuple[int, ...]:
        value = self.config.get(key)
        values = [value] * rank if isinstance(value, int) else value
        if not isinstance(values, list) or len(values) != rank or not all(type(n) is int and n > 0 for n in values):
            raise self.fail(key, f"{rank} positive integers")
        return tuple(values)

    def flag(self, key: str, default: bool = True) -> bool:
        value = self.config.get(key, default)
        if not isinstance(value, (bool, int)):
            raise self.fail(key, "true or false")
        return bool(value)

    def dim(self, axis: int) -> int | None:
        """The input's size along an axis (batch included), where known."""
        shape = self.input_shape
        return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None

    @property
    def channels(self) -> int | None:
        return self.dim(1 if self.config.get("data_format") == "channels_first" else -1)

    def bias(self, size: int | None, key: str = "use_bias") -> tuple[Variable, ...]:
        return (Variable("bias", (size,)),) if self.flag(key) else ()

    def inner(self, key: str, role: str) -> Store:
        """The layout of a layer held in the config under ``key``."""
        held = as_dict(self.config.get(key), f"config {key!r} of layer {self.layer!r}")
        name = short_name(str(held.get("class_name")))
        shape = None
        if self.class_name == "TimeDistributed" and self.input_shape is not None and len(self.input_shape) > 2:
            shape = (self.input_shape[0], *self.input_shape[2:])
        elif self.class_name != "TimeDistributed":
            shape = self.input_shape
        inside = as_dict(held.get("config"), f"config of {role} of layer {self.layer!r}")
        found = layout(name, inside, shape, f"{self.layer}/{role}")
        if found is None:
            raise _UnknownInner
        return found


def _none(c: _Config) -> Store:
    return EMPTY


def _dense(c: _Config) -> Store:
    units = c.size("units")
    return Store((Variable("kernel", (c.dim(-1), units)), *c.bias(units)))


def _conv(rank: int, transposed: bool = False) -> Callable[[_Config], Store]:
    def rule(c: _Config) -> Store:
        filters, kernel = c.size("filters"), c.sizes("kernel_size", rank)
        groups, channels = c.size("groups", 1), c.channels
        per_group = None if channels is None else channels // groups
        shape = (*kernel, filters, channels) if transposed else (*kernel, per_group, filters)
        return Store((Variable("kernel", shape), *c.bias(filters)))

    return rule


def _depthwise(rank: int) -> Callable[[_Config], Store]:
    def rule(c: _Config) -> Store:
        kernel, multiplier, channels = c.sizes("kernel_size", rank), c.size("depth_multiplier", 1), c.channels
        out = None if channels is None else channels * multiplier
        weights = Variable("depthwise_kernel", (*kernel, channels, multiplier), aliases=(r"kernel(_\d+)?",))
        return Store((weights, *c.bias(out)))

    return rule


def _separable(rank: int) -> Callable[[_Config], Store]:
    def rule(c: _Config) -> Store:
        kernel, multiplier, channels = c.sizes("kernel_size", rank), c.size("depth_multiplier", 1), c.channels
        filters, ones = c.size("filters"), (1,) * rank
        middle = None if channels is None else channels * multiplier
        depthwise = Variable("depthwise_kernel", (*kernel, channels, multiplier))
        pointwise = Variable("pointwise_kernel", (*ones, middle, filters))
        return Store((depthwise, pointwise, *c.bias(filters)))

    return rule


def _depthwise_transpose(c: _Config) -> Store:
    filters, kernel = c.size("filters"), c.sizes("kernel_size", 2)
    return Store((Variable("depthwise_kernel", (*kernel, None, None)), *c.bias(filters)))


def _separable_transpose(c: _Config) -> Store:
    filters, kernel = c.size("filters"), c.sizes("kernel_size", 2)
    depthwise = Variable("depthwise_kernel", (*kernel, None, None))
    pointwise = Variable("pointwise_kernel", (1, 1, None, None))
    return Store((depthwise, pointwise, *c.bias(filters)))


def _normalized_size(c: _Config) -> int | None:
    axis = c.config.get("axis", -1)
    if isinstance(axis, list) and len(axis) == 1:  # Keras 2 writes a list
        axis = axis[0]
    return c.dim(axis) if type(axis) is int else None


def _batch_norm(c: _Config) -> Store:
    return _batch_norm_of(c, _normalized_size(c))


def _batch_norm_of(c: _Config, size: int | None) -> Store:
    names = [name for name, key in (("gamma", "scale"), ("beta", "center")) if c.flag(key)]
    trained = tuple(Variable(name, (size,)) for name in names)
    moving = tuple(Variable(name, (size,), trainable=False) for name in ("moving_mean", "moving_variance"))
    return Store(trained + moving)


def _layer_norm(c: _Config) -> Store:
    names = [name for name, key in (("gamma", "scale"), ("beta", "center")) if c.flag(key)]
    return Store(tuple(Variable(name, None) for name in names))


def _folded(base: Callable[[_Config], Store], size: Callable[[_Config], int | None]) -> Callable[[_Config], Store]:
    """QConv2DBatchnorm and its relatives: the layer, its step counter and the BatchNormalization that it holds."""

    def rule(c: _Config) -> Store:
        own = (*base(c).own, Variable("iteration", (), trainable=False))
        return Store(own, (("", "batchnorm", _batch_norm_of(c, size(c))),))

    return rule


def _depthwise_out(c: _Config) -> int | None:
    return None if c.channels is None else c.channels * c.size("depth_multiplier", 1)


def _cell(gates: int) -> Callable[[_Config], Store]:
    def rule(c: _Config) -> Store:
        units = c.size("units")
        double = gates == 3 and c.flag("reset_after", default=False)  # GRU: one bias for input, one for recurrence
        bias = (Variable("bias", (2, gates * units) if double else (gates * units,)),) if c.flag("use_bias") else ()
        kernel = Variable("kernel", (c.dim(-1), gates * units))
        return Store((kernel, Variable("recurrent_kernel", (units, gates * units)), *bias))

    return rule


def _recurrent(gates: int) -> Callable[[_Config], Store]:
    cell = _cell(gates)

    def rule(c: _Config) -> Store:
        return Store((), (("", "cell", cell(c)),))

    return rule


def _rnn(c: _Config) -> Store:
    return Store((), (("", "cell", c.inner("cell", "cell")),))


def _bidirectional(c: _Config) -> Store:
    forward = c.inner("layer", "forward")
    backward = c.inner("backward_layer", "backward") if c.config.get("backward_layer") is not None else forward
    return Store((), (("forward/", "forward_layer", forward), ("backward/", "backward_layer", backward)))


def _time_distributed(c: _Config) -> Store:
    return Store((), (("layer/", "layer", c.inner("layer", "layer")),))


def _quantized_kernel(c: _Config) -> Store:
    """qsim's wrapper of a plain layer; its quantizer's variables come with ``_trained_quantizers``."""
    return Store((), (("layer/", "layer", c.inner("layer", "layer")),))


def _pruner(c: _Config) -> Store:
    """tfmot's PruneLowMagnitude around a layer."""
    held = as_dict(c.config.get("layer"), f"config 'layer' of layer {c.layer!r}")
    return pruned_store(short_name(str(held.get("class_name"))), c.inner("layer", "layer"))


_PRE_QUANTIZED = ("softmax", "sigmoid", "tanh", "gelu")
_POST_QUANTIZED = ("linear", "relu", "swish", "gelu")
"""Activations that tfmot's QuantizeAwareActivation quantizes before and after itself."""


_NO_OUTPUT_RANGE = ("linear", "softmax", "sigmoid", "tanh")
"""Activation layers whose Default8BitActivationQuantizeConfig has no output quantizer."""


def _range(name: str) -> tuple[Variable, Variable]:
    return Variable(f"{name}_min", None, trainable=False), Variable(f"{name}_max", None, trainable=False)


_STEP = Variable("optimizer_step", (), trainable=False)


def _tfmot_input(c: _Config) -> Store:
    """QuantizeLayer: the input's range, which the file names after the layer, and a step counter."""
    low, high = (Variable(v.name, (), trainable=False, aliases=(rf".*_{v.name}",)) for v in (
        Variable("min", ()), Variable("max", ())))  # fmt: skip
    return Store((low, high, _STEP))


_DEFAULT_8_BIT = (
    *("Default8BitQuantizeConfig", "Default8BitConvQuantizeConfig", "Default8BitConvTransposeQuantizeConfig"),
    *("Default8BitActivationQuantizeConfig", "Default8BitOutputQuantizeConfig", "NoOpQuantizeConfig"),
)


def _tfmot_wrapper(c: _Config) -> Store:
    """QuantizeWrapperV2: the wrapped layer's variables, a step counter, and ranges as its quantize_config says."""
    quantize = as_dict(c.config.get("quantize_config"), f"quantize_config of layer {c.layer!r}")
    kind = short_name(str(quantize.get("class_name")))
    if kind not in _DEFAULT_8_BIT:
        bits = as_dict(quantize.get("config") or {}, f"quantize_config of layer {c.layer!r}").get("num_bits_weight")
        raise UnsupportedError(
            f"quantize_config {kind!r}{f' with {bits}-bit weights' if bits else ''} is not of tfmot's default 8-bit "
            "scheme; one of your own decides by itself what is quantized and how, and only the converter follows it",
            layer=c.layer,
            way_out="convert the model with the TensorFlow Lite converter and load its .tflite file, or annotate the "
            "layer without a quantize_config of its own; for fewer bits than 8 use QKeras",
        )
    inside = as_dict(quantize.get("config"), f"quantize_config of layer {c.layer!r}")
    own = [_STEP]
    for attribute in inside.get("weight_attrs") or ():
        own += _range(str(attribute))
    if inside.get("activation_attrs"):
        activation = tfmot_activation(as_dict(c.config.get("layer"), "a wrapped layer"))
        own += _range("pre_activation") if activation in _PRE_QUANTIZED else ()
        own += _range("post_activation") if activation in _POST_QUANTIZED else ()
    activation_config = kind == "Default8BitActivationQuantizeConfig"
    if inside.get("quantize_output") and not (
        # This one decides by the activation: these keep no range of their output.
        activation_config and tfmot_activation(as_dict(c.config.get("layer"), "a wrapped layer")) in _NO_OUTPUT_RANGE
    ):
        own += _range("output")
    return Store(tuple(own), (("layer/", "layer", c.inner("layer", "layer")),))


def tfmot_activation(layer: dict[str, Any]) -> str:
    """The name of a wrapped layer's activation ('linear' where it has none), out of tfmot's QuantizeAwareActivation."""
    found: Any = as_dict(layer.get("config"), "a wrapped layer").get("activation")
    while isinstance(found, dict):
        inside = found.get("config")
        if isinstance(inside, dict) and inside.get("activation") is not None:
            found = inside["activation"]
        else:
            found = found.get("class_name") if not isinstance(inside, str) else inside
    return "linear" if found is None else short_name(str(found))


def _embedding(c: _Config) -> Store:
    return Store((Variable("embeddings", (c.size("input_dim"), c.size("output_dim"))),))


def _einsum(c: _Config) -> Store:
    return Store((Variable("kernel", None), *((Variable("bias", None),) if c.config.get("bias_axes") else ())))


def _rms_norm(c: _Config) -> Store:
    return Store((Variable("scale", None),))


def _prelu(c: _Config) -> Store:
    return Store((Variable("alpha", None),))


def _scale_shift(c: _Config) -> Store:
    return Store((Variable("weight", (1, 1)), *((Variable("bias", (1, 1)),) if c.flag("use_bias") else ())))


def _adaptive(c: _Config) -> Store:
    size = c.dim(-1) if c.flag("per_channel", default=False) else 1
    ema = tuple(Variable(name, (size,), trainable=False) for name in ("ema_min", "ema_max"))
    return Store((Variable("step", (), aliases=(r"[Vv]ariable(_\d+)?",)), *ema))


def _normalization(c: _Config) -> Store:
    if c.config.get("mean") is not None:
        return EMPTY
    names = ("mean", "variance", "count")
    return Store(tuple(Variable(name, None, trainable=False) for name in names))


# Known too, so that a weights file with arrays for one of them shows that it belongs to another model.
_WITHOUT_VARIABLES = (
    "InputLayer", "Activation", "QActivation", "ReLU", "LeakyReLU", "ELU", "Softmax", "Flatten", "Reshape", "Permute",
    "RepeatVector", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout",
    "ActivityRegularization", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot",
    "MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D", "QAveragePooling2D",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "QGlobalAveragePooling2D", "GlobalMaxPooling1D",
    "GlobalMaxPooling2D", "ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D", "UpSampling1D",
    "UpSampling2D", "Rescaling", "Identity", "Masking",
)  # fmt: skip

_RULES: dict[str, Callable[[_Config], Store]] = {
    **dict.fromkeys(("Dense", "QDense"), _dense),
    **dict.fromkeys(("Conv1D", "QConv1D"), _conv(1)),
    **dict.fromkeys(("Conv2D", "QConv2D"), _conv(2)),
    "Conv3D": _conv(3),
    "Conv1DTranspose": _conv(1, transposed=True),
    **dict.fromkeys(("Conv2DTranspose", "QConv2DTranspose"), _conv(2, transposed=True)),
    "DepthwiseConv1D": _depthwise(1),
    **dict.fromkeys(("DepthwiseConv2D", "QDepthwiseConv2D"), _depthwise(2)),
    **dict.fromkeys(("SeparableConv1D", "QSeparableConv1D"), _separable(1)),
    **dict.fromkeys(("SeparableConv2D", "QSeparableConv2D"), _separable(2)),
    "QDepthwiseConv2DTranspose": _depthwise_transpose,
    "QSeparableConv2DTranspose": _separable_transpose,
    **dict.fromkeys(("BatchNormalization", "QBatchNormalization", "SyncBatchNormalization"), _batch_norm),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), _layer_norm),
    "QDenseBatchnorm": _folded(_dense, lambda c: c.size("units")),
    "QConv2DBatchnorm": _folded(_conv(2), lambda c: c.size("filters")),
    "QDepthwiseConv2DBatchnorm": _folded(_depthwise(2), _depthwise_out),
    **dict.fromkeys(("SimpleRNN", "QSimpleRNN"), _recurrent(1)),
    **dict.fromkeys(("LSTM", "QLSTM"), _recurrent(4)),
    **dict.fromkeys(("GRU", "QGRU"), _recurrent(3)),
    **dict.fromkeys(("SimpleRNNCell", "QSimpleRNNCell"), _cell(1)),
    **dict.fromkeys(("LSTMCell", "QLSTMCell"), _cell(4)),
    **dict.fromkeys(("GRUCell", "QGRUCell"), _cell(3)),
    "RNN": _rnn,
    **dict.fromkeys(("Bidirectional", "QBidirectional"), _bidirectional),
    "TimeDistributed": _time_distributed,
    "QuantizedKernel": _quantized_kernel,
    PRUNER: _pruner,
    "QuantizeLayer": _tfmot_input,
    "QuantizeWrapperV2": _tfmot_wrapper,
    "Embedding": _embedding,
    "EinsumDense": _einsum,
    "RMSNormalization": _rms_norm,
    "PReLU": _prelu,
    "QScaleShift": _scale_shift,
    "QAdaptiveActivation": _adaptive,
    "Normalization": _normalization,
    **dict.fromkeys(_WITHOUT_VARIABLES, _none),
}
