"""Wrapped layers that pool, join or move codes: what the converter makes of each. Rules as in ``layers``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qsim.importers.keras.model import LayerNode
from qsim.importers.tfmot.conversion import WRAPPER, Conversion, Rule, activation_of
from qsim.importers.tfmot.values import Open, Value

SAME_PADDING = {"same": 0, "valid": 1}
_THROUGH = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "ActivityRegularization")
_RESHAPING = ("Flatten", "Reshape")


def is_through(node: LayerNode) -> bool:
    """Whether a wrapped layer hands its input on: nothing at inference."""
    if node.class_name != WRAPPER or "output_min" in node.weights:
        return False
    name = node.config["layer"]["class_name"]
    return name in _THROUGH or (name == "Activation" and activation_of(node) == "linear")


def windows(config: Mapping[str, Any], size: tuple[int, ...], kernel: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns that a window gives; 'same' or 'valid' padding."""
    out = []
    for n, k, s in zip(size, kernel, pair(config["strides"]), strict=False):
        out.append(-(-n // s) if config["padding"] == "same" else (n - k) // s + 1)
    return out[0], out[1]


def pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _through(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    return conv.source(node)


# Pools --------------------------------------------------------------------------------------------------------------


def _pool(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    tensor, shape = conv.codes(node)
    average = node.config["layer"]["class_name"] == "AveragePooling2D"
    pool, strides = pair(config["pool_size"]), pair(config.get("strides") or config["pool_size"])
    out = (*windows({**config, "strides": strides}, shape, pool), shape[2])
    if average and "output_min" in node.weights and tensor not in conv.trained:
        # No trained range right before the average: its own is carried back to its input.
        tensor = conv.retarget(node, node.inputs[0][0], *conv.quantization(node, "output"))
    target = conv.like(f"{node.name}.average" if average else node.name, out, tensor)
    options = _pool_options(config, pool, strides)
    return Value(out, conv.operator("AVERAGE_POOL_2D" if average else "MAX_POOL_2D", (tensor,), target, **options))


def _pool_options(
    config: Mapping[str, Any], pool: tuple[int, int], strides: tuple[int, int]
) -> dict[str, int | float | bool]:
    return {
        "Padding": SAME_PADDING[config["padding"]],
        "StrideH": strides[0],
        "StrideW": strides[1],
        "FilterHeight": pool[0],
        "FilterWidth": pool[1],
        "FusedActivationFunction": 0,
    }


def _average_1d(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    """A column of width 1; in the output's own range, which the input gets too."""
    tensor, shape = conv.codes(node)
    if "output_min" not in node.weights:
        raise conv.refuse(node, "feeds a Concatenate, so tfmot trains no range for it", "concatenate something else")
    pool, strides = pair(config["pool_size"])[0], pair(config.get("strides") or config["pool_size"])[0]
    length = windows({**config, "strides": (strides, strides)}, (shape[0], 1), (pool, 1))[0]
    scale, zero = conv.quantization(node, "output")
    axis = conv.constant(f"{node.name}.axis", 2)
    if tensor not in conv.trained:
        tensor = conv.requantize(tensor, scale, zero, f"{node.name}.range")
    column = conv.like(f"{node.name}.column", (shape[0], 1, shape[1]), tensor)
    conv.operator("EXPAND_DIMS", (tensor, axis), column)
    column = conv.requantize(column, scale, zero, f"{node.name}.range")
    target = conv.like(f"{node.name}.average", (length, 1, shape[1]), column)
    conv.operator("AVERAGE_POOL_2D", (column,), target, **_pool_options(config, (pool, 1), (strides, 1)))
    out = (length, shape[1])
    return Value(out, conv.operator("RESHAPE", (target,), conv.like(node.name, out, target)))


def _global(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    tensor, shape = conv.codes(node)
    keep = bool(config.get("keepdims", False))
    out = (*(1 for _ in shape[:-1]), shape[-1]) if keep else shape[-1:]
    one = len(shape) == 2  # the converter writes a scalar axis for a 1-D layer
    axes = conv.constant(f"{node.name}.axes", 1 if one else [1, 2])
    if "Average" in node.config["layer"]["class_name"]:
        return Value(out, open=Open("MEAN", (tensor, axes), out, {"KeepDims": keep}))
    return Value(out, conv.operator("REDUCE_MAX", (tensor, axes), conv.like(node.name, out, tensor), KeepDims=keep))


# Joins --------------------------------------------------------------------------------------------------------------


def _concatenate(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    """All inputs in one range: the trained one behind it, or where none is, the one that holds all the inputs'.

    Where a Flatten, Reshape or Permute is all that reads it, the converter moves the trained range behind that layer,
    and inputs that have ranges are joined as if there were none.
    """
    sources = [name for name, _ in node.inputs]
    values = [conv.values[name] for name in sources]
    rank = len(values[0].shape) + 1
    axis = int(config.get("axis", -1)) % rank
    if not axis or any(len(v.shape) != rank - 1 for v in values):
        raise conv.refuse(node, f"joins {[v.shape for v in values]} along axis {axis}, which is not supported")
    shape = list(values[0].shape)
    shape[axis - 1] = sum(v.shape[axis - 1] for v in values)
    out = tuple(shape)
    options: dict[str, int | float | bool] = {"Axis": axis, "FusedActivationFunction": 0}
    opened = Open("CONCATENATION", (), out, options, parts=tuple(sources))
    if "output_min" in node.weights and not _goes_behind(conv, node):
        return Value(out, open=opened)
    direct = [v.tensor in conv.trained for v in values]
    if all(direct):
        return Value(out, conv.emit(node, opened, node.name, *conv.joined(sources)))
    if not any(direct) and ("output_min" in node.weights or all(v.open is not None for v in values)):
        return Value(out, open=opened)
    raise conv.refuse(
        node,
        "joins layers with trained ranges of their own and layers without, and its own range stands "
        + ("behind the layer that reshapes its result" if "output_min" in node.weights else "behind another one"),
        "load the converter's .tflite file, or put a convolution behind it",
    )


def _goes_behind(conv: Conversion, node: LayerNode) -> bool:
    """Whether all that reads the layer is one that only moves codes: the converter moves the trained range there."""
    readers = conv.readers[node.name]
    classes = {n.name: n.config["layer"]["class_name"] for n in conv.model.nodes if n.class_name == WRAPPER}
    return len(readers) == 1 and classes.get(readers[0]) in (*_RESHAPING, "Permute")


def _up_sampling(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    """Both ends in the output's trained range."""
    if config.get("interpolation", "nearest") != "nearest":
        raise conv.refuse(
            node, f"with interpolation {config['interpolation']!r} is not supported", "use interpolation='nearest'"
        )
    tensor, shape = conv.codes(node)
    own, source = "output_min" in node.weights, node.inputs[0][0]
    if own and tensor not in conv.trained and _goes_behind(conv, node):
        raise conv.refuse(
            node,
            f"reads {source!r}, which has no trained range of its own, and its result is reshaped",
            "load the converter's .tflite file, or put a convolution behind it",
        )
    if own and not _goes_behind(conv, node):
        if tensor in conv.requantized.values():
            raise conv.refuse(
                node,
                f"reads {source!r}, a pool with a range behind it, on which the converter fails",
                "put a convolution between them",
            )
        tensor = conv.retarget(node, source, *conv.quantization(node, "output"))
    rows, columns = pair(config["size"])
    out = (shape[0] * rows, shape[1] * columns, shape[2])
    size = conv.constant(f"{node.name}.size", out[:2])
    target = conv.like(node.name, out, tensor)
    return Value(
        out,
        conv.operator("RESIZE_NEAREST_NEIGHBOR", (tensor, size), target, AlignCorners=False, HalfPixelCenters=True),
    )


# Moves --------------------------------------------------------------------------------------------------------------


def _reshaped(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    tensor, shape = conv.codes(node)
    size = int(np.prod(shape))
    target = tuple(config["target_shape"]) if "target_shape" in config else (size,)
    if -1 in target:
        known = int(np.prod([n for n in target if n != -1]))
        target = tuple(size // known if n == -1 else n for n in target)
    if conv.producer(tensor) == "RESHAPE":  # the converter makes one of two
        tensor = conv.operators[tensor].inputs[0]
    return Value(target, conv.operator("RESHAPE", (tensor,), conv.like(node.name, target, tensor)))


def _permute(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    tensor, shape = conv.codes(node)
    dims = [int(d) for d in config["dims"]]
    out = tuple(shape[d - 1] for d in dims)
    table = conv.constant(f"{node.name}.permutation", [0, *dims])
    return Value(out, conv.operator("TRANSPOSE", (tensor, table), conv.like(node.name, out, tensor)))


def _edges(value: Any) -> list[tuple[int, int]]:
    """[(before, after)] per axis out of a ZeroPadding's or Cropping's config."""
    if isinstance(value, int):
        return [(value, value)]
    if all(isinstance(v, int) for v in value):
        return [(int(value[0]), int(value[1]))]
    return [(int(a), int(b)) for a, b in value]


def _zero_padding(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    tensor, shape = conv.codes(node)
    pads = _edges(config["padding"])
    out = (*(n + a + b for n, (a, b) in zip(shape, pads, strict=False)), shape[-1])
    table = conv.constant(f"{node.name}.paddings", [(0, 0), *pads, (0, 0)])
    return Value(out, conv.operator("PAD", (tensor, table), conv.like(node.name, out, tensor)))


def _cropping(conv: Conversion, node: LayerNode, config: Mapping[str, Any]) -> Value:
    tensor, shape = conv.codes(node)
    edges = _edges(config["cropping"])
    out = (*(n - a - b for n, (a, b) in zip(shape, edges, strict=False)), shape[-1])
    begin = conv.constant(f"{node.name}.begin", [0, *(a for a, _ in edges), 0])
    end = conv.constant(f"{node.name}.end", [1, *(a + n for (a, _), n in zip(edges, out, strict=False)), shape[-1]])
    strides = conv.constant(f"{node.name}.strides", [1] * (len(shape) + 1))
    masks = ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask")
    options: dict[str, int | float | bool] = {**dict.fromkeys(masks, 0), "Offset": False}
    target = conv.like(node.name, out, tensor)
    return Value(out, conv.operator("STRIDED_SLICE", (tensor, begin, end, strides), target, **options))


RULES: dict[str, Rule] = {
    "MaxPooling2D": _pool,
    "AveragePooling2D": _pool,
    "AveragePooling1D": _average_1d,
    **dict.fromkeys(("GlobalAveragePooling1D", "GlobalAveragePooling2D"), _global),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalMaxPooling2D"), _global),
    "Concatenate": _concatenate,
    "UpSampling2D": _up_sampling,
    "ZeroPadding1D": _zero_padding,
    "ZeroPadding2D": _zero_padding,
    "Cropping1D": _cropping,
    "Cropping2D": _cropping,
    "Permute": _permute,
    **dict.fromkeys(_RESHAPING, _reshaped),
    **dict.fromkeys(_THROUGH, _through),
}
