"""What Blueoil's quantizers for TensorFlow 2 and Keras 3 share: their tensors, gradients, and how Keras saves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from qsim.errors import ToolMissingError, UsageError
from qsim.version import install

try:
    import keras
    import tensorflow as tf
except ImportError as error:
    raise ToolMissingError(
        f"Blueoil's quantizers for training need TensorFlow and Keras 3: {install('keras')}. "
        "Loading a saved model with qsim.load does not."
    ) from error

Backward = Callable[[Any, Any], Any]
"""backward(op, gradient): ``op.inputs`` and ``op.outputs`` hold the forward's tensors, inputs[0] what was quantized, as
with TensorFlow 1's operations; it returns the gradient for inputs[0], or a sequence that starts with it."""


class Forward(NamedTuple):
    """What a custom ``backward`` is given as ``op``."""

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


def tensor(x: Any, dtype: Any, name: str) -> Any:
    """``x`` as a tensor of ``dtype``. Raises UsageError for tensors of another type and symbolic ones."""
    if keras.backend.backend() != "tensorflow":
        raise UsageError(f"{name} needs Keras' TensorFlow backend, not {keras.backend.backend()}.")
    if keras.backend.is_keras_tensor(x):
        raise UsageError(f"{name} was called on a symbolic Keras tensor: put it into keras.layers.Activation.")
    if isinstance(x, keras.Variable):
        x = keras.ops.convert_to_tensor(x)
    if isinstance(x, tf.Variable) or tf.is_tensor(x):
        if tf.as_dtype(x.dtype) != dtype:
            raise UsageError(
                f"{name} was made for {dtype.name} and got a {tf.as_dtype(x.dtype).name} tensor: "
                f"pass dtype=tf.{tf.as_dtype(x.dtype).name}."
            )
        return tf.convert_to_tensor(x)
    return tf.convert_to_tensor(x, dtype=dtype)


def floating(dtype: Any, name: str) -> Any:
    result = tf.as_dtype(dtype)
    if not result.is_floating:
        raise UsageError(f"{name}: dtype must be a floating type, not {result.name}.")
    return result


def registered_name(function: Backward, name: str) -> str:
    """The name under which Keras can find ``function`` again. Raises UsageError if it is not registered."""
    registered = keras.saving.get_registered_name(function)
    if keras.saving.get_registered_object(registered) is not function:
        raise UsageError(
            f"{name} cannot be saved: its backward {getattr(function, '__name__', function)!r} is not registered with "
            "Keras. Decorate it with @keras.saving.register_keras_serializable(package=...)."
        )
    return str(registered)


def found(registered: str, name: str, custom_objects: Mapping[str, Any] | None = None) -> Backward:
    function = keras.saving.get_registered_object(registered, custom_objects=custom_objects)
    if function is None:
        raise UsageError(
            f"{name} was saved with the backward {registered!r}, which is not registered here. "
            "Import the module that registers it before the model is loaded."
        )
    return function


class Quantizer:
    """Quantizers without variables of their own: forward on float64, straight-through or custom gradient.

    ``_forward(x64)`` gives the quantized values of the float64 tensor x64, ``_default(x, dy)`` the default gradient.
    """

    backward: Backward | None
    alpha: str | None = "auto"
    """For QKeras: the scale comes from the data, so it leaves initializers as they are."""

    def __init__(self, backward: Backward | None, dtype: Any) -> None:
        if backward is not None and not callable(backward):
            raise UsageError(f"{type(self).__name__}: backward must be a function of (op, gradient).")
        self.backward, self._dtype = backward, floating(dtype, type(self).__name__)
        self.dtype = self._dtype.name

    def __call__(self, x: Any) -> Any:
        """The quantized values of ``x``, same shape and dtype."""
        x = tensor(x, self._dtype, type(self).__name__)

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def quantized(x: Any) -> tuple[Any, Callable[[Any], Any]]:
            y = tf.cast(self._forward(tf.cast(x, tf.float64)), self._dtype)

            def gradient(dy: Any) -> Any:
                if self.backward is None:
                    return self._default(x, dy)
                given = self.backward(Forward((x, *self._constants()), (y,)), dy)
                return given[0] if isinstance(given, tuple | list) else given

            return y, gradient

        return quantized(x)

    def _forward(self, x: Any) -> Any:
        raise AttributeError(f"{type(self).__name__} defines no forward rule")

    def _default(self, x: Any, dy: Any) -> Any:
        return dy

    def _constants(self) -> tuple[Any, ...]:
        """The further inputs that Blueoil's operation had."""
        return ()

    def _arguments(self) -> dict[str, Any]:
        return {}

    def get_config(self) -> dict[str, Any]:
        """The arguments as plain values. Raises UsageError where ``backward`` is not registered with Keras."""
        name = type(self).__name__
        config = self._arguments() | {"dtype": self.dtype}
        if self.has_backward:
            config["backward"] = None if self.backward is None else registered_name(self.backward, name)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """The quantizer that ``get_config`` described."""
        given = dict(config)
        if isinstance(given.get("backward"), str):
            given["backward"] = found(given["backward"], cls.__name__, custom_objects)
        return cls(**given)

    has_backward = True

    def __str__(self) -> str:
        parts = [f"{k}={v!r}" for k, v in self._arguments().items()]
        return f"{type(self).__name__}({', '.join(parts)})"


__all__ = ["Backward", "Forward", "Quantizer", "floating", "found", "keras", "registered_name", "tensor", "tf"]
