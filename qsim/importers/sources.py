"""The kinds of sources, one importer each. Their packages are imported when they are first needed."""

from __future__ import annotations

from collections.abc import Sequence

from qsim.errors import ModelError, Place, UsageError, reading
from qsim.importers.importer import Importer, ModelSource, SurveyEntry
from qsim.importers.keras.model import KerasModel
from qsim.ir import Graph
from qsim.proof.saved import read_graph

KERAS_PROFILES = ("qkeras",)
WEIGHTS_FORMAT = "weights_format is for float layers of (Q)Keras models, and this source's are quantized; give none."


class TfliteFiles:
    """``.tflite`` files."""

    kind = "a .tflite file"
    options = ("profile",)

    def recognises(self, source: ModelSource) -> bool:
        return source.suffix == ".tflite"

    def load(self, source: ModelSource) -> Graph:
        from qsim.importers.tflite import load_tflite

        own = "a .tflite file holds its weights and input format itself; give neither."
        source.refuse(
            weights=own,
            input_format=own,
            weights_format=WEIGHTS_FORMAT,
            rescale=f"rescale {source.rescale!r} is for (Q)Keras models: a .tflite file's multipliers are the file's "
            "own, as its engines use them, so any other would be another network. Leave rescale out.",
        )
        return load_tflite(str(source.path), profile=source.profile)

    def survey(self, source: ModelSource) -> Sequence[SurveyEntry]:
        from qsim.importers.tflite import survey

        return [SurveyEntry(*entry) for entry in survey(str(source.path), source.profile)]


class OnnxFiles:
    """``.onnx`` files."""

    kind = "an .onnx file"
    options = ("input_format", "profile", "rescale")

    def recognises(self, source: ModelSource) -> bool:
        return source.suffix == ".onnx"

    def load(self, source: ModelSource) -> Graph:
        from qsim.importers.onnx import load_onnx

        source.refuse(
            weights="an .onnx file holds its weights, or names the files beside it; give none.",
            weights_format=WEIGHTS_FORMAT,
        )
        return load_onnx(source)

    def survey(self, source: ModelSource) -> Sequence[SurveyEntry]:
        from qsim.importers.onnx import survey

        return survey(source)


class SavedGraphs:
    """The ``.json`` of a qsim graph."""

    kind = "a qsim graph"
    options = ()

    def recognises(self, source: ModelSource) -> bool:
        return self._read(source) is not None

    def load(self, source: ModelSource) -> Graph:
        graph = self._read(source)
        if graph is None:
            raise ModelError(f"{source.name} holds no qsim graph.")
        own = "a qsim graph holds its weights, input formats and profile; give none of them."
        source.refuse(
            weights=own,
            input_format=own,
            profile=own,
            weights_format=WEIGHTS_FORMAT,
            rescale=f"rescale {source.rescale!r} is for (Q)Keras models: a qsim graph holds its rescales, so any other "
            "would be another network. Leave rescale out.",
        )
        return graph

    def survey(self, source: ModelSource) -> Sequence[SurveyEntry]:
        return []

    @staticmethod
    def _read(source: ModelSource) -> Graph | None:
        """GraphError for a damaged graph, None for a file that holds none."""
        path = source.path
        return read_graph(path) if path is not None and source.suffix == ".json" and path.is_file() else None


class KerasModels:
    """Keras files and Keras models in memory; those that tfmot has wrapped are lowered by its rules."""

    kind = "a Keras model"
    options = ("weights", "input_format", "profile", "rescale", "weights_format")

    def recognises(self, source: ModelSource) -> bool:
        return source.path is not None or all(hasattr(source.model, name) for name in ("layers", "get_config"))

    def load(self, source: ModelSource) -> Graph:
        if source.path is None:
            source.refuse(
                weights="a Keras model in memory has its weights already; 'weights' goes with a .json file.",
            )
        with reading(source.name, self.kind) as place:
            return self._lowered(source, place)

    def _lowered(self, source: ModelSource, place: Place) -> Graph:
        from qsim.importers.keras.lower.graph import lower
        from qsim.importers.keras.lower.live import with_live_quantizers
        from qsim.importers.keras.read.files import read_source
        from qsim.importers.tfmot import is_tfmot, lower_tfmot

        model = read_source(source)
        if source.path is None:
            model = with_live_quantizers(model, source.model)
        if is_tfmot(model):
            source.refuse(
                weights_format=WEIGHTS_FORMAT,
                input_format="a tfmot model quantizes its input itself (quantize_layer); give no input_format.",
                rescale=f"rescale {source.rescale!r} is for (Q)Keras models: a tfmot model is computed with the "
                "multipliers of its conversion to TFLite, so any other would be another network. Leave rescale out.",
            )
            return lower_tfmot(model, source.profile)
        if source.profile not in (None, *KERAS_PROFILES):
            raise UsageError(f"profile {source.profile!r} is not one of a Keras model's: {', '.join(KERAS_PROFILES)}.")
        return lower(model, source.but(profile=source.profile or KERAS_PROFILES[0]), place)

    def survey(self, source: ModelSource) -> Sequence[SurveyEntry]:
        from qsim.importers.keras.lower.graph import survey
        from qsim.importers.keras.read.files import read_source

        with reading(source.name, self.kind):
            return survey(read_source(source))


IMPORTERS: tuple[Importer, ...] = (
    TfliteFiles(),
    OnnxFiles(),
    SavedGraphs(),
    KerasModels(),
)
"""In the order in which they are asked: Keras' reader takes every path that is no other's."""


def importer_of(source: ModelSource) -> Importer:
    """The importer that recognises the source. Raises UsageError where none does."""
    for importer in IMPORTERS:
        if importer.recognises(source):
            return importer
    raise UsageError(f"cannot load {source.name}: give the path of a model file or a Keras model.")


def keras_model(source: ModelSource) -> KerasModel | None:
    """The layers of a Keras source as its reader gives them, before any lowering; None for other kinds."""
    from qsim.importers.keras.read.files import read_source

    return read_source(source) if isinstance(importer_of(source), KerasModels) else None
