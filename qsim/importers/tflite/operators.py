"""Every operator that is supported, by name: the records of the family files. DEQUANTIZE, and QUANTIZE of a float
input, are ends of the model (``load._is_end``); SHAPE is always a constant (``fold.py``)."""

from __future__ import annotations

from collections.abc import Mapping

from qsim.importers.tflite.lower import activation, arithmetic, linear, matmul, reduce, shape, slices, softmax
from qsim.importers.tflite.lower.record import Record

_FAMILIES = tuple(f.RECORDS for f in (linear, matmul, arithmetic, reduce, activation, softmax, shape, slices))

OPERATORS: Mapping[str, Record] = {name: record for family in _FAMILIES for name, record in family.items()}

if len(OPERATORS) != sum(map(len, _FAMILIES)):
    raise TypeError("an operator has two records")
