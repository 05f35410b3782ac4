"""A model's weights by layer and canonical name, from each of Keras' layouts.

tree: Keras 3 (and .keras files of tf_keras): groups by attribute, ``layers/<class in snake case>[_k]/.../vars/<i>``,
    from keras.src.saving.saving_lib.
flat: Keras 1 and 2 HDF5, and Keras 3's ``.h5``: a group per layer with the attribute 'weight_names', from
    keras.src.legacy.saving.legacy_h5_format. Models in memory give the same lists (names and arrays).
All return {layer path: {canonical name: array}}; layers whose class is unknown have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qsim.errors import ModelError
from qsim.importers.keras.read.hdf5 import Array, Dataset, Group
from qsim.importers.keras.read.prune import PRUNER
from qsim.importers.keras.read.spec import LayerSpec, ModelSpec
from qsim.importers.keras.read.store import Shape, Store, Variable
from qsim.importers.keras.read.variables import layout

Weights = dict[str, dict[str, Array]]


@dataclass(frozen=True)
class Value:
    """An array that is there but need not have been read: its path as stored, its shape, where it comes from."""

    path: str
    shape: tuple[int, ...]
    source: Dataset | Array

    def read(self) -> Array:
        return self.source.read() if isinstance(self.source, Dataset) else self.source

    @property
    def base(self) -> str:
        """'kernel' from 'outer/dense/kernel:0'."""
        return self.path.rsplit("/", 1)[-1].split(":", 1)[0]


def store_of(layer: LayerSpec, path: str) -> Store | None:
    """The variables of a layer (not of a nested model)."""
    return layout(layer.class_name, layer.config, layer.input_shape, path)


def _in_order(store: Store, named: Iterable[tuple[str, Array]]) -> dict[str, Array]:
    """The arrays by name, in one order whatever the file's."""
    arrays = dict(named)
    return {name: arrays[name] for name, _ in store.flat()}


# Keras 3's tree -----------------------------------------------------------------------------------------------------


def read_tree(model: ModelSpec, root: Group, where: str, prefix: str = "") -> Weights:
    """Weights of a tree of groups. ModelError where variables are missing, too many, or of another shape."""
    found: Weights = {}
    layers = root.group("layers") or root.group("_layer_checkpoint_dependencies")
    taken: list[str] = []
    counts: dict[str, int] = {}
    for layer in model.layers:
        if layer.class_name.startswith("ops."):
            continue
        snake = _snake_case(layer.class_name)
        counts[snake] = counts.get(snake, 0) + 1
        name = snake if counts[snake] == 1 else f"{snake}_{counts[snake] - 1}"
        taken.append(name)
        group = layers.group(name) if layers else None
        path = prefix + layer.name
        if layer.nested:
            found.update(_nested_tree(layer.nested, group, where, path))
        elif (store := store_of(layer, path)) is not None:
            read = _TREES.get(layer.class_name, _from_groups)
            found[path] = _in_order(store, read(store, group, path, where, ""))
    if layers is not None:
        spare = [name for name in layers.names() if name not in taken]
        for name in spare:
            group = layers.group(name)
            if group is not None and group.has_arrays():
                raise ModelError(
                    f"{where} holds weights of a layer {name!r} that model {model.name!r} does not have: "
                    "architecture and weights belong to different models."
                )
    return found


def _nested_tree(model: ModelSpec, group: Group | None, where: str, path: str) -> Weights:
    if group is not None:
        return read_tree(model, group, where, path + "/")
    found: Weights = {}
    for layer in model.layers:
        inner = f"{path}/{layer.name}"
        if layer.nested:
            found.update(_nested_tree(layer.nested, None, where, inner))
        elif (store := store_of(layer, inner)) is not None:
            found[inner] = _in_order(store, _from_groups(store, None, inner, where, ""))
    return found


