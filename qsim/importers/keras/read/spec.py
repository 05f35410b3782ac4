"""A model's architecture as its config states it: layers, their calls, inputs and outputs, nested models as such.

``parse_model`` reads the configs of Sequential and Functional models of Keras 2 and 3 into a ModelSpec. Flattening
(``graph``) and weights (``weights``) start from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.keras.read.calls import Call, Ref, call_of, holds_tensor, refs_of
from qsim.importers.keras.read.config import as_dict, as_list, as_name, normalize, short_name
from qsim.importers.keras.read.operations import LEGACY_OPERATIONS

MODEL_CLASSES = ("Functional", "Model", "Sequential")
_OPS_MODULES = ("keras.ops", "keras.src.ops", "keras.src.backend")
_GRAPH_OPS = (*LEGACY_OPERATIONS, "TensorFlowOpLayer", "Lambda")


@dataclass(frozen=True)
class LayerSpec:
    """One layer as declared. input_shape: of its first call, with batch, where the file states it."""

    name: str
    class_name: str
    config: dict[str, Any]
    calls: tuple[Call, ...]
    nested: ModelSpec | None = None
    input_shape: tuple[int | None, ...] | None = None

    @property
    def trainable(self) -> bool:
        return bool(self.config.get("trainable", True))


@dataclass(frozen=True)
class ModelSpec:
    """A model: layers in the config's order. inputs: InputLayer names in order; for a nested Sequential without one, a
    name that no layer has, which its first layer reads."""

    name: str
    layers: tuple[LayerSpec, ...]
    inputs: tuple[str, ...]
    outputs: tuple[Ref, ...]
    trainable: bool = True
    by_name: dict[str, LayerSpec] = field(default_factory=dict, compare=False)


def parse_model(serialized: Any, where: str) -> ModelSpec:
    """The model of a serialized top-level object {'class_name': ..., 'config': ...}.

    Raises ModelError if it is none or damaged, UnsupportedError if it is a subclassed model.
    """
    top = as_dict(serialized, where)
    class_name = short_name(as_name(top.get("class_name"), f"class_name in {where}"))
    if class_name not in MODEL_CLASSES:
        raise UnsupportedError(
            f"{where} holds a {class_name}, whose structure is Python code and not in the file",
            way_out="build the model as Sequential or Functional and save it again",
        )
    try:
        spec = _model(class_name, top.get("config"), top, where, nested=False)
    except RecursionError as error:
        raise ModelError(f"{where}: models are nested too deeply in one another.") from error
    if not spec.inputs or not spec.outputs:
        raise ModelError(f"{where}: model {spec.name!r} has no {'outputs' if spec.inputs else 'inputs'}.")
    return spec


def _model(class_name: str, config: Any, holder: dict[str, Any], where: str, *, nested: bool) -> ModelSpec:
    if class_name == "Sequential":
        return _sequential(config, holder, where, nested=nested)
    return _functional(as_dict(config, f"config of the model in {where}"), holder, where)


def _finish(name: str, layers: list[LayerSpec], inputs: tuple[str, ...], outputs: tuple[Ref, ...], config: Any,
            where: str) -> ModelSpec:  # fmt: skip
    by_name: dict[str, LayerSpec] = {}
    for layer in layers:
        if layer.name in by_name:
            raise ModelError(f"{where}: model {name!r} has two layers named {layer.name!r}.")
        by_name[layer.name] = layer
    trainable = bool(config.get("trainable", True)) if isinstance(config, dict) else True
    return ModelSpec(name, tuple(layers), inputs, outputs, trainable, by_name)


def _layer(data: Any, calls: tuple[Call, ...], where: str, *, keras3_nodes: bool) -> LayerSpec:
    data = as_dict(data, f"a layer in {where}")
    class_name = short_name(as_name(data.get("class_name"), f"class_name of a layer in {where}"))
    raw = data.get("config")
    if class_name == "Sequential" and isinstance(raw, list):  # Keras 2.2 and before: the bare list of layers
        raw = {"layers": raw, "name": data.get("name", "sequential")}
    raw = as_dict(raw, f"config of a {class_name} in {where}")
    name = as_name(data.get("name", raw.get("name")), f"name of a {class_name} in {where}")
    if _is_model(class_name, raw):
        nested = _model(class_name, raw, data, f"{where}, model {name!r}", nested=True)
        return LayerSpec(name, class_name, {"name": name, "trainable": nested.trainable}, calls, nested)
    config = as_dict(normalize(raw), f"config of layer {name!r}")
    if class_name == "InputLayer":
        config = _input_config(name, config, where)
    elif _is_op(data, config, keras3_nodes):
        class_name = f"ops.{class_name}"  # keras.ops.add(x, 2) is no Add layer: their arguments differ
    config["name"] = name
    return LayerSpec(name, class_name, config, calls, None, _build_shape(data))


def _is_model(class_name: str, raw: dict[str, Any]) -> bool:
    return class_name in MODEL_CLASSES and "layers" in raw


def _is_op(data: dict[str, Any], config: dict[str, Any], keras3_nodes: bool) -> bool:
    module = data.get("module")
    if isinstance(module, str):
        return module.startswith(_OPS_MODULES)
    # Keras 3's HDF5 files leave the module out; every layer's config has 'trainable', no operation's has.
    return keras3_nodes and "trainable" not in config


def _build_shape(data: dict[str, Any]) -> tuple[int | None, ...] | None:
    build = normalize(data.get("build_config"))
    shape = build.get("input_shape") if isinstance(build, dict) else None
    return _shape(shape)


def _shape(value: Any) -> tuple[int | None, ...] | None:
    if not isinstance(value, list) or not value:
        return None
    if not all(n is None or (isinstance(n, int) and not isinstance(n, bool) and n > 0) for n in value):
        return None
    return tuple(value)


def _input_config(name: str, config: dict[str, Any], where: str) -> dict[str, Any]:
    given = config.get("batch_shape", config.get("batch_input_shape"))
    shape = _shape(given)
    if shape is None:
        raise ModelError(f"{where}: input {name!r} has no valid shape, but {given!r}.")
    for key in ("sparse", "ragged"):
        if config.get(key):
            raise UnsupportedError(f"the input is {key}", layer=name, way_out="feed dense tensors")
    dtype = config.get("dtype")
    return {"name": name, "batch_shape": list(shape), "shape": list(shape[1:]), "dtype": dtype or "float32"}


# Sequential ---------------------------------------------------------------------------------------------------------


def _sequential(config: Any, holder: dict[str, Any], where: str, *, nested: bool) -> ModelSpec:
    if isinstance(config, list):
        config = {"layers": config, "name": holder.get("name", "sequential")}
    config = as_dict(config, f"config of the model in {where}")
    name = as_name(config.get("name", "sequential"), f"name of the model in {where}")
    data = as_list(config.get("layers"), f"'layers' of model {name!r} in {where}")
    layers: list[LayerSpec] = []
    previous: Ref | None = None
    inputs: tuple[str, ...] = ()
    for i, entry in enumerate(data):
        calls = (Call((previous,)),) if previous else (Call(()),)
        layer = _layer(entry, calls, where, keras3_nodes=False)
        if layer.class_name == "InputLayer":
            if i:
                raise ModelError(f"{where}: input {layer.name!r} stands inside Sequential {name!r}, not at its start.")
            inputs = (layer.name,)
        elif not inputs:
            shape = _first_shape(entry, layer, config)
            if shape is None and not nested:
                raise ModelError(
                    f"{where}: Sequential {name!r} has no input shape: it was saved before it was built. Add a "
                    "keras.Input(shape) as its first layer, or call it once, and save it again."
                )
            inputs = (f"{layer.name}_input",)
            if shape is not None:
                made = _input_config(inputs[0], {"batch_shape": list(shape)}, where)
                layers.append(LayerSpec(inputs[0], "InputLayer", made, (Call(()),)))
            calls = (Call((Ref(inputs[0], 0, 0),)),)
            layer = LayerSpec(layer.name, layer.class_name, layer.config, calls, layer.nested, layer.input_shape)
        layers.append(layer)
        outputs = len(layer.nested.outputs) if layer.nested else 1
        if outputs != 1:
            raise ModelError(f"{where}: Sequential {name!r} holds {layer.name!r}, which has {outputs} outputs.")
        previous = Ref(layer.name, 0, 0)
    if previous is None:
        raise ModelError(f"{where}: Sequential {name!r} has no layers.")
    return _finish(name, layers, inputs, (previous,), config, where)


def _first_shape(entry: Any, layer: LayerSpec, config: dict[str, Any]) -> tuple[int | None, ...] | None:
    if layer.nested and len(layer.nested.inputs) == 1:
        first = layer.nested.by_name.get(layer.nested.inputs[0])
        if first is not None:
            return tuple(first.config["batch_shape"])
    own = layer.config.get("batch_input_shape", layer.config.get("batch_shape"))
    stated = normalize(config.get("build_input_shape"))
    return _shape(own) or layer.input_shape or _shape(stated) or _build_shape(as_dict(entry, "a layer"))


# Functional ---------------------------------------------------------------------------------------------------------


def _functional(config: dict[str, Any], holder: dict[str, Any], where: str) -> ModelSpec:
    name = as_name(config.get("name", holder.get("name", "model")), f"name of the model in {where}")
    data = as_list(config.get("layers"), f"'layers' of model {name!r} in {where}")
    raw_nodes = [as_list(as_dict(d, f"a layer in {where}").get("inbound_nodes", []), "'inbound_nodes'") for d in data]
    keras3 = any(isinstance(node, dict) and "args" in node for nodes in raw_nodes for node in nodes)
    first_call = {str(d.get("name")): _builtin_calls(d) for d in data}
    layers = []
    for d, nodes in zip(data, raw_nodes, strict=True):
        calls = tuple(call_of(node, d, first_call, where) for node in nodes) or (Call(()),)
        layers.append(_layer(d, calls, where, keras3_nodes=keras3))
    for layer in layers:
        for call in layer.calls:
            _check_call(layer, call)
    # Output references count a nested Functional model's own node in both Keras versions; a nested Sequential's only
    # in Keras 2 (keras.src.models.functional.functional_from_config, tf_keras' _should_skip_first_node).
    offsets = {layer.name: first_call[layer.name] for layer in layers if layer.name in first_call}
    if keras3:
        for layer in layers:
            offsets[layer.name] = int(layer.nested is not None and layer.class_name != "Sequential")
    inputs = tuple(r.layer for r in refs_of(config.get("input_layers"), {}, f"'input_layers' of model {name!r}"))
    outputs = tuple(refs_of(config.get("output_layers"), offsets, f"'output_layers' of model {name!r}"))
    spec = _finish(name, layers, inputs, outputs, config, where)
    _check_refs(spec, where)
    return spec


def _builtin_calls(data: dict[str, Any]) -> int:
    """How many calls of its own a Keras 2 model counts before those of the model that holds it."""
    config = data.get("config")
    class_name = short_name(str(data.get("class_name")))
    if class_name not in MODEL_CLASSES or not isinstance(config, (dict, list)):
        return 0
    inner = config if isinstance(config, list) else config.get("layers")
    if class_name != "Sequential":
        return 1
    first = inner[0] if isinstance(inner, list) and inner else None
    return int(isinstance(first, dict) and short_name(str(first.get("class_name"))) == "InputLayer")


def _check_call(layer: LayerSpec, call: Call) -> None:
    """Refuse literal arguments of a layer's call: they change what the layer computes and lowering would not see it."""
    if call.arguments is None or layer.class_name.startswith("ops.") or layer.class_name in _GRAPH_OPS:
        return
    literal = [k for k, v in call.arguments["kwargs"].items() if not holds_tensor(v)]
    literal += [f"argument {i}" for i, v in enumerate(call.arguments["args"]) if v is not None and not holds_tensor(v)]
    if literal:
        raise UnsupportedError(
            f"it is called with {', '.join(literal)} beside its tensors, which inference from a file cannot reproduce",
            layer=layer.name,
            way_out="call it with tensors alone (training=False is fine) and save the model again",
        )


