"""The variables that a quantization wrapper adds to a Keras model, and what each is for.

tfmot's QuantizeWrapperV2 and QuantizeLayer (8-bit default scheme) keep observed ranges and a step counter beside the
layer's own weights. Source of the rules: tensorflow_model_optimization 0.8, quantize_wrapper.py (build), quantizers.py
and default_8bit_quantize_configs.py. Files are read directly, no TensorFlow is needed.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from qsim.numerics import Array

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


def wrapper_variables(source: Any) -> dict[str, tuple[Variable, ...]]:
    """Wrapped layer's name -> its added variables, in the model's order; empty for a source without wrappers.

    source: a Keras model in memory, or a file that tf_keras saved (``.h5``, ``.keras``); anything else has none.
    """
    if hasattr(source, "layers") and hasattr(source, "get_config"):
        return _in_memory(source)
    if not isinstance(source, str | os.PathLike):
        return {}
    path = Path(source)
    try:
        if path.suffix.lower() in (".h5", ".hdf5"):
            return _from_h5(path)
        if path.suffix.lower() == ".keras":
            return _from_archive(path)
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        return {}  # the importer says what is wrong with a damaged file
    return {}


def _variable(name: str, shape: Sequence[int], total: int | None) -> Variable:
    leaf = name.split(":")[0].split("/")[-1]
    kernel = re.sub(r"^(depthwise_)?.*_(min|max)$", r"\1kernel_\2", leaf)
    purpose = PURPOSES.get(leaf) or PURPOSES.get(kernel, "a range of the wrapper")
    return Variable(name=name.split(":")[0], shape=tuple(int(n) for n in shape), purpose=purpose, total=total)


def _is_added(name: str) -> bool:
    leaf = name.split(":")[0].split("/")[-1]
    return leaf == "optimizer_step" or leaf.endswith(("_min", "_max"))


def _in_memory(model: Any) -> dict[str, tuple[Variable, ...]]:
    wrapped = [layer for layer in model.layers if type(layer).__name__ in WRAPPERS]
    total = int(model.count_params()) if wrapped else None
    return {
        layer.name: tuple(_variable(v.name, tuple(v.shape), total) for v in layer.weights if _is_added(v.name))
        for layer in wrapped
    }


def _entries(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in config["config"]["layers"] if isinstance(entry, dict)]


def _from_h5(path: Path) -> dict[str, tuple[Variable, ...]]:
    with h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
        if text is None:
            return {}
        config = json.loads(text if isinstance(text, str) else bytes(text).decode())
        names = [e["config"]["name"] for e in _entries(config) if e["class_name"] in WRAPPERS]
        if not names:
            return {}
        weights = file["model_weights"]
        total = sum(array.size for _, array in _datasets(weights))
        found = {}
        for name in names:
            order = [n if isinstance(n, str) else bytes(n).decode() for n in weights[name].attrs["weight_names"]]
            shapes = {n: weights[name][n].shape for n in order}
            found[name] = tuple(_variable(n, shapes[n], total) for n in order if _is_added(n))
        return found


def _datasets(group: Any) -> Iterator[tuple[str, Any]]:
    listed: list[tuple[str, Any]] = []
    group.visititems(lambda name, item: listed.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    return iter(listed)


def _from_archive(path: Path) -> dict[str, tuple[Variable, ...]]:
    """A .keras archive: its weights have numbers for names; the order is that of the wrapper's build."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        entries = _entries(config)
        if not any(e["class_name"] in WRAPPERS for e in entries):
            return {}
        store = h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r")
    counts: dict[str, int] = {}
    groups: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    total = 0
    with store as file:
        for entry in entries:
            snake = re.sub(r"(?<!^)(?=[A-Z][a-z0-9])", "_", entry["class_name"]).lower()
            number = counts.get(snake, 0)
            counts[snake] = number + 1
            base = f"layers/{snake}{f'_{number}' if number else ''}"
            arrays = _numbered(file.get(f"{base}/vars"))
            if entry["class_name"] not in WRAPPERS:
                total += sum(a.size for a in arrays)
                continue
            name = entry["config"]["name"]
            added = _added(entry, arrays)
            groups[name] = [(f"{name}/{leaf}", shape) for leaf, shape in added]
            own = arrays[: len(arrays) - len(added)] + _numbered(file.get(f"{base}/layer/vars"))
            distinct: list[Array] = []
            for array in own:
                if not any(a.shape == array.shape and np.array_equal(a, array) for a in distinct):
                    distinct.append(array)
            total += sum(a.size for a in distinct) + sum(int(np.prod(s, dtype=np.int64)) for _, s in added)
    return {name: tuple(_variable(n, shape, total) for n, shape in group) for name, group in groups.items()}


def _numbered(group: Any) -> list[Array]:
    return [] if group is None else [np.asarray(group[str(i)]) for i in range(len(group))]


def _added(entry: Mapping[str, Any], arrays: Sequence[Array]) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the added variables among a wrapper's arrays: the step counter (the only integer) and what
    the wrapper's build makes after it: kernel range, then the activation's, then the output's."""
    if entry["class_name"] == "QuantizeLayer":
        leaves = ["quantize_layer_min", "quantize_layer_max", "optimizer_step"]
        return list(zip(leaves, (a.shape for a in arrays)))
    step = next(i for i, a in enumerate(arrays) if a.dtype.kind == "i" and a.shape == ())
    after = [a.shape for a in arrays[step + 1 :]]
    settings = entry["config"]["quantize_config"]["config"]
    leaves = []
    ranges = len(after) // 2
    if ranges and settings.get("quantize_output"):
        leaves = ["output"]
    elif ranges:
        leaves = ["post_activation"]
    kernel = "depthwise_kernel" if "Depthwise" in entry["config"]["layer"]["class_name"] else "kernel"
    leaves = [kernel] * (ranges - len(leaves)) + leaves
    names = [f"{leaf}_{end}" for leaf in leaves for end in ("min", "max")]
    return [("optimizer_step", ()), *zip(names, after)]


__all__ = ["PURPOSES", "WRAPPERS", "Variable", "wrapper_variables"]
