"""The variables that a quantization wrapper adds to a Keras model, and what each is for.

tfmot's QuantizeWrapperV2 and QuantizeLayer (8-bit default scheme) keep observed ranges and a step counter beside the
layer's own weights. Source of the rules: tensorflow_model_optimization 0.8, quantize_wrapper.py (build), quantizers.py
and default_8bit_quantize_configs.py. Files are read directly, no TensorFlow is needed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qsim.errors import QsimError
from qsim.importers.keras.model import KerasModel
from qsim.importers.keras.read.files import from_memory, read

WRAPPERS = ("QuantizeWrapper", "QuantizeWrapperV2", "QuantizeLayer")

PURPOSES = {
    "optimizer_step": "counter of training steps, for schemes that begin to quantize late; inference never reads it",
    "kernel_min": "least weight at the last training step: one end of the kernel's range, gives the weights' scale",
    "kernel_max": "greatest weight at the last training step: the other end",
    "depthwise_kernel_min": "least depthwise weight at the last training step, gives the weights' scale",
    "depthwise_kernel_max": "greatest depthwise weight at the last training step",
    "post_activation_min": "moving average of the least value after the layer's activation: with the maximum it gives "
    "the output's scale and zero point",
    "post_activation_max": "moving average of the greatest value after the layer's activation",
    "pre_activation_min": "moving average of the least value before the layer's activation",
    "pre_activation_max": "moving average of the greatest value before the layer's activation",
    "output_min": "moving average of the least output: with the maximum it gives the output's scale and zero point",
    "output_max": "moving average of the greatest output",
    "quantize_layer_min": "least value that training saw at the model's input, gives the input's scale and zero point",
    "quantize_layer_max": "greatest value that training saw at the model's input",
}
"""Variable -> what it is for."""


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One added variable. total: numbers of the whole model with all of them, where the source tells."""

    name: str
    shape: tuple[int, ...]
    purpose: str
    total: int | None = None

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


def read_wrapped(source: Any, weights: Any = None) -> KerasModel | None:
    """The model of a source as its reader gives it; None for what is no Keras model, or cannot be read.

    source: a Keras model in memory, or anything that ``qsim.importers.keras.reader.read`` reads, with its ``weights``.
    """
    try:
        if hasattr(source, "layers") and hasattr(source, "get_config"):
            return from_memory(source)
        if isinstance(source, str | os.PathLike) and not os.fspath(source).lower().endswith(".tflite"):
            return read(source, weights)
    except QsimError:
        return None  # the importer says what is wrong with it
    return None


def wrapper_variables(source: Any, weights: Any = None) -> dict[str, tuple[Variable, ...]]:
    """Wrapped layer's name -> its added variables, in the model's order; empty for a source without wrappers.

    source, weights: see ``read_wrapped``, or what it gave.
    """
    model = source if isinstance(source, KerasModel) else read_wrapped(source, weights)
    if model is None:
        return {}
    layers = {node.layer: node for node in model.nodes}
    total = sum(array.size for node in layers.values() for array in node.weights.values())
    return {
        name: tuple(
            _variable(leaf, array.shape, total) for leaf, array in node.weights.items() if not leaf.startswith("layer/")
        )
        for name, node in layers.items()
        if node.class_name in WRAPPERS
    }


def owners(model: KerasModel, layers: Sequence[str]) -> dict[str, str]:
    """Wrapped layer -> the graph layer that it became part of: the one of its name (a part of it before its activation
    comes first), or the next one behind it."""
    bases: dict[str, str] = {}
    for layer in layers:
        bases.setdefault(layer.removesuffix(".pre_activation").removesuffix(".range"), layer)
    readers: dict[str, str] = {}
    for node in model.nodes:
        for name, _ in node.inputs:
            readers.setdefault(name, node.name)
    found = {}
    for node in model.nodes:
        at: str | None = node.name
        while at is not None and at not in bases:
            at = readers.get(at)
        if at is not None and node.class_name in WRAPPERS:
            found[node.name] = bases[at]
    return found


def _variable(name: str, shape: Sequence[int], total: int) -> Variable:
    leaf = f"quantize_layer_{name}" if name in ("min", "max") else name
    return Variable(name=name, shape=tuple(int(n) for n in shape), purpose=PURPOSES[leaf], total=total)


__all__ = ["PURPOSES", "WRAPPERS", "Variable", "owners", "read_wrapped", "wrapper_variables"]
