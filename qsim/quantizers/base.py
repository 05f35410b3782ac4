"""What every quantizer twin offers: codes for weights, a rule for activations, its arguments bound by name."""

from __future__ import annotations

import dataclasses
import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np

from qsim.errors import UnsupportedError
from qsim.numerics import Array
from qsim.quantizers.parse import Call
from qsim.quantizers.rules import Rule

AUTO = ("auto", "auto_po2")


@dataclass(frozen=True)
class Weights:
    """Quantized weights: value = codes * scale, exactly.

    codes: int64 in the weights' shape. scale: object array of Fractions, broadcastable against codes.
    doubtful: an automatic power-of-two scale lies so near a tie that float32 may round it either way.
    """

    codes: Array
    scale: Array
    doubtful: bool = False


def fractions_of(values: Any) -> Array:
    """Numbers to an object array of exact Fractions, same shape."""
    array = np.asarray(values)
    flat = [Fraction(v) if isinstance(v, Fraction) else Fraction(v.item()) for v in array.reshape(-1)]
    result = np.empty(array.size, dtype=object)
    result[:] = flat
    return result.reshape(array.shape)


@dataclass(frozen=True, kw_only=True)
class Quantizer(ABC):
    """A QKeras quantizer by its arguments; the class attribute ``name`` is its name in models.

    Field order is QKeras' own argument order, so that texts with positional arguments bind the same way.
    """

    name: ClassVar[str]
    ignored: ClassVar[tuple[str, ...]] = ("var_name", "use_ste", "use_variables", "training")
    """Arguments that do not act at inference."""

    @classmethod
    def bind(cls, call: Call) -> Self:
        """The quantizer that ``call`` describes. Raises UnsupportedError for unknown arguments and bad values."""
        names = cls.argument_order()
        if len(call.args) > len(names):
            raise UnsupportedError(f"{call} has {len(call.args)} positional arguments, {cls.name} takes {len(names)}")
        given = dict(zip(names, call.args)) | dict(call.kwargs)
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = [k for k in given if k not in known and k not in cls.ignored]
        if unknown:
            raise UnsupportedError(
                f"{cls.name} has the unknown argument{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}",
                way_out="use the arguments of qkeras-v3's quantizer",
            )
        quantizer = cls(**{k: v for k, v in given.items() if k in known})
        quantizer._check_flags()
        quantizer.check()
        return quantizer

    @classmethod
    def argument_order(cls) -> list[str]:
        """Names in QKeras' positional order."""
        return [f.name for f in dataclasses.fields(cls)]

    def _check_flags(self) -> None:
        """Raise UnsupportedError for a switch that is neither on nor off: QKeras computes with such a number."""
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if "bool" in str(f.type) and not (isinstance(value, bool | int | float) and value in (0, 1)):
                raise UnsupportedError(
                    f"{self.name} has {f.name}={value!r}, which is neither on nor off",
                    way_out=f"use {f.name}=True or {f.name}=False",
                )

    def check(self) -> None:
        """Raise UnsupportedError where an argument cannot be reproduced exactly."""
        noise = getattr(self, "qnoise_factor", 1.0)
        if noise != 1.0:
            raise UnsupportedError(
                f"{self.name} has qnoise_factor={noise}, which mixes unquantized values in",
                way_out="set qnoise_factor to 1.0 before saving the model",
            )

    def as_kernel(self) -> Self:
        """The quantizer as a layer with a kernel uses it: QKeras turns alpha=None into 'auto_po2' there."""
        return self

    @abstractmethod
    def rule(self) -> Rule:
        """The rule for activations. Raises UnsupportedError where it depends on the data."""

    @abstractmethod
    def weights(self, w: Array) -> Weights:
        """Codes and scales of constant weights (float32, any shape)."""

    def __str__(self) -> str:
        parts = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        ]
        return f"{self.name}({', '.join(parts)})"


MAX_BITS = 32
"""Codes of wider quantizers are not float32 numbers, which QKeras computes in."""


def check_bits(name: str, bits: Any, integer: Any) -> None:
    """Raise UnsupportedError unless ``bits`` and ``integer`` are whole numbers in range."""
    whole = all(isinstance(v, numbers.Real) and v == v // 1 for v in (bits, integer))
    if not whole or not 1 <= bits <= MAX_BITS or abs(integer) > 64:
        raise UnsupportedError(f"{name} with bits={bits}, integer={integer}: qsim takes 1 to {MAX_BITS} whole bits")


def check_auto(q: Any) -> None:
    """Raise UnsupportedError for an alpha text that QKeras does not know."""
    if isinstance(q.alpha, str) and q.alpha not in AUTO:
        raise UnsupportedError(f"{q.name} has alpha={q.alpha!r}", way_out="use a number, 'auto' or 'auto_po2'")


def fixed_alpha(alpha: Any, name: str) -> Array:
    """A fixed alpha (None, a number, nested lists) as exact Fractions of its float32 values, which is what QKeras
    multiplies by; scalar or an array."""
    if alpha is None:
        return fractions_of(np.float32(1))
    values = np.asarray(alpha, dtype=np.float32)
    if not np.isfinite(values).all() or not values.all():
        raise UnsupportedError(f"{name} has alpha={alpha!r}, which is zero or not finite")
    return fractions_of(values)


def channel_alpha(alpha: Any, name: str) -> tuple[Fraction, ...]:
    """A fixed alpha for activations: one factor, or one per channel (last axis)."""
    if isinstance(alpha, str):
        raise UnsupportedError(
            f"{name} has alpha={alpha!r} on an activation: its scale depends on the data of each batch",
            way_out="give the activation's quantizer a fixed alpha, such as alpha=1",
        )
    values = fixed_alpha(alpha, name)
    if values.size > 1 and values.shape[-1] != values.size:
        raise UnsupportedError(f"{name} has an alpha of shape {values.shape}, which is not one per channel")
    return tuple(values.reshape(-1).tolist())
