"""What a Keras model is once read, whatever wrote it: a list of layer calls with plain configs and named weights.

Every reader (Keras 3 archives, Keras 2 and 3 HDF5 files, architecture JSON with separate weights, models in memory)
produces this one structure, and lowering knows nothing else. Nothing here interprets a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class LayerNode:
    """One call of one layer.

    name: unique among the nodes. A layer of a nested model is 'outer/inner'; the second call of a shared layer gets
        the suffix '_1', the third '_2'.
    layer: the layer's name as in the file (with the nested models' names before it); its weights belong to it.
    class_name: 'QDense', 'Conv2D', ... without module or package prefix. An operation of keras.ops (``x + 2`` on a
        symbolic tensor) is 'ops.Add', ...: it is no layer of that name.
    config: plain Python: nested dicts and lists of str, number, bool and None. Serialized objects are
        {'class_name': str, 'config': dict}; Keras 3's wrappers are undone ('module' and 'registered_name' dropped,
        '__numpy__' and '__tensor__' become nested lists, '__tuple__' becomes a list). An InputLayer's config has
        'batch_shape' (with the batch), 'shape' (without it) and 'dtype'. A node whose call had more than its tensors
        (tensors by keyword; for 'ops.' nodes also constants) has it under 'call': {'args': [...], 'kwargs': {...}},
        each tensor as {'tensor': its position in ``inputs``}.
    inputs: (node name, output index) in call order.
    weights: variable name -> array: 'kernel', 'bias', 'depthwise_kernel', 'gamma', 'moving_mean', ...; those of a
        wrapped layer stand behind its role: 'forward/kernel', 'backward/recurrent_kernel', 'layer/kernel'; those of a
        recurrent layer's cell ('kernel', 'recurrent_kernel', 'bias') and of the normalization inside QConv2DBatchnorm
        and its relatives ('gamma', ..., beside 'iteration') do not. In every source the same names in the same order,
        arrays read-only, every number finite. Empty for classes that qsim does not know.
    """

    name: str
    layer: str
    class_name: str
    config: Mapping[str, Any]
    inputs: tuple[tuple[str, int], ...]
    weights: Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class KerasModel:
    """A model as a flat list of layer calls.

    nodes: topological order, InputLayer nodes included; nested models are flattened.
    inputs: names of the InputLayer nodes, in the model's order. outputs: (node name, output index).
    source: 'keras3 archive', 'keras2 json+hdf5', 'keras2 hdf5', 'keras3 hdf5', 'keras3 json+hdf5' or 'memory'.
    """

    name: str
    nodes: tuple[LayerNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, int], ...]
    source: str
