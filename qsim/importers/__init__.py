"""A source in, a graph out: ``load`` asks the importers in turn."""

from __future__ import annotations

import os
from typing import Any

from qsim.importers.importer import Importer, InputFormat, ModelSource, SurveyEntry, WeightsFormat
from qsim.importers.sources import IMPORTERS, importer_of
from qsim.ir import Graph


def load(
    source: Any,
    weights: str | os.PathLike[str] | None = None,
    input_format: InputFormat = None,
    profile: str | None = None,
    rescale: str | None = None,
    weights_format: WeightsFormat = None,
) -> Graph:
    """The integer graph of a quantized model.

    source: a path (``.keras``, ``.h5``, ``.tflite``, ``.onnx``, ``.json`` with ``weights="....h5"``, or the
    ``.json`` of a qsim graph), a Keras model in memory, or a ModelSource, which holds all the others.
    input_format: the number format of real inputs ("fixed<8,1>", FixedPoint, or one per input name), needed where the
    model does not quantize its input itself. profile: the named numeric profile; each kind of source has a default.
    rescale: of a Keras or ONNX model's factors that are no powers of two: "exact" (the default; the same codes on the
    whole proven range), or "multiplier:N" (multipliers of at most N bits; a note says how many values' codes differ).
    weights_format: of a Keras model's layers with float weights: the number format that qsim quantizes them to, for
    all ("fixed<8,1>") or by layer ({"head": "fixed<6,1>"}; "*" means all others); a note says so.
    Raises UsageError for a call that makes no sense, ModelError for files that are no model, UnsupportedError for
    models that cannot be reproduced exactly.
    """
    if not isinstance(source, ModelSource):
        source = ModelSource(
            model=source,
            weights=weights,
            input_format=input_format,
            profile=profile,
            rescale=rescale,
            weights_format=weights_format,
        )
    return importer_of(source).load(source)


__all__ = ["IMPORTERS", "Importer", "InputFormat", "ModelSource", "SurveyEntry", "WeightsFormat", "importer_of", "load"]