def _check_refs(spec: ModelSpec, where: str) -> None:
    def check(ref: Ref, user: str) -> None:
        layer = spec.by_name.get(ref.layer)
        if layer is None:
            raise ModelError(f"{where}: {user} reads layer {ref.layer!r}, which model {spec.name!r} does not have.")
        if ref.call >= len(layer.calls):
            raise ModelError(
                f"{where}: {user} reads call {ref.call} of layer {ref.layer!r}, which is called "
                f"{len(layer.calls)} times."
            )
        outputs = len(layer.nested.outputs) if layer.nested else 1 if layer.class_name == "InputLayer" else None
        if outputs is not None and ref.index >= outputs:
            raise ModelError(f"{where}: {user} reads output {ref.index} of {ref.layer!r}, which has {outputs}.")

    for layer in spec.layers:
        for call in layer.calls:
            for ref in call.refs:
                check(ref, f"layer {layer.name!r}")
    for ref in spec.outputs:
        check(ref, f"an output of model {spec.name!r}")
    for name in spec.inputs:
        if name not in spec.by_name or spec.by_name[name].class_name != "InputLayer":
            raise ModelError(f"{where}: input {name!r} of model {spec.name!r} is no InputLayer of it.")
    if len(set(spec.inputs)) != len(spec.inputs):
        raise ModelError(f"{where}: model {spec.name!r} names an input twice.")
