"""QKeras 0.9 as Keras 2 saves it: stand-ins of its layers on tf_keras, whose own writers make the files.

The stand-ins have QKeras' classes' names, variables and configs (the keys that 0.9's ``get_config`` writes) and no
arithmetic: nothing runs them. ``make(build)`` gives the same network in both worlds with the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import layer_cells as cells
import numpy as np
import qkeras
import tf_keras

L = tf_keras.layers

KEYS = {
    "quantized_bits": "bits integer symmetric alpha keep_negative use_stochastic_rounding qnoise_factor",
    "quantized_linear": "bits integer symmetric alpha keep_negative use_stochastic_rounding qnoise_factor",
    "quantized_relu": "bits integer use_sigmoid negative_slope use_stochastic_rounding relu_upper_bound qnoise_factor",
    "quantized_ulaw": "bits integer symmetric u",
    "quantized_tanh": "bits symmetric use_stochastic_rounding use_real_tanh",
    "quantized_sigmoid": "bits symmetric use_stochastic_rounding use_real_sigmoid",
    "quantized_hswish": "bits integer symmetric alpha use_stochastic_rounding qnoise_factor relu_shift "
    "relu_upper_bound",
    "quantized_po2": "bits max_value use_stochastic_rounding quadratic_approximation qnoise_factor",
    "quantized_relu_po2": "bits max_value negative_slope use_stochastic_rounding quadratic_approximation qnoise_factor",
    "binary": "use_01 alpha use_stochastic_rounding",
    "ternary": "alpha threshold use_stochastic_rounding number_of_unrolls",
    "stochastic_binary": "alpha temperature use_real_sigmoid",
    "stochastic_ternary": "alpha threshold temperature use_real_sigmoid number_of_unrolls",
}
"""The keys of each quantizer's config in QKeras 0.9."""


def serialized(quantizer: Any) -> Any:
    """A quantizer as Keras 2 writes it; texts and None stay."""
    name = type(quantizer).__name__
    if name not in KEYS:
        return quantizer
    config = {key: _plain(getattr(quantizer, key)) for key in KEYS[name].split()}
    return {"class_name": name, "config": config, "__passive_serialization__": True}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | bool | int | float) else np.asarray(value).tolist()


def stand_in(base: type, *roles: str, name: str, activation: bool = True) -> type:
    """A class ``name`` on a layer of tf_keras, with quantizers for ``roles`` and a QKeras activation in its config."""

    def __init__(self: Any, *args: Any, **settings: Any) -> None:
        self.held = {f"{role}_quantizer": settings.pop(f"{role}_quantizer", None) for role in roles}
        if activation:
            self.held["activation"] = settings.pop("activation", None)
        if "recurrent_activation" in settings:
            self.held["recurrent_activation"] = settings.pop("recurrent_activation")
        # Keras' Bidirectional makes its backward layer from the config.
        base.__init__(self, *args, **{k: v for k, v in settings.items() if not k.endswith("_range")})

    def get_config(self: Any) -> dict[str, Any]:
        held = {key: serialized(value) for key, value in self.held.items()}
        ranges = {f"{role}_range": None for role in roles if role in ("kernel", "bias", "depthwise")}
        if held.get("activation", "") is None:
            held["activation"] = "linear"
        return {**base.get_config(self), **held, **ranges}

    return type(name, (base,), {"__init__": __init__, "get_config": get_config})


