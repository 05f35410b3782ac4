"""tfmot's kernels that stay float: the training graph computes with real weights, only the conversion rounds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from qsim.debug.causes.alternative import Alternative, run
from qsim.debug.words.wrapper import owners, read_wrapped, wrapper_variables
from qsim.ir import Graph, Tensor
from qsim.ir import ops as o
from qsim.numerics import Array, IntArray

_BITS = 14
"""Fractional bits of the real weights: a product of 8 bits by 8 + 14, summed, stays far within 53 bits."""

Candidate = tuple[o.Op, Alternative]


def float_kernels(graph: Graph, model: Any) -> tuple[Candidate, ...]:
    """(op, alternative) for each layer whose kernel a tfmot wrapper leaves unquantized; model: the live Keras model."""
    source = read_wrapped(model)
    added = wrapper_variables(source) if source is not None else {}
    if source is None or not added:
        return ()
    return tuple(_candidates(graph, model, added, owners(source, graph.layers())))


def _candidates(graph: Graph, model: Any, added: Any, owner: dict[str, str]) -> Iterator[Candidate]:
    live = {layer.name: layer for layer in model.layers}
    for name, variables in added.items():
        inner = getattr(live.get(name), "layer", None)
        if inner is None or any("kernel_min" in v.name for v in variables):
            continue
        arrays = [np.asarray(w) for w in inner.get_weights()]
        ops = [op for op in graph.ops if op.layer == owner.get(name) and isinstance(op, o.Conv2D | o.Dense)]
        for op in ops:
            alternative = _alternative(graph, op, arrays)
            if alternative is not None:
                yield op, alternative


def _alternative(graph: Graph, op: o.Conv2D | o.Dense, arrays: list[Array]) -> Alternative | None:
    """None where the live layer's kernel is not the one that the integers were rounded from."""
    x, y = graph[op.inputs[0]].quantization, graph[op.output].quantization
    units = np.array([float(s / x.scale[0]) for s in y.scale])
    kernel = next((a for a in arrays if a.size == op.weights.size and a.ndim >= 2), None)
    if kernel is None or op.product_shift:
        return None
    exact = kernel.astype(np.float64).reshape(op.weights.shape) / units
    if float(np.abs(exact - op.weights.values).max()) > 0.51:  # folded with a batch normalization, or another layer's
        return None
    weights = IntArray(np.rint(exact * (1 << _BITS)).astype(np.int64))
    own = next((a for a in arrays if a.shape == (op.weights.shape[-1],)), None)
    bias = None if op.bias is None else IntArray(op.bias.values << _BITS)
    if own is not None and bias is not None:
        scaled = own.astype(np.float64) / np.array([float(s) for s in y.scale])
        bias = IntArray(np.rint(scaled * (1 << _BITS)).astype(np.int64))
    real = dataclasses.replace(op, weights=weights, bias=bias)

    def compute(xs: list[Array], ts: list[Tensor], out: Tensor) -> Array:
        return (run(real, xs, ts, out) + (1 << (_BITS - 1))) >> _BITS

    return Alternative(
        name="float kernel",
        text="the kernel's real values: tfmot's wrapper leaves this kernel unquantized in the Keras graph, only the "
        "conversion rounds it to integers, which is no defect",
        weight=5,
        compute=compute,
    )
