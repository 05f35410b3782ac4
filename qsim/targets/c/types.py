"""C's integer types as values: which one stores a format, which one computes a range, how a constant is written."""

from __future__ import annotations

from dataclasses import dataclass

from qsim.errors import UnsupportedError
from qsim.numerics import IntFormat

WIDTHS = (8, 16, 32, 64)


@dataclass(frozen=True, order=True)
class CType:
    """``intN_t`` or ``uintN_t``."""

    bits: int
    signed: bool

    @property
    def name(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.bits}_t"

    @property
    def short(self) -> str:
        """For kernel names: i8, u16, ..."""
        return f"{'i' if self.signed else 'u'}{self.bits}"

    @property
    def bytes(self) -> int:
        return self.bits // 8

    @property
    def dtype(self) -> str:
        """The numpy name of the type."""
        return f"{'int' if self.signed else 'uint'}{self.bits}"

    def holds(self, low: int, high: int) -> bool:
        return IntFormat(self.bits, self.signed).holds(low, high)

    def literal(self, value: int) -> str:
        """``value`` as an initialiser of this type, free of implicit conversions on any width of int."""
        if self.bits == 64:
            if value == -(1 << 63):
                return "INT64_MIN"
            return f"INT64_C({value})" if self.signed else f"UINT64_C({value})"
        if value == -(1 << 31):
            return "INT32_MIN"
        return str(value) if self.signed or self.bits < 32 else f"{value}u"


I8, I16, I32, I64 = (CType(bits, True) for bits in WIDTHS)
U8 = CType(8, False)


def storage(fmt: IntFormat) -> CType:
    """The least standard type that stores every code of ``fmt``."""
    return CType(next(b for b in WIDTHS if fmt.width <= b), fmt.signed)


def least(low: int, high: int) -> CType:
    """The least standard type that holds [low, high], signed where both do."""
    for bits in WIDTHS:
        for signed in (True, False):
            if CType(bits, signed).holds(low, high):
                return CType(bits, signed)
    raise ValueError(f"[{low}, {high}] exceeds 64 bits")


class Reach:
    """Collects the intermediate results of a computation and picks int32_t or int64_t for it."""

    def __init__(self, layer: str) -> None:
        self.layer = layer
        self.low = self.high = 0
        self.rounded_low = self.rounded_high = 0

    def add(self, *values: int) -> Reach:
        """Values, such as the ends of a range, that the type must hold."""
        self.low, self.high = min(self.low, *values), max(self.high, *values)
        return self

    def rounding(self, *values: int) -> Reach:
        """Values that are rounded by an addition before the shift: they may take a quarter of the type's range."""
        self.rounded_low, self.rounded_high = min(self.rounded_low, *values), max(self.rounded_high, *values)
        return self

    def type(self, what: str, *, wide: bool = False) -> CType:
        """int32_t where everything fits (and ``wide`` is not asked for), else int64_t.

        Raises UnsupportedError where int64_t does not hold it.
        """
        for t in (I64,) if wide else (I32, I64):
            quarter = 1 << (t.bits - 2)
            if t.holds(self.low, self.high) and -quarter < self.rounded_low and self.rounded_high < quarter:
                return t
        low, high = min(self.low, self.rounded_low), max(self.high, self.rounded_high)
        raise UnsupportedError(
            f"{what} can reach {low if -low > high else high}, beyond what C's int64_t computes",
            layer=self.layer,
            way_out="quantize an activation before this layer or use fewer weight bits",
        )
