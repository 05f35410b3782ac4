"""Widths and parameter table of a Requantize for qsim_requantize.sv."""

from __future__ import annotations

from dataclasses import dataclass

from qsim.ir import Tensor
from qsim.ir import ops as o
from qsim.numerics import IntFormat, Rescale, Scheme, periodic
from qsim.proof.steps import affine, centred, hull
from qsim.targets.rtl.lower.modes import OVERFLOWS, ROUNDINGS, SCHEMES
from qsim.targets.rtl.text import Memory, flag, number, pack, signed_width, string, wide


@dataclass
class _Branch:
    """One rescale with its parameters as columns of one period, and the widths that it needs."""

    scheme: str
    mode: str
    multiplier: list[int]
    addend: list[int]
    shift: list[int]
    p_width: int = 0
    r_width: int = 0


def _branch(r: Rescale, shape: tuple[int, ...]) -> _Branch:
    columns = [[int(v) for v in periodic(a, shape)] for a in (r.multiplier, r.addend, r.shift)]
    period = max(len(c) for c in columns)
    m, a, s = (c * (period // len(c)) for c in columns)  # periods are products of trailing dimensions
    if r.scheme is Scheme.TFLITE_SINGLE:
        s = [v + 31 for v in s]
    return _Branch(SCHEMES[r.scheme], ROUNDINGS[r.rounding], m, a, s)


def _size(b: _Branch, x_low: int, x_high: int) -> None:
    """Fill in the widths; right shifts that leave less than a quarter of any value are cut short, which changes no
    result: in every mode it is decided by the sign alone."""
    x_width = signed_width(x_low, x_high)
    if b.scheme == "PLAIN":
        sums = affine((x_low, x_high), b.multiplier, b.addend, [1] * len(b.multiplier)).sums
        b.p_width = signed_width(*hull(0, *sums))
        longest = b.p_width + 2
        b.shift = [min(v, longest) for v in b.shift]
        left, right = max(0, -min(b.shift)), max(0, max(b.shift))
        b.r_width = max(b.p_width + left, right + 3)
    elif b.scheme == "SRDHM":
        b.p_width = 32
        b.shift = [min(v, 34) for v in b.shift]
        b.r_width = max(33, max(0, max(b.shift)) + 3)
    else:
        kept = min(x_width, 25) + 1
        b.p_width = kept + signed_width(min(b.multiplier), max(b.multiplier))
        drops = max(0, x_width - 24) + max(0, b.p_width - 24)
        b.shift = [min(v, drops + 30) for v in b.shift]
        left = max(0, drops - min(b.shift))
        b.r_width = max(b.p_width + 1, 27 + left, max(0, max(b.shift)) + 3)


def requantize(
    op: o.Requantize, tensor: Tensor, out: Tensor, stored: IntFormat
) -> tuple[list[tuple[str, str]], Memory]:
    """Parameters and table of ``op`` from ``tensor``, whose stream has the format ``stored``, to ``out``."""
    x_low, x_high = centred(tensor.range, op.input_zero_point)
    branches = [_branch(r, out.shape) for r in (op.rescale, op.negative) if r is not None]
    period = max(len(b.shift) for b in branches)
    for b in branches:
        factor = period // len(b.shift)
        b.multiplier, b.addend, b.shift = b.multiplier * factor, b.addend * factor, b.shift * factor
        _size(b, x_low, x_high)
    every = [v for b in branches for v in b.multiplier]
    m_width = signed_width(min(every), max(every))
    every = [v for b in branches for v in b.addend]
    a_width = signed_width(min(every), max(every))
    reach = max([64, *(abs(v) for b in branches for v in b.shift)])
    s_width = signed_width(-reach, reach) + 1
    x_width = max(signed_width(min(x_low, 0), max(x_high, 0)), stored.width + 1)
    p_width, r_width = max(x_width, *(b.p_width for b in branches)), max(b.r_width for b in branches)
    r_width = max(r_width, p_width + 1)
    v_width = 1 + max(
        r_width,
        signed_width(op.zero_point, op.zero_point),
        signed_width(op.low, op.high),
        out.format.width + 1,
    )
    table = _table(branches, period, m_width, a_width, s_width)
    last = branches[-1]
    parameters = [
        ("WIDTH", number(stored.width)),
        ("SIGNED", flag(stored.signed)),
        ("NEGATIVE", flag(len(branches) > 1)),
        ("SCHEME", string(branches[0].scheme)),
        ("MODE", string(branches[0].mode)),
        ("N_SCHEME", string(last.scheme)),
        ("N_MODE", string(last.mode)),
        ("M_WIDTH", number(m_width)),
        ("A_WIDTH", number(a_width)),
        ("S_WIDTH", number(s_width)),
        ("P_WIDTH", number(p_width)),
        ("R_WIDTH", number(r_width)),
        ("X_WIDTH", number(x_width)),
        ("V_WIDTH", number(v_width)),
        ("X_ZERO", wide(128, op.input_zero_point, True)),
        ("Y_ZERO", wide(128, op.zero_point, True)),
        ("OVERFLOW", string(OVERFLOWS[op.overflow])),
        ("LOW", wide(128, op.low, True)),
        ("HIGH", wide(128, op.high, True)),
        ("OUT_WIDTH", number(out.format.width)),
        ("OUT_SIGNED", flag(out.format.signed)),
        ("LEFT", flag(any(v < 0 for b in branches for v in b.shift))),
        ("PERIOD", number(period)),
    ]
    return parameters, table


def _table(branches: list[_Branch], period: int, m_width: int, a_width: int, s_width: int) -> Memory:
    """One word a position of the period: {shift, addend, multiplier} of each branch, the first one lowest."""
    one = s_width + a_width + m_width
    words = []
    for i in range(period):
        word = 0
        for position, b in enumerate(branches):
            entry = pack([b.multiplier[i]], m_width)
            entry |= pack([b.addend[i]], a_width) << m_width
            entry |= pack([b.shift[i]], s_width) << (m_width + a_width)
            word |= entry << (position * one)
        words.append(word)
    return Memory(one * len(branches), words)
