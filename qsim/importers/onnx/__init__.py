"""ONNX files: QONNX, QDQ and QOperator networks, read from the protobuf with the ``onnx`` package alone."""

from qsim.importers.onnx.load import load_onnx, lowered, survey
from qsim.importers.onnx.profiles import PROFILES

__all__ = ["PROFILES", "load_onnx", "lowered", "survey"]
