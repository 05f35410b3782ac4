"""Quantizer rules on arrays and on exact fractions, as importers and trainers need them."""

from __future__ import annotations

from typing import Any

from qsim.errors import UnsupportedError
from qsim.quantizers.base import Quantizer, Weights
from qsim.quantizers.blueoil_numpy import BLUEOIL
from qsim.quantizers.parse import Call, parse
from qsim.quantizers.qkeras import Binary, QuantizedBits, QuantizedRelu, Ternary
from qsim.quantizers.rules import Function, Jump, Leaky, Rule, Steps, Uniform

QUANTIZERS: dict[str, type[Quantizer]] = {q.name: q for q in (QuantizedBits, QuantizedRelu, Binary, Ternary, *BLUEOIL)}
"""Name in models -> twin."""


def quantizer(source: Any) -> Quantizer | None:
    """The twin of a quantizer written as dict, text or Call; None for None.

    Raises UnsupportedError for names that have no twin, unknown arguments, and what cannot be reproduced exactly.
    """
    call = source if isinstance(source, Call) else parse(source)
    if call is None:
        return None
    if call.name not in QUANTIZERS:
        raise UnsupportedError(
            f"the quantizer {call.name} is not supported", way_out=f"use one of {', '.join(QUANTIZERS)}"
        )
    return QUANTIZERS[call.name].bind(call)


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
