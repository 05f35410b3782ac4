"""TensorFlow's functions on symbolic tensors in Keras 2 files, as the operations that Keras 3 saves for the same.

Keras 2 saves ``x + y`` as a TFOpLambda with the function '__operators__.add' and its arguments by keyword, ``x[:, 1:]``
as a SlicingOpLambda. Here they become 'ops.Add' and 'ops.GetItem' nodes, so that lowering knows one form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

LEGACY_OPERATIONS = ("TFOpLambda", "SlicingOpLambda")

Config = dict[str, Any]
_Arguments = Mapping[str, Any]


def _renamed(**names: str) -> Callable[[_Arguments], Config]:
    """Config key -> TensorFlow's argument."""
    return lambda given: {key: given.get(name) for key, name in names.items() if given.get(name) is not None}


def _split(given: _Arguments) -> Config:
    """TensorFlow takes sizes (one of them perhaps -1) where Keras takes the positions between them."""
    sizes = given.get("num_or_size_splits")
    key = "sizes" if isinstance(sizes, list) else "indices_or_sections"
    return {key: sizes, "axis": given.get("axis") or 0}


def _pad(given: _Arguments) -> Config:
    return {"pad_width": given.get("paddings"), "mode": str(given.get("mode") or "constant").lower()}


_reduced = _renamed(axis="axis", keepdims="keepdims")
_BINARY = {
    "Add": ("__operators__.add", "math.add", "add"),
    "Subtract": ("math.subtract", "subtract"),
    "Multiply": ("math.multiply", "multiply"),
    "TrueDivide": ("math.truediv", "math.divide", "truediv", "divide"),
    "Maximum": ("math.maximum", "maximum"),
    "Minimum": ("math.minimum", "minimum"),
}
_OTHERS: dict[str, tuple[str, Callable[[_Arguments], Config]]] = {
    "math.negative": ("Negative", _renamed()),
    "math.abs": ("Absolute", _renamed()),
    "math.square": ("Square", _renamed()),
    "nn.relu": ("Relu", _renamed()),
    "nn.relu6": ("Relu6", _renamed()),
    "nn.leaky_relu": ("LeakyRelu", lambda given: {"negative_slope": given.get("alpha", 0.2)}),
    "nn.softmax": ("Softmax", _renamed(axis="axis")),
    "math.sigmoid": ("Sigmoid", _renamed()),
    "math.tanh": ("Tanh", _renamed()),
    "clip_by_value": ("Clip", _renamed(x_min="clip_value_min", x_max="clip_value_max")),
    "concat": ("Concatenate", _renamed(axis="axis")),
    "stack": ("Stack", _renamed(axis="axis")),
    "split": ("Split", _split),
    "reshape": ("Reshape", _renamed(newshape="shape")),
    "transpose": ("Transpose", _renamed(axes="perm")),
    "expand_dims": ("ExpandDims", _renamed(axis="axis")),
    "squeeze": ("Squeeze", _renamed(axis="axis")),
    "pad": ("Pad", _pad),
    "repeat": ("Repeat", _renamed(repeats="repeats", axis="axis")),
    "reverse": ("Flip", _renamed(axis="axis")),
    "math.reduce_sum": ("Sum", _reduced),
    "math.reduce_mean": ("Mean", _reduced),
    "math.reduce_max": ("Max", _reduced),
    "math.reduce_min": ("Min", _reduced),
    "__operators__.getitem": ("GetItem", _renamed()),
}


def as_operation(class_name: str, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """(class name, config with its 'call') of Keras 3's operation, or both as they are where there is none."""
    function = str(config.get("function", "")).removeprefix("compat.v1.")
    call = config.get("call") or {"args": [{"tensor": 0}], "kwargs": {}}
    given, first = call["kwargs"], call["args"]
    while isinstance(first, list) and len(first) == 1:
        first = first[0]
    kept = {key: value for key, value in config.items() if key not in ("function", "call")}
    for name, functions in _BINARY.items():
        if function in functions and "y" in given:
            return f"ops.{name}", kept | {"call": {"args": [_constant(first), _constant(given["y"])], "kwargs": {}}}
    if function not in _OTHERS:
        return class_name, config
    name, adapted = _OTHERS[function]
    kept |= adapted(given)
    if name == "Pad":
        kept["call"] = {"args": [first], "kwargs": {"constant_values": given.get("constant_values")}}
    if name == "GetItem":
        kept["call"] = {"args": [first, _key(given.get("slice_spec"))], "kwargs": {}}
    return f"ops.{name}", kept


def _constant(value: Any) -> Any:
    return value["constant"] if isinstance(value, dict) and set(value) == {"constant"} else value


def _key(spec: Any) -> list[Any]:
    """An index in Keras 3's form."""
    items = spec if isinstance(spec, list) else [spec]
    return [
        {"class_name": "__slice__", "config": item} if isinstance(item, dict) and "start" in item else _ellipsis(item)
        for item in items
    ]


def _ellipsis(item: Any) -> Any:
    is_it = isinstance(item, dict) and item.get("class_name") == "__ellipsis__"
    return {"class_name": "__ellipsis__", "config": {}} if is_it else item
