"""Quantizer rules on arrays and on exact fractions, as importers and trainers need them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from qsim.errors import UnsupportedError
from qsim.quantizers.base import Quantizer, Weights
from qsim.quantizers.blueoil_numpy import BLUEOIL
from qsim.quantizers.functions import QuantizedHswish, QuantizedSigmoid, QuantizedTanh, QuantizedUlaw
from qsim.quantizers.linear import QuantizedLinear
from qsim.quantizers.parse import Call, parse
from qsim.quantizers.po2 import QuantizedPo2, QuantizedReluPo2
from qsim.quantizers.qkeras import (
    Binary,
    QuantizedBits,
    QuantizedRelu,
    StochasticBinary,
    StochasticTernary,
    Ternary,
)
from qsim.quantizers.rules import Function, Jump, Leaky, Rule, Steps, Uniform

_TWINS: tuple[type[Quantizer], ...] = (
    QuantizedBits,
    QuantizedLinear,
    QuantizedRelu,
    QuantizedTanh,
    QuantizedSigmoid,
    QuantizedUlaw,
    QuantizedHswish,
    QuantizedPo2,
    QuantizedReluPo2,
    Binary,
    Ternary,
    StochasticBinary,
    StochasticTernary,
    *BLUEOIL,
)
QUANTIZERS: dict[str, type[Quantizer]] = {q.name: q for q in _TWINS}
"""Name in models -> twin."""


def quantizer(source: Any) -> Quantizer | None:
    """The twin of a quantizer written as dict, text or Call; None for None.

    Raises UnsupportedError for names that have no twin, unknown arguments, and what cannot be reproduced exactly.
    """
    call = source if isinstance(source, Call) else parse(source)
    if call is None:
        return None
    if call.name == "bernoulli":
        raise UnsupportedError(
            "the quantizer bernoulli draws random numbers at inference too, so that no two runs agree",
            way_out="use binary(use_01=1), its expected value's sign, instead",
        )
    if call.name not in QUANTIZERS:
        raise UnsupportedError(
            f"the quantizer {call.name} is not supported", way_out=f"use one of {', '.join(QUANTIZERS)}"
        )
    return QUANTIZERS[call.name].bind(call)


def __getattr__(name: str) -> object:
    if name == "blueoil":  # not imported with the package: it needs TensorFlow
        return import_module("qsim.quantizers.blueoil")
    raise AttributeError(f"module 'qsim.quantizers' has no attribute {name!r}")


__all__ = [
    "QUANTIZERS",
    "Binary",
    "Call",
    "Function",
    "Jump",
    "Leaky",
    "QuantizedBits",
    "QuantizedRelu",
    "Quantizer",
    "Rule",
    "Steps",
    "Ternary",
    "Uniform",
    "Weights",
    "parse",
    "quantizer",
]
