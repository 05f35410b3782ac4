"""What a layer of a tfmot-wrapped model becomes: a quantized tensor, or an operator whose range is still to come."""

from __future__ import annotations

from dataclasses import dataclass

from qsim.numerics import Array

FIXED_OUTPUT = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
"""Operator -> (scale, zero point) of its output, which TFLite fixes."""
RESCALING = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "ADD", "MUL", "MEAN"),
    *("RELU", "RELU6", "LEAKY_RELU"),
)
"""Operators whose output may have any scale, so that they take one over in place of a QUANTIZE behind them."""
ACTIVATED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL")
"""Operators that a ReLU behind their trained range is fused into."""
HANDS_ON = (
    "MAX_POOL_2D",
    "AVERAGE_POOL_2D",
    "RESHAPE",
    "EXPAND_DIMS",
    "PAD",
    "STRIDED_SLICE",
    "TRANSPOSE",
    "REDUCE_MAX",
)
"""Operators whose output has the range of their input."""


@dataclass(frozen=True)
class Open:
    """An operator whose output range is still to come.

    kernel: output channels last; ranges: its trained ends, None if it is not fake-quantized; bias: float32;
    multiplier: a folded normalization's factor per channel; layout: axes that bring the kernel into TFLite's order;
    channels_axis: where its channels are then. parts: a Concatenate's sources, which get the range too.
    """

    operator: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    options: dict[str, int | float | bool]
    kernel: Array | None = None
    ranges: tuple[Array, Array] | None = None
    bias: Array | None = None
    multiplier: Array | None = None
    layout: tuple[int, ...] = ()
    channels_axis: int = 0
    layer: str = ""
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Value:
    """A layer's result: a quantized tensor, or an operator that is still open. shape: without the batch."""

    shape: tuple[int, ...]
    tensor: int | None = None
    open: Open | None = None
