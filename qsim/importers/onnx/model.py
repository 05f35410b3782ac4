"""What an ONNX file is once read: nodes in order, constants as arrays, the ends. Nothing here interprets a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qsim.numerics import Array

STANDARD = ""
"""The domain of the standard's own operators; ``ai.onnx`` is written so too."""

MICROSOFT = "com.microsoft"
QONNX = "qonnx"
"""The domain of QONNX's operators, whatever a file calls it (see ``QONNX_DOMAINS``)."""

QONNX_DOMAINS = (
    "qonnx.custom_op.general",
    "onnx.brevitas",
    "finn",
    "finn.custom_op.general",
    "finn.custom_op.fpgadataflow",
    "qonnx.custom_op.channels_last",
)
QONNX_OPERATORS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold", "QuantAvgPool2d")


class Subgraph:
    """An attribute that holds a graph: nothing that qsim lowers has one."""


Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array | Subgraph


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operator of the file.

    name: unique; the node's own, or its first output's where it has none. kind: the operator. domain: STANDARD,
    MICROSOFT, QONNX or as written. version: of the domain's operator set. inputs: '' where an optional one is absent.
    """

    name: str
    kind: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    @property
    def label(self) -> str:
        """Operator and domain, as errors name them."""
        return f"{self.domain}:{self.kind}" if self.domain else self.kind


@dataclass(frozen=True, kw_only=True)
class Port:
    """One input or output of the model. shape: with the batch; None where the file leaves a dimension open."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """name: the file's stem. constants: initializers by tensor name, arrays as stored (int4 widened to int8).
    dtypes: of every constant, as the standard names them. inputs: without those that initializers fill."""

    name: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    dtypes: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
