"""tfmot's PruneLowMagnitude around QKeras 0.9's layers: from memory, .h5 and .keras the same graph as qkeras-v3's own
layers with the masks applied, whose run is Keras'."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # tfmot takes Keras 2
pytest.importorskip("qkeras")
tfmot = pytest.importorskip("tensorflow_model_optimization")

import keras  # noqa: E402
import layer_cells as cells  # noqa: E402
import qkeras  # noqa: E402
import tf_keras  # noqa: E402
from legacy_qkeras import LEGACY  # noqa: E402

import qsim  # noqa: E402
from qsim.importers import importer_of  # noqa: E402
from qsim.importers.importer import ModelSource  # noqa: E402
from qsim.simulate import Simulator  # noqa: E402

PRUNED = ("conv", "separable", "depthwise", "dense")


def network(q: Any, keras_of: Any, wrap: Any, separable: bool) -> Any:
    bits = q.quantized_bits

    def weights(*roles: str) -> dict[str, Any]:
        return {f"{role}_quantizer": bits(5, 0, 1, alpha=1) for role in roles}

    layers = (
        q.QConv2D(4, 3, **weights("kernel", "bias"), activation=q.quantized_relu(4, 1), name="conv"),
        q.QSeparableConv2D(3, 2, **weights("depthwise", "pointwise", "bias"), name="separable"),
        q.QActivation(q.quantized_relu(4, 1), name="act"),
        q.QDepthwiseConv2D(2, **weights("depthwise", "bias"), name="depthwise"),
        keras_of.layers.Flatten(name="flat"),
        q.QActivation(bits(5, 1, 1, alpha=1), name="next"),
        q.QDense(3, **weights("kernel", "bias"), name="dense"),
    )
    given = keras_of.Input((8, 8, 2), name="input")
    x = q.QActivation(bits(5, 1, 1, alpha=1), name="first")(given)
    for layer in layers:
        if separable or layer.name not in ("separable", "act"):
            x = wrap(layer)(x)
    return keras_of.Model(given, x, name="pruned")


def prune(layer: Any) -> Any:
    """As QKeras 0.9's layers say themselves what may be pruned."""
    kernels = {"separable": ("depthwise_kernel", "pointwise_kernel"), "depthwise": ("depthwise_kernel",)}
    names = kernels.get(layer.name, ("kernel",) if layer.name in PRUNED else ())
    layer.get_prunable_weights = lambda: [getattr(layer, name) for name in names]
    return tfmot.sparsity.keras.prune_low_magnitude(layer)


def named_as_wrapped(layer: Any) -> Any:
    return type(layer).from_config({**layer.get_config(), "name": f"prune_low_magnitude_{layer.name}"})


def models(*, separable: bool) -> tuple[Any, Any]:
    """(qkeras-v3's network with masked weights, the pruned one, whose stored weights are masked but for one)."""
    live = cells.fill(network(qkeras, keras, named_as_wrapped, separable), 5)
    old = network(LEGACY, tf_keras, prune, separable)
    rng = np.random.default_rng(2)
    for layer in old.layers:
        if not layer.name.startswith("prune_low_magnitude_"):
            continue
        twin = live.get_layer(layer.name)
        masked = [weight.ref() for weight, _, _ in layer.pruning_vars]
        arrays = []
        for variable, array in zip(layer.layer.weights, twin.get_weights(), strict=True):
            if variable.ref() in masked:
                mask = layer.pruning_vars[masked.index(variable.ref())][1]
                mask.assign(rng.integers(0, 2, array.shape))
                array = array * np.asarray(mask)
            variable.assign(array)
            arrays.append(array)
        twin.set_weights(arrays)
    pruned = old.get_layer("prune_low_magnitude_dense")
    kernel, mask = np.asarray(pruned.layer.kernel), np.asarray(pruned.pruning_vars[0][1])
    kernel[tuple(np.argwhere(mask == 0)[0])] = 0.5
    pruned.layer.kernel.assign(kernel)
    return live, old


@pytest.mark.parametrize("separable", [False, True])
def test_from_memory_h5_and_keras(separable: bool, tmp_path: Path) -> None:
    live, old = models(separable=separable)
    wanted = qsim.load(live)
    x = np.random.default_rng(1).normal(0, 1, (30, 8, 8, 2)).astype("float32")
    assert np.array_equal(Simulator(wanted).run(x), np.asarray(live(x)))
    old.save(tmp_path / "m.keras")
    sources = [old, tmp_path / "m.keras"]
    if not separable:  # two masks of one layer have one name, which Keras 2 cannot write to HDF5
        old.save(tmp_path / "m.h5")
        sources.append(tmp_path / "m.h5")
    for source in sources:
        graph = qsim.load(source)
        assert np.array_equal(Simulator(graph).run(x), np.asarray(live(x)))
        assert [(op.layer, type(op)) for op in graph.ops] == [(op.layer, type(op)) for op in wanted.ops]
        assert any("1 weights that its pruning mask removes" in note for note in graph.notes)
    source = ModelSource(model=sources[-1])
    entries = {entry.name: entry for entry in importer_of(source).survey(source)}
    assert entries["QDense"].supported
    assert "PruneLowMagnitude" not in entries
