"""The named numeric profiles: which engine's arithmetic a ``.tflite`` file is given.

The file does not say how a rescale rounds, nor in which precision a ratio of scales is taken; each engine does it its
own way. Sources: runs of the engines themselves on single operators with 16-bit outputs and on exact ties
(tests/importers/tflite/test_tflite_ops.py repeats them), read together with their kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from qsim.errors import UsageError
from qsim.numerics import Rounding, Scheme


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One engine.

    conv: CONV_2D, DEPTHWISE_CONV_2D. grouped: CONV_2D of several groups, where that is another kernel.
    transpose_conv, quantize: the operators of that name (QUANTIZE between integers).
    dense: FULLY_CONNECTED; None: the kernel rounds accumulator * float64 factor half away from zero.
    elementwise: everything else that rescales.
    double_factors: MUL, RELU and its kin, HARD_SWISH, BATCH_MATMUL take ratios of scales in float64, else in float32.
    double_dense: FULLY_CONNECTED with per-tensor weights takes its factor in float64, else input * weight in float32.
    single_factors: convolutions and FULLY_CONNECTED take scale * scale / scale in float32 throughout.
    xnnpack: the arithmetic of XNNPACK's own kernels: ADD and SUB with integer multipliers of 21 bits, QUANTIZE and
    LEAKY_RELU with multipliers in units of 1/256, MEAN and SUM in float32. What XNNPACK does not take (``xnnpack.py``)
    is given profile ``fallback``.
    sums: SUM. "integer": by multiplier and shift, as MEAN; "bytes": the same on the codes read as unsigned bytes (a
    defect of LiteRT's reference kernel); "float32": a float32 factor and offset.
    lanes: operator -> its vector kernel's width: channels (QUANTIZE: elements) beyond the last full group of so many
    go through the scalar rest of the loop, which is TFLITE_DOUBLE.
    vectors: ADD and MUL have vector code with an arithmetic of its own (``lower/vector.py``).
    input_rounding, input_arithmetic: QUANTIZE of a float32 model input.
    micro: the engine is TensorFlow Lite Micro. int16: 16x8 models are reproduced.
    """

    name: str
    conv: Scheme
    transpose_conv: Scheme
    dense: Scheme | None
    elementwise: Scheme
    quantize: Scheme
    grouped: Scheme | None = None
    double_factors: bool = False
    double_dense: bool = True
    lanes: dict[str, int] = field(default_factory=dict)
    vectors: bool = False
    input_rounding: Rounding = Rounding.RND_INF
    input_arithmetic: Literal["float32_divide", "float32_multiply"] = "float32_divide"
    single_factors: bool = False
    xnnpack: bool = False
    fallback: str | None = None
    sums: Literal["integer", "bytes", "float32"] = "integer"
    micro: bool = False
    int16: bool = True


_DOUBLE, _UPWARD, _FLOAT32 = Scheme.TFLITE_DOUBLE, Scheme.TFLITE_UPWARD, Scheme.FLOAT32

PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile(
            name="tflm",
            conv=_DOUBLE,
            transpose_conv=_DOUBLE,
            dense=_DOUBLE,
            elementwise=_DOUBLE,
            quantize=_DOUBLE,
            double_factors=True,
            micro=True,
        ),
        Profile(
            name="litert-ref",
            conv=_DOUBLE,
            transpose_conv=_DOUBLE,
            dense=None,
            elementwise=_DOUBLE,
            quantize=_DOUBLE,
            sums="bytes",
        ),
        Profile(
            name="litert-opt",
            conv=_UPWARD,
            transpose_conv=_UPWARD,
            dense=_UPWARD,
            elementwise=_DOUBLE,
            quantize=_UPWARD,
            grouped=_DOUBLE,
            double_dense=False,
            vectors=True,
            lanes={"DEPTHWISE_CONV_2D": 8, "TRANSPOSE_CONV": 8, "MEAN": 16, "QUANTIZE": 16},
            input_rounding=Rounding.RND_CONV,
            input_arithmetic="float32_multiply",
            int16=False,
            sums="float32",
        ),
        Profile(
            name="litert-xnnpack",
            conv=_FLOAT32,
            transpose_conv=_FLOAT32,
            dense=_FLOAT32,
            elementwise=_FLOAT32,
            quantize=_FLOAT32,
            single_factors=True,
            xnnpack=True,
            fallback="litert-opt",
            input_rounding=Rounding.RND_CONV,
            input_arithmetic="float32_multiply",
            int16=False,
        ),
    )
}


def get_profile(name: str | None) -> Profile:
    """The profile called ``name``; TensorFlow Lite Micro by default. Raises UsageError for unknown names."""
    if name is None:
        return PROFILES["tflm"]
    if name not in PROFILES:
        raise UsageError(f"unknown numeric profile {name!r} for a .tflite model; there are {', '.join(PROFILES)}")
    return PROFILES[name]
