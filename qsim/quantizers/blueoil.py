"""Blueoil's five quantizers for TensorFlow 2 and Keras 3: same names, arguments and defaults, written anew.

Each is a class, so that a call makes the callable that quantizes: ``twn_weight_quantizer()(w)``. The callables serve as
``kernel_quantizer`` and ``activation`` of QKeras layers, as ``activation`` of Keras layers and, in ``QuantizedKernel``,
for the kernels of plain Keras layers. Keras saves and loads them once this module has been imported.

Sums, thresholds and the mid-tread step are evaluated in float64 and rounded once to ``dtype``: the same weights then
give the same codes on every device, and those of ``qsim.quantizers.blueoil_numpy``. (Blueoil itself summed in float32,
where the order of a device's additions shows in the last bits.)

Source of the rules: Blueoil's ``quantizations`` package and the papers it names (DoReFa-Net, XNOR-Net, TWN, TTQ).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Self

from qsim.errors import UsageError
from qsim.quantizers.blueoil_base import Backward, Quantizer, floating, keras, tensor, tf

PACKAGE = "qsim"
"""The package under which Keras registers the classes of this module."""

_register = keras.saving.register_keras_serializable(package=PACKAGE)


def _signs(x: Any) -> Any:
    one = tf.ones_like(x)
    return tf.where(x >= 0, one, -one)


@_register
class binary_mean_scaling_quantizer(Quantizer):
    """y = s * (+1 where x >= 0, else -1), s = mean|x| over the whole tensor. Gradient: dy, or ``backward(op, dy)``.

    x: weights of any shape. dtype: of x and y.
    """

    def __init__(self, backward: Backward | None = None, dtype: Any = tf.float32) -> None:
        super().__init__(backward, dtype)

    def _forward(self, x: Any) -> Any:
        return _signs(x) * _once(tf.reduce_mean(tf.abs(x)), self._dtype)


@_register
class binary_channel_wise_mean_scaling_quantizer(Quantizer):
    """As ``binary_mean_scaling_quantizer`` with one mean per output channel, the last axis of x."""

    def __init__(self, backward: Backward | None = None, dtype: Any = tf.float32) -> None:
        super().__init__(backward, dtype)

    def _forward(self, x: Any) -> Any:
        scale = tf.reduce_mean(tf.abs(x), axis=tuple(range(x.shape.rank - 1)))
        return _signs(x) * _once(scale, self._dtype)


@_register
class linear_mid_tread_half_quantizer(Quantizer):
    """y = floor(x' * n / max_value + 1/2) * max_value / n, x' = clip(x, 0, max_value), n = 2**bit - 1: ties go up.

    Gradient: dy where 0 < x < max_value, else 0; or ``backward(op, dy)`` with op.inputs = (x, bit, max_value).
    Raises UsageError where bit is not 1 to 32 or max_value is not positive and finite: both must be given.
    """

    alpha = None

    def __init__(
        self,
        bit: int | None = None,
        max_value: float | None = None,
        backward: Backward | None = None,
        dtype: Any = tf.float32,
    ) -> None:
        super().__init__(backward, dtype)
        if bit is None or int(bit) != bit or not 1 <= bit <= 32:
            raise UsageError(f"linear_mid_tread_half_quantizer: bit must be a whole number from 1 to 32, not {bit!r}.")
        if max_value is None or not math.isfinite(max_value) or max_value <= 0:
            raise UsageError(
                f"linear_mid_tread_half_quantizer: max_value must be a positive number, not {max_value!r}."
            )
        # The value that Blueoil's operation received: a number of the tensor's own type.
        self.bit, self.max_value = int(bit), float(tf.cast(tf.constant(max_value, tf.float64), self._dtype))
        self.bits = self.bit

    def _forward(self, x: Any) -> Any:
        levels = float(2**self.bit - 1)
        # Multiplying first keeps the quotient exact at ties: x and levels together have fewer than 53 bits.
        codes = tf.floor(tf.clip_by_value(x, 0.0, self.max_value) * levels / self.max_value + 0.5)
        return codes * self.max_value / levels

    def _default(self, x: Any, dy: Any) -> Any:
        return tf.where((x > 0) & (x < tf.cast(self.max_value, x.dtype)), dy, tf.zeros_like(dy))

    def _constants(self) -> tuple[Any, ...]:
        return tf.constant(self.bit), tf.constant(self.max_value, tf.float32)

    def _arguments(self) -> dict[str, Any]:
        return {"bit": self.bit, "max_value": self.max_value}

    def max(self) -> float:
        """The greatest value, for QKeras."""
        return self.max_value

    def min(self) -> float:
        """The least value, for QKeras."""
        return 0.0


def _once(scale: Any, dtype: Any) -> Any:
    """A float64 scale rounded to ``dtype``, as float64."""
    return tf.cast(tf.cast(scale, dtype), tf.float64)


def _threshold(threshold: Any, name: str) -> float:
    if not isinstance(threshold, int | float) or not math.isfinite(threshold) or threshold < 0:
        raise UsageError(f"{name}: threshold must be a number, zero or more, not {threshold!r}.")
    return float(threshold)


@_register
class twn_weight_quantizer(Quantizer):
    """Ternary weight networks: y = s * sign(x) where |x| > t, else 0; t = threshold * mean|x|, s = mean of those |x|.

    Where no |x| lies above t (an all-zero tensor) y is 0; Blueoil divides 0 by 0 there. Gradient: dy.
    """

    has_backward = False

    def __init__(self, threshold: float = 0.7, dtype: Any = tf.float32) -> None:
        super().__init__(None, dtype)
        self.threshold = _threshold(threshold, type(self).__name__)

    def _forward(self, x: Any) -> Any:
        size = tf.abs(x)
        above = tf.cast(size > self.threshold * tf.reduce_mean(size), tf.float64)
        scale = tf.math.divide_no_nan(tf.reduce_sum(size * above), tf.reduce_sum(above))
        return tf.sign(x) * above * _once(scale, self._dtype)

    def _arguments(self) -> dict[str, Any]:
        return {"threshold": self.threshold}


@_register
class ttq_weight_quantizer(keras.layers.Layer):  # type: ignore[misc]
    """Trained ternary quantization: y = positive where x > t, -negative where x < -t, else 0; t = threshold * max|x|.

    ``positive`` and ``negative`` are trained variables, 1.0 at first. Gradients, as Blueoil and the paper give them:
    dy * positive, dy * negative and dy for x in the three regions; the sum of dy over x > t for ``positive`` and the
    sum of dy over x < -t for ``negative`` (without the minus sign that y has there). The callable is a Keras layer, so
    that the layer that holds it saves and trains the two; each layer needs a quantizer of its own.
    """

    alpha = "auto"

    def __init__(self, threshold: float = 0.05, dtype: Any = tf.float32, **kwargs: Any) -> None:
        name = type(self).__name__
        super().__init__(dtype=floating(dtype, name).name, **kwargs)
        self.threshold = _threshold(threshold, name)
        self.positive = self.add_weight(name="positive", shape=(), initializer="ones")
        self.negative = self.add_weight(name="negative", shape=(), initializer="ones")
        self.built = True
        self._owner: weakref.ref[Any] | None = None

    def __call__(self, x: Any) -> Any:
        """The quantized values of ``x``, same shape and dtype. Raises UsageError for a second layer's weights."""
        if isinstance(x, keras.Variable):
            owner = None if self._owner is None else self._owner()
            if owner is not None and owner is not x:
                raise UsageError(
                    f"ttq_weight_quantizer quantizes {owner.path!r} already and was called on {x.path!r}: its two "
                    "trained factors belong to one layer. Make a quantizer for each layer."
                )
            self._owner = weakref.ref(x)
        x = tensor(x, tf.as_dtype(self.variable_dtype), type(self).__name__)
        # Read outside of the custom gradient, which takes tensors and no variables.
        factors = (tf.convert_to_tensor(v.value) for v in (self.positive, self.negative))
        return self._quantized(x, *factors)

    def call(self, x: Any) -> Any:
        """As calling it."""
        return self(x)

    def _quantized(self, x: Any, positive: Any, negative: Any) -> Any:
        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def quantized(x: Any, positive: Any, negative: Any) -> tuple[Any, Callable[[Any], Any]]:
            wide = tf.cast(x, tf.float64)
            t = self.threshold * tf.reduce_max(tf.abs(wide))
            above, below, zero = wide > t, wide < -t, tf.zeros_like(x)
            y = tf.where(above, positive, zero) - tf.where(below, negative, zero)

            def gradient(dy: Any) -> tuple[Any, Any, Any]:
                dx = tf.where(above, dy * positive, tf.where(below, dy * negative, dy))
                return dx, tf.reduce_sum(tf.where(above, dy, zero)), tf.reduce_sum(tf.where(below, dy, zero))

            return y, gradient

        return quantized(x, positive, negative)

    def get_config(self) -> dict[str, Any]:
        """The arguments; the two factors are saved with the weights."""
        return {"threshold": self.threshold, "dtype": self.variable_dtype}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The quantizer that ``get_config`` described, its factors still 1.0."""
        return cls(**config)

    def load_own_variables(self, store: Any) -> None:
        """Read the factors. QKeras layers hold one quantizer in two attributes, and Keras saves it under the first that
        it meets: after loading that is the other one, so both are looked at. Raises UsageError if neither has them."""
        path = getattr(store, "_h5_entry_path", None)
        if path and not list(store.keys()):
            other = path.removesuffix("_internal") if path.endswith("_internal") else path + "_internal"
            store = store.get(other)
        if sorted(store.keys()) != ["0", "1"]:
            raise UsageError(
                f"the weights file has no factors for the ttq_weight_quantizer at {path!r}: it was saved from a model "
                "whose layers or quantizers differ."
            )
        self.positive.assign(store["0"])
        self.negative.assign(store["1"])

    def __str__(self) -> str:
        return f"{type(self).__name__}(threshold={self.threshold!r})"


@_register
class QuantizedKernel(keras.layers.Wrapper):  # type: ignore[misc]
    """A plain Keras layer whose kernel goes through ``quantizer``: trained stays the float kernel, used is the
    quantized one. Biases stay as they are.

    layer: a Keras layer with a variable named by ``weight`` ("kernel": Dense, Conv1D, Conv2D, DepthwiseConv2D, ...).
    quantizer: one of this module's or of QKeras'. The wrapper has the layer's name unless ``name`` is given.
    Raises UsageError where the layer has no such variable.
    """

    def __init__(self, layer: Any, quantizer: Any, weight: str = "kernel", **kwargs: Any) -> None:
        kwargs.setdefault("name", layer.name)
        super().__init__(layer, **kwargs)
        if not callable(quantizer):
            raise UsageError(f"layer {layer.name!r}: {quantizer!r} is no quantizer: a callable is needed.")
        self.quantizer, self.weight = quantizer, weight

    def build(self, input_shape: Any = None) -> None:
        """Build the wrapped layer."""
        super().build(input_shape)
        self._variable()

    def _variable(self) -> Any:
        found = getattr(self.layer, self.weight, None)
        if not isinstance(found, keras.Variable):
            kind = type(self.layer).__name__
            raise UsageError(f"layer {self.layer.name!r} ({kind}) has no variable {self.weight!r}.")
        return found

    def call(self, inputs: Any) -> Any:
        """The layer's output with the quantized kernel."""
        variable = self._variable()
        with keras.StatelessScope(state_mapping=[(variable, self.quantizer(variable))]):
            return self.layer(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the wrapped layer."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The wrapped layer, the quantizer and which weight it quantizes."""
        quantizer = keras.saving.serialize_keras_object(self.quantizer)
        config: dict[str, Any] = super().get_config()
        return config | {"quantizer": quantizer, "weight": self.weight}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """The wrapper that ``get_config`` described."""
        given = dict(config)
        layer, quantizer = (
            keras.saving.deserialize_keras_object(given.pop(key), custom_objects=custom_objects)
            for key in ("layer", "quantizer")
        )
        return cls(layer, quantizer, **given)