def _from_wrapper(store: Store, group: Group | None, layer: str, where: str, prefix: str) \
        -> Iterator[tuple[str, Array]]:  # fmt: skip
    """A layer wrapped by tfmot, in a tree: its own group has the trainable variables of the layer inside (none where it
    is frozen), once more those that it fake-quantizes, and its own; the inner group has the inner layer's variables but
    the fake-quantized ones, which its call replaced by tensors."""
    arrays, ranged = _numbered(group), [v.name[:-4] for v in store.own if v.name.endswith("_min")]
    inner = store.children[0][2]
    held = _numbered(group.group("layer") if group else None)
    quantized = [v for v in inner.own if v.name in ranged]
    others = [v for v in inner.own if v not in quantized]
    if len(held) == len(inner.own):
        names, values = list(inner.own), held
    else:
        count = len(arrays) - len(store.own)
        first = max(count - len(quantized), 0)
        names, values = [*quantized, *others], [*arrays[first:count], *held]
    wanted = [*(f"layer/{v.name}" for v in inner.own), *(v.name for v in store.own)]
    if len(values) != len(names) or len(arrays) < len(store.own):
        raise _count_error(layer, wanted, len(arrays) + len(held), where)
    yield from _checked([(f"{prefix}layer/{v.name}", v) for v in names], values, layer, where)
    own = arrays[len(arrays) - len(store.own) :]
    yield from _checked([(prefix + v.name, v) for v in store.own], own, layer, where)


def _from_pruner(store: Store, group: Group | None, layer: str, where: str, prefix: str) \
        -> Iterator[tuple[str, Array]]:  # fmt: skip
    """A layer wrapped by tfmot's pruning: its own group may have the masked weights once more, before its own."""
    arrays, masked = _numbered(group), len(store.own) // 2
    if len(arrays) not in (len(store.own), len(store.own) + masked):
        raise _count_error(layer, [v.name for v in store.own], len(arrays), where)
    own = arrays[len(arrays) - len(store.own) :]
    yield from _checked([(prefix + v.name, v) for v in store.own], own, layer, where)
    inner = group.group("layer") if group else None
    yield from _from_groups(store.children[0][2], inner, layer, where, f"{prefix}layer/")


_TREES = {"QuantizeWrapperV2": _from_wrapper, PRUNER: _from_pruner}
"""How the wrappers of tfmot stand in a tree."""


def _numbered(group: Group | None) -> list[Value]:
    """The arrays '0', '1', ... of a group's 'vars'."""
    variables = group.group("vars") if group else None
    names = sorted((n for n in variables.names() if n.isdigit()), key=int) if variables else []
    found = [variables.dataset(name) for name in names] if variables else []
    return [_value(data) for data in found if data is not None]


def _from_groups(store: Store, group: Group | None, layer: str, where: str, prefix: str) -> Iterator[tuple[str, Array]]:
    variables = group.group("vars") if group else None
    # QKeras' batch-norm layers store their step counter a second time under its name.
    names = [n for n in variables.names() if n.isdigit()] if variables else []
    ordered = list(store.own)
    if len(names) == len(ordered) - 1 and variables is not None and "iteration" in variables.names():
        ordered = [v for v in ordered if v.name != "iteration"]
        iteration = variables.dataset("iteration")
        if iteration is not None:
            yield from _checked([(prefix + "iteration", _own(store, "iteration"))], [_value(iteration)], layer, where)
    if sorted(names, key=int) != [str(i) for i in range(len(ordered))]:
        raise _count_error(layer, [prefix + v.name for v in ordered], len(names), where)
    values: list[Value] = []
    for name in sorted(names, key=int):
        data = variables.dataset(name) if variables else None
        if data is None:
            raise _count_error(layer, [prefix + v.name for v in ordered], len(values), where)
        values.append(_value(data))
    yield from _checked([(prefix + v.name, v) for v in ordered], values, layer, where)
    for child, attribute, inner in store.children:
        below = group.group(attribute) if group else None
        if below is None and group is not None:
            # QKeras layers hold a quantizer in two attributes, and Keras saves it under the first that it meets.
            below = group.group(f"{attribute}_internal")
        yield from _from_groups(inner, below, layer, where, prefix + child)


def _own(store: Store, name: str) -> Variable:
    return next(v for v in store.own if v.name == name)


def _value(data: Dataset) -> Value:
    return Value(data.path, data.shape, data)


