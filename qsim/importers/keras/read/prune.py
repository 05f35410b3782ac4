"""tfmot's PruneLowMagnitude: which weights of the layer that it wraps have a mask, in what order they are stored.

Source: tfmot's ``prune_registry`` for Keras' own layers, ``get_prunable_weights`` for QKeras'.
"""

from __future__ import annotations

from qsim.importers.keras.read.store import Store, Variable

PRUNER = "PruneLowMagnitude"

_MASKED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Dense"), ("kernel",)),
    **dict.fromkeys(("QConv1D", "QConv2D", "QConv2DTranspose", "QDense", "QConv2DBatchnorm"), ("kernel",)),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), ("pointwise_kernel",)),
    **dict.fromkeys(("QSeparableConv1D", "QSeparableConv2D"), ("depthwise_kernel", "pointwise_kernel")),
    **dict.fromkeys(("QDepthwiseConv2D", "QDepthwiseConv2DBatchnorm"), ("depthwise_kernel",)),
    **dict.fromkeys(("SimpleRNN", "LSTM", "GRU", "QSimpleRNN", "QLSTM", "QGRU"), ("kernel", "recurrent_kernel")),
    "Embedding": ("embeddings",),
}


def prunable(class_name: str) -> tuple[tuple[str, str], ...]:
    """(the mask's variable, the weights') of every masked weight of a layer."""
    return tuple((f"mask_{i}" if i else "mask", name) for i, name in enumerate(_MASKED.get(class_name, ())))


def pruned_store(class_name: str, inner: Store) -> Store:
    """The wrapper's variables around the layer's: a mask and a threshold a masked weight, and a step counter."""
    own = []
    for mask, _ in prunable(class_name):
        for name in (mask, mask.replace("mask", "threshold")):
            base = name.split("_", maxsplit=1)[0]
            own.append(Variable(name, None, trainable=False, aliases=(rf"{base}(_\d+)?",)))
    step = Variable("pruning_step", (), trainable=False)
    return Store((*own, step), (("layer/", "layer", inner),))
