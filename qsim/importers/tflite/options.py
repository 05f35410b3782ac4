"""An operator's options table -> its values, every field read and accounted for."""

from __future__ import annotations

import math
from collections.abc import Callable

import tflite

from qsim.errors import ModelError, UnsupportedError
from qsim.importers.tflite.flatbuffer import Table
from qsim.importers.tflite.lower.record import Record
from qsim.importers.tflite.schema import option_fields, slot_count

Number = int | float | bool
_TYPES = {value: name for name, value in vars(tflite.BuiltinOptions).items() if not name.startswith("_")}


def read_options(
    operator: Table, record: Record, what: str, layer: str
) -> tuple[dict[str, Number], dict[str, tuple[int, ...]]]:
    """The fields that the record reads: numbers, and lists of numbers.

    Raises ModelError for a table that is missing, of another kind, or holds NaN or infinity, UnsupportedError for a
    field beyond the schema that qsim knows, or one that nothing reads and that is not at its default.
    """
    fields = option_fields(record.options) if record.options else ()
    table = _table(operator, record, bool(fields), what)
    numbers: dict[str, Number] = {f.name: f.default for f in fields if f.name in record.reads and not f.vector}
    lists: dict[str, tuple[int, ...]] = {}
    if table is None:
        return numbers, lists
    beyond = [slot for slot in table.slots() if slot >= slot_count(record.options)]
    if beyond:
        raise UnsupportedError(
            f"{what} carries field {beyond[0]} of {record.options}, which is newer than the schema that qsim knows",
            layer=layer,
            way_out="convert with an older converter, or without what the field is for",
        )
    view = table.view(getattr(tflite, record.options))
    for f in fields:
        if f.vector:
            stored = table.numbers(f.slot, "<i4", f"{f.name} of {what}")
            values: tuple[int, ...] | Number = tuple(int(n) for n in stored) if stored is not None else ()
            unset = values == ()
        else:
            accessor: Callable[[], Number] = getattr(view, f.name)
            values = accessor()
            unset = values == f.default
            if isinstance(values, float) and not math.isfinite(values):
                raise ModelError(f"{what}: {f.name} is {values}.")
        if f.name in record.reads:
            if isinstance(values, tuple):
                lists[f.name] = values
            else:
                numbers[f.name] = values
        elif f.name not in record.idle and not unset:
            raise UnsupportedError(
                f"{what} has {f.name} = {values}, which qsim does not read and an engine may",
                layer=layer,
                way_out=f"convert it with {f.name} = {f.default}",
            )
    return numbers, lists


def _table(operator: Table, record: Record, has_fields: bool, what: str) -> Table | None:
    """The options table; None where there is none and the operator does without."""
    stored = int(operator.view(tflite.Operator).BuiltinOptionsType())
    if has_fields and stored not in (tflite.BuiltinOptions.NONE, getattr(tflite.BuiltinOptions, record.options)):
        raise ModelError(f"{what} carries options of type {_TYPES.get(stored, stored)}, not {record.options}.")
    if not record.options or stored != getattr(tflite.BuiltinOptions, record.options):
        table = None
    else:
        table = operator.table(4, f"{what} {record.options}")
    if table is None and record.required and has_fields:
        raise ModelError(f"{what} carries no {record.options}.")
    return table
