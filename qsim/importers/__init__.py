"""A source in, a graph out: ``load`` picks the importer by what the source is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.numerics import FixedPoint

KERAS_PROFILES = ("qkeras",)


def load(
    source: Any,
    weights: str | os.PathLike[str] | None = None,
    input_format: str | FixedPoint | Mapping[str, str | FixedPoint] | None = None,
    profile: str | None = None,
) -> Graph:
    """The integer graph of a quantized model.

    source: a path (``.keras``, ``.h5``, ``.tflite``, or ``.json`` with ``weights="....h5"``), or a Keras model in
    memory.
    input_format: the number format of real inputs ("fixed<8,1>", FixedPoint, or one per input name), needed where the
    model does not quantize its input itself. profile: the named numeric profile; each kind of source has a default.
    Raises UsageError for a call that makes no sense, ModelError for files that are no model, UnsupportedError for
    models that cannot be reproduced exactly.
    """
    if isinstance(source, str | os.PathLike):
        if os.fspath(source).lower().endswith(".tflite"):
            if weights is not None or input_format is not None:
                raise UsageError("a .tflite file holds its weights and input format itself; give neither.")
            from qsim.importers.tflite import load_tflite

            return load_tflite(os.fspath(source), profile=profile)
        from qsim.importers.keras.reader import read

        model = read(source, weights)
    elif hasattr(source, "layers") and hasattr(source, "get_config"):
        if weights is not None:
            raise UsageError("a Keras model in memory has its weights already; 'weights' goes with a .json file.")
        from qsim.importers.keras.lower_live import with_live_quantizers
        from qsim.importers.keras.reader import from_memory

        model = with_live_quantizers(from_memory(source), source)
    else:
        raise UsageError(f"cannot load {type(source).__name__}: give the path of a model file or a Keras model.")
    if profile not in (None, *KERAS_PROFILES):
        raise UsageError(f"profile {profile!r} is not one of a Keras model's: {', '.join(KERAS_PROFILES)}.")
    from qsim.importers.keras.lower import lower

    return lower(model, input_format, profile or KERAS_PROFILES[0])
