"""Constants of a file, exactly: stored numbers, and quantized ones as integer codes times a scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.symbolic.value import collapsed, fractions
from qsim.numerics import Array

INTEGERS = {
    **{f"INT{n}": (-(1 << (n - 1)), (1 << (n - 1)) - 1) for n in (2, 4, 8, 16, 32, 64)},
    **{f"UINT{n}": (0, (1 << n) - 1) for n in (2, 4, 8, 16, 32, 64)},
    "BOOL": (0, 1),
}
"""Integer types of the standard -> their limits."""

FLOATS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")


@dataclass(frozen=True, kw_only=True)
class Constant:
    """codes * scale elementwise, exactly. codes: int64, float64 (holding stored floats exactly) or Fractions; scale:
    Fractions, broadcastable against codes. dtype: the standard's type name."""

    codes: Array
    scale: Array
    dtype: str

    @staticmethod
    def of(array: Array, dtype: str) -> Constant:
        """A stored array. Raises UnsupportedError for types without exact numbers, ModelError for NaN and infinity."""
        if dtype in INTEGERS:
            if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
                raise UnsupportedError("a constant leaves the signed 64 bits")
            return Constant(codes=array.astype(np.int64), scale=fractions(1), dtype=dtype)
        if dtype not in FLOATS:
            raise UnsupportedError(f"constants of type {dtype} are not supported", way_out="store them as FLOAT")
        values = array.astype(np.float64)
        if not np.isfinite(values).all():
            raise ModelError("a constant holds NaN or infinite values.")
        return Constant(codes=values, scale=fractions(1), dtype=dtype)

    @staticmethod
    def exact(values: Array, dtype: str) -> Constant:
        """An array of Fractions or Python integers."""
        if dtype in INTEGERS:
            low, high = INTEGERS[dtype]
            flat = values.reshape(-1).tolist()
            if any(v < low or v > high for v in flat):
                raise UnsupportedError(f"a constant leaves the type {dtype}")
            return Constant(codes=np.array([int(v) for v in flat], dtype=np.int64).reshape(values.shape),
                            scale=fractions(1), dtype=dtype)  # fmt: skip
        return Constant(codes=fractions(values), scale=fractions(1), dtype=dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)

    @property
    def plain(self) -> bool:
        """Whether the codes are the values."""
        return self.scale.size == 1 and self.scale.item() == 1

    @property
    def quantized(self) -> bool:
        """Whether the values are integers times a scale."""
        return self.codes.dtype.kind == "i"

    def reals(self) -> Array:
        """The values as Fractions."""
        return np.asarray(fractions(self.codes) * self.scale).reshape(self.shape)

    def floats(self) -> Array:
        """The values as the nearest float64 numbers."""
        if self.codes.dtype.kind == "O" or not self.plain:
            return np.array([float(v) for v in self.reals().reshape(-1).tolist()]).reshape(self.shape)
        return self.codes.astype(np.float64)

    def integers(self, what: str) -> list[int]:
        """The values as a flat list of integers. Raises ModelError where they are none."""
        values = self.reals().reshape(-1).tolist()
        if any(v.denominator != 1 for v in values):
            raise ModelError(f"{what} is not integral.")
        return [int(v) for v in values]

    def number(self, what: str) -> Fraction:
        """The one value. Raises UnsupportedError where there are several."""
        if self.codes.size != 1:
            raise UnsupportedError(f"{what} has {self.codes.size} values", way_out="use one number for the tensor")
        return Fraction(self.reals().reshape(-1)[0])

    def moved(self, how: Callable[[Array], Array]) -> Constant:
        """After a rearrangement of its elements."""
        scale = self.scale
        if scale.size > 1:
            scale = how(np.broadcast_to(scale, self.shape))
        else:
            scale = scale.reshape(())
        return Constant(codes=np.asarray(how(self.codes)), scale=scale, dtype=self.dtype)

    def least(self) -> Array:
        """The values as Fractions in the least broadcastable shape."""
        return collapsed(self.reals())
