"""A source in, a graph out: ``load`` picks the importer by what the source is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qsim.errors import UsageError
from qsim.ir import Graph
from qsim.numerics import FixedPoint
from qsim.proof.saved import read_graph

KERAS_PROFILES = ("qkeras",)


def load(
    source: Any,
    weights: str | os.PathLike[str] | None = None,
    input_format: str | FixedPoint | Mapping[str, str | FixedPoint] | None = None,
    profile: str | None = None,
    rescale: str | None = None,
) -> Graph:
    """The integer graph of a quantized model.

    source: a path (``.keras``, ``.h5``, ``.tflite``, ``.json`` with ``weights="....h5"``, or the ``.json`` of a
    qsim graph), or a Keras model in memory.
    input_format: the number format of real inputs ("fixed<8,1>", FixedPoint, or one per input name), needed where the
    model does not quantize its input itself. profile: the named numeric profile; each kind of source has a default.
    rescale: of a Keras model's factors that are no powers of two: "exact" (the default; the same codes on the whole
    proven range), or "multiplier:N" (multipliers of at most N bits; a note says how many values' codes differ).
    Raises UsageError for a call that makes no sense, ModelError for files that are no model, UnsupportedError for
    models that cannot be reproduced exactly.
    """
    if isinstance(source, str | os.PathLike):
        if os.fspath(source).lower().endswith(".tflite"):
            if weights is not None or input_format is not None:
                raise UsageError("a .tflite file holds its weights and input format itself; give neither.")
            from qsim.importers.tflite import load_tflite

            _no_rescale(rescale, "a .tflite file's multipliers are the file's own, as its engines use them")
            return load_tflite(os.fspath(source), profile=profile)
        graph = _saved_graph(Path(source))
        if graph is not None:
            if weights is not None or input_format is not None or profile is not None:
                raise UsageError("a qsim graph holds its weights, input formats and profile; give none of them.")
            _no_rescale(rescale, "a qsim graph holds its rescales")
            return graph
        from qsim.importers.keras.read.files import read

        model = read(source, weights)
    elif hasattr(source, "layers") and hasattr(source, "get_config"):
        if weights is not None:
            raise UsageError("a Keras model in memory has its weights already; 'weights' goes with a .json file.")
        from qsim.importers.keras.lower.live import with_live_quantizers
        from qsim.importers.keras.read.files import from_memory

        model = with_live_quantizers(from_memory(source), source)
    else:
        raise UsageError(f"cannot load {type(source).__name__}: give the path of a model file or a Keras model.")
    from qsim.importers.tfmot import is_tfmot, lower_tfmot

    if is_tfmot(model):
        if input_format is not None:
            raise UsageError("a tfmot model quantizes its input itself (quantize_layer); give no input_format.")
        _no_rescale(rescale, "a tfmot model is computed with the multipliers of its conversion to TFLite")
        return lower_tfmot(model, profile)
    if profile not in (None, *KERAS_PROFILES):
        raise UsageError(f"profile {profile!r} is not one of a Keras model's: {', '.join(KERAS_PROFILES)}.")
    from qsim.importers.keras.lower.graph import lower

    return lower(model, input_format, profile or KERAS_PROFILES[0], rescale)


def _no_rescale(rescale: str | None, reason: str) -> None:
    """Refuse ``rescale`` (other than exact) for a source whose arithmetic is not ours to choose."""
    if rescale not in (None, "exact"):
        raise UsageError(
            f"rescale {rescale!r} is for (Q)Keras models: {reason}, so any other would be another network. Leave "
            "rescale out."
        )


def _saved_graph(path: Path) -> Graph | None:
    """The graph in a file that ``qsim.ir.serialize.to_json`` wrote; None for any other file. GraphError if damaged."""
    return read_graph(path) if path.suffix.lower() == ".json" and path.is_file() else None
