"""Operations, weights and energy of each layer.

Names and meaning follow qkeras.estimate. Where qkeras is wrong these are right: a separable convolution's pointwise
part multiplies by every input channel (qkeras leaves the factor out), and a depthwise kernel has rows * columns *
channels * multiplier weights (qkeras squares the channels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qsim.estimate.accumulators import proven_bits
from qsim.estimate.modes import FLOAT, QuantMode, get_quant_mode, mode_of_values, operation
from qsim.estimate.source import Source, as_source
from qsim.importers.keras.model import LayerNode
from qsim.ir.layers import multiplications
from qsim.ir.ops import Linear
from qsim.numerics import IntArray

_INPUT: QuantMode = (0, 8, 0)
"""qkeras' assumption for a model's input: quantized_relu(8, 0)."""

_ACTIVATIONS = ("QActivation", "QAdaptiveActivation")
_KERNELS = ("kernel_quantizer", "depthwise_quantizer", "pointwise_quantizer", "recurrent_quantizer")

PICOJOULE = {"add_bit": 0.1 / 32, "mult_bit2": 3.1 / 1024, "fmult": 3.7, "sram_bit": 10.0 / 64}
"""See ``ENERGY_SOURCE``."""

ENERGY_SOURCE = (
    'in 45 nm at 0.9 V after M. Horowitz, "Computing\'s energy problem", ISSCC 2014, figure 1.1.9: integer add 0.1 pJ '
    "at 32 bits, multiply 3.1 pJ at 32 by 32, float32 multiply 3.7 pJ, 64 bits from an 8 KiB SRAM 10 pJ; scaled "
    "linearly in the width for additions, shifts and multiplexers and in the product of widths for multiplications."
)
"""Where the figures come from and how they are scaled."""


def create_activation_cache(model: Any) -> dict[str, QuantMode]:
    """Mode of every tensor: layer name (Keras) or tensor name (graph) -> (mode, bits, sign).

    For a Keras model as qkeras does it: a QActivation has its quantizer's mode, the input 8 bits unsigned, a layer
    with weights its activation's, any other layer the mode of its first input. For a graph by format and range.
    """
    source = as_source(model)
    if not source.nodes:
        return {name: get_quant_mode(tensor) for name, tensor in source.graph.tensors.items()}
    cache: dict[str, QuantMode] = {}
    for name, node in source.nodes.items():
        if node.class_name == "InputLayer":
            cache[name] = _INPUT
        elif node.class_name in _ACTIVATIONS or "kernel" in node.weights or "depthwise_kernel" in node.weights:
            cache[name] = _mode(node.config.get("activation"))
        else:
            cache[name] = cache.get(node.inputs[0][0], FLOAT) if node.inputs else FLOAT
    return cache


def _mode(quantizer: Any) -> QuantMode:
    """A plain Keras activation keeps float, as qkeras sees it."""
    if isinstance(quantizer, str) and "(" not in quantizer and not quantizer.startswith(("quantized", "binary", "ter")):
        return FLOAT
    return get_quant_mode(quantizer)


def get_operation_type(layer: Any, output_cache: Mapping[str, QuantMode]) -> tuple[str, Any, Any, Any]:
    """(operation, (weight mode, input mode), (weight bits, input bits), (weight sign, input sign)).

    layer: a LayerNode of a Keras model, a live qkeras layer, or an op of a graph. operation: of the table in
    ``modes``; "null" where the input's mode is not in the cache.
    """
    if isinstance(layer, LayerNode):
        weights = _declared(layer)[0]
        x = output_cache.get(layer.inputs[0][0])
    elif isinstance(layer, Linear):
        weights, x = mode_of_values(layer.weights), output_cache.get(layer.inputs[0])
    else:
        weights = get_quant_mode(layer.get_quantizers()[0])
        history = getattr(layer.input, "_keras_history", None)
        x = output_cache.get(history.operation.name) if history is not None else None
    if x is None:
        return "null", (weights[0], -1), (weights[1], -1), (weights[2], -1)
    return operation(weights, x), (weights[0], x[0]), (weights[1], x[1]), (weights[2], x[2])


def _declared(node: LayerNode) -> list[QuantMode]:
    found = [get_quant_mode(node.config[key]) for key in _KERNELS if key in node.config]
    return found or [FLOAT]


def extract_model_operations(in_model: Any) -> dict[str, dict[str, Any]]:
    """Layer -> type (see ``get_operation_type``), number_of_operations, number_of_weights (a list for a layer of
    several kernels), number_of_bias, type_of_weights, type_of_bias; layers with kernels only."""
    source = as_source(in_model)
    cache = create_activation_cache(source)
    operations: dict[str, dict[str, Any]] = {}
    for layer, ops in source.linear().items():
        node = source.nodes.get(layer)
        arrays = _arrays(ops)
        weights = [array.size for array in arrays]
        declared = _declared(node) if node else [mode_of_values(array) for array in arrays]
        declared = [declared[min(i, len(declared) - 1)] for i in range(len(arrays))]
        bias = next((op.bias for op in reversed(ops) if op.bias is not None), None)
        if node is not None:
            bias_type = get_quant_mode(node.config.get("bias_quantizer"))
        else:
            bias_type = FLOAT if bias is None else get_quant_mode(bias)
        operations[layer] = {
            "type": get_operation_type(node or ops[0], cache),
            "number_of_operations": sum(_products(source, op) for op in ops),
            "number_of_weights": weights[0] if len(weights) == 1 else weights,
            "number_of_bias": _bias_count(node, bias),
            "type_of_weights": declared[0] if len(declared) == 1 else declared,
            "type_of_bias": bias_type,
        }
    return operations


def _arrays(ops: Sequence[Linear]) -> list[IntArray]:
    """The ops' weights, each array once: the steps of a recurrent layer share theirs."""
    return list({(array.shape, array.values.tobytes()): array for array in (op.weights for op in ops)}.values())


