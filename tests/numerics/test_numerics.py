"""Rounding, overflow and rescale on arrays against plain Python integers and fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from oracle import overflow_int, rescale_int, round_fraction, srdhm

from qsim.errors import GraphError, UnsupportedError, UsageError
from qsim.numerics import (
    FixedPoint,
    IntArray,
    IntFormat,
    Overflow,
    Rescale,
    Rounding,
    Scheme,
    assert_fits,
    divide_rounded,
    overflow,
    parse_format,
    periodic,
    quantize_multiplier,
    rescale,
    saturating_rounding_doubling_high_mul,
    scalar,
    shift_only,
    shift_rounded,
)

INTEGERS = np.concatenate(
    [
        np.arange(-300, 301),
        np.array([-(1 << 61), (1 << 61) - 1, -(1 << 40) - 1, (1 << 40) + (1 << 12)]),
        np.random.default_rng(0).integers(-(1 << 50), 1 << 50, 200),
    ]
)


@pytest.mark.parametrize("mode", Rounding)
@pytest.mark.parametrize("shift", [0, 1, 2, 3, 7, 20, 45, 61, 62, 63, 70])
def test_shift_rounded(mode: Rounding, shift: int) -> None:
    expected = [round_fraction(Fraction(int(x), 2**shift), mode.value) for x in INTEGERS]
    assert shift_rounded(INTEGERS, shift, mode).tolist() == expected
    assert shift_rounded(INTEGERS.astype(object), shift, mode).tolist() == expected


@pytest.mark.parametrize("mode", Rounding)
@pytest.mark.parametrize("divisor", [1, 2, 3, 6, 7, 9, 10, 64, 1000, (1 << 40) + 1])
def test_divide_rounded(mode: Rounding, divisor: int) -> None:
    ties = np.array([k * divisor // 2 for k in range(-9, 10) if k * divisor % 2 == 0])
    x = np.concatenate([INTEGERS, ties])
    expected = [round_fraction(Fraction(int(v), divisor), mode.value) for v in x]
    assert divide_rounded(x, divisor, mode).tolist() == expected


@pytest.mark.parametrize("mode", Rounding)
def test_negative_shift_is_an_exact_left_shift(mode: Rounding) -> None:
    x = np.arange(-20, 21)
    assert shift_rounded(x, np.array([-3] * 41), mode).tolist() == (x * 8).tolist()


@pytest.mark.parametrize("mode", Overflow)
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 31, 62])
@pytest.mark.parametrize("signed", [True, False])
def test_overflow(mode: Overflow, width: int, signed: bool) -> None:
    edges = [s * (1 << width) + d for s in (-2, -1, 0, 1, 2) for d in range(-3, 4) if width < 60]
    x = np.array(edges + INTEGERS.tolist(), dtype=np.int64)
    expected = [overflow_int(int(v), width, signed, mode.value) for v in x]
    assert overflow(x, IntFormat(width, signed), mode).tolist() == expected


def test_rounding_names_follow_the_vitis_examples() -> None:
    # UG1399's table of quantization modes, 1.25 and -1.25 to one fractional bit and the ties 1.5, -1.5 to integers.
    ties = np.array([3, -3, 1, -1])  # halves
    table = {
        Rounding.TRN: [1, -2, 0, -1],
        Rounding.TRN_ZERO: [1, -1, 0, 0],
        Rounding.RND: [2, -1, 1, 0],
        Rounding.RND_ZERO: [1, -1, 0, 0],
        Rounding.RND_MIN_INF: [1, -2, 0, -1],
        Rounding.RND_INF: [2, -2, 1, -1],
        Rounding.RND_CONV: [2, -2, 0, 0],
    }
    for mode, expected in table.items():
        assert shift_rounded(ties, 1, mode).tolist() == expected, mode


def int32s(rng: np.random.Generator, n: int) -> np.ndarray:
    corners = [-(1 << 31), (1 << 31) - 1, 0, 1, -1, 1 << 30, -(1 << 30)]
    return np.concatenate([np.array(corners), rng.integers(-(1 << 31), 1 << 31, n)])


def test_srdhm() -> None:
    a = int32s(np.random.default_rng(1), 300)
    for b in int32s(np.random.default_rng(2), 20).tolist():
        assert saturating_rounding_doubling_high_mul(a, np.int64(b)).tolist() == [srdhm(int(x), b) for x in a]


def test_tflite_schemes_on_the_documented_case() -> None:
    def make(scheme: Scheme, rounding: Rounding) -> Rescale:
        return Rescale(
            multiplier=scalar(1583594044), addend=scalar(0), shift=scalar(9), rounding=rounding, scheme=scheme
        )

    x = np.array([7984])
    assert rescale(x, make(Scheme.TFLITE_DOUBLE, Rounding.RND_INF)).tolist() == [12]
    assert rescale(x, make(Scheme.TFLITE_SINGLE, Rounding.RND)).tolist() == [11]


@pytest.mark.parametrize("scheme", Scheme)
def test_rescale(scheme: Scheme) -> None:
    rng = np.random.default_rng(3)
    rounding = {
        Scheme.TFLITE_DOUBLE: Rounding.RND_INF,
        Scheme.FLOAT32: Rounding.RND_CONV,
        Scheme.PLAIN: Rounding.RND_ZERO,
    }.get(scheme, Rounding.RND)
    for shift in (0, 1, 5, 12, 30, -2):
        bits = 24 if scheme is Scheme.FLOAT32 else 31
        multiplier = int(rng.integers(1 << (bits - 1), 1 << bits))
        addend = int(rng.integers(-999, 999)) if scheme is Scheme.PLAIN else 0
        right = shift + 24 if scheme is Scheme.FLOAT32 else shift
        r = Rescale(
            multiplier=scalar(multiplier), addend=scalar(addend), shift=scalar(right), rounding=rounding, scheme=scheme
        )
        x = int32s(rng, 300) >> max(0, -shift)
        expected = [rescale_int(int(v), r, (), ()) for v in x]
        assert rescale(x, r).tolist() == expected, (scheme, shift)


def test_schemes_refuse_what_they_do_not_define() -> None:
    with pytest.raises(GraphError, match="takes no addend"):
        Rescale(
            multiplier=scalar(1),
            addend=scalar(1),
            shift=scalar(0),
            rounding=Rounding.RND_INF,
            scheme=Scheme.TFLITE_DOUBLE,
        )
    with pytest.raises(GraphError, match="32-bit multiplier"):
        Rescale(
            multiplier=scalar(1 << 31),
            addend=scalar(0),
            shift=scalar(0),
            rounding=Rounding.RND_INF,
            scheme=Scheme.TFLITE_DOUBLE,
        )


@pytest.mark.parametrize(
    "factor",
    [0.5, 0.25, 0.75, 1.0, 1e-4, 3.7, 1 - 2**-33, 0.0, 2.0**-32, 1.5 * 2**-32, 2.0**-33, 2.0**-40],
)
def test_quantize_multiplier(factor: float) -> None:
    multiplier, shift = quantize_multiplier(factor)
    if factor < 2**-32:
        assert (multiplier, shift) == (0, 0)
        return
    assert 1 << 30 <= multiplier < 1 << 31
    assert abs(Fraction(multiplier) / (1 << 31) * Fraction(2) ** -shift - Fraction(factor)) <= Fraction(factor) / (
        1 << 31
    )


def test_formats() -> None:
    assert IntFormat.for_range(-8, 7) == IntFormat(4, True)
    assert IntFormat.for_range(-9, 7) == IntFormat(5, True)
    assert IntFormat.for_range(0, 0) == IntFormat(1, False)
    assert IntFormat.for_range(-1, -1) == IntFormat(1, True)
    assert IntFormat.for_range(0, 255) == IntFormat(8, False)
    for low in range(-40, 5):
        for high in range(max(low, -5), 40):
            fmt = IntFormat.for_range(low, high)
            assert fmt.holds(low, high)
            assert fmt.width == 1 or not IntFormat(fmt.width - 1, fmt.signed).holds(low, high)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fixed<8,1>", FixedPoint(8, 7, True)),
        (" ap_fixed< 6 , -2 > ", FixedPoint(6, 8, True)),
        ("ufixed<4,6>", FixedPoint(4, -2, False)),
        ("int8", FixedPoint(8, 0, True)),
        ("uint16", FixedPoint(16, 0, False)),
    ],
)
def test_parse_format(text: str, expected: FixedPoint) -> None:
    assert parse_format(text) == expected


@pytest.mark.parametrize("text", ["", "fixed<8>", "float32", "int0", "int65", "fixed<0,0>", "fixed<8,1>x"])
def test_parse_format_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        parse_format(text)


def test_parse_format_and_str_round_trip() -> None:
    for width in (1, 5, 16):
        for frac in (-3, 0, 4, 20):
            for signed in (True, False):
                fmt = FixedPoint(width, frac, signed)
                assert parse_format(str(fmt)) == fmt


def test_periodic_finds_the_shortest_period() -> None:
    assert periodic(scalar(3), (2, 3, 4)).tolist() == [3]
    assert periodic(IntArray([5, 6]), (3, 3, 2)).tolist() == [5, 6]
    assert periodic(IntArray(np.array([[[1]], [[2]]])), (2, 2, 2)).tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert periodic(IntArray([7, 7]), (3, 2)).tolist() == [7]
    full = np.random.default_rng(0).integers(0, 3, (2, 3))
    p = periodic(IntArray(full), (4, 2, 3))
    assert len(p) == 6
    assert p.tolist() == full.reshape(-1).tolist()


def test_intarray_refuses_floats_and_compares_by_content() -> None:
    with pytest.raises(ValueError, match="integers"):
        IntArray(np.array([1.0]))
    assert IntArray([1, 2]) == IntArray(np.array([1, 2], dtype=np.int8))
    assert IntArray([1, 2]) != IntArray([[1, 2]])
    with pytest.raises(ValueError, match="read-only"):
        IntArray([1, 2]).values[0] = 3


def test_assert_fits() -> None:
    assert_fits(-(1 << 62) + 1, (1 << 62) - 1, "a sum")
    with pytest.raises(UnsupportedError, match=r"layer 'fc': a sum can reach .* takes 64 bits"):
        assert_fits(0, 1 << 62, "a sum", layer="fc")


def test_shift_only_is_recognised() -> None:
    assert shift_only(3, Rounding.RND).is_shift
