"""Keras models in memory: their configs through JSON, as a file would hold them, and their arrays by layer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from qsim.errors import ModelError, UnsupportedError, UsageError
from qsim.importers.keras.model import KerasModel
from qsim.importers.keras.read.config import parse_json
from qsim.importers.keras.read.graph import flatten
from qsim.importers.keras.read.spec import MODEL_CLASSES, ModelSpec, parse_model
from qsim.importers.keras.read.weights import Value, Weights, assign


def read_memory(model: Any) -> KerasModel:
    """See ``reader.from_memory``."""
    name = getattr(model, "name", None)
    if not all(hasattr(model, a) for a in ("get_config", "layers", "weights", "get_weights")) or not name:
        raise UsageError(f"{type(model).__name__} is neither the path of a model nor a Keras model.")
    where = f"model {name!r} in memory"
    if getattr(model, "built", True) is False:
        raise ModelError(f"{where} is not built: it has no weights yet. Call it on an input, or give it a keras.Input.")
    class_name = next((c.__name__ for c in type(model).__mro__ if c.__name__ in MODEL_CLASSES), "")
    config = _config(model, where) if class_name else {}
    if "layers" not in config:
        class_name = type(model).__name__  # refused by name: its structure is Python code
    serialized = {"class_name": class_name, "config": _plain(config, where)}
    spec = parse_model(serialized, where)
    return flatten(spec, _weights(spec, model, where, ""), "memory", where)


def _config(model: Any, where: str) -> Any:
    """The model's config, as Keras gives it. Raises UnsupportedError, naming the layer, where Keras cannot."""
    try:
        return model.get_config()
    except Exception as error:  # Keras raises whatever a layer's get_config raises
        layer, cause = None, error
        for operation in getattr(model, "operations", model.layers):
            try:
                operation.get_config()
            except Exception as own:
                layer, cause = str(operation.name), own
                break
        reason = " ".join(str(cause).split()).split(". ", 1)[0] or type(cause).__name__
        raise UnsupportedError(
            f"{where}: Keras cannot write its config ({reason[:160]})",
            layer=layer,
            way_out="give it plain Python numbers and strings as arguments, or write its get_config",
        ) from error


def _plain(config: Any, where: str) -> Any:
    """The config as it comes back from a JSON file."""
    try:
        text = json.dumps(config, default=_encode)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"{where}: its config cannot be written as JSON: {error}") from error
    return parse_json(text, where)


def _encode(value: Any) -> Any:
    """What Keras' own JSON encoders do with values that are no plain Python."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.dtype) or hasattr(value, "as_numpy_dtype"):  # numpy's and TensorFlow's
        return value.name
    if hasattr(value, "get_config"):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    if hasattr(value, "as_list"):  # tf.TensorShape
        return value.as_list()
    if hasattr(value, "items"):  # tf_keras' wrapped dicts
        return dict(value.items())
    if hasattr(value, "__iter__"):
        return list(value)
    if hasattr(value, "__name__"):
        return value.__name__
    if hasattr(value, "numpy"):  # variables and tensors, such as a quantizer's noise factor
        return np.asarray(value.numpy()).tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _weights(spec: ModelSpec, model: Any, where: str, prefix: str) -> Weights:
    live = {layer.name: layer for layer in model.layers}
    found: Weights = {}
    for layer in spec.layers:
        held = live.get(layer.name)
        path = prefix + layer.name
        if layer.nested:
            if held is None or not hasattr(held, "layers"):
                raise ModelError(f"{where}: layer {path!r} of its config is not among its layers.")
            found.update(_weights(layer.nested, held, where, path + "/"))
        elif held is not None:
            names = [str(getattr(w, "path", None) or w.name) for w in held.weights]
            # QAdaptiveActivation hides its variables from get_weights.
            stored = held.get_weights()
            arrays = [np.array(a) for a in (stored if len(stored) == len(names) else held.weights)]
            for array in arrays:
                array.setflags(write=False)
            values = [Value(n, a.shape, a) for n, a in zip(names, arrays, strict=True)]
            found.update(assign(layer, values, where, prefix))
    return found
