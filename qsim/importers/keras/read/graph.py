"""From a model's architecture and weights to the flat list of layer calls: nested models inlined, calls sorted."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from qsim.errors import ModelError
from qsim.importers.keras.model import KerasModel, LayerNode
from qsim.importers.keras.read.calls import Call, Ref
from qsim.importers.keras.read.hdf5 import Array
from qsim.importers.keras.read.operations import LEGACY_OPERATIONS, as_operation
from qsim.importers.keras.read.spec import LayerSpec, ModelSpec

NODE_LIMIT = 100_000
"""Calls after flattening; nested models that call each other many times grow exponentially in a few lines."""

_Source = tuple[str, int]
_Key = tuple[str, int]


def flatten(spec: ModelSpec, weights: Mapping[str, Mapping[str, Array]], source: str, where: str) -> KerasModel:
    """The model as layer calls in topological order (ties in the config's order). ModelError for cycles."""
    flattener = _Flattener(weights, where)
    outputs = flattener.inline(spec, "", "", None)
    return KerasModel(
        name=spec.name, nodes=tuple(flattener.nodes), inputs=tuple(spec.inputs), outputs=outputs, source=source
    )


class _Flattener:
    def __init__(self, weights: Mapping[str, Mapping[str, Array]], where: str) -> None:
        self.weights, self.where = weights, where
        self.nodes: list[LayerNode] = []
        self.used: set[str] = set()  # membership only, never iterated
        self.calls = 0

    def inline(self, spec: ModelSpec, prefix: str, owner: str, given: Sequence[_Source] | None) -> tuple[_Source, ...]:
        """Append the calls of one call of ``spec``; returns the sources of its outputs.

        prefix: before node names; owner: before layer names; given: the tensors for a nested model's inputs.
        """
        if given is not None and len(given) != len(spec.inputs):
            raise ModelError(
                f"{self.where}: model {owner[:-1]!r} has {len(spec.inputs)} inputs but is called with {len(given)}."
            )
        # A call's outputs: all of them for a nested model; for a layer its node, whose outputs are numbered freely.
        made: dict[_Key, tuple[_Source, ...] | str] = {}
        self._reserve(spec, prefix)
        if given is not None:
            made.update({(name, 0): (tensor,) for name, tensor in zip(spec.inputs, given, strict=True)})
        for layer, number in self._sorted(spec, dict.fromkeys(made)):
            call = layer.calls[number]
            inputs = tuple(_output(made, ref) for ref in call.refs)
            name = self._unique(prefix + layer.name, number)
            if layer.nested:
                bound = _by_input(layer.nested, call, inputs)
                made[layer.name, number] = self.inline(layer.nested, f"{name}/", f"{owner}{layer.name}/", bound)
            else:
                self._append(layer, call, name, owner + layer.name, inputs)
                made[layer.name, number] = name
        return tuple(_output(made, ref) for ref in spec.outputs)

    def _append(self, layer: LayerSpec, call: Call, name: str, path: str, inputs: tuple[_Source, ...]) -> None:
        if not inputs and layer.class_name != "InputLayer":
            raise ModelError(f"{self.where}: layer {path!r} is called on nothing.")
        class_name = layer.class_name
        config: Mapping[str, Any] = dict(layer.config)
        if call.arguments is not None:
            config = {**config, "call": call.arguments}
        if class_name in LEGACY_OPERATIONS:
            class_name, config = as_operation(class_name, config)
        self.nodes.append(
            LayerNode(
                name=name,
                layer=path,
                class_name=class_name,
                config=config,
                inputs=inputs,
                weights=self.weights.get(path, {}),
            )
        )

    def _reserve(self, spec: ModelSpec, prefix: str) -> None:
        """Keep every layer's own name for its first call."""
        for layer in spec.layers:
            if prefix + layer.name in self.used:
                raise ModelError(f"{self.where}: two layers are named {prefix + layer.name!r} once flattened.")
            self.used.add(prefix + layer.name)

    def _unique(self, name: str, number: int) -> str:
        """The node name of call ``number``: the layer's name, from the second call on with '_1', '_2', ...; counted
        on where another layer has that name."""
        self.calls += 1
        if self.calls > NODE_LIMIT:
            raise ModelError(f"{self.where}: the model has more than {NODE_LIMIT} layer calls once flattened.")
        if number == 0:
            return name
        found = f"{name}_{number}"
        while found in self.used:
            number += 1
            found = f"{name}_{number}"
        self.used.add(found)
        return found

    def _sorted(self, spec: ModelSpec, known: Mapping[_Key, object]) -> list[tuple[LayerSpec, int]]:
        """The model's calls but those ``known``, each behind the calls it reads, else in the config's order."""
        position = {layer.name: i for i, layer in enumerate(spec.layers)}
        waiting: dict[_Key, int] = {}
        readers: dict[_Key, list[_Key]] = {}
        ready: list[tuple[int, int]] = []
        for layer in spec.layers:
            for number, call in enumerate(layer.calls):
                key = (layer.name, number)
                if key in known:
                    continue
                sources = dict.fromkeys((r.layer, r.call) for r in call.refs if (r.layer, r.call) not in known)
                waiting[key] = len(sources)
                for source in sources:
                    readers.setdefault(source, []).append(key)
                if not sources:
                    ready.append((position[layer.name], number))
        heapq.heapify(ready)
        order: list[tuple[LayerSpec, int]] = []
        while ready:
            i, number = heapq.heappop(ready)
            layer = spec.layers[i]
            order.append((layer, number))
            for reader in readers.get((layer.name, number), ()):
                waiting[reader] -= 1
                if not waiting[reader]:
                    heapq.heappush(ready, (position[reader[0]], reader[1]))
        if len(order) < len(waiting):
            stuck = list(dict.fromkeys(name for (name, _), n in waiting.items() if n))
            shown = ", ".join(stuck[:6]) + (", ..." if len(stuck) > 6 else "")
            raise ModelError(f"{self.where}: model {spec.name!r} has a cycle: {shown} wait for one another's outputs.")
        return order


def _output(made: Mapping[_Key, tuple[_Source, ...] | str], ref: Ref) -> _Source:
    source = made[ref.layer, ref.call]
    return (source, ref.index) if isinstance(source, str) else source[ref.index]


def _by_input(nested: ModelSpec, call: Call, inputs: tuple[_Source, ...]) -> tuple[_Source, ...]:
    """A nested model's tensors in the order of its inputs: by name where it was called with a dict of them."""
    if call.keys is not None and sorted(call.keys) == sorted(nested.inputs) and len(inputs) == len(call.keys):
        named = dict(zip(call.keys, inputs, strict=True))
        return tuple(named[name] for name in nested.inputs)
    return inputs
