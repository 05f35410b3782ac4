"""Accumulator sizes: proven from the weights, or seen on samples.

Names and meaning follow qkeras.estimate. Three things differ, for the better: qkeras bounds only the first
``kernel.shape[1]`` output channels (for a convolution that is the kernel's width), these functions bound all of them;
qkeras sums the stored weights, these the quantized ones that the hardware multiplies by; and qkeras multiplies the bias
by the input's range, which these add as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from qsim.errors import UsageError
from qsim.estimate.source import Source, as_source
from qsim.ir.ops import Linear
from qsim.numerics import Array
from qsim.simulate import Simulator

MODES = ("conservative", "sampled")


def analyze_accumulator(in_model: Any, x: Mapping[str, tuple[float, float]], verbose: bool = False) -> dict[str, int]:
    """Integer bits that each layer's accumulator needs: layer -> ceil(log2(largest magnitude)), in real units.

    in_model: a Graph, a Keras model or its file. x: layer -> (least, greatest) real input value; a layer that makes
    several products needs its own input's range for the first and takes the proven range for the others.
    For output channel i, with P and N the sums of its positive and negative weights (bias included):
    largest magnitude = max over i of max(P*max(x,0) + N*min(x,0), -(N*max(x,0) + P*min(x,0))).
    """
    source = as_source(in_model)
    sizes: dict[str, int] = {}
    for layer, ops in source.linear().items():
        if layer not in x:
            raise UsageError(f"no input range is given for layer {layer!r}")
        largest = Fraction(0)
        for i, op in enumerate(ops):
            low, high = x[layer] if i == 0 else _proven_reals(source, op)
            largest = max(largest, *_bounds(source, op, low, high))
        sizes[layer] = _bits(largest)
        if verbose:
            print(
                f"{layer} - input range: {x[layer]}\n  largest magnitude: {float(largest)}\n"
                f"  number of bits: {sizes[layer]}"
            )
    return sizes


def analyze_accumulator_from_sample(
    in_model: Any, x_sample: Any, mode: str = "conservative", verbose: bool = False
) -> dict[str, int]:
    """As ``analyze_accumulator``, from inputs: mode "conservative" takes the range that each layer's input has on the
    sample, "sampled" the accumulators themselves as the simulator computes them.

    x_sample: real values, (N, *shape). Raises UsageError for another mode.
    """
    if mode not in MODES:
        raise UsageError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    source = as_source(in_model)
    graph = source.graph
    trace = Simulator(graph).trace(x_sample)

    def reals(name: str) -> Array:
        return graph[name].quantization.real(trace[name])

    linear = source.linear()
    if mode == "sampled":
        sizes = {}
        for layer, ops in linear.items():
            sizes[layer] = _bits(Fraction(max(float(np.abs(reals(op.output)).max()) for op in ops)))
        return sizes
    seen = {layer: reals(ops[0].inputs[0]) for layer, ops in linear.items()}
    return analyze_accumulator(source, {k: (float(v.min()), float(v.max())) for k, v in seen.items()}, verbose)


def qkeras_accumulator(model: Any, x: Mapping[str, tuple[float, float]]) -> dict[str, int]:
    """The figure that qkeras.estimate.analyze_accumulator prints for quantized weights, its defects included: only
    the first ``kernel.shape[1]`` output channels are bounded, and the bias is multiplied by the input's range. For
    comparison; a layer of several products is taken by its first."""
    source = as_source(model)
    sizes = {}
    for layer, ops in source.linear().items():
        op, (low, high) = ops[0], x[layer]
        count = op.weights.shape[1]
        sizes[layer] = _bits(max(_bounds(source, op, low, high, qkeras_channels=count)))
    return sizes


def _bits(largest: Fraction) -> int:
    """ceil(log2(largest)), exactly; 0 for 0."""
    if largest <= 0:
        return 0
    exponent = largest.numerator.bit_length() - largest.denominator.bit_length()
    while Fraction(2) ** exponent < largest:
        exponent += 1
    while Fraction(2) ** (exponent - 1) >= largest:
        exponent -= 1
    return exponent


def _proven_reals(source: Source, op: Linear) -> tuple[float, float]:
    tensor = source.graph[op.inputs[0]]
    ends = [float(v) for end in tensor.range for v in np.ravel(tensor.quantization.real(np.array([end])))]
    return min(ends), max(ends)


def _bounds(source: Source, op: Linear, low: float, high: float, qkeras_channels: int | None = None) -> list[Fraction]:
    """Largest magnitude of each output channel for real inputs in [low, high]; with ``qkeras_channels`` as qkeras has
    it, for the first so many channels."""
    graph = source.graph
    x_scale = graph[op.inputs[0]].quantization.scale[0]
    y_scale, y_offset = graph[op.output].quantization.scale, graph[op.output].quantization.offset
    w = op.weights.values.reshape(-1, op.weights.shape[-1])
    count = w.shape[1] if qkeras_channels is None else min(qkeras_channels, w.shape[1])
    low_f, high_f = min(Fraction(low), Fraction(0)), max(Fraction(high), Fraction(0))
    found = []
    for i in range(count):
        y = y_scale[i if len(y_scale) > 1 else 0]
        unit = y * (1 << op.product_shift) / x_scale  # the real value of one weight code
        positive, negative = (Fraction(int(part.sum())) * unit for part in (w[w[:, i] > 0, i], w[w[:, i] < 0, i]))
        # A bias that does not lie on the products' grid is kept in the meaning of the codes.
        bias = y_offset[i if len(y_offset) > 1 else 0]
        bias += 0 if op.bias is None else int(op.bias.values[i]) * y
        if qkeras_channels is not None:
            positive, negative, bias = (
                positive + (bias if bias > 0 else 0),
                negative + (bias if bias < 0 else 0),
                Fraction(0),
            )
        up = positive * high_f + negative * low_f + (bias if bias > 0 else 0)
        down = -(negative * high_f + positive * low_f) - (bias if bias < 0 else 0)
        found.append(max(up, down))
    return found


def proven_bits(source: Source) -> dict[str, int]:
    """Width of each layer's accumulator as the graph holds it: proven over every input, sign included."""
    return {layer: max(source.graph[op.output].format.width for op in ops) for layer, ops in source.linear().items()}


def proven_input_ranges(source: Source) -> dict[str, tuple[float, float]]:
    """Layer -> proven real range of its first product's input: what to give ``analyze_accumulator`` without data."""
    return {layer: _proven_reals(source, ops[0]) for layer, ops in source.linear().items()}


__all__ = [
    "analyze_accumulator",
    "analyze_accumulator_from_sample",
    "proven_bits",
    "proven_input_ranges",
    "qkeras_accumulator",
]