def _snake_case(name: str) -> str:
    """As keras.src.utils.naming.to_snake_case: the file's group names are defined by it."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


# Flat lists ---------------------------------------------------------------------------------------------------------


def read_flat(model: ModelSpec, root: Group, where: str) -> Weights:
    """Weights of a layer-by-layer HDF5 file (its root or its 'model_weights' group)."""
    names = root.texts("layer_names")
    if names is None:
        raise ModelError(f"{where} does not list its layers: it is no Keras weights file, or a damaged one.")
    stored: dict[str, list[Value]] = {}
    for name in names:
        group = root.descend(name)
        if group is None:
            raise ModelError(f"{where} lists layer {name!r} but holds nothing of it: the file is truncated or corrupt.")
        values: list[Value] = []
        for path in group.texts("weight_names") or ():
            data = group.dataset(path)
            if data is None:
                raise ModelError(f"{where}: layer {name!r} lists {path!r} but holds no such array: it is damaged.")
            values.append(Value(path, data.shape, data))
        stored[name] = values
    return _assign_model(model, stored, where)


def _assign_model(model: ModelSpec, stored: Mapping[str, Sequence[Value]], where: str) -> Weights:
    expected = [layer for layer in model.layers if _has_weights(layer)]
    present = [name for name, values in stored.items() if values]
    known = [name for name in present if name not in model.by_name or _is_known(model.by_name[name])]
    if sorted(known) == sorted(layer.name for layer in expected):
        matched = {layer.name: layer.name for layer in expected}
    elif len(known) == len(expected):  # other names (an architecture saved in another session): Keras goes by order
        matched = {layer.name: name for layer, name in zip(expected, known, strict=True)}
    else:
        raise ModelError(
            f"{where} holds weights of {len(known)} layers ({_list(known)}), but model {model.name!r} has "
            f"{len(expected)} layers with weights ({_list([layer.name for layer in expected])})."
        )
    found: Weights = {}
    for layer in model.layers:
        values = stored[matched[layer.name]] if layer.name in matched else ()
        found.update(assign(layer, values, where))
    return found


def assign(layer: LayerSpec, values: Sequence[Value], where: str, prefix: str = "") -> Weights:
    """The weights of one layer, or of all layers of a nested model, from a list in Keras' order."""
    path = prefix + layer.name
    if not layer.nested:
        store = store_of(layer, path)
        return {} if store is None else {path: _in_order(store, _assign_leaf(store, values, path, where))}
    leaves = list(_leaves(layer.nested, path + "/", layer.trainable))
    by_name = _split_by_name(leaves, values)
    if by_name is None:
        by_name = _split_by_order(leaves, values, path, where)
    found: Weights = {}
    for leaf, own in zip(leaves, by_name, strict=True):
        found[leaf.path] = _in_order(leaf.store, _assign_leaf(leaf.store, own, leaf.path, where))
    return found


@dataclass(frozen=True)
class _Leaf:
    path: str
    name: str
    store: Store
    trainable: bool


def _leaves(model: ModelSpec, prefix: str, trainable: bool) -> Iterator[_Leaf]:
    trainable = trainable and model.trainable
    for layer in model.layers:
        if layer.nested:
            yield from _leaves(layer.nested, f"{prefix}{layer.name}/", trainable and layer.trainable)
        elif (store := store_of(layer, prefix + layer.name)) is not None:
            yield _Leaf(prefix + layer.name, layer.name, store, trainable and layer.trainable)


def _split_by_name(leaves: Sequence[_Leaf], values: Sequence[Value]) -> list[list[Value]] | None:
    """Each leaf's values where the stored paths name the leaves without doubt; else None."""
    split = [[v for v in values if leaf.name in v.path.split("/")[:-1]] for leaf in leaves]
    split = [own if any(True for _ in leaf.store.flat()) else [] for leaf, own in zip(leaves, split, strict=True)]
    fits = all(len(own) == sum(1 for _ in leaf.store.flat()) for leaf, own in zip(leaves, split, strict=True))
    return split if fits and sum(map(len, split)) == len(values) else None


