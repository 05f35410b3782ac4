"""One record a Keras layer or operation: its lowering, the keys of its config that this reads, and its traits.

Every key is accounted for: read by the lowering, idle at inference (``IDLE``, with the reason), or allowed at the only
values for which the lowering is right. Anything else is refused by name, so that no argument is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qsim.errors import UnsupportedError
from qsim.importers.keras.lower.context import Context
from qsim.importers.keras.model import LayerNode
from qsim.importers.symbolic.value import Value

Lowering = Callable[[Context, LayerNode, list[Value]], Value | list[Value]]
"""Lowers one layer call: its inputs' values to its output's (or outputs')."""

IDLE: Mapping[str, str] = {
    "name": "a label",
    "trainable": "of training",
    "dtype": "checked for every layer before it is lowered",
    "dynamic": "how Keras 2 runs the layer, not what it computes",
    "seed": "of random numbers in training",
    "noise_shape": "of random numbers in training",
    "rate": "of random numbers in training",
    "stddev": "of random numbers in training",
    "dropout": "of random numbers in training",
    "recurrent_dropout": "of random numbers in training",
    "l1": "of a loss",
    "l2": "of a loss",
    "momentum": "of the moving averages, which are fixed at inference",
    "renorm": "of the moving averages, which are fixed at inference",
    "renorm_clipping": "of the moving averages, which are fixed at inference",
    "renorm_momentum": "of the moving averages, which are fixed at inference",
    "synchronized": "of the moving averages, which are fixed at inference",
    "virtual_batch_size": "of the moving averages, which are fixed at inference",
    "fused": "how Keras 2 runs the layer, not what it computes",
    "ema_freeze_delay": "of training; at inference the moving averages act",
    "ema_decay": "of training; at inference the moving averages act",
    "folding_mode": "of training; at inference the moving averages are folded in either mode",
    "current_step": "of training",
    "quantization_delay": "of training; a loaded layer quantizes",
    "unit_forget_bias": "of the initial bias",
    "implementation": "how Keras runs the cell, not what it computes",
    "unroll": "how Keras runs the cell, not what it computes",
    "zero_output_for_mask": "of masks, and no layer that makes one is supported",
    "supports_masking": "of masks, and no layer that makes one is supported",
    "batch_input_shape": "of the input, which the reader makes a layer of its own",
    "batch_shape": "of the input, which the reader makes a layer of its own",
    "data_format": "the layout, which is turned before and after the layer (``lower_in_layout``)",
    "build_config": "shapes, which are inferred",
    "call": "checked apart (``_check_call``)",
    "input_quantizers": "QKeras' notes for its statistics",
    "kernel_range": "QKeras' notes for its constraints in training",
    "bias_range": "QKeras' notes for its constraints in training",
    "depthwise_range": "QKeras' notes for its constraints in training",
    "beta_range": "QKeras' notes for its constraints in training",
    "gamma_range": "QKeras' notes for its constraints in training",
}
"""Key -> why it does not act on what the layer computes at inference."""

IDLE_ENDS = ("_initializer", "_regularizer", "_constraint")
"""Ends of keys that act in training only."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A layer or operation.

    reads: keys of the config that the lowering acts by. only: keys that it does not read, with the values for which it
        is right all the same. takes: the call's arguments beside its tensors that it reads (operations only).
    identity: it hands its input on. rows: it does the same to every row, however many dimensions of rows there are.
    real: it takes a value on which a real-valued function is pending. any_order: it gives the same result channels
    first and channels last, if all its inputs stand in the same order.
    """

    lower: Lowering
    reads: tuple[str, ...] = ()
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    takes: tuple[str, ...] = ()
    identity: bool = False
    rows: bool = False
    real: bool = False
    any_order: bool = False

    def check(self, node: LayerNode) -> None:
        """Raise UnsupportedError for the first key of the node's config that nobody accounts for."""
        for key, value in node.config.items():
            if key in self.reads or key in IDLE or key.endswith(IDLE_ENDS) or value is None:
                continue
            if key not in self.only:
                raise UnsupportedError(
                    f"its argument {key}={_short(value)} is not one that qsim reads, and may change what it computes",
                    layer=node.name,
                    way_out=f"build the {_called(node)} without {key}",
                )
            if not any(value == allowed and type(value) is type(allowed) for allowed in self.only[key]):
                allowed = " or ".join(repr(v) for v in self.only[key])
                raise UnsupportedError(f"its {key} is {_short(value)}", layer=node.name, way_out=f"use {key}={allowed}")
        self._check_call(node)

    def _check_call(self, node: LayerNode) -> None:
        call = node.config.get("call")
        if call is None or self.takes:
            return
        literal = [key for key, value in call["kwargs"].items() if value is not None and not _holds_tensor(value)]
        literal += [f"argument {i}" for i, v in enumerate(call["args"]) if v is not None and not _holds_tensor(v)]
        if literal:
            raise UnsupportedError(
                f"it is called with {', '.join(literal)} beside its tensors, which its lowering does not read",
                layer=node.name,
                way_out=f"call the {_called(node)} with its tensors alone",
            )


Registry = Mapping[str, Record]


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, Mapping):
        return set(value) == {"tensor"} or any(_holds_tensor(v) for v in value.values())
    return isinstance(value, list) and any(_holds_tensor(v) for v in value)


def _called(node: LayerNode) -> str:
    return f"operation {node.class_name[4:]}" if node.class_name.startswith("ops.") else node.class_name


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
