"""Every field of every supported operator's options table at other values than the model has.

A walk takes a small model of the operator, changes one field, gives the output the shape that LiteRT then infers, and
sees whether qsim gives the codes of each engine, or refuses. What an engine itself refuses is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from tflite_make import RESOLVERS, litert, random_codes, simulate, tflm
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as fb
from tflite_ops import CASES, CASES16, build

from qsim.errors import QsimError
from qsim.importers.tflite import load_tflite
from qsim.importers.tflite.load import read_source
from qsim.importers.tflite.operators import OPERATORS
from qsim.importers.tflite.schema import option_fields

PROFILES = ("tflm", "litert-ref", "litert-opt", "litert-xnnpack")

VALUES: Mapping[str, tuple[Any, ...]] = {
    "padding": (0, 1, 2),
    "strideW": (0, 1, 2, 3, -1),
    "strideH": (0, 1, 2, 3, -1),
    "dilationWFactor": (0, 1, 2, 3, -1),
    "dilationHFactor": (0, 1, 2, 3, -1),
    "filterWidth": (0, 1, 2, 3, -1),
    "filterHeight": (0, 1, 2, 3, -1),
    "depthMultiplier": (0, 1, 2, 3, -1),
    "fusedActivationFunction": (0, 1, 2, 3, 4, 5, 9),
    "weightsFormat": (1, 2),
    "quantizedBiasType": (2, 4, 7, 9),
    "beta": (0.0, 0.5, 2.0, -1.0, float("inf"), float("nan"), 1e-9, 1e9),
    "alpha": (0.0, 0.3, 1.0, 2.0, -0.5, float("nan"), 1e-9),
    "axis": (-4, -3, -2, -1, 0, 1, 2, 3, 9),
    "batchDims": (1, -1),
    "mode": (0, 1, 2),
    "numSplits": (0, 1, 2, 3, 4),
    "num": (0, 1, 2, 3, 4),
    "valuesCount": (0, 1, 2, 3, 4),
    "blockSize": (0, 1, 2, 3, 4, -2),
    "outputType": (0, 2, 4, 9),
    "newShape": ([], [-1], [1, -1], [2, 2], [0]),
    "quantSpec": ([1, 2],),
    "squeezeDims": ([], [0], [1], [-1], [2], [0, 2]),
    "beginMask": (0, 1, 2, 3, 7),
    "endMask": (0, 1, 2, 3, 7),
    "ellipsisMask": (1, 2),
    "newAxisMask": (1, 2),
    "shrinkAxisMask": (0, 1, 2, 3, 4),
}
"""Field of the object API -> values to try; booleans are negated."""


@dataclass
class Tally:
    """What a walk found; ``silent`` names what came out otherwise than in the engine."""

    fields: set[str] = field(default_factory=set)
    values: int = 0
    equal: int = 0
    refused: int = 0
    not_engine: int = 0
    silent: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{len(self.fields)} fields at {self.values} values: {self.equal} results equal to an engine's, "
            f"{self.refused} refused, {self.not_engine} that the engine itself refuses, {len(self.silent)} silent"
        )


def camel(name: str) -> str:
    return name[0].lower() + name[1:]


def fields_of(operator: str) -> list[str]:
    """The fields of the operator's table in the object API: those that qsim's schema knows, which a record must
    account for, and newer ones."""
    table = OPERATORS[operator].options
    if not table:
        return []
    known = [camel(f.name) for f in option_fields(table)]
    return known + [name for name in vars(getattr(fb, table + "T")()) if name not in known]


def operators() -> list[str]:
    return [name for name in OPERATORS if fields_of(name)]


def changed(data: bytes, operator: str, name: str, value: Any) -> tuple[Any, bytes] | None:
    """The model with one field of its (last) such operator changed; None where the field has that value."""
    model = fb.ModelT.InitFromObj(fb.Model.GetRootAsModel(data, 0))
    op = model.subgraphs[0].operators[-1]
    if op.builtinOptions is None:
        table = OPERATORS[operator].options
        op.builtinOptionsType, op.builtinOptions = getattr(fb.BuiltinOptions, table), getattr(fb, table + "T")()
    old = getattr(op.builtinOptions, name)
    if (list(old) if old is not None and not np.isscalar(old) else old) == value:
        return None
    setattr(op.builtinOptions, name, value)
    if name == "newShape":
        op.inputs = op.inputs[:1]
    return model, packed(model)


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def inferred(model: Any, data: bytes) -> bytes:
    """The model with the output shapes that LiteRT works out; as it is where LiteRT refuses it."""
    try:
        interpreter = Interpreter(model_content=data, experimental_op_resolver_type=RESOLVERS["litert-ref"])
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError):
        return data
    graph = model.subgraphs[0]
    for index, detail in zip(graph.outputs, interpreter.get_output_details(), strict=True):
        graph.tensors[index].shape = [int(n) for n in detail["shape"]]
    return packed(model)


def outcome(data: bytes, profile: str) -> str:
    """equal, refused, not_engine, or what differs."""
    try:
        graph = load_tflite(data, profile=profile)
    except QsimError as error:
        return "refused" if "\n" not in str(error) and len(str(error)) > 20 else f"no sentence: {error}"
    codes = random_codes(graph, 6, 1)
    try:
        if profile == "tflm":
            reference = dict(zip(read_source(data).outputs, tflm(data, codes), strict=True))
        else:
            reference = litert(data, codes, profile, keep=False)
    except (RuntimeError, ValueError):
        return "not_engine"
    found = simulate(graph, codes)
    for entry, expected in zip(graph.outputs, reference.values(), strict=True):
        got = found[entry.tensor].reshape(-1)
        if got.shape != expected.reshape(-1).shape:
            return f"{expected.size} codes in the engine, {got.size} here"
        if bad := int((got != expected.reshape(-1)).sum()):
            return f"{bad} of {got.size} codes differ"
    return "equal"


def values(name: str, old: Any) -> tuple[Any, ...]:
    if name in VALUES:
        return VALUES[name]
    return (True, False) if isinstance(old, bool | np.bool_) else (1, 2)


def models(operator: str, seeds: int) -> Iterator[tuple[str, bytes]]:
    """Models of one operator: int8 and, where an engine has it, int16."""
    for kind, cases in (("INT8", CASES), ("INT16", CASES16)):
        for name in cases:
            if name.split()[0] == operator:
                for seed in range(seeds):
                    yield f"{kind} {name} {seed}", build(name, seed, kind, always_bias=True)


def walk(names: list[str], seeds: int = 1, profiles: tuple[str, ...] = PROFILES) -> Tally:
    tally = Tally()
    for operator in names:
        table = OPERATORS[operator].options
        tally.fields.update(f"{operator}.{name}" for name in fields_of(operator))
        for label, data in models(operator, seeds):
            for name in fields_of(operator):
                for value in values(name, getattr(getattr(fb, table + "T")(), name)):
                    _one(tally, operator, f"{label} {name}={value}", data, (name, value), profiles)
    return tally


def _one(
    tally: Tally, operator: str, label: str, data: bytes, change: tuple[str, Any], profiles: tuple[str, ...]
) -> None:
    made = changed(data, operator, *change)
    if made is None:
        return
    model, stored = made
    tally.values += 1
    # First as the file stands, then in the shape that LiteRT infers, where nothing was wrong but the shape.
    candidates = [stored]
    try:
        load_tflite(stored)
    except QsimError as error:
        if "shape" in str(error) or "size" in str(error):
            candidates.append(inferred(model, stored))
    for candidate in candidates:
        for profile in profiles:
            found = outcome(candidate, profile)
            if found in ("equal", "refused", "not_engine"):
                setattr(tally, found, getattr(tally, found) + 1)
            else:
                tally.silent.append(f"{profile} {label}: {found}")
