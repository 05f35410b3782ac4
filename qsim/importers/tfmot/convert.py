"""A tfmot-wrapped Keras model -> the checked TFLite structure that the converter would write -> Graph."""

from __future__ import annotations

from dataclasses import replace

from qsim.errors import ModelError
from qsim.importers.keras.model import KerasModel
from qsim.importers.tflite.load import import_model
from qsim.importers.tflite.model import TfliteModel
from qsim.importers.tflite.profiles import get_profile
from qsim.importers.tfmot import layers, layers_shape
from qsim.importers.tfmot.conversion import INPUT_QUANTIZER, WRAPPER, Conversion
from qsim.ir import Graph

_RULES = {**layers.RULES, **layers_shape.RULES}

_NORMALIZATION_NOTE = (
    "Batch normalization is folded with a correctly rounded 1/sqrt(variance + epsilon). TensorFlow's converter uses a "
    "vector instruction that is off by one unit in the last place of float32 for some channels, which ones depends on "
    "its processor; its scales can differ from these by that much. To reproduce a given .tflite file, load the file."
)


def is_tfmot(model: KerasModel) -> bool:
    """Whether the model has been through tfmot's quantize_model or quantize_apply."""
    return any(node.class_name in (WRAPPER, INPUT_QUANTIZER) for node in model.nodes)


def lower_tfmot(model: KerasModel, profile: str | None = None) -> Graph:
    """The integer graph of a tfmot-wrapped model, under a TFLite profile (default ``tflm``).

    Raises UnsupportedError for layers that the converter leaves in floats or whose rules are not reproduced,
    ModelError for models whose wrappers do not fit together, UsageError for an unknown profile.
    """
    graph = import_model(to_tflite(model), get_profile(profile))
    folded = any(
        n.class_name == WRAPPER and n.config["layer"]["class_name"] == "BatchNormalization" for n in model.nodes
    )
    return replace(graph, notes=(*graph.notes, _NORMALIZATION_NOTE)) if folded else graph


def to_tflite(model: KerasModel) -> TfliteModel:
    """The structure of the ``.tflite`` file that the converter would make of the model (float32 input, int8 output)."""
    try:
        return Conversion(model, _RULES, layers_shape.is_through).run()
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(f"model {model.name!r} does not hold together: {type(error).__name__} {error}.") from error
