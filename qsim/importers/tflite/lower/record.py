"""One record a TFLite operator: its options, its lowering, which engines have it, how it folds on constants.

Every field of an operator's options table is accounted for: read by the lowering, idle (with the reason), or taken at
its default only. Anything else is refused by name, so that no option is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from qsim.importers.tflite.lower.context import Lower
from qsim.importers.tflite.model import Operator
from qsim.importers.tflite.schema import option_fields
from qsim.importers.tflite.xnnpack import Taken
from qsim.numerics import Array

Fold = Callable[[Operator, list[Array]], Array | None]
"""The operator's result on unquantized integer constants; None where the rule does not cover it."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """An operator.

    lower: its lowering. options: its options table in the schema, "" where it has none. required: the engines have no
    defaults for it, so a file without the table is refused.
    reads: fields that the lowering acts by, or checks. idle: fields that do not act, with the reason.
    micro_lacks: types for which TensorFlow Lite Micro has no kernel; their meaning leaves nothing open, so they are
    imported, with a note. xnnpack: None where XNNPACK never takes it. fold: None where constants are not folded.
    """

    lower: Lower
    options: str = ""
    required: bool = True
    reads: tuple[str, ...] = ()
    idle: Mapping[str, str] = field(default_factory=dict)
    micro_lacks: tuple[str, ...] = ()
    xnnpack: Taken | None = None
    fold: Fold | None = None

    def __post_init__(self) -> None:
        known = [f.name for f in option_fields(self.options)] if self.options else []
        if strange := [name for name in (*self.reads, *self.idle) if name not in known]:
            raise TypeError(f"{self.options} has no field {', '.join(strange)}")