class QActivation(L.Layer):
    def __init__(self, activation: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self.held = activation

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": serialized(self.held)}


def folded(base: type, role: str, name: str) -> type:
    """QConv2DBatchnorm and its relatives: the layer, its BatchNormalization, and a step counter."""
    plain = stand_in(base, role, "bias", name=name)

    def __init__(
        self: Any, *args: Any, folding_mode: str = "ema_stats_folding", scale: bool = True, **settings: Any
    ) -> None:
        plain.__init__(self, *args, **settings)
        self.folding_mode = folding_mode
        self.batchnorm = L.BatchNormalization(scale=scale)

    def build(self: Any, shape: Any) -> None:
        plain.build(self, shape)
        self._iteration = tf_keras.backend.variable(-1, dtype="int64", name="iteration")
        self.batchnorm.build(self.compute_output_shape(shape))

    def get_config(self: Any) -> dict[str, Any]:
        norm = {k: v for k, v in self.batchnorm.get_config().items() if k not in ("name", "trainable", "dtype")}
        return {**norm, **plain.get_config(self), "ema_freeze_delay": None, "folding_mode": self.folding_mode}

    return type(name, (plain,), {"__init__": __init__, "build": build, "get_config": get_config})


LEGACY = SimpleNamespace(
    **{name: getattr(qkeras, name) for name in KEYS},
    QActivation=QActivation,
    QDense=stand_in(L.Dense, "kernel", "bias", name="QDense"),
    QConv1D=stand_in(L.Conv1D, "kernel", "bias", name="QConv1D"),
    QConv2D=stand_in(L.Conv2D, "kernel", "bias", name="QConv2D"),
    QDepthwiseConv2D=stand_in(L.DepthwiseConv2D, "depthwise", "bias", name="QDepthwiseConv2D"),
    QSeparableConv1D=stand_in(L.SeparableConv1D, "depthwise", "pointwise", "bias", name="QSeparableConv1D"),
    QSeparableConv2D=stand_in(L.SeparableConv2D, "depthwise", "pointwise", "bias", name="QSeparableConv2D"),
    QConv2DTranspose=stand_in(L.Conv2DTranspose, "kernel", "bias", name="QConv2DTranspose"),
    QBatchNormalization=stand_in(
        L.BatchNormalization, "gamma", "beta", "mean", "variance", "inverse", name="QBatchNormalization",
        activation=False,
    ),
    QDenseBatchnorm=folded(L.Dense, "kernel", "QDenseBatchnorm"),
    QConv2DBatchnorm=folded(L.Conv2D, "kernel", "QConv2DBatchnorm"),
    QDepthwiseConv2DBatchnorm=folded(L.DepthwiseConv2D, "depthwise", "QDepthwiseConv2DBatchnorm"),
    QAveragePooling2D=stand_in(L.AveragePooling2D, "average", name="QAveragePooling2D"),
    QGlobalAveragePooling2D=stand_in(L.GlobalAveragePooling2D, "average", name="QGlobalAveragePooling2D"),
    QSimpleRNN=stand_in(L.SimpleRNN, "kernel", "recurrent", "bias", "state", name="QSimpleRNN"),
    QLSTM=stand_in(L.LSTM, "kernel", "recurrent", "bias", "state", name="QLSTM"),
    QGRU=stand_in(L.GRU, "kernel", "recurrent", "bias", "state", name="QGRU"),
    QBidirectional=stand_in(L.Bidirectional, name="QBidirectional", activation=False),
)  # fmt: skip
"""qkeras, as far as the networks below need it."""

Build = Callable[[Any, Any], Any]


def make(build: Build, seed: int = 3) -> tuple[Any, Any]:
    """(the network in qkeras-v3, the same in legacy stand-ins) with equal names and weights."""
    keras.utils.clear_session()
    live = cells.fill(build(qkeras, keras), seed)
    old = build(LEGACY, tf_keras)
    copy_weights(live, old)
    return live, old


def copy_weights(live: Any, old: Any) -> None:
    """Arrays by layer and by the last part of the variable's name, in the order of equal names."""
    for layer in old.layers:
        twin = live.get_layer(layer.name)
        if hasattr(layer, "layers"):
            copy_weights(twin, layer)
            continue
        for variable in layer.weights:
            base = _base(variable.name)
            same = [v for v in layer.weights if _base(v.name) == base]
            theirs = [v for v in twin.weights if _base(v.path) == base]
            assert len(same) == len(theirs), (layer.name, base, [v.path for v in twin.weights])
            position = next(i for i, v in enumerate(same) if v is variable)
            array = np.asarray(theirs[position])
            assert tuple(variable.shape) == array.shape, (layer.name, variable.name)
            variable.assign(array)


def _base(name: str) -> str:
    """'kernel' from 'dense/kernel:0'; a depthwise kernel is 'kernel' in some versions."""
    base = name.rsplit("/", 1)[-1].split(":", 1)[0]
    return "kernel" if base == "depthwise_kernel" and "separable" not in name else base


def save(old: Any, folder: Path) -> tuple[Path, Path, Path]:
    """(architecture JSON, its weights file, the whole model) as Keras 2 writes them."""
    architecture, weights, whole = folder / "model.json", folder / "weights.h5", folder / "model.h5"
    text = old.to_json()
    assert json.loads(text)["keras_version"].startswith("2.")
    architecture.write_text(text)
    old.save_weights(weights)
    old.save(whole)
    return architecture, weights, whole
