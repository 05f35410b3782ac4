"""Comparing a Keras model's layers with a graph's trace, code for code."""

from __future__ import annotations

from collections import Counter

import keras
import numpy as np
import tensorflow as tf
from keras_reference import constant, evaluate

from qsim.ir import Graph
from qsim.ir.ops import Divide, Requantize
from qsim.numerics import scalar
from qsim.proof.ranges import ranges
from qsim.simulate import Simulator


def codes_of(values, tensor):
    """Real values as codes of ``tensor``, and how far the farthest lies from its code, in codes."""
    q = tensor.quantization
    scale = np.array([float(s) for s in q.scale])
    offset = np.array([float(o) for o in q.offset])
    exact = (np.asarray(values, dtype=np.float64) - offset) / scale + q.zero_point
    codes = np.rint(exact)
    return codes.astype(np.int64), float(np.abs(exact - codes).max(initial=0.0))


def keras_outputs(model, x):
    """{layer name: Keras' own float32 output} of every layer that the model calls once; nested models' stay within."""
    calls = Counter()
    if not isinstance(model, keras.Sequential):  # which calls every layer once
        calls.update(node.operation.name for nodes in model._nodes_by_depth.values() for node in nodes)
    tensors = {
        layer.name: layer.output
        for layer in model.layers
        if not isinstance(layer, keras.Model) and calls[layer.name] <= 1
    }
    probe = keras.Model(model.inputs, tensors)
    return {
        name: np.asarray(v)
        for name, v in probe(list(x.values()) if isinstance(x, dict) else [x], training=False).items()
    }


def compared(graph: Graph, values: dict, trace: dict, by: str, *, off_grid: float = 1e-3) -> list[str]:
    """The layers whose outputs were compared; asserts that every one of them equals the trace in every element."""
    done = []
    for name, value in values.items():
        if name not in trace or value.shape != trace[name].shape:
            continue
        if max(map(abs, graph[name].range)) >= 1 << 53:
            continue  # float64 cannot say what these codes should be
        codes, off = codes_of(value, graph[name])
        assert off < off_grid, f"{name}: {by}'s values lie off the tensor's grid by {off} codes"
        wrong = codes != trace[name]
        if wrong.any():
            index = tuple(int(i[0]) for i in np.nonzero(wrong))
            raise AssertionError(
                f"{name}: {int(wrong.sum())} of {wrong.size} codes differ, first at {index}: "
                f"{by} {codes[index]}, qsim {trace[name][index]}"
            )
        done.append(name)
    return done


def noisy_layers(model) -> set[str]:
    """Layers whose weights Keras' straight-through x + (q - x) leaves off their grid by an ulp: their sums are not
    what the quantizer says."""
    found = set()
    for layer in model.layers:
        function = getattr(layer, "activation", None)
        if getattr(function, "use_real_tanh", False) or getattr(function, "use_real_sigmoid", False):
            found.add(layer.name)  # TensorFlow's float32 tanh and sigmoid are an ulp or two off
        for role, variable in (("kernel", "kernel"), ("depthwise", "depthwise_kernel"), ("bias", "bias")):
            quantizer = getattr(layer, f"{role}_quantizer_internal", None)
            array = getattr(layer, variable, getattr(layer, "kernel", None))
            if quantizer is not None and array is not None:
                keras_own = np.asarray(quantizer(tf.constant(np.asarray(array))), dtype=np.float64)
                if not np.array_equal(keras_own, constant(quantizer, array)):
                    found.add(layer.name)
    return found


def float32_exact(graph: Graph, noisy: set[str]) -> set[str]:
    """The tensors that Keras' float32 holds exactly, with every sum on the way to them.

    All scales must be powers of two; tensors, partial sums (at most twice a tensor's range) and the straight-through
    differences x + (q - x) stay below 2**24 of their least unit; no multiplication by odd factors takes place before.
    """
    reach = ranges(graph)
    exact = {i.tensor for i in graph.inputs}
    for op in graph.ops:
        if op.layer in noisy:
            continue
        tensors = [*(graph[name] for name in op.inputs), graph[op.output]]
        scales = [s for t in tensors for s in t.quantization.scale]
        if any(any(t.quantization.offset) for t in tensors) or not all(_power_of_two(s) for s in scales):
            continue
        if isinstance(op, Requantize | Divide):
            # Plain averages by odd counts and normalizations are rounded in float32 before they are quantized.
            factors = op.rescale.multiplier if isinstance(op, Requantize) else op.divisor
            if factors != scalar(1):
                continue
        farthest = max(max(map(abs, reach[t.name].bounds)) * max(t.quantization.scale) for t in tensors)
        if all(name in exact for name in op.inputs) and 2 * farthest / min(scales) < 1 << 24:
            exact.add(op.output)
    return exact


def _power_of_two(s):
    return s > 0 and s.numerator & (s.numerator - 1) == 0 and s.denominator & (s.denominator - 1) == 0


def check(model, graph: Graph, x) -> dict:
    """Assert that the graph's trace equals the float64 evaluation in every layer that has a tensor, and Keras itself in
    those where float32 is exact. Returns the names of the layers compared with each."""
    single = not isinstance(x, dict)
    trace = Simulator(graph).trace(x if single else {graph.inputs[i].tensor: v for i, v in enumerate(x.values())})
    result = {"float64": compared(graph, evaluate(model, x), trace, "float64")}
    exact = float32_exact(graph, noisy_layers(model))
    result["keras"] = compared(graph, {k: v for k, v in keras_outputs(model, x).items() if k in exact}, trace, "Keras")
    return result
