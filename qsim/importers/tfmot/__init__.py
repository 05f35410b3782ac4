"""Models wrapped by ``tfmot.quantization.keras.quantize_model`` -> Graph, from their own ranges."""

from qsim.importers.tfmot.convert import is_tfmot, lower_tfmot, to_tflite

__all__ = ["is_tfmot", "lower_tfmot", "to_tflite"]
