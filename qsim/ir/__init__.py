"""The integer graph: tensors, the closed set of operations, structural checks, text and JSON."""

from qsim.ir.graph import Graph, Input, Output, check, replace
from qsim.ir.serialize import from_json, to_json
from qsim.ir.tensor import Quantization, Tensor
from qsim.ir.text import quantization_text, tensor_text

__all__ = [
    "Graph",
    "Input",
    "Output",
    "Quantization",
    "Tensor",
    "check",
    "from_json",
    "quantization_text",
    "replace",
    "tensor_text",
    "to_json",
]
