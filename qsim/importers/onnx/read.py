"""ONNX files to ``OnnxModel``: protobuf through the ``onnx`` package, external data from the file's own folder only.

Source of the format: onnx.proto of the ONNX standard (IR versions 3 and later).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qsim.errors import ModelError, ToolMissingError, UnsupportedError, reading
from qsim.importers.onnx.model import (
    MICROSOFT,
    QONNX,
    QONNX_DOMAINS,
    QONNX_OPERATORS,
    STANDARD,
    Attribute,
    Node,
    OnnxModel,
    Port,
    Subgraph,
)
from qsim.numerics import Array
from qsim.version import install

WAY_OUT = install("onnx")
LEAST_OPSET = 9
MOST_ELEMENTS = 1 << 28
"""Of one constant: more are no network of this kind, but a damaged size."""

MOST_BYTES = 1 << 31
"""Of the file: protobuf holds no more."""


def onnx_package() -> Any:
    """The ``onnx`` package. Raises ToolMissingError where it is not installed."""
    try:
        return importlib.import_module("onnx")
    except ImportError as error:
        raise ToolMissingError(f"reading an .onnx file needs the onnx package: {WAY_OUT}.") from error


def read_model(path: Path) -> OnnxModel:
    """The checked model of a file. Raises ModelError for what is no sound ONNX model, UnsupportedError for what no part
    of qsim reads (sparse tensors, functions of the file's own), ToolMissingError without the onnx package."""
    onnx = onnx_package()
    with reading(path, "an ONNX model", most=MOST_BYTES):
        proto = onnx.ModelProto()
        proto.ParseFromString(path.read_bytes())
        return _Reader(onnx, proto, path).model()


class _Reader:
    def __init__(self, onnx: Any, proto: Any, path: Path) -> None:
        self.onnx, self.proto, self.path = onnx, proto, path
        self.opsets = {_domain(self.text(o.domain)): int(o.version) for o in proto.opset_import}

    def model(self) -> OnnxModel:
        """The whole model, checked."""
        graph, name = self.proto.graph, self.path.name
        if not graph.node or not graph.output:
            raise ModelError(f"{name!r} is no ONNX model: its graph has no {'outputs' if graph.node else 'nodes'}.")
        if len(self.proto.functions):
            raise UnsupportedError(
                f"the file defines functions of its own ({self.proto.functions[0].name})",
                way_out="inline them with onnx.inliner.inline_local_functions",
            )
        if graph.sparse_initializer:
            raise UnsupportedError("the file has sparse initializers", way_out="store them as plain tensors")
        if self.opsets.get(STANDARD, LEAST_OPSET) < LEAST_OPSET:
            raise UnsupportedError(
                f"the file uses version {self.opsets[STANDARD]} of the standard's operators",
                way_out=f"convert it to {LEAST_OPSET} or later (onnx.version_converter)",
            )
        constants, dtypes = {}, {}
        for tensor in graph.initializer:
            name_of = self.text(tensor.name)
            constants[name_of] = self.array(tensor)
            dtypes[name_of] = self.dtype(tensor.data_type)
        nodes = tuple(self.nodes())
        inputs = tuple(self.port(p) for p in graph.input if p.name not in constants)
        outputs = tuple(self.port(p) for p in graph.output)
        _check_names(nodes, {*constants, *(p.name for p in inputs)}, outputs, name)
        return OnnxModel(
            name=self.path.stem, nodes=nodes, constants=constants, dtypes=dtypes, inputs=inputs, outputs=outputs
        )

    def text(self, value: Any) -> str:
        """A name of the file. Raises ModelError for what is no printable text; bytes that are no UTF-8 come as such."""
        if not isinstance(value, str) or not value.isprintable():
            raise ModelError(f"{self.path.name!r} has a name that is no printable text ({value!r}).")
        return value

    def dtype(self, number: int) -> str:
        """FLOAT, INT8, ... of a TensorProto.DataType."""
        try:
            return str(self.onnx.TensorProto.DataType.Name(number))
        except ValueError as error:
            raise ModelError(f"{self.path.name!r} has a tensor of unknown type {number}.") from error

    def port(self, value: Any) -> Port:
        """An input or output with its declared shape."""
        if not value.type.HasField("tensor_type"):
            raise UnsupportedError(f"{value.name!r} is no tensor", way_out="use tensors at the model's ends")
        kind = value.type.tensor_type
        shape = None
        if kind.HasField("shape"):
            shape = tuple(
                int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim
            )
        return Port(name=self.text(value.name), shape=shape, dtype=self.dtype(kind.elem_type))

    def nodes(self) -> Iterator[Node]:
        """Every node with a unique name."""
        taken: set[str] = set()
        for index, proto in enumerate(self.proto.graph.node):
            if not proto.output or not proto.output[0]:
                raise ModelError(f"{self.path.name!r}: node {index} ({proto.op_type}) has no output.")
            base, kind = self.text(proto.name or proto.output[0]), self.text(proto.op_type)
            name, count = base, 1
            while name in taken:
                name, count = f"{base}_{count}", count + 1
            taken.add(name)
            domain = _domain(self.text(proto.domain), kind)
            yield Node(
                name=name,
                kind=kind,
                domain=domain,
                version=self.opsets.get(_domain(proto.domain), self.opsets.get(domain, 1)),
                inputs=tuple(self.text(n) for n in proto.input),
                outputs=tuple(self.text(n) for n in proto.output),
                attributes={self.text(a.name): self.attribute(a, name) for a in proto.attribute},
            )

    def attribute(self, proto: Any, node: str) -> Attribute:
        """An attribute's value by its declared type (AttributeProto.AttributeType)."""
        match proto.type:
            case 1:
                return float(proto.f)
            case 2:
                return int(proto.i)
            case 3:
                return self.text(proto.s.decode("utf-8"))
            case 4:
                return self.array(proto.t)
            case 6:
                return tuple(float(v) for v in proto.floats)
            case 7:
                return tuple(int(v) for v in proto.ints)
            case 8:
                return tuple(self.text(v.decode("utf-8")) for v in proto.strings)
            case 5 | 10:
                return Subgraph()
            case other:
                raise ModelError(f"{self.path.name!r}: attribute {proto.name!r} of node {node!r} has type {other}.")

    def array(self, tensor: Any) -> Array:
        """The tensor's array; raises ModelError where its data do not fill its shape, or lie outside the folder."""
        size = 1
        for n in tensor.dims:
            size *= int(n)
            if n < 0 or size > MOST_ELEMENTS:
                raise ModelError(f"{self.path.name!r}: tensor {tensor.name!r} has the shape {list(tensor.dims)}.")
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            inside = self.onnx.TensorProto()
            inside.CopyFrom(tensor)
            del inside.external_data[:]
            inside.data_location = self.onnx.TensorProto.DEFAULT
            inside.raw_data = self.external(tensor)
            tensor = inside
        with reading(self.path, f"an ONNX model with a sound tensor {tensor.name!r}"):
            array = np.asarray(self.onnx.numpy_helper.to_array(tensor))
        if array.shape != tuple(tensor.dims):
            raise ModelError(f"{self.path.name!r}: tensor {tensor.name!r} has {array.size} elements for its shape.")
        if array.dtype.kind in "fV" and array.dtype.name.startswith(("int", "uint")):
            array = array.astype(np.int8 if array.dtype.name.startswith("int") else np.uint8)
        return array

    def external(self, tensor: Any) -> bytes:
        """The tensor's bytes in a file beside the model's. Raises ModelError for a path that leaves the folder."""
        entries = {self.text(e.key): self.text(e.value) for e in tensor.external_data}
        location, folder = entries.get("location", ""), self.path.resolve().parent
        where = f"{self.path.name!r}: the external data of tensor {tensor.name!r}"
        target = (folder / location).resolve()
        if not location or Path(location).is_absolute() or not target.is_relative_to(folder):
            raise ModelError(f"{where} lie at {location!r}, outside the model's folder, which is never read.")
        offset, length = (int(entries[key]) if entries.get(key) else None for key in ("offset", "length"))
        try:
            with target.open("rb") as file:
                available = target.stat().st_size - (offset or 0)
                if available < 0 or (offset or 0) < 0 or (length is not None and not 0 <= length <= available):
                    raise ModelError(f"{where} are shorter than the model says.")
                file.seek(offset or 0)
                return file.read(available if length is None else length)
        except OSError as error:
            raise ModelError(f"{where} cannot be read: {error.strerror or error}.") from error


def _domain(domain: str, kind: str = "") -> str:
    """One name for the domains that mean the same; QONNX's operators are known in the standard's domain too."""
    if domain in QONNX_DOMAINS or (domain in ("", "ai.onnx") and kind in QONNX_OPERATORS):
        return QONNX
    return STANDARD if domain == "ai.onnx" else MICROSOFT if domain == MICROSOFT else domain


def _check_names(nodes: tuple[Node, ...], known: set[str], outputs: tuple[Port, ...], file: str) -> None:
    """Every tensor is made once, before it is read."""
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise ModelError(f"{file!r}: node {node.name!r} reads {name!r}, which nothing before it makes.")
        for name in node.outputs:
            if name and name in known:
                raise ModelError(f"{file!r}: node {node.name!r} makes {name!r}, which exists already.")
            known.add(name)
    for port in outputs:
        if port.name not in known:
            raise ModelError(f"{file!r}: nothing makes the output {port.name!r}.")
