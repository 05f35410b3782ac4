"""How far a tfmot-wrapped Keras model and its integer graph lie apart, layer by layer, measured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qsim.errors import ToolMissingError, UsageError
from qsim.importers.keras.read.revive import live_tfmot
from qsim.ir import Graph, Tensor
from qsim.numerics import Array
from qsim.version import install


@dataclass(frozen=True, kw_only=True)
class Apart:
    """Codes of one layer's output that differ, and the greatest difference in codes: ``alone`` where the Keras layers
    get the integer layer's own inputs, ``carried`` where all of Keras runs from the model's input. of: codes compared.
    """

    samples: int
    of: int
    alone: tuple[int, int]
    carried: tuple[int, int]

    def __str__(self) -> str:
        def said(counts: tuple[int, int]) -> str:
            differing, most = counts
            if not differing:
                return f"0 of {self.of:,} codes differ"
            share = 100 * differing / self.of
            return f"{differing:,} of {self.of:,} codes ({share:.2g} %) differ, by at most {most}"

        return (
            f"Measured on {self.samples} samples: {said(self.alone)} where the Keras layer gets exactly this layer's "
            f"inputs; {said(self.carried)} where Keras computes the whole network from the same model input."
        )


def measure(graph: Graph, trace: Mapping[str, Array], layers: Sequence[str], model: Any) -> dict[str, Apart]:
    """Graph layer -> how far it lies from the Keras layer of its name, for those of ``layers`` that have one.

    trace: codes of every tensor (N, *shape). model: the live tf_keras model. Keras runs in float32.
    """
    import tf_keras

    live = {layer.name: layer for layer in model.layers}
    inputs = [graph[entry.tensor] for entry in graph.inputs]
    wanted = [name for name in layers if name in live and name in graph.tensors]
    if not wanted:
        return {}
    whole = tf_keras.Model(model.inputs, [live[name].output for name in wanted])
    outputs = _run(whole, [tensor.quantization.real(trace[tensor.name]) for tensor in inputs])
    found = {}
    for name, carried in zip(wanted, outputs, strict=True):
        sources = _sources(graph, name, live)
        if any(source is None for source in sources):
            continue
        names = [source for source in sources if source is not None]
        part = tf_keras.Model([live[source].output for source in names], live[name].output)
        alone = _run(part, [graph[source].quantization.real(trace[source]) for source in names])[0]
        found[name] = Apart(
            samples=len(trace[name]),
            of=trace[name].size,
            alone=_compare(graph[name], trace[name], alone),
            carried=_compare(graph[name], trace[name], carried),
        )
    return found


def _run(model: Any, reals: Sequence[Array]) -> list[Array]:
    arrays = [np.asarray(a, dtype=np.float32) for a in reals]
    outputs = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    return [np.asarray(y) for y in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def _compare(tensor: Tensor, codes: Array, reals: Array) -> tuple[int, int]:
    """Differing codes and the greatest difference; reals are brought to the nearest code."""
    scale = float(tensor.quantization.scale[0])
    nearest = np.rint(reals.astype(np.float64) / scale) + tensor.quantization.zero_point
    other = np.clip(nearest, tensor.format.low, tensor.format.high).astype(np.int64).reshape(codes.shape)
    apart = np.abs(other - codes)
    return int(np.count_nonzero(apart)), int(apart.max(initial=0))


def _sources(graph: Graph, name: str, live: Mapping[str, Any]) -> list[str | None]:
    """The nearest tensors before ``name`` that are outputs of Keras layers; None for one that has no such name."""
    found: dict[str | None, None] = {}
    queue = list(graph.producers[name].inputs) if name in graph.producers else []
    while queue:
        tensor = queue.pop(0)
        if tensor in live:
            found[tensor] = None
        elif tensor in graph.producers:
            queue += graph.producers[tensor].inputs
        elif graph[tensor].shape:
            found[None] = None
    return list(found)


def live_source(source: Any, weights: Any = None) -> Any:
    """The live tf_keras model of a source, or a sentence that says how to have the differences measured."""
    if hasattr(source, "layers"):
        return source
    try:
        return live_tfmot(os.fspath(source), weights)
    except ToolMissingError:
        return f"To have it measured here: {install('tfmot')}."
    except UsageError as error:
        return f"It could not be measured: {error}"


__all__ = ["Apart", "live_source", "measure"]
