"""Quantizer modes and the operation table of ``qkeras.estimate``.

Source of the rules: Google's QKeras, estimate.py (get_quant_mode, get_operation_type), itself after Moons'
QuantizedNeuralNetworks; the table stands in the project's SEMANTICS under "qkeras.estimate".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qsim.errors import UsageError
from qsim.ir import Tensor
from qsim.numerics import IntArray
from qsim.quantizers.parse import Call, parse

QuantMode = tuple[int, int, int]
"""(mode, bits, 1 if signed). Modes: 0 quantized bits, 1 +-power of two, 2 ternary, 3 {-1, +1}, 4 {0, 1}, 5 float."""

OPERATIONS: tuple[tuple[str, ...], ...] = (
    ("mult", "barrel", "mux", "mux", "mux", "fmult"),
    ("barrel", "adder", "mux", "xor", "mux", "fmult"),
    ("mux", "mux", "mux", "mux", "xor", "fmult"),
    ("mux", "xor", "mux", "xor", "xor", "fmult"),
    ("mux", "mux", "xor", "xor", "xor", "fmult"),
    ("fmult", "fmult", "fmult", "fmult", "fmult", "fmult"),
)
"""Hardware of one product: OPERATIONS[mode of the weights][mode of the input]."""

FLOAT: QuantMode = (5, 32, 1)

_BY_NAME: dict[str, tuple[int, int | None, int]] = {
    "quantized_bits": (0, None, 1),
    "quantized_linear": (0, None, 1),
    "bernoulli": (4, 1, 0),
    "stochastic_ternary": (2, 2, 1),
    "ternary": (2, 2, 1),
    "stochastic_binary": (3, 1, 1),
    "binary": (3, 1, 1),
    "quantized_relu": (0, None, 0),
    "quantized_ulaw": (0, None, 1),
    "quantized_tanh": (0, None, 1),
    "quantized_sigmoid": (0, None, 0),
    "quantized_hswish": (0, None, 1),
    "quantized_po2": (1, None, 1),
    "quantized_relu_po2": (1, None, 0),
    "binary_tanh": (3, 1, 1),
    "binary_sigmoid": (4, 1, 0),
}
_FUNCTIONS = ("linear", "hard_sigmoid", "smooth_sigmoid", "hard_tanh", "smooth_tanh")
"""They do not quantize."""
_DEFAULT_BITS = {"quantized_bits": 8, "quantized_linear": 8}
_TERNARY_AT_TWO_BITS = ("quantized_bits", "quantized_tanh", "quantized_ulaw")


def get_quant_mode(quant: Any) -> QuantMode:
    """(mode, bits, sign) of a quantizer.

    quant: a QKeras quantizer object, its dict or text form, None or "linear" (float), a graph's Tensor or IntArray
    (their mode is read off their values and format). Raises UsageError for what is no quantizer.
    """
    if isinstance(quant, Tensor):
        return mode_of_range(quant.range, quant.format.width, quant.format.signed)
    if isinstance(quant, IntArray):
        return mode_of_values(quant)
    call = _call(quant)
    if call is None or call.name in _FUNCTIONS:
        return FLOAT
    if call.name not in _BY_NAME:
        raise UsageError(f"{call} is not a quantizer with a known mode: {', '.join(_BY_NAME)}")
    mode, bits, sign = _BY_NAME[call.name]
    if bits is None:
        bits = int(_argument(call, 0, "bits", _DEFAULT_BITS.get(call.name, 8)))
        integer = int(_argument(call, 1, "integer", 0) or 0)
        if call.name in _TERNARY_AT_TWO_BITS and bits == 2 and integer == 1:
            mode = 2
        elif call.name == "quantized_relu" and bits == 1 and integer == 1:
            mode = 4
    return mode, bits, sign


def _call(quant: Any) -> Call | None:
    if quant is None:
        return None
    if not isinstance(quant, type) and hasattr(quant, "__name__"):  # an activation function
        return Call(quant.__name__, (), {})
    if hasattr(quant, "get_config") and not isinstance(quant, str):
        config = {k: v for k, v in quant.get_config().items() if k in ("bits", "integer")}
        return Call(type(quant).__name__, (), config)
    return parse(quant)


def _argument(call: Call, position: int, name: str, default: Any) -> Any:
    return call.args[position] if len(call.args) > position else call.kwargs.get(name, default)


def mode_of_values(weights: IntArray) -> QuantMode:
    """The cheapest mode that integer weights allow: {-1, +1}, {0, 1}, {-1, 0, +1}, +-powers of two, else bits."""
    values = weights.values
    if weights.low >= -1 and weights.high <= 1:
        if not (values == 0).any():
            return 3, 1, 1
        return (4, 1, 0) if weights.low == 0 else (2, 2, 1)
    magnitude = np.abs(values)
    if weights.size and bool(((magnitude & (magnitude - 1)) == 0).all()) and not (magnitude == 0).any():
        return 1, int(magnitude.max()).bit_length().bit_length() + 1, int(weights.low < 0)
    return 0, weights.format.width, int(weights.format.signed)


def mode_of_range(bounds: tuple[int, int], width: int, signed: bool) -> QuantMode:
    """The mode of an activation known by its proven range alone."""
    if bounds == (0, 1):
        return 4, 1, 0
    if bounds[0] >= -1 and bounds[1] <= 1:
        return 2, 2, 1
    return 0, width, int(signed)


def operation(weights: QuantMode, x: QuantMode) -> str:
    """The entry of the operation table: mult, adder, barrel, mux, xor or fmult."""
    return OPERATIONS[weights[0]][x[0]]