def _bias_count(node: LayerNode | None, bias: Any) -> int:
    if node is not None and "bias" in node.weights:
        return int(node.weights["bias"].size)
    return 0 if bias is None else int(bias.size)


def _products(source: Source, op: Linear) -> int:
    graph = source.graph
    return multiplications(op, [graph[name] for name in op.inputs], graph[op.output])


@dataclass(frozen=True, kw_only=True)
class LayerEstimate:
    """One layer's cost. kind: of the operation table. energy_pj: products, accumulation and weight reads of one
    sample (see PICOJOULE). sparsity: share of zero weights. accumulator_bits: proven, sign included."""

    layer: str
    kind: str
    operations: int
    weights: int
    weight_bits: int
    bias: int
    bias_bits: int
    sparsity: float
    accumulator_bits: int
    energy_pj: float


def estimate(model: Any, input_format: Any = None) -> tuple[LayerEstimate, ...]:
    """The cost of every layer that multiplies, in graph order."""
    source = as_source(model, input_format)
    operations = extract_model_operations(source)
    accumulators = proven_bits(source)
    found = []
    for layer, ops in source.linear().items():
        entry = operations[layer]
        kind, _, (w_bits, x_bits), _ = entry["type"]
        types, counts = entry["type_of_weights"], entry["number_of_weights"]
        pairs = zip(types, counts) if isinstance(types, list) else [(types, counts)]
        weight_bits = sum(mode[1] * count for mode, count in pairs)
        arrays = _arrays(ops)
        zeros = sum(int(np.count_nonzero(array.values == 0)) for array in arrays)
        total = sum(array.size for array in arrays)
        found.append(
            LayerEstimate(
                layer=layer,
                kind=kind,
                operations=entry["number_of_operations"],
                weights=total,
                weight_bits=weight_bits,
                bias=entry["number_of_bias"],
                bias_bits=entry["number_of_bias"] * entry["type_of_bias"][1],
                sparsity=zeros / total,
                accumulator_bits=accumulators[layer],
                energy_pj=_energy(
                    kind, entry["number_of_operations"], w_bits, x_bits, accumulators[layer], weight_bits
                ),
            )
        )
    return tuple(found)


def _energy(kind: str, count: int, w_bits: int, x_bits: int, acc_bits: int, weight_bits: int) -> float:
    product = {
        "mult": PICOJOULE["mult_bit2"] * w_bits * max(x_bits, 1),
        "fmult": PICOJOULE["fmult"],
        "adder": PICOJOULE["add_bit"] * max(w_bits, x_bits),
    }.get(kind, PICOJOULE["add_bit"] * max(x_bits, 1))
    return count * (product + PICOJOULE["add_bit"] * acc_bits) + weight_bits * PICOJOULE["sram_bit"]


def print_qstats(model: Any) -> None:
    """Print operations per layer and kind, weights and their bits, and sparsity, as qkeras' function of this name."""
    source = as_source(model)
    operations = extract_model_operations(source)
    kinds: dict[str, int] = {}
    print("\nNumber of operations in model:")
    for layer in sorted(operations):
        kind, _, sizes, signs = operations[layer]["type"]
        name = f"{'s' if sum(signs) > 0 else 'u'}{kind}_{sizes[0]}_{sizes[1]}"
        count = operations[layer]["number_of_operations"]
        kinds[name] = kinds.get(name, 0) + count
        print(f"    {layer:30}: {count:5} ({name})")
    print("\nNumber of operation types in model:")
    for name in sorted(kinds):
        print(f"    {name:30}: {kinds[name]}")
    print("\nWeight profiling:")
    total = 0
    for layer in sorted(operations):
        entry = operations[layer]
        types, counts = entry["type_of_weights"], entry["number_of_weights"]
        several = isinstance(types, list)
        for i, (mode, count) in enumerate(zip(types, counts) if several else [(types, counts)]):
            total += mode[1] * count
            print(f"    {layer + '_weights' + (f'_{i}' if several else ''):30} : {count:5} ({mode[1]}-bit unit)")
        total += entry["number_of_bias"] * entry["type_of_bias"][1]
        print(f"    {layer + '_bias':30} : {entry['number_of_bias']:5} ({entry['type_of_bias'][1]}-bit unit)")
    print("    " + "-" * 40)
    print(f"    {'Total Bits':30} : {total:5}")
    print("\nWeight sparsity:")
    costs = estimate(source)
    for cost in costs:
        print(f"    {cost.layer:30} : {cost.sparsity:.4f}")
    print("    " + "-" * 40)
    weights = sum(cost.weights for cost in costs)
    zeros = sum(cost.sparsity * cost.weights for cost in costs)
    print(f"    {'Total Sparsity':30} : {zeros / max(1, weights):.4f}")