def _split_by_order(leaves: Sequence[_Leaf], values: Sequence[Value], path: str, where: str) -> list[list[Value]]:
    """Keras' own rule: the trainable variables of all layers in order, then all others."""
    slots = [(i, v) for i, leaf in enumerate(leaves) for _, v in leaf.store.flat() if leaf.trainable and v.trainable]
    slots += [
        (i, v) for i, leaf in enumerate(leaves) for _, v in leaf.store.flat() if not (leaf.trainable and v.trainable)
    ]
    if len(slots) != len(values) or not all(v.named(value.base) for (_, v), value in zip(slots, values, strict=True)):
        raise _names_error(path, [f"{leaves[i].name}/{v.name}" for i, v in slots], values, where)
    split: list[list[Value]] = [[] for _ in leaves]
    for (i, _), value in zip(slots, values, strict=True):
        split[i].append(value)
    return split


def _assign_leaf(store: Store, values: Sequence[Value], layer: str, where: str) \
        -> Iterator[tuple[str, Array]]:  # fmt: skip
    slots = sorted(store.flat(), key=lambda slot: not slot[1].trainable)
    if len(slots) != len(values):
        raise _count_error(layer, [name for name, _ in slots], len(values), where)
    by_name = [[value for value in values if v.named(value.base)] for _, v in slots]
    if all(len(own) == 1 for own in by_name) and len({id(own[0]) for own in by_name}) == len(slots):
        return _checked(slots, [own[0] for own in by_name], layer, where)
    # Two variables of one name (Bidirectional's layers, a pruner's masks): in Keras' order, trainable ones first.
    if not all(v.named(value.base) for (_, v), value in zip(slots, values, strict=True)):
        raise _names_error(layer, [name for name, _ in slots], values, where)
    return _checked(slots, values, layer, where)


def _has_weights(layer: LayerSpec) -> bool:
    if layer.nested:
        return any(_has_weights(inner) for inner in layer.nested.layers)
    store = store_of(layer, layer.name)
    return store is not None and any(True for _ in store.flat())


def _is_known(layer: LayerSpec) -> bool:
    if layer.nested:
        return any(_is_known(inner) for inner in layer.nested.layers)
    return store_of(layer, layer.name) is not None


# Checks -------------------------------------------------------------------------------------------------------------


def _checked(slots: Iterable[tuple[str, Variable]], values: Iterable[Value], layer: str, where: str) \
        -> Iterator[tuple[str, Array]]:  # fmt: skip
    """(canonical name, array) in the slots' order, every shape as expected and every number finite."""
    for (name, variable), value in zip(slots, values, strict=True):
        if variable.shape is not None and not _fits(value.shape, variable.shape):
            raise ModelError(
                f"layer {layer!r}: {name} should have shape {_text(variable.shape)}, but {where} holds "
                f"{_text(value.shape)}. Architecture and weights belong to different models, or the file is damaged."
            )
        array = value.read()
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))[0]
            index = ", ".join(str(int(i)) for i in bad)
            raise ModelError(
                f"layer {layer!r}: {name}[{index}] is {array[tuple(bad)]}. Weights that are NaN or infinite have no "
                "integer codes; train the model again or restore an earlier checkpoint."
            )
        yield name, array


def _fits(shape: tuple[int, ...], wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(w is None or n == w for n, w in zip(shape, wanted, strict=True))


def _text(shape: Shape) -> str:
    return "(" + ", ".join("?" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8]) if names else "none"
    return shown + (", ..." if len(names) > 8 else "")


def _count_error(layer: str, wanted: Sequence[str], got: int, where: str) -> ModelError:
    names = f" ({_list(wanted)})" if wanted else ""
    return ModelError(
        f"layer {layer!r} has {len(wanted)} variables{names}, but {where} holds {got} for it. Architecture and weights "
        "belong to different models, or the file is damaged."
    )


def _names_error(layer: str, wanted: Sequence[str], values: Sequence[Value], where: str) -> ModelError:
    return ModelError(
        f"layer {layer!r} has the variables {_list(wanted)}, but {where} holds {_list([v.path for v in values])} for "
        "it. Architecture and weights belong to different models."
    )
