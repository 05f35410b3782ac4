"""The C structures of csrc/qsim_native.h, linear.h and elementwise.h, field by field, and arrays that they point to."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from typing import Any

import numpy as np

from qsim.numerics import Array, Overflow, Rounding, Scheme

LANES = 2048
"""QN_LANES: of one pass through a chain."""
CHANNELS, PIXELS = 16, 6
"""QN_CHANNELS, QN_PIXELS: of a tile of the linear kernels."""
CHUNK, MOST_POSITIONS = 4096, 512
"""Sums between a linear kernel and its chain; positions among them (linear.c)."""

TYPES: tuple[Any, ...] = (np.int8, np.uint8, np.int16, np.int32, np.int64)
"""Element types of tensors, by the number that C knows them by."""

ROUNDING = {mode: number for number, mode in enumerate(Rounding)}
OVERFLOW = {mode: number for number, mode in enumerate(Overflow)}
SCHEME = {scheme: number for number, scheme in enumerate(Scheme)}
"""The C enumerations follow the order in which qsim.numerics declares its own; tests/simulate/test_native.py holds them
together, mode by mode."""

_P = c.c_void_p


class RescaleC(c.Structure):
    """qn_rescale."""

    _fields_ = (
        *((name, c.c_int32) for name in ("scheme", "rounding", "left", "unit")),
        *((name, _P) for name in ("m", "a", "m32", "a32", "s", "f")),
    )


class TransformC(c.Structure):
    """qn_transform."""

    _fields_ = (
        ("kind", c.c_int32),
        ("length", c.c_int32),
        *((name, c.c_int64) for name in ("input_zero", "output_zero", "low", "high")),
        *((name, c.c_int32) for name in ("overflow", "width", "is_signed", "has_negative")),
        ("positive", RescaleC),
        ("negative", RescaleC),
        *((name, _P) for name in ("numerator", "addend", "divisor")),
        *((name, c.c_int32) for name in ("rounding", "count", "rows", "few")),
        *((name, _P) for name in ("table", "base", "step", "along", "base_along", "step_along")),
    )


class ChainC(c.Structure):
    """qn_chain."""

    _fields_ = (("count", c.c_int32), ("wide", c.c_int32), ("transforms", _P))


class LinearC(c.Structure):
    """qn_linear."""

    _fields_ = (
        *(
            (name, c.c_int32)
            for name in (
                *("type_in", "type_out", "input_zero", "form", "height", "width", "channels"),
                *("padded_height", "padded_width", "top", "left", "spread"),
                *("out_height", "out_width", "outputs", "panels", "stride_height", "stride_width", "runs", "steps"),
                *("raise_", "pad"),
            )
        ),
        *((name, _P) for name in ("offset", "weights", "bias")),
        ("chain", ChainC),
    )


class OperandC(c.Structure):
    """qn_operand."""

    _fields_ = (
        ("type", c.c_int32),
        ("constant", c.c_int32),
        ("size", c.c_int64),
        ("zero", c.c_int64),
        ("shift", c.c_int32),
        ("sign", c.c_int32),
        ("feed", ChainC),
    )


class CombineC(c.Structure):
    """qn_combine_params."""

    _fields_ = (
        *((name, c.c_int32) for name in ("kind", "inputs", "wide", "type_out", "flat", "pad")),
        ("size", c.c_int64),
        ("run", c.c_int64),
        ("operands", _P),
        ("chain", ChainC),
    )


class PoolC(c.Structure):
    """qn_pool_params."""

    _fields_ = (
        *(
            (name, c.c_int32)
            for name in (
                *("kind", "type_in", "type_out", "channels", "height", "width", "kernel_height", "kernel_width"),
                *("stride_height", "stride_width", "top", "left", "out_height", "out_width"),
            )
        ),
        ("chain", ChainC),
    )


class MoveC(c.Structure):
    """qn_move_params."""

    _fields_ = (
        ("type", c.c_int32),
        ("count", c.c_int32),
        *((name, c.c_int64) for name in ("size_in", "size_out", "fill")),
        *((name, _P) for name in ("from_", "to", "lengths")),
    )


class JoinC(c.Structure):
    """qn_join_params."""

    _fields_ = (
        ("inputs", c.c_int32),
        ("type_out", c.c_int32),
        ("outer", c.c_int64),
        *((name, _P) for name in ("inner", "types", "constant")),
    )


class SoftmaxC(c.Structure):
    """qn_softmax_params."""

    _fields_ = (
        *((name, c.c_int32) for name in ("type_in", "type_out", "columns", "width")),
        *((name, c.c_int64) for name in ("rows", "low", "high", "count")),
        ("table", _P),
    )


class StepC(c.Structure):
    """qn_step."""

    _fields_ = (
        ("kind", c.c_int32),
        ("inputs", c.c_int32),
        ("in_", _P),
        ("out", c.c_int32),
        ("pad", c.c_int32),
        ("params", _P),
    )


class BufferC(c.Structure):
    """qn_buffer."""

    _fields_ = (("bytes", c.c_int64), ("offset", c.c_int64), ("external", c.c_int32), ("constant", c.c_int32))


class Keep:
    """Owns what C structures point to: arrays and structures live as long as this does."""

    def __init__(self) -> None:
        self._owned: list[object] = []

    def array(self, values: Array | Sequence[int], dtype: Any) -> int:
        """The address of a copy of ``values`` as contiguous ``dtype``. Raises OverflowError for what does not fit."""
        made = np.ascontiguousarray(np.asarray(values), dtype=dtype)
        if made.dtype.kind == "i" and not np.array_equal(made, np.asarray(values)):
            raise OverflowError(f"values beyond {np.dtype(dtype).name}")
        self._owned.append(made)
        return int(made.ctypes.data)

    def structures(self, items: Sequence[c.Structure]) -> int:
        """The address of an array of structures of one class; 0 for none."""
        if not items:
            return 0
        made = (type(items[0]) * len(items))(*items)
        self._owned.append(made)
        return c.addressof(made)
