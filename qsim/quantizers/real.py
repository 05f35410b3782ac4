"""Keras' real-valued elementwise functions, where a quantizer follows: the two together are one function of integers.

Values are those of float64. Keras computes in float32; where the code lies so near a tie that float32's own error can
decide it, ``composed`` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from qsim.numerics import Array
from qsim.quantizers.rules import Function, Rule, float_codes

_HUGE = 700.0
"""Inputs beyond it are taken as it: the exponentials of more overflow, and nothing changes there."""


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


_SELU = 1.05070098735548049342, 1.67326324235437728481


@dataclass(frozen=True)
class RealFunction:
    """A function of one real; between neighbouring ``turns`` it only rises or only falls."""

    of: Callable[[float], float]
    turns: tuple[float, ...] = ()


REAL_FUNCTIONS: dict[str, RealFunction] = {
    "tanh": RealFunction(math.tanh),
    "sigmoid": RealFunction(_sigmoid),
    "softplus": RealFunction(_softplus),
    "softsign": RealFunction(lambda x: x / (1 + abs(x))),
    "elu": RealFunction(lambda x: x if x > 0 else math.expm1(x)),
    "selu": RealFunction(lambda x: _SELU[0] * (x if x > 0 else _SELU[1] * math.expm1(x))),
    "silu": RealFunction(lambda x: x * _sigmoid(x), (-1.2784645427610738,)),
    "gelu": RealFunction(lambda x: x * math.erfc(-x / math.sqrt(2)) / 2, (-0.7517915246935645,)),
    "mish": RealFunction(lambda x: x * math.tanh(_softplus(x)), (-1.1924312145430312,)),
    "hard_silu": RealFunction(lambda x: x * min(max(x + 3, 0.0), 6.0) / 6, (-3.0, -1.5, 3.0)),
}
"""By Keras' names (keras.src.activations.activations), with their default arguments. Not the exponential: Keras'
overflows float32 within the range of ordinary accumulators, and a quantizer of infinity has no defined code."""

REAL_FUNCTIONS |= {"swish": REAL_FUNCTIONS["silu"], "hard_swish": REAL_FUNCTIONS["hard_silu"]}


def composed(name: str, rule: Rule, doubtful: Callable[[], None]) -> Function:
    """``rule`` behind the real function ``name``. doubtful: called for evaluated inputs whose code differs within
    float32's error of a few units in the last place."""
    function, codes = REAL_FUNCTIONS[name], float_codes(rule)

    def many(x: Array) -> Array:
        real = np.clip(x, -_HUGE, _HUGE)
        y = np.array([function.of(v) for v in real.tolist()])  # the C library's own, whatever numpy's vectors give
        error = 2.0**-21 * np.abs(y) + 2.0**-23 * np.minimum(np.abs(real), 8.0)
        found = codes(y)
        if not (np.array_equal(found, codes(y - error)) and np.array_equal(found, codes(y + error))):
            doubtful()
        return found

    def code(x: Fraction) -> int:
        return int(many(np.array([float(x)]))[0])

    turns = tuple(Fraction(turn) for turn in function.turns)
    return Function(code, rule.low, rule.high, rule.scale, turns, many)
